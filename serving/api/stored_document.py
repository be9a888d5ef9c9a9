"""A stored document, for the page that shows a quote in its place."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from core.db.database import Database
from core.db.queries import load_queries
from core.errors import NotFound
from core.principal import Principal

QUERIES = load_queries(Path(__file__).with_name("stored_document.sql"))


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A stored document; `blocks` are offsets into `text`."""

    document_id: UUID
    title: str
    path: str
    media_type: str
    version: int
    readers: list[str]
    metadata: dict[str, Any]
    ingested_at: datetime
    text: str
    blocks: list[dict[str, Any]]


def fetch_document(database: Database, principal: Principal, document_id: UUID) -> StoredDocument:
    """Return a document by its id.

    Raises:
        NotFound: no such document, or the principal may not see it; the caller can't tell which.
    """
    with (
        database.reading(principal) as connection,
        connection.cursor(row_factory=class_row(StoredDocument)) as cursor,
    ):
        values = {"tenant": principal.tenant, "document_id": document_id}
        document = cursor.execute(QUERIES["fetch_document"], values).fetchone()
    if document is None:
        raise NotFound("There is no such document that you may see.")
    return document
