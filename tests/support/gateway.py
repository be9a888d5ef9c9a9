"""Timeouts, a meter and a wait for closed connections, for tests of the gateway."""

import time
from uuid import uuid4

from bench.fake_models import FakeProvider
from core.errors import OverBudget
from serving.gateway.models_file import Timeouts

# A healthy provider replies within these, even on a busy machine.
LENIENT = Timeouts(connect=30, first=30, between=30, total=60)
LONG = Timeouts(connect=5, first=100, between=100, total=100)
WAIT_SECONDS = 30.0  # far above every deadline of the tests, for a busy machine


def count_closed_connections(provider: FakeProvider) -> int:
    """Return how many connections the client closed early. Wait for the first one."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not provider.disconnections and time.monotonic() < deadline:
        time.sleep(0.01)
    return provider.disconnections


class FakeMeter:
    """A meter that records its calls. `expensive` models are over budget."""

    def __init__(self, expensive=()):
        self.expensive, self.reserved, self.settled = expensive, {}, {}

    def reserve(self, request, model, tokens, cost):
        if model in self.expensive:
            raise OverBudget(
                "The tenant may use 5 tokens in a day. The budget resets at midnight.", 60
            )
        reservation = uuid4()
        self.reserved[reservation] = (model, tokens, cost)
        return reservation

    def commit_usage(self, reservation, usage):
        assert reservation not in self.settled
        self.settled[reservation] = usage

    def is_over_soft_limit(self, principal):
        return False

    @property
    def usages(self):
        assert self.settled.keys() == self.reserved.keys()
        return list(self.settled.values())
