"""The gateway: a request goes to the best model that may be asked and answers. Read this first.

route      the models that may be asked, the best first (routing.py, models.py)
choose     the first whose circuit is closed and that has a place free (breaker.py, admission.py)
reserve    ask the meter whether the tenant can pay
call       wait for the first piece, within deadlines (providers/, transport.py)
fall back  on a fault before that piece: another model, or the same again, twice at most (retries.py)

Once a piece is there the reply is that model's alone.
"""

import math
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import structlog

from core.errors import GroundworkError, OverBudget
from core.http import CallLimits, HttpError, HttpPool
from core.principal import Principal
from core.settings import Settings
from serving.gateway.models_file import ModelsFile, ModelSpec, read_models
from serving.gateway.providers import ModelProvider, ReplyDelta, open_provider
from serving.gateway.resilience.circuit_breaker import CircuitBreaker, CircuitState
from serving.gateway.resilience.concurrency_limiter import ConcurrencyLimiter
from serving.gateway.resilience.retries import MAX_RETRIES, RetryBudget, retry_delay_seconds
from serving.gateway.resilience.upstream_faults import UpstreamFault, fault_from_error
from serving.gateway.routing import rank_models
from serving.gateway.token_counters import max_prompt_tokens, open_token_counter
from serving.gateway.types import (
    DEFAULT_CONTEXT_TOKENS,
    CallOutcome,
    Meter,
    ModelFailed,
    ModelReply,
    ModelRequest,
    Models,
    NoModelAvailable,
    Overloaded,
    Usage,
)

MAX_REPLY_BYTES_PER_TOKEN, BASE_REPLY_BYTES = (
    4096,
    1 << 20,
)  # of a reply as it comes; a token's event takes some 300
MAX_CHARACTERS_PER_TOKEN = 32  # of a reply's text; tokens have 4 on average

log = structlog.get_logger("groundwork.gateway")


def open_gateway(settings: Settings, meter: Meter | None = None) -> "Gateway | None":
    """The gateway to the models of the file that the settings name; None where they name none.

    Raises:
        InvalidInput: the file can't be used, or a key is not set.
    """
    if not settings.models:
        return None
    file, pool = read_models(Path(settings.models)), HttpPool()
    return Gateway(
        file, {model.name: open_provider(model, pool) for model in file.models}, meter, pool
    )


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has, rather too many: one for each three bytes. To choose a model by, not to pay."""
    return len(text.encode()) // 3 + 1


class ModelEndpoint:
    """A model, what runs it, and what is known of how it fares."""

    def __init__(self, spec: ModelSpec, provider: ModelProvider) -> None:
        self.spec, self.provider = spec, provider
        self.breaker, self.limiter = (
            CircuitBreaker(),
            ConcurrencyLimiter(spec.concurrency, spec.waiting),
        )
        self.token_counter = open_token_counter(spec.tokenizer, spec.base_url)

    @property
    def circuit_state(self) -> CircuitState:
        """Its circuit's."""
        return self.breaker.state

    def try_acquire(self) -> bool:
        """Take a place and the circuit's leave, if both are to be had now."""
        return self._acquire_if_admitted(self.limiter.try_acquire)

    def acquire_within(self, seconds: float, cancelled: threading.Event) -> bool:
        """The same, waiting for a place."""
        return self._acquire_if_admitted(lambda: self.limiter.acquire_within(seconds, cancelled))

    def _acquire_if_admitted(self, acquire: Callable[[], bool]) -> bool:
        if self.breaker.seconds_until_ready() > 0 or not acquire():
            return False
        if self.breaker.admit():
            return True
        self.limiter.release(None)
        return False


class Gateway(Models):
    """Models for everyone in the process: build one at start-up, `close` it at the end."""

    def __init__(
        self,
        models_file: ModelsFile,
        providers: Mapping[str, ModelProvider],
        meter: Meter | None = None,
        pool: HttpPool | None = None,
    ) -> None:
        self.models_file, self.meter, self._pool = models_file, meter, pool
        self.endpoints = {
            model.name: ModelEndpoint(model, providers[model.name]) for model in models_file.models
        }
        self.retry_budget = RetryBudget()
        self.rng = random.Random()

    def stream(self, request: ModelRequest) -> ModelReply:
        self.retry_budget.count_request()
        return _RoutedRequest(self, request).open_reply()

    def context_size(self, principal: Principal) -> int:
        allowed = self.models_file.policy_for(principal.tenant).models
        sizes = [
            model.context
            for model in self.models_file.models
            if allowed is None or model.name in allowed
        ]
        return max(sizes, default=DEFAULT_CONTEXT_TOKENS)

    @property
    def fingerprint(self) -> str:
        return self.models_file.model_dump_json()

    def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            self._pool.close()


class _RoutedRequest:
    """One request on its way through the models."""

    def __init__(self, gateway: Gateway, request: ModelRequest) -> None:
        self.gateway, self.request, self.cancelled = gateway, request, request.cancelled
        self.timeouts = gateway.models_file.patience
        self.deadline = time.monotonic() + min(request.timeout_seconds, self.timeouts.total)
        self.input_tokens = sum(
            estimate_tokens(message.content) + 4 for message in request.messages
        )
        tight = gateway.meter is not None and gateway.meter.is_over_soft_limit(request.principal)
        models = rank_models(gateway.models_file, request, self.input_tokens, over_soft_limit=tight)
        self._endpoints = [gateway.endpoints[model.name] for model in models]
        self._faults: dict[str, UpstreamFault] = {}
        self._prompt_tokens: dict[str, int] = {}

    def open_reply(self) -> ModelReply:
        """The first model's that answers."""
        for call in range(1 + MAX_RETRIES):
            if call and not self.gateway.retry_budget.try_spend():
                break
            site, reservation = self._reserve_endpoint(call)
            try:
                reply = _GatewayReply(self, site, reservation)
            except UpstreamFault as fault:
                self._faults[site.spec.name] = fault
                if fault.kind == "cancelled":
                    break
            else:
                if call:
                    self.gateway.retry_budget.refund_retry()
                return reply
        raise self._no_model_error()

    @property
    def remaining_seconds(self) -> float:
        """Seconds."""
        return self.deadline - time.monotonic()

    def first_piece_seconds(self, spec: ModelSpec) -> float:
        """How long a model's first piece may take. A reply that comes whole may take longer; half of what is left, so
        that time remains for another model where there is one.
        """
        if spec.streaming:
            return self.timeouts.first
        return (
            max(self.remaining_seconds / 2, self.timeouts.first)
            if len(self._endpoints) > 1
            else self.remaining_seconds
        )

    def _reserve_endpoint(self, attempt: int) -> tuple[ModelEndpoint, UUID | None]:
        """The next model, with a place taken and its price reserved."""
        while True:
            site = self._acquire_endpoint(attempt)
            try:
                return site, self._reserve_usage(site)
            except OverBudget as error:
                site.limiter.release(None)
                site.breaker.record_abandoned()
                self._keep_cheaper_endpoints(site.spec, error)
            except BaseException:
                site.limiter.release(None)
                site.breaker.record_abandoned()
                raise

    def _acquire_endpoint(self, attempt: int) -> ModelEndpoint:
        """A model that may be called now: one that has not failed yet, else one that may do better a second time."""
        fresh = [site for site in self._endpoints if site.spec.name not in self._faults]
        if found := next((site for site in fresh if site.try_acquire()), None):
            return found
        ready = [site for site in fresh if site.breaker.seconds_until_ready() == 0]
        if found := next(
            (
                site
                for site in ready
                if site.acquire_within(self.remaining_seconds / 2, self.cancelled)
            ),
            None,
        ):
            return found
        for site in self._endpoints:
            fault = self._faults.get(site.spec.name)
            if fault and not fault.is_permanent and self._acquire_for_retry(site, attempt):
                return site
        raise self._no_model_error(ready)

    def _acquire_for_retry(self, endpoint: ModelEndpoint, attempt: int) -> bool:
        """Wait as long as the provider asked for, or a little, and enter; not where that takes half of what is left."""
        seconds = max(
            endpoint.breaker.seconds_until_ready(),
            retry_delay_seconds(attempt - 1, self.gateway.rng),
        )
        if (
            endpoint.breaker.state != "closed"
            or seconds > self.remaining_seconds / 2
            or self.cancelled.wait(seconds)
        ):
            return False
        return endpoint.try_acquire() or endpoint.acquire_within(
            self.remaining_seconds / 2, self.cancelled
        )

    def max_prompt_tokens(self, endpoint: ModelEndpoint) -> int:
        """The most tokens that a model reads of this request, as its own tokenizer has it where there is one."""
        if endpoint.spec.name not in self._prompt_tokens:
            self._prompt_tokens[endpoint.spec.name] = max_prompt_tokens(
                endpoint.token_counter, self.request
            )
        return self._prompt_tokens[endpoint.spec.name]

    def _reserve_usage(self, endpoint: ModelEndpoint) -> UUID | None:
        """Set aside what a call may cost at most."""
        if self.gateway.meter is None:
            return None
        reads, writes = self.max_prompt_tokens(endpoint), self.request.max_tokens
        return self.gateway.meter.reserve(
            self.request,
            endpoint.spec.name,
            reads + writes,
            endpoint.spec.compute_cost(reads, writes),
        )

    def _keep_cheaper_endpoints(self, spec: ModelSpec, error: OverBudget) -> None:
        """Go on with models that cost less than one that was too dear, where the tenant's policy has it so."""
        policy = self.gateway.models_file.policy_for(self.request.principal.tenant)
        self._endpoints = [
            site for site in self._endpoints if self._max_cost(site.spec) < self._max_cost(spec)
        ]
        if policy.over_budget == "refuse" or not self._endpoints:
            raise error

    def _max_cost(self, spec: ModelSpec) -> Decimal:
        return spec.compute_cost(self.input_tokens, self.request.max_tokens)

    def _no_model_error(self, busy: Sequence[ModelEndpoint] = ()) -> NoModelAvailable:
        """Why there is no reply, and when it is worth asking again."""
        if busy and not self._faults:
            seconds = min(site.limiter.expected_wait_seconds() for site in busy)
            return Overloaded(
                "All models are busy; ask again in a moment.", max(1, math.ceil(seconds))
            )
        faults = [fault.describe(name) for name, fault in self._faults.items()]
        resting = [
            site
            for site in self._endpoints
            if site.spec.name not in self._faults and site.breaker.seconds_until_ready() > 0
        ]
        faults += [
            f"The model {site.spec.name!r} has failed too often lately and is left alone."
            for site in resting
        ]
        waits = [site.breaker.seconds_until_ready() for site in self._endpoints]
        after = max(1, math.ceil(min(waits))) if waits and min(waits) > 0 else None
        return NoModelAvailable(" ".join(["No language model answered.", *faults]), after)


class _GatewayReply:
    """A reply on its way; it holds a place at its model until it is read, closed or forgotten."""

    def __init__(
        self, routed: _RoutedRequest, endpoint: ModelEndpoint, reservation: UUID | None
    ) -> None:
        self._routed, self._endpoint, self._reservation = routed, endpoint, reservation
        self._started_at, self._lock, self._is_closed = time.monotonic(), threading.Lock(), False
        self._input_tokens: int | None = None
        self._output_tokens: int | None = None
        self._is_finished, self._text = False, ""
        self.usage: Usage | None = None
        request, patience = routed.request, routed.timeouts
        most_bytes = BASE_REPLY_BYTES + MAX_REPLY_BYTES_PER_TOKEN * request.max_tokens
        self._limits = CallLimits(routed.deadline, patience.connect, most_bytes, routed.cancelled)
        self._deltas = endpoint.provider.stream_reply(request, self._limits)
        self._limits.start_step(routed.first_piece_seconds(endpoint.spec))
        self._first_piece = self._read_piece()

    @property
    def model(self) -> str:
        """The name, in the models file, of the model that writes."""
        return self._endpoint.spec.name

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        with self._lock:
            text, self._first_piece = self._first_piece, None
            if text is None and not self._is_closed:
                self._limits.start_step(self._routed.timeouts.between)
                try:
                    text = self._read_piece()
                except UpstreamFault as fault:
                    raise ModelFailed(f"{fault.describe(self.model)} Ask again.") from fault
        if text is None:
            raise StopIteration
        return text

    def close(self) -> None:
        """Stop reading, and stop paying; whoever just waits for a piece in another thread stops waiting."""
        self._limits.cancel()
        with self._lock:
            self._first_piece = None
            if not self._is_closed:
                self._finish_call(UpstreamFault("cancelled"))

    def __del__(self) -> None:
        if not getattr(self, "_is_closed", True):
            self.close()

    def _read_piece(self) -> str | None:
        """The next piece of text, None after the last.

        Raises:
            UpstreamFault: there is none, though the reply is not whole.
        """
        try:
            for delta in iter(lambda: next(self._deltas, None), None):
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
        self._input_tokens = (
            self._input_tokens if delta.input_tokens is None else delta.input_tokens
        )
        self._output_tokens = (
            self._output_tokens if delta.output_tokens is None else delta.output_tokens
        )
        if len(self._text) > MAX_CHARACTERS_PER_TOKEN * self._routed.request.max_tokens:
            raise UpstreamFault("too_large")
        if delta.is_thinking:
            self._limits.start_step(self._routed.timeouts.between)

    def _finish_call(self, fault: UpstreamFault | None) -> None:
        """Hang up, give back the place, tell the circuit, and pay; once."""
        self._is_closed = True
        try:
            self._deltas.close()
        finally:
            seconds = time.monotonic() - self._started_at
            self._endpoint.limiter.release(seconds)
            if fault is None:
                self._endpoint.breaker.record_success()
            else:
                self._endpoint.breaker.record_failure(fault)
            self.usage = self._measure_usage(fault)
            self._commit_usage()
            self._log_call(fault, seconds)

    def _measure_usage(self, fault: UpstreamFault | None) -> Usage:
        """Tokens as the provider counted them, else as we do; none where the model never began."""
        began = fault is None or fault.may_be_billed or bool(self._text)
        read = (
            self._routed.max_prompt_tokens(self._endpoint)
            if began and self._input_tokens is None
            else 0
        )
        wrote = self._endpoint.token_counter.count(self._text) if self._output_tokens is None else 0
        input_tokens = read if self._input_tokens is None else self._input_tokens
        output_tokens = wrote if self._output_tokens is None else self._output_tokens
        counted = self._input_tokens is not None and self._output_tokens is not None
        cost = self._endpoint.spec.compute_cost(input_tokens, output_tokens)
        outcome: CallOutcome = (
            "done" if fault is None else "cancelled" if fault.kind == "cancelled" else "failed"
        )
        return Usage(self.model, input_tokens, output_tokens, cost, counted or not began, outcome)

    def _commit_usage(self) -> None:
        """Book it. A reply that was paid for is not taken back because the books are closed; the log has it then."""
        if self._reservation is None or self._routed.gateway.meter is None or self.usage is None:
            return
        try:
            self._routed.gateway.meter.commit_usage(self._reservation, self.usage)
        except GroundworkError as error:
            log.error(
                "usage not booked",
                model=self.model,
                reservation=str(self._reservation),
                error=str(error),
            )

    def _log_call(self, fault: UpstreamFault | None, seconds: float) -> None:
        log.info(
            "model",
            request_id=self._routed.request.request_id.hex,
            model=self.model,
            purpose=self._routed.request.purpose,
            outcome=fault.kind if fault else "whole",
            milliseconds=round(seconds * 1000, 1),
            input_tokens=self.usage.input_tokens if self.usage else 0,
            output_tokens=self.usage.output_tokens if self.usage else 0,
        )
