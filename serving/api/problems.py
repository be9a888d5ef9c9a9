"""Errors as typed problems (RFC 9457), in responses and in OpenAPI."""

import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from core.errors import GroundworkError, OverBudget
from core.redaction import ERROR_REDACTED_KINDS, redact
from serving.api.schemas import Problem
from serving.gateway.types import NoModelAvailable

PROBLEM_SCHEMA = {"$ref": "#/components/schemas/Problem"}
PROBLEM_MEDIA_TYPE = "application/problem+json"
FIELD_NAME = re.compile(r"[a-z_]{1,24}")


def build_problem(error: GroundworkError, status: int | None = None) -> Problem:
    """Return an error as a problem, without secrets that the caller sent.

    `status` overrides the error's own.
    """
    return Problem(
        type=f"urn:groundwork:{error.slug}",
        title=error.title,
        status=status or error.status,
        detail=redact(str(error), ERROR_REDACTED_KINDS).text,
    )


def problem_response(error: GroundworkError, status: int | None = None) -> JSONResponse:
    """Return an error as a response."""
    problem = build_problem(error, status)
    headers = {"WWW-Authenticate": "Bearer"} if problem.status == 401 else {}
    if isinstance(error, OverBudget | NoModelAvailable) and error.retry_after is not None:
        headers["Retry-After"] = str(error.retry_after)
    return JSONResponse(problem.model_dump(), problem.status, headers, PROBLEM_MEDIA_TYPE)


def add_error_handlers(api: FastAPI) -> None:
    """Turn the errors of Groundwork, of validation and of routing into problems."""

    @api.exception_handler(GroundworkError)
    def handle_groundwork_error(_: Request, error: GroundworkError) -> JSONResponse:
        return problem_response(error)

    @api.exception_handler(RequestValidationError)
    def handle_validation_error(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:]) or "body"
        if first["type"] == "extra_forbidden" and not FIELD_NAME.fullmatch(field):
            field = "body"  # do not repeat arbitrary text of the caller
        message = f"{field}: {first['msg']}. See /docs for the shape of a request."
        return problem_response(GroundworkError(message), 422)

    @api.exception_handler(HTTPException)
    def handle_http_error(_: Request, error: HTTPException) -> JSONResponse:
        message = f"{error.detail}.".replace("..", ".")
        return problem_response(GroundworkError(message), error.status_code)


def describe_problems(api: FastAPI) -> None:
    """Describe problems in OpenAPI in their own media type, not as application/json."""
    build_default = api.openapi

    def build_openapi() -> dict[str, Any]:
        if api.openapi_schema is None:
            for path in build_default()["paths"].values():
                for operation in path.values():
                    _correct_media_types(operation["responses"])
        return build_default()

    api.openapi = build_openapi  # type: ignore[method-assign]  # the documented way to extend it


def _correct_media_types(responses: dict[str, Any]) -> None:
    for response in responses.values():
        content = response.get("content", {})
        if content.get("application/json", {}).get("schema") == PROBLEM_SCHEMA:
            content[PROBLEM_MEDIA_TYPE] = content.pop("application/json")
