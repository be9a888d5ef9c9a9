"""Checks at start-up: the database is ready, and it keeps tenants apart."""

from pathlib import Path
from typing import Any, LiteralString

import psycopg

from core.db.queries import load_queries
from core.errors import Unavailable, UnsafeDatabase

APPLICATION_ROLE = "groundwork_app"
QUERIES = load_queries(Path(__file__).with_name("checks.sql"))


def check_ready(connection: psycopg.Connection) -> None:
    """Check that the schema and the extension exist.

    Raises:
        Unavailable: one of them is missing.
    """
    facts = _fetch_facts(connection, QUERIES["readiness"])
    if not facts["extension"]:
        raise Unavailable(
            "The database has no pgvector extension. Install pgvector 0.8.4 or newer, then run"
            " `groundwork migrate`."
        )
    if not facts["schema"]:
        raise Unavailable(
            "The database has no Groundwork tables. Run `groundwork migrate` against it."
        )


def check_isolation(connection: psycopg.Connection) -> None:
    """Check that the database keeps tenants apart for every statement of the application.

    Raises:
        UnsafeDatabase: a check fails; the message names the first one.
    """
    facts = _fetch_facts(connection, QUERIES["isolation"])
    role = facts["role"]
    if facts["superuser"] or facts["bypasses"]:
        raise UnsafeDatabase(
            f"The role {role} can see past row-level security. Connect as {APPLICATION_ROLE},"
            " never as a superuser."
        )
    if facts["owned"]:
        raise UnsafeDatabase(
            f"The role {role} owns {facts['owned'][0]}. Connect as {APPLICATION_ROLE} instead."
        )
    if facts["open_tables"]:
        raise UnsafeDatabase(
            f"Table {facts['open_tables'][0]} lacks forced row-level security. Enable and force it."
        )
    if facts["direct"]:
        raise UnsafeDatabase(
            f"The role {role} may read {facts['direct'][0]} directly. Revoke that privilege."
        )


def _fetch_facts(connection: psycopg.Connection, query: LiteralString) -> dict[str, Any]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute(query).fetchone()
    assert row is not None
    return row
