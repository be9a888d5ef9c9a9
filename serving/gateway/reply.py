"""One call to a model: read the reply within limits, free the slot, record outcome and usage."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from uuid import UUID

import structlog

from core.errors import GroundworkError
from core.http import CallLimits, HttpError
from core.token_estimate import MAX_REPLY_CHARACTERS_PER_TOKEN
from serving.gateway.endpoint import ModelEndpoint
from serving.gateway.models_file import Timeouts
from serving.gateway.providers.base import ReplyDelta
from serving.gateway.resilience.upstream_faults import UpstreamFault, fault_from_error
from serving.gateway.types import CallOutcome, Meter, ModelFailed, ModelRequest, Usage

MAX_REPLY_BYTES_PER_TOKEN = 4096  # as received: the event of one token takes some 300
BASE_REPLY_BYTES = 1 << 20

log = structlog.get_logger("groundwork.gateway")


@dataclass(frozen=True, slots=True)
class ModelCall:
    """A request to one model that has a slot and, with a meter, a reservation."""

    request: ModelRequest
    endpoint: ModelEndpoint
    deadline: float  # of time.monotonic
    timeouts: Timeouts
    first_piece_seconds: float
    max_prompt_tokens: Callable[[], int]  # may ask the model's server
    meter: Meter | None
    reservation: UUID | None


class GatewayReply:
    """A reply whose first piece has arrived. It holds its slot until read, closed or deleted."""

    def __init__(self, call: ModelCall) -> None:
        self._call = call
        self._started_at = time.monotonic()
        self._lock = threading.Lock()
        self._is_closed = False
        self._is_finished = False
        self._text = ""
        self._input_tokens: int | None = None
        self._output_tokens: int | None = None
        self.usage: Usage | None = None
        self._limits = CallLimits(
            call.deadline,
            call.timeouts.connect,
            BASE_REPLY_BYTES + MAX_REPLY_BYTES_PER_TOKEN * call.request.max_tokens,
            call.request.cancelled,
        )
        self._deltas = call.endpoint.provider.stream_reply(call.request, self._limits)
        self._limits.start_step(call.first_piece_seconds)
        self._first_piece = self._read_piece()

    @property
    def model(self) -> str:
        """Name of the model in the models file."""
        return self._call.endpoint.spec.name

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self._lock:
            text, self._first_piece = self._first_piece, None
            if text is None and not self._is_closed:
                self._limits.start_step(self._call.timeouts.between)
                try:
                    text = self._read_piece()
                except UpstreamFault as fault:
                    raise ModelFailed(f"{fault.describe(self.model)} Ask again.") from fault
        if text is None:
            raise StopIteration
        return text

    def close(self) -> None:
        """Cancel the call; a thread that waits for a piece stops waiting."""
        self._limits.cancel()
        with self._lock:
            self._first_piece = None
            if not self._is_closed:
                self._finish_call(UpstreamFault("cancelled"))

    def __del__(self) -> None:
        if not getattr(self, "_is_closed", True):
            self.close()

    def _read_piece(self) -> str | None:
        """Return the next piece of text, None after the last.

        Raises:
            UpstreamFault: the call failed, or the reply is not complete.
        """
        try:
            for delta in self._deltas:
                self._record_delta(delta)
                if delta.text:
                    return delta.text
            if not self._is_finished or not self._text:
                raise UpstreamFault("cut" if self._text else "empty")
        except (UpstreamFault, HttpError) as error:
            fault = fault_from_error(error)
            self._finish_call(fault)
            raise fault from error
        except BaseException:
            self._finish_call(UpstreamFault("cancelled"))
            raise
        self._finish_call(None)
        return None

    def _record_delta(self, delta: ReplyDelta) -> None:
        if not isinstance(delta.text, str):
            raise UpstreamFault("broken")
        self._text += delta.text
        self._is_finished |= delta.is_finished
        self._limits.is_complete = self._is_finished
        if delta.input_tokens is not None:
            self._input_tokens = delta.input_tokens
        if delta.output_tokens is not None:
            self._output_tokens = delta.output_tokens
        if len(self._text) > MAX_REPLY_CHARACTERS_PER_TOKEN * self._call.request.max_tokens:
            raise UpstreamFault("too_large")
        if delta.is_thinking:
            self._limits.start_step(self._call.timeouts.between)

    def _finish_call(self, fault: UpstreamFault | None) -> None:
        """End the call, free the slot, and record outcome and usage; once."""
        self._is_closed = True
        endpoint = self._call.endpoint
        try:
            self._deltas.close()
        finally:
            seconds = time.monotonic() - self._started_at
            endpoint.limiter.release(seconds)
            if fault is None:
                endpoint.breaker.record_success()
            else:
                endpoint.breaker.record_failure(fault)
            self.usage = self._measure_usage(fault)
            self._commit_usage(self.usage)
            self._log_call(fault, seconds, self.usage)

    def _measure_usage(self, fault: UpstreamFault | None) -> Usage:
        """Return the provider's token counts, else our own; 0 input if the model never began."""
        input_tokens, output_tokens = self._input_tokens, self._output_tokens
        began = fault is None or fault.may_be_billed or bool(self._text)
        is_counted = (input_tokens is not None and output_tokens is not None) or not began
        if input_tokens is None:
            input_tokens = self._call.max_prompt_tokens() if began else 0
        if output_tokens is None:
            output_tokens = self._call.endpoint.token_counter.count(self._text)
        cost = self._call.endpoint.spec.compute_cost(input_tokens, output_tokens)
        return Usage(self.model, input_tokens, output_tokens, cost, is_counted, _outcome(fault))

    def _commit_usage(self, usage: Usage) -> None:
        """Record usage, or log it if that fails: the reply has been paid for and stays valid."""
        if self._call.reservation is None or self._call.meter is None:
            return
        try:
            self._call.meter.commit_usage(self._call.reservation, usage)
        except GroundworkError as error:
            log.error(
                "usage not recorded",
                model=self.model,
                reservation=str(self._call.reservation),
                error=str(error),
            )

    def _log_call(self, fault: UpstreamFault | None, seconds: float, usage: Usage) -> None:
        log.info(
            "model",
            request_id=self._call.request.request_id.hex,
            model=self.model,
            purpose=self._call.request.purpose,
            outcome=fault.kind if fault else "whole",
            milliseconds=round(seconds * 1000, 1),
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
        )


def _outcome(fault: UpstreamFault | None) -> CallOutcome:
    if fault is None:
        return "done"
    return "cancelled" if fault.kind == "cancelled" else "failed"
