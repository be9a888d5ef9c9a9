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

DRAIN_TIMEOUT_SECONDS = 10.0
START_TIMEOUT_SECONDS = (
    120  # the first start makes Prefect's own database, on a slow disk this takes a while
)


class PrefectServer:
    """Prefect's API: `start` begins to start it in the background, `with ready():` runs a flow against it."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self) -> "PrefectServer":
        """Begin to start the server, unless one is configured; returns at once."""
        os.environ.setdefault("PREFECT_HOME", str(self._home))
        if os.environ.get("PREFECT_API_URL") or self._process:
            return self
        self._home.mkdir(parents=True, exist_ok=True)
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "flows.prefect_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, "PREFECT_HOME": str(self._home)},
            )
        return self

    @contextmanager
    def connect(self) -> Iterator[None]:
        """Run what is inside against the server.

        Raises:
            Unavailable: our own server did not come up; the message names its log.
        """
        if not self._process:
            yield
            return
        from prefect.settings import PREFECT_API_URL, temporary_settings

        with temporary_settings(
            {PREFECT_API_URL: f"http://127.0.0.1:{self._wait_until_healthy()}/api"}
        ):
            try:
                yield
            finally:
                _flush_events_and_logs()

    def stop(self) -> None:
        """Stop our own server; closing its pipe is enough."""
        if self._process and self._process.stdin:
            self._process.stdin.close()
            self._process.wait()
            self._process = None
            self._port = 0

    def __enter__(self) -> "PrefectServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _wait_until_healthy(self) -> int:
        assert self._process is not None
        if not self._port and self._process.stdout:
            self._port = int(self._process.stdout.readline() or 0)
        until = time.monotonic() + START_TIMEOUT_SECONDS
        while self._process.poll() is None and time.monotonic() < until:
            if _is_healthy(self._port):
                return self._port
            time.sleep(0.05)
        raise Unavailable(
            f"Prefect's local server did not start; its log says why: {self._home / 'server.log'}"
        )


def _flush_events_and_logs() -> None:
    """Prefect tells its server of events and logs from threads of its own; they must finish before the server stops."""
    from prefect.events.worker import EventsWorker
    from prefect.logging.handlers import APILogWorker

    EventsWorker.drain_all(timeout=DRAIN_TIMEOUT_SECONDS, at_exit=False)
    APILogWorker.drain_all(timeout=DRAIN_TIMEOUT_SECONDS, at_exit=False)


def _is_healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _run_prefect_api() -> None:
    """The server process: Prefect's API on a free loopback port, which it prints, until standard input closes."""
    os.environ["PREFECT_UI_ENABLED"] = "0"
    os.environ["PREFECT__SERVER_EPHEMERAL"] = "1"
    os.environ["PREFECT__SERVER_FINAL"] = "1"
    import socket

    import uvicorn

    logs.install_redaction()
    from prefect.server.api.server import create_app

    threading.Thread(target=_exit_with_parent, daemon=True).start()
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    server = uvicorn.Server(uvicorn.Config(create_app(), log_level="error", lifespan="on"))
    server.run(sockets=[listener])


def _exit_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # Prefect's state is a cache of ours; the ledger in PostgreSQL is the truth


if __name__ == "__main__":
    _run_prefect_api()
