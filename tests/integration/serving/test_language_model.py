"""A real language model behind the gateway: llama.cpp's server with SmolLM2-135M, in a process of
its own.
"""

import json
import time
import urllib.request
from decimal import Decimal

import pytest
from llama_index.core.prompts import PromptTemplate
from pydantic import BaseModel

from bench.fake_models import model_entry
from core.http import HttpPool
from core.principal import Principal
from integrations.llamaindex.llm import GatewayLLM
from serving.gateway.gateway import Gateway
from serving.gateway.models_file import ModelsFile, Timeouts
from serving.gateway.providers.base import open_provider
from serving.gateway.types import Message, ModelRequest
from tests.support.gateway import FakeMeter

ALDER = Principal("alder")
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 20}},
    "required": ["city"],
    "additionalProperties": False,
}


class City(BaseModel):
    city: str


@pytest.fixture
def ledger():
    return FakeMeter()


@pytest.fixture
def gateway(language_model, ledger):
    """On the real model; its deadlines are long, since the tests share a processor."""
    listed = model_entry(
        "small",
        f"{language_model}/v1",
        model="smollm2",
        input_price=1,
        output_price=2,
        json_schema=True,
    )
    file = ModelsFile(models=[listed], patience=Timeouts(first=60, between=60, total=120))
    pool = HttpPool()
    yield Gateway(file, {"small": open_provider(file.models[0], pool)}, ledger, pool)
    pool.close()


def request(words, **fields):
    return ModelRequest([Message("user", words)], ALDER, "test", timeout_seconds=120, **fields)


def test_a_real_model_streams_and_what_it_took_is_booked(gateway, ledger):
    reply = gateway.stream(request("Say hello.", max_tokens=12))
    pieces = list(reply)
    assert len(pieces) > 1
    assert "".join(pieces).strip()
    (usage,) = ledger.usages
    assert usage.counted_by_provider
    assert usage.input_tokens > 5
    assert 1 <= usage.output_tokens <= 12
    assert usage.cost == Decimal(usage.input_tokens + 2 * usage.output_tokens) / 1_000_000


def test_a_real_model_is_held_to_a_schema(gateway):
    text = "".join(
        gateway.stream(request("What is the capital of France?", schema=CITY, max_tokens=60))
    )
    assert json.loads(text).keys() == {"city"}


def test_closing_the_reply_of_a_real_model_stops_it(gateway, ledger, language_model):
    """It would write thousands of tokens, some minutes long; the server says soon that its slot is
    free.
    """
    reply = gateway.stream(request("Tell a very long story.", max_tokens=6000))
    next(reply)
    assert busy(language_model)
    reply.close()
    until = time.monotonic() + 20
    while busy(language_model) and time.monotonic() < until:
        time.sleep(0.05)
    assert not busy(language_model)
    assert [usage.outcome for usage in ledger.usages] == ["cancelled"]


def test_the_same_through_llamaindex(gateway, ledger, language_model):
    llm = GatewayLLM(gateway, ALDER, max_tokens=60)
    responses = list(llm.stream_complete("Say hello.", max_tokens=8))
    assert responses[-1].text == "".join(response.delta for response in responses)
    city = llm.structured_predict(
        City, PromptTemplate("What is the capital of {country}?"), country="France"
    )
    assert city.city
    stream = llm.stream_complete("Tell a very long story.", max_tokens=6000)
    next(stream)
    stream.close()
    outcomes = [usage.outcome for usage in ledger.usages]
    assert outcomes == ["done", "done", "cancelled"]
    assert ledger.usages[0].counted_by_provider


def busy(address):
    with urllib.request.urlopen(f"{address}/slots", timeout=20) as response:
        return any(slot["is_processing"] for slot in json.load(response))
