"""The ingest flow: plan, a task for each batch of documents with retries, deletes, and the ledger's last line.

Run by `groundwork ingest` in this process, or by a worker on a Prefect server (`groundwork flows serve`).
"""

import flows  # noqa: F401, I001 - sets Prefect's switches before Prefect is imported
from prefect import flow, get_run_logger, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE

import contextlib
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field

from ingest import pipeline
from ingest.pipeline import BatchResult, Outcome, Report
from ingest.sources import SourceFile, open_source
from knowledge.services import Services, open_services
from knowledge.settings import load_settings

# Two more attempts after a fault that is no document's: a lost connection, a full disk.
RETRY_SECONDS: list[float] = [1, 5]


@dataclass(frozen=True, slots=True)
class Watcher:
    """Told, while a run goes on, of further (shares of) files and tokens done."""

    advanced: Callable[[float, int], None] = lambda files, tokens: None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a flow run uses of the process it runs in: open services, and somebody who watches."""

    services: Services
    watcher: Watcher = field(default_factory=Watcher)
    plan: pipeline.Plan | None = None


_surroundings: ContextVar[Surroundings | None] = ContextVar("surroundings", default=None)


@contextlib.contextmanager
def surroundings(services: Services, watcher: Watcher, plan: pipeline.Plan) -> Iterator[None]:
    """Let the flow called inside use these services and this plan; without, a flow opens and makes its own."""
    token = _surroundings.set(Surroundings(services, watcher, plan))
    try:
        yield
    finally:
        _surroundings.reset(token)


@flow(name="ingest", validate_parameters=False)
def ingest_documents(tenant: str, paths: list[str], readers: list[str] | None = None) -> Report:
    """Bring a tenant's documents in line with files and folders; what is unchanged is not touched.

    Raises:
        InvalidInput: a path that is not there, or a folder without a file.
    """
    around = _surroundings.get()
    if around is not None:
        return _ingest(around, tenant, paths, readers or [])
    with open_services(load_settings()) as services:
        return _ingest(Surroundings(services), tenant, paths, readers or [])


def _ingest(around: Surroundings, tenant: str, paths: Sequence[str], readers: Sequence[str]) -> Report:
    services, watcher = around.services, around.watcher
    plan = around.plan or pipeline.plan(services, tenant, [open_source(path, tuple(readers)) for path in paths])
    pipeline.open_run(services, tenant, plan.run_id, "ingest", ", ".join(paths))
    results: list[BatchResult] = []
    state = "failed"
    try:
        for batch in plan.batches():
            results.append(take_in(services, tenant, plan.run_id, batch, watcher))
        removed = remove(services, tenant, plan.run_id, plan.to_delete)
        state = "finished"
    finally:
        outcomes = [*plan.settled, *(outcome for result in results for outcome in result.outcomes)]
        if state == "finished":
            outcomes += removed
        report = Report(plan.run_id, tuple(outcomes), _total(results))
        pipeline.close_run(services, tenant, plan.run_id, state, report.counts, report.seconds)
    _publish(report)
    return report


@task(name="take in a batch", retries=len(RETRY_SECONDS), retry_delay_seconds=RETRY_SECONDS, cache_policy=NO_CACHE)
def take_in(
    services: Services, tenant: str, run_id: uuid.UUID, files: Sequence[SourceFile], watcher: Watcher
) -> BatchResult:
    """Read, parse, chunk, embed and store a batch of files; safe to repeat."""
    return pipeline.take_in(services, tenant, run_id, files, watcher.advanced)


@task(name="remove what is gone", retries=len(RETRY_SECONDS), retry_delay_seconds=RETRY_SECONDS, cache_policy=NO_CACHE)
def remove(services: Services, tenant: str, run_id: uuid.UUID, uris: Sequence[str]) -> list[Outcome]:
    """Delete documents whose files are no longer there; safe to repeat."""
    return pipeline.remove(services, tenant, run_id, uris)


def _total(results: Sequence[BatchResult]) -> dict[str, float]:
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.seconds)
    return dict(total)


def _publish(report: Report) -> None:
    """Show the run's result where Prefect's people look."""
    get_run_logger().info("%s", report.counts)
    create_table_artifact(
        key="ingest-summary", table=[{"state": state, "files": files} for state, files in report.counts.items()]
    )
