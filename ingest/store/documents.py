"""The write side of PostgreSQL: documents replaced, deleted or put aside, each of them whole or not at all.

A reader sees the old document or the new one, never both and never neither; what says "done" (the hashes in the
document's row) is written in the same transaction as the chunks. Many documents share a transaction and its few
statements, one array a column: what a statement costs is then spread over hundreds of rows.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from psycopg.rows import class_row

from core.db.database import Connection
from core.db.index_version import IndexVersion
from core.db.queries import compose_query, load_queries
from core.embedding import Vectors
from core.text.terms import extract_terms, hash_terms
from core.types import Block, Chunk, Document, Location
from ingest.store import duplicates
from ingest.store.duplicates import IncomingDocument
from ingest.store.edition_detection import detect_edition
from ingest.store.halfvec_array import HalfvecArray, register_halfvec_array

QUERIES = load_queries(Path(__file__).with_name("documents.sql"))

StoredState = Literal["added", "changed", "duplicate"]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """What the store knows of a file: what it was last taken in (or put aside) with, and since when."""

    uri: str
    content_hash: str
    pipeline_hash: str
    allowed_groups: list[str]
    tag: str | None
    is_quarantined: bool
    reason: str
    message: str
    stored_at: datetime


@dataclass(frozen=True, slots=True)
class EmbeddedDocument:
    """A document ready to be stored: its chunks, a vector each (n, dimension), and one for each of their sentences.

    `sentence_vectors` has a row for every sentence of every chunk, in order; None where none are kept. `tag` is the
    state of the file that its source told. `content` is what it must share with another to be its duplicate, None for
    what is always stored by itself; a `twin` was found to be one, and comes without chunks.
    """

    document: Document
    chunks: Sequence[Chunk]
    vectors: Vectors
    sentence_vectors: Vectors | None
    tag: str | None = None
    content_key: str | None = None
    is_duplicate: bool = False


@dataclass(frozen=True, slots=True)
class QuarantinedFile:
    """A file that is put aside: why, and at which stage."""

    uri: str
    path: str
    content_hash: str
    stage: str
    reason: str
    message: str
    attempts: int = 1
    tag: str | None = None


def compute_document_id(tenant: str, uri: str) -> uuid.UUID:
    """A document's id: always the same for the same tenant and uri, so that links to it survive its versions."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{tenant}\x1f{uri}")


def list_known_files(connection: Connection, tenant: str, source_uri: str) -> list[KnownFile]:
    """What is in the store, or put aside, of the files below a source."""
    with connection.cursor(row_factory=class_row(KnownFile)) as cursor:
        return cursor.execute(QUERIES["known"], {"tenant": tenant, "uri": source_uri}).fetchall()


def store_document(
    connection: Connection,
    index: IndexVersion,
    tenant: str,
    run_id: uuid.UUID,
    embedded: EmbeddedDocument,
    pipeline_hash: str,
) -> bool:
    """Store a document in place of its earlier version; returns whether there was one."""
    stored = store_documents(connection, index, tenant, run_id, [embedded], pipeline_hash)
    return stored[embedded.document.uri] == "changed"


def store_documents(
    connection: Connection,
    index: IndexVersion,
    tenant: str,
    run_id: uuid.UUID,
    items: Sequence[EmbeddedDocument],
    pipeline_hash: str,
) -> dict[str, StoredState]:
    """Store documents in place of their earlier versions, or as further places of what is stored; returns what became
    of each, by uri. A twin is left out where what it was the same as is gone: it has to be taken in by itself.
    """
    if not items:
        return {}
    items = sorted(items, key=lambda item: item.document.uri)
    sets = _ensure_reader_sets(connection, tenant, {item.document.allowed_groups for item in items})
    arrivals = [_build_incoming_document(tenant, item, sets) for item in items]
    duplicates.transfer_before_store(connection, tenant, arrivals)
    same_as = duplicates.resolve_duplicates(connection, tenant, arrivals)
    items = [item for item in items if item.document.uri in same_as]
    own = [item for item in items if same_as[item.document.uri] is None]
    values = _build_document_columns(tenant, items, sets, same_as) | {
        "tenant": tenant,
        "run_id": run_id,
        "pipeline_hash": pipeline_hash,
    }
    replaced: dict[str, bool] = dict(
        connection.execute(QUERIES["put_documents"], values).fetchall()
    )
    connection.execute(QUERIES["clear_way"], values)
    _insert_chunks(connection, index, tenant, own, sets)
    return {
        uri: "duplicate" if same_as[uri] else "changed" if earlier else "added"
        for uri, earlier in replaced.items()
    }


def delete_document(connection: Connection, tenant: str, uri: str, run_id: uuid.UUID) -> bool:
    """Delete a document, or forget a file that was put aside; returns whether there was anything."""
    return bool(delete_documents(connection, tenant, [uri], run_id))


def delete_documents(
    connection: Connection, tenant: str, uris: Sequence[str], run_id: uuid.UUID
) -> set[str]:
    """Delete documents, or forget files that were put aside; returns the uris of those that were there.

    What others are the same as passes to one of them first.
    """
    duplicates.transfer_before_delete(connection, tenant, uris)
    values = {"tenant": tenant, "uris": sorted(uris), "run_id": run_id}
    return {row[0] for row in connection.execute(QUERIES["delete_documents"], values).fetchall()}


def quarantine_files(
    connection: Connection,
    tenant: str,
    run_id: uuid.UUID,
    files: Sequence[QuarantinedFile],
    pipeline_hash: str,
) -> None:
    """Put files aside until they change or disappear."""
    files = sorted(files, key=lambda file: file.uri)
    columns = {
        "uris": [file.uri for file in files],
        "paths": [file.path for file in files],
        "content_hashes": [file.content_hash for file in files],
        "stages": [file.stage for file in files],
        "reasons": [file.reason for file in files],
        "messages": [sanitize_text(file.message) for file in files],
        "attempts": [file.attempts for file in files],
        "tags": [file.tag for file in files],
    }
    values = columns | {"tenant": tenant, "run_id": run_id, "pipeline_hash": pipeline_hash}
    connection.execute(QUERIES["quarantine"], values)


def update_tags(connection: Connection, tenant: str, tags: Mapping[str, str]) -> None:
    """Note the tags of files that turned out to be as they were."""
    values = {"tenant": tenant, "uris": sorted(tags), "tags": [tags[uri] for uri in sorted(tags)]}
    connection.execute(QUERIES["touch"], values)


def sanitize_text(text: str) -> str:
    """A text that PostgreSQL can hold, whatever was in it."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _ensure_reader_sets(
    connection: Connection, tenant: str, group_sets: set[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    sets = {}
    for readers in sorted(group_sets):
        values = {"tenant": tenant, "readers": list(readers)}
        row = connection.execute(QUERIES["reader_set"], values).fetchone()
        if (
            row is None
        ):  # another transaction made it since ours took its snapshot; the next statement sees it
            row = connection.execute(QUERIES["reader_set"], values).fetchone()
        assert row is not None
        sets[readers] = row[0]
    return sets


def _build_incoming_document(
    tenant: str, item: EmbeddedDocument, reader_set_ids: Mapping[tuple[str, ...], int]
) -> IncomingDocument:
    uri = item.document.uri
    return IncomingDocument(
        uri,
        compute_document_id(tenant, uri),
        item.content_key,
        reader_set_ids[item.document.allowed_groups],
        not item.is_duplicate,
    )


def _build_document_columns(
    tenant: str,
    items: Sequence[EmbeddedDocument],
    reader_set_ids: Mapping[tuple[str, ...], int],
    same_as: Mapping[str, uuid.UUID | None],
) -> dict[str, list[Any]]:
    documents = [item.document for item in items]
    return {
        "document_ids": [compute_document_id(tenant, document.uri) for document in documents],
        "reader_set_ids": [reader_set_ids[document.allowed_groups] for document in documents],
        "uris": [document.uri for document in documents],
        "paths": [document.path for document in documents],
        "titles": [document.title for document in documents],
        "media_types": [document.media_type for document in documents],
        "content_hashes": [document.content_hash for document in documents],
        "texts": ["" if same_as[document.uri] else document.text for document in documents],
        "blocks": [
            _to_json(
                []
                if same_as[document.uri]
                else [_block_to_dict(block) for block in document.blocks]
            )
            for document in documents
        ],
        "metadata": [_to_json(dict(document.metadata)) for document in documents],
        "tags": [item.tag for item in items],
        "same_as": [same_as[document.uri] for document in documents],
        "contents": [item.content_key for item in items],
        "editions": [detect_edition(document.path, document.metadata) for document in documents],
    }


@dataclass(frozen=True, slots=True)
class _ChunkRow:
    """A chunk with what its row says of its document, and the terms that it is found by."""

    chunk: Chunk
    document_id: uuid.UUID
    reader_set_id: int
    term_counts: Counter[str]


def _build_chunk_rows(
    tenant: str, items: Sequence[EmbeddedDocument], reader_set_ids: Mapping[tuple[str, ...], int]
) -> Iterator[_ChunkRow]:
    for item in items:
        place = (
            compute_document_id(tenant, item.document.uri),
            reader_set_ids[item.document.allowed_groups],
        )
        for chunk in item.chunks:
            yield _ChunkRow(chunk, *place, Counter(extract_terms(f"{chunk.context}\n{chunk.text}")))


def _insert_chunks(
    connection: Connection,
    index: IndexVersion,
    tenant: str,
    items: Sequence[EmbeddedDocument],
    reader_set_ids: Mapping[tuple[str, ...], int],
) -> None:
    rows = list(_build_chunk_rows(tenant, items, reader_set_ids))
    if not rows:
        return
    register_halfvec_array(connection)
    ids = [
        row[0]
        for row in connection.execute(QUERIES["new_chunk_ids"], {"count": len(rows)}).fetchall()
    ]
    columns: dict[str, Any] = {
        "tenant": tenant,
        "chunk_ids": ids,
        "document_ids": [row.document_id for row in rows],
        "reader_set_ids": [row.reader_set_id for row in rows],
        "ordinals": [row.chunk.ordinal for row in rows],
        "starts": [row.chunk.span.start for row in rows],
        "ends": [row.chunk.span.end for row in rows],
        "texts": [row.chunk.text for row in rows],
        "contexts": [row.chunk.context for row in rows],
        "locations": [_to_json(_location_to_dict(row.chunk.location)) for row in rows],
        "tokens": [row.chunk.tokens for row in rows],
        "lengths": [row.term_counts.total() for row in rows],
        "terms": [" ".join(row.term_counts) for row in rows],
        "frequencies": [" ".join(map(str, row.term_counts.values())) for row in rows],
        "bands": [
            " ".join(map(str, bands))
            for bands in duplicates.compute_bands(
                [f"{row.chunk.context}\n{row.chunk.text}" for row in rows]
            )
        ],
        "embeddings": HalfvecArray(np.concatenate([item.vectors for item in items])),
    }
    connection.execute(QUERIES["put_chunks"], columns)
    connection.execute(QUERIES["put_postings"], columns)
    connection.execute(
        compose_query(QUERIES["put_vectors"], vectors=index.vector_table_name), columns
    )
    _insert_sentences(connection, index, tenant, ids, rows, items)


def _insert_sentences(
    connection: Connection,
    index: IndexVersion,
    tenant: str,
    chunk_ids: Sequence[int],
    rows: Sequence[_ChunkRow],
    items: Sequence[EmbeddedDocument],
) -> None:
    sentences = [
        (chunk_id, ordinal, row.reader_set_id, span.start, span.end, words)
        for chunk_id, row in zip(chunk_ids, rows, strict=True)
        for ordinal, (span, words) in enumerate(
            zip(row.chunk.sentences, _encode_sentence_terms(row.chunk), strict=True)
        )
    ]
    if not sentences:
        return
    names = ("chunk_ids", "ordinals", "reader_set_ids", "starts", "ends", "words")
    columns: dict[str, Any] = {
        name: list(column) for name, column in zip(names, zip(*sentences, strict=True), strict=True)
    }
    vectors = [item.sentence_vectors for item in items if item.sentence_vectors is not None]
    columns["embeddings"] = HalfvecArray(np.concatenate(vectors)) if vectors else []
    columns["tenant"] = tenant
    connection.execute(
        compose_query(QUERIES["put_sentences"], sentences=index.sentence_table_name), columns
    )


def _encode_sentence_terms(chunk: Chunk) -> Iterator[str]:
    """For each sentence the numbers of its terms and of those of the headings above it, between spaces."""
    above = set(hash_terms(extract_terms(chunk.context)))
    for span in chunk.sentences:
        text = chunk.text[span.start - chunk.span.start : span.end - chunk.span.start]
        yield " ".join(map(str, sorted(above.union(hash_terms(extract_terms(text))))))


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _block_to_dict(block: Block) -> dict[str, Any]:
    place = {
        "kind": block.kind,
        "start": block.span.start,
        "end": block.span.end,
        "level": block.level,
    }
    return place | _location_to_dict(block.location)


def _location_to_dict(location: Location) -> dict[str, Any]:
    """What a location says; what it leaves open is left out. Written out, since this runs for every block."""
    said: dict[str, Any] = {}
    if location.headings:
        said["headings"] = location.headings
    if location.page is not None:
        said["page"] = location.page
    if location.slide is not None:
        said["slide"] = location.slide
    if location.sheet is not None:
        said["sheet"] = location.sheet
    if location.rows is not None:
        said["rows"] = location.rows
    return said
