"""Partitions for large tenants: the vectors of one tenant, with a vector index of their own.

In a shared index, a search for one tenant's neighbours also visits the vectors of other tenants.
Small tenants, whose vectors are compared one by one, and a tenant with most of the index lose
nothing by that. A large tenant in between gets faster and more exact results from its own index.
docs/decisions/0012-partitions.md has measurements.
"""

from pathlib import Path

from psycopg import sql

from core.db.database import Connection, owner_transaction
from core.db.index_version import shared_partition, tenant_partition, vector_table
from core.db.queries import load_queries
from core.errors import InvalidInput

QUERIES = load_queries(Path(__file__).with_name("partitions.sql"))


def create_tenant_partition(conninfo: str, tenant: str) -> list[str]:
    """Create a partition for a tenant in each index version. Return the names of the new ones.

    `conninfo` names a role that may create tables. The call takes as long as building the index of
    the tenant; meanwhile reads continue and writes wait.

    Raises:
        InvalidInput: the tenant has no documents.
        Unavailable: no connection, or missing privileges.
    """
    with owner_transaction(conninfo, tenant, "create a partition") as connection:
        if not connection.execute(QUERIES["tenant_has_documents"], (tenant,)).fetchone():
            raise InvalidInput(
                f"The tenant {tenant!r} has no documents. Ingest documents for it first."
            )
        rows = connection.execute("select index_version_id from index_version").fetchall()
        missing = [row[0] for row in rows if not _has_partition(connection, row[0], tenant)]
        for version in missing:
            _create_partition(connection, version, tenant)
        return [tenant_partition(version, tenant) for version in missing]


def _has_partition(connection: Connection, version: int, tenant: str) -> bool:
    name = tenant_partition(version, tenant)
    row = connection.execute("select to_regclass(%s)", (name,)).fetchone()
    return row is not None and row[0] is not None


def _create_partition(connection: Connection, version: int, tenant: str) -> None:
    connection.execute(
        sql.SQL(QUERIES["create_partition"]).format(
            vectors=sql.Identifier(vector_table(version)),
            shared=sql.Identifier(shared_partition(version)),
            own=sql.Identifier(tenant_partition(version, tenant)),
            tenant=sql.Literal(tenant),
        )
    )
