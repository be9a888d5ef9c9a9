"""Limit on parallel and waiting calls to a model. A call that would wait in vain is refused."""

import threading
import time

CANCEL_POLL_SECONDS = 0.1
MEAN_SMOOTHING_FACTOR = 0.2  # weight of the newest call in the mean duration


class ConcurrencyLimiter:
    """Slots of one model. Safe to use from many threads."""

    def __init__(self, slots: int, max_waiting: int) -> None:
        self._slots, self._max_waiting = slots, max_waiting
        self._in_flight = self._waiting = 0
        self._mean_seconds = 0.0
        self._changed = threading.Condition()

    @property
    def in_flight(self) -> int:
        """Number of calls in progress."""
        return self._in_flight

    def try_acquire(self) -> bool:
        """Take a slot if one is free and no other call waits for it."""
        with self._changed:
            return self._take_slot() if not self._waiting else False

    def acquire_within(self, seconds: float, cancelled: threading.Event) -> bool:
        """Wait for a slot. Return False as soon as too many wait or the wait would be too long."""
        until = time.monotonic() + seconds
        with self._changed:
            expected_seconds = self._expected_wait_seconds(self._waiting + 1)
            if self._waiting >= self._max_waiting or expected_seconds > seconds:
                return False
            self._waiting += 1
            try:
                while not self._take_slot():
                    remaining = until - time.monotonic()
                    if remaining <= 0 or cancelled.is_set():
                        return False
                    self._changed.wait(min(remaining, CANCEL_POLL_SECONDS))
                return True
            finally:
                self._waiting -= 1

    def release(self, seconds: float | None) -> None:
        """Free a slot. `seconds` is the duration of its call, None if no call was made."""
        with self._changed:
            self._in_flight -= 1
            if seconds is not None:
                self._mean_seconds += MEAN_SMOOTHING_FACTOR * (seconds - self._mean_seconds)
            self._changed.notify()

    def expected_wait_seconds(self) -> float:
        """Return the seconds that a new call would wait, from the durations of recent calls."""
        with self._changed:
            return self._expected_wait_seconds(self._waiting + 1)

    def _take_slot(self) -> bool:
        if self._in_flight >= self._slots:
            return False
        self._in_flight += 1
        return True

    def _expected_wait_seconds(self, position: int) -> float:
        return 0.0 if self._in_flight < self._slots else position * self._mean_seconds / self._slots
