"""Keys and types of the API's JSON, as json_shapes.json has them. Clients depend on them."""

import json
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from core.services import Services
from serving.api.app import build_api
from serving.api.identity import LocalIdentity

GOLDEN: dict[str, Any] = json.loads(Path(__file__).with_name("json_shapes.json").read_text())
HEADERS = {"X-Groundwork-Tenant": "alder", "X-Groundwork-Groups": "finance"}
QUESTION = {"question": "What does ERR-4711 mean?"}


def shape(value: Any) -> Any:
    """Return a JSON value with the name of a type instead of each text and number."""
    if isinstance(value, dict):
        return {key: shape(part) for key, part in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None if value is None else type(value).__name__


@pytest.fixture(scope="module")
def responses(sample_services: Services) -> dict[str, Any]:
    """Return the JSON of one response of each kind."""
    client = TestClient(build_api(sample_services, LocalIdentity(("alder",))), headers=HEADERS)

    def ask(**body: Any) -> Any:
        return client.post("/v1/ask", json=body).json()

    everything = {"explain": True, "filter": {"field": "path", "prefix": ""}, "limit": 1}
    answer = ask(**QUESTION)
    conversation = ask(**QUESTION, conversation="new")["conversation"]
    return {
        "answer": answer,
        "refusal": ask(question="Who won the football world cup in 1998?"),
        "search": client.post("/v1/search", json=QUESTION | {"limit": 1}).json(),
        "search with explanation": client.post("/v1/search", json=QUESTION | everything).json(),
        "conversation": client.get(f"/v1/conversations/{conversation}").json(),
        "document": client.get(f"/v1/documents/{answer['citations'][0]['document_id']}").json(),
        "me": client.get("/v1/me").json(),
        "problem": client.get("/v1/documents/7").json(),
    }


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_json_has_the_same_shape(responses: dict[str, Any], kind: str) -> None:
    # For a new key, add it to json_shapes.json. Never remove or rename one.
    found = shape(responses[kind])
    if kind.startswith("search"):
        found["idf"] = shape({"err-4711": 1.0})
    if found.get("explanation"):
        for access in found["explanation"]["accesses"]:
            assert access["index"] in (None, "str")  # a scan has no index; the planner chooses
            access["index"] = "str"
    assert found == GOLDEN[kind]
