"""Worker: one process that claims batches of a run until nothing is left.

The stages are plain functions in `ingest/stages.py`. The worker adds leases (`leases.py`), retries
and the isolation of faulty files (`faults.py`), times, and the results in the queue.

Up to MAX_CONCURRENT_BATCHES batches are in flight. Only one of them embeds at a time; meanwhile the
next one is read, parsed and chunked, and the previous one is stored. So the model never waits, and
memory holds only these batches.
"""

import os
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

from core import logs
from core.db.database import Connection
from core.errors import GroundworkError, InvalidInput, UnreadableFile
from core.services import Services
from core.types import Chunk, Document
from ingest import stages
from ingest.runs import queue
from ingest.runs.faults import is_document_fault, retry_while_unavailable
from ingest.runs.leases import LeaseKeeper
from ingest.runs.pipeline_version import compute_pipeline_hash
from ingest.runs.queue import FileOutcome, QueueItem, RunHandle
from ingest.sandbox.pool import ParserPool
from ingest.sources import Source
from ingest.stages import ChunkedDocument
from ingest.store.documents import EmbeddedDocument, QuarantinedFile, StoredState, delete_documents
from ingest.store.duplicates import compute_content_key, find_duplicates
from ingest.store.embedding_cache import EmbeddingCache

P = ParamSpec("P")
T = TypeVar("T")

MAX_CONCURRENT_BATCHES = 3  # one is prepared, one embedded, one stored
MAX_CONCURRENT_PARSES = 2
IDLE_POLL_SECONDS = 0.5  # while other workers hold all remaining items


@dataclass(slots=True)
class ClaimedBatch:
    """The claimed items and the work done so far, where a repeated attempt continues."""

    items: list[QueueItem]
    embedded_documents: list[EmbeddedDocument] | None = None
    quarantined_files: list[QuarantinedFile] = field(default_factory=list)

    @property
    def isolated_item(self) -> QueueItem | None:
        """The only item of the batch if it is isolated."""
        return self.items[0] if self.items and self.items[0].is_isolated else None

    def remove(self, items: Sequence[QueueItem]) -> None:
        """Remove items that failed."""
        uris = {item.uri for item in items}
        self.items = [item for item in self.items if item.uri not in uris]
        if self.embedded_documents is not None:
            self.embedded_documents = [
                embedded
                for embedded in self.embedded_documents
                if embedded.document.uri not in uris
            ]


class StageTimer:
    """Seconds spent in each stage, by all threads together."""

    def __init__(self) -> None:
        self.seconds_by_stage: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def time_stage(self, stage: str) -> Iterator[None]:
        """Add the time of the block to a stage."""
        started = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - started
            with self._lock:
                self.seconds_by_stage[stage] = self.seconds_by_stage.get(stage, 0.0) + seconds


class IngestWorker:
    """A worker of a run, as a context manager that renews its leases.

    `parser_pool` is closed by the caller; without one, the worker starts its own.

    Raises:
        NotFound: there is no such run.
        InvalidInput: the run was planned with other settings than those of this process.
    """

    def __init__(
        self,
        services: Services,
        tenant: str,
        run_id: uuid.UUID,
        parser_pool: ParserPool | None = None,
    ) -> None:
        self.run = RunHandle(
            tenant, run_id, f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        )
        self._services = services
        with services.database.writing(tenant) as connection:
            self._ingest_run = queue.read_run(connection, self.run)
        if self._ingest_run.pipeline_hash != compute_pipeline_hash(services):
            raise InvalidInput(
                "The run was planned with another chunker, model, kind of vectors or code version."
                " Give its workers the same ones."
            )
        self._parser_pool = parser_pool or ParserPool(MAX_CONCURRENT_PARSES)
        self._owns_parser_pool = parser_pool is None
        self._open_sources: dict[int, Source] = {}
        self._embedding_lock = threading.Lock()
        self._embedding_cache = EmbeddingCache()
        self._stage_timer = StageTimer()
        self.leases = LeaseKeeper(services.database, self.run)

    def __enter__(self) -> "IngestWorker":
        self.leases.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: object
    ) -> None:
        self.leases.stop()
        if self._owns_parser_pool:
            self._parser_pool.close()
        self._run_transaction(self._release_worker, error)

    def claim(self) -> ClaimedBatch | None:
        """Lease the next batch; None when no item is free."""
        items = self._run_transaction(queue.claim)
        self.leases.add(items)
        return ClaimedBatch(items) if items else None

    def ingest_batch(self, batch: ClaimedBatch) -> None:
        """Ingest the files of a batch, or delete their documents. A failed call can be repeated.

        Raises:
            Unavailable: the database or the model stays unavailable.
        """
        with self.leases.hold(batch.items):
            if batch.items and batch.items[0].action == "delete":
                self._run_transaction(_delete_items, batch.items)
                return
            if batch.embedded_documents is None:
                batch.embedded_documents = self._embed_batch(batch, self._prepare_batch(batch))
            self._store_batch(batch)

    def try_complete_run(self) -> bool:
        """Complete the run if it has no unfinished items; True when it is over."""

        def complete_and_read(connection: Connection, run: RunHandle) -> str:
            queue.complete_run(connection, run)
            return queue.read_progress(connection, run).state

        return self._run_transaction(complete_and_read) != "running"

    # --- read, parse, chunk -----------------------------------------------------------------------

    def _prepare_batch(self, batch: ClaimedBatch) -> list[ChunkedDocument]:
        batch.quarantined_files.clear()
        with self._stage_timer.time_stage("parse"):
            documents = self._parse_batch(batch)
            return self._chunk_batch(batch, documents)

    def _parse_batch(self, batch: ClaimedBatch) -> list[tuple[QueueItem, Document]]:
        parsed = []
        with ThreadPoolExecutor(MAX_CONCURRENT_PARSES) as threads:
            futures = [(item, threads.submit(self._parse_item, item)) for item in batch.items]
            for item, future in futures:
                with self._isolate_failures(batch, [item], "parse"):
                    result = future.result()
                    if isinstance(result, QuarantinedFile):
                        batch.quarantined_files.append(result)
                    else:
                        parsed.append((item, result))
        return parsed

    def _parse_item(self, item: QueueItem) -> Document | QuarantinedFile:
        content_hash = ""
        try:
            source = self._open_source(item.source_index)
            data, content_hash = stages.read_file(source, item.file)
            if item.is_isolated:
                self._run_transaction(queue.record_stage, item, "parse", content_hash)
            return stages.parse_file(self._parser_pool, item.file, data, content_hash)
        except UnreadableFile as error:
            file, attempts, reason = item.file, item.failed_attempts + 1, error.reason
            return QuarantinedFile(
                file.uri, file.path, content_hash, "parse", reason, str(error), attempts, file.tag
            )

    def _chunk_batch(
        self, batch: ClaimedBatch, parsed: Sequence[tuple[QueueItem, Document]]
    ) -> list[ChunkedDocument]:
        if not parsed:
            return []  # without loading the model
        pipeline_hash = self._ingest_run.pipeline_hash
        documents = [document for _, document in parsed]
        keys = {item.uri: compute_content_key(item, pipeline_hash) for item in documents}
        duplicates = self._run_transaction(
            lambda connection, run: find_duplicates(connection, run.tenant, documents, keys)
        )
        chunker, embedder = self._services.settings.chunker, self._services.embedder()
        chunked = []
        for item, document in parsed:
            is_duplicate = item.uri in duplicates
            chunks: list[Chunk] = []
            with self._isolate_failures(batch, [item], "parse"):
                if not is_duplicate:
                    chunks = stages.chunk_document(document, chunker, embedder)
                chunked.append(
                    ChunkedDocument(document, chunks, item.file.tag, keys[item.uri], is_duplicate)
                )
        return chunked

    # --- embed ------------------------------------------------------------------------------------

    def _embed_batch(
        self, batch: ClaimedBatch, documents: Sequence[ChunkedDocument]
    ) -> list[EmbeddedDocument]:
        embedded: list[EmbeddedDocument] = []
        if not documents:
            return embedded
        uris = {item.document.uri for item in documents}
        items = [item for item in batch.items if item.uri in uris]
        with self._embedding_lock, self._stage_timer.time_stage("embed"):
            if batch.isolated_item:
                content_hash = documents[0].document.content_hash
                self._run_transaction(
                    queue.record_stage, batch.isolated_item, "embed", content_hash
                )
            with self._isolate_failures(batch, items, "embed"):
                embedded = stages.embed_documents(
                    documents,
                    self._services.embedder(),
                    self._embedding_cache,
                    self._services.settings.sentence_vectors == "on",
                )
        return embedded

    # --- store ------------------------------------------------------------------------------------

    def _store_batch(self, batch: ClaimedBatch) -> None:
        if batch.isolated_item and batch.embedded_documents:
            content_hash = batch.embedded_documents[0].document.content_hash
            self._run_transaction(queue.record_stage, batch.isolated_item, "store", content_hash)
        with (
            self._stage_timer.time_stage("store"),
            self._isolate_failures(batch, list(batch.items), "store"),
        ):
            self._run_transaction(self._write_batch, batch)

    def _write_batch(self, connection: Connection, run: RunHandle, batch: ClaimedBatch) -> None:
        """Store all results of the items that the worker still holds."""
        assert batch.embedded_documents is not None
        pipeline_hash = self._ingest_run.pipeline_hash
        held = queue.lock_items(connection, run, batch.items)
        embedded = [item for item in batch.embedded_documents if item.document.uri in held]
        quarantined = [file for file in batch.quarantined_files if file.uri in held]
        states = stages.store_documents(
            connection, run.tenant, run.run_id, embedded, quarantined, pipeline_hash
        )
        outcomes = _build_outcomes(embedded, states, quarantined)
        queue.complete_items(connection, run, batch.items, outcomes, "parse")
        # Duplicates whose original is gone by now: the next claim embeds them.
        leftover = [item for item in batch.items if item.uri in held - outcomes.keys()]
        queue.release_items(connection, run, leftover)

    # --- faults -----------------------------------------------------------------------------------

    @contextmanager
    def _isolate_failures(
        self, batch: ClaimedBatch, items: Sequence[QueueItem], stage: str
    ) -> Iterator[None]:
        """Remove items from the batch if they fail inside the block. They are tried alone later."""
        try:
            yield
        except Exception as error:  # a strange file can cause any error in parsers and models
            if not is_document_fault(error):
                raise
            batch.remove(items)
            self._release_failed_items(items, stage, error)

    def _release_failed_items(
        self, items: Sequence[QueueItem], stage: str, error: Exception
    ) -> None:
        path, location = items[0].file.path, logs.describe_error_location(error)
        self._run_transaction(
            queue.release_items,
            items,
            failed=True,
            stage=stage,
            reason=type(error).__name__,
            message=f"{path} can't be ingested ({location}). Change it or leave it out.",
        )

    def _release_worker(
        self, connection: Connection, run: RunHandle, error: BaseException | None
    ) -> None:
        queue.release_worker(connection, run, self._stage_timer.seconds_by_stage)
        if isinstance(error, GroundworkError):
            queue.fail_run(connection, run, str(error))
        elif error is not None:
            queue.fail_run(connection, run, logs.describe_error(error))

    def _run_transaction(
        self,
        operation: Callable[Concatenate[Connection, RunHandle, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run an operation in a transaction, and repeat it while the database is unavailable."""

        def attempt() -> T:
            with self._services.database.writing(self.run.tenant) as connection:
                return operation(connection, self.run, *args, **kwargs)

        return retry_while_unavailable(attempt)

    def _open_source(self, source_index: int) -> Source:
        if source_index not in self._open_sources:
            spec = self._ingest_run.source_specs[source_index]
            self._open_sources[source_index] = spec.open(self._services.settings.web_allowed_hosts)
        return self._open_sources[source_index]


def run_worker(worker: IngestWorker, submit: Callable[[ClaimedBatch], Any]) -> None:
    """Work until the run is over. `submit` starts a batch and returns a future, of any library."""
    in_flight: deque[Any] = deque()
    try:
        while True:
            batch = worker.claim()
            if batch:
                in_flight.append(submit(batch))
            if in_flight and (not batch or len(in_flight) >= MAX_CONCURRENT_BATCHES):
                in_flight.popleft().result()
            elif not batch:
                if worker.try_complete_run():
                    return
                time.sleep(IDLE_POLL_SECONDS)  # other workers hold the rest, and may fail
    finally:
        _wait_for_batches(in_flight)


def _wait_for_batches(futures: Sequence[Any]) -> None:
    """Wait for batches in flight after an error, before the worker releases its leases."""
    for future in futures:
        with suppress(Exception):  # the first error is already being raised
            future.result()


def _delete_items(connection: Connection, run: RunHandle, items: Sequence[QueueItem]) -> None:
    held = queue.lock_items(connection, run, items)
    deleted = delete_documents(connection, run.tenant, sorted(held), run.run_id)
    outcomes = {}
    for item in items:
        if item.uri in held:
            state: queue.FileState = "deleted" if item.uri in deleted else "unchanged"
            outcomes[item.uri] = FileOutcome(item.uri, item.file.path, state)
    queue.complete_items(connection, run, items, outcomes)


def _build_outcomes(
    embedded: Sequence[EmbeddedDocument],
    states: dict[str, StoredState],
    quarantined: Sequence[QuarantinedFile],
) -> dict[str, FileOutcome]:
    outcomes = {}
    for item in embedded:
        uri, path = item.document.uri, item.document.path
        if uri in states:
            tokens = sum(chunk.tokens for chunk in item.chunks)
            outcomes[uri] = FileOutcome(uri, path, states[uri], len(item.chunks), tokens)
    for file in quarantined:
        outcomes[file.uri] = FileOutcome(
            file.uri, file.path, "quarantined", reason=file.reason, message=file.message
        )
    return outcomes
