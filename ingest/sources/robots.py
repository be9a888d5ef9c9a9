"""Politeness to a site: its robots.txt (RFC 9309), and the distance between two requests."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from protego import Protego

ROBOTS_AGENT = "groundwork"  # the product token that robots.txt may name
MAX_ROBOTS_BYTES = 512_000  # RFC 9309 requires at least 500 KiB
ALLOW_ALL, DISALLOW_ALL = "", "User-agent: *\nDisallow: /"

_AGENT_LINE = re.compile(r"\s*user[- ]?agent\b\s*:?\s*(?P<token>[^\s/#]*)", re.IGNORECASE)


class RobotsRules:
    """The rules of one robots.txt for this crawler."""

    def __init__(self, text: str) -> None:
        self._rules = Protego.parse(_simplify_agents(text))
        self.delay_seconds = self._rules.crawl_delay(ROBOTS_AGENT) or 0.0

    def allows(self, url: str) -> bool:
        """Return whether this crawler may fetch a URL."""
        return self._rules.can_fetch(url, ROBOTS_AGENT)


class SiteThrottle:
    """One request at a time to a site, `delay_seconds` apart."""

    def __init__(self, delay_seconds: float) -> None:
        self.delay_seconds = delay_seconds
        self._last_request_at = float("-inf")
        self._lock = threading.Lock()

    @contextmanager
    def wait_turn(self) -> Iterator[None]:
        """Wait for the turn of a request, and hold it until the request has ended."""
        with self._lock:
            time.sleep(max(0.0, self._last_request_at + self.delay_seconds - time.monotonic()))
            try:
                yield
            finally:
                self._last_request_at = time.monotonic()


def _simplify_agents(text: str) -> str:
    """Reduce each user agent to this crawler, `*` or a single other one.

    Protego would also take `groundwo` for this crawler, and not `groundwork/2`. It stores each rule
    once per agent of a group: a hostile file with thousands of both would fill the memory.
    """
    lines = text.removeprefix("\ufeff").splitlines()
    for index, line in enumerate(lines):
        match = _AGENT_LINE.match(line)
        if match:
            token = match["token"].lower()
            lines[index] = f"User-agent: {token if token in (ROBOTS_AGENT, '*') else 'other'}"
    return "\n".join(lines)
