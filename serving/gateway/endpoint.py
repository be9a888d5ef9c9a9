"""A model of the models file with its provider, its free slots and its recent failures."""

import threading
from collections.abc import Callable

from serving.gateway.models_file import ModelSpec
from serving.gateway.providers.base import ModelProvider
from serving.gateway.resilience.circuit_breaker import CircuitBreaker
from serving.gateway.resilience.concurrency_limiter import ConcurrencyLimiter
from serving.gateway.token_counters import open_token_counter


class ModelEndpoint:
    """A model as the gateway calls it. Safe to use from many threads."""

    def __init__(self, spec: ModelSpec, provider: ModelProvider) -> None:
        self.spec, self.provider = spec, provider
        self.breaker = CircuitBreaker()
        self.limiter = ConcurrencyLimiter(spec.concurrency, spec.waiting)
        self.token_counter = open_token_counter(spec.tokenizer, spec.base_url)

    def try_acquire(self) -> bool:
        """Take a slot if one is free now and the circuit lets a call through."""
        return self._acquire(self.limiter.try_acquire)

    def acquire_within(self, seconds: float, cancelled: threading.Event) -> bool:
        """Take a slot like `try_acquire`, and wait for one if necessary."""
        return self._acquire(lambda: self.limiter.acquire_within(seconds, cancelled))

    def release_unused(self) -> None:
        """Give back a slot with which no call was made."""
        self.limiter.release(None)
        self.breaker.record_abandoned()

    def _acquire(self, take_slot: Callable[[], bool]) -> bool:
        if self.breaker.seconds_until_ready() > 0 or not take_slot():
            return False
        if self.breaker.admit():
            return True
        self.limiter.release(None)
        return False
