"""Job queue of ingest runs in PostgreSQL: the items of each run, and the leases of workers on them.

The queue is the only record of progress, so a worker can be killed at any moment and another one
continues. A claim leases files for LEASE_SECONDS and raises their fence. The transaction that
stores a document also completes its item, and only with the fence of the claim: a worker that lost
its lease can store nothing.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

import psycopg
from psycopg.rows import TupleRow, class_row, kwargs_row
from psycopg.types.json import Jsonb

from core.db.database import Connection
from core.db.queries import load_queries
from core.errors import NotFound
from core.principal import GROUP_SEPARATOR
from ingest.sources import Source, SourceFile, open_source
from ingest.store.documents import sanitize_text

QUERIES = load_queries(Path(__file__).with_name("queue.sql"))

LEASE_SECONDS = 30.0
HEARTBEATS_PER_LEASE = 6
MAX_BATCH_FILES = 32  # fills the model's batches, and a killed worker loses little
MAX_BATCH_BYTES = 16_000_000  # large files make smaller batches
MAX_FAILED_ATTEMPTS = 3  # of an isolated file; then it is quarantined

ItemAction = Literal["take in", "delete"]
FileState = Literal[
    "added", "changed", "unchanged", "deleted", "duplicate", "quarantined", "superseded"
]
Row = TypeVar("Row")


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """Address and options of a source, enough to open it on any machine."""

    address: str
    allowed_groups: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def open(self, web_hosts: str) -> Source:
        """Open the source; see `open_source`."""
        return open_source(
            self.address,
            self.allowed_groups,
            include=self.include,
            exclude=self.exclude,
            web_hosts=web_hosts,
        )


@dataclass(frozen=True, slots=True)
class IngestRun:
    """A run. `number` orders the runs; `settled` counts files that needed no work."""

    run_id: uuid.UUID
    number: int
    kind: str
    source: str
    sources: list[dict[str, Any]]
    uris: list[str]
    pipeline_hash: str
    state: Literal["planning", "running", "finished", "failed", "superseded"]
    settled: dict[str, int]
    counts: dict[str, int]
    chunks: int
    tokens: int
    seconds: dict[str, float]
    message: str
    started_at: datetime
    finished_at: datetime | None

    @property
    def source_specs(self) -> tuple[SourceSpec, ...]:
        """The sources that the run covers."""
        return tuple(
            SourceSpec(
                address=source["address"],
                allowed_groups=tuple(source["readers"]),
                include=tuple(source["include"]),
                exclude=tuple(source["exclude"]),
            )
            for source in self.sources
        )


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A file to ingest, or one whose document is to be deleted.

    `source_index` is the position of its source in the run. An isolated item is worked on alone,
    because a batch with it failed. `fence` proves the claim of a worker.
    """

    file: SourceFile
    action: ItemAction = "take in"
    source_index: int = 0
    is_isolated: bool = False
    failed_attempts: int = 0
    fence: int = 0

    @property
    def uri(self) -> str:
        """Uri of the file, its identity."""
        return self.file.uri


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """The result for one file. `chunks` and `tokens` count what was embedded."""

    uri: str
    path: str
    state: FileState
    chunks: int = 0
    tokens: int = 0
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """Counts of a run: files in all, finished and leased; workers that hold the leases."""

    state: str
    files: int
    done: int
    leased: int
    chunks: int
    tokens: int
    workers: int


@dataclass(frozen=True, slots=True)
class RunHandle:
    """Key of a run, and the worker that acts on it. All statements about a run need it."""

    tenant: str
    run_id: uuid.UUID
    worker: str = ""

    @property
    def query_parameters(self) -> dict[str, Any]:
        """Parameters that all statements about the run share."""
        return {"tenant": self.tenant, "run_id": self.run_id, "worker": self.worker}


# --- a run ----------------------------------------------------------------------------------------


def open_run(
    connection: Connection,
    run: RunHandle,
    kind: str,
    source_specs: Sequence[SourceSpec],
    pipeline_hash: str,
) -> tuple[int, datetime]:
    """Open a run in state `planning`. Return its number, and its start by the database's clock."""
    sources = [
        {
            "address": spec.address,
            "readers": spec.allowed_groups,
            "include": spec.include,
            "exclude": spec.exclude,
        }
        for spec in source_specs
    ]
    source = ", ".join(spec.address for spec in source_specs)
    values = {"kind": kind, "source": source, "sources": Jsonb(sources)}
    _execute(connection, "lock_planning", run)
    row = _execute(
        connection, "open_run", run, values | {"pipeline_hash": pipeline_hash}
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def supersede_older_runs(
    connection: Connection, run: RunHandle, run_number: int, uris: Sequence[str]
) -> dict[str, tuple[bool, int]]:
    """Take over the unfinished items of older runs below these uris.

    Return `(is_isolated, failed_attempts)` of each, by uri.
    """
    values = {"number": run_number, "uris": list(uris), "seconds": LEASE_SECONDS}
    _execute(connection, "lock_planning", run)
    rows = _execute(connection, "supersede_older_runs", run, values).fetchall()
    for run_id in {row[0] for row in rows}:
        complete_run(connection, RunHandle(run.tenant, run_id))
    return {
        uri: (is_isolated, min(failed_attempts, MAX_FAILED_ATTEMPTS - 1))
        for _, uri, is_isolated, failed_attempts in rows
    }


def start_run(
    connection: Connection,
    run: RunHandle,
    run_number: int,
    items: Sequence[QueueItem],
    skipped_counts: Mapping[str, int],
) -> None:
    """Write the items of a run into the queue, and open the run to workers."""
    columns = {
        "uris": [item.uri for item in items],
        "actions": [item.action for item in items],
        "sources": [item.source_index for item in items],
        "paths": [item.file.path for item in items],
        "readers": [GROUP_SEPARATOR.join(item.file.allowed_groups) for item in items],
        "sizes": [item.file.size for item in items],
        "tags": [item.file.tag for item in items],
        "alone": [item.is_isolated for item in items],
        "strikes": [item.failed_attempts for item in items],
    }
    _execute(connection, "lock_planning", run)
    _execute(connection, "add_items", run, columns | {"number": run_number})
    _execute(connection, "start_run", run, {"settled": Jsonb(dict(skipped_counts))})


def discard_run(connection: Connection, run: RunHandle) -> None:
    """Delete a run that has nothing to do, or whose planning failed."""
    _execute(connection, "discard_run", run)


def read_run(connection: Connection, run: RunHandle) -> IngestRun:
    """Return a run; raises NotFound."""
    rows = _fetch_rows(connection, IngestRun, "read_run", run.query_parameters)
    return _first_row(rows, run)


def list_runs(connection: Connection, tenant: str, limit: int) -> list[IngestRun]:
    """Return a tenant's runs, newest first."""
    return _fetch_rows(connection, IngestRun, "list_runs", {"tenant": tenant, "limit": limit})


def list_open_runs(connection: Connection, tenant: str) -> list[uuid.UUID]:
    """Return the runs that workers can join, oldest first."""
    rows = connection.execute(QUERIES["list_open_runs"], {"tenant": tenant}).fetchall()
    return [row[0] for row in rows]


def list_outcomes(connection: Connection, run: RunHandle) -> list[FileOutcome]:
    """Return the results of a run, without the files that needed no work."""
    return _fetch_rows(connection, FileOutcome, "list_outcomes", run.query_parameters)


def read_progress(connection: Connection, run: RunHandle) -> RunProgress:
    """Return the progress of a run; raises NotFound."""
    rows = _fetch_rows(connection, RunProgress, "read_progress", run.query_parameters)
    return _first_row(rows, run)


def complete_run(connection: Connection, run: RunHandle) -> bool:
    """Complete a run that has no unfinished items; True for the one worker that did."""
    return _execute(connection, "complete_run", run).fetchone() is not None


def fail_run(connection: Connection, run: RunHandle, message: str) -> None:
    """Mark a run as failed, unless other workers still work on it."""
    _execute(connection, "fail_run", run, {"message": sanitize_text(message)})


# --- a worker's batch -----------------------------------------------------------------------------


def claim(connection: Connection, run: RunHandle) -> list[QueueItem]:
    """Lease a batch, in the order of uri; empty when no item is free."""
    _execute(connection, "expire_leases", run)
    _execute(connection, "quarantine_repeat_failures", run, {"most": MAX_FAILED_ATTEMPTS})
    limits = {
        "strikes": MAX_FAILED_ATTEMPTS,
        "most": MAX_BATCH_FILES,
        "most_bytes": MAX_BATCH_BYTES,
        "seconds": LEASE_SECONDS,
    }
    with connection.cursor(row_factory=kwargs_row(_build_claimed_item)) as cursor:
        items = cursor.execute(QUERIES["claim"], run.query_parameters | limits).fetchall()
    return sorted(items, key=lambda item: item.uri)


def renew_leases(connection: Connection, run: RunHandle, claims: Sequence[tuple[str, int]]) -> None:
    """Renew a worker's leases of these files, each named by uri and fence."""
    columns = {"uris": [uri for uri, _ in claims], "fences": [fence for _, fence in claims]}
    _execute(connection, "renew_leases", run, columns | {"seconds": LEASE_SECONDS})


def lock_items(connection: Connection, run: RunHandle, items: Sequence[QueueItem]) -> set[str]:
    """Lock the items that the worker still holds until the transaction ends; return their uris."""
    rows = _execute(connection, "lock_items", run, _build_claim_columns(items)).fetchall()
    return {row[0] for row in rows}


def complete_items(
    connection: Connection,
    run: RunHandle,
    items: Sequence[QueueItem],
    outcomes: Mapping[str, FileOutcome],
    stage: str = "",
) -> None:
    """Record the results of items, by uri; `stage` is the stage at which files were quarantined."""
    done = [item for item in items if item.uri in outcomes]
    results = [outcomes[item.uri] for item in done]
    columns = {
        "outcomes": [outcome.state for outcome in results],
        "stages": [stage if outcome.state == "quarantined" else "" for outcome in results],
        "reasons": [outcome.reason for outcome in results],
        "messages": [sanitize_text(outcome.message) for outcome in results],
        "chunks": [outcome.chunks for outcome in results],
        "tokens": [outcome.tokens for outcome in results],
    }
    _execute(connection, "complete_items", run, _build_claim_columns(done) | columns)


def release_items(
    connection: Connection,
    run: RunHandle,
    items: Sequence[QueueItem],
    *,
    failed: bool = False,
    stage: str = "",
    reason: str = "",
    message: str = "",
) -> None:
    """Release items for the next claim. After a failure each is tried alone."""
    failure = {"stage": stage, "reason": reason, "message": sanitize_text(message)}
    values = _build_claim_columns(items) | failure | {"failed": failed}
    _execute(connection, "release_items", run, values)


def record_stage(
    connection: Connection, run: RunHandle, item: QueueItem, stage: str, content_hash: str
) -> None:
    """Record the stage that an isolated item reached, in case it stops its worker."""
    values = {"uri": item.uri, "fence": item.fence, "stage": stage, "content_hash": content_hash}
    _execute(connection, "record_stage", run, values)


def release_worker(
    connection: Connection, run: RunHandle, seconds_by_stage: Mapping[str, float]
) -> None:
    """Release the leases of a worker, and add its seconds by stage to those of the run."""
    _execute(connection, "release_worker", run, {"seconds": Jsonb(dict(seconds_by_stage))})


# --- statements and rows --------------------------------------------------------------------------


def _execute(
    connection: Connection,
    name: str,
    run: RunHandle,
    values: Mapping[str, Any] = MappingProxyType({}),
) -> psycopg.Cursor[TupleRow]:
    return connection.execute(QUERIES[name], run.query_parameters | dict(values))


def _fetch_rows(
    connection: Connection, row_type: type[Row], name: str, parameters: Mapping[str, Any]
) -> list[Row]:
    with connection.cursor(row_factory=class_row(row_type)) as cursor:
        return cursor.execute(QUERIES[name], parameters).fetchall()


def _first_row(rows: Sequence[Row], run: RunHandle) -> Row:
    if not rows:
        raise NotFound(
            f"There is no run {run.run_id} in this tenant. List the runs with `groundwork runs`."
        )
    return rows[0]


def _build_claimed_item(
    uri: str, path: str, allowed_groups: list[str], size: int | None, tag: str | None, **values: Any
) -> QueueItem:
    return QueueItem(SourceFile(uri, path, tuple(allowed_groups), size, tag), **values)


def _build_claim_columns(items: Sequence[QueueItem]) -> dict[str, Any]:
    return {"uris": [item.uri for item in items], "fences": [item.fence for item in items]}
