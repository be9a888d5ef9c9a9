"""What runs while documents change: the database and the worker, which are killed, and the service, which lives on."""

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.rows import TupleRow

from bench.faults.papers import Papers
from bench.faults.tally import Tally
from ingest import pipeline
from knowledge.embedded import EmbeddedPostgres
from knowledge.errors import GroundworkError
from knowledge.services import Services, open_services, start_embedded
from knowledge.settings import Settings, load_settings

TENANT = "faults"
AWAY = (GroundworkError, psycopg.OperationalError, psycopg.InterfaceError)
COMMAND = Path(sys.executable).parent / "groundwork"
BACKENDS = "select pid from pg_stat_activity where usename = 'groundwork_app'"
LEASED = "select count(*) from groundwork.item where state = 'leased'"


class Server:
    """The embedded PostgreSQL, which may be killed and started again."""

    def __init__(self, home: Path) -> None:
        self._handles = [start_embedded(Settings(home=home, database_url=""))[0]]
        self.url = self._handles[0].conninfo("groundwork_app")

    def leased(self) -> int:
        """Files that a worker has in hand just now; 0 where nobody can say."""
        rows = self._ask(LEASED)
        return int(rows[0][0]) if rows else 0

    def kill_backend(self, chance: random.Random) -> bool:
        """Kill one connection of the application, at which PostgreSQL restarts; False where there is none just now."""
        pids = self._ask(BACKENDS)
        with contextlib.suppress(ProcessLookupError):
            if pids:
                os.kill(chance.choice(pids)[0], signal.SIGKILL)
                return True
        return False

    def kill(self) -> bool:
        """Kill the server, then start it again; its backends end by themselves."""
        try:
            pid = int((self._handles[0].data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError, IndexError):
            return False
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)
        while True:
            embedded = EmbeddedPostgres(self._handles[0].folder)
            try:
                embedded.start()
            except GroundworkError:  # the old one's backends are not all gone yet
                time.sleep(0.2)
                continue
            self._handles.append(embedded)
            return True

    def stop(self) -> None:
        """Stop it for good."""
        for handle in self._handles:
            handle.stop()

    def _ask(self, query: str) -> list[TupleRow]:
        try:
            with psycopg.connect(self._handles[0].conninfo(), autocommit=True, connect_timeout=5) as connection:
                return connection.execute(query).fetchall()  # type: ignore[arg-type]
        except psycopg.OperationalError:
            return []


class Worker:
    """The process that takes the papers in; started anew whenever it was killed. `at_work` while it does."""

    def __init__(self, server: Server, papers: Papers, tally: Tally) -> None:
        self.at_work = threading.Event()
        self._server = server
        self._papers = papers
        self._tally = tally
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Have the papers taken in; again after each death or failure, until they are."""
        while not self._taken_in():
            time.sleep(0.1)

    def kill(self) -> bool:
        """Kill the process, if it is at work."""
        process = self._process
        if process is None or not self.at_work.is_set():
            return False
        process.send_signal(signal.SIGKILL)
        return process.wait() == -signal.SIGKILL

    def stop(self) -> None:
        """Let it end."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()

    def _taken_in(self) -> bool:
        process = self._alive()
        assert process.stdin is not None
        assert process.stdout is not None
        self._tally.runs += 1
        try:
            process.stdin.write(f"{self._papers.folder}\n")
            process.stdin.flush()
            self.at_work.set()
            said = process.stdout.readline()
        except BrokenPipeError:
            return False
        finally:
            self.at_work.clear()
        reply = json.loads(said) if said else {"ok": False, "error": "killed"}
        if not reply["ok"]:
            self._tally.failures[str(reply.get("error", reply))[:120]] += 1
        return reply["ok"] is True

    def _alive(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "bench.faults", "--work"], env=environment(self._server), text=True,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            assert self._process.stdout is not None
            self._process.stdout.readline()  # it is ready
        return self._process


class Service:
    """`groundwork serve` on loopback, asked over HTTP until it answers: its database may be away."""

    def __init__(self, server: Server, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        with (home / "service.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own command, no shell
                [str(COMMAND), "serve", "--port", str(port), "--tenant", TENANT],
                env=environment(server), stdout=log, stderr=log,
            )  # fmt: skip

    def ask(self, question: str) -> str:
        """What it answers, as JSON."""
        return self._patiently("/v1/ask", {"question": question})[1]

    def search(self, question: str) -> str:
        """The hundred best passages, as JSON."""
        return self._patiently("/v1/search", {"question": question, "limit": 100})[1]

    def knows(self, document_id: object) -> bool:
        """Whether a document's id leads somewhere."""
        return self._patiently(f"/v1/documents/{document_id}")[0] != 404

    def stop(self) -> None:
        """Have it end."""
        self._process.terminate()
        self._process.wait()

    def _patiently(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Status and text: 200 or 404, whatever else it says meanwhile.

        Raises:
            RuntimeError: the service has ended.
        """
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}{path}", data, headers)  # noqa: S310 - our own address
        while self._process.poll() is None:
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310 - our own address
                    return reply.status, reply.read().decode()
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return 404, error.read().decode()
            except OSError:
                pass  # not yet, or not in time
            time.sleep(0.2)
        raise RuntimeError("The service has ended by itself; its log is service.log in the folder of the bench.")


def environment(server: Server) -> dict[str, str]:
    """Of a process of ours that uses the server."""
    return {**os.environ, "GROUNDWORK_DATABASE_URL": server.url}


def work(commands: IO[str]) -> None:
    """The worker process: a folder a line on standard input, what became of it a line on standard output."""
    services = _patiently_opened(load_settings())
    services.embedder()
    _say({"ready": True})
    for line in commands:
        try:
            report = pipeline.ingest(services, TENANT, [pipeline.origin(line.strip())])
            _say({"ok": report.state == "finished", "counts": report.counts})
        except AWAY as error:
            _say({"ok": False, "error": str(error)})


def _patiently_opened(settings: Settings) -> Services:
    while True:
        try:
            return open_services(settings)
        except GroundworkError:
            time.sleep(0.3)


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
