"""A document in. Read this first: what is to do (`plan`), then batch by batch until it is done (`work`).

    plan      which files are new, changed or gone, by content; nothing else is touched. Written into the ledger
    work      read -> parse -> chunk -> embed -> store, or delete, batch by batch; any number of workers share a run
    report    what a run did, from the ledger

flows/ runs these with retries and schedules; `groundwork ingest` runs those. A worker's steps are in worker.py, what
keeps workers apart in ledger.py, what is written in store.py.
"""

import hashlib
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

from core.errors import UnreadableFile
from core.services import Services
from ingest.chunkers.registry import check_chunker_name
from ingest.runs import queue
from ingest.runs.pipeline_version import compute_pipeline_hash
from ingest.runs.queue import FileOutcome, FileState, PlannedItem, RunHandle, SourceSpec
from ingest.runs.worker import (
    MAX_CONCURRENT_BATCHES,
    IngestWorker,
    ProgressCallback,
    ignore_progress,
    run_worker,
)
from ingest.sandbox.pool import ParserPool
from ingest.sources import Source, SourceFile, open_source, resolve_source_address
from ingest.store import documents


@dataclass(frozen=True, slots=True)
class IngestPlan:
    """What a run has to do: files to take in, uris to delete, and what stays as it is."""

    run_id: uuid.UUID
    to_ingest: tuple[SourceFile, ...]
    to_delete: tuple[str, ...]
    skipped: tuple[FileOutcome, ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do; the ledger then has no run."""
        return not self.to_ingest and not self.to_delete


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What a run did: counts and outcomes by file, seconds by stage (of all threads and workers together).

    `outcomes` has the files that needed work and, where the plan is at hand, the others as well.
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
    """All of it, in this process: plan, work, report."""
    planned = plan_run(services, tenant, source_specs)
    if not planned.is_empty:
        process_run(services, tenant, planned.run_id, parser_pool=parser_pool)
    return build_report(services, tenant, planned)


def build_source_spec(
    address: str,
    allowed_groups: Iterable[str] = (),
    include: Iterable[str] = (),
    exclude: Iterable[str] = (),
) -> SourceSpec:
    """A source as a person names it, such that it is found from any folder."""
    return SourceSpec(
        resolve_source_address(address), tuple(allowed_groups), tuple(include), tuple(exclude)
    )


def plan_run(
    services: Services,
    tenant: str,
    source_specs: Sequence[SourceSpec],
    kind: str = "ingest",
    run_id: uuid.UUID | None = None,
) -> IngestPlan:
    """Compare the sources with the store; a file whose bytes, readers and pipeline are as before stays untouched.

    The run takes over what older runs over the same sources have left to do. It is open to workers when this returns,
    unless there is nothing to do.

    Raises:
        InvalidInput: a source can't be opened or holds no file.
        Unavailable: a source could not be listed to its end.
    """
    hosts = services.settings.web_allowed_hosts
    sources = [
        open_source(
            each.address,
            each.allowed_groups,
            include=each.include,
            exclude=each.exclude,
            web_hosts=hosts,
        )
        for each in source_specs
    ]
    check_chunker_name(services.settings.chunker)
    share, recipe = RunHandle(tenant, run_id or uuid.uuid4()), compute_pipeline_hash(services)
    with services.database.writing(tenant) as connection:
        number, began = queue.open_run(connection, share, kind, source_specs, recipe)
    try:
        listing = {
            file.uri: (place, file)
            for place, source in enumerate(sources)
            for file in source.list_files()
        }
        with services.database.writing(tenant) as connection:
            tried = queue.supersede_older_runs(
                connection, share, number, [source.uri for source in sources]
            )
            known = [
                entry
                for source in sources
                for entry in documents.list_known_files(connection, tenant, source.uri)
            ]
        planned, tasks, tags = _compare_sources(
            share.run_id, sources, listing, known, recipe, began, tried
        )
        with services.database.writing(tenant) as connection:
            if tags:
                documents.update_tags(connection, tenant, tags)
            if planned.is_empty:
                queue.discard_run(connection, share)
            else:
                queue.start_run(connection, share, number, tasks, _count_states(planned.skipped))
    except BaseException:
        with services.database.writing(tenant) as connection:
            queue.discard_run(connection, share)
        raise
    return planned


def process_run(
    services: Services,
    tenant: str,
    run_id: uuid.UUID,
    on_progress: ProgressCallback = ignore_progress,
    parser_pool: ParserPool | None = None,
) -> None:
    """Work on a run until it is over, beside whoever else does.

    Raises:
        NotFound: there is no such run.
        InvalidInput: it was planned with other settings.
        Unavailable: the database or the model stays away.
    """
    with (
        IngestWorker(services, tenant, run_id, on_progress, parser_pool) as worker,
        ThreadPoolExecutor(MAX_CONCURRENT_BATCHES) as lanes,
    ):
        run_worker(worker, lambda batch: lanes.submit(worker.ingest_batch, batch))


def build_report(services: Services, tenant: str, plan: IngestPlan) -> IngestReport:
    """What a run did; of one that had nothing to do, what it found."""
    if plan.is_empty:
        return IngestReport(
            plan.run_id, "finished", _count_states(plan.skipped), 0, 0, {}, plan.skipped
        )
    share = RunHandle(tenant, plan.run_id)
    with services.database.writing(tenant) as connection:
        run = queue.read_run(connection, share)
        ended = queue.list_outcomes(connection, share)
    outcomes = (*plan.skipped, *ended)
    return IngestReport(
        run.run_id, run.state, run.counts, run.chunks, run.tokens, run.seconds, outcomes
    )


def _compare_sources(
    run_id: uuid.UUID,
    sources: Sequence[Source],
    listing: Mapping[str, tuple[int, SourceFile]],
    known_files: Sequence[documents.KnownFile],
    pipeline_hash: str,
    started_at: datetime,
    carried_over: Mapping[str, tuple[bool, int]],
) -> tuple[IngestPlan, list[PlannedItem], dict[str, str]]:
    """The plan, its tasks for the ledger, and the tags of files that were read and found to be as they were."""
    # Where both are known, a file that was put aside comes last and so decides: its text is the older one.
    latest = {
        entry.uri: entry for entry in sorted(known_files, key=lambda entry: entry.is_quarantined)
    }
    tasks: list[PlannedItem] = []
    settled: list[FileOutcome] = []
    tags: dict[str, str] = {}
    for uri, (place, file) in listing.items():
        entry = latest.get(uri)
        if entry is not None and _is_unchanged(sources[place], entry, file, pipeline_hash):
            settled.append(_build_skipped_outcome(entry, file))
            if file.tag is not None and file.tag != entry.tag:
                tags[uri] = file.tag
        else:
            tasks.append(PlannedItem(file, "take in", place, *carried_over.get(uri, (False, 0))))
    # What came in since we began to list may be newer than the listing.
    gone = [
        entry.uri
        for entry in latest.values()
        if entry.uri not in listing and entry.stored_at < started_at
    ]
    plan = IngestPlan(
        run_id, tuple(task.source_file for task in tasks), tuple(gone), tuple(settled)
    )
    return plan, tasks + [PlannedItem(SourceFile(uri, uri), "delete") for uri in gone], tags


def _is_unchanged(
    source: Source, entry: documents.KnownFile, file: SourceFile, pipeline_hash: str
) -> bool:
    if entry.pipeline_hash != pipeline_hash or not (
        entry.is_quarantined or tuple(entry.allowed_groups) == file.allowed_groups
    ):
        return False
    if not entry.content_hash:
        return False  # it was never read: try again
    if file.tag is not None and file.tag == entry.tag:
        return True
    try:
        return hashlib.sha256(source.read(file)).hexdigest() == entry.content_hash
    except UnreadableFile:
        return False  # taking it in will say why


def _build_skipped_outcome(entry: documents.KnownFile, file: SourceFile) -> FileOutcome:
    state: FileState = "quarantined" if entry.is_quarantined else "unchanged"
    return FileOutcome(file.uri, file.path, state, reason=entry.reason, message=entry.message)


def _count_states(outcomes: Sequence[FileOutcome]) -> dict[str, int]:
    return dict(Counter[str](outcome.state for outcome in outcomes))
