"""A benchmark's corpus in: `corpus.jsonl` as BEIR writes it, each line a passage (`_id`, `title`, `text`) that is
retrieved whole, not cut into chunks. It goes through the same embedding, store and tables as any document.
"""

import hashlib
import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.embedding import Embedder
from core.errors import InvalidInput
from core.services import Services
from core.text.sentences import split_sentences
from core.types import Block, Chunk, Document, Location, Span
from ingest.runs.pipeline_version import compute_pipeline_hash
from ingest.runs.queue import MAX_BATCH_FILES
from ingest.store import documents


@dataclass(frozen=True, slots=True)
class CorpusPassage:
    """One line of a corpus."""

    passage_id: str
    title: str
    text: str


def read_corpus(file: Path) -> list[CorpusPassage]:
    """The passages of a `corpus.jsonl`.

    Raises:
        InvalidInput: no such file, or a line that is not an object with `_id` and `text`.
    """
    if not file.is_file():
        raise InvalidInput(f"There is no corpus at {file}; name a BEIR corpus.jsonl.")
    passages = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            passages.append(
                CorpusPassage(str(row["_id"]), str(row.get("title") or ""), str(row["text"]))
            )
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidInput(
                f"{file}, line {number}: each line must be an object with _id and text."
            ) from error
    if not passages:
        raise InvalidInput(f"{file} holds no passage.")
    return passages


def corpus_tenant(passages: Sequence[CorpusPassage]) -> str:
    """The tenant that a corpus lives in: named after its content, so that a second evaluation finds it ready."""
    digest = hashlib.sha256()
    for passage in passages:
        digest.update(f"{passage.passage_id}\x1f{passage.title}\x1f{passage.text}\x1e".encode())
    return f"corpus-{digest.hexdigest()[:12]}"


def ingest_corpus(
    services: Services, tenant: str, passages: Sequence[CorpusPassage]
) -> Iterator[int]:
    """Embed and store what is not yet there; yields how many passages each step settled."""
    embedder, recipe, run_id = services.embedder(), compute_pipeline_hash(services), uuid.uuid4()
    with services.database.writing(tenant) as connection:
        known = {
            entry.uri
            for entry in documents.list_known_files(connection, tenant, "corpus:/")
            if entry.pipeline_hash == recipe
        }
    missing = [passage for passage in passages if _passage_uri(passage) not in known]
    yield len(passages) - len(missing)
    for start in range(0, len(missing), MAX_BATCH_FILES * 4):
        batch = missing[start : start + MAX_BATCH_FILES * 4]
        for item in _embed_passages(embedder, batch):
            with services.database.writing(tenant) as connection:
                documents.store_documents(connection, tenant, run_id, [item], recipe)
        yield len(batch)


def parse_passage_id(uri: str) -> str:
    """The `_id` that a stored passage came with."""
    return uri.removeprefix("corpus:/")


def _passage_uri(passage: CorpusPassage) -> str:
    return f"corpus:/{passage.passage_id}"


def _embed_passages(
    embedder: Embedder, passages: Sequence[CorpusPassage]
) -> Iterator[documents.EmbeddedDocument]:
    chunks = [_build_chunk(embedder, passage) for passage in passages]
    heads = [_truncate_to_model(embedder, chunk) for chunk in chunks]
    spoken = [
        passage.text[span.start : span.end]
        for passage, chunk in zip(passages, chunks, strict=True)
        for span in chunk.sentences
    ]
    vectors = embedder.encode(heads + spoken)
    sentence_at = len(heads)
    for place, (passage, chunk) in enumerate(zip(passages, chunks, strict=True)):
        own = vectors[sentence_at : sentence_at + len(chunk.sentences)]
        yield documents.EmbeddedDocument(
            _build_document(passage), [chunk], vectors[place : place + 1], own
        )
        sentence_at += len(chunk.sentences)


def _build_document(passage: CorpusPassage) -> Document:
    span = Span(0, len(passage.text))
    digest = hashlib.sha256(f"{passage.title}\x1f{passage.text}".encode()).hexdigest()
    return Document(
        uri=_passage_uri(passage),
        path=passage.passage_id,
        title=passage.title or passage.passage_id,
        media_type="text/plain",
        text=passage.text,
        blocks=(Block("paragraph", span),),
        content_hash=digest,
    )


def _build_chunk(embedder: Embedder, passage: CorpusPassage) -> Chunk:
    span = Span(0, len(passage.text))
    tokens = len(embedder.token_starts(f"{passage.title}\n{passage.text}"))
    return Chunk(
        0,
        span,
        passage.text,
        passage.title,
        Location(),
        tuple(split_sentences(passage.text, span)),
        tokens,
    )


def _truncate_to_model(embedder: Embedder, chunk: Chunk) -> str:
    """As much of a passage as the model can see: how benchmarks use a model, and how its figures were published.

    What is beyond it is found by BM25 and by its sentences' own vectors. Averaging the vectors of all windows instead
    was tried and ranks worse (SciFact's training claims, dense leg: nDCG@10 0.626).
    """
    text = f"{chunk.context}\n{chunk.text}"
    starts = embedder.token_starts(text)
    return (
        text
        if len(starts) <= embedder.max_input_tokens
        else text[: starts[embedder.max_input_tokens]]
    )
