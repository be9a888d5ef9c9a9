"""Flows that ingest documents.

    ingest    plan a run over sources, and work on it
    work      help with an open run
    sync      ingest on a schedule
    sweep     repair what killed runs left behind

`groundwork ingest` runs them in its own process; workers of a Prefect server run them after
`groundwork flows serve`. A flow opens its own services, so its parameters are all that it needs.
The queue in PostgreSQL knows which files are done: any flow run can be killed, and another one
continues.
"""

import contextlib
import functools
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ParamSpec, TypeVar

from prefect import flow, get_run_logger, task
from prefect.artifacts import (
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import ThreadPoolTaskRunner

from core.errors import GroundworkError, InvalidInput, NotFound
from core.logs import UnexpectedError
from core.services import Services, open_services
from core.settings import load_settings
from ingest import pipeline
from ingest.pipeline import IngestReport
from ingest.runs import queue
from ingest.runs.queue import IngestRun, RunHandle, RunProgress, SourceSpec
from ingest.runs.repair import repair_tenant
from ingest.runs.status import watch_progress
from ingest.runs.worker import MAX_CONCURRENT_BATCHES, ClaimedBatch, IngestWorker, run_worker

# For faults that no document causes: missing rights, a full disk. The worker itself has already
# waited for an unavailable database.
RETRY_DELAYS_SECONDS: list[float] = [1, 5]
PROGRESS_INTERVAL_SECONDS = 5.0  # each update of the progress artifact costs a request

BATCH_TASK_RUNNER: Any = ThreadPoolTaskRunner(max_workers=MAX_CONCURRENT_BATCHES)

P = ParamSpec("P")
T = TypeVar("T")


def without_messages(work: Callable[P, T]) -> Callable[P, T]:
    """Hide the messages of other libraries' errors from Prefect, which stores them.

    Such a message may hold a piece of a document.
    """

    @functools.wraps(work)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return work(*args, **kwargs)
        except (GroundworkError, UnexpectedError):
            raise
        except Exception as error:
            raise UnexpectedError(error) from None

    return wrapped


# --- flows ----------------------------------------------------------------------------------------


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
    """Bring a tenant's documents in line with sources. Unchanged files are not touched.

    `run_id` names the run. If a run of this id is planned already, the flow works on it.

    Raises:
        InvalidInput: a source does not exist or has no file, or the run has other sources.
    """
    specs = _build_source_specs(paths, readers, include, exclude)
    with open_services(load_settings()) as services:
        run = _find_run(services, tenant, uuid.UUID(run_id)) if run_id else None
        if run is None:
            return _plan_and_process(services, tenant, specs, "ingest", run_id)
        if list(run.source_specs) != specs:
            raise InvalidInput(f"Run {run_id} has other sources. Start this one without its id.")
        _process_run(services, tenant, run.run_id)
        report = pipeline.read_report(services, tenant, run.run_id)
        _publish_report(report)
        return report


@flow(name="work", validate_parameters=False, task_runner=BATCH_TASK_RUNNER)
@without_messages
def work_on_run(tenant: str, run_id: str = "") -> int:
    """Help with an open run: `run_id`, or else the oldest. Return the number of runs (0 or 1)."""
    with open_services(load_settings()) as services:
        chosen = uuid.UUID(run_id) if run_id else _find_oldest_open_run(services, tenant)
        if chosen is None:
            return 0
        try:
            _process_run(services, tenant, chosen)
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
    """Do the same as `ingest`, on the schedule of a deployment.

    An unchanged source costs a listing, and leaves no run behind.
    """
    specs = _build_source_specs(paths, readers, include, exclude)
    with open_services(load_settings()) as services:
        return _plan_and_process(services, tenant, specs, "sync")


@flow(name="sweep", validate_parameters=False)
@without_messages
def sweep_ledger(tenant: str, dry_run: bool = False) -> list[dict[str, Any]]:
    """Find and repair what killed runs and lost connections left behind."""
    with open_services(load_settings()) as services:
        results = repair_tenant(services, tenant, dry_run=dry_run)
    table = [
        {"check": result.check, "found": result.found, "repaired": result.repaired}
        for result in results
    ]
    create_table_artifact(key="sweep-summary", table=table)
    return table


@task(
    name="take in a batch",
    retries=len(RETRY_DELAYS_SECONDS),
    retry_delay_seconds=RETRY_DELAYS_SECONDS,
    cache_policy=NO_CACHE,
)
@without_messages
def ingest_batch(worker: IngestWorker, batch: ClaimedBatch) -> None:
    """Take a batch of files through the stages, or delete their documents; safe to repeat."""
    worker.ingest_batch(batch)


# --- steps of the flows ---------------------------------------------------------------------------


def _build_source_specs(
    paths: Sequence[str],
    readers: Sequence[str] | None,
    include: Sequence[str] | None,
    exclude: Sequence[str] | None,
) -> list[SourceSpec]:
    return [
        pipeline.build_source_spec(path, readers or (), include or (), exclude or ())
        for path in paths
    ]


def _plan_and_process(
    services: Services, tenant: str, specs: Sequence[SourceSpec], kind: str, run_id: str = ""
) -> IngestReport:
    plan = pipeline.plan_run(services, tenant, specs, kind, uuid.UUID(run_id) if run_id else None)
    if not plan.is_empty:
        _process_run(services, tenant, plan.run_id)
    report = pipeline.build_report(services, tenant, plan)
    _publish_report(report)
    return report


def _process_run(services: Services, tenant: str, run_id: uuid.UUID) -> None:
    with IngestWorker(services, tenant, run_id) as worker, _publish_progress(services, worker.run):
        run_worker(worker, lambda batch: ingest_batch.submit(worker, batch))


def _find_run(services: Services, tenant: str, run_id: uuid.UUID) -> IngestRun | None:
    try:
        with services.database.writing(tenant) as connection:
            return queue.read_run(connection, RunHandle(tenant, run_id))
    except NotFound:
        return None


def _find_oldest_open_run(services: Services, tenant: str) -> uuid.UUID | None:
    with services.database.writing(tenant) as connection:
        return next(iter(queue.list_open_runs(connection, tenant)), None)


@contextlib.contextmanager
def _publish_progress(services: Services, run: RunHandle) -> Iterator[None]:
    """Show the progress of a run, made by all its workers, in Prefect."""
    artifact: Any = create_progress_artifact(
        progress=0.0, key=f"run-{run.run_id}", description="files done"
    )

    def publish(progress: RunProgress) -> None:
        percentage = 100.0 * progress.done / max(1, progress.files)
        update_progress_artifact(artifact, progress=percentage)

    with watch_progress(services, run, publish, PROGRESS_INTERVAL_SECONDS):
        yield


def _publish_report(report: IngestReport) -> None:
    get_run_logger().info("%s", report.counts)
    table = [{"state": state, "files": files} for state, files in report.counts.items()]
    create_table_artifact(key="ingest-summary", table=table)
