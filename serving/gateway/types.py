"""What goes to a language model and what comes back, whoever runs it."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, Protocol
from uuid import UUID, uuid4

from core.errors import Unavailable
from core.principal import Principal

Role = Literal["system", "user", "assistant"]
Tier = Literal["fast", "balanced", "strong"]  # weakest and cheapest first
CallOutcome = Literal["done", "failed", "cancelled"]
Risk = Literal["public", "internal", "confidential", "restricted"]  # least harm first


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of what a model reads."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """What a model is asked, for whom, and within which bounds.

    `schema` is a JSON schema that the reply must have, where the endpoint can hold a model to one; `purpose` says in
    usage records what the call was for; `seconds` is what is left of the caller's deadline. `question` is what the
    reader asked, where that is known: a plain or a hard one moves a "balanced" request by a tier. `risk` is the class
    of what is sent; only models that may see it are asked. `model` is the only one to ask, where one writer's text goes
    on; empty: any.
    """

    messages: Sequence[Message]
    principal: Principal
    purpose: str
    tier: Tier = "balanced"
    schema: Mapping[str, Any] | None = None
    max_tokens: int = 512
    temperature: float = 0.0
    timeout_seconds: float = 30.0
    risk: Risk = "internal"
    request_id: UUID = field(default_factory=uuid4)
    question: str = ""
    model: str = ""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call consumed: tokens as the provider counted them (`counted`), else as we did, and the cost in the
    currency of the models file. A call that failed or was cancelled has its usage too, and says so.
    """

    model: str
    input_tokens: int
    output_tokens: int
    cost: Decimal
    counted_by_provider: bool = True
    outcome: CallOutcome = "done"


class ModelReply(Protocol):
    """A reply on its way: text in pieces, all of one model. Leaving early (`close`) cancels it upstream."""

    @property
    def model(self) -> str:
        """The name, in the models file, of the model that writes."""

    @property
    def usage(self) -> Usage | None:
        """What it consumed; known when the last piece is read or the reply is closed."""

    def __iter__(self) -> Iterator[str]:
        """The pieces.

        Raises:
            ModelFailed: it broke off after its first piece; what was read is not to be continued by another model.
        """

    def close(self) -> None:
        """Stop reading, and stop paying."""


leaving: ContextVar[threading.Event | None] = ContextVar("leaving", default=None)
"""Set by whoever serves a reader: the event that tells the calls made for that reader that they have left."""


class Models(Protocol):
    """Where replies come from: the gateway, or in a test something that follows a script."""

    def stream(self, request: ModelRequest) -> ModelReply:
        """A reply whose first piece is there.

        Raises:
            NoModelAvailable: none that may be asked answered in time; `Overloaded` where all are busy.
            OverBudget: the meter said so, and no cheaper model may take the place of the one that was chosen.
        """


class Meter(Protocol):
    """Who pays: asked before a call and told after it."""

    def reserve(self, request: ModelRequest, model: str, tokens: int, cost: Decimal) -> UUID:
        """Set aside what a call may cost at most.

        Raises:
            OverBudget: a hard limit would be passed; the sentence says when it resets.
        """

    def commit_usage(self, reservation: UUID, usage: Usage) -> None:
        """Book what it did cost, and give back the rest."""

    def is_over_soft_limit(self, principal: Principal) -> bool:
        """Whether a soft limit of theirs is passed, so that a cheaper tier should do."""


class NoModelAvailable(Unavailable):
    """No model could be asked, or none gave a first piece in time; `retry_after` is whole seconds, where known."""

    slug = "no-model-available"
    title = "No language model answers"

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(NoModelAvailable):
    """Every model that may be asked is busy, and waiting would be in vain."""

    slug = "overloaded"
    title = "Too many requests at once"


class ModelFailed(Unavailable):
    """A model broke off within its reply."""

    slug = "model-failed"
    title = "The language model broke off"
