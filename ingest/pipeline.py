"""Ingest of sources: plan -> work -> report. Read this first.

    plan      compare the sources with the store: new, changed and deleted files become queue items
    work      claim items from the queue in batches, and take each through the stages
    report    read from the queue what became of each file

The plan is written into the queue in PostgreSQL, and workers read it from there. So any number of
workers, on any machine, can share a run.

`stages.py` shows the path of a document, `runs/worker.py` a worker, `runs/queue.py` the queue.
flows/ runs these functions in Prefect, and `groundwork ingest` runs those flows.
"""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from core.db.database import Connection
from core.errors import UnreadableFile
from core.services import Services
from ingest.chunkers.registry import check_chunker_name
from ingest.runs import queue
from ingest.runs.pipeline_version import compute_pipeline_hash
from ingest.runs.queue import FileOutcome, FileState, QueueItem, RunHandle, SourceSpec
from ingest.runs.worker import MAX_CONCURRENT_BATCHES, IngestWorker, run_worker
from ingest.sandbox.pool import ParserPool
from ingest.sources import Source, SourceFile, resolve_source_address
from ingest.store.documents import KnownFile, list_known_files, update_tags

Listing = dict[str, tuple[int, SourceFile]]
"""The files of all sources by uri, each with the position of its source."""


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """Items of a run, and the outcomes of the files that need no work."""

    run_id: uuid.UUID
    items: tuple[QueueItem, ...]
    skipped: tuple[FileOutcome, ...]

    @property
    def is_empty(self) -> bool:
        """True if there is nothing to do; the run is then not in the queue."""
        return not self.items


@dataclass(frozen=True, slots=True)
class IngestReport:
    """Result of a run: files by state, and seconds by stage, summed over all threads and workers.

    `outcomes` has the files that needed work; `build_report` adds the skipped ones.
    """

    run_id: uuid.UUID
    state: str
    counts: dict[str, int]
    chunks: int
    tokens: int
    seconds: dict[str, float]
    outcomes: tuple[FileOutcome, ...]


def ingest_sources(
    services: Services,
    tenant: str,
    source_specs: Sequence[SourceSpec],
    parser_pool: ParserPool | None = None,
) -> IngestReport:
    """Plan, work and report in this process."""
    plan = plan_run(services, tenant, source_specs)
    if not plan.is_empty:
        process_run(services, tenant, plan.run_id, parser_pool)
    return build_report(services, tenant, plan)


def build_source_spec(
    address: str,
    allowed_groups: Iterable[str] = (),
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> SourceSpec:
    """Return the spec of a source, with an address that is valid in any folder."""
    address = resolve_source_address(address)
    return SourceSpec(address, tuple(allowed_groups), tuple(include), tuple(exclude))


# --- plan -----------------------------------------------------------------------------------------


def plan_run(
    services: Services,
    tenant: str,
    source_specs: Sequence[SourceSpec],
    kind: str = "ingest",
    run_id: uuid.UUID | None = None,
) -> IngestPlan:
    """Compare sources with the store, and write the work into the queue.

    A file with the same bytes, allowed groups and pipeline as before needs no work. The run takes
    over the unfinished items of older runs of the same sources. Afterwards workers can join it.

    Raises:
        InvalidInput: a source can't be opened, or it has no file.
        Unavailable: the listing of a source is incomplete.
    """
    web_hosts = services.settings.web_allowed_hosts
    sources = [spec.open(web_hosts) for spec in source_specs]
    check_chunker_name(services.settings.chunker)
    run = RunHandle(tenant, run_id or uuid.uuid4())
    pipeline_hash = compute_pipeline_hash(services)
    with services.database.writing(tenant) as connection:
        number, started_at = queue.open_run(connection, run, kind, source_specs, pipeline_hash)
    with _discard_on_error(services, run):
        listing = _list_sources(sources)
        uris = [source.uri for source in sources]
        with services.database.writing(tenant) as connection:
            carried_over = queue.supersede_older_runs(connection, run, number, uris)
            known_files = _read_known_files(connection, tenant, uris)
        changed, skipped, new_tags = _compare_files(sources, listing, known_files, pipeline_hash)
        items = [
            QueueItem(file, "take in", index, *carried_over.get(file.uri, (False, 0)))
            for index, file in changed
        ]
        items += _list_deletions(known_files, listing, started_at)
        plan = IngestPlan(run.run_id, tuple(items), tuple(skipped))
        _write_plan(services, run, number, plan, new_tags)
    return plan


@contextmanager
def _discard_on_error(services: Services, run: RunHandle) -> Iterator[None]:
    try:
        yield
    except BaseException:
        with services.database.writing(run.tenant) as connection:
            queue.discard_run(connection, run)
        raise


def _list_sources(sources: Sequence[Source]) -> Listing:
    listing: Listing = {}
    for index, source in enumerate(sources):
        for file in source.list_files():
            listing[file.uri] = (index, file)
    return listing


def _read_known_files(
    connection: Connection, tenant: str, uris: Sequence[str]
) -> dict[str, KnownFile]:
    """Return the known files by uri. If a stored file is quarantined too, the quarantine counts."""
    files: list[KnownFile] = []
    for uri in uris:
        files += list_known_files(connection, tenant, uri)
    files.sort(key=lambda file: file.is_quarantined)
    return {file.uri: file for file in files}


def _compare_files(
    sources: Sequence[Source],
    listing: Listing,
    known_files: Mapping[str, KnownFile],
    pipeline_hash: str,
) -> tuple[list[tuple[int, SourceFile]], list[FileOutcome], dict[str, str]]:
    """Return the files to ingest, the outcomes of unchanged files, and their new tags by uri."""
    changed: list[tuple[int, SourceFile]] = []
    skipped: list[FileOutcome] = []
    new_tags: dict[str, str] = {}
    for uri, (index, file) in listing.items():
        known = known_files.get(uri)
        if known is None or not _is_unchanged(sources[index], file, known, pipeline_hash):
            changed.append((index, file))
            continue
        state: FileState = "quarantined" if known.is_quarantined else "unchanged"
        skipped.append(FileOutcome(uri, file.path, state, 0, 0, known.reason, known.message))
        if file.tag is not None and file.tag != known.tag:
            new_tags[uri] = file.tag
    return changed, skipped, new_tags


def _is_unchanged(source: Source, file: SourceFile, known: KnownFile, pipeline_hash: str) -> bool:
    if known.pipeline_hash != pipeline_hash:
        return False
    if not known.is_quarantined and tuple(known.allowed_groups) != file.allowed_groups:
        return False
    if not known.content_hash:
        return False  # it could not be read: try again
    if file.tag is not None and file.tag == known.tag:
        return True
    try:
        return hashlib.sha256(source.read(file)).hexdigest() == known.content_hash
    except UnreadableFile:
        return False  # the worker reports the reason


def _list_deletions(
    known_files: Mapping[str, KnownFile], listing: Listing, started_at: datetime
) -> list[QueueItem]:
    """Return an item for each known file that is gone.

    A file that was stored after the start of the run may be newer than the listing: it stays.
    """
    gone = [file for uri, file in known_files.items() if uri not in listing]
    return [
        QueueItem(SourceFile(file.uri, file.uri), "delete")
        for file in gone
        if file.stored_at < started_at
    ]


def _write_plan(
    services: Services, run: RunHandle, number: int, plan: IngestPlan, new_tags: Mapping[str, str]
) -> None:
    with services.database.writing(run.tenant) as connection:
        if new_tags:
            update_tags(connection, run.tenant, new_tags)
        if plan.is_empty:
            queue.discard_run(connection, run)
        else:
            queue.start_run(connection, run, number, plan.items, _count_states(plan.skipped))


# --- work -----------------------------------------------------------------------------------------


def process_run(
    services: Services, tenant: str, run_id: uuid.UUID, parser_pool: ParserPool | None = None
) -> None:
    """Work on a run until it is over, together with its other workers.

    Raises:
        NotFound: there is no such run.
        InvalidInput: the run was planned with other settings.
        Unavailable: the database or the model stays unavailable.
    """
    with (
        IngestWorker(services, tenant, run_id, parser_pool) as worker,
        ThreadPoolExecutor(MAX_CONCURRENT_BATCHES) as threads,
    ):
        run_worker(worker, lambda batch: threads.submit(worker.ingest_batch, batch))


# --- report ---------------------------------------------------------------------------------------


def build_report(services: Services, tenant: str, plan: IngestPlan) -> IngestReport:
    """Return what a run did, together with the files that its plan skipped."""
    if plan.is_empty:
        counts = _count_states(plan.skipped)
        return IngestReport(plan.run_id, "finished", counts, 0, 0, {}, plan.skipped)
    report = read_report(services, tenant, plan.run_id)
    return replace(report, outcomes=plan.skipped + report.outcomes)


def read_report(services: Services, tenant: str, run_id: uuid.UUID) -> IngestReport:
    """Return what a run did, from the queue; raises NotFound."""
    with services.database.writing(tenant) as connection:
        run = queue.read_run(connection, RunHandle(tenant, run_id))
        outcomes = tuple(queue.list_outcomes(connection, RunHandle(tenant, run_id)))
    return IngestReport(
        run_id, run.state, run.counts, run.chunks, run.tokens, run.seconds, outcomes
    )


def _count_states(outcomes: Sequence[FileOutcome]) -> dict[str, int]:
    return dict(Counter[str](outcome.state for outcome in outcomes))
