"""Limits on retries, so that retries do not make an outage worse."""

import random
import threading

MAX_RETRIES = 2  # of one request, over all models
RETRY_CREDIT_PER_REQUEST = 0.1  # retries that each request earns
MAX_RETRY_CREDIT = 32  # also the initial credit: about the parallel calls of a few models
BASE_DELAY_SECONDS, MAX_DELAY_SECONDS = 0.25, 2.0


class RetryBudget:
    """Retry credit of the process: each request earns a tenth of a retry, each retry costs one.

    A retry that brings a reply is refunded, so only useless retries are limited: with one of two
    providers down every request may go to the other; with both down there are at most 1.1 calls per
    request.
    """

    def __init__(self, max_credit: float = MAX_RETRY_CREDIT) -> None:
        self._max_credit = self._credit = max_credit
        self._lock = threading.Lock()

    def count_request(self) -> None:
        """Add the credit of one request."""
        self._add_credit(RETRY_CREDIT_PER_REQUEST)

    def try_spend(self) -> bool:
        """Pay for one retry if there is credit."""
        with self._lock:
            if self._credit < 1:
                return False
            self._credit -= 1
            return True

    def refund_retry(self) -> None:
        """Give back the credit of a retry that brought a reply."""
        self._add_credit(1)

    def _add_credit(self, amount: float) -> None:
        with self._lock:
            self._credit = min(self._max_credit, self._credit + amount)


def retry_delay_seconds(retry: int, rng: random.Random) -> float:
    """Return a random delay before retry 0, 1, ..., up to a bound that doubles.

    Calls that failed together then do not return together ("full jitter": M. Brooker, Exponential
    Backoff And Jitter, 2015).
    """
    return rng.uniform(0, min(MAX_DELAY_SECONDS, BASE_DELAY_SECONDS * 2**retry))
