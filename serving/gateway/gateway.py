"""The gateway: a request goes to the best permitted model that answers. Read this file first.

route      rank the permitted models (routing.py, models_file.py)
choose     take the first with a closed circuit and a free slot (endpoint.py, resilience/)
reserve    check with the meter that the budget allows the call
call       wait for the first piece within deadlines (reply.py, providers/, core/http.py)
fall back  on a fault before that piece, try another model or the same again, at most twice

After the first piece the reply stays with its model.
"""

import math
import random
import time
from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from pathlib import Path
from uuid import UUID

from core.errors import OverBudget
from core.http import HttpPool
from core.principal import Principal
from core.settings import Settings
from core.token_estimate import estimate_tokens
from serving.gateway.endpoint import ModelEndpoint
from serving.gateway.models_file import ModelsFile, ModelSpec, read_models
from serving.gateway.providers.base import ModelProvider, open_provider
from serving.gateway.reply import GatewayReply, ModelCall
from serving.gateway.resilience.retries import MAX_RETRIES, RetryBudget, retry_delay_seconds
from serving.gateway.resilience.upstream_faults import UpstreamFault
from serving.gateway.routing import rank_models
from serving.gateway.token_counters import max_prompt_tokens
from serving.gateway.types import (
    DEFAULT_CONTEXT_TOKENS,
    Meter,
    ModelReply,
    ModelRequest,
    Models,
    NoModelAvailable,
    Overloaded,
)

TOKENS_PER_MESSAGE = 4  # of the chat template, for routing


def open_gateway(settings: Settings, meter: Meter | None = None) -> "Gateway | None":
    """Return the gateway to the models of the configured models file; None if there is none.

    Raises:
        InvalidInput: the file can't be used, or a key is not set.
    """
    if not settings.models:
        return None
    models_file, pool = read_models(Path(settings.models)), HttpPool()
    providers = {model.name: open_provider(model, pool) for model in models_file.models}
    return Gateway(models_file, providers, meter, pool)


class Gateway(Models):
    """Models for everyone in the process. Build one at start-up, and `close` it at the end."""

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
        self.rng = random.Random()  # noqa: S311 - spreads retries

    def stream(self, request: ModelRequest) -> ModelReply:
        """Open a reply of the best available model; see `Models.stream`."""
        self.retry_budget.count_request()
        return _RoutedRequest(self, request).open_reply()

    def context_size(self, principal: Principal) -> int:
        """Return the largest context, in tokens, of the models that a tenant may use."""
        allowed = self.models_file.policy_for(principal.tenant).models
        sizes = [
            model.context
            for model in self.models_file.models
            if allowed is None or model.name in allowed
        ]
        return max(sizes, default=DEFAULT_CONTEXT_TOKENS)

    @property
    def fingerprint(self) -> str:
        """The models file, as text."""
        return self.models_file.model_dump_json()

    def close(self) -> None:
        """Close all connections."""
        if self._pool is not None:
            self._pool.close()


class _RoutedRequest:
    """One request with the models that may still answer it, and the faults of those that failed."""

    def __init__(self, gateway: Gateway, request: ModelRequest) -> None:
        self._gateway, self._request, self._meter = gateway, request, gateway.meter
        self._timeouts = gateway.models_file.patience
        self._deadline = time.monotonic() + min(request.timeout_seconds, self._timeouts.total)
        self._input_tokens = sum(
            estimate_tokens(message.content) + TOKENS_PER_MESSAGE for message in request.messages
        )
        over_soft_limit = self._meter is not None and self._meter.is_over_soft_limit(
            request.principal
        )
        models = rank_models(
            gateway.models_file, request, self._input_tokens, over_soft_limit=over_soft_limit
        )
        self._endpoints = [gateway.endpoints[model.name] for model in models]
        self._faults: dict[str, UpstreamFault] = {}
        self._prompt_tokens: dict[str, int] = {}

    def open_reply(self) -> ModelReply:
        """Return the reply of the first model that answers."""
        for attempt in range(1 + MAX_RETRIES):
            if attempt and not self._gateway.retry_budget.try_spend():
                break
            endpoint, reservation = self._reserve_endpoint(attempt)
            try:
                reply = GatewayReply(self._prepare_call(endpoint, reservation))
            except UpstreamFault as fault:
                self._faults[endpoint.spec.name] = fault
                if fault.kind == "cancelled":
                    break
            else:
                if attempt:
                    self._gateway.retry_budget.refund_retry()
                return reply
        raise self._no_model_error()

    def _prepare_call(self, endpoint: ModelEndpoint, reservation: UUID | None) -> ModelCall:
        return ModelCall(
            self._request,
            endpoint,
            self._deadline,
            self._timeouts,
            self._first_piece_seconds(endpoint.spec),
            partial(self._max_prompt_tokens, endpoint),
            self._meter,
            reservation,
        )

    def _remaining_seconds(self) -> float:
        return self._deadline - time.monotonic()

    def _first_piece_seconds(self, spec: ModelSpec) -> float:
        """Return the time limit of a model's first piece.

        A reply that comes whole may take longer: half of the remaining time if another model could
        still follow.
        """
        if spec.streaming:
            return self._timeouts.first
        if len(self._endpoints) > 1:
            return max(self._remaining_seconds() / 2, self._timeouts.first)
        return self._remaining_seconds()

    def _reserve_endpoint(self, attempt: int) -> tuple[ModelEndpoint, UUID | None]:
        """Return the next model, with a slot taken and its price reserved."""
        while True:
            endpoint = self._acquire_endpoint(attempt)
            try:
                return endpoint, self._reserve_usage(endpoint)
            except OverBudget as error:
                endpoint.release_unused()
                self._keep_cheaper_endpoints(endpoint.spec, error)
            except BaseException:
                endpoint.release_unused()
                raise

    def _acquire_endpoint(self, attempt: int) -> ModelEndpoint:
        """Take a slot of a model that has not failed, or wait for one, or retry a failed model."""
        fresh = [each for each in self._endpoints if each.spec.name not in self._faults]
        for endpoint in fresh:
            if endpoint.try_acquire():
                return endpoint
        ready = [each for each in fresh if each.breaker.seconds_until_ready() == 0]
        for endpoint in ready:
            if self._acquire_by_waiting(endpoint):
                return endpoint
        for endpoint in self._endpoints:
            fault = self._faults.get(endpoint.spec.name)
            if fault and not fault.is_permanent and self._acquire_for_retry(endpoint, attempt):
                return endpoint
        raise self._no_model_error(ready)

    def _acquire_by_waiting(self, endpoint: ModelEndpoint) -> bool:
        return endpoint.acquire_within(self._remaining_seconds() / 2, self._request.cancelled)

    def _acquire_for_retry(self, endpoint: ModelEndpoint, attempt: int) -> bool:
        """Pause as the provider asked, then take a slot; not if it takes half of the time left."""
        delay = retry_delay_seconds(attempt - 1, self._gateway.rng)
        seconds = max(endpoint.breaker.seconds_until_ready(), delay)
        if endpoint.breaker.state != "closed" or seconds > self._remaining_seconds() / 2:
            return False
        if self._request.cancelled.wait(seconds):
            return False
        return endpoint.try_acquire() or self._acquire_by_waiting(endpoint)

    def _max_prompt_tokens(self, endpoint: ModelEndpoint) -> int:
        """Return the most tokens that a model reads of this request, counted once."""
        name = endpoint.spec.name
        if name not in self._prompt_tokens:
            self._prompt_tokens[name] = max_prompt_tokens(endpoint.token_counter, self._request)
        return self._prompt_tokens[name]

    def _reserve_usage(self, endpoint: ModelEndpoint) -> UUID | None:
        """Reserve the most that a call may cost."""
        if self._meter is None:
            return None
        prompt_tokens, reply_tokens = self._max_prompt_tokens(endpoint), self._request.max_tokens
        cost = endpoint.spec.compute_cost(prompt_tokens, reply_tokens)
        tokens = prompt_tokens + reply_tokens
        return self._meter.reserve(self._request, endpoint.spec.name, tokens, cost)

    def _keep_cheaper_endpoints(self, spec: ModelSpec, error: OverBudget) -> None:
        """Keep only models cheaper than a refused one; raise if none is left or allowed."""
        policy = self._gateway.models_file.policy_for(self._request.principal.tenant)
        limit = self._max_cost(spec)
        self._endpoints = [each for each in self._endpoints if self._max_cost(each.spec) < limit]
        if policy.over_budget == "refuse" or not self._endpoints:
            raise error

    def _max_cost(self, spec: ModelSpec) -> Decimal:
        return spec.compute_cost(self._input_tokens, self._request.max_tokens)

    def _no_model_error(self, busy: Sequence[ModelEndpoint] = ()) -> NoModelAvailable:
        """Say why there is no reply, and when to ask again."""
        if busy and not self._faults:
            seconds = min(each.limiter.expected_wait_seconds() for each in busy)
            return Overloaded(
                "All models are busy. Ask again in a moment.", max(1, math.ceil(seconds))
            )
        reasons = [fault.describe(name) for name, fault in self._faults.items()]
        for endpoint in self._endpoints:
            name = endpoint.spec.name
            if name not in self._faults and endpoint.breaker.seconds_until_ready() > 0:
                reasons.append(f"The model {name!r} failed too often and is paused.")
        waits = [each.breaker.seconds_until_ready() for each in self._endpoints]
        retry_after = max(1, math.ceil(min(waits))) if waits and min(waits) > 0 else None
        return NoModelAvailable(" ".join(["No language model answered.", *reasons]), retry_after)
