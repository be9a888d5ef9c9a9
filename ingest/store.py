"""The write side of PostgreSQL: a document replaced, deleted or put aside, each in one transaction.

A reader sees the old document or the new one, never both and never neither; what says "done" (the hashes in the
document's row) is written in the same transaction as the chunks.
"""

import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pgvector import HalfVector
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from knowledge.analysis import terms
from knowledge.database import Connection, query, statement
from knowledge.embedding import Vectors
from knowledge.services import IndexVersion
from knowledge.types import Block, Chunk, Document, Location

SQL = Path(__file__).parent / "sql"


@dataclass(frozen=True, slots=True)
class Known:
    """What the store knows of a file: the hashes it was last taken in (or put aside) with, and its readers."""

    uri: str
    content_hash: str
    pipeline_hash: str
    readers: list[str]
    quarantined: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """A document ready to be stored: its chunks, a vector each (n, dimension), and one for each of their sentences.

    `sentence_vectors` has a row for every sentence of every chunk, in order.
    """

    document: Document
    chunks: Sequence[Chunk]
    vectors: Vectors
    sentence_vectors: Vectors


def document_id(tenant: str, uri: str) -> uuid.UUID:
    """A document's id: always the same for the same tenant and uri, so that links to it survive its versions."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{tenant}\x1f{uri}")


def known(connection: Connection, tenant: str, uri: str) -> list[Known]:
    """What is in the store, or put aside, of the files below a source."""
    with connection.cursor(row_factory=class_row(Known)) as cursor:
        return cursor.execute(statement(SQL / "known.sql"), {"tenant": tenant, "uri": uri}).fetchall()


def replace(
    connection: Connection, index: IndexVersion, tenant: str, run_id: uuid.UUID, embedded: Embedded, pipeline_hash: str
) -> bool:
    """Store a document in place of its earlier version; returns whether there was one."""
    document = embedded.document
    key: dict[str, Any] = {
        "tenant": tenant,
        "document_id": document_id(tenant, document.uri),
        "uri": document.uri,
        "readers": list(document.readers),
    }
    row = connection.execute(statement(SQL / "reader_set.sql"), key).fetchone()
    assert row is not None
    key["reader_set_id"] = row[0]
    replaced = _put_document(connection, key, document, run_id, pipeline_hash)
    connection.execute(statement(SQL / "clear_way.sql"), key)
    chunk_ids = _put_chunks(connection, key, embedded.chunks)
    connection.execute(
        query(SQL / "put_vectors.sql", vectors=index.vectors),
        {**key, "chunk_ids": chunk_ids, "embeddings": _halves(embedded.vectors)},
    )
    _put_sentences(connection, key, index, chunk_ids, embedded)
    return replaced


def delete(connection: Connection, tenant: str, uri: str, run_id: uuid.UUID) -> bool:
    """Delete a document, or forget a file that was put aside; returns whether there was anything."""
    values = {"tenant": tenant, "uri": uri, "run_id": run_id}
    return connection.execute(statement(SQL / "delete_document.sql"), values).fetchone() is not None


def quarantine(connection: Connection, tenant: str, run_id: uuid.UUID, values: Mapping[str, str]) -> None:
    """Put a file aside; `values` are uri, path, content_hash, pipeline_hash, stage, reason and message."""
    connection.execute(statement(SQL / "quarantine.sql"), {**values, "tenant": tenant, "run_id": run_id})


def start_run(connection: Connection, tenant: str, run_id: uuid.UUID, kind: str, source: str) -> None:
    """Open a run in the ledger."""
    values = {"tenant": tenant, "run_id": run_id, "kind": kind, "source": source}
    connection.execute(statement(SQL / "start_run.sql"), values)


def finish_run(
    connection: Connection,
    tenant: str,
    run_id: uuid.UUID,
    state: str,
    counts: Mapping[str, int],
    seconds: Mapping[str, float],
) -> None:
    """Close a run in the ledger with what it did and how long each stage took, in seconds."""
    values = {"state": state, "counts": Jsonb(dict(counts)), "seconds": Jsonb(dict(seconds))}
    connection.execute(statement(SQL / "finish_run.sql"), {**values, "tenant": tenant, "run_id": run_id})


def _put_document(
    connection: Connection, key: Mapping[str, Any], document: Document, run_id: uuid.UUID, pipeline_hash: str
) -> bool:
    row = connection.execute(
        statement(SQL / "put_document.sql"),
        {
            **key,
            "path": document.path,
            "title": document.title,
            "media_type": document.media_type,
            "content_hash": document.content_hash,
            "pipeline_hash": pipeline_hash,
            "text": document.text,
            "blocks": Jsonb([_block_json(block) for block in document.blocks]),
            "metadata": Jsonb(dict(document.metadata)),
            "run_id": run_id,
        },
    ).fetchone()
    assert row is not None
    return bool(row[1])


def _put_chunks(connection: Connection, key: Mapping[str, Any], chunks: Sequence[Chunk]) -> list[int]:
    counts = [Counter(terms(f"{chunk.context}\n{chunk.text}")) for chunk in chunks]
    lengths = [count.total() for count in counts]
    rows = connection.execute(
        statement(SQL / "put_chunks.sql"),
        {
            **key,
            "ordinals": [chunk.ordinal for chunk in chunks],
            "starts": [chunk.span.start for chunk in chunks],
            "ends": [chunk.span.end for chunk in chunks],
            "texts": [chunk.text for chunk in chunks],
            "contexts": [chunk.context for chunk in chunks],
            "locations": [Jsonb(_location_json(chunk.location)) for chunk in chunks],
            "tokens": [chunk.tokens for chunk in chunks],
            "term_counts": lengths,
            "terms": [" ".join(count) for count in counts],
        },
    ).fetchall()
    chunk_ids = [row[0] for row in rows]
    postings = [
        (term, chunk_id, frequency, length)
        for chunk_id, count, length in zip(chunk_ids, counts, lengths, strict=True)
        for term, frequency in count.items()
    ]
    columns = zip(*postings, strict=True) if postings else ((), (), (), ())
    names = ("terms", "chunk_ids", "frequencies", "lengths")
    values = {name: list(column) for name, column in zip(names, columns, strict=True)}
    connection.execute(statement(SQL / "put_postings.sql"), {**key, **values})
    return chunk_ids


def _put_sentences(
    connection: Connection, key: Mapping[str, Any], index: IndexVersion, chunk_ids: Sequence[int], embedded: Embedded
) -> None:
    rows = [
        (chunk_id, ordinal, span.start, span.end)
        for chunk_id, chunk in zip(chunk_ids, embedded.chunks, strict=True)
        for ordinal, span in enumerate(chunk.sentences)
    ]
    columns = zip(*rows, strict=True) if rows else ((), (), (), ())
    names = ("chunk_ids", "ordinals", "starts", "ends")
    values = {name: list(column) for name, column in zip(names, columns, strict=True)}
    connection.execute(
        query(SQL / "put_sentences.sql", sentences=index.sentences),
        {**key, **values, "embeddings": _halves(embedded.sentence_vectors)},
    )


def _halves(vectors: Vectors) -> list[HalfVector]:
    return [HalfVector(vector) for vector in vectors]


def _block_json(block: Block) -> dict[str, Any]:
    place = {"kind": block.kind, "start": block.span.start, "end": block.span.end, "level": block.level}
    return place | _location_json(block.location)


def _location_json(location: Location) -> dict[str, Any]:
    return {name: value for name, value in asdict(location).items() if value not in (None, ())}
