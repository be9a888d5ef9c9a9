"""Migrations: each file is applied once and completely, by one process at a time, or refused."""

import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

import core.db.migrate
from core.db.database import Database
from core.db.migrate import MIGRATIONS, SCHEMA_FILES, check_pgvector, migrate_database
from core.errors import Unavailable
from core.local_postgres import EmbeddedPostgres
from core.types import EmbeddingModel

NAMES = [path.stem for path in sorted(SCHEMA_FILES.glob("*.sql"))]
NAMES += [path.stem for path in sorted(MIGRATIONS.glob("*.sql"))]


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


def test_each_file_is_applied_once_and_the_database_can_be_opened(
    server: EmbeddedPostgres, bare: str
) -> None:
    """A second run applies nothing and asks for no model."""
    assert migrate_database(server.conninfo(dbname=bare), model) == NAMES
    second_run = migrate_database(
        server.conninfo(dbname=bare), lambda: pytest.fail("the database has an index version")
    )
    assert second_run == []
    with (
        Database(server.conninfo("groundwork_app", bare)).open() as database,
        database.connection() as connection,
    ):
        live = connection.execute(
            "select model, dimension from index_version where live"
        ).fetchall()
    assert live == [("a model", 8)]


def test_of_several_processes_one_migrates(server: EmbeddedPostgres, bare: str) -> None:
    """The others wait and find nothing to do."""
    with ThreadPoolExecutor() as pool:
        runs = [
            pool.submit(migrate_database, server.conninfo(dbname=bare), model) for _ in range(3)
        ]
        applied = sorted(run.result() for run in runs)
    assert applied == [[], [], NAMES]
    with psycopg.connect(server.conninfo(dbname=bare)) as connection:
        rows = connection.execute("select count(*) from groundwork.index_version").fetchall()
    assert rows == [(1,)]


def test_an_applied_file_that_was_edited_is_refused(
    server: EmbeddedPostgres, clone: Callable[[], str]
) -> None:
    """A change of the schema needs a new file."""
    name = clone()
    with psycopg.connect(server.conninfo(dbname=name), autocommit=True) as connection:
        connection.execute(
            "update groundwork.schema_migration set checksum = 'x' where name = '02_documents'"
        )
    with pytest.raises(
        Unavailable,
        match=r"^The file 02_documents\.sql was changed after it was applied\. Restore it",
    ):
        migrate_database(server.conninfo(dbname=name), model)


def test_a_database_of_a_development_version_is_refused(
    server: EmbeddedPostgres, clone: Callable[[], str]
) -> None:
    """Its migrations were replaced by the schema files."""
    name = clone()
    with psycopg.connect(server.conninfo(dbname=name), autocommit=True) as connection:
        connection.execute("update groundwork.schema_migration set name = '00' || name")
    with pytest.raises(Unavailable, match=r"version before 0\.1\.0 .*Use a new, empty database"):
        migrate_database(server.conninfo(dbname=name), model)


def test_a_migration_that_fails_changes_nothing(
    server: EmbeddedPostgres,
    clone: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The corrected file is applied completely."""
    name = clone()
    monkeypatch.setattr(core.db.migrate, "MIGRATIONS", tmp_path)
    file = tmp_path / "9999_add_table.sql"
    file.write_text("create table added (); select 1 / 0;")
    with pytest.raises(psycopg.errors.DivisionByZero):
        migrate_database(server.conninfo(dbname=name), model)
    with psycopg.connect(server.conninfo(dbname=name)) as connection:
        assert connection.execute("select to_regclass('groundwork.added')").fetchone() == (None,)
    file.write_text("create table added ();")
    assert migrate_database(server.conninfo(dbname=name), model) == ["9999_add_table"]


def test_a_server_without_pgvector_is_refused(server: EmbeddedPostgres, bare: str) -> None:
    """The error says what to install. PostgreSQL looks for extensions in an empty folder."""
    configure(server, bare, "extension_control_path", "/nowhere")
    with pytest.raises(
        Unavailable, match=r"^This PostgreSQL has no pgvector\. Install pgvector 0\.8\.4 or newer"
    ):
        migrate_database(server.conninfo(dbname=bare), model)
    with psycopg.connect(server.conninfo(dbname=bare)) as connection:
        assert connection.execute("select to_regnamespace('groundwork')").fetchone() == (None,)


@pytest.mark.parametrize(
    ("version", "accepted"), [("0.8.3", False), ("0.7.10", False), ("0.8.4", True), ("1.0", True)]
)
def test_a_pgvector_that_is_too_old_is_refused(
    server: EmbeddedPostgres, bare: str, home: Path, version: str, accepted: bool
) -> None:
    """Earlier versions can corrupt an index."""
    folder = home / f"pgvector-{version}" / "extension"
    folder.mkdir(parents=True)
    (folder / "vector.control").write_text(
        f"default_version = '{version}'\nmodule_pathname = '$libdir/vector'\n"
    )
    configure(server, bare, "extension_control_path", str(folder.parent))
    with psycopg.connect(server.conninfo(dbname=bare), autocommit=True) as connection:
        if accepted:
            assert check_pgvector(connection) == version
        else:
            with pytest.raises(
                Unavailable, match=rf"^pgvector {version} can corrupt an index\. Install 0\.8\.4"
            ):
                check_pgvector(connection)


def test_a_wrong_address_and_a_role_without_privileges_are_refused(
    server: EmbeddedPostgres, bare: str, clone: Callable[[], str]
) -> None:
    """The error names the setting to correct."""
    for conninfo in (
        "host=/nowhere dbname=none",
        "host=127.0.0.1 port=1",
        server.conninfo(dbname="absent"),
    ):
        with pytest.raises(Unavailable, match="GROUNDWORK_ADMIN_DATABASE_URL"):
            migrate_database(conninfo, model)
    with pytest.raises(Unavailable, match="database address can't be read"):
        migrate_database("nonsense", model)
    clone()  # creates the role groundwork_app
    with pytest.raises(
        Unavailable, match=r"^The role may not migrate the database .*GROUNDWORK_ADMIN_DATABASE_URL"
    ):
        migrate_database(server.conninfo("groundwork_app", bare), model)
