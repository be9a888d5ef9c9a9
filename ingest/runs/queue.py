"""The ledger: which runs there are, what each has to do, and which worker has it just now. The truth about progress is
here and nowhere else, so that a worker may be killed anywhere and any other can go on.

A claim leases files for LEASE seconds and raises their fence. Whoever stores a document marks its item done in the same
transaction, and only with the fence of the claim: a worker that lost its lease can store nothing.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from core.db.database import Connection
from core.db.queries import load_queries
from core.errors import NotFound
from ingest.sources import SourceFile
from ingest.store.documents import sanitize_text

QUERIES = load_queries(Path(__file__).with_name("queue.sql"))

LEASE_SECONDS = 30.0  # seconds; a worker that is alive renews it HEARTBEATS times in that
HEARTBEATS_PER_LEASE = 6
MAX_BATCH_FILES = (
    32  # files a claim: enough to fill the model's batches, few enough to lose little when killed
)
MAX_BATCH_BYTES = 16_000_000  # a claim of larger files has fewer of them
MAX_FAILED_ATTEMPTS = 3  # after so many failures while it was alone a file is put aside
GROUP_SEPARATOR = "\x1f"  # between readers; no name can hold it

ItemAction = Literal["take in", "delete"]
FileState = Literal[
    "added", "changed", "unchanged", "deleted", "duplicate", "quarantined", "superseded"
]


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """What is needed to open a source again, on any machine: see `ingest.sources.open_source`."""

    address: str
    allowed_groups: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IngestRun:
    """A run as the ledger has it. `number` is the order in which runs began; `settled` counts what needed no work."""

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
        """The sources it was started for."""
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
class PlannedItem:
    """One thing a run has to do: take a file in, or delete what was stored of it."""

    source_file: SourceFile
    action: ItemAction = "take in"
    source_index: int = 0
    is_isolated: bool = False
    failed_attempts: int = 0


@dataclass(frozen=True, slots=True)
class QueueItem:
    """A file that a worker has claimed. `fence` proves the claim; `source` is the place of its source in the run's."""

    uri: str
    action: ItemAction
    source_index: int
    path: str
    allowed_groups: list[str]
    size: int | None
    tag: str | None
    is_isolated: bool
    attempt: int
    failed_attempts: int
    fence: int

    @property
    def source_file(self) -> SourceFile:
        """The file as its source listed it."""
        return SourceFile(self.uri, self.path, tuple(self.allowed_groups), self.size, self.tag)


@dataclass(frozen=True, slots=True)
class FileOutcome:
    """What became of one file. `chunks` and `tokens` count what was embedded; `message` says why it was put aside."""

    uri: str
    path: str
    state: FileState
    chunks: int = 0
    tokens: int = 0
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class RunProgress:
    """How far a run is: its files in all, those that came to an end, those in somebody's hands."""

    state: str
    files: int
    done: int
    leased: int
    chunks: int
    tokens: int
    workers: int


@dataclass(frozen=True, slots=True)
class RunHandle:
    """A worker's part in a run: the key of every statement that it sends."""

    tenant: str
    run_id: uuid.UUID
    worker: str = ""

    @property
    def query_parameters(self) -> dict[str, Any]:
        """As parameters."""
        return {"tenant": self.tenant, "run_id": self.run_id, "worker": self.worker}


# --- a run ----------------------------------------------------------------------------------------------------------


def open_run(
    connection: Connection,
    run_handle: RunHandle,
    kind: str,
    source_specs: Sequence[SourceSpec],
    pipeline_hash: str,
) -> tuple[int, datetime]:
    """Open a run that plans; returns its number and when it began by the database's clock."""
    sources = [
        {
            "address": o.address,
            "readers": o.allowed_groups,
            "include": o.include,
            "exclude": o.exclude,
        }
        for o in source_specs
    ]
    values = {
        "kind": kind,
        "source": ", ".join(origin.address for origin in source_specs),
        "sources": Jsonb(sources),
        "pipeline_hash": pipeline_hash,
    }
    _execute(connection, "one_at_a_time", run_handle.query_parameters)
    row = connection.execute(QUERIES["open_run"], run_handle.query_parameters | values).fetchone()
    assert row is not None
    return row[0], row[1]


def supersede_older_runs(
    connection: Connection, run_handle: RunHandle, run_number: int, uris: Sequence[str]
) -> dict[str, tuple[bool, int]]:
    """Take over what older runs have left to do below these uris; returns for each file whether it is to be alone and
    its strikes.
    """
    values = {"number": run_number, "uris": list(uris), "seconds": LEASE_SECONDS}
    _execute(connection, "one_at_a_time", run_handle.query_parameters)
    rows = connection.execute(QUERIES["supersede"], run_handle.query_parameters | values).fetchall()
    for run_id in {row[0] for row in rows}:
        complete_run(connection, RunHandle(run_handle.tenant, run_id))
    return {uri: (alone, min(strikes, MAX_FAILED_ATTEMPTS - 1)) for _, uri, alone, strikes in rows}


def start_run(
    connection: Connection,
    run_handle: RunHandle,
    run_number: int,
    items: Sequence[PlannedItem],
    skipped_counts: Mapping[str, int],
) -> None:
    """Write down what a run has to do, and let workers come."""
    _execute(connection, "one_at_a_time", run_handle.query_parameters)
    columns = {
        "uris": [task.source_file.uri for task in items],
        "actions": [task.action for task in items],
        "sources": [task.source_index for task in items],
        "paths": [task.source_file.path for task in items],
        "readers": [GROUP_SEPARATOR.join(task.source_file.allowed_groups) for task in items],
        "sizes": [task.source_file.size for task in items],
        "tags": [task.source_file.tag for task in items],
        "alone": [task.is_isolated for task in items],
        "strikes": [task.failed_attempts for task in items],
    }
    _execute(
        connection, "add_items", run_handle.query_parameters | columns | {"number": run_number}
    )
    _execute(
        connection,
        "begin_run",
        run_handle.query_parameters | {"settled": Jsonb(dict(skipped_counts))},
    )


def discard_run(connection: Connection, run_handle: RunHandle) -> None:
    """Forget a run that planned in vain."""
    _execute(connection, "discard_run", run_handle.query_parameters)


def read_run(connection: Connection, run_handle: RunHandle) -> IngestRun:
    """A run; raises NotFound where there is none."""
    with connection.cursor(row_factory=class_row(IngestRun)) as cursor:
        run = cursor.execute(QUERIES["read_run"], run_handle.query_parameters).fetchone()
    if run is None:
        raise NotFound(
            f"There is no run {run_handle.run_id} in this tenant; `groundwork runs` lists them."
        )
    return run


def list_runs(connection: Connection, tenant: str, limit: int) -> list[IngestRun]:
    """A tenant's runs, newest first."""
    with connection.cursor(row_factory=class_row(IngestRun)) as cursor:
        return cursor.execute(QUERIES["runs"], {"tenant": tenant, "limit": limit}).fetchall()


def list_open_runs(connection: Connection, tenant: str) -> list[uuid.UUID]:
    """The runs that workers can join, oldest first."""
    return [
        row[0] for row in connection.execute(QUERIES["open_runs"], {"tenant": tenant}).fetchall()
    ]


def list_outcomes(connection: Connection, run_handle: RunHandle) -> list[FileOutcome]:
    """What became of a run's files, those that needed no work left out."""
    with connection.cursor(row_factory=class_row(FileOutcome)) as cursor:
        return cursor.execute(QUERIES["outcomes"], run_handle.query_parameters).fetchall()


def read_progress(connection: Connection, run_handle: RunHandle) -> RunProgress:
    """How far a run is; raises NotFound where there is none."""
    with connection.cursor(row_factory=class_row(RunProgress)) as cursor:
        row = cursor.execute(QUERIES["progress"], run_handle.query_parameters).fetchone()
    if row is None:
        raise NotFound(
            f"There is no run {run_handle.run_id} in this tenant; `groundwork runs` lists them."
        )
    return row


def complete_run(connection: Connection, run_handle: RunHandle) -> bool:
    """Close a run of which nothing is left to do; True for the one worker that did."""
    return (
        connection.execute(QUERIES["close_run"], run_handle.query_parameters).fetchone() is not None
    )


def fail_run(connection: Connection, run_handle: RunHandle, message: str) -> None:
    """Give up on a run; where others are still at it, it goes on without us."""
    _execute(
        connection, "fail_run", run_handle.query_parameters | {"message": sanitize_text(message)}
    )


# --- a worker's batch -----------------------------------------------------------------------------------------------


def claim(connection: Connection, run_handle: RunHandle) -> list[QueueItem]:
    """Lease a batch, in the order of uri; empty when there is nothing that nobody has."""
    _execute(connection, "expire", run_handle.query_parameters)
    _execute(connection, "condemn", run_handle.query_parameters | {"most": MAX_FAILED_ATTEMPTS})
    values = {
        "strikes": MAX_FAILED_ATTEMPTS,
        "most": MAX_BATCH_FILES,
        "most_bytes": MAX_BATCH_BYTES,
        "seconds": LEASE_SECONDS,
    }
    with connection.cursor(row_factory=class_row(QueueItem)) as cursor:
        items = cursor.execute(QUERIES["claim"], run_handle.query_parameters | values).fetchall()
    return sorted(items, key=lambda item: item.uri)


def renew_leases(
    connection: Connection, run_handle: RunHandle, claims: Sequence[tuple[str, int]]
) -> None:
    """Renew a worker's leases of these files, given by uri and fence."""
    columns = {"uris": [uri for uri, _ in claims], "fences": [fence for _, fence in claims]}
    _execute(connection, "beat", run_handle.query_parameters | columns | {"seconds": LEASE_SECONDS})


def lock_items(
    connection: Connection, run_handle: RunHandle, items: Sequence[QueueItem]
) -> set[str]:
    """Lock those files of a batch that are still ours until the transaction ends; returns their uris."""
    return {
        row[0]
        for row in connection.execute(
            QUERIES["hold"], run_handle.query_parameters | _build_claim_columns(items)
        ).fetchall()
    }


def complete_items(
    connection: Connection,
    run_handle: RunHandle,
    items: Sequence[QueueItem],
    outcomes: Mapping[str, FileOutcome],
    stage: str = "",
) -> None:
    """Mark files done, with what became of them."""
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
    _execute(
        connection, "settle", run_handle.query_parameters | _build_claim_columns(done) | columns
    )


def release_items(
    connection: Connection,
    run_handle: RunHandle,
    items: Sequence[QueueItem],
    *,
    failed: bool = False,
    stage: str = "",
    reason: str = "",
    message: str = "",
) -> None:
    """Give files back; `failed` counts against one that was alone, and has the others tried alone."""
    why = {"failed": failed, "stage": stage, "reason": reason, "message": sanitize_text(message)}
    _execute(
        connection, "give_back", run_handle.query_parameters | _build_claim_columns(items) | why
    )


def record_stage(
    connection: Connection, run_handle: RunHandle, item: QueueItem, stage: str, content_hash: str
) -> None:
    """Note how far a file that is alone came, in case it stops us."""
    values = {"uri": item.uri, "fence": item.fence, "stage": stage, "content_hash": content_hash}
    _execute(connection, "note", run_handle.query_parameters | values)


def release_worker(
    connection: Connection, run_handle: RunHandle, seconds_by_stage: Mapping[str, float]
) -> None:
    """End a worker's part: free what it holds, add its seconds by stage to the run's."""
    _execute(
        connection,
        "leave",
        run_handle.query_parameters | {"seconds": Jsonb(dict(seconds_by_stage))},
    )


def _build_claim_columns(items: Sequence[QueueItem]) -> dict[str, list[Any]]:
    return {"uris": [item.uri for item in items], "fences": [item.fence for item in items]}


def _execute(connection: Connection, name: str, values: Mapping[str, Any]) -> None:
    connection.execute(QUERIES[name], values)
