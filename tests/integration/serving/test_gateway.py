"""Answers with faulty language models on loopback. No HTTP is mocked."""

import json
import socket
import time

from bench import gateway_faults
from bench.fake_models import hang_silently
from core.principal import Principal
from serving.answering.generator.llm import LLMGenerator
from serving.answering.pipeline import answer_question
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from tests.support.gateway import LENIENT, LONG, WAIT_SECONDS, count_closed_connections
from tests.support.services import serve_api

ALDER = Principal("alder")


def test_a_reader_who_disconnects_from_a_json_answer_cancels_its_call(
    open_models, start_provider, sample_services
):
    """The socket is closed while the model is silent."""
    endpoint = start_provider("alpha", hang_silently)
    api = build_api(
        sample_services,
        LocalIdentity(("alder",)),
        open_models(endpoint.models_file_entry(), patience=LONG),
    )
    body = json.dumps(
        {"question": "How many days of paid annual leave does an employee receive?"}
    ).encode()
    head = (
        f"POST /v1/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: "
        f"application/json\r\nContent-Length: {len(body)}"
    )
    with serve_api(api) as address:
        with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2]))) as reader:
            reader.sendall(f"{head}\r\n\r\n".encode() + body)
            until = time.monotonic() + WAIT_SECONDS
            while not endpoint.calls and time.monotonic() < until:
                time.sleep(0.01)
            assert endpoint.calls
            assert not endpoint.disconnections
            left = time.monotonic()
        assert count_closed_connections(endpoint) == 1
        assert (
            time.monotonic() - left < WAIT_SECONDS / 2
        )  # the answer's own deadline would end the call, too


def test_with_all_models_down_the_answer_is_extractive_and_marked(sample_services):
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
