"""Corpus of a benchmark: each line of BEIR's `corpus.jsonl` is a passage (`_id`, `title`, `text`).

A passage is stored and found whole, without chunking, by the same embedding, store and tables as
any document.
"""

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.embedding import Embedder, truncate_to_model
from core.services import Services
from core.text.sentences import split_sentences
from core.types import Block, Chunk, Document, Location, Span
from evaluation.datasets import read_json_lines
from ingest.runs.pipeline_version import compute_pipeline_hash
from ingest.runs.queue import MAX_BATCH_FILES
from ingest.store import documents

URI_PREFIX = "corpus:/"


@dataclass(frozen=True, slots=True)
class CorpusPassage:
    """One line of a corpus."""

    passage_id: str
    title: str
    text: str

    @property
    def uri(self) -> str:
        """The URI of the passage's document."""
        return f"{URI_PREFIX}{self.passage_id}"


def read_corpus(file: Path) -> list[CorpusPassage]:
    """Return the passages of a `corpus.jsonl`.

    Raises:
        InvalidInput: the file is missing or empty, or a line has no `_id` or `text`.
    """
    rows = read_json_lines(file, "BEIR corpus.jsonl", ("_id", "text"))
    return [
        CorpusPassage(str(row["_id"]), str(row.get("title") or ""), str(row["text"]))
        for row in rows
    ]


def corpus_tenant(passages: Sequence[CorpusPassage]) -> str:
    """Return the tenant of a corpus, named after its content, so that it is found again."""
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(f"{passage.passage_id}\x1f{passage.title}\x1f{passage.text}\x1e".encode())
    return f"corpus-{digest.hexdigest()[:12]}"


def ingest_corpus(
    services: Services, tenant: str, passages: Sequence[CorpusPassage]
) -> Iterator[int]:
    """Embed and store missing passages; yield how many passages each step completed."""
    embedder, pipeline_hash = services.embedder(), compute_pipeline_hash(services)
    run_id = uuid.uuid4()
    with services.database.writing(tenant) as connection:
        stored_uris = {
            file.uri
            for file in documents.list_known_files(connection, tenant, URI_PREFIX)
            if file.pipeline_hash == pipeline_hash
        }
    missing = [passage for passage in passages if passage.uri not in stored_uris]
    yield len(passages) - len(missing)
    batch_size = MAX_BATCH_FILES * 4
    for start in range(0, len(missing), batch_size):
        batch = missing[start : start + batch_size]
        for document in _embed_passages(embedder, batch):
            with services.database.writing(tenant) as connection:
                documents.store_documents(connection, tenant, run_id, [document], pipeline_hash)
        yield len(batch)


def _embed_passages(
    embedder: Embedder, passages: Sequence[CorpusPassage]
) -> Iterator[documents.EmbeddedDocument]:
    """Embed each passage up to the model's limit, as in published figures, and its sentences.

    BM25 and the sentence vectors find the rest. The average vector of all windows of the passage
    ranks worse (SciFact's training claims, dense only: nDCG@10 0.626).
    """
    chunks = [_build_chunk(embedder, passage) for passage in passages]
    texts = [truncate_to_model(embedder, f"{chunk.context}\n{chunk.text}") for chunk in chunks]
    for chunk in chunks:
        texts += [chunk.text[span.start : span.end] for span in chunk.sentences]
    vectors = embedder.encode(texts)
    start = len(chunks)
    for number, (passage, chunk) in enumerate(zip(passages, chunks, strict=True)):
        end = start + len(chunk.sentences)
        yield documents.EmbeddedDocument(
            _build_document(passage), [chunk], vectors[number : number + 1], vectors[start:end]
        )
        start = end


def _build_document(passage: CorpusPassage) -> Document:
    digest = hashlib.sha256(f"{passage.title}\x1f{passage.text}".encode()).hexdigest()
    return Document(
        uri=passage.uri,
        path=passage.passage_id,
        title=passage.title or passage.passage_id,
        media_type="text/plain",
        text=passage.text,
        blocks=(Block("paragraph", Span(0, len(passage.text))),),
        content_hash=digest,
    )


def _build_chunk(embedder: Embedder, passage: CorpusPassage) -> Chunk:
    text, title = passage.text, passage.title
    span = Span(0, len(text))
    sentences = tuple(split_sentences(text, span))
    tokens = len(embedder.token_starts(f"{title}\n{text}"))
    return Chunk(0, span, text, title, Location(), sentences, tokens)
