"""How many calls a model gets at once, and how many may wait for their turn; who would wait in vain is told at once."""

import threading
import time

MEAN_SMOOTHING_FACTOR = 0.2  # weight of the newest call in the mean of how long calls take


class ConcurrencyLimiter:
    """A model's places. Safe to use from many threads."""

    def __init__(self, slots: int, max_waiting: int) -> None:
        self._slots, self._max_waiting = slots, max_waiting
        self._in_flight = self._waiting = 0
        self._mean_seconds = 0.0
        self._changed = threading.Condition()

    @property
    def in_flight(self) -> int:
        """Calls under way."""
        return self._in_flight

    def try_acquire(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        with self._changed:
            return self._take_slot() if not self._waiting else False

    def acquire_within(self, seconds: float, cancelled: threading.Event) -> bool:
        """Wait for a place; False as soon as that is hopeless: too many wait already, or it would take too long."""
        until = time.monotonic() + seconds
        with self._changed:
            if (
                self._waiting >= self._max_waiting
                or self._expected_wait_seconds(self._waiting + 1) > seconds
            ):
                return False
            self._waiting += 1
            try:
                while not self._take_slot():
                    left = until - time.monotonic()
                    if left <= 0 or cancelled.is_set():
                        return False
                    self._changed.wait(min(left, 0.1))
                return True
            finally:
                self._waiting -= 1

    def release(self, seconds: float | None) -> None:
        """Give back a place after so many seconds; None where no call was made."""
        with self._changed:
            self._in_flight -= 1
            if seconds is not None:
                self._mean_seconds += MEAN_SMOOTHING_FACTOR * (seconds - self._mean_seconds)
            self._changed.notify()

    def expected_wait_seconds(self) -> float:
        """Seconds that one who comes now would wait, as calls have taken lately."""
        with self._changed:
            return self._expected_wait_seconds(self._waiting + 1)

    def _take_slot(self) -> bool:
        if self._in_flight >= self._slots:
            return False
        self._in_flight += 1
        return True

    def _expected_wait_seconds(self, position: int) -> float:
        return 0.0 if self._in_flight < self._slots else position * self._mean_seconds / self._slots
