"""Prefect's API for a flow of this process: the configured server, or one of our own that lives as long as we do.

Prefect can start such a server itself, but one started so outlives a parent that is killed. Ours reads a pipe whose
other end only the parent holds: when that closes, for whatever reason, it stops.
"""

import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from core import logs
from core.errors import Unavailable

DRAIN_SECONDS = 10.0
START_SECONDS = 120  # the first start makes Prefect's own database, on a slow disk this takes a while


class Engine:
    """Prefect's API: `start` begins to start it in the background, `with ready():` runs a flow against it."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._server: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self) -> "Engine":
        """Begin to start the server, unless one is configured; returns at once."""
        os.environ.setdefault("PREFECT_HOME", str(self._home))
        if os.environ.get("PREFECT_API_URL") or self._server:
            return self
        self._home.mkdir(parents=True, exist_ok=True)
        with (self._home / "server.log").open("ab") as log:
            self._server = subprocess.Popen(
                [sys.executable, "-m", "flows.engine"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PREFECT_HOME": str(self._home)},
            )
        return self

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Run what is inside against the server.

        Raises:
            Unavailable: our own server did not come up; the message names its log.
        """
        if not self._server:
            yield
            return
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings({PREFECT_API_URL: f"http://127.0.0.1:{self._wait()}/api"}):
            try:
                yield
            finally:
                _send_what_is_left()

    def stop(self) -> None:
        """Stop our own server; closing its pipe is enough."""
        if self._server and self._server.stdin:
            self._server.stdin.close()
            self._server.wait()
            self._server = None
            self._port = 0

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait(self) -> int:
        assert self._server is not None
        if not self._port and self._server.stdout:
            self._port = int(self._server.stdout.readline() or 0)
        until = time.monotonic() + START_SECONDS
        while self._server.poll() is None and time.monotonic() < until:
            if _answers(self._port):
                return self._port
            time.sleep(0.05)
        raise Unavailable(f"Prefect's local server did not start; its log says why: {self._home / 'server.log'}")


def _send_what_is_left() -> None:
    """Prefect tells its server of events and logs from threads of its own; they must finish before the server stops."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=DRAIN_SECONDS, at_exit=False)
    APILogWorker.drain_all(timeout=DRAIN_SECONDS, at_exit=False)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _serve() -> None:
    """The server process: Prefect's API on a free loopback port, which it prints, until standard input closes."""
    os.environ["PREFECT_UI_ENABLED"] = "0"
    os.environ["PREFECT__SERVER_EPHEMERAL"] = "1"
    os.environ["PREFECT__SERVER_FINAL"] = "1"
    import socket

    import uvicorn

    logs.protect()
    from prefect.server.api.server import create_app

    threading.Thread(target=_stop_with_parent, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="error", lifespan="on"))
    server.run(sockets=[listener])


def _stop_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # Prefect's state is a cache of ours; the ledger in PostgreSQL is the truth


if __name__ == "__main__":
    _serve()
