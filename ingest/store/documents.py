"""Write side of the store: documents are replaced, deleted or quarantined, each in one transaction.

A reader sees either the old document or the new one: the hashes that mark a document as done are
written in the same transaction as its chunks. One transaction stores many documents. Its few
statements take one array per column, so that each writes hundreds of rows.
"""

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
from psycopg.rows import class_row

from core.db.database import Connection
from core.db.index_version import live_index
from core.db.queries import compose_query, load_queries
from core.embedding import Vectors
from core.text.terms import extract_terms, hash_terms
from core.types import Block, Chunk, Document, Location
from ingest.store.duplicates import (
    IncomingDocument,
    compute_bands,
    resolve_duplicates,
    transfer_before_delete,
    transfer_before_store,
)
from ingest.store.edition_detection import detect_edition
from ingest.store.halfvec_array import HalfvecArray, register_halfvec_array

QUERIES = load_queries(Path(__file__).with_name("documents.sql"))

StoredState = Literal["added", "changed", "duplicate"]


@dataclass(frozen=True, slots=True)
class KnownFile:
    """A file as it was last ingested or quarantined."""

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
    """A document ready to be stored, with a vector for each chunk: shape (chunks, dimension).

    `sentence_vectors` has one row for each sentence of each chunk, in order, or is None.
    `tag` is the source's tag of the file. `content_key` is equal for documents with the same
    content; None: the document is never a duplicate. A duplicate has no chunks.
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
    """A file that could not be ingested: the stage and the reason."""

    uri: str
    path: str
    content_hash: str
    stage: str
    reason: str
    message: str
    attempts: int = 1
    tag: str | None = None


def compute_document_id(tenant: str, uri: str) -> uuid.UUID:
    """Return a document's id. It depends on tenant and uri only, so links survive new versions."""
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{tenant}\x1f{uri}")


def list_known_files(connection: Connection, tenant: str, source_uri: str) -> list[KnownFile]:
    """Return the stored and quarantined files below a source."""
    with connection.cursor(row_factory=class_row(KnownFile)) as cursor:
        parameters = {"tenant": tenant, "uri": source_uri}
        return cursor.execute(QUERIES["list_known_files"], parameters).fetchall()


def store_documents(
    connection: Connection,
    tenant: str,
    run_id: uuid.UUID,
    embedded: Sequence[EmbeddedDocument],
    pipeline_hash: str,
) -> dict[str, StoredState]:
    """Store documents in the live index, in place of their earlier versions.

    Return the result of each, by uri.

    A duplicate whose original is gone by now is left out: it needs chunks of its own.
    """
    if not embedded:
        return {}
    items = sorted(embedded, key=lambda item: item.document.uri)
    group_sets = {item.document.allowed_groups for item in items}
    reader_set_ids = _ensure_reader_sets(connection, tenant, group_sets)
    incoming = [_build_incoming_document(tenant, item, reader_set_ids) for item in items]
    transfer_before_store(connection, tenant, incoming)
    originals = resolve_duplicates(connection, tenant, incoming)

    items = [item for item in items if item.document.uri in originals]
    columns = _build_document_columns(tenant, items, reader_set_ids, originals)
    values = columns | {"tenant": tenant, "run_id": run_id, "pipeline_hash": pipeline_hash}
    rows = connection.execute(QUERIES["upsert_documents"], values).fetchall()
    connection.execute(QUERIES["delete_previous_content"], values)
    with_own_chunks = [item for item in items if originals[item.document.uri] is None]
    _insert_chunks(connection, tenant, with_own_chunks, reader_set_ids)

    states: dict[str, StoredState] = {}
    for uri, is_replaced in rows:
        if originals[uri]:
            states[uri] = "duplicate"
        else:
            states[uri] = "changed" if is_replaced else "added"
    return states


def delete_documents(
    connection: Connection, tenant: str, uris: Sequence[str], run_id: uuid.UUID
) -> set[str]:
    """Delete documents or forget quarantined files; return the uris of those that existed.

    If a document has duplicates, one of them takes over its text and chunks.
    """
    transfer_before_delete(connection, tenant, uris)
    values = {"tenant": tenant, "uris": sorted(uris), "run_id": run_id}
    rows = connection.execute(QUERIES["delete_documents"], values).fetchall()
    return {row[0] for row in rows}


def quarantine_files(
    connection: Connection,
    tenant: str,
    run_id: uuid.UUID,
    files: Sequence[QuarantinedFile],
    pipeline_hash: str,
) -> None:
    """Quarantine files until they change or disappear."""
    files = sorted(files, key=lambda file: file.uri)
    values = {
        "tenant": tenant,
        "run_id": run_id,
        "pipeline_hash": pipeline_hash,
        "uris": [file.uri for file in files],
        "paths": [file.path for file in files],
        "content_hashes": [file.content_hash for file in files],
        "stages": [file.stage for file in files],
        "reasons": [file.reason for file in files],
        "messages": [sanitize_text(file.message) for file in files],
        "attempts": [file.attempts for file in files],
        "tags": [file.tag for file in files],
    }
    connection.execute(QUERIES["upsert_quarantine"], values)


def update_tags(connection: Connection, tenant: str, tags: Mapping[str, str]) -> None:
    """Record the tags of unchanged files, so that the next run need not read them."""
    uris = sorted(tags)
    values = {"tenant": tenant, "uris": uris, "tags": [tags[uri] for uri in uris]}
    connection.execute(QUERIES["update_tags"], values)


def sanitize_text(text: str) -> str:
    """Return a text that PostgreSQL can store: no NUL characters and no lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


# --- documents ------------------------------------------------------------------------------------


def _ensure_reader_sets(
    connection: Connection, tenant: str, group_sets: set[tuple[str, ...]]
) -> dict[tuple[str, ...], int]:
    ids = {}
    for groups in sorted(group_sets):
        values = {"tenant": tenant, "readers": list(groups)}
        row = connection.execute(QUERIES["ensure_reader_set"], values).fetchone()
        if row is None:
            # Another transaction has just inserted it: the next statement sees the row.
            row = connection.execute(QUERIES["ensure_reader_set"], values).fetchone()
        assert row is not None
        ids[groups] = row[0]
    return ids


def _build_incoming_document(
    tenant: str, item: EmbeddedDocument, reader_set_ids: Mapping[tuple[str, ...], int]
) -> IncomingDocument:
    uri = item.document.uri
    return IncomingDocument(
        uri,
        compute_document_id(tenant, uri),
        item.content_key,
        reader_set_ids[item.document.allowed_groups],
        has_chunks=not item.is_duplicate,
    )


def _build_document_columns(
    tenant: str,
    items: Sequence[EmbeddedDocument],
    reader_set_ids: Mapping[tuple[str, ...], int],
    originals: Mapping[str, uuid.UUID | None],
) -> dict[str, Any]:
    documents = [item.document for item in items]
    texts, blocks = [], []
    for document in documents:
        is_duplicate = originals[document.uri] is not None
        texts.append("" if is_duplicate else document.text)
        blocks.append("[]" if is_duplicate else _blocks_to_json(document.blocks))
    return {
        "document_ids": [compute_document_id(tenant, document.uri) for document in documents],
        "reader_set_ids": [reader_set_ids[document.allowed_groups] for document in documents],
        "uris": [document.uri for document in documents],
        "paths": [document.path for document in documents],
        "titles": [document.title for document in documents],
        "media_types": [document.media_type for document in documents],
        "content_hashes": [document.content_hash for document in documents],
        "texts": texts,
        "blocks": blocks,
        "metadata": [_to_json(dict(document.metadata)) for document in documents],
        "tags": [item.tag for item in items],
        "same_as": [originals[document.uri] for document in documents],
        "contents": [item.content_key for item in items],
        "editions": [detect_edition(document.path, document.metadata) for document in documents],
    }


# --- chunks ---------------------------------------------------------------------------------------


def _insert_chunks(
    connection: Connection,
    tenant: str,
    items: Sequence[EmbeddedDocument],
    reader_set_ids: Mapping[tuple[str, ...], int],
) -> None:
    chunks: list[Chunk] = []
    columns: dict[str, Any] = {"tenant": tenant, "document_ids": [], "reader_set_ids": []}
    for item in items:
        chunks += item.chunks
        document_id = compute_document_id(tenant, item.document.uri)
        reader_set_id = reader_set_ids[item.document.allowed_groups]
        columns["document_ids"] += [document_id] * len(item.chunks)
        columns["reader_set_ids"] += [reader_set_id] * len(item.chunks)
    if not chunks:
        return
    ids = connection.execute(QUERIES["reserve_chunk_ids"], {"count": len(chunks)}).fetchall()
    columns["chunk_ids"] = [row[0] for row in ids]
    columns["embeddings"] = HalfvecArray(np.concatenate([item.vectors for item in items]))
    columns |= _build_chunk_columns(chunks)
    register_halfvec_array(connection)
    index = live_index(connection)
    insert_vectors = compose_query(QUERIES["insert_vectors"], vectors=index.vector_table_name)
    connection.execute(QUERIES["insert_chunks"], columns)
    connection.execute(QUERIES["insert_postings"], columns)
    connection.execute(insert_vectors, columns)

    sentences = _build_sentence_columns(chunks, columns, items)
    if sentences["chunk_ids"]:
        query = compose_query(QUERIES["insert_sentences"], sentences=index.sentence_table_name)
        connection.execute(query, sentences)


def _build_chunk_columns(chunks: Sequence[Chunk]) -> dict[str, Any]:
    texts = [f"{chunk.context}\n{chunk.text}" for chunk in chunks]
    term_counts = [Counter(extract_terms(text)) for text in texts]
    return {
        "ordinals": [chunk.ordinal for chunk in chunks],
        "starts": [chunk.span.start for chunk in chunks],
        "ends": [chunk.span.end for chunk in chunks],
        "texts": [chunk.text for chunk in chunks],
        "contexts": [chunk.context for chunk in chunks],
        "locations": [_to_json(_location_to_dict(chunk.location)) for chunk in chunks],
        "tokens": [chunk.tokens for chunk in chunks],
        "lengths": [counts.total() for counts in term_counts],
        "terms": [" ".join(counts) for counts in term_counts],
        "frequencies": [_join_numbers(counts.values()) for counts in term_counts],
        "bands": [_join_numbers(bands) for bands in compute_bands(texts)],
    }


def _build_sentence_columns(
    chunks: Sequence[Chunk], chunk_columns: Mapping[str, Any], items: Sequence[EmbeddedDocument]
) -> dict[str, Any]:
    names = ("chunk_ids", "ordinals", "reader_set_ids", "starts", "ends", "words")
    columns: dict[str, Any] = {name: [] for name in names}
    keys = zip(chunk_columns["chunk_ids"], chunk_columns["reader_set_ids"], strict=True)
    for chunk, (chunk_id, reader_set_id) in zip(chunks, keys, strict=True):
        count = len(chunk.sentences)
        columns["chunk_ids"] += [chunk_id] * count
        columns["reader_set_ids"] += [reader_set_id] * count
        columns["ordinals"] += range(count)
        columns["starts"] += [span.start for span in chunk.sentences]
        columns["ends"] += [span.end for span in chunk.sentences]
        columns["words"] += _encode_sentence_terms(chunk)
    vectors = [item.sentence_vectors for item in items if item.sentence_vectors is not None]
    columns["embeddings"] = HalfvecArray(np.concatenate(vectors)) if vectors else []
    return columns | {"tenant": chunk_columns["tenant"]}


def _encode_sentence_terms(chunk: Chunk) -> Iterator[str]:
    """Yield the term numbers of each sentence and of the headings above it, space-separated."""
    context_terms = set(hash_terms(extract_terms(chunk.context)))
    for span in chunk.sentences:
        text = chunk.text[span.start - chunk.span.start : span.end - chunk.span.start]
        yield _join_numbers(sorted(context_terms.union(hash_terms(extract_terms(text)))))


def _join_numbers(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


# --- JSON -----------------------------------------------------------------------------------------


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _blocks_to_json(blocks: Sequence[Block]) -> str:
    values = []
    for block in blocks:
        start, end = block.span
        value = {"kind": block.kind, "start": start, "end": end, "level": block.level}
        values.append(value | _location_to_dict(block.location))
    return _to_json(values)


def _location_to_dict(location: Location) -> dict[str, Any]:
    """Return the fields of a location that are set."""
    fields = ((name, getattr(location, name)) for name in Location.__slots__)
    return {name: value for name, value in fields if value not in (None, ())}
