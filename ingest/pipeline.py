"""A document in. Read this first: what is to do (`plan`), then batch by batch `take_in`, then `remove` what is gone.

    plan      which files are new, changed or gone, by content hash; nothing else is touched
    take_in   read -> parse -> chunk -> embed -> store, for a batch of files
    remove    delete what is no longer in the source

flows/ingest.py runs these with retries; `groundwork ingest` runs that.
"""

import hashlib
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from ingest import store
from ingest.chunkers import chunker
from ingest.parsers import parse
from ingest.sources import Source, SourceFile, read
from knowledge.embedding import Embedder
from knowledge.errors import Unreadable
from knowledge.services import Services, live_index
from knowledge.types import Chunk, Document

BATCH = 64  # documents a task: enough to fill the model's batches, few enough to lose little when killed
RECIPE = "1"  # raise it when parsing, chunking or analysis changes, so that everything is taken in anew

State = Literal["added", "changed", "unchanged", "deleted", "quarantined"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file. `chunks` and `tokens` count what was embedded; `message` says why it was put aside."""

    uri: str
    path: str
    state: State
    chunks: int = 0
    tokens: int = 0
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do: files to take in, uris to delete, and what stays as it is."""

    run_id: uuid.UUID
    to_take_in: tuple[SourceFile, ...]
    to_delete: tuple[str, ...]
    settled: tuple[Outcome, ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do."""
        return not self.to_take_in and not self.to_delete

    def batches(self) -> list[tuple[SourceFile, ...]]:
        """The files in batches of `BATCH`."""
        files = self.to_take_in
        return [files[start : start + BATCH] for start in range(0, len(files), BATCH)]


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch, and the seconds spent in each stage."""

    outcomes: tuple[Outcome, ...]
    seconds: dict[str, float]


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did: outcomes by file, seconds by stage."""

    run_id: uuid.UUID
    outcomes: tuple[Outcome, ...]
    seconds: dict[str, float]

    @property
    def counts(self) -> dict[str, int]:
        """How many files ended in each state."""
        return dict(Counter(outcome.state for outcome in self.outcomes))

    @property
    def chunks(self) -> int:
        """Chunks that were stored."""
        return sum(outcome.chunks for outcome in self.outcomes)

    @property
    def tokens(self) -> int:
        """Tokens of the stored chunks, context included."""
        return sum(outcome.tokens for outcome in self.outcomes)


def plan(services: Services, tenant: str, sources: Sequence[Source]) -> Plan:
    """Compare the sources with the store; a file whose bytes, readers and pipeline are as before stays untouched.

    Raises:
        InvalidInput: a source holds no file.
    """
    recipe = pipeline_hash(services)
    to_take_in: dict[str, SourceFile] = {}
    to_delete: dict[str, None] = {}
    settled: dict[str, Outcome] = {}
    for source in sources:
        files = list(source.files())
        with services.database.writing(tenant) as connection:
            known = store.known(connection, tenant, source.uri)
        to_delete |= dict.fromkeys(entry.uri for entry in known if entry.uri not in {file.uri for file in files})
        # Where both are known, a file that was put aside comes last and so decides: its text is the older one.
        latest = {entry.uri: entry for entry in sorted(known, key=lambda entry: entry.quarantined)}
        for file in files:
            entry = latest.get(file.uri)
            if entry is not None and _same(entry, file, recipe):
                settled[file.uri] = _settled(entry, file)
            else:
                to_take_in[file.uri] = file
    return Plan(uuid.uuid4(), tuple(to_take_in.values()), tuple(to_delete), tuple(settled.values()))


def take_in(
    services: Services,
    tenant: str,
    run_id: uuid.UUID,
    files: Sequence[SourceFile],
    advanced: Callable[[float, int], None] = lambda files, tokens: None,
) -> BatchResult:
    """Read, parse, chunk, embed and store a batch; what can't be read is put aside with its reason.

    May be repeated after a failure at any point: each document is stored in a transaction of its own. `advanced` is
    told, as the work goes on, of further (shares of) files and tokens done.
    """
    watch = Stopwatch()
    embedder = services.embedder()
    recipe = pipeline_hash(services)
    outcomes: list[Outcome] = []
    prepared: list[tuple[Document, list[Chunk]]] = []
    with watch.stage("parse"):
        for file in files:
            content_hash = ""
            try:
                data = read(file)
                content_hash = hashlib.sha256(data).hexdigest()
                prepared.append(_prepare(services, embedder, file, data, content_hash))
            except Unreadable as error:
                outcomes.append(_put_aside(services, tenant, run_id, file, content_hash, recipe, error))
                advanced(1, 0)
    with watch.stage("embed"):
        tokens = sum(chunk.tokens for _, chunks in prepared for chunk in chunks)
        embedded = embed(embedder, prepared, lambda share: advanced(share * len(prepared), round(share * tokens)))
    with watch.stage("store"):
        for item in embedded:
            outcomes.append(_store(services, tenant, run_id, item, recipe))
    return BatchResult(tuple(outcomes), watch.seconds)


def open_run(services: Services, tenant: str, run_id: uuid.UUID, kind: str, source: str) -> None:
    """Write a run's first line into the ledger."""
    with services.database.writing(tenant) as connection:
        store.start_run(connection, tenant, run_id, kind, source)


def close_run(
    services: Services,
    tenant: str,
    run_id: uuid.UUID,
    state: str,
    counts: Mapping[str, int],
    seconds: Mapping[str, float],
) -> None:
    """Write a run's last line into the ledger: `finished` or `failed`, what it did, seconds by stage."""
    with services.database.writing(tenant) as connection:
        store.finish_run(connection, tenant, run_id, state, counts, seconds)


def remove(services: Services, tenant: str, run_id: uuid.UUID, uris: Iterable[str]) -> list[Outcome]:
    """Delete documents by uri, each in a transaction that also leaves its tombstone."""
    outcomes = []
    for uri in uris:
        with services.database.writing(tenant) as connection:
            if store.delete(connection, tenant, uri, run_id):
                outcomes.append(Outcome(uri, uri, "deleted"))
    return outcomes


def embed(
    embedder: Embedder,
    prepared: Sequence[tuple[Document, list[Chunk]]],
    advanced: Callable[[float], None] = lambda share: None,
) -> list[store.Embedded]:
    """Vectors for all chunks and sentences of a batch in one pass, so that texts of like length share a batch."""
    passages = [f"{chunk.context}\n{chunk.text}" for _, chunks in prepared for chunk in chunks]
    sentences = [
        document.text[span.start : span.end]
        for document, chunks in prepared
        for chunk in chunks
        for span in chunk.sentences
    ]
    vectors = embedder.encode(passages + sentences, advanced)
    chunk_at, sentence_at = 0, len(passages)
    embedded = []
    for document, chunks in prepared:
        chunk_end = chunk_at + len(chunks)
        sentence_end = sentence_at + sum(len(chunk.sentences) for chunk in chunks)
        embedded.append(
            store.Embedded(document, chunks, vectors[chunk_at:chunk_end], vectors[sentence_at:sentence_end])
        )
        chunk_at, sentence_at = chunk_end, sentence_end
    return embedded


def pipeline_hash(services: Services) -> str:
    """Names what made a document's chunks and vectors: recipe, chunker, model and revision."""
    with services.database.connection() as connection:
        index = live_index(connection)
    parts = (RECIPE, services.settings.chunker, index.model, index.revision)
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


class Stopwatch:
    """Seconds spent in each stage."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside for a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def _same(entry: store.Known, file: SourceFile, recipe: str) -> bool:
    if entry.pipeline_hash != recipe or not (entry.quarantined or tuple(entry.readers) == file.readers):
        return False
    try:
        return hashlib.sha256(read(file)).hexdigest() == entry.content_hash
    except Unreadable:
        return False  # taking it in will say why


def _settled(entry: store.Known, file: SourceFile) -> Outcome:
    state: State = "quarantined" if entry.quarantined else "unchanged"
    return Outcome(file.uri, file.path, state, reason=entry.reason, message=entry.message)


def _prepare(
    services: Services, embedder: Embedder, file: SourceFile, data: bytes, content_hash: str
) -> tuple[Document, list[Chunk]]:
    media_type, parsed = parse(file.path, data)
    title = parsed.title or PurePosixPath(file.path).stem.replace("-", " ").replace("_", " ")
    document = Document(
        uri=file.uri, path=file.path, title=title, media_type=media_type, text=parsed.text, blocks=parsed.blocks,
        content_hash=content_hash, readers=file.readers, metadata=parsed.metadata,
    )  # fmt: skip
    chunks = chunker(services.settings.chunker)(parsed, title, embedder.token_starts, embedder.window)
    return document, chunks


def _store(services: Services, tenant: str, run_id: uuid.UUID, item: store.Embedded, recipe: str) -> Outcome:
    with services.database.writing(tenant) as connection:
        replaced = store.replace(connection, live_index(connection), tenant, run_id, item, recipe)
    tokens = sum(chunk.tokens for chunk in item.chunks)
    state: State = "changed" if replaced else "added"
    return Outcome(item.document.uri, item.document.path, state, len(item.chunks), tokens)


def _put_aside(
    services: Services,
    tenant: str,
    run_id: uuid.UUID,
    file: SourceFile,
    content_hash: str,
    recipe: str,
    error: Unreadable,
) -> Outcome:
    values = {
        "uri": file.uri, "path": file.path, "content_hash": content_hash, "pipeline_hash": recipe,
        "stage": "parse", "reason": error.reason, "message": str(error),
    }  # fmt: skip
    with services.database.writing(tenant) as connection:
        store.quarantine(connection, tenant, run_id, values)
    return Outcome(file.uri, file.path, "quarantined", reason=error.reason, message=str(error))
