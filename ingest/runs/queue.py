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
from ingest.store.documents import storable

QUERIES = load_queries(Path(__file__).with_name("queue.sql"))

LEASE = 30.0  # seconds; a worker that is alive renews it HEARTBEATS times in that
HEARTBEATS = 6
BATCH = 32  # files a claim: enough to fill the model's batches, few enough to lose little when killed
BATCH_BYTES = 16_000_000  # a claim of larger files has fewer of them
STRIKES = 3  # after so many failures while it was alone a file is put aside
SEPARATOR = "\x1f"  # between readers; no name can hold it

Action = Literal["take in", "delete"]
State = Literal["added", "changed", "unchanged", "deleted", "duplicate", "quarantined", "superseded"]


@dataclass(frozen=True, slots=True)
class Origin:
    """What is needed to open a source again, on any machine: see `ingest.sources.open_source`."""

    address: str
    readers: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Run:
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
    def origins(self) -> tuple[Origin, ...]:
        """The sources it was started for."""
        return tuple(Origin(**{key: _tuple(value) for key, value in source.items()}) for source in self.sources)


@dataclass(frozen=True, slots=True)
class Task:
    """One thing a run has to do: take a file in, or delete what was stored of it."""

    file: SourceFile
    action: Action = "take in"
    source: int = 0
    alone: bool = False
    strikes: int = 0


@dataclass(frozen=True, slots=True)
class Item:
    """A file that a worker has claimed. `fence` proves the claim; `source` is the place of its source in the run's."""

    uri: str
    action: Action
    source: int
    path: str
    readers: list[str]
    size: int | None
    tag: str | None
    alone: bool
    attempt: int
    strikes: int
    fence: int

    @property
    def file(self) -> SourceFile:
        """The file as its source listed it."""
        return SourceFile(self.uri, self.path, tuple(self.readers), self.size, self.tag)


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
class Progress:
    """How far a run is: its files in all, those that came to an end, those in somebody's hands."""

    state: str
    files: int
    done: int
    leased: int
    chunks: int
    tokens: int
    workers: int


@dataclass(frozen=True, slots=True)
class Share:
    """A worker's part in a run: the key of every statement that it sends."""

    tenant: str
    run_id: uuid.UUID
    worker: str = ""

    @property
    def key(self) -> dict[str, Any]:
        """As parameters."""
        return {"tenant": self.tenant, "run_id": self.run_id, "worker": self.worker}


# --- a run ----------------------------------------------------------------------------------------------------------


def open_run(
    connection: Connection, share: Share, kind: str, origins: Sequence[Origin], pipeline_hash: str
) -> tuple[int, datetime]:
    """Open a run that plans; returns its number and when it began by the database's clock."""
    sources = [
        {"address": o.address, "readers": o.readers, "include": o.include, "exclude": o.exclude} for o in origins
    ]
    values = {
        "kind": kind, "source": ", ".join(origin.address for origin in origins), "sources": Jsonb(sources),
        "pipeline_hash": pipeline_hash,
    }  # fmt: skip
    _run(connection, "one_at_a_time", share.key)
    row = connection.execute(QUERIES["open_run"], share.key | values).fetchone()
    assert row is not None
    return row[0], row[1]


def supersede(connection: Connection, share: Share, number: int, uris: Sequence[str]) -> dict[str, tuple[bool, int]]:
    """Take over what older runs have left to do below these uris; returns for each file whether it is to be alone and
    its strikes.
    """
    values = {"number": number, "uris": list(uris), "seconds": LEASE}
    _run(connection, "one_at_a_time", share.key)
    rows = connection.execute(QUERIES["supersede"], share.key | values).fetchall()
    for run_id in {row[0] for row in rows}:
        close(connection, Share(share.tenant, run_id))
    return {uri: (alone, min(strikes, STRIKES - 1)) for _, uri, alone, strikes in rows}


def begin(connection: Connection, share: Share, number: int, tasks: Sequence[Task], settled: Mapping[str, int]) -> None:
    """Write down what a run has to do, and let workers come."""
    _run(connection, "one_at_a_time", share.key)
    columns = {
        "uris": [task.file.uri for task in tasks],
        "actions": [task.action for task in tasks],
        "sources": [task.source for task in tasks],
        "paths": [task.file.path for task in tasks],
        "readers": [SEPARATOR.join(task.file.readers) for task in tasks],
        "sizes": [task.file.size for task in tasks],
        "tags": [task.file.tag for task in tasks],
        "alone": [task.alone for task in tasks],
        "strikes": [task.strikes for task in tasks],
    }
    _run(connection, "add_items", share.key | columns | {"number": number})
    _run(connection, "begin_run", share.key | {"settled": Jsonb(dict(settled))})


def discard(connection: Connection, share: Share) -> None:
    """Forget a run that planned in vain."""
    _run(connection, "discard_run", share.key)


def read(connection: Connection, share: Share) -> Run:
    """A run; raises NotFound where there is none."""
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        run = cursor.execute(QUERIES["read_run"], share.key).fetchone()
    if run is None:
        raise NotFound(f"There is no run {share.run_id} in this tenant; `groundwork runs` lists them.")
    return run


def runs(connection: Connection, tenant: str, limit: int) -> list[Run]:
    """A tenant's runs, newest first."""
    with connection.cursor(row_factory=class_row(Run)) as cursor:
        return cursor.execute(QUERIES["runs"], {"tenant": tenant, "limit": limit}).fetchall()


def open_runs(connection: Connection, tenant: str) -> list[uuid.UUID]:
    """The runs that workers can join, oldest first."""
    return [row[0] for row in connection.execute(QUERIES["open_runs"], {"tenant": tenant}).fetchall()]


def outcomes(connection: Connection, share: Share) -> list[Outcome]:
    """What became of a run's files, those that needed no work left out."""
    with connection.cursor(row_factory=class_row(Outcome)) as cursor:
        return cursor.execute(QUERIES["outcomes"], share.key).fetchall()


def progress(connection: Connection, share: Share) -> Progress:
    """How far a run is; raises NotFound where there is none."""
    with connection.cursor(row_factory=class_row(Progress)) as cursor:
        row = cursor.execute(QUERIES["progress"], share.key).fetchone()
    if row is None:
        raise NotFound(f"There is no run {share.run_id} in this tenant; `groundwork runs` lists them.")
    return row


def close(connection: Connection, share: Share) -> bool:
    """Close a run of which nothing is left to do; True for the one worker that did."""
    return connection.execute(QUERIES["close_run"], share.key).fetchone() is not None


def fail(connection: Connection, share: Share, message: str) -> None:
    """Give up on a run; where others are still at it, it goes on without us."""
    _run(connection, "fail_run", share.key | {"message": storable(message)})


# --- a worker's batch -----------------------------------------------------------------------------------------------


def claim(connection: Connection, share: Share) -> list[Item]:
    """Lease a batch, in the order of uri; empty when there is nothing that nobody has."""
    _run(connection, "expire", share.key)
    _run(connection, "condemn", share.key | {"most": STRIKES})
    values = {"strikes": STRIKES, "most": BATCH, "most_bytes": BATCH_BYTES, "seconds": LEASE}
    with connection.cursor(row_factory=class_row(Item)) as cursor:
        items = cursor.execute(QUERIES["claim"], share.key | values).fetchall()
    return sorted(items, key=lambda item: item.uri)


def beat(connection: Connection, share: Share, claims: Sequence[tuple[str, int]]) -> None:
    """Renew a worker's leases of these files, given by uri and fence."""
    columns = {"uris": [uri for uri, _ in claims], "fences": [fence for _, fence in claims]}
    _run(connection, "beat", share.key | columns | {"seconds": LEASE})


def hold(connection: Connection, share: Share, items: Sequence[Item]) -> set[str]:
    """Lock those files of a batch that are still ours until the transaction ends; returns their uris."""
    return {row[0] for row in connection.execute(QUERIES["hold"], share.key | _claims(items)).fetchall()}


def settle(
    connection: Connection, share: Share, items: Sequence[Item], ended: Mapping[str, Outcome], stage: str = ""
) -> None:
    """Mark files done, with what became of them."""
    done = [item for item in items if item.uri in ended]
    results = [ended[item.uri] for item in done]
    columns = {
        "outcomes": [outcome.state for outcome in results],
        "stages": [stage if outcome.state == "quarantined" else "" for outcome in results],
        "reasons": [outcome.reason for outcome in results],
        "messages": [storable(outcome.message) for outcome in results],
        "chunks": [outcome.chunks for outcome in results],
        "tokens": [outcome.tokens for outcome in results],
    }
    _run(connection, "settle", share.key | _claims(done) | columns)


def give_back(
    connection: Connection,
    share: Share,
    items: Sequence[Item],
    *,
    failed: bool = False,
    stage: str = "",
    reason: str = "",
    message: str = "",
) -> None:
    """Give files back; `failed` counts against one that was alone, and has the others tried alone."""
    why = {"failed": failed, "stage": stage, "reason": reason, "message": storable(message)}
    _run(connection, "give_back", share.key | _claims(items) | why)


def note(connection: Connection, share: Share, item: Item, stage: str, content_hash: str) -> None:
    """Note how far a file that is alone came, in case it stops us."""
    values = {"uri": item.uri, "fence": item.fence, "stage": stage, "content_hash": content_hash}
    _run(connection, "note", share.key | values)


def leave(connection: Connection, share: Share, seconds: Mapping[str, float]) -> None:
    """End a worker's part: free what it holds, add its seconds by stage to the run's."""
    _run(connection, "leave", share.key | {"seconds": Jsonb(dict(seconds))})


def _claims(items: Sequence[Item]) -> dict[str, list[Any]]:
    return {"uris": [item.uri for item in items], "fences": [item.fence for item in items]}


def _run(connection: Connection, name: str, values: Mapping[str, Any]) -> None:
    connection.execute(QUERIES[name], values)


def _tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
