"""Create the schema of a database, or bring it up to date.

A new database gets the files of `schema/`; changes since then are in `migrations/`. Each file is
applied once, in one transaction, and recorded with its checksum.
"""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import LiteralString

from psycopg import sql

from core.db.database import SCHEMA, Connection, connect_as_owner
from core.db.index_version import create_index_version
from core.db.queries import read_statement
from core.errors import Unavailable
from core.types import EmbeddingModel

SCHEMA_FILES = Path(__file__).parent / "schema"
MIGRATIONS = Path(__file__).parent / "migrations"
FIRST_SCHEMA_FILE = "01_roles"
MIGRATION_LOCK_KEY = 4_711_2026  # advisory lock: one process migrates, the others wait
MIN_PGVECTOR_VERSION = (0, 8, 4)  # earlier versions can corrupt an HNSW index (pgvector changelog)


def migrate_database(conninfo: str, describe_model: Callable[[], EmbeddingModel]) -> list[str]:
    """Apply the missing files and create the first index version. Return the names of the files.

    `conninfo` names a role that may create roles and tables. `describe_model` is called only if
    there is no index version yet.

    Raises:
        Unavailable: no connection, missing privileges, no pgvector, a database of a version before
            0.1.0, or a file that was changed after it was applied.
    """
    with connect_as_owner(conninfo, "migrate the database", autocommit=True) as connection:
        connection.execute("select pg_advisory_lock(%s)", (MIGRATION_LOCK_KEY,))
        check_pgvector(connection)
        _create_migration_table(connection)
        applied = list(_apply_missing_files(connection))
        if not connection.execute("select 1 from index_version").fetchone():
            create_index_version(connection, describe_model(), live=True)
        return applied


def check_pgvector(connection: Connection) -> str:
    """Return the version of pgvector that the server offers.

    Raises:
        Unavailable: the server has no pgvector, or one that is too old.
    """
    row = connection.execute(
        "select default_version from pg_available_extensions where name = 'vector'"
    ).fetchone()
    needed = ".".join(map(str, MIN_PGVECTOR_VERSION))
    if row is None:
        raise Unavailable(
            f"This PostgreSQL has no pgvector. Install pgvector {needed} or newer on the server"
            " (the image pgvector/pgvector:pg18 has it), or unset GROUNDWORK_DATABASE_URL to use"
            " the embedded PostgreSQL."
        )
    version = str(row[0])
    if tuple(map(int, version.split("."))) < MIN_PGVECTOR_VERSION:
        raise Unavailable(
            f"pgvector {version} can corrupt an index. Install {needed} or newer on the server."
        )
    return version


def _create_migration_table(connection: Connection) -> None:
    connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(SCHEMA)))
    connection.execute(
        "create table if not exists schema_migration (name text primary key,"
        " checksum text not null, applied_at timestamptz not null default now())"
    )


def _apply_missing_files(connection: Connection) -> Iterator[str]:
    rows = connection.execute("select name, checksum from schema_migration").fetchall()
    known_checksums: dict[str, str] = dict(rows)
    if known_checksums and FIRST_SCHEMA_FILE not in known_checksums:
        raise Unavailable(
            "The database was created by a version before 0.1.0 and can't be migrated. Use a new,"
            " empty database (or another GROUNDWORK_HOME) and ingest the documents again."
        )
    for path in [*sorted(SCHEMA_FILES.glob("*.sql")), *sorted(MIGRATIONS.glob("*.sql"))]:
        text = read_statement(path)
        checksum = hashlib.sha256(text.encode()).hexdigest()
        known_checksum = known_checksums.get(path.stem)
        if known_checksum is None:
            _apply_file(connection, path.stem, text, checksum)
            yield path.stem
        elif known_checksum != checksum:
            raise Unavailable(
                f"The file {path.name} was changed after it was applied. Restore it, and add a new"
                " file to core/db/migrations."
            )


def _apply_file(connection: Connection, name: str, text: LiteralString, checksum: str) -> None:
    with connection.transaction():
        connection.execute(text)
        connection.execute(
            "insert into schema_migration (name, checksum) values (%s, %s)", (name, checksum)
        )
