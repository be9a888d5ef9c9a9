"""The path of a document into the store: read -> parse -> chunk -> embed -> store.

    read     a file of a source          -> bytes and their hash
    parse    bytes                       -> Document: text, blocks, metadata
    chunk    Document                    -> ChunkedDocument: passages of whole sentences
    embed    a batch of ChunkedDocument  -> EmbeddedDocument: a vector for each passage and sentence
    store    a batch of EmbeddedDocument -> rows in PostgreSQL, in one transaction

`ingest/runs/worker.py` leases files, calls these functions, times them, and retries.
"""

import hashlib
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from core.db.database import Connection
from core.embedding import Embedder
from core.types import Chunk, Document
from ingest.chunkers.registry import load_chunker
from ingest.parsers.types import ParsedDocument
from ingest.sandbox.pool import ParserPool
from ingest.sources import Source, SourceFile
from ingest.store import documents as document_store
from ingest.store.documents import EmbeddedDocument, QuarantinedFile, StoredState
from ingest.store.embedding_cache import EmbeddingCache


@dataclass(frozen=True, slots=True)
class ChunkedDocument:
    """A document and its chunks. A duplicate has none: it shares those of its original."""

    document: Document
    chunks: Sequence[Chunk]
    tag: str | None
    content_key: str
    is_duplicate: bool


def read_file(source: Source, file: SourceFile) -> tuple[bytes, str]:
    """Return the content of a file and its SHA-256; raises UnreadableFile."""
    data = source.read(file)
    return data, hashlib.sha256(data).hexdigest()


def parse_file(
    parser_pool: ParserPool, file: SourceFile, data: bytes, content_hash: str
) -> Document:
    """Parse the content of a file in a sandbox process; raises UnreadableFile."""
    media_type, parsed = parser_pool.parse(file.path, data)
    return Document(
        uri=file.uri,
        path=file.path,
        title=parsed.title or _title_from_path(file.path),
        media_type=media_type,
        text=parsed.text,
        blocks=parsed.blocks,
        content_hash=content_hash,
        allowed_groups=file.allowed_groups,
        metadata=parsed.metadata,
    )


def chunk_document(document: Document, chunker: str, embedder: Embedder) -> list[Chunk]:
    """Cut a document into chunks that fit the model's window; `chunker` is a key of CHUNKERS."""
    parsed = ParsedDocument(document.text, document.blocks, document.title, document.metadata)
    return load_chunker(chunker)(
        parsed, document.title, embedder.token_starts, embedder.max_input_tokens
    )


def embed_documents(
    documents: Sequence[ChunkedDocument],
    embedder: Embedder,
    embedding_cache: EmbeddingCache,
    embed_sentences: bool,
) -> list[EmbeddedDocument]:
    """Embed all chunks and sentences of a batch in one pass, so that model calls are full."""
    passages = []
    sentences = []
    for item in documents:
        for chunk in item.chunks:
            passages.append(f"{chunk.context}\n{chunk.text}")
            sentences += [item.document.text[slice(*span)] for span in chunk.sentences]
    if not embed_sentences:
        sentences = []
    vectors = embedding_cache.encode(embedder, passages + sentences)

    embedded = []
    chunk_start, sentence_start = 0, len(passages)
    for item in documents:
        chunk_end = chunk_start + len(item.chunks)
        sentence_end = sentence_start + sum(len(chunk.sentences) for chunk in item.chunks)
        embedded.append(
            EmbeddedDocument(
                item.document,
                item.chunks,
                vectors[chunk_start:chunk_end],
                vectors[sentence_start:sentence_end] if embed_sentences else None,
                item.tag,
                item.content_key,
                item.is_duplicate,
            )
        )
        chunk_start, sentence_start = chunk_end, sentence_end
    return embedded


def store_documents(
    connection: Connection,
    tenant: str,
    run_id: uuid.UUID,
    documents: Sequence[EmbeddedDocument],
    quarantined: Sequence[QuarantinedFile],
    pipeline_hash: str,
) -> dict[str, StoredState]:
    """Store documents and quarantined files. Return the result of each document, by uri.

    A duplicate whose original is gone by now is left out: it needs chunks of its own.
    """
    states = document_store.store_documents(connection, tenant, run_id, documents, pipeline_hash)
    document_store.quarantine_files(connection, tenant, run_id, quarantined, pipeline_hash)
    return states


def _title_from_path(path: str) -> str:
    return PurePosixPath(path).stem.replace("-", " ").replace("_", " ")
