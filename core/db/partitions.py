"""A partition for a large tenant: its vectors, and the index over them, apart from everybody else's.

In a shared index a tenant's neighbours are found by passing by those of others, the more the smaller its share. That
does no harm to small tenants, whose vectors are compared one by one, nor to one that has most of the index. For large
ones in between an index of their own is quickest and most exact. docs/decisions/0012-partitions.md has the figures.
"""

from pathlib import Path

import psycopg
from psycopg import sql

from core.db.database import owner_transaction
from core.db.migrate import shared_partition, tenant_partition, vector_table
from core.db.queries import load_queries
from core.errors import InvalidInput

QUERIES = load_queries(Path(__file__).with_name("partitions.sql"))


def create_tenant_partition(conninfo: str, tenant: str) -> list[str]:
    """Give a tenant its own partition in every index version; returns the names of those that were made.

    `conninfo` must be of a role that may create tables. It takes as long as building the tenant's index; meanwhile
    others read, and writers wait.

    Raises:
        InvalidInput: no such tenant.
        Unavailable: no database, or too few rights.
    """
    with owner_transaction(conninfo, tenant, "make a partition") as connection:
        if not connection.execute(
            "select 1 from reader_set where tenant_id = %s", (tenant,)
        ).fetchone():
            raise InvalidInput(
                f"There is no tenant {tenant!r} with documents; ingest something for it first."
            )
        versions = [
            row[0]
            for row in connection.execute("select index_version_id from index_version").fetchall()
        ]
        return [
            name for version in versions for name in _create_partition(connection, version, tenant)
        ]


def _create_partition(connection: psycopg.Connection, version: int, tenant: str) -> list[str]:
    name = tenant_partition(version, tenant)
    found = connection.execute("select to_regclass(%s)", (name,)).fetchone()
    if found is None or found[0] is not None:
        return []
    connection.execute(
        sql.SQL(QUERIES["give_partition"]).format(
            vectors=sql.Identifier(vector_table(version)),
            shared=sql.Identifier(shared_partition(version)),
            own=sql.Identifier(name),
            tenant=sql.Literal(tenant),
        )
    )
    return [name]
