"""Prefect server for the flows of this process: the configured one, or a temporary one.

The temporary server that Prefect itself can start outlives a parent that is killed. This one reads
a pipe that only the parent can write, and stops when the pipe closes.
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
START_TIMEOUT_SECONDS = 120  # the first start creates Prefect's own database


class PrefectServer:
    """A Prefect server. `start` starts it in the background, `with connect():` uses it."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._process: subprocess.Popen[bytes] | None = None
        self._port = 0

    def start(self) -> "PrefectServer":
        """Start the server in the background, unless one is configured; return at once."""
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
        """Use the server for the flows that run in the block.

        Raises:
            Unavailable: the temporary server did not start; the message names its log.
        """
        if not self._process:
            yield
            return
        from prefect.settings import PREFECT_API_URL, temporary_settings

        api_url = f"http://127.0.0.1:{self._wait_until_healthy()}/api"
        with temporary_settings({PREFECT_API_URL: api_url}):
            try:
                yield
            finally:
                _flush_events_and_logs()

    def stop(self) -> None:
        """Stop the temporary server, by closing its pipe."""
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
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while self._process.poll() is None and time.monotonic() < deadline:
            if _is_healthy(self._port):
                return self._port
            time.sleep(0.05)
        log = self._home / "server.log"
        raise Unavailable(f"Prefect's local server did not start. Read its log: {log}")


def _flush_events_and_logs() -> None:
    """Wait until Prefect's own threads have sent their events and logs to the server."""
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
    """Serve Prefect's API on a free loopback port, and print the port, until stdin closes."""
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
    os._exit(0)  # nothing is lost: the queue in PostgreSQL records all progress


if __name__ == "__main__":
    _run_prefect_api()
