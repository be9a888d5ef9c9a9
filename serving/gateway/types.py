"""Requests to language models and their replies, the same for every provider."""

import secrets
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Literal, Protocol
from uuid import UUID, uuid4

from core.errors import Unavailable
from core.principal import Principal

Role = Literal["system", "user", "assistant"]
Tier = Literal["fast", "balanced", "strong"]  # weakest and cheapest first
CallOutcome = Literal["done", "failed", "cancelled"]
Risk = Literal["public", "internal", "confidential", "restricted"]  # least harm first

DEFAULT_CONTEXT_TOKENS = 4_096  # of models whose size is not known


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of what a model reads."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to a language model, with its limits.

    `purpose` names the call in usage records. `schema` is the JSON schema of the reply, used where the endpoint
    supports one. `timeout_seconds` is the rest of the caller's deadline; setting `cancelled` ends the call at once.
    `risk` is the class of the data sent; only models cleared for it are called. `question` is the user's question: a
    plain or a hard one moves a "balanced" request by a tier. `model` names the only model to call; empty means any.
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
    cancelled: threading.Event = field(default_factory=threading.Event, compare=False, repr=False)


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


class Models(ABC):
    """Language models behind one method: the gateway, a decorator around it, or a script in a test."""

    @abstractmethod
    def stream(self, request: ModelRequest) -> ModelReply:
        """Return a reply whose first piece has arrived.

        Raises:
            NoModelAvailable: no permitted model answered in time; `Overloaded` if all are busy.
            OverBudget: a budget is used up, and no cheaper model may answer instead.
        """

    def context_size(self, principal: Principal) -> int:
        """Return the tokens, prompt and reply together, of the largest model that the tenant may use."""
        return DEFAULT_CONTEXT_TOKENS

    @property
    def fingerprint(self) -> str:
        """Return a text that changes when replies may change. The default is random: nothing may be cached."""
        return secrets.token_hex()


class CancellableModels(Models):
    """Models for one caller: setting `cancelled` ends all their calls, in any thread."""

    def __init__(self, models: Models, cancelled: threading.Event) -> None:
        self._models, self._cancelled = models, cancelled

    def stream(self, request: ModelRequest) -> ModelReply:
        return self._models.stream(replace(request, cancelled=self._cancelled))

    def context_size(self, principal: Principal) -> int:
        return self._models.context_size(principal)

    @property
    def fingerprint(self) -> str:
        return self._models.fingerprint


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
