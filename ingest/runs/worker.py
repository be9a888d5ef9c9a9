"""A worker: one process's part in a run. It claims batches until nothing is left, whoever else is at it.

Up to LANES batches are on their way at once. Only one of them embeds at a time; meanwhile the next is read, parsed and
cut, and the one before is stored, so that the model never waits and memory holds no more than those few batches.
"""

import hashlib
import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Protocol, TypeVar

import psycopg

from core import logs
from core.db.index_version import live_index
from core.embedding import Embedder
from core.errors import GroundworkError, InvalidInput, Unavailable, Unreadable
from core.services import Services
from core.types import Chunk, Document
from ingest.chunkers import chunker
from ingest.parsers import Parsed
from ingest.runs import queue
from ingest.runs.pipeline_version import pipeline_hash
from ingest.runs.queue import Item, Outcome, Progress, Share
from ingest.sandbox.pool import Reader
from ingest.sources import Source, open_source
from ingest.store import documents, duplicates
from ingest.store.embedding_cache import Recent

T = TypeVar("T")

LANES = 3  # batches on their way: one is prepared, one embedded, one stored
PARSERS = 2  # files parsed at once
REST = 0.5  # seconds between two looks when others have all that is left
PATIENCE = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)  # seconds between attempts while the database is away

# What a database says of a document that it can't hold, or holds wrongly. All else that it says is no document's fault.
_OF_THE_DOCUMENT = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)


Advanced = Callable[[float, float, float], None]
"""Told, as the work goes on, of further (shares of) files, chunks and tokens done."""


def nobody(files: float, chunks: float, tokens: float) -> None:
    """Takes no notice."""


class Promise(Protocol):
    """Work that was handed over: a future, of whichever library."""

    def result(self) -> object:
        """Wait for it; raises what the work raised."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A file on its way: what it was parsed and cut into. `content` is what duplicates share; a `twin`, of what is
    stored or of a file before it, is not cut.
    """

    item: Item
    document: Document
    chunks: list[Chunk]
    content: str | None = None
    twin: bool = False


@dataclass(slots=True)
class Batch:
    """Files that this worker has claimed, and what is known of them so far: repeating a step repeats nothing else."""

    items: list[Item]
    embedded: list[documents.Embedded] | None = None
    asides: list[documents.Aside] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Read:
    """A file's content, or why it has none."""

    content_hash: str
    media_type: str = ""
    parsed: Parsed | None = None
    refused: Unreadable | None = None


class Stopwatch:
    """Seconds spent in each stage, by all threads together."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside for a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


class Worker:
    """A part in a run; a context manager, inside of which its leases are renewed.

    `reader` parses, where the caller has one that lives longer.

    Raises:
        NotFound: there is no such run.
        InvalidInput: the run was planned with other settings than this process has.
    """

    def __init__(
        self,
        services: Services,
        tenant: str,
        run_id: uuid.UUID,
        advanced: Advanced = nobody,
        reader: Reader | None = None,
    ) -> None:
        self.services = services
        self._reader = reader or Reader(PARSERS)
        self._own_reader = reader is None
        self.share = Share(tenant, run_id, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}")
        self._advanced = advanced
        self._watch = Stopwatch()
        self._embedding = threading.Lock()
        self._recent = Recent()
        self._ended = threading.Event()
        with services.database.writing(tenant) as connection:
            self._run = queue.read(connection, self.share)
        if self._run.pipeline_hash != pipeline_hash(services):
            raise InvalidInput(
                "The run was planned with another chunker, model or kind of vectors; give its workers the same ones."
            )
        self._sources: dict[int, Source] = {}
        self._in_hand: set[tuple[str, int]] = set()  # files by uri and fence
        self._heart = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> "Worker":
        self._heart.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        self._ended.set()
        self._heart.join()
        if self._own_reader:
            self._reader.close()
        self._patiently(lambda: self._leave(error))

    def claim(self) -> Batch | None:
        """The next batch, leased to this worker; None when there is nothing that nobody has."""
        items = self._patiently(lambda: self._transact(queue.claim))
        self._in_hand |= _claims(items)
        return Batch(items) if items else None

    def over(self) -> bool:
        """Whether the run has come to an end; closes it if nothing is left to do."""

        def look() -> Progress:
            with self.services.database.writing(self.share.tenant) as connection:
                queue.close(connection, self.share)
                return queue.progress(connection, self.share)

        return self._patiently(look).state != "running"

    def rest(self) -> None:
        """Wait a little: what is left is in others' hands, who may fail."""
        self._ended.wait(REST)

    def take_in(self, batch: Batch) -> None:
        """Do what a batch is for. After a fault that is no document's it may be repeated, and goes on where it was.

        Raises:
            Unavailable: the database or the model stays away.
        """
        with self._renewed(batch):
            if batch.items[0].action == "delete":
                self._patiently(lambda: self._delete(batch.items))
                self._advanced(len(batch.items), 0, 0)
                return
            if batch.embedded is None:
                prepared = self._prepare(batch)
                batch.embedded = self._embed(batch, prepared)
            self._store(batch)

    # --- the stages -------------------------------------------------------------------------------------------------

    def _prepare(self, batch: Batch) -> list[Prepared]:
        batch.asides.clear()
        parsed: list[tuple[Item, Document, Parsed]] = []
        with self._watch.stage("parse"), ThreadPoolExecutor(PARSERS) as parsers:
            reads = [(item, parsers.submit(self._read, item)) for item in batch.items]
            for item, read in reads:
                with self._of_the_document(batch, [item], "parse"):
                    made = self._parsed(batch, item, read.result())
                    if made:
                        parsed.append(made)
            contents = {
                item.uri: duplicates.content_key(document.content_hash, item.path, self._run.pipeline_hash)
                for item, document, _ in parsed
            }
            twins = self._twins([document for _, document, _ in parsed], contents)
            prepared = []
            for item, document, content in parsed:
                twin = item.uri in twins
                with self._of_the_document(batch, [item], "parse"):
                    chunks = [] if twin else self._cut(document, content)
                    prepared.append(Prepared(item, document, chunks, contents[item.uri], twin))
        return prepared

    def _twins(self, documents: Sequence[Document], contents: Mapping[str, str]) -> set[str]:
        """The uris of documents of which the store, or the batch before them, has another: these need no vectors."""
        seen: set[tuple[str, tuple[str, ...]]] = set()
        twins = set()
        for document in documents:
            shared = contents[document.uri], document.readers
            if shared in seen:
                twins.add(document.uri)
            seen.add(shared)
        files = {document.uri: (contents[document.uri], document.readers) for document in documents}

        def look() -> set[str]:
            with self.services.database.writing(self.share.tenant) as connection:
                return duplicates.stored_elsewhere(connection, self.share.tenant, files)

        return twins | self._patiently(look)

    def _read(self, item: Item) -> "_Read":
        content_hash = ""
        try:
            data = self._source(item.source).read(item.file)
            content_hash = hashlib.sha256(data).hexdigest()
            if item.alone:
                self._note(item, "parse", content_hash)
            return _Read(content_hash, *self._reader.parse(item.path, data))
        except Unreadable as error:
            return _Read(content_hash, refused=error)

    def _parsed(self, batch: Batch, item: Item, read: "_Read") -> tuple[Item, Document, Parsed] | None:
        if read.parsed is None:
            batch.asides.append(_put_aside(item, read))
            self._advanced(1, 0, 0)
            return None
        parsed = read.parsed
        title = parsed.title or PurePosixPath(item.path).stem.replace("-", " ").replace("_", " ")
        document = Document(
            uri=item.uri, path=item.path, title=title, media_type=read.media_type, text=parsed.text,
            blocks=parsed.blocks, content_hash=read.content_hash, readers=tuple(item.readers), metadata=parsed.metadata,
        )  # fmt: skip
        return item, document, parsed

    def _cut(self, document: Document, parsed: Parsed) -> list[Chunk]:
        embedder = self.services.embedder()
        return chunker(self.services.settings.chunker)(parsed, document.title, embedder.token_starts, embedder.window)

    def _embed(self, batch: Batch, prepared: Sequence[Prepared]) -> list[documents.Embedded]:
        if not prepared:
            return []
        embedder = self.services.embedder()
        chunks = sum(len(each.chunks) for each in prepared)
        tokens = sum(chunk.tokens for each in prepared for chunk in each.chunks)
        embedded: list[documents.Embedded] = []
        with self._embedding, self._watch.stage("embed"):
            items = [each.item for each in prepared]
            if items[0].alone:
                self._note(items[0], "embed", prepared[0].document.content_hash)
            with self._of_the_document(batch, items, "embed"):
                embedded = embed(
                    embedder,
                    prepared,
                    recent=self._recent,
                    sentences=self.services.settings.sentence_vectors == "on",
                    advanced=lambda share: self._advanced(share * len(prepared), share * chunks, share * tokens),
                )
        return embedded

    def _store(self, batch: Batch) -> None:
        if batch.items and batch.items[0].alone and batch.embedded:
            self._note(batch.items[0], "store", batch.embedded[0].document.content_hash)
        with self._watch.stage("store"), self._of_the_document(batch, list(batch.items), "store"):
            self._patiently(lambda: self._write(batch))

    def _write(self, batch: Batch) -> None:
        """One transaction: documents, quarantines and what became of each file. What is no longer ours is left out."""
        assert batch.embedded is not None
        share, recipe = self.share, self._run.pipeline_hash
        with self.services.database.writing(share.tenant) as connection:
            held = queue.hold(connection, share, batch.items)
            items = [item for item in batch.embedded if item.document.uri in held]
            asides = [aside for aside in batch.asides if aside.uri in held]
            index = live_index(connection)
            stored = documents.replace_all(connection, index, share.tenant, share.run_id, items, recipe)
            documents.quarantine(connection, share.tenant, share.run_id, asides, recipe)
            ended = {
                item.document.uri: _stored(item, stored[item.document.uri])
                for item in items
                if item.document.uri in stored
            }
            ended |= {aside.uri: _aside(aside) for aside in asides}
            queue.settle(connection, share, batch.items, ended, "parse")
            # Twins of what has gone meanwhile: whoever claims them next takes them in by themselves.
            queue.give_back(connection, share, [item for item in batch.items if item.uri in held - ended.keys()])

    def _delete(self, items: Sequence[Item]) -> None:
        share = self.share
        with self.services.database.writing(share.tenant) as connection:
            held = queue.hold(connection, share, items)
            gone = documents.delete_all(connection, share.tenant, sorted(held), share.run_id)
            ended = {
                item.uri: Outcome(item.uri, item.path, "deleted" if item.uri in gone else "unchanged")
                for item in items
                if item.uri in held
            }
            queue.settle(connection, share, items, ended)

    # --- faults -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _of_the_document(self, batch: Batch, items: Sequence[Item], stage: str) -> Iterator[None]:
        """Give files back that can't be worked on, to be tried alone; the rest of the batch goes on without them.

        A database that is away, or refuses us altogether, is no document's fault: that error goes on its way.
        """
        try:
            yield
        except GroundworkError:
            raise
        except psycopg.Error as error:
            if not isinstance(error, _OF_THE_DOCUMENT):
                raise
            self._strike(batch, items, stage, error)
        except Exception as error:  # whatever a parser, a chunker or the model makes of a strange file
            self._strike(batch, items, stage, error)

    def _strike(self, batch: Batch, items: Sequence[Item], stage: str, error: Exception) -> None:
        reason, struck = type(error).__name__, {item.uri for item in items}
        said = f"{items[0].path} can't be taken in ({logs.placed(error)}); change it or leave it out."
        batch.items = [item for item in batch.items if item.uri not in struck]
        if batch.embedded is not None:
            batch.embedded = [made for made in batch.embedded if made.document.uri not in struck]

        def give_back() -> None:
            with self.services.database.writing(self.share.tenant) as connection:
                queue.give_back(connection, self.share, items, failed=True, stage=stage, reason=reason, message=said)

        self._patiently(give_back)

    def _patiently(self, work: Callable[[], T]) -> T:
        """Repeat a transaction while the database is away or others are in its way; each is whole or nothing."""
        for seconds in PATIENCE:
            try:
                return work()
            except (Unavailable, psycopg.OperationalError, psycopg.InterfaceError):
                time.sleep(seconds)
        return work()

    # --- the lease --------------------------------------------------------------------------------------------------

    def _beat(self) -> None:
        while not self._ended.wait(queue.LEASE / queue.HEARTBEATS):
            try:
                self._transact(lambda connection, share: queue.beat(connection, share, tuple(self._in_hand)))
            except (Unavailable, psycopg.Error):
                continue  # the next beat may be in time; if none is, others take over and the fence keeps us out

    @contextmanager
    def _renewed(self, batch: Batch) -> Iterator[None]:
        """Inside, the leases of a batch are renewed; and from its claim until here. What this worker leased without
        hearing of it, since a connection broke just then, is not, and passes to others.
        """
        claims = _claims(batch.items)
        self._in_hand |= claims
        try:
            yield
        finally:
            self._in_hand -= claims

    def _leave(self, error: BaseException | None) -> None:
        with self.services.database.writing(self.share.tenant) as connection:
            queue.leave(connection, self.share, self._watch.seconds)
            if error is not None:
                queue.fail(
                    connection, self.share, str(error) if isinstance(error, GroundworkError) else logs.said(error)
                )

    def _note(self, item: Item, stage: str, content_hash: str) -> None:
        def note() -> None:
            with self.services.database.writing(self.share.tenant) as connection:
                queue.note(connection, self.share, item, stage, content_hash)

        self._patiently(note)

    def _transact(self, work: Callable[[Any, Share], T]) -> T:
        with self.services.database.writing(self.share.tenant) as connection:
            return work(connection, self.share)

    def _source(self, place: int) -> Source:
        if place not in self._sources:
            origin = self._run.origins[place]
            self._sources[place] = open_source(
                origin.address, origin.readers, include=origin.include, exclude=origin.exclude,
                web_hosts=self.services.settings.web_allowed_hosts,
            )  # fmt: skip
        return self._sources[place]


def drive(worker: Worker, submit: Callable[[Batch], Promise]) -> None:
    """Work until the run is over, with up to LANES batches handed to `submit` and not yet finished."""
    flying: deque[Promise] = deque()
    try:
        while True:
            batch = worker.claim()
            if batch:
                flying.append(submit(batch))
            if flying and (not batch or len(flying) >= LANES):
                flying.popleft().result()
            elif not batch:
                if worker.over():
                    return
                worker.rest()
    finally:
        _wait(flying)


def embed(
    embedder: Embedder,
    prepared: Sequence[Prepared],
    *,
    recent: Recent,
    sentences: bool = True,
    advanced: Callable[[float], None] = lambda share: None,
) -> list[documents.Embedded]:
    """Vectors for all chunks and sentences of a batch in one pass, so that texts of like length share a batch."""
    passages = [f"{chunk.context}\n{chunk.text}" for each in prepared for chunk in each.chunks]
    spoken = [
        each.document.text[span.start : span.end]
        for each in prepared
        for chunk in each.chunks
        for span in chunk.sentences
        if sentences
    ]
    vectors = recent.encode(embedder, passages + spoken, advanced)
    chunk_at, sentence_at = 0, len(passages)
    embedded = []
    for each in prepared:
        chunk_end = chunk_at + len(each.chunks)
        sentence_end = sentence_at + sum(len(chunk.sentences) for chunk in each.chunks)
        own = vectors[sentence_at:sentence_end] if sentences else None
        embedded.append(
            documents.Embedded(
                each.document, each.chunks, vectors[chunk_at:chunk_end], own, each.item.tag, each.content, each.twin
            )
        )
        chunk_at, sentence_at = chunk_end, sentence_end
    return embedded


def _claims(items: Sequence[Item]) -> set[tuple[str, int]]:
    return {(item.uri, item.fence) for item in items}


def _wait(flying: Sequence[Promise]) -> None:
    """Let what is on its way come to an end, when an error has already been raised: its leases are given back next."""
    for promise in flying:
        try:
            promise.result()
        except Exception:  # noqa: S112 - the first error is the one that is told
            continue


def _stored(item: documents.Embedded, state: documents.Stored) -> Outcome:
    tokens = sum(chunk.tokens for chunk in item.chunks)  # of a duplicate too, if it was embedded all the same
    return Outcome(item.document.uri, item.document.path, state, len(item.chunks), tokens)


def _put_aside(item: Item, read: _Read) -> documents.Aside:
    refused = read.refused
    assert refused is not None
    return documents.Aside(
        item.uri, item.path, read.content_hash, "parse", refused.reason, str(refused), item.strikes + 1, item.tag
    )


def _aside(aside: documents.Aside) -> Outcome:
    return Outcome(aside.uri, aside.path, "quarantined", reason=aside.reason, message=aside.message)
