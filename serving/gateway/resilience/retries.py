"""How often a call may be made anew, so that an outage is not made worse by those who wait for its end."""

import random
import threading

MOST_RETRIES = 2  # for one request, whichever model they go to
SHARE = 0.1  # of the requests that may be made anew for nothing
RESERVE = 32  # retries that may be under way before any request has earned one; the calls of a few models in flight
BASE_SECONDS, LONGEST_SECONDS = 0.25, 2.0


class RetryBudget:
    """What all requests of the process may spend on retries: each earns a tenth of one, each retry costs one.

    A retry that brings a reply gives back what it cost. So what is held back is what does not help: with one of two
    providers gone every request may go to the other; with both gone calls stay below 1.1 times the requests.
    """

    def __init__(self, reserve: float = RESERVE) -> None:
        self._reserve = self._left = reserve
        self._lock = threading.Lock()

    def earn(self) -> None:
        """A request came."""
        self._add(SHARE)

    def spend(self) -> bool:
        """Whether one more retry may be made."""
        with self._lock:
            if self._left < 1:
                return False
            self._left -= 1
            return True

    def give_back(self) -> None:
        """A retry brought a reply."""
        self._add(1)

    def _add(self, amount: float) -> None:
        with self._lock:
            self._left = min(self._reserve, self._left + amount)


def jitter(retry: int, chance: random.Random) -> float:
    """Seconds to wait before retry 0, 1, ...: evenly between none and a bound that doubles, so that those who failed
    together don't come back together ("full jitter": M. Brooker, Exponential Backoff And Jitter, 2015).
    """
    return chance.uniform(0, min(LONGEST_SECONDS, BASE_SECONDS * 2**retry))
