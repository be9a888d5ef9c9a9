"""Migrations: once each, whole or not at all, one process at a time, and a clear refusal where they can't be."""

import shutil
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import core.db.migrate
from core.db.database import Database
from core.db.migrate import MIGRATIONS, check_pgvector, migrate_database
from core.errors import Unavailable
from core.local_postgres import EmbeddedPostgres
from core.types import EmbeddingModel

NAMES = [path.stem for path in sorted(MIGRATIONS.glob("*.sql"))]


def model() -> EmbeddingModel:
    return EmbeddingModel("a model", "1", 8)


@pytest.fixture
def bare(server: EmbeddedPostgres) -> Iterator[str]:
    """The name of an empty database."""
    name = f"bare_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
        yield name
        connection.execute(sql.SQL("drop database {} with (force)").format(sql.Identifier(name)))


def configure(server: EmbeddedPostgres, name: str, setting: str, value: str) -> None:
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("alter database {} set {} = {}").format(
                sql.Identifier(name), sql.Identifier(setting), sql.Literal(value)
            )
        )


def test_each_is_applied_once_and_the_database_can_be_opened(
    server: EmbeddedPostgres, bare: str
) -> None:
    """A second run does nothing, and asks for no model."""
    assert migrate_database(server.conninfo(dbname=bare), model) == NAMES
    assert (
        migrate_database(
            server.conninfo(dbname=bare), lambda: pytest.fail("there is an index already")
        )
        == []
    )
    with (
        Database(server.conninfo("groundwork_app", bare)).open() as database,
        database.connection() as connection,
    ):
        live = connection.execute(
            "select model, dimension from index_version where live"
        ).fetchall()
    assert live == [("a model", 8)]


def test_two_at_once_do_it_once(server: EmbeddedPostgres, bare: str) -> None:
    """One migrates, the other waits and finds nothing left."""
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(migrate_database, server.conninfo(dbname=bare), model) for _ in range(3)
        ]
        applied = sorted(run.result() for run in runs)
    assert applied == [[], [], NAMES]
    with psycopg.connect(server.conninfo(dbname=bare)) as connection:
        assert connection.execute("select count(*) from groundwork.index_version").fetchone() == (
            1,
        )


def test_a_migration_that_was_changed_is_refused(
    server: EmbeddedPostgres, clone: Callable[[], str]
) -> None:
    """What a database has been through can't be rewritten."""
    name = clone()
    with psycopg.connect(server.conninfo(dbname=name), autocommit=True) as connection:
        connection.execute(
            "update groundwork.schema_migration set checksum = 'x' where name like '0002%'"
        )
    with pytest.raises(
        Unavailable,
        match=r"^Migration 0002_documents was changed after it was applied; add a new one",
    ):
        migrate_database(server.conninfo(dbname=name), model)


def test_a_migration_that_fails_leaves_nothing(
    server: EmbeddedPostgres,
    clone: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is applied whole once it is corrected."""
    name = clone()
    files = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, files)
    monkeypatch.setattr(core.db.migrate, "MIGRATIONS", files)
    (files / "9998_half.sql").write_text("create table half (); select 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate_database(server.conninfo(dbname=name), model)
    with psycopg.connect(server.conninfo(dbname=name)) as connection:
        assert connection.execute("select to_regclass('groundwork.half')").fetchone() == (None,)
    (files / "9998_half.sql").unlink()
    (files / "9999_whole.sql").write_text("create table whole ();")
    assert migrate_database(server.conninfo(dbname=name), model) == ["9999_whole"]


def test_a_server_without_pgvector_is_refused(server: EmbeddedPostgres, bare: str) -> None:
    """PostgreSQL looks for extensions elsewhere and finds none: the sentence says what to install."""
    configure(server, bare, "extension_control_path", "/nowhere")
    with pytest.raises(
        Unavailable, match=r"^This PostgreSQL has no pgvector; install pgvector 0\.8\.4 or newer"
    ):
        migrate_database(server.conninfo(dbname=bare), model)
    with psycopg.connect(server.conninfo(dbname=bare)) as connection:
        assert connection.execute("select to_regnamespace('groundwork')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("version", "fine"), [("0.8.3", False), ("0.7.10", False), ("0.8.4", True), ("1.0", True)]
)
def test_a_pgvector_that_is_too_old_is_refused(
    server: EmbeddedPostgres, bare: str, home: Path, version: str, fine: bool
) -> None:
    """Earlier ones can corrupt an index."""
    folder = home / f"pgvector-{version}" / "extension"
    folder.mkdir(parents=True)
    (folder / "vector.control").write_text(
        f"default_version = '{version}'\nmodule_pathname = '$libdir/vector'\n"
    )
    configure(server, bare, "extension_control_path", str(folder.parent))
    with psycopg.connect(server.conninfo(dbname=bare), autocommit=True) as connection:
        if fine:
            assert check_pgvector(connection) == version
        else:
            with pytest.raises(
                Unavailable, match=rf"^pgvector {version} can corrupt an index; install 0\.8\.4"
            ):
                check_pgvector(connection)


def test_an_address_that_is_wrong_and_a_role_that_may_not(
    server: EmbeddedPostgres, bare: str, clone: Callable[[], str]
) -> None:
    """Each with the setting to correct."""
    for conninfo in (
        "host=/nowhere dbname=none",
        "host=127.0.0.1 port=1",
        server.conninfo(dbname="absent"),
    ):
        with pytest.raises(Unavailable, match="GROUNDWORK_ADMIN_DATABASE_URL"):
            migrate_database(conninfo, model)
    with pytest.raises(Unavailable, match="database address can't be read"):
        migrate_database("nonsense", model)
    clone()  # so that the role is there
    with pytest.raises(
        Unavailable, match=r"^The role may not migrate .*GROUNDWORK_ADMIN_DATABASE_URL"
    ):
        migrate_database(server.conninfo("groundwork_app", bare), model)
