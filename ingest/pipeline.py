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

from core.errors import Unreadable
from core.services import Services
from ingest.runs import queue
from ingest.runs.pipeline_version import pipeline_hash
from ingest.runs.queue import BATCH, Origin, Outcome, Share, State, Task
from ingest.runs.worker import LANES, Advanced, Worker, drive, nobody
from ingest.sandbox.pool import Reader
from ingest.sources import Source, SourceFile, from_anywhere, open_source
from ingest.store import documents

__all__ = [
    "BATCH", "Origin", "Outcome", "Plan", "Report", "ingest", "origin", "pipeline_hash", "plan", "report", "work"
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run has to do: files to take in, uris to delete, and what stays as it is."""

    run_id: uuid.UUID
    to_take_in: tuple[SourceFile, ...]
    to_delete: tuple[str, ...]
    settled: tuple[Outcome, ...]

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do; the ledger then has no run."""
        return not self.to_take_in and not self.to_delete


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did: counts and outcomes by file, seconds by stage (of all threads and workers together).

    `outcomes` has the files that needed work and, where the plan is at hand, the others as well.
    """

    run_id: uuid.UUID
    state: str
    counts: dict[str, int]
    chunks: int
    tokens: int
    seconds: dict[str, float]
    outcomes: tuple[Outcome, ...]


def ingest(services: Services, tenant: str, origins: Sequence[Origin], reader: Reader | None = None) -> Report:
    """All of it, in this process: plan, work, report."""
    planned = plan(services, tenant, origins)
    if not planned.empty:
        work(services, tenant, planned.run_id, reader=reader)
    return report(services, tenant, planned)


def origin(
    address: str, readers: Iterable[str] = (), include: Iterable[str] = (), exclude: Iterable[str] = ()
) -> Origin:
    """A source as a person names it, such that it is found from any folder."""
    return Origin(from_anywhere(address), tuple(readers), tuple(include), tuple(exclude))


def plan(
    services: Services,
    tenant: str,
    origins: Sequence[Origin],
    kind: str = "ingest",
    run_id: uuid.UUID | None = None,
) -> Plan:
    """Compare the sources with the store; a file whose bytes, readers and pipeline are as before stays untouched.

    The run takes over what older runs over the same sources have left to do. It is open to workers when this returns,
    unless there is nothing to do.

    Raises:
        InvalidInput: a source can't be opened or holds no file.
        Unavailable: a source could not be listed to its end.
    """
    hosts = services.settings.web_allowed_hosts
    sources = [
        open_source(each.address, each.readers, include=each.include, exclude=each.exclude, web_hosts=hosts)
        for each in origins
    ]
    share, recipe = Share(tenant, run_id or uuid.uuid4()), pipeline_hash(services)
    with services.database.writing(tenant) as connection:
        number, began = queue.open_run(connection, share, kind, origins, recipe)
    try:
        listing = {file.uri: (place, file) for place, source in enumerate(sources) for file in source.files()}
        with services.database.writing(tenant) as connection:
            tried = queue.supersede(connection, share, number, [source.uri for source in sources])
            known = [entry for source in sources for entry in documents.known(connection, tenant, source.uri)]
        planned, tasks, tags = _compare(share.run_id, sources, listing, known, recipe, began, tried)
        with services.database.writing(tenant) as connection:
            if tags:
                documents.touch(connection, tenant, tags)
            if planned.empty:
                queue.discard(connection, share)
            else:
                queue.begin(connection, share, number, tasks, _count(planned.settled))
    except BaseException:
        with services.database.writing(tenant) as connection:
            queue.discard(connection, share)
        raise
    return planned


def work(
    services: Services,
    tenant: str,
    run_id: uuid.UUID,
    advanced: Advanced = nobody,
    reader: Reader | None = None,
) -> None:
    """Work on a run until it is over, beside whoever else does.

    Raises:
        NotFound: there is no such run.
        InvalidInput: it was planned with other settings.
        Unavailable: the database or the model stays away.
    """
    with Worker(services, tenant, run_id, advanced, reader) as worker, ThreadPoolExecutor(LANES) as lanes:
        drive(worker, lambda batch: lanes.submit(worker.take_in, batch))


def report(services: Services, tenant: str, planned: Plan) -> Report:
    """What a run did; of one that had nothing to do, what it found."""
    if planned.empty:
        return Report(planned.run_id, "finished", _count(planned.settled), 0, 0, {}, planned.settled)
    share = Share(tenant, planned.run_id)
    with services.database.writing(tenant) as connection:
        run = queue.read(connection, share)
        ended = queue.outcomes(connection, share)
    outcomes = (*planned.settled, *ended)
    return Report(run.run_id, run.state, run.counts, run.chunks, run.tokens, run.seconds, outcomes)


def _compare(
    run_id: uuid.UUID,
    sources: Sequence[Source],
    listing: Mapping[str, tuple[int, SourceFile]],
    known: Sequence[documents.Known],
    recipe: str,
    began: datetime,
    tried: Mapping[str, tuple[bool, int]],
) -> tuple[Plan, list[Task], dict[str, str]]:
    """The plan, its tasks for the ledger, and the tags of files that were read and found to be as they were."""
    # Where both are known, a file that was put aside comes last and so decides: its text is the older one.
    latest = {entry.uri: entry for entry in sorted(known, key=lambda entry: entry.quarantined)}
    tasks: list[Task] = []
    settled: list[Outcome] = []
    tags: dict[str, str] = {}
    for uri, (place, file) in listing.items():
        entry = latest.get(uri)
        if entry is not None and _same(sources[place], entry, file, recipe):
            settled.append(_settled(entry, file))
            if file.tag is not None and file.tag != entry.tag:
                tags[uri] = file.tag
        else:
            tasks.append(Task(file, "take in", place, *tried.get(uri, (False, 0))))
    # What came in since we began to list may be newer than the listing.
    gone = [entry.uri for entry in latest.values() if entry.uri not in listing and entry.since < began]
    plan = Plan(run_id, tuple(task.file for task in tasks), tuple(gone), tuple(settled))
    return plan, tasks + [Task(SourceFile(uri, uri), "delete") for uri in gone], tags


def _same(source: Source, entry: documents.Known, file: SourceFile, recipe: str) -> bool:
    if entry.pipeline_hash != recipe or not (entry.quarantined or tuple(entry.readers) == file.readers):
        return False
    if not entry.content_hash:
        return False  # it was never read: try again
    if file.tag is not None and file.tag == entry.tag:
        return True
    try:
        return hashlib.sha256(source.read(file)).hexdigest() == entry.content_hash
    except Unreadable:
        return False  # taking it in will say why


def _settled(entry: documents.Known, file: SourceFile) -> Outcome:
    state: State = "quarantined" if entry.quarantined else "unchanged"
    return Outcome(file.uri, file.path, state, reason=entry.reason, message=entry.message)


def _count(outcomes: Sequence[Outcome]) -> dict[str, int]:
    return dict(Counter[str](outcome.state for outcome in outcomes))
