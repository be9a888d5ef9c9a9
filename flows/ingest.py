"""The flows that take documents in: `ingest` plans a run and works on it, `work` helps with one that is open, `sync`
keeps a source in step, `sweep` repairs what was left behind.

Run by `groundwork ingest` in this process, or by workers on a Prefect server (`groundwork flows serve`). Which files
are done is the ledger's to know, not Prefect's: any flow run may be killed, and any other goes on.
"""

import contextlib
import functools
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar, copy_context
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from core.errors import GroundworkError, NotFound
from core.logs import UnexpectedError
from core.services import Services, open_services
from core.settings import load_settings
from ingest import pipeline
from ingest.pipeline import IngestPlan, IngestReport
from ingest.runs import queue
from ingest.runs.queue import RunHandle, SourceSpec
from ingest.runs.repair import repair_tenant
from ingest.runs.worker import (
    MAX_CONCURRENT_BATCHES,
    ClaimedBatch,
    IngestWorker,
    ProgressCallback,
    ignore_progress,
    run_worker,
)
from ingest.sandbox.pool import ParserPool

# Two more attempts after a fault that is no document's: rights that are missing, a full disk. A worker has been patient
# with a database that is away before it comes to this.
RETRY_DELAYS_SECONDS: list[float] = [1, 5]
P = ParamSpec("P")
T = TypeVar("T")
PROGRESS_INTERVAL_SECONDS = (
    5.0  # between two updates of the progress artifact; each costs a request
)


@dataclass(frozen=True, slots=True)
class Watcher:
    """Told, while a run goes on, of further (shares of) files, chunks and tokens done."""

    advanced: ProgressCallback = ignore_progress


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a flow run uses of the process it runs in: open services, somebody who watches, processes that parse."""

    services: Services
    watcher: Watcher = field(default_factory=Watcher)
    plan: IngestPlan | None = None
    reader: ParserPool | None = None


_surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


@contextlib.contextmanager
def surroundings(
    services: Services, watcher: Watcher, plan: IngestPlan, reader: ParserPool | None = None
) -> Iterator[None]:
    """Let the flow called inside use these services and this plan; without, a flow opens and makes its own."""
    token = _surroundings.set(Surroundings(services, watcher, plan, reader))
    try:
        yield
    finally:
        _surroundings.reset(token)


@contextlib.contextmanager
def _around() -> Iterator[Surroundings]:
    around = _surroundings.get()
    if around is not None:
        yield around
        return
    with open_services(load_settings()) as services:
        yield Surroundings(services)


def without_messages(work: Callable[P, T]) -> Callable[P, T]:
    """Keep from Prefect, which stores and shows what errors say, all that may hold a piece of a document."""

    @functools.wraps(work)
    def keeping(*given: P.args, **more: P.kwargs) -> T:
        try:
            return work(*given, **more)
        except (GroundworkError, UnexpectedError):
            raise
        except Exception as error:
            raise UnexpectedError(error) from None

    return keeping


BATCH_TASK_RUNNER: Any = ThreadPoolTaskRunner(max_workers=MAX_CONCURRENT_BATCHES)


@flow(name="ingest", validate_parameters=False, task_runner=BATCH_TASK_RUNNER)
@without_messages
def ingest_documents(
    tenant: str,
    paths: list[str],
    readers: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
    run_id: str = "",
) -> IngestReport:
    """Bring a tenant's documents in line with sources; what is unchanged is not touched.

    Raises:
        InvalidInput: a source that is not there, or has no file.
    """
    with _around() as around:
        origins = [
            pipeline.build_source_spec(path, readers or (), include or (), exclude or ())
            for path in paths
        ]
        return _run_ingest(around, tenant, origins, "ingest", uuid.UUID(run_id) if run_id else None)


@flow(name="work", validate_parameters=False, task_runner=BATCH_TASK_RUNNER)
@without_messages
def work_on_run(tenant: str, run_id: str = "") -> int:
    """Help with a run that is open, the oldest where none is named; returns how many were there to help with (0, 1)."""
    with _around() as around:
        number = uuid.UUID(run_id) if run_id else _find_oldest_open_run(around.services, tenant)
        if number is None:
            return 0
        try:
            _process_run(around, tenant, number)
        except NotFound:
            return 0
        return 1


@flow(name="sync", validate_parameters=False, task_runner=BATCH_TASK_RUNNER)
@without_messages
def sync_source(
    tenant: str,
    paths: list[str],
    readers: list[str] | None = None,
    include: list[str] | None = None,
    exclude: list[str] | None = None,
) -> IngestReport:
    """The same as ingest, on a schedule: give the deployment an interval or a cron line, and these parameters.

    A source in which nothing changed costs a listing, and leaves no run behind.
    """
    with _around() as around:
        origins = [
            pipeline.build_source_spec(path, readers or (), include or (), exclude or ())
            for path in paths
        ]
        return _run_ingest(around, tenant, origins, "sync")


@flow(name="sweep", validate_parameters=False)
@without_messages
def sweep_ledger(tenant: str, dry_run: bool = False) -> list[dict[str, Any]]:
    """Find what killed runs and lost connections left behind, and repair it."""
    with _around() as around:
        findings = repair_tenant(around.services, tenant, dry_run=dry_run)
    table = [
        {"check": each.check, "found": each.found, "repaired": each.repaired} for each in findings
    ]
    create_table_artifact(key="sweep-summary", table=table)
    return table


def _run_ingest(
    around: Surroundings,
    tenant: str,
    origins: Sequence[SourceSpec],
    kind: str,
    run_id: uuid.UUID | None = None,
) -> IngestReport:
    plan = around.plan or pipeline.plan_run(around.services, tenant, origins, kind, run_id)
    if not plan.is_empty:
        _process_run(around, tenant, plan.run_id)
    report = pipeline.build_report(around.services, tenant, plan)
    _publish_report(report)
    return report


def _process_run(around: Surroundings, tenant: str, run_id: uuid.UUID) -> None:
    with (
        IngestWorker(
            around.services, tenant, run_id, around.watcher.advanced, around.reader
        ) as worker,
        _publish_progress(around.services, worker.run_handle),
    ):
        run_worker(worker, lambda batch: ingest_batch.submit(worker, batch))


@task(
    name="take in a batch",
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    cache_policy=NO_CACHE,
)
@without_messages
def ingest_batch(worker: IngestWorker, batch: ClaimedBatch) -> None:
    """Read, parse, chunk, embed and store a batch of files, or delete one; safe to repeat."""
    worker.ingest_batch(batch)


def _find_oldest_open_run(services: Services, tenant: str) -> uuid.UUID | None:
    with services.database.writing(tenant) as connection:
        return next(iter(queue.list_open_runs(connection, tenant)), None)


@contextlib.contextmanager
def _publish_progress(services: Services, run_handle: RunHandle) -> Iterator[None]:
    """Show in Prefect how far the run is, whichever worker takes it there; not more often than people look."""
    artifact: Any = create_progress_artifact(
        progress=0.0, key=f"run-{run_handle.run_id}", description="files done"
    )
    ended = threading.Event()

    def show() -> None:
        while not ended.wait(PROGRESS_INTERVAL_SECONDS):
            with services.database.writing(run_handle.tenant) as connection:
                progress = queue.read_progress(connection, run_handle)
            update_progress_artifact(
                artifact, progress=100.0 * progress.done / max(1, progress.files)
            )

    # In our context: it names the server. Without it Prefect would start another one, which nobody would stop.
    shower = threading.Thread(target=copy_context().run, args=(show,), name="progress", daemon=True)
    shower.start()
    try:
        yield
        update_progress_artifact(artifact, progress=100.0)
    finally:
        ended.set()
        shower.join()


def _publish_report(report: IngestReport) -> None:
    """Show the run's result where Prefect's people look."""
    get_run_logger().info("%s", report.counts)
    create_table_artifact(
        key="ingest-summary",
        table=[{"state": state, "files": files} for state, files in report.counts.items()],
    )
