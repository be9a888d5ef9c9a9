"""Bring a database to the present schema: numbered SQL files, each applied once, in one transaction each."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import psycopg
from psycopg import sql

from core.db.database import SCHEMA, Connection, application_conninfo
from core.db.queries import load_queries, read_statement
from core.errors import Unavailable
from core.types import EmbeddingModel

QUERIES = load_queries(Path(__file__).with_name("index_version.sql"))
MIGRATIONS = Path(__file__).parent / "migrations"
MIGRATION_LOCK_KEY = (
    4_711_2026  # any number, the same in every process: one migrates, the others wait
)
MIN_PGVECTOR_VERSION = (0, 8, 4)  # earlier ones can corrupt an HNSW index (pgvector's changelog)


def migrate_database(conninfo: str, describe_model: Callable[[], EmbeddingModel]) -> list[str]:
    """Apply what is missing and make the first index version; returns the names of what was applied.

    `conninfo` must be of a role that may create roles and tables. `model` is asked only when there is no index yet.

    Raises:
        Unavailable: no such database, too few rights, no pgvector, or a migration that was changed after it was
            applied.
    """
    try:
        with psycopg.connect(application_conninfo(conninfo), autocommit=True) as connection:
            connection.execute("select pg_advisory_lock(%s)", (MIGRATION_LOCK_KEY,))
            check_pgvector(connection)
            _create_schema(connection)
            applied = [
                path.stem
                for path in sorted(MIGRATIONS.glob("*.sql"))
                if _apply_migration(connection, path)
            ]
            if not connection.execute("select 1 from index_version").fetchone():
                create_index_version(connection, describe_model(), live=True)
            return applied
    except psycopg.OperationalError as error:
        why = str(error).strip().splitlines()[-1]
        raise Unavailable(
            f"The database can't be migrated ({why}); correct GROUNDWORK_ADMIN_DATABASE_URL."
        ) from error
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unavailable(
            f"The role may not migrate ({error.diag.message_primary}); name one in GROUNDWORK_ADMIN_DATABASE_URL that"
            " may create roles, tables and extensions."
        ) from error


def create_index_version(connection: Connection, model: EmbeddingModel, *, live: bool) -> int:
    """Make the vector tables of a model; returns the number of the index version."""
    with connection.transaction():
        row = connection.execute(
            "insert into index_version (model, revision, dimension, live) values (%s, %s, %s, %s)"
            " returning index_version_id",
            (model.name, model.revision, model.dimension, live),
        ).fetchone()
        assert row is not None
        number: int = row[0]
        template = sql.SQL(QUERIES["create_index_version"])
        connection.execute(
            template.format(
                vectors=sql.Identifier(vector_table(number)),
                shared=sql.Identifier(shared_partition(number)),
                sentences=sql.Identifier(sentence_table(number)),
                dimension=sql.Literal(model.dimension),
            )
        )
    return number


def vector_table(index_version: int) -> str:
    """The name of the table with a version's chunk vectors."""
    return f"vector_{index_version}"


def shared_partition(index_version: int) -> str:
    """The name of the partition with the vectors of all tenants that have none of their own."""
    return f"{vector_table(index_version)}_shared"


def tenant_partition(index_version: int, tenant: str) -> str:
    """The name of a tenant's own partition, where it has one. A digest, since a tenant's name may hold anything."""
    return f"{vector_table(index_version)}_{partition_suffix(tenant)}"


def partition_suffix(tenant: str) -> str:
    """What tells the partition of one tenant from another's: 64 bits of the name's SHA-256."""
    return hashlib.sha256(tenant.encode()).hexdigest()[:16]


def sentence_table(index_version: int) -> str:
    """The name of the table with a version's sentence vectors."""
    return f"sentence_{index_version}"


def check_pgvector(connection: Connection) -> str:
    """The version of pgvector that the server offers.

    Raises:
        Unavailable: none, or one that is too old.
    """
    row = connection.execute(
        "select default_version from pg_available_extensions where name = 'vector'"
    ).fetchone()
    needed = ".".join(map(str, MIN_PGVECTOR_VERSION))
    if row is None:
        raise Unavailable(
            f"This PostgreSQL has no pgvector; install pgvector {needed} or newer on the server (the image"
            " pgvector/pgvector:pg18 has it), or unset GROUNDWORK_DATABASE_URL to use the embedded one."
        )
    if tuple(map(int, row[0].split("."))) < MIN_PGVECTOR_VERSION:
        raise Unavailable(
            f"pgvector {row[0]} can corrupt an index; install {needed} or newer on the server."
        )
    return str(row[0])


def _create_schema(connection: Connection) -> None:
    connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(SCHEMA)))
    connection.execute(
        "create table if not exists schema_migration"
        " (name text primary key, checksum text not null, applied_at timestamptz not null default now())"
    )


def _apply_migration(connection: Connection, path: Path) -> bool:
    text = read_statement(path)
    checksum = hashlib.sha256(text.encode()).hexdigest()
    known = connection.execute(
        "select checksum from schema_migration where name = %s", (path.stem,)
    ).fetchone()
    if known:
        if known[0] != checksum:
            raise Unavailable(
                f"Migration {path.stem} was changed after it was applied; add a new one instead."
            )
        return False
    with connection.transaction():
        connection.execute(text)
        connection.execute(
            "insert into schema_migration (name, checksum) values (%s, %s)", (path.stem, checksum)
        )
    return True
