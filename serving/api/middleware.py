"""Middleware: early refusals, security headers, and a log line without any content."""

import time
import uuid
from collections.abc import Awaitable, Callable, Set

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from core.errors import GroundworkError
from core.settings import LOOPBACK_HOSTS
from serving.api.identity import IdentityProvider
from serving.api.problems import problem_response

MAX_BODY_BYTES = 64 * 1024  # a question has at most 2,000 characters
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
HEALTH_PATHS = ("/healthz", "/readyz")  # requested every few seconds, so only failures are logged
DOCS_PATHS = ("/docs", "/redoc", "/openapi.json")  # FastAPI's pages load scripts from elsewhere

log = structlog.get_logger("groundwork.api")
CallNext = Callable[[Request], Awaitable[Response]]


def add_middleware(api: FastAPI, identity: IdentityProvider) -> None:
    """Wrap all routes."""
    # DNS rebinding: a foreign page could point its own host name at this machine and use a service
    # that trusts every request.
    hosts = frozenset((*LOOPBACK_HOSTS, "testserver")) if identity.name == "local" else None

    @api.middleware("http")
    async def handle_request(request: Request, call_next: CallNext) -> Response:
        started_at, request_id = time.perf_counter(), uuid.uuid4().hex
        response = _reject_early(request, hosts) or await _call_safely(
            request, call_next, request_id
        )
        _set_headers(request, response, request_id)
        if request.url.path not in HEALTH_PATHS or response.status_code != 200:
            log.info(
                "request",
                request_id=request_id,
                method=request.method,
                route=getattr(request.scope.get("route"), "path", None),
                status=response.status_code,
                milliseconds=round((time.perf_counter() - started_at) * 1000, 1),
            )
        return response


async def _call_safely(request: Request, call_next: CallNext, request_id: str) -> Response:
    """Return the response of the route. Log an unexpected error, and hide it from the caller."""
    try:
        return await call_next(request)
    except Exception as error:
        log.error("unforeseen", request_id=request_id, error=type(error).__name__, exc_info=error)
        message = f"Something went wrong. Search the log for {request_id}."
        return problem_response(GroundworkError(message), 500)


def _set_headers(request: Request, response: Response, request_id: str) -> None:
    if request.url.path not in DOCS_PATHS:
        response.headers.update(SECURITY_HEADERS)
    response.headers["X-Request-Id"] = request_id
    if budget := getattr(request.state, "budget", ""):
        response.headers["X-Groundwork-Budget"] = budget


def _reject_early(request: Request, hosts: Set[str] | None) -> JSONResponse | None:
    """Return a refusal that needs neither the body nor the caller."""
    length = request.headers.get("content-length", "0")
    if hosts is not None and _host_name(request) not in hosts:
        message = "The service does not answer to this host name. Use 127.0.0.1."
        return problem_response(GroundworkError(message), 400)
    if "transfer-encoding" in request.headers or not length.isdecimal():
        message = "The request does not state its length. Send Content-Length."
        return problem_response(GroundworkError(message), 411)
    if int(length) > MAX_BODY_BYTES:
        kib = MAX_BODY_BYTES // 1024
        message = f"The request is larger than {kib} KiB. Shorten the question."
        return problem_response(GroundworkError(message), 413)
    return None


def _host_name(request: Request) -> str:
    """Return the name in the Host header, without port and brackets."""
    host = request.headers.get("host", "").lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
