"""The service over HTTP, with real database and model: answers, refusals, logs, headers."""

import re
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
import yaml
from fastapi.testclient import TestClient
from psycopg import sql

from core.embedding import Embedder
from core.local_postgres import EmbeddedPostgres
from core.services import Services
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from serving.api.middleware import MAX_BODY_BYTES, SECURITY_HEADERS
from tests.conftest import ROOT
from tests.support.services import connect_services

ALDER = {"X-Groundwork-Tenant": "alder"}
BRIGHTWATER = {"X-Groundwork-Tenant": "brightwater"}
QUESTION = "What does ERR-4711 mean?"


@pytest.fixture(autouse=True)
def _default_logging() -> None:
    """Undo the log levels that a command of an earlier test has set in this process."""
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def client(sample_services: Services) -> TestClient:
    return TestClient(build_api(sample_services, LocalIdentity(("alder", "brightwater"))))


def problem(response: Any, status: int, slug: str = "bad-request") -> str:
    """Check that a response is a problem of RFC 9457, and return its sentence."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == status
    assert body["type"] == f"urn:groundwork:{slug}"
    assert body["title"]
    detail: str = body["detail"]
    assert detail.endswith(".")
    assert "Traceback" not in detail
    return detail


# --- answers
# ------------------------------------------------------------------------------------------------


def test_a_question_is_answered_with_citations(client: TestClient) -> None:
    given = client.post("/v1/ask", json={"question": QUESTION}, headers=ALDER).json()
    assert given["status"] == "answered"
    assert given["refusal"] is None
    numbers = {citation["number"] for citation in given["citations"]}
    assert numbers == set(range(1, len(numbers) + 1))
    assert all(
        sentence["citations"] and set(sentence["citations"]) <= numbers
        for sentence in given["sentences"]
    )
    assert "ERR-4711" in given["citations"][0]["quote"]
    assert given["searched"]["documents"] > 20


def test_a_question_without_an_answer_is_refused_with_the_closest_passages(
    client: TestClient,
) -> None:
    given = client.post(
        "/v1/ask", json={"question": "Who won the football world cup in 1998?"}, headers=ALDER
    ).json()
    assert given["status"] == "refused"
    assert given["sentences"] == given["citations"] == []
    assert given["refusal"]["reason"].endswith(".")
    assert 0 < len(given["refusal"]["closest"]) <= 3


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
def test_passages_are_found_in_every_mode(client: TestClient, mode: str) -> None:
    """Ranks start at 1, the number is the requested one, and each retriever shows its score."""
    body = {"question": QUESTION, "mode": mode, "limit": 7}
    given = client.post("/v1/search", json=body, headers=ALDER).json()
    assert [hit["rank"] for hit in given["hits"]] == list(range(1, 8))
    scores = [hit["score"] for hit in given["hits"]]
    assert scores == sorted(scores, reverse=True)
    ranked = {
        leg: [hit["legs"][leg]["rank"] for hit in given["hits"]] for leg in ("lexical", "dense")
    }
    assert any(ranked["lexical"]) is (mode != "dense")
    assert any(ranked["dense"]) is (mode != "lexical")
    assert given["mode"] == mode


@pytest.mark.parametrize(
    ("mode", "question", "status"),
    [
        ("lexical", QUESTION, "answered"),
        ("lexical", "How often must the Kestrel T5 be calibrated in waste water?", "answered"),
        ("lexical", "Who won the football world cup in 1998?", "refused"),
        ("dense", QUESTION, "answered"),
    ],
)
def test_an_answer_is_judged_in_every_mode(
    client: TestClient, mode: str, question: str, status: str
) -> None:
    """Lexical mode computes cosines too, since the answerability model needs them."""
    given = client.post("/v1/ask", json={"question": question, "mode": mode}, headers=ALDER).json()
    assert given["status"] == status


def test_a_filter_narrows_questions_and_searches(client: TestClient) -> None:
    """A refusal says that the filter left no document."""
    question = "How many unused days of leave can be carried over?"
    condition = {"field": "metadata.status", "equals": "superseded"}
    given = client.post(
        "/v1/ask", json={"question": question, "filter": condition}, headers=ALDER
    ).json()
    assert "Up to 8 unused days" in given["citations"][0]["quote"]
    assert {citation["path"] for citation in given["citations"]} == {
        "people/annual-leave-policy-2023.md"
    }
    given = client.post(
        "/v1/ask", json={"question": question, "filter": {"not": condition}}, headers=ALDER
    ).json()
    assert "Up to 5 unused days" in given["citations"][0]["quote"]
    assert "people/annual-leave-policy-2023.md" not in {
        citation["path"] for citation in given["citations"]
    }
    hits = client.post(
        "/v1/search", json={"question": question, "filter": condition}, headers=ALDER
    ).json()["hits"]
    superseded = {"people/annual-leave-policy-2023.md", "products/price-list-2025.md"}
    assert {hit["path"] for hit in hits} <= superseded
    nothing = {"field": "path", "equals": "no such file"}
    given = client.post(
        "/v1/ask", json={"question": question, "filter": nothing}, headers=ALDER
    ).json()
    assert (given["status"], given["refusal"]["closest"]) == ("refused", [])
    assert "the filter lets pass" in given["refusal"]["reason"]


def golden() -> list[dict[str, Any]]:
    questions: list[dict[str, Any]] = yaml.safe_load((ROOT / "sample" / "golden.yaml").read_text())
    return questions


def test_every_quote_is_at_its_place_in_the_document(client: TestClient) -> None:
    """Check each citation and each closest passage of all golden questions through the API."""
    texts: dict[tuple[str, str], dict[str, Any]] = {}
    checked = 0
    for case in golden():
        headers = {
            "X-Groundwork-Tenant": case["tenant"],
            "X-Groundwork-Groups": ",".join(case["groups"]),
        }
        given = client.post("/v1/ask", json={"question": case["question"]}, headers=headers).json()
        for citation in [*given["citations"], *((given["refusal"] or {}).get("closest", ()))]:
            key = (str(headers), citation["document_id"])
            if key not in texts:
                texts[key] = client.get(
                    f"/v1/documents/{citation['document_id']}", headers=headers
                ).json()
            document = texts[key]
            assert document["text"][citation["start"] : citation["end"]] == citation["quote"]
            assert (document["path"], document["version"]) == (
                citation["path"],
                citation["version"],
            )
            checked += 1
    assert checked > len(golden())


def test_a_document_has_its_text_and_structure(client: TestClient) -> None:
    """Blocks are inside the text, in order, and do not overlap."""
    hit = client.post("/v1/search", json={"question": QUESTION}, headers=ALDER).json()["hits"][0]
    document = client.get(f"/v1/documents/{hit['document_id']}", headers=ALDER).json()
    assert document["text"][hit["start"] : hit["end"]] == hit["text"]
    edges = [edge for block in document["blocks"] for edge in (block["start"], block["end"])]
    assert edges == sorted(edges)
    assert 0 <= edges[0] < edges[-1] <= len(document["text"])


def test_identity_and_health(client: TestClient) -> None:
    headers = {**BRIGHTWATER, "X-Groundwork-Groups": "finance"}
    assert client.get("/v1/me", headers=headers).json() == {
        "tenant": "brightwater",
        "groups": ["finance"],
        "identity": "local",
        "tenants": ["alder", "brightwater"],
    }
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/readyz").json() == {"status": "ready", "model": "all-MiniLM-L6-v2"}


def test_openapi_describes_every_route_but_the_page(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) == {
        "/v1/ask",
        "/v1/search",
        "/v1/conversations/{conversation_id}",
        "/v1/documents/{document_id}",
        "/v1/me",
        "/healthz",
        "/readyz",
    }
    for path in described["paths"].values():
        for operation in path.values():
            assert operation["description"]
            assert {"401", "404", "422", "503"} <= set(operation["responses"])


def test_openapi_describes_problems_and_filters(client: TestClient) -> None:
    described = client.get("/openapi.json").json()
    assert described == client.get("/openapi.json").json()
    for path, operations in described["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                streamed = {"text/event-stream"} if (path, status) == ("/v1/ask", "200") else set()
                expected = "application/json" if status == "200" else "application/problem+json"
                nothing = status == "204"
                assert set(response.get("content", ())) == (
                    set() if nothing else {expected} | streamed
                )
    for body in ("Question", "SearchQuestion"):
        shape = described["components"]["schemas"][body]["properties"]["filter"]
        named = {part.get("$ref", "").rpartition("/")[2] for part in shape["anyOf"][0]["oneOf"]}
        assert {"And", "Or", "Not", "Equals", "Range"} <= named
        assert "docs/reference/search.md" in shape["description"]


# --- refusals
# ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/ask", "/v1/search"])
@pytest.mark.parametrize(
    ("body", "slug", "says"),
    [
        ({"question": ""}, "invalid-input", "question is empty"),
        ({"question": " \x00\t"}, "invalid-input", "question is empty"),
        ({"question": "why " * 501}, "invalid-input", "2,003 characters"),
        ({"question": "why?", "tenant": "brightwater"}, "bad-request", "tenant"),
        ({"question": "why?", "mode": "psychic"}, "bad-request", "mode"),
        ({"question": 7}, "bad-request", "question"),
        ({}, "bad-request", "question"),
        (["why?"], "bad-request", "body"),
        ({"question": "why?", "filter": {}}, "invalid-input", "can't be read"),
        ({"question": "why?", "filter": "path"}, "invalid-input", "can't be read"),
        (
            {"question": "why?", "filter": {"field": "text", "equals": "x"}},
            "invalid-input",
            "no field 'text'",
        ),
        (
            {"question": "why?", "filter": {"field": "version", "equals": "x"}},
            "invalid-input",
            "a number",
        ),
        ({"question": "why?", "filter": {"or": []}}, "invalid-input", "at least 1 item"),
        ({"question": "why?", "where": "path=x"}, "bad-request", "where"),
    ],
)
def test_an_invalid_body_is_refused(
    client: TestClient, path: str, body: object, slug: str, says: str
) -> None:
    assert says in problem(client.post(path, json=body, headers=ALDER), 422, slug)


@pytest.mark.parametrize("limit", [0, -1, 101, "many", 1.5])
def test_an_invalid_limit_is_refused(client: TestClient, limit: object) -> None:
    assert "limit" in problem(
        client.post("/v1/search", json={"question": "why?", "limit": limit}), 422
    )


def test_only_a_search_has_an_explanation(client: TestClient) -> None:
    assert "explain" in problem(
        client.post("/v1/search", json={"question": "why?", "explain": "please"}), 422
    )
    assert "explain" in problem(
        client.post("/v1/ask", json={"question": "why?", "explain": True}), 422
    )


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"question=why", b"\xff\xfe", b'{"question": "\\ud800 why?"}', b"[" * 60_000],
)
def test_a_body_that_is_not_json_is_refused(client: TestClient, content: bytes) -> None:
    """Cut off, not JSON, in another encoding, with half a character, or nested without end."""
    headers = {**ALDER, "Content-Type": "application/json"}
    response = client.post("/v1/ask", content=content, headers=headers)
    assert response.status_code in (400, 422)
    problem(response, response.status_code, response.json()["type"].rpartition(":")[2])


def test_a_missing_document_and_a_hidden_one_look_alike(
    client: TestClient, sample_services: Services
) -> None:
    """The response does not reveal that a document exists."""
    with sample_services.database.writing("brightwater") as connection:
        theirs = connection.execute("select document_id from document limit 1").fetchone()
    with sample_services.database.writing("alder") as connection:
        secret = connection.execute(
            "select document_id from document where path like 'finance/%' limit 1"
        ).fetchone()
    assert theirs
    assert secret
    assert client.get(f"/v1/documents/{theirs[0]}", headers=BRIGHTWATER).status_code in (200, 404)
    nobodys = client.get(f"/v1/documents/{uuid.uuid4()}", headers=ALDER)
    problem(nobodys, 404, "not-found")
    for document_id in (theirs[0], secret[0]):
        assert client.get(f"/v1/documents/{document_id}", headers=ALDER).json() == nobodys.json()
    finance = {**ALDER, "X-Groundwork-Groups": "finance"}
    assert client.get(f"/v1/documents/{secret[0]}", headers=finance).status_code == 200
    assert "document_id" in problem(client.get("/v1/documents/7", headers=ALDER), 422)


def test_a_body_that_is_too_large_or_has_no_length_is_refused(client: TestClient) -> None:
    headers = {**ALDER, "Content-Type": "application/json"}
    body = b'{"question": "why?"}'
    large = client.post("/v1/ask", content=body + b" " * MAX_BODY_BYTES, headers=headers)
    assert "64 KiB" in problem(large, 413)
    assert "Content-Length" in problem(
        client.post("/v1/ask", content=iter([body]), headers=headers), 411
    )
    for length in ("-1", "many", "1e9"):
        wrong = client.post("/v1/ask", content=body, headers={**headers, "Content-Length": length})
        problem(wrong, 411)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "evil.example:8080", "[::2]", "", "localhost."],
)
def test_a_foreign_host_name_is_refused(client: TestClient, host: str) -> None:
    """DNS rebinding: a foreign page must not use a person's local service."""
    assert "host name" in problem(
        client.post("/v1/ask", json={"question": "why?"}, headers={"Host": host}), 400
    )
    problem(client.get("/", headers={"Host": host}), 400)


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8080", "localhost", "LOCALHOST:80", "[::1]:8080", "[::1]"]
)
def test_a_loopback_host_name_is_accepted(client: TestClient, host: str) -> None:
    assert client.get("/healthz", headers={"Host": host}).status_code == 200


def test_unknown_paths_and_methods_are_problems(client: TestClient) -> None:
    problem(client.get("/v1/nonsense"), 404)
    problem(client.get("/v1/ask"), 405)
    problem(client.get("/static/../api.py"), 404)
    problem(client.get("/static/%2e%2e/api.py"), 404)


@pytest.mark.parametrize(
    "headers", [{"X-Groundwork-Tenant": "a\tb"}, {"X-Groundwork-Groups": "a\tb"}]
)
def test_a_name_with_a_control_character_is_refused(
    client: TestClient, headers: dict[str, str]
) -> None:
    assert "name" in problem(client.get("/v1/me", headers=headers), 422, "invalid-input")


@pytest.fixture
def deserted(
    server: EmbeddedPostgres, clone: Callable[[], str], home: Path, embedder: Embedder
) -> Iterator[TestClient]:
    """Return a service whose database has been dropped."""
    name = clone()
    with connect_services(server, name, home, embedder) as services:
        services.database._pool.timeout = 0.5  # seconds; ten are for servers that restart
        client = TestClient(build_api(services, LocalIdentity(("alder",))))
        assert client.get("/readyz").status_code == 200
        with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
            connection.execute(
                sql.SQL("drop database {} with (force)").format(sql.Identifier(name))
            )
        yield client


def test_without_its_database_the_service_is_unavailable(deserted: TestClient) -> None:
    """Routes that need the database return 503; the process itself is healthy."""
    for response in (
        deserted.post("/v1/ask", json={"question": "why?"}),
        deserted.post("/v1/search", json={"question": "why?", "mode": "lexical"}),
        deserted.get(f"/v1/documents/{uuid.uuid4()}"),
        deserted.get("/readyz"),
    ):
        assert "database" in problem(response, 503, "unavailable")
    assert deserted.get("/healthz").status_code == 200
    assert deserted.get("/").status_code == 200


def test_only_failed_health_checks_are_logged(client: TestClient, deserted: TestClient) -> None:
    with structlog.testing.capture_logs() as logs:
        assert client.get("/healthz").status_code == client.get("/readyz").status_code == 200
    assert logs == []
    with structlog.testing.capture_logs() as logs:
        assert deserted.get("/readyz").status_code == 503
    assert [(log["event"], log["route"], log["status"]) for log in logs] == [
        ("request", "/readyz", 503)
    ]


def test_an_unexpected_error_is_logged_and_hidden(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller gets an id that finds the log entry, and no details."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the inside")

    monkeypatch.setattr("serving.api.routes.questions.stream_answer", fail)
    with structlog.testing.capture_logs() as logs:
        response = client.post("/v1/ask", json={"question": "why?"})
    assert response.headers["X-Request-Id"] in problem(response, 500)
    assert "secret" not in response.text
    assert guarded(response)
    assert [log["event"] for log in logs] == ["unforeseen", "request"]
    assert {log["request_id"] for log in logs} == {response.headers["X-Request-Id"]}


# --- headers and logs ---------------------------------------------------------------


def guarded(response: Any) -> bool:
    return all(response.headers.get(name) == value for name, value in SECURITY_HEADERS.items())


def test_every_response_carries_the_security_headers(client: TestClient) -> None:
    responses = [
        client.get("/"),
        client.get("/static/app.js"),
        client.get("/healthz"),
        client.get("/v1/nonsense"),
        client.post("/v1/ask", json={"question": ""}),
        client.get("/healthz", headers={"Host": "evil.example"}),
        client.post("/v1/ask", content=b" " * (MAX_BODY_BYTES + 1)),
    ]
    assert all(guarded(response) for response in responses)
    assert len({response.headers["X-Request-Id"] for response in responses}) == len(responses)


def test_the_page_complies_with_its_content_security_policy(client: TestClient) -> None:
    """Scripts and styles are files of the service: nothing is inline or comes from elsewhere."""
    policy = client.get("/").headers["Content-Security-Policy"]
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert "*" not in policy
    page = client.get("/").text
    assert not re.search(
        r"<script(?![^>]*\bsrc=)|<style\b|\sstyle=|\son\w+=|javascript:", page, re.IGNORECASE
    )
    for address in re.findall(r"(?:src|href)=\"([^\"]+)\"", page):
        assert not address.startswith(("http:", "https:", "//")), address
        if address.startswith("/static/"):
            assert client.get(address).status_code == 200, address
    script = client.get("/static/app.js").text
    assert not re.search(
        r"\binnerHTML\b|\bouterHTML\b|insertAdjacentHTML|document\.write|\beval\(", script
    )


def test_no_question_and_no_name_is_logged(client: TestClient) -> None:
    """The log has every request, but none of its content."""
    secret = "zanzibarplan"
    question = f"What does ERR-4711 mean for {secret}?"
    headers = {
        **ALDER,
        "X-Groundwork-Groups": secret,
        "Authorization": f"Bearer {secret}",
        "Cookie": secret,
    }
    with structlog.testing.capture_logs() as logs:
        for body in (
            {"question": question},
            {"question": question * 99},
            {"question": question, secret: secret},
            {"question": [secret]},
        ):
            for path in ("/v1/ask", "/v1/search"):
                client.post(path, json=body, headers=headers)
        client.post("/v1/ask", content=question.encode() * 9999, headers=headers)
        client.get(f"/v1/documents/{secret}", headers=headers)
        client.get(f"/{secret}?q={secret}", headers=headers)
    assert len(logs) == 11
    assert secret not in repr(logs)
    assert all(log["request_id"] and log["status"] and log["milliseconds"] >= 0 for log in logs)
    assert {log["route"] for log in logs} >= {
        "/v1/ask",
        "/v1/search",
        "/v1/documents/{document_id}",
    }
