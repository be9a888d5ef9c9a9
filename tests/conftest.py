"""One PostgreSQL server and one loaded model for the session; each test gets a database cloned from a template."""

import atexit
import os
import subprocess
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import psycopg
import pytest
import uvicorn
from fastapi import FastAPI
from psycopg import sql

from core.db.database import Database
from core.db.migrate import migrate
from core.embedding import Embedder, SentenceTransformerEmbedder, Vectors, describe_model
from core.local_postgres import EmbeddedPostgres
from core.services import Services
from core.settings import Settings
from flows.engine import Engine
from ingest import pipeline
from ingest.sandbox.pool import Reader
from serving.api.server import claim_port

ROOT = Path(__file__).parent.parent
TEMPLATE = "template_groundwork"


@pytest.fixture(scope="session", autouse=True)
def _own_settings() -> None:
    """A developer's own settings must not reach the tests."""
    for name in [name for name in os.environ if name.startswith("GROUNDWORK_") and name != "GROUNDWORK_DATA"]:
        del os.environ[name]


@pytest.fixture(scope="session")
def data() -> Path:
    """The folder of real data; tests that need it are skipped where it isn't."""
    folder = Path(os.environ.get("GROUNDWORK_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the real data is not here (GROUNDWORK_DATA names its folder)")
    return folder


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """The session's state folder; its parents are opened so that a server under another user gets in.

    Not below pytest's own folder: the next session on the same machine closes that, with our server in it.
    """
    with tempfile.TemporaryDirectory(prefix="groundwork-tests-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    """The session's PostgreSQL."""
    embedded = EmbeddedPostgres(home / "postgres")
    embedded.start()
    # Nothing here outlives the session, so no test waits for the disk.
    with psycopg.connect(embedded.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    yield embedded
    embedded.stop()


class Remembering(SentenceTransformerEmbedder):
    """The real model, which computes the vector of a text once a session: many tests take in the same papers."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._known: dict[str, Vectors] = {}

    def compute(self, texts: Sequence[str], advanced: Callable[[float], None] = lambda share: None) -> Vectors:
        """All of it anew."""
        return super().encode(texts, advanced)

    def encode(self, texts: Sequence[str], advanced: Callable[[float], None] = lambda share: None) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= zip(new, self.compute(new, advanced), strict=True)
        else:
            advanced(1.0)
        return np.array([self._known[text] for text in texts], np.float32).reshape(len(texts), self.model.dimension)


@pytest.fixture(scope="session")
def embedder() -> Remembering:
    """The session's model: the real one."""
    return Remembering(Settings(_env_file=None).embedding_model)


@pytest.fixture(scope="session")
def template(server: EmbeddedPostgres) -> str:
    """A migrated, empty database that others are cloned from."""
    _run(server, sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
    migrate(server.conninfo(dbname=TEMPLATE), lambda: describe_model(Settings(_env_file=None).embedding_model))
    return TEMPLATE


@pytest.fixture(scope="session")
def clone(server: EmbeddedPostgres, template: str) -> Iterator[Callable[[], str]]:
    """Makes a fresh database and returns its name."""
    made: list[str] = []

    def make() -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        _run(server, sql.SQL("create database {} template {}").format(sql.Identifier(name), sql.Identifier(template)))
        made.append(name)
        return name

    yield make
    for name in made:
        _run(server, sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name)))


def connect_services(server: EmbeddedPostgres, name: str, home: Path, embedder: Embedder) -> Services:
    """Services on a database of the session's server, with the session's model."""
    settings = Settings(_env_file=None, home=home, database_url=server.conninfo("groundwork_app", name))
    loaded = {embedder.model.name: embedder}
    return Services(settings, Database(settings.database_url).open(), _loaded=loaded)


@pytest.fixture
def services(server: EmbeddedPostgres, clone: Callable[[], str], home: Path, embedder: Embedder) -> Iterator[Services]:
    """Services on an empty, migrated database of one's own."""
    with connect_services(server, clone(), home, embedder) as opened:
        yield opened


@pytest.fixture(scope="session")
def sample_services(
    server: EmbeddedPostgres, clone: Callable[[], str], home: Path, embedder: Embedder
) -> Iterator[Services]:
    """Services on a database with the sample of both tenants. For tests that only read."""
    with connect_services(server, clone(), home, embedder) as opened:
        for tenant in ("alder", "brightwater"):
            take_in_folder(opened, tenant, ROOT / "sample" / tenant)
        yield opened


@pytest.fixture(scope="session")
def engine(home: Path) -> Iterator[Engine]:
    """The session's own Prefect server."""
    with Engine(home / "prefect") as started:
        yield started.start()


@pytest.fixture(scope="session")
def language_model() -> Iterator[str]:
    """The address of a real language model, small and on the processor; tests/local_model.py serves it."""
    command = [sys.executable, "-m", "tests.local_model"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.kill()


@contextmanager
def served(api: FastAPI) -> Iterator[str]:
    """The address of a service over HTTP, on a free port."""
    listener = claim_port("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(api, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def take_in_folder(services: Services, tenant: str, path: Path, readers: tuple[str, ...] = ()) -> pipeline.Report:
    """Ingest a file or folder the way the flow does, without Prefect."""
    return pipeline.ingest(services, tenant, [pipeline.origin(str(path), readers)], parsing())


@cache
def parsing() -> Reader:
    """The session's processes that parse; they end with it."""
    reader = Reader()
    atexit.register(reader.close)
    return reader


def superuser(server: EmbeddedPostgres, services: Services) -> psycopg.Connection[tuple[object, ...]]:
    """A connection that sees everything, to look at what is really stored."""
    name = services.settings.database_url.split("dbname=")[1].split()[0]
    return psycopg.connect(server.conninfo(dbname=name), autocommit=True, options="-c search_path=groundwork,public")


def _run(server: EmbeddedPostgres, statement: sql.Composed) -> None:
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute(statement)
