"""Fixtures of all tests: one PostgreSQL server and one model for a run, one database for each test.

A database is cloned from a migrated template.
"""

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
from hypothesis import settings

# The fixtures import these, so that `make test-unit` loads neither a database nor a model.
if TYPE_CHECKING:
    from core.local_postgres import EmbeddedPostgres
    from core.services import Services
    from flows.prefect_server import PrefectServer
    from tests.support.services import CachingEmbedder

ROOT = Path(__file__).parent.parent
TEMPLATE = "template_groundwork"

settings.register_profile("quick", max_examples=20)  # for `make test-unit`


@pytest.fixture(scope="session", autouse=True)
def _own_settings() -> None:
    """Remove a developer's settings from the environment of the tests."""
    for name in list(os.environ):
        if name.startswith("GROUNDWORK_") and name != "GROUNDWORK_DATA":
            del os.environ[name]


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of real data. Tests that need it are skipped without it."""
    folder = Path(os.environ.get("GROUNDWORK_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("There is no real data. Set GROUNDWORK_DATA to its folder.")
    return folder


@pytest.fixture(scope="session")
def home() -> Iterator[Path]:
    """State folder of the run.

    It is not below pytest's folder: the next run on the machine makes that one unreadable, and a
    server of this run may still use it.
    """
    with tempfile.TemporaryDirectory(
        prefix="groundwork-tests-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server(home: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL server of the run."""
    import psycopg

    from core.local_postgres import EmbeddedPostgres

    embedded = EmbeddedPostgres(home / "postgres")
    embedded.start()
    # The data is deleted after the run, so no test has to wait for the disk.
    with psycopg.connect(embedded.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute("alter system set fsync = off")
        connection.execute("select pg_reload_conf()")
    yield embedded
    embedded.stop()


@pytest.fixture(scope="session")
def embedder() -> CachingEmbedder:
    """Embedding model of the run, with a memory of its vectors."""
    from core.settings import Settings
    from tests.support.services import CachingEmbedder

    return CachingEmbedder(Settings(_env_file=None).embedding_model)


@pytest.fixture(scope="session")
def template(server: EmbeddedPostgres) -> str:
    """Name of a migrated, empty database to clone."""
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
    """A function that creates an empty database and returns its name."""
    from psycopg import sql

    from tests.support.services import run_statement

    names: list[str] = []

    def clone_template() -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        run_statement(
            server,
            sql.SQL("create database {} template {}").format(
                sql.Identifier(name), sql.Identifier(template)
            ),
        )
        names.append(name)
        return name

    yield clone_template
    for name in names:
        run_statement(
            server, sql.SQL("drop database if exists {} with (force)").format(sql.Identifier(name))
        )


@pytest.fixture
def services(
    server: EmbeddedPostgres, clone: Callable[[], str], home: Path, embedder: CachingEmbedder
) -> Iterator[Services]:
    """Services on an empty database of the test."""
    from tests.support.services import connect_services

    with connect_services(server, clone(), home, embedder) as opened:
        yield opened


@pytest.fixture(scope="session")
def sample_services(
    server: EmbeddedPostgres, clone: Callable[[], str], home: Path, embedder: CachingEmbedder
) -> Iterator[Services]:
    """Services with the sample documents of both tenants, for tests that only read."""
    from tests.support.services import connect_services, ingest_folder

    with connect_services(server, clone(), home, embedder) as opened:
        for tenant in ("alder", "brightwater"):
            ingest_folder(opened, tenant, ROOT / "sample" / tenant)
        yield opened


@pytest.fixture(scope="session")
def engine(home: Path) -> Iterator[PrefectServer]:
    """Prefect server of the run."""
    from flows.prefect_server import PrefectServer

    with PrefectServer(home / "prefect") as started:
        yield started.start()


@pytest.fixture(scope="session")
def language_model() -> Iterator[str]:
    """Address of a small language model on the CPU; see tests/support/local_model.py."""
    command = [sys.executable, "-m", "tests.support.local_model"]
    with subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        yield process.stdout.readline().strip()
        process.kill()
