"""What a tenant holds, for `groundwork status`."""

from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from knowledge.database import statement
from knowledge.services import Services, live_index

SQL = Path(__file__).parent / "sql"


def tenant_status(services: Services, tenant: str) -> dict[str, Any]:
    """Counts of documents, chunks and files put aside; the last run; the live index."""
    with services.database.writing(tenant) as connection, connection.cursor(row_factory=dict_row) as cursor:
        index = live_index(connection)
        row = cursor.execute(statement(SQL / "status.sql"), {"tenant": tenant}).fetchone()
    assert row is not None
    database = "embedded" if services.embedded else "configured"
    return {"tenant": tenant, "database": database, "model": f"{index.model} {index.revision}"} | row
