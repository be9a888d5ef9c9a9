"""What a tenant holds, and where it came from, for the command line."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.rows import class_row, dict_row

from core.db.index_version import live_index
from core.db.queries import load_queries
from core.errors import InvalidInput, NotFound
from core.services import Services

QUERIES = load_queries(Path(__file__).with_name("status.sql"))


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """A file that was put aside: at which stage, why, after how many attempts."""

    uri: str
    path: str
    stage: str
    reason: str
    message: str
    attempts: int
    run_id: uuid.UUID
    quarantined_at: datetime


def read_tenant_status(services: Services, tenant: str) -> dict[str, Any]:
    """Counts of documents, chunks and files put aside; the last run; the live index."""
    with (
        services.database.writing(tenant) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        index = live_index(connection)
        row = cursor.execute(QUERIES["status"], {"tenant": tenant}).fetchone()
    assert row is not None
    database = "embedded" if services.embedded_postgres else "configured"
    return {
        "tenant": tenant,
        "database": database,
        "model": f"{index.model} {index.revision}",
    } | row


def list_quarantined_files(
    services: Services, tenant: str, name: str = ""
) -> list[QuarantineEntry]:
    """The files that were put aside, by path; only those that `name` (a path or uri) names where it is given.

    Raises:
        NotFound: it names none.
    """
    with (
        services.database.writing(tenant) as connection,
        connection.cursor(row_factory=class_row(QuarantineEntry)) as cursor,
    ):
        found = cursor.execute(QUERIES["quarantined"], {"tenant": tenant}).fetchall()
    chosen = [file for file in found if not name or name in (file.path, file.uri)]
    if name and not chosen:
        raise NotFound(
            f"No file called {name} is put aside; `groundwork quarantine list` names those that are."
        )
    return chosen


def release_quarantined_files(
    services: Services, tenant: str, files: Sequence[QuarantineEntry]
) -> set[uuid.UUID]:
    """Have files tried again by the next run of their source; returns the runs that put them aside."""
    values = {"tenant": tenant, "uris": sorted(file.uri for file in files)}
    with services.database.writing(tenant) as connection:
        return {row[0] for row in connection.execute(QUERIES["release"], values).fetchall()}


def describe_document(services: Services, tenant: str, name: str) -> dict[str, Any]:
    """A document by uri, path or id: what is stored of it, the run and source it came from, its chunks, what runs have
    made of its file, and the other places of the same content.

    Raises:
        NotFound: there is none of that name.
        InvalidInput: several have that path.
    """
    with (
        services.database.writing(tenant) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        found = cursor.execute(
            QUERIES["find_documents"], {"tenant": tenant, "name": name}
        ).fetchall()
        if not found:
            raise NotFound(
                f"There is no document {name} in tenant {tenant}; give its path, uri or id."
            )
        if len(found) > 1:
            uris = ", ".join(row["uri"] for row in found[:3])
            raise InvalidInput(
                f"Several documents are called {name}; give the uri of one, such as {uris}."
            )
        values = {"tenant": tenant, "document_id": found[0]["document_id"]}
        chunks = cursor.execute(QUERIES["chunks_of"], values).fetchall()
        places = cursor.execute(QUERIES["places_of"], values).fetchall()
        of_uri = {"tenant": tenant, "uri": found[0]["uri"]}
        versions = cursor.execute(QUERIES["versions_of"], of_uri).fetchall()
    return found[0] | {"versions": versions, "places": places, "chunks": chunks}
