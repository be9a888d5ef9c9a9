"""Answers of a small real language model, SmolLM2-135M, over the sample, through the service.

Its answers are poor, so the test checks only that sentences are cited and verified.
"""

import json
from typing import get_args

import pytest
from fastapi.testclient import TestClient

from bench.fake_models import model_entry
from core.http import HttpPool
from serving.answering.types import FaultCode
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from serving.gateway.gateway import Gateway
from serving.gateway.models_file import ModelsFile, Timeouts
from serving.gateway.providers.base import open_provider
from tests.support.gateway import FakeMeter

QUESTION = "What does ERR-4711 mean?"


@pytest.fixture
def ledger():
    return FakeMeter()


@pytest.fixture
def api(sample_services, language_model, ledger):
    """Client of the service with the real model. A small context size keeps its prompts short."""
    listed = model_entry(
        "small", f"{language_model}/v1", model="smollm2", context=2048, json_schema=True
    )
    file = ModelsFile(models=[listed], patience=Timeouts(first=60, between=60, total=120))
    pool = HttpPool()
    gateway = Gateway(file, {"small": open_provider(file.models[0], pool)}, ledger, pool)
    yield TestClient(build_api(sample_services, LocalIdentity(("alder",)), gateway))
    pool.close()


def test_answers_of_a_real_model_are_cited_and_verified(api, ledger):
    with api.stream(
        "POST", "/v1/ask", json={"question": QUESTION}, headers={"Accept": "text/event-stream"}
    ) as response:
        blocks = [block.splitlines() for block in response.read().decode().strip().split("\n\n")]
    events = [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in blocks
    ]
    assert [name for name, _ in events] == ["searched", *["sentence"] * (len(events) - 2), "answer"]
    given = events[-1][1]
    assert [event["sentence"] for name, event in events if name == "sentence"] == given["sentences"]
    assert all(sentence["text"] and sentence["citations"] for sentence in given["sentences"])
    for citation in given["citations"]:
        document = api.get(f"/v1/documents/{citation['document_id']}").json()
        assert document["text"][citation["start"] : citation["end"]] == citation["quote"]
    assert set(given["removed"]) <= set(get_args(FaultCode))
    if given["status"] == "refused":
        assert given["refusal"]["code"] == "no_evidence"
    if given["generator"] == "model":
        assert (given["model"], given["prompt_version"], len(given["prompt"])) == (
            "small",
            "answer 1",
            64,
        )
        assert ledger.usages[0].input_tokens > 500
        assert ledger.usages[0].output_tokens > 0
    else:
        assert given["degraded"]
