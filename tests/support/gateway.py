"""Timeouts and the wait for a closed connection, shared by the tests of the gateway."""

import time

from bench.fake_models import FakeProvider
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
