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
    """One message of a prompt."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """One request to a language model, with its limits.

    `purpose` names the call in usage records. `schema` is the JSON schema of the reply, used where
    the endpoint supports one. `timeout_seconds` is the rest of the caller's deadline; setting
    `cancelled` ends the call at once. `risk` is the class of the data sent; only models cleared for
    it are called. `question` is the user's question: a plain or a hard one moves a "balanced"
    request by a tier. `model` names the only model to call; empty means any.
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
    """Tokens and cost, in the models file's currency, of one call, even if it failed."""

    model: str
    input_tokens: int
    output_tokens: int
    cost: Decimal
    counted_by_provider: bool = True
    outcome: CallOutcome = "done"


class ModelReply(Protocol):
    """Text of one model as it arrives. Closing it early cancels the call at the provider."""

    @property
    def model(self) -> str:
        """Name of the model in the models file."""

    @property
    def usage(self) -> Usage | None:
        """Usage of the call; None until the last piece is read or the reply is closed."""

    def __iter__(self) -> Iterator[str]:
        """Yield the pieces of the text.

        Raises:
            ModelFailed: the reply broke off after its first piece. No other model may continue it.
        """

    def close(self) -> None:
        """Stop reading and cancel the call."""


class Models(ABC):
    """Language models behind one method: the gateway, a decorator, or a script in a test."""

    @abstractmethod
    def stream(self, request: ModelRequest) -> ModelReply:
        """Return a reply whose first piece has arrived.

        Raises:
            NoModelAvailable: no permitted model answered in time; `Overloaded` if all are busy.
            OverBudget: a budget is used up, and no cheaper model may answer instead.
        """

    def context_size(self, principal: Principal) -> int:
        """Return the context size, in tokens, of the largest model that the tenant may use."""
        return DEFAULT_CONTEXT_TOKENS

    @property
    def fingerprint(self) -> str:
        """Return a text that changes when replies may change. Random by default: cache nothing."""
        return secrets.token_hex()


class ModelsDecorator(Models):
    """Base of models that change the requests or replies of others."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def context_size(self, principal: Principal) -> int:
        """Return the context size of the wrapped models."""
        return self._models.context_size(principal)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the wrapped models."""
        return self._models.fingerprint


class CancellableModels(ModelsDecorator):
    """Models for one caller: setting `cancelled` ends all their calls, in any thread."""

    def __init__(self, models: Models, cancelled: threading.Event) -> None:
        super().__init__(models)
        self._cancelled = cancelled

    def stream(self, request: ModelRequest) -> ModelReply:
        """Open a reply that ends when the event is set."""
        return self._models.stream(replace(request, cancelled=self._cancelled))


class Meter(Protocol):
    """Usage meter: reserves before a call, records after it."""

    def reserve(self, request: ModelRequest, model: str, tokens: int, cost: Decimal) -> UUID:
        """Reserve the most that a call may use, and return the id of the reservation.

        Raises:
            OverBudget: a hard limit would be exceeded. The message says when it resets.
        """

    def commit_usage(self, reservation: UUID, usage: Usage) -> None:
        """Record what the call used, and release the rest of the reservation."""

    def is_over_soft_limit(self, principal: Principal) -> bool:
        """Return true if a soft limit is reached, so that a cheaper tier should answer."""


class NoModelAvailable(Unavailable):
    """No permitted model answered in time. `retry_after` is in seconds, None if not known."""

    slug = "no-model-available"
    title = "No language model answers"

    def __init__(self, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Overloaded(NoModelAvailable):
    """All permitted models are busy, and the wait would exceed the deadline."""

    slug = "overloaded"
    title = "Too many requests at once"


class ModelFailed(Unavailable):
    """A model broke off in the middle of its reply."""

    slug = "model-failed"
    title = "The language model broke off"
