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
from core.errors import GroundworkError, InvalidInput, Unavailable, UnreadableFile
from core.services import Services
from core.types import Chunk, Document
from ingest.chunkers.registry import load_chunker
from ingest.parsers.types import ParsedDocument
from ingest.runs import queue
from ingest.runs.pipeline_version import compute_pipeline_hash
from ingest.runs.queue import FileOutcome, QueueItem, RunHandle, RunProgress
from ingest.sandbox.pool import ParserPool
from ingest.sources import Source, open_source
from ingest.store import documents, duplicates
from ingest.store.embedding_cache import EmbeddingCache

T = TypeVar("T")

MAX_CONCURRENT_BATCHES = 3  # batches on their way: one is prepared, one embedded, one stored
MAX_CONCURRENT_PARSES = 2  # files parsed at once
IDLE_POLL_SECONDS = 0.5  # seconds between two looks when others have all that is left
DATABASE_RETRY_DELAYS_SECONDS = (
    0.2,
    0.5,
    1.0,
    2.0,
    4.0,
    8.0,
    8.0,
)  # seconds between attempts while the database is away

# What a database says of a document that it can't hold, or holds wrongly. All else that it says is no document's fault.
_DOCUMENT_ERRORS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)


ProgressCallback = Callable[[float, float, float], None]
"""Told, as the work goes on, of further (shares of) files, chunks and tokens done."""


def ignore_progress(files: float, chunks: float, tokens: float) -> None:
    """Takes no notice."""


class BatchFuture(Protocol):
    """Work that was handed over: a future, of whichever library."""

    def result(self) -> object:
        """Wait for it; raises what the work raised."""
        ...


@dataclass(frozen=True, slots=True)
class PreparedDocument:
    """A file on its way: what it was parsed and cut into. `content` is what duplicates share; a `twin`, of what is
    stored or of a file before it, is not cut.
    """

    item: QueueItem
    document: Document
    chunks: list[Chunk]
    content_key: str | None = None
    is_duplicate: bool = False


@dataclass(slots=True)
class ClaimedBatch:
    """Files that this worker has claimed, and what is known of them so far: repeating a step repeats nothing else."""

    items: list[QueueItem]
    embedded_documents: list[documents.EmbeddedDocument] | None = None
    quarantined_files: list[documents.QuarantinedFile] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _ReadResult:
    """A file's content, or why it has none."""

    content_hash: str
    media_type: str = ""
    parsed: ParsedDocument | None = None
    refusal: UnreadableFile | None = None


class StageTimer:
    """Seconds spent in each stage, by all threads together."""

    def __init__(self) -> None:
        self.seconds_by_stage: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def time_stage(self, stage: str) -> Iterator[None]:
        """Count the time inside for a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            with self._lock:
                self.seconds_by_stage[stage] = (
                    self.seconds_by_stage.get(stage, 0.0) + time.perf_counter() - began
                )


class IngestWorker:
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
        on_progress: ProgressCallback = ignore_progress,
        parser_pool: ParserPool | None = None,
    ) -> None:
        self.services = services
        self._parser_pool = parser_pool or ParserPool(MAX_CONCURRENT_PARSES)
        self._owns_parser_pool = parser_pool is None
        self.run_handle = RunHandle(
            tenant, run_id, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        )
        self._on_progress = on_progress
        self._stage_timer = StageTimer()
        self._embedding_lock = threading.Lock()
        self._embedding_cache = EmbeddingCache()
        self._stopped = threading.Event()
        with services.database.writing(tenant) as connection:
            self._ingest_run = queue.read_run(connection, self.run_handle)
        if self._ingest_run.pipeline_hash != compute_pipeline_hash(services):
            raise InvalidInput(
                "The run was planned with another chunker, model or kind of vectors; give its workers the same ones."
            )
        self._open_sources: dict[int, Source] = {}
        self._held_leases: set[tuple[str, int]] = set()  # files by uri and fence
        self._heartbeat_thread = threading.Thread(
            target=self._send_heartbeats, name="heartbeat", daemon=True
        )

    def __enter__(self) -> "IngestWorker":
        self._heartbeat_thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self._stopped.set()
        self._heartbeat_thread.join()
        if self._owns_parser_pool:
            self._parser_pool.close()
        self._retry_while_unavailable(lambda: self._release_worker(error))

    def claim(self) -> ClaimedBatch | None:
        """The next batch, leased to this worker; None when there is nothing that nobody has."""
        items = self._retry_while_unavailable(lambda: self._run_transaction(queue.claim))
        self._held_leases |= _build_lease_keys(items)
        return ClaimedBatch(items) if items else None

    def try_complete_run(self) -> bool:
        """Whether the run has come to an end; closes it if nothing is left to do."""

        def look() -> RunProgress:
            with self.services.database.writing(self.run_handle.tenant) as connection:
                queue.complete_run(connection, self.run_handle)
                return queue.read_progress(connection, self.run_handle)

        return self._retry_while_unavailable(look).state != "running"

    def wait_for_items(self) -> None:
        """Wait a little: what is left is in others' hands, who may fail."""
        self._stopped.wait(IDLE_POLL_SECONDS)

    def ingest_batch(self, batch: ClaimedBatch) -> None:
        """Do what a batch is for. After a fault that is no document's it may be repeated, and goes on where it was.

        Raises:
            Unavailable: the database or the model stays away.
        """
        with self._keep_leases(batch):
            if batch.items[0].action == "delete":
                self._retry_while_unavailable(lambda: self._delete_batch(batch.items))
                self._on_progress(len(batch.items), 0, 0)
                return
            if batch.embedded_documents is None:
                prepared = self._prepare_documents(batch)
                batch.embedded_documents = self._embed_batch(batch, prepared)
            self._store_batch(batch)

    # --- the stages -------------------------------------------------------------------------------------------------

    def _prepare_documents(self, batch: ClaimedBatch) -> list[PreparedDocument]:
        batch.quarantined_files.clear()
        parsed: list[tuple[QueueItem, Document, ParsedDocument]] = []
        with (
            self._stage_timer.time_stage("parse"),
            ThreadPoolExecutor(MAX_CONCURRENT_PARSES) as parsers,
        ):
            reads = [(item, parsers.submit(self._read_file, item)) for item in batch.items]
            for item, read in reads:
                with self._isolate_failures(batch, [item], "parse"):
                    made = self._build_document(batch, item, read.result())
                    if made:
                        parsed.append(made)
            contents = {
                item.uri: duplicates.compute_content_key(
                    document.content_hash, item.path, self._ingest_run.pipeline_hash
                )
                for item, document, _ in parsed
            }
            twins = self._find_duplicates([document for _, document, _ in parsed], contents)
            prepared = []
            for item, document, content in parsed:
                twin = item.uri in twins
                with self._isolate_failures(batch, [item], "parse"):
                    chunks = [] if twin else self._chunk_document(document, content)
                    prepared.append(
                        PreparedDocument(item, document, chunks, contents[item.uri], twin)
                    )
        return prepared

    def _find_duplicates(
        self, documents: Sequence[Document], content_keys: Mapping[str, str]
    ) -> set[str]:
        """The uris of documents of which the store, or the batch before them, has another: these need no vectors."""
        seen: set[tuple[str, tuple[str, ...]]] = set()
        twins = set()
        for document in documents:
            shared = content_keys[document.uri], document.allowed_groups
            if shared in seen:
                twins.add(document.uri)
            seen.add(shared)
        files = {
            document.uri: (content_keys[document.uri], document.allowed_groups)
            for document in documents
        }

        def look() -> set[str]:
            with self.services.database.writing(self.run_handle.tenant) as connection:
                return duplicates.find_stored_elsewhere(connection, self.run_handle.tenant, files)

        return twins | self._retry_while_unavailable(look)

    def _read_file(self, item: QueueItem) -> "_ReadResult":
        content_hash = ""
        try:
            data = self._open_source(item.source_index).read(item.source_file)
            content_hash = hashlib.sha256(data).hexdigest()
            if item.is_isolated:
                self._record_stage(item, "parse", content_hash)
            return _ReadResult(content_hash, *self._parser_pool.parse(item.path, data))
        except UnreadableFile as error:
            return _ReadResult(content_hash, refusal=error)

    def _build_document(
        self, batch: ClaimedBatch, item: QueueItem, result: "_ReadResult"
    ) -> tuple[QueueItem, Document, ParsedDocument] | None:
        if result.parsed is None:
            batch.quarantined_files.append(_build_quarantined_file(item, result))
            self._on_progress(1, 0, 0)
            return None
        parsed = result.parsed
        title = parsed.title or PurePosixPath(item.path).stem.replace("-", " ").replace("_", " ")
        document = Document(
            uri=item.uri,
            path=item.path,
            title=title,
            media_type=result.media_type,
            text=parsed.text,
            blocks=parsed.blocks,
            content_hash=result.content_hash,
            allowed_groups=tuple(item.allowed_groups),
            metadata=parsed.metadata,
        )
        return item, document, parsed

    def _chunk_document(self, document: Document, parsed: ParsedDocument) -> list[Chunk]:
        embedder = self.services.embedder()
        return load_chunker(self.services.settings.chunker)(
            parsed, document.title, embedder.token_starts, embedder.max_input_tokens
        )

    def _embed_batch(
        self, batch: ClaimedBatch, prepared: Sequence[PreparedDocument]
    ) -> list[documents.EmbeddedDocument]:
        if not prepared:
            return []
        embedder = self.services.embedder()
        chunks = sum(len(each.chunks) for each in prepared)
        tokens = sum(chunk.tokens for each in prepared for chunk in each.chunks)
        embedded: list[documents.EmbeddedDocument] = []
        with self._embedding_lock, self._stage_timer.time_stage("embed"):
            items = [each.item for each in prepared]
            if items[0].is_isolated:
                self._record_stage(items[0], "embed", prepared[0].document.content_hash)
            with self._isolate_failures(batch, items, "embed"):
                embedded = embed_documents(
                    embedder,
                    prepared,
                    embedding_cache=self._embedding_cache,
                    embed_sentences=self.services.settings.sentence_vectors == "on",
                    on_progress=lambda share: self._on_progress(
                        share * len(prepared), share * chunks, share * tokens
                    ),
                )
        return embedded

    def _store_batch(self, batch: ClaimedBatch) -> None:
        if batch.items and batch.items[0].is_isolated and batch.embedded_documents:
            self._record_stage(
                batch.items[0], "store", batch.embedded_documents[0].document.content_hash
            )
        with (
            self._stage_timer.time_stage("store"),
            self._isolate_failures(batch, list(batch.items), "store"),
        ):
            self._retry_while_unavailable(lambda: self._write_batch(batch))

    def _write_batch(self, batch: ClaimedBatch) -> None:
        """One transaction: documents, quarantines and what became of each file. What is no longer ours is left out."""
        assert batch.embedded_documents is not None
        share, recipe = self.run_handle, self._ingest_run.pipeline_hash
        with self.services.database.writing(share.tenant) as connection:
            held = queue.lock_items(connection, share, batch.items)
            items = [item for item in batch.embedded_documents if item.document.uri in held]
            asides = [aside for aside in batch.quarantined_files if aside.uri in held]
            index = live_index(connection)
            stored = documents.store_documents(
                connection, index, share.tenant, share.run_id, items, recipe
            )
            documents.quarantine_files(connection, share.tenant, share.run_id, asides, recipe)
            ended = {
                item.document.uri: _build_stored_outcome(item, stored[item.document.uri])
                for item in items
                if item.document.uri in stored
            }
            ended |= {aside.uri: _build_quarantined_outcome(aside) for aside in asides}
            queue.complete_items(connection, share, batch.items, ended, "parse")
            # Twins of what has gone meanwhile: whoever claims them next takes them in by themselves.
            queue.release_items(
                connection, share, [item for item in batch.items if item.uri in held - ended.keys()]
            )

    def _delete_batch(self, items: Sequence[QueueItem]) -> None:
        share = self.run_handle
        with self.services.database.writing(share.tenant) as connection:
            held = queue.lock_items(connection, share, items)
            gone = documents.delete_documents(connection, share.tenant, sorted(held), share.run_id)
            ended = {
                item.uri: FileOutcome(
                    item.uri, item.path, "deleted" if item.uri in gone else "unchanged"
                )
                for item in items
                if item.uri in held
            }
            queue.complete_items(connection, share, items, ended)

    # --- faults -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _isolate_failures(
        self, batch: ClaimedBatch, items: Sequence[QueueItem], stage: str
    ) -> Iterator[None]:
        """Give files back that can't be worked on, to be tried alone; the rest of the batch goes on without them.

        A database that is away, or refuses us altogether, is no document's fault: that error goes on its way.
        """
        try:
            yield
        except GroundworkError:
            raise
        except psycopg.Error as error:
            if not isinstance(error, _DOCUMENT_ERRORS):
                raise
            self._release_failed_items(batch, items, stage, error)
        except (
            Exception
        ) as error:  # whatever a parser, a chunker or the model makes of a strange file
            self._release_failed_items(batch, items, stage, error)

    def _release_failed_items(
        self, batch: ClaimedBatch, items: Sequence[QueueItem], stage: str, error: Exception
    ) -> None:
        reason, struck = type(error).__name__, {item.uri for item in items}
        said = f"{items[0].path} can't be taken in ({logs.describe_error_location(error)}); change it or leave it out."
        batch.items = [item for item in batch.items if item.uri not in struck]
        if batch.embedded_documents is not None:
            batch.embedded_documents = [
                made for made in batch.embedded_documents if made.document.uri not in struck
            ]

        def give_back() -> None:
            with self.services.database.writing(self.run_handle.tenant) as connection:
                queue.release_items(
                    connection,
                    self.run_handle,
                    items,
                    failed=True,
                    stage=stage,
                    reason=reason,
                    message=said,
                )

        self._retry_while_unavailable(give_back)

    def _retry_while_unavailable(self, operation: Callable[[], T]) -> T:
        """Repeat a transaction while the database is away or others are in its way; each is whole or nothing."""
        for seconds in DATABASE_RETRY_DELAYS_SECONDS:
            try:
                return operation()
            except (Unavailable, psycopg.OperationalError, psycopg.InterfaceError):
                time.sleep(seconds)
        return operation()

    # --- the lease --------------------------------------------------------------------------------------------------

    def _send_heartbeats(self) -> None:
        while not self._stopped.wait(queue.LEASE_SECONDS / queue.HEARTBEATS_PER_LEASE):
            try:
                self._run_transaction(
                    lambda connection, share: queue.renew_leases(
                        connection, share, tuple(self._held_leases)
                    )
                )
            except (Unavailable, psycopg.Error):
                continue  # the next beat may be in time; if none is, others take over and the fence keeps us out

    @contextmanager
    def _keep_leases(self, batch: ClaimedBatch) -> Iterator[None]:
        """Inside, the leases of a batch are renewed; and from its claim until here. What this worker leased without
        hearing of it, since a connection broke just then, is not, and passes to others.
        """
        claims = _build_lease_keys(batch.items)
        self._held_leases |= claims
        try:
            yield
        finally:
            self._held_leases -= claims

    def _release_worker(self, error: BaseException | None) -> None:
        with self.services.database.writing(self.run_handle.tenant) as connection:
            queue.release_worker(connection, self.run_handle, self._stage_timer.seconds_by_stage)
            if error is not None:
                queue.fail_run(
                    connection,
                    self.run_handle,
                    str(error)
                    if isinstance(error, GroundworkError)
                    else logs.describe_error(error),
                )

    def _record_stage(self, item: QueueItem, stage: str, content_hash: str) -> None:
        def note() -> None:
            with self.services.database.writing(self.run_handle.tenant) as connection:
                queue.record_stage(connection, self.run_handle, item, stage, content_hash)

        self._retry_while_unavailable(note)

    def _run_transaction(self, operation: Callable[[Any, RunHandle], T]) -> T:
        with self.services.database.writing(self.run_handle.tenant) as connection:
            return operation(connection, self.run_handle)

    def _open_source(self, source_index: int) -> Source:
        if source_index not in self._open_sources:
            origin = self._ingest_run.source_specs[source_index]
            self._open_sources[source_index] = open_source(
                origin.address,
                origin.allowed_groups,
                include=origin.include,
                exclude=origin.exclude,
                web_hosts=self.services.settings.web_allowed_hosts,
            )
        return self._open_sources[source_index]


def run_worker(worker: IngestWorker, submit: Callable[[ClaimedBatch], BatchFuture]) -> None:
    """Work until the run is over, with up to LANES batches handed to `submit` and not yet finished."""
    flying: deque[BatchFuture] = deque()
    try:
        while True:
            batch = worker.claim()
            if batch:
                flying.append(submit(batch))
            if flying and (not batch or len(flying) >= MAX_CONCURRENT_BATCHES):
                flying.popleft().result()
            elif not batch:
                if worker.try_complete_run():
                    return
                worker.wait_for_items()
    finally:
        _wait_for_batches(flying)


def embed_documents(
    embedder: Embedder,
    prepared: Sequence[PreparedDocument],
    *,
    embedding_cache: EmbeddingCache,
    embed_sentences: bool = True,
    on_progress: Callable[[float], None] = lambda share: None,
) -> list[documents.EmbeddedDocument]:
    """Vectors for all chunks and sentences of a batch in one pass, so that texts of like length share a batch."""
    passages = [f"{chunk.context}\n{chunk.text}" for each in prepared for chunk in each.chunks]
    spoken = [
        each.document.text[span.start : span.end]
        for each in prepared
        for chunk in each.chunks
        for span in chunk.sentences
        if embed_sentences
    ]
    vectors = embedding_cache.encode(embedder, passages + spoken, on_progress)
    chunk_at, sentence_at = 0, len(passages)
    embedded = []
    for each in prepared:
        chunk_end = chunk_at + len(each.chunks)
        sentence_end = sentence_at + sum(len(chunk.sentences) for chunk in each.chunks)
        own = vectors[sentence_at:sentence_end] if embed_sentences else None
        embedded.append(
            documents.EmbeddedDocument(
                each.document,
                each.chunks,
                vectors[chunk_at:chunk_end],
                own,
                each.item.tag,
                each.content_key,
                each.is_duplicate,
            )
        )
        chunk_at, sentence_at = chunk_end, sentence_end
    return embedded


def _build_lease_keys(items: Sequence[QueueItem]) -> set[tuple[str, int]]:
    return {(item.uri, item.fence) for item in items}


def _wait_for_batches(futures: Sequence[BatchFuture]) -> None:
    """Let what is on its way come to an end, when an error has already been raised: its leases are given back next."""
    for promise in futures:
        try:
            promise.result()
        except Exception:
            continue


def _build_stored_outcome(
    item: documents.EmbeddedDocument, state: documents.StoredState
) -> FileOutcome:
    tokens = sum(
        chunk.tokens for chunk in item.chunks
    )  # of a duplicate too, if it was embedded all the same
    return FileOutcome(item.document.uri, item.document.path, state, len(item.chunks), tokens)


def _build_quarantined_file(item: QueueItem, result: _ReadResult) -> documents.QuarantinedFile:
    refused = result.refusal
    assert refused is not None
    return documents.QuarantinedFile(
        item.uri,
        item.path,
        result.content_hash,
        "parse",
        refused.reason,
        str(refused),
        item.failed_attempts + 1,
        item.tag,
    )


def _build_quarantined_outcome(file: documents.QuarantinedFile) -> FileOutcome:
    return FileOutcome(file.uri, file.path, "quarantined", reason=file.reason, message=file.message)
