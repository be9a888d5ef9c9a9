"""One PostgreSQL server and one loaded model for the session; each test gets a database cloned from a template."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if (
    TYPE_CHECKING
):  # imported inside the fixtures, so that `make test-unit` loads neither a database nor a model
    from core.local_postgres import EmbeddedPostgres
    from core.services import Services
    from flows.prefect_server import PrefectServer
    from tests.support.services import CachingEmbedder

ROOT = Path(__file__).parent.parent
TEMPLATE = "template_groundwork"


@pytest.fixture(scope="session", autouse=True)
def _own_settings() -> None:
    """A developer's own settings must not reach the tests."""
    for name in [
        name for name in os.environ if name.startswith("GROUNDWORK_") and name != "GROUNDWORK_DATA"
    ]:
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
    with tempfile.TemporaryDirectory(
        prefix="groundwork-tests-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    """The session's PostgreSQL."""
    import psycopg

    from core.local_postgres import EmbeddedPostgres

    embedded = EmbeddedPostgres(home / "postgres")
    embedded.start()
    # Nothing here outlives the session, so no test waits for the disk.
    with psycopg.connect(embedded.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    yield embedded
    embedded.stop()


@pytest.fixture(scope="session")
def embedder() -> CachingEmbedder:
    """The session's model: the real one."""
    from core.settings import Settings
    from tests.support.services import CachingEmbedder

    return CachingEmbedder(Settings(_env_file=None).embedding_model)


@pytest.fixture(scope="session")
def template(server: EmbeddedPostgres) -> str:
    """A migrated, empty database that others are cloned from."""
    from psycopg import sql

    from core.db.migrate import migrate_database
    from core.embedding import describe_model
    from core.settings import Settings
    from tests.support.services import run_statement

    run_statement(server, sql.SQL("create database {}").format(sql.Identifier(TEMPLATE)))
    migrate_database(
        server.conninfo(dbname=TEMPLATE),
        lambda: describe_model(Settings(_env_file=None).embedding_model),
    )
    return TEMPLATE


@pytest.fixture(scope="session")
def clone(server: EmbeddedPostgres, template: str) -> Iterator[Callable[[], str]]:
    """Makes a fresh database and returns its name."""
    from psycopg import sql

    from tests.support.services import run_statement

    made: list[str] = []

    def make() -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        run_statement(
            server,
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template)
            ),
        )
        made.append(name)
        return name

    yield make
    for name in made:
        run_statement(
            server, sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )


@pytest.fixture
def services(
    server: EmbeddedPostgres, clone: Callable[[], str], home: Path, embedder: CachingEmbedder
) -> Iterator[Services]:
    """Services on an empty, migrated database of one's own."""
    from tests.support.services import connect_services

    with connect_services(server, clone(), home, embedder) as opened:
        yield opened


@pytest.fixture(scope="session")
def sample_services(
    server: EmbeddedPostgres, clone: Callable[[], str], home: Path, embedder: CachingEmbedder
) -> Iterator[Services]:
    """Services on a database with the sample of both tenants. For tests that only read."""
    from tests.support.services import connect_services, ingest_folder

    with connect_services(server, clone(), home, embedder) as opened:
        for tenant in ("alder", "brightwater"):
            ingest_folder(opened, tenant, ROOT / "sample" / tenant)
        yield opened


@pytest.fixture(scope="session")
def engine(home: Path) -> Iterator[PrefectServer]:
    """The session's own Prefect server."""
    from flows.prefect_server import PrefectServer

    with PrefectServer(home / "prefect") as started:
        yield started.start()


@pytest.fixture(scope="session")
def language_model() -> Iterator[str]:
    """The address of a real language model, small and on the processor; tests/local_model.py serves it."""
    command = [sys.executable, "-m", "tests.support.local_model"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.kill()
