"""Attacks on the service: every route, forged tokens, smuggled requests."""

import asyncio
import base64
import contextlib
import http.client
import json
import random
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode

import jwt
import uvicorn
from fastapi import FastAPI

from bench.attack.target import (
    Observation,
    Target,
    choose_paper,
    filter_for_paper,
    question_about,
    random_asker,
)
from core.principal import Principal
from core.services import Services
from serving.api.app import build_api
from serving.api.identity import IdentityProvider, JwtIdentity
from serving.api.server import claim_port

SIGNING_KEY = "a key that only the service and the issuer of its tokens know"
WRONG_KEY = "an invented key of the same length as the right key, but wrong"
AUDIENCE = "groundwork"
TOKEN_LIFETIME_SECONDS = 3600
KEEP_ALIVE_SECONDS = 600  # threads also run other attacks in between
REPLY_TIMEOUT_SECONDS = 30
SILENCE_TIMEOUT_SECONDS = 1  # for raw requests; the server may wait for more data
MODES = ("hybrid", "dense", "lexical")


@dataclass(frozen=True, slots=True)
class Request:
    """Request to the service."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def describe(self) -> str:
        """Return the whole request as text, without the token."""
        shown = {name: value for name, value in self.headers.items() if name != "Authorization"}
        return f"{self.method} {self.path} {shown} {self.body.decode(errors='replace')}"


@dataclass(frozen=True, slots=True)
class Reply:
    """Reply of the service; `head` has the header lines."""

    status: int
    head: str
    body: str


Send = Callable[[Target, Request], Reply]


# --- callers and tokens ---------------------------------------------------------------------------


def make_token(
    principal: Principal, key: str = SIGNING_KEY, algorithm: str = "HS256", **changes: Any
) -> str:
    """Return a valid token, or one with changed claims (None: left out)."""
    claims: dict[str, Any] = {
        "tenant": principal.tenant,
        "groups": list(principal.groups),
        "sub": "someone",
        "aud": AUDIENCE,
        "exp": time.time() + TOKEN_LIFETIME_SECONDS,
    }
    claims = {name: value for name, value in (claims | changes).items() if value is not None}
    return jwt.encode(claims, key, algorithm)


def bearer_header(bearer: str) -> dict[str, str]:
    """Return the header with a token."""
    return {"Authorization": f"Bearer {bearer}"}


def make_false_token(principal: Principal, other: Principal, chance: random.Random) -> str:
    """Return a forged, damaged or expired token in a principal's name."""
    head, _, signature = make_token(other).split(".")
    payload = make_token(principal).split(".")[1]
    unsigned = [
        {"alg": "none"},
        {"alg": "HS256", "kid": "../../dev/null"},
        {"alg": "HS256", "jku": "http://127.0.0.1/"},
    ]
    forged = [
        f"{head}.{payload}.{signature}",
        f"{_encode_part(chance.choice(unsigned))}.{payload}.",
        make_token(principal, WRONG_KEY),
        make_token(principal, WRONG_KEY * 2, "HS512"),
        make_token(principal, exp=time.time() - 1),
        make_token(principal, nbf=time.time() + TOKEN_LIFETIME_SECONDS),
        make_token(principal, aud="another"),
        make_token(principal, exp=None),
        make_token(principal, sub=None),
        make_token(principal, tenant=None),
        make_token(principal, tenant=[principal.tenant]),
        make_token(principal, tenant={"name": principal.tenant}),
        make_token(principal, tenant=""),
        make_token(principal, groups="finance"),
        make_token(principal, groups=[["finance"]]),
        make_token(principal, groups=["staff\x1ffinance"]),
        f"{make_token(principal)}x",
        f"{make_token(principal)[:-4]}AAAA",
        payload,
        "",
    ]
    return chance.choice(forged)


def _encode_part(part: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()


class TrustingIdentity:
    """Identity provider of the control, which accepts every token."""

    name = "jwt"
    tenants: tuple[str, ...] = ()

    def identify(self, headers: Mapping[str, str]) -> Principal:
        """See `IdentityProvider`."""
        parts = headers.get("authorization", "").partition(" ")[2].split(".")
        try:
            claims = json.loads(base64.urlsafe_b64decode(parts[min(1, len(parts) - 1)] + "=="))
            return Principal(str(claims["tenant"]), tuple(map(str, claims.get("groups", []))))
        except (ValueError, KeyError):
            return Principal("nobody")


def service_identity() -> IdentityProvider:
    """Return the identity provider under attack: the service's own."""
    return JwtIdentity(SIGNING_KEY, "HS256", AUDIENCE)


# --- interfaces of the service --------------------------------------------------------------------

_thread_state = threading.local()


def in_process(target: Target, request: Request) -> Reply:
    """Call the application directly, as a server would."""
    if not hasattr(_thread_state, "runner"):
        _thread_state.runner = asyncio.Runner()
    runner: asyncio.Runner = _thread_state.runner
    return runner.run(_call_application(target.api, request))


async def _call_application(api: FastAPI, request: Request) -> Reply:
    path, _, query = request.path.partition("?")
    headers = {
        "host": "127.0.0.1",
        "content-length": str(len(request.body)),
        "content-type": "application/json",
    }
    headers |= {name.lower(): value for name, value in request.headers.items()}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [
            (name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    sent: list[Any] = []

    waiting: list[dict[str, Any]] = [
        {"type": "http.request", "body": request.body, "more_body": False}
    ]

    async def receive() -> dict[str, Any]:
        return waiting.pop() if waiting else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    await api(scope, receive, send)
    head = "\n".join(
        f"{name.decode()}: {value.decode('latin-1')}" for name, value in sent[0]["headers"]
    )
    return Reply(
        sent[0]["status"],
        head,
        b"".join(part.get("body", b"") for part in sent[1:]).decode(errors="replace"),
    )


def over_http(target: Target, request: Request) -> Reply:
    """Send over a connection that this thread reuses for all tenants."""
    connection: http.client.HTTPConnection | None = getattr(_thread_state, "connection", None)
    if connection is None or connection.port != target.port:
        connection = _thread_state.connection = http.client.HTTPConnection(
            "127.0.0.1", target.port, timeout=REPLY_TIMEOUT_SECONDS
        )
    try:
        connection.request(
            request.method,
            request.path,
            request.body,
            {"Content-Type": "application/json", **request.headers},
        )
        response = connection.getresponse()
        head = "\n".join(f"{name}: {value}" for name, value in response.getheaders())
        return Reply(response.status, head, response.read().decode(errors="replace"))
    except (http.client.HTTPException, OSError):
        connection.close()
        raise


@contextlib.contextmanager
def serve_api(api: FastAPI) -> Iterator[int]:
    """Serve on loopback; yield the port."""
    listener = claim_port("127.0.0.1", 0)
    config = uvicorn.Config(
        api,
        log_config=None,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=1,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join(REPLY_TIMEOUT_SECONDS)


def build_signed_api(services: Services) -> FastAPI:
    """Return the application with signed tokens."""
    return build_api(services, service_identity())


# --- attacks --------------------------------------------------------------------------------------


def attack_routes(send: Send) -> Callable[[Target, random.Random], Observation]:
    """Return an attack on every route with a valid token."""

    def attack(target: Target, chance: random.Random) -> Observation:
        asker = random_asker(target.estate, chance)
        request = chance.choice(REQUEST_MAKERS)(target, asker, chance)
        headers = {
            **bearer_header(make_token(asker)),
            **_misleading_headers(target, chance),
            **request.headers,
        }
        request = Request(request.method, request.path, request.body, headers)
        reply = send(target, request)
        own_names = f"{asker.tenant} {asker.groups}" if request.path.startswith("/v1/me") else ""
        return _observe(target, asker, request, reply, own_names)

    return attack


def _observe(
    target: Target, asker: Principal | None, request: Request, reply: Reply, own_names: str = ""
) -> Observation:
    sent, got = f"{request.describe()} {own_names}", f"{reply.status}\n{reply.head}\n{reply.body}"
    if reply.status >= 500:
        return Observation(asker, sent, got, f"status {reply.status}")
    if asker is None and reply.status != 401:
        return Observation(asker, sent, got, f"a false token got status {reply.status}")
    wrong = ""
    if (
        asker is not None
        and reply.status == 200
        and request.path.startswith(("/v1/ask", "/v1/search"))
    ):
        wrong = _check_counts(target, asker, request, json.loads(reply.body))
    return Observation(asker, sent, got, wrong)


def _check_counts(target: Target, asker: Principal, request: Request, body: dict[str, Any]) -> str:
    documents, passages = target.estate.count_readable(asker)
    if body["searched"] != {"documents": documents, "passages": passages}:
        return f"it searched {body['searched']}, but {documents} documents are readable"
    explained = body.get("explanation") or {}
    passed = explained.get("passed") or {"documents": 0, "passages": 0}
    if passed["documents"] > documents or passed["passages"] > passages:
        return "a filter let more pass than is readable"
    return ""


RequestMaker = Callable[[Target, Principal, random.Random], Request]


def _make_ask(target: Target, asker: Principal, chance: random.Random) -> Request:
    paper = choose_paper(target.estate, asker, chance)
    body = {
        "question": question_about(paper),
        "mode": chance.choice(MODES),
        "filter": filter_for_paper(paper, chance)[0],
    }
    return Request("POST", "/v1/ask", json.dumps(body).encode())


def _make_search(target: Target, asker: Principal, chance: random.Random) -> Request:
    paper = choose_paper(target.estate, asker, chance)
    lexical = f"{chance.choice(paper.canaries)} {chance.choice(target.estate.removed_marks)}"
    mode = chance.choice(MODES)
    body = {
        "question": lexical if mode == "lexical" else question_about(paper),
        "mode": mode,
        "filter": filter_for_paper(paper, chance)[0],
        "limit": chance.choice((1, 10, 100)),
        "explain": chance.random() < 0.1,
    }
    return Request("POST", "/v1/search", json.dumps(body).encode())


def _make_document(target: Target, asker: Principal, chance: random.Random) -> Request:
    paper = choose_paper(target.estate, asker, chance)
    document_id = paper.document_id
    document_id = chance.choice(
        [
            document_id,
            document_id,
            document_id.upper(),
            document_id.replace("-", ""),
            f"urn:uuid:{document_id}",
        ]
    )
    return Request(chance.choice(["GET"] * 4 + ["HEAD"]), f"/v1/documents/{document_id}")


def _make_me(target: Target, asker: Principal, chance: random.Random) -> Request:
    return Request("GET", "/v1/me")


def _make_plain(target: Target, asker: Principal, chance: random.Random) -> Request:
    """Return a request without need of a caller, next to the routes, or with a wrong method."""
    paper = choose_paper(target.estate, asker, chance)
    path = chance.choice(
        [
            "/",
            "/healthz",
            "/readyz",
            "/openapi.json",
            "/docs",
            "/redoc",
            "/docs/oauth2-redirect",
            "/static/index.html",
            "/static/../api.py",
            "/static/%2e%2e/api.py",
            f"/static/{paper.path}",
            "/metrics",
            "/v1/documents",
            f"/v1/documents/{paper.document_id}/",
            f"//v1/documents/{paper.document_id}",
            f"/v1/documents/..;/{paper.document_id}",
            f"/v1/documents/{paper.document_id}/chunks",
            "/v1/tenants",
            f"/v1/documents/{paper.document_id}%00",
            f"/v1/documents/{paper.path}",
            "/v1/runs",
            "/.env",
        ]
    )
    return Request(
        chance.choice(["GET", "GET", "GET", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE"]),
        path,
    )


def _make_broken(target: Target, asker: Principal, chance: random.Random) -> Request:
    """Return a request with an unreadable or excessive body."""
    paper = choose_paper(target.estate, asker, chance)
    question = question_about(paper)
    bodies: list[Any] = [
        {"question": question, "tenant": paper.tenant, "groups": sorted(paper.readers)},
        {"question": question, "principal": {"tenant": paper.tenant}},
        {"question": [question]},
        {"question": ""},
        {"question": "x" * 3000},
        {"question": f"{question}\x00"},
        {"question": "\ud800"},
        {"question": question, "mode": "all"},
        {"question": question, "limit": 10**9},
        {"question": question, "filter": {"field": "tenant_id", "equals": paper.tenant}},
        {"question": question, "filter": {"field": "readers", "exists": False}},
        {"question": question, "filter": {"field": "metadata.' or true --", "exists": True}},
        {"question": question, "filter": {"field": "path", "equals": {"date": paper.tenant}}},
        {
            "question": question,
            "filter": {"field": "document_id) or (true", "equals": paper.document_id},
        },
        [question],
        paper.document_id,
    ]
    body = json.dumps(chance.choice(bodies)).encode()
    if chance.random() < 0.1:
        body = chance.choice([b"", b"{", b"\xff\xfe", body * 1000, body[:-1]])
    return Request("POST", chance.choice(["/v1/ask", "/v1/search"]), body)


REQUEST_MAKERS: tuple[RequestMaker, ...] = (
    _make_ask,
    _make_search,
    _make_search,
    _make_search,
    _make_document,
    _make_document,
    _make_me,
    _make_plain,
    _make_broken,
)


def _misleading_headers(target: Target, chance: random.Random) -> dict[str, str]:
    """Return headers that name another tenant; the service must ignore them."""
    if chance.random() < 0.7:
        return {}
    paper = chance.choice(target.estate.papers)
    group = next(iter(sorted(paper.readers)), "finance")
    return chance.choice(
        [
            {"X-Groundwork-Tenant": paper.tenant, "X-Groundwork-Groups": group},
            {"Cookie": f"tenant={paper.tenant}; groups={group}"},
            {
                "X-Forwarded-User": paper.tenant,
                "X-Remote-User": paper.tenant,
                "X-Tenant-Id": paper.tenant,
            },
            {
                "X-HTTP-Method-Override": "DELETE",
                "X-Original-URL": f"/v1/documents/{paper.document_id}",
            },
            {"Forwarded": f"for=127.0.0.1;host={paper.tenant}", "X-Forwarded-Host": paper.tenant},
        ]
    )


def attack_parameters(target: Target, chance: random.Random) -> Observation:
    """Send a valid token, and another tenant in the URL."""
    asker = random_asker(target.estate, chance)
    paper = choose_paper(target.estate, asker, chance)
    parameters = {
        "tenant": paper.tenant,
        "tenant_id": paper.tenant,
        "groups": ",".join(paper.readers),
        "sub": "admin",
    }
    search = _make_search(target, asker, chance)
    request = Request(
        "POST",
        f"{search.path}?{urlencode(parameters)}",
        search.body,
        bearer_header(make_token(asker)),
    )
    if chance.random() < 0.5:
        path = f"/v1/documents/{paper.document_id}?{urlencode(parameters)}"
        request = Request("GET", path, b"", bearer_header(make_token(asker)))
    return _observe(target, asker, request, in_process(target, request))


def attack_conversations(target: Target, chance: random.Random) -> Observation:
    """Read, delete, continue or search the conversation of another user."""
    asker = random_asker(target.estate, chance)
    near = [
        conversation
        for conversation in target.estate.conversations
        if conversation.tenant == asker.tenant
    ]
    conversation = chance.choice(
        near if near and chance.random() < 0.6 else target.estate.conversations
    )
    path = f"/v1/conversations/{conversation.conversation_id}"
    follow_up = {"question": "And what was the code?", "conversation": conversation.conversation_id}
    requests = [
        Request("GET", path),
        Request("GET", path),
        Request("HEAD", path),
        Request("DELETE", path),
        Request("POST", "/v1/ask", json.dumps(follow_up).encode()),
        Request(
            "POST",
            "/v1/ask",
            json.dumps({"question": conversation.canary, "conversation": "new"}).encode(),
        ),
    ]
    request = chance.choice(requests)
    request = replace(
        request, headers={**bearer_header(make_token(asker)), **_misleading_headers(target, chance)}
    )
    reply = in_process(target, request)
    hidden = "new" in request.body.decode() or reply.status in (404, 405)
    return Observation(
        asker,
        request.describe(),
        f"{reply.status}\n{reply.head}\n{reply.body}",
        "" if hidden else f"status {reply.status}",
    )


def send_false_token(target: Target, chance: random.Random) -> Observation:
    """Send false tokens to routes that return data."""
    victim, other = random_asker(target.estate, chance), random_asker(target.estate, chance)
    make_request = chance.choice([_make_ask, _make_search, _make_document, _make_me])
    valid_request = make_request(target, victim, chance)
    bearer = make_false_token(victim, other, chance)
    headers = chance.choice(
        [bearer_header(bearer)] * 4
        + [{}, {"Authorization": make_token(victim)}, {"Cookie": make_token(victim)}]
    )
    request = Request(
        valid_request.method.replace("HEAD", "GET"), valid_request.path, valid_request.body, headers
    )
    return _observe(target, None, request, in_process(target, request))


def compare_hidden_and_absent(target: Target, chance: random.Random) -> Observation:
    """Compare the replies for a hidden and an absent id; they must be identical."""
    asker = random_asker(target.estate, chance)
    hidden_papers = [
        paper for paper in chance.sample(target.estate.papers, 8) if not paper.is_readable_by(asker)
    ]
    hidden_mark = chance.choice(
        [
            *(paper.document_id for paper in hidden_papers),
            chance.choice(target.estate.removed_marks),
        ]
    )
    path = (
        f"/v1/documents/{hidden_mark}"
        if len(hidden_mark) == 36
        else f"/v1/documents/{uuid.uuid5(uuid.NAMESPACE_URL, hidden_mark)}"
    )
    request = Request("GET", path, b"", bearer_header(make_token(asker)))
    absent = Request(
        "GET", f"/v1/documents/{uuid.UUID(int=chance.getrandbits(128))}", b"", request.headers
    )
    reply, absent_reply = in_process(target, request), in_process(target, absent)
    same = (
        reply.status == absent_reply.status == 404
        and reply.body == absent_reply.body
        and _stable_headers(reply) == _stable_headers(absent_reply)
    )
    return Observation(
        asker, path, f"{reply.head}\n{reply.body}", "" if same else "hidden and absent differ"
    )


def _stable_headers(reply: Reply) -> str:
    return "\n".join(
        line for line in reply.head.splitlines() if not line.lower().startswith("x-request-id")
    )


def smuggle_requests(target: Target, chance: random.Random) -> Observation:
    """Send bytes that a parser may read as more or other requests."""
    asker = random_asker(target.estate, chance)
    paper = chance.choice(
        [paper for paper in target.estate.papers if not paper.is_readable_by(asker)]
    )
    inner = f"GET /v1/documents/{paper.document_id} HTTP/1.1\r\nHost: 127.0.0.1\r\n".encode()
    good = f"Authorization: Bearer {make_token(asker)}\r\n".encode()
    bad = (
        b"Authorization: Bearer "
        + make_token(Principal(paper.tenant, tuple(paper.readers)), WRONG_KEY).encode()
        + b"\r\n"
    )
    end = b"Connection: close\r\n\r\n"
    search = (
        b"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n" + good
    )
    raw = chance.choice(
        [
            search
            + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
            + inner
            + end,
            search + b"Content-Length: 4\r\nContent-Length: 400\r\n\r\n" + inner + end,
            search + b"Transfer-Encoding: identity\r\n\r\n" + inner + end,
            search + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + inner + end,
            search + f"Content-Length: {len(inner + end)}\r\n\r\n".encode() + inner + end,
            inner + good + bad + end,
            inner + bad + good + end,
            inner + good + b"X-Groundwork-Tenant:\r\n " + paper.tenant.encode() + b"\r\n" + end,
            inner + good + b"\r\n" + inner + end,
            inner + b"X: a\r\n" + good[:-2] + b"\n" + end,
            inner.replace(b"GET /", b"GET http://127.0.0.1/") + good + end,
            inner + good + b"Connection: Authorization\r\n" + end,
            inner.replace(b"HTTP/1.1", b"HTTP/1.0") + good + end,
            inner + good + b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n" + end,
        ]
    )
    sent = raw.decode().replace(make_token(asker), "")
    return Observation(asker, f"{sent} {asker.tenant}", _send_raw(target.port, raw))


def _send_raw(port: int, raw: bytes) -> str:
    """Return all bytes that come back for some bytes."""
    with socket.create_connection(
        ("127.0.0.1", port), timeout=SILENCE_TIMEOUT_SECONDS
    ) as connection:
        connection.sendall(raw)
        got = b""
        with contextlib.suppress(ConnectionError, TimeoutError):
            while part := connection.recv(65536):
                got += part
    return got.decode(errors="replace")


def abort_request(target: Target, chance: random.Random) -> Observation:
    """Hang up during one tenant's question; then send another tenant's request."""
    first = random_asker(target.estate, chance)
    request = _make_search(target, first, chance)
    head = f"POST /v1/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(request.body)}\r\n"
    raw = (
        f"{head}Content-Type: application/json\r\nAuthorization: Bearer "
        f"{make_token(first)}\r\n\r\n".encode()
        + request.body
    )
    with socket.create_connection(
        ("127.0.0.1", target.port), timeout=REPLY_TIMEOUT_SECONDS
    ) as connection:
        connection.sendall(raw[: chance.randint(len(raw) // 2, len(raw))])
    return attack_routes(over_http)(target, chance)
