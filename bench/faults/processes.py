"""Processes of the fault benchmark: database and worker, which are killed, and the service."""

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
from core.db.database import Database
from core.embedding import Embedder, load_embedder
from core.errors import GroundworkError
from core.local_postgres import EmbeddedPostgres
from core.services import LoadedEmbedders, Services, start_embedded_postgres
from core.settings import Settings, load_settings
from ingest import pipeline

TENANT = "faults"
DATABASE_ERRORS = (GroundworkError, psycopg.OperationalError, psycopg.InterfaceError)
COMMAND = Path(sys.executable).parent / "groundwork"
BACKENDS_QUERY = "select pid from pg_stat_activity where usename = 'groundwork_app'"
LEASED_QUERY = "select count(*) from groundwork.item where state = 'leased'"


class Server:
    """Embedded PostgreSQL server, which can be killed and restarted."""

    def __init__(self, home: Path) -> None:
        self._handles = [start_embedded_postgres(Settings(home=home, database_url=""))[0]]
        self.url = self._handles[0].conninfo("groundwork_app")

    def count_leased(self) -> int:
        """Return the number of files that a worker has leased; 0 if unknown."""
        rows = self._query(LEASED_QUERY)
        return int(rows[0][0]) if rows else 0

    def kill_backend(self, chance: random.Random) -> bool:
        """Kill one connection, after which PostgreSQL restarts; return False if there is none."""
        pids = self._query(BACKENDS_QUERY)
        with contextlib.suppress(ProcessLookupError):
            if pids:
                os.kill(chance.choice(pids)[0], signal.SIGKILL)
                return True
        return False

    def kill(self) -> bool:
        """Kill the server and start it again; its backends end by themselves."""
        try:
            pid = int((self._handles[0].data_folder / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError, IndexError):
            return False
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)
        while True:
            embedded = EmbeddedPostgres(self._handles[0].folder)
            try:
                embedded.start()
            except GroundworkError:  # some backends of the old server still run
                time.sleep(0.2)
                continue
            self._handles.append(embedded)
            return True

    def stop(self) -> None:
        """Stop all servers."""
        for handle in self._handles:
            handle.stop()

    def _query(self, query: str) -> list[TupleRow]:
        try:
            with psycopg.connect(
                self._handles[0].conninfo(), autocommit=True, connect_timeout=5
            ) as connection:
                return connection.execute(query).fetchall()
        except psycopg.OperationalError:
            return []


class Worker:
    """Ingests the documents in new processes until one succeeds; `at_work` while one runs."""

    def __init__(self, server: Server, papers: Papers, tally: Tally) -> None:
        self.at_work = threading.Event()
        self._papers = papers
        self._tally = tally
        self._pid = 0
        self._spawner = subprocess.Popen(
            [sys.executable, "-m", "bench.faults", "--work"],
            env=make_environment(server) | {"OMP_NUM_THREADS": "1"},
            text=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )

    def run(self) -> None:
        """Ingest the documents; repeat after each death or failure."""
        while not self._run_once():
            time.sleep(0.1)

    def kill(self) -> bool:
        """Kill the process if it is at work."""
        with contextlib.suppress(ProcessLookupError):
            if self.at_work.is_set():
                os.kill(self._pid, signal.SIGKILL)
                return True
        return False

    def stop(self) -> None:
        """Let the spawner end."""
        self._spawner.communicate()

    def _run_once(self) -> bool:
        assert self._spawner.stdin is not None
        self._tally.runs += 1
        self._spawner.stdin.write(f"{self._papers.folder}\n")
        self._spawner.stdin.flush()
        self._pid = self._read_message()["pid"]
        self.at_work.set()
        ended = self._read_message()
        self.at_work.clear()
        self._tally.endings[ended["state"]] += 1
        return bool(ended["state"] == "finished")

    def _read_message(self) -> dict[str, Any]:
        assert self._spawner.stdout is not None
        message: dict[str, Any] = json.loads(self._spawner.stdout.readline())
        return message


class Service:
    """`groundwork serve` on loopback; requests are repeated while the database is down."""

    def __init__(self, server: Server, home: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._url = f"http://127.0.0.1:{port}"
        with (home / "service.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [str(COMMAND), "serve", "--port", str(port), "--tenant", TENANT],
                env=make_environment(server),
                stdout=log,
                stderr=log,
            )

    def ask(self, question: str) -> str:
        """Return the answer as JSON."""
        return self._request("/v1/ask", {"question": question})[1]

    def search(self, question: str) -> str:
        """Return the hundred best passages as JSON."""
        return self._request("/v1/search", {"question": question, "limit": 100})[1]

    def has_document(self, document_id: object) -> bool:
        """Return whether a document's id is found."""
        return self._request(f"/v1/documents/{document_id}")[0] != 404

    def stop(self) -> None:
        """End the service."""
        self._process.terminate()
        self._process.wait()

    def _request(self, path: str, body: dict[str, Any] | None = None) -> tuple[int, str]:
        """Return status (200 or 404) and text; repeat the request after any other reply.

        Raises:
            RuntimeError: the service has ended.
        """
        data = json.dumps(body).encode() if body else None
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self._url}{path}", data, headers)  # noqa: S310
        while self._process.poll() is None:
            try:
                with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310
                    return reply.status, reply.read().decode()
            except urllib.error.HTTPError as error:
                if error.code == 404:
                    return 404, error.read().decode()
            except OSError:
                pass  # not started yet, or a timeout
            time.sleep(0.2)
        raise RuntimeError(
            "The service has ended by itself; its log is service.log in the folder of the bench."
        )


def make_environment(server: Server) -> dict[str, str]:
    """Return the environment of a process that uses the server."""
    return {**os.environ, "GROUNDWORK_DATABASE_URL": server.url}


def spawn_workers(commands: IO[str]) -> None:
    """Fork a worker for every folder on standard input; write its id and the end of its run.

    The model is loaded once. Each worker is a copy of this process, which has one thread and is
    never killed. A start is immediate, so that kills hit workers at work and not while they load.
    """
    settings = load_settings()
    embedder = load_embedder(settings.embedding_model, settings.embedding_dtype)
    for line in commands:
        reading, writing = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.write(writing, _ingest_folder(settings, embedder, line.strip()).encode())
            os._exit(0)
        os.close(writing)
        _write_message({"pid": pid})
        os.waitpid(pid, 0)
        with os.fdopen(reading) as result:
            _write_message({"state": result.read() or "killed"})


def _ingest_folder(settings: Settings, embedder: Embedder, folder: str) -> str:
    """Return the final state of the run, or its error; runs in the worker process."""
    try:
        database = Database(settings.database_url).open()
        loaded = LoadedEmbedders({embedder.model.name: embedder})
        with Services(settings, database, embedders=loaded) as services:
            return pipeline.ingest_sources(
                services, TENANT, [pipeline.build_source_spec(folder)]
            ).state
    except DATABASE_ERRORS as error:
        return f"{type(error).__name__}: {error}"[:100]


def _write_message(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()
