"""Faults of a call to a model, and their consequences for retries, circuit breaker and cost."""

from typing import Literal

from core.http import HttpError, cause_chain

FaultKind = Literal[
    "unreachable",
    "dns",
    "tls",
    "timeout",
    "rate_limited",
    "server",
    "not_allowed",
    "rejected",
    "content_type",
    "broken",
    "cut",
    "empty",
    "too_large",
    "cancelled",
]

# The same call to the same model would fail in the same way.
PERMANENT_KINDS = frozenset(("tls", "not_allowed", "rejected", "too_large", "cancelled"))
# Caused by the request or its caller, not by the model.
BLAMELESS_KINDS = frozenset(("rejected", "cancelled"))
# The model did not start.
UNBILLED_KINDS = frozenset(
    ("unreachable", "dns", "tls", "rate_limited", "server", "not_allowed", "rejected")
)

FAULT_DESCRIPTIONS: dict[FaultKind, str] = {
    "unreachable": "can't be reached",
    "dns": "has a host name that can't be resolved",
    "tls": "has no trusted certificate",
    "timeout": "did not answer in time",
    "rate_limited": "accepts no more requests for now",
    "server": "had an internal error",
    "not_allowed": "does not accept the key, or has no such model",
    "rejected": "does not accept the request",
    "content_type": "sent a response that is not a model's reply",
    "broken": "sent a response that can't be read",
    "cut": "broke off",
    "empty": "sent an empty reply",
    "too_large": "wrote far more than its limit",
    "cancelled": "was cancelled",
}


class UpstreamFault(Exception):
    """A failed call. `retry_after` is the pause in seconds that the provider asked for, if any."""

    def __init__(self, kind: FaultKind, retry_after: float | None = None) -> None:
        super().__init__(kind)
        self.kind: FaultKind = kind
        self.retry_after = retry_after

    @property
    def is_permanent(self) -> bool:
        """True if the same model would fail in the same way again."""
        return self.kind in PERMANENT_KINDS

    @property
    def counts_against_model(self) -> bool:
        """True if the model's circuit breaker counts it."""
        is_polite_pause = self.kind == "rate_limited" and self.retry_after is not None
        return self.kind not in BLAMELESS_KINDS and not is_polite_pause

    @property
    def may_be_billed(self) -> bool:
        """True if the model may have read or written tokens."""
        return self.kind not in UNBILLED_KINDS

    def describe(self, model: str) -> str:
        """Return a sentence for people. It never repeats text from the provider."""
        return f"The model {model!r} {FAULT_DESCRIPTIONS[self.kind]}."


def fault_from_status(status: int, retry_after: str | None = None) -> UpstreamFault:
    """Return the fault of an HTTP status other than 2xx."""
    seconds = _parse_retry_after(retry_after)
    if status == 429:
        return UpstreamFault("rate_limited", seconds)
    if status in (408, 425) or status >= 500:
        return UpstreamFault("server", seconds)
    if status in (401, 402, 403, 404):
        return UpstreamFault("not_allowed")
    return UpstreamFault("rejected" if status >= 400 else "content_type")


def fault_from_error(error: Exception) -> UpstreamFault:
    """Return the fault behind an error, also one that a client library has wrapped.

    Any other error of a client library means that it could not read the reply.
    """
    for cause in cause_chain(error):
        if isinstance(cause, UpstreamFault):
            return cause
        if isinstance(cause, HttpError):
            return UpstreamFault("content_type" if cause.kind == "encoding" else cause.kind)
    return UpstreamFault("broken")


def _parse_retry_after(retry_after: str | None) -> float | None:
    """Return Retry-After in seconds. A date is ignored: no model provider sends one."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
