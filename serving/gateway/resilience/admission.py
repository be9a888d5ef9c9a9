"""How many calls a model gets at once, and how many may wait for their turn; who would wait in vain is told at once."""

import threading
import time

SMOOTHING = 0.2  # weight of the newest call in the mean of how long calls take


class Gate:
    """A model's places. Safe to use from many threads."""

    def __init__(self, places: int, waiting: int) -> None:
        self._places, self._most_waiting = places, waiting
        self._inside = self._waiting = 0
        self._mean_seconds = 0.0
        self._changed = threading.Condition()

    @property
    def inside(self) -> int:
        """Calls under way."""
        return self._inside

    def enter(self) -> bool:
        """Take a place if one is free and nobody waits for it."""
        with self._changed:
            return self._take() if not self._waiting else False

    def wait(self, seconds: float, cancelled: threading.Event) -> bool:
        """Wait for a place; False as soon as that is hopeless: too many wait already, or it would take too long."""
        until = time.monotonic() + seconds
        with self._changed:
            if self._waiting >= self._most_waiting or self._expected(self._waiting + 1) > seconds:
                return False
            self._waiting += 1
            try:
                while not self._take():
                    left = until - time.monotonic()
                    if left <= 0 or cancelled.is_set():
                        return False
                    self._changed.wait(min(left, 0.1))
                return True
            finally:
                self._waiting -= 1

    def leave(self, seconds: float | None) -> None:
        """Give back a place after so many seconds; None where no call was made."""
        with self._changed:
            self._inside -= 1
            if seconds is not None:
                self._mean_seconds += SMOOTHING * (seconds - self._mean_seconds)
            self._changed.notify()

    def expected(self) -> float:
        """Seconds that one who comes now would wait, as calls have taken lately."""
        with self._changed:
            return self._expected(self._waiting + 1)

    def _take(self) -> bool:
        if self._inside >= self._places:
            return False
        self._inside += 1
        return True

    def _expected(self, place: int) -> float:
        return 0.0 if self._inside < self._places else place * self._mean_seconds / self._places
