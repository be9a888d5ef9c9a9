"""How often a call may be made anew, so that an outage is not made worse by those who wait for its end."""

import random
import threading

MAX_RETRIES = 2  # for one request, whichever model they go to
RETRY_CREDIT_PER_REQUEST = 0.1  # of the requests that may be made anew for nothing
MAX_RETRY_CREDIT = 32  # retries that may be under way before any request has earned one; the calls of a few models in flight
BASE_DELAY_SECONDS, MAX_DELAY_SECONDS = 0.25, 2.0


class RetryBudget:
    """What all requests of the process may spend on retries: each earns a tenth of one, each retry costs one.

    A retry that brings a reply gives back what it cost. So what is held back is what does not help: with one of two
    providers gone every request may go to the other; with both gone calls stay below 1.1 times the requests.
    """

    def __init__(self, max_credit: float = MAX_RETRY_CREDIT) -> None:
        self._max_credit = self._credit = max_credit
        self._lock = threading.Lock()

    def count_request(self) -> None:
        """A request came."""
        self._add_credit(RETRY_CREDIT_PER_REQUEST)

    def try_spend(self) -> bool:
        """Whether one more retry may be made."""
        with self._lock:
            if self._credit < 1:
                return False
            self._credit -= 1
            return True

    def refund_retry(self) -> None:
        """A retry brought a reply."""
        self._add_credit(1)

    def _add_credit(self, amount: float) -> None:
        with self._lock:
            self._credit = min(self._max_credit, self._credit + amount)


def retry_delay_seconds(retry: int, rng: random.Random) -> float:
    """Seconds to wait before retry 0, 1, ...: evenly between none and a bound that doubles, so that those who failed
    together don't come back together ("full jitter": M. Brooker, Exponential Backoff And Jitter, 2015).
    """
    return rng.uniform(0, min(MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2**retry))
