"""Dependencies of the routes: the open services, the caller, and the caller's budget."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from core.principal import Principal
from core.services import Services
from serving.answering.answer_cache import AnswerCache
from serving.api.identity import IdentityProvider
from serving.gateway.types import Models
from serving.usage.budgets import find_tightest_budget
from serving.usage.meter import PostgresMeter


@dataclass(frozen=True, slots=True)
class ApiContext:
    """Everything that a route needs besides its request."""

    services: Services
    identity: IdentityProvider
    models: Models | None
    meter: PostgresMeter
    answer_cache: AnswerCache | None


def get_context(request: Request) -> ApiContext:
    """Return the context of the application."""
    context: ApiContext = request.app.state.context
    return context


Context = Annotated[ApiContext, Depends(get_context)]


def identify_caller(request: Request, context: Context) -> Principal:
    """Return the caller.

    Raises:
        Unauthenticated: the request does not prove an identity.
    """
    return context.identity.identify(request.headers)


Caller = Annotated[Principal, Depends(identify_caller)]


def admit_caller(caller: Caller, request: Request, context: Context) -> Principal:
    """Count a request against the caller's budgets; the response shows the tightest of them.

    Raises:
        OverBudget: a hard limit is reached.
    """
    budget = find_tightest_budget(context.meter.admit_request(caller))
    request.state.budget = budget.describe() if budget else ""
    return caller


AdmittedCaller = Annotated[Principal, Depends(admit_caller)]
