"""The gateway to language models, against endpoints on loopback that answer well or badly; no HTTP
is mocked.
"""

import json
import socket
import time

import pytest

from bench import gateway_faults
from bench.fake_models import FakeProvider, answer_well, hang_silently
from core.http import HttpPool
from core.principal import Principal
from serving.answering.generator.llm import LLMGenerator
from serving.answering.pipeline import answer_question
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from serving.gateway.gateway import Gateway
from serving.gateway.models_file import ModelsFile, Timeouts
from serving.gateway.providers.base import open_provider
from tests.support.services import serve_api

ALDER = Principal("alder")
LENIENT = Timeouts(
    connect=30, first=30, between=30, total=60
)  # who is well is in time, on a busy machine too
QUICKLY = 30.0  # seconds: far beyond every deadline here, for a machine that is busy


@pytest.fixture
def opened():
    """Makes gateways and closes their connections."""
    pool = HttpPool()

    def make(*entries, meter=None, patience=LENIENT, **file):
        read = ModelsFile.model_validate(
            {"models": entries, "patience": patience.model_dump(), **file}
        )
        return Gateway(
            read, {model.name: open_provider(model, pool) for model in read.models}, meter
        )

    yield make
    pool.close()


@pytest.fixture
def fake():
    """Makes endpoints."""
    made = []

    def make(name="alpha", behave=answer_well):
        made.append(FakeProvider(name, behave))
        return made[-1]

    yield make
    for each in made:
        each.close()


def settled(endpoint):
    """Wait until the endpoint has seen that it was hung up on."""
    until = time.monotonic() + QUICKLY
    while not endpoint.disconnections and time.monotonic() < until:
        time.sleep(0.01)
    return endpoint.disconnections


LONG = Timeouts(connect=5, first=100, between=100, total=100)


def test_a_reader_who_hangs_up_before_an_answer_that_comes_at_once_ends_its_call(
    opened, fake, sample_services
):
    """Over a real socket, which is closed while the model would think for minutes."""
    endpoint = fake("alpha", hang_silently)
    api = build_api(
        sample_services,
        LocalIdentity(("alder",)),
        opened(endpoint.models_file_entry(), patience=LONG),
    )
    body = json.dumps(
        {"question": "How many days of paid annual leave does an employee receive?"}
    ).encode()
    head = f"POST /v1/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    with serve_api(api) as address:
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as reader:
            reader.sendall(f"{head}\r\n\r\n".encode() + body)
            until = time.monotonic() + QUICKLY
            while not endpoint.calls and time.monotonic() < until:
                time.sleep(0.01)
            assert endpoint.calls
            assert not endpoint.disconnections
            left = time.monotonic()
        assert settled(endpoint) == 1
        assert (
            time.monotonic() - left < QUICKLY / 2
        )  # the answer's own deadline would end the call, too


def test_with_all_models_down_the_documents_answer_and_it_says_so(sample_services):
    with gateway_faults.open_faulty_models(
        ["refused", "500"], streaming=True, timeouts=LENIENT
    ) as down:
        writer = LLMGenerator(down.open_gateway(), ALDER)
        given = answer_question(
            sample_services,
            ALDER,
            "How many days of paid annual leave does an employee receive?",
            generator=writer,
        )
    assert gateway_faults.is_cited(given)
    assert "No language model answered" in given.degraded
