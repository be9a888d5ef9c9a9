"""What can be wrong with a call to a model, and what follows from it: may it be repeated, does it count against the
model, and did it cost anything.
"""

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

PERMANENT_KINDS = frozenset(
    ("tls", "not_allowed", "rejected", "too_large", "cancelled")
)  # the same call fails the same way
BLAMELESS_KINDS = frozenset(
    ("rejected", "cancelled")
)  # the request's or the reader's doing, not the model's
UNBILLED_KINDS = frozenset(
    ("unreachable", "dns", "tls", "rate_limited", "server", "not_allowed", "rejected")
)  # nothing ran

FAULT_DESCRIPTIONS: dict[FaultKind, str] = {
    "unreachable": "can't be reached",
    "dns": "has an address that no name server knows",
    "tls": "has no certificate that can be trusted",
    "timeout": "did not answer in time",
    "rate_limited": "takes no more requests for now",
    "server": "has an error of its own",
    "not_allowed": "does not accept the key, or has no such model",
    "rejected": "does not accept the request",
    "content_type": "answers with something that is no reply of a model",
    "broken": "sends what can't be read",
    "cut": "broke off",
    "empty": "said nothing",
    "too_large": "wrote far more than it was asked for",
    "cancelled": "was told to stop",
}


class UpstreamFault(Exception):
    """A call failed. `retry_after` is the seconds that the provider asked to be left alone, where it did."""

    def __init__(self, kind: FaultKind, retry_after: float | None = None) -> None:
        super().__init__(kind)
        self.kind: FaultKind = kind
        self.retry_after = retry_after

    @property
    def is_permanent(self) -> bool:
        """The same model would fail in the same way."""
        return self.kind in PERMANENT_KINDS

    @property
    def counts_against_model(self) -> bool:
        """The model's circuit breaker counts it."""
        return self.kind not in BLAMELESS_KINDS and not (
            self.kind == "rate_limited" and self.retry_after is not None
        )

    @property
    def may_be_billed(self) -> bool:
        """The model may have read and written, so that somebody pays."""
        return self.kind not in UNBILLED_KINDS

    def describe(self, model: str) -> str:
        """What a person reads; nothing in it is the provider's own words."""
        return f"The model {model!r} {FAULT_DESCRIPTIONS[self.kind]}."


def fault_from_status(status: int, retry_after: str | None = None) -> UpstreamFault:
    """The fault that an HTTP status other than 2xx stands for."""
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
    """Retry-After in seconds; as a date it is passed over, since no provider of models sends one."""
    try:
        seconds = float(retry_after or "")
    except ValueError:
        return None
    return seconds if 0 <= seconds < float("inf") else None
