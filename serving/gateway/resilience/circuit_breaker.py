"""Circuit breaker: a model that keeps failing gets no calls for a while, then a single test call.

closed      calls go through; the last outcomes are remembered
open        no calls go through for some seconds
half-open   one call goes through; its outcome closes the circuit, or opens it for twice as long

M. T. Nygard, Release It!, 2nd edition 2018, chapter 5.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Literal

from serving.gateway.resilience.upstream_faults import UpstreamFault

CircuitState = Literal["closed", "open", "half-open"]

MAX_OUTCOMES = 20  # remembered outcomes
MIN_FAILURES = 5  # fewer may be chance
MIN_FAILURE_RATE = 0.5  # of the remembered outcomes, to open the circuit
OPEN_SECONDS, MAX_OPEN_SECONDS = 10.0, 120.0
MAX_PAUSE_SECONDS = 60.0  # a longer Retry-After of a provider is not believed


class CircuitBreaker:
    """Circuit of one model. Safe to use from many threads."""

    def __init__(
        self, open_seconds: float = OPEN_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock, self._open_seconds = clock, open_seconds
        self._outcomes: deque[bool] = deque(maxlen=MAX_OUTCOMES)
        self._next_open_seconds = open_seconds
        self._opened_until: float | None = None
        self._paused_until = 0.0
        self._is_probing = False
        self._lock = threading.Lock()

    @property
    def state(self) -> CircuitState:
        """The present state."""
        with self._lock:
            return self._current_state()

    def seconds_until_ready(self) -> float:
        """Return the seconds until a call may go out, 0 if it may now."""
        with self._lock:
            return self._seconds_until_ready()

    def admit(self) -> bool:
        """Let a call through if possible. It must then end in one of the `record_` methods."""
        with self._lock:
            if self._seconds_until_ready() > 0:
                return False
            self._is_probing = self._opened_until is not None
            return True

    def record_success(self) -> None:
        """Record a complete reply."""
        with self._lock:
            if self._opened_until is None:
                self._outcomes.append(True)
            elif self._is_probing:
                self._close_circuit()

    def record_failure(self, fault: UpstreamFault) -> None:
        """Record a failed call, and pause as long as the provider asked for."""
        with self._lock:
            if fault.retry_after is not None:
                self._paused_until = self._clock() + min(fault.retry_after, MAX_PAUSE_SECONDS)
            if not fault.counts_against_model:
                self._is_probing = False
            elif self._opened_until is None:
                self._outcomes.append(False)
                if self._has_too_many_failures():
                    self._open_circuit()
            elif self._is_probing:
                self._open_circuit()

    def record_abandoned(self) -> None:
        """Record a call that ended without an outcome."""
        with self._lock:
            self._is_probing = False

    def _current_state(self) -> CircuitState:
        if self._opened_until is None:
            return "closed"
        return "open" if self._clock() < self._opened_until else "half-open"

    def _seconds_until_ready(self) -> float:
        until = max(self._paused_until, self._opened_until or 0.0)
        if self._is_probing:  # the test call may end at any time, so ask again in a second
            return max(until - self._clock(), 1.0)
        return max(until - self._clock(), 0.0)

    def _has_too_many_failures(self) -> bool:
        failures = self._outcomes.count(False)
        return failures >= MIN_FAILURES and failures >= MIN_FAILURE_RATE * len(self._outcomes)

    def _open_circuit(self) -> None:
        self._opened_until = self._clock() + self._next_open_seconds
        self._next_open_seconds = min(2 * self._next_open_seconds, MAX_OPEN_SECONDS)
        self._is_probing = False

    def _close_circuit(self) -> None:
        self._outcomes.clear()
        self._opened_until = None
        self._next_open_seconds = self._open_seconds
        self._is_probing = False
