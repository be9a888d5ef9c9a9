"""The HTTP application, which `groundwork serve` runs. /docs has the OpenAPI pages."""

from importlib.metadata import version

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from core.services import Services
from serving.answering.answer_cache import create_answer_cache
from serving.api.dependencies import ApiContext
from serving.api.identity import IdentityProvider
from serving.api.middleware import add_middleware
from serving.api.problems import add_error_handlers, describe_problems
from serving.api.routes import conversations, documents, health, page, questions
from serving.api.schemas import Problem
from serving.gateway.types import Models
from serving.usage.meter import PostgresMeter


def build_api(
    services: Services, identity: IdentityProvider, models: Models | None = None
) -> FastAPI:
    """Return the application on open services. It is stateless, so any number of copies may run."""
    api = FastAPI(
        title="Groundwork",
        version=version("groundwork"),
        summary="Grounded answers with citations, or an honest refusal.",
        responses={
            status: {"model": Problem, "description": "A problem (RFC 9457)"}
            for status in (401, 404, 422, 429, 503)
        },
    )
    meter, answer_cache = PostgresMeter(services.database), create_answer_cache(services)
    api.state.context = ApiContext(services, identity, models, meter, answer_cache)
    add_error_handlers(api)
    add_middleware(api, identity)
    for routes in (questions, conversations, documents, health, page):
        api.include_router(routes.router)
    api.mount("/static", StaticFiles(directory=page.WEB_FOLDER), name="static")
    describe_problems(api)
    return api
