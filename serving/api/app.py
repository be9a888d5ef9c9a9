"""The service: questions, passages and documents over HTTP, and the page that uses them.

groundwork serve     then open the address it prints; /docs has the OpenAPI pages
"""

import re
import threading
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator, Set
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import structlog
from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from core.db.checks import check_ready
from core.errors import GroundworkError, OverBudget
from core.principal import Principal
from core.services import Services
from retrieval.retriever import check_question, retrieve
from serving.answering import answer_cache
from serving.answering.conversation.conversation import answer_in_conversation
from serving.answering.conversation.history import ConversationHistory
from serving.answering.generator.registry import create_generator
from serving.answering.pipeline import stream_answer
from serving.answering.types import AnswerEvent
from serving.api.identity import LOOPBACK_HOSTS, IdentityProvider
from serving.api.schemas import (
    AnswerOut,
    ConversationOut,
    DocumentOut,
    Me,
    Problem,
    Question,
    SearchOut,
    SearchQuestion,
)
from serving.api.stored_document import fetch_document
from serving.api.streaming import EVENT_STREAM_TYPE, collect_answer, stream_response
from serving.gateway.types import CancellableModels, Models, NoModelAvailable
from serving.usage.budgets import find_tightest_budget
from serving.usage.meter import PostgresMeter

WEB_FOLDER = Path(__file__).parent / "web"
MAX_BODY_BYTES = 64 * 1024  # bytes; a question has 2,000 characters at most

CallNext = Callable[[Request], Awaitable[Response]]

log = structlog.get_logger("groundwork.api")

FIELD_NAME = re.compile(r"[a-z_]{1,24}")

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}  # in OpenAPI
HEALTH_PATHS = ("/healthz", "/readyz")  # asked every few seconds; logged only when all is not well
DOCS_PATHS = (
    "/docs",
    "/redoc",
    "/openapi.json",
)  # FastAPI's own pages load their scripts from elsewhere


def build_api(
    services: Services, identity: IdentityProvider, models: Models | None = None
) -> FastAPI:
    """The application on open services. It keeps no state of its own, so any number of copies may run."""
    api = FastAPI(
        title="Groundwork",
        version=version("groundwork"),
        summary="Grounded answers with citations, or an honest refusal.",
        responses={
            code: {"model": Problem, "description": "A problem (RFC 9457)"}
            for code in (401, 404, 422, 429, 503)
        },
    )
    _add_error_handlers(api)
    _describe_problems(api)
    # A page elsewhere must not talk to us through a name that it points at this machine (DNS rebinding).
    hosts = frozenset((*LOOPBACK_HOSTS, "testserver")) if identity.name == "local" else None

    @api.middleware("http")
    async def guard(request: Request, forward: CallNext) -> Response:
        return await _handle_request(request, forward, hosts)

    def principal(request: Request) -> Principal:
        return identity.identify(request.headers)

    Asker = Annotated[Principal, Depends(principal)]
    meter, responses = PostgresMeter(services.database), answer_cache.create_answer_cache(services)

    def payer(asker: Asker, request: Request) -> Principal:
        tight = find_tightest_budget(meter.admit_request(asker))
        request.state.budget = tight.describe() if tight else ""
        return asker

    Payer = Annotated[Principal, Depends(payer)]

    def answering(
        body: Question, asker: Principal, disconnected: threading.Event
    ) -> Iterator[AnswerEvent]:
        question = check_question(body.question)
        own_models = CancellableModels(models, disconnected) if models else None
        how: dict[str, Any] = {
            "generator": create_generator(services.settings, own_models, asker),
            "mode": body.mode,
            "where": body.filter,
            "answer_cache": responses,
        }
        if body.conversation is None:
            return stream_answer(services, asker, question, **how)
        begun = (
            ConversationHistory(services, asker).create_conversation()
            if body.conversation == "new"
            else body.conversation
        )
        return answer_in_conversation(services, asker, question, begun, own_models, **how)

    @api.post(
        "/v1/ask",
        tags=["questions"],
        response_model=AnswerOut,
        responses={200: {"content": {EVENT_STREAM_TYPE: {}}}},
    )
    async def ask(body: Question, asker: Payer, request: Request) -> AnswerOut | Response:
        """Answer a question from the documents that the caller may read, every sentence cited, or refuse.

        With `Accept: text/event-stream` sentences come one by one, each as soon as it is verified (docs/reference/answers.md).
        """
        disconnected = threading.Event()
        events = await run_sync(answering, body, asker, disconnected)
        if EVENT_STREAM_TYPE in request.headers.get("accept", ""):
            return await run_sync(stream_response, events, disconnected)
        return await collect_answer(events, request, disconnected)

    @api.post("/v1/search", tags=["questions"])
    def search(body: SearchQuestion, asker: Payer) -> SearchOut:
        """The passages that answer a question best, and why."""
        return SearchOut.of(
            retrieve(
                services,
                asker,
                body.question,
                limit=body.limit,
                mode=body.mode,
                where=body.filter,
                explain=body.explain,
            )
        )

    @api.get("/v1/conversations/{conversation_id}", tags=["conversations"])
    def conversation(conversation_id: UUID, asker: Asker) -> ConversationOut:
        """What was asked in a conversation of the caller's."""
        return ConversationOut.of(
            conversation_id, ConversationHistory(services, asker).read_turns(conversation_id)
        )

    @api.delete("/v1/conversations/{conversation_id}", tags=["conversations"], status_code=204)
    def forget(conversation_id: UUID, asker: Asker) -> Response:
        """Delete a conversation of the caller's, at once."""
        ConversationHistory(services, asker).delete(conversation_id)
        return Response(status_code=204)

    @api.get("/v1/documents/{document_id}", tags=["documents"])
    def document(document_id: UUID, asker: Asker) -> DocumentOut:
        """A document's text and structure, to show a quote where it stands."""
        return DocumentOut.of(fetch_document(services.database, asker, document_id))

    @api.get("/v1/me", tags=["identity"])
    def me(asker: Asker) -> Me:
        """Who the service takes the caller for."""
        return Me(
            tenant=asker.tenant,
            groups=list(asker.groups),
            identity=identity.name,
            tenants=list(identity.tenants),
        )

    @api.get("/healthz", tags=["operation"])
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @api.get("/readyz", tags=["operation"])
    def readyz() -> dict[str, str]:
        """The database answers and the model is loaded."""
        with services.database.connection() as connection:
            check_ready(connection)
        return {"status": "ready", "model": services.embedder().model.name}

    @api.get("/", include_in_schema=False)
    def page() -> FileResponse:
        return FileResponse(WEB_FOLDER / "index.html")

    api.mount("/static", StaticFiles(directory=WEB_FOLDER), name="static")
    return api


async def _handle_request(
    request: Request, call_next: CallNext, hosts: Set[str] | None
) -> Response:
    """Refuse foreign hosts and oversized bodies, set the security headers, log the request without what was asked."""
    began, request_id = time.perf_counter(), uuid.uuid4().hex
    response: Response | None = _reject_early(request, hosts)
    try:
        response = response or await call_next(request)
    except Exception as error:  # a fault of ours: the caller gets a problem, the log gets the rest
        log.error("unforeseen", request_id=request_id, error=type(error).__name__, exc_info=error)
        response = problem_response(
            GroundworkError(f"Something went wrong here; the log has it under {request_id}."), 500
        )
    if request.url.path not in DOCS_PATHS:
        response.headers.update(SECURITY_HEADERS)
    response.headers["X-Request-Id"] = request_id
    if tight := getattr(request.state, "budget", ""):
        response.headers["X-Groundwork-Budget"] = tight
    if request.url.path in HEALTH_PATHS and response.status_code == 200:
        return response
    log.info(
        "request",
        request_id=request_id,
        method=request.method,
        route=getattr(request.scope.get("route"), "path", None),
        status=response.status_code,
        milliseconds=round((time.perf_counter() - began) * 1000, 1),
    )
    return response


def _reject_early(request: Request, hosts: Set[str] | None) -> JSONResponse | None:
    """What is refused before anything is read of it."""
    length = request.headers.get("content-length", "0")
    if hosts is not None and _host_name(request) not in hosts:
        return problem_response(
            GroundworkError("The service does not answer to this host name; use 127.0.0.1."), 400
        )
    if "transfer-encoding" in request.headers or not length.isdecimal():
        return problem_response(
            GroundworkError("The request does not say how long it is; send Content-Length."), 411
        )
    if int(length) > MAX_BODY_BYTES:
        too_large = (
            f"The request is larger than {MAX_BODY_BYTES // 1024} KiB; shorten the question."
        )
        return problem_response(GroundworkError(too_large), 413)
    return None


def _host_name(request: Request) -> str:
    """The name in the Host header, without port and brackets."""
    host = request.headers.get("host", "").lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def problem_response(error: GroundworkError, status: int | None = None) -> JSONResponse:
    """An error as RFC 9457 wants it."""
    body = Problem.of(error, status)
    headers = {"WWW-Authenticate": "Bearer"} if body.status == 401 else {}
    if isinstance(error, OverBudget | NoModelAvailable) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(
        body.model_dump(), body.status, headers, media_type="application/problem+json"
    )


def _describe_problems(api: FastAPI) -> None:
    """Problems go out as application/problem+json; FastAPI describes every body as application/json."""
    describe = api.openapi

    def described() -> dict[str, Any]:
        if api.openapi_schema is None:
            operations = [
                operation for path in describe()["paths"].values() for operation in path.values()
            ]
            for response in [
                one for operation in operations for one in operation["responses"].values()
            ]:
                content = response.get("content", {})
                if content.get("application/json", {}).get("schema") == PROBLEM_SCHEMA:
                    content["application/problem+json"] = content.pop("application/json")
        return describe()

    api.openapi = described  # type: ignore[method-assign]  # as FastAPI's own pages do


def _add_error_handlers(api: FastAPI) -> None:
    @api.exception_handler(GroundworkError)
    def known(_: Request, error: GroundworkError) -> JSONResponse:
        return problem_response(error)

    @api.exception_handler(RequestValidationError)
    def malformed(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:]) or "body"
        if first["type"] == "extra_forbidden" and not FIELD_NAME.fullmatch(where):
            where = "body"  # whatever it was that they sent there
        return problem_response(
            GroundworkError(f"{where}: {first['msg']}; see /docs for the shape of a request."), 422
        )

    @api.exception_handler(HTTPException)
    def http(_: Request, error: HTTPException) -> JSONResponse:
        return problem_response(
            GroundworkError(f"{error.detail}.".replace("..", ".")), error.status_code
        )
