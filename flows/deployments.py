"""The flows on a Prefect server: registered and run by `groundwork flows serve`, asked for by whoever reaches it."""

import asyncio
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from prefect import serve as serve_deployments
from prefect.client.orchestration import get_client
from prefect.deployments import arun_deployment
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from core.errors import InvalidInput, NotFound, Unavailable
from core.services import Services
from flows.file_watcher import watch_paths
from flows.ingest import ingest_documents, sweep_ledger, sync_source, work_on_run
from ingest.runs import queue
from ingest.runs.queue import RunHandle, RunProgress, SourceSpec

DEPLOYMENT_NAME = (
    "documents"  # of every deployment; the flow's name stands before it: ingest/documents
)
MAX_CONCURRENT_RUNS = 2  # runs in one process that serves; each loads a model of its own
POLL_INTERVAL_SECONDS = 1.0
SWEEP_INTERVAL_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class SyncSchedule:
    """Sources kept in step: every so many seconds, or by a cron line, and at once when a local file changes."""

    tenant: str
    paths: tuple[str, ...] = ()
    allowed_groups: tuple[str, ...] = ()
    interval: float | None = None
    cron: str | None = None
    is_watched: bool = False

    @property
    def flow_parameters(self) -> dict[str, Any]:
        """What the flow is given."""
        return {
            "tenant": self.tenant,
            "paths": list(self.paths),
            "readers": list(self.allowed_groups),
        }


def serve_flows(schedule: SyncSchedule, limit: int = MAX_CONCURRENT_RUNS) -> None:
    """Register the flows and run what is asked for, up to `limit` runs at once, until stopped.

    Raises:
        InvalidInput: no Prefect server is configured, or a schedule without a source.
    """
    check_server()
    if not schedule.paths and (schedule.interval or schedule.cron or schedule.is_watched):
        raise InvalidInput("Name what is to be kept in step with --sync PATH.")
    deployments = [
        _build_deployment(ingest_documents),
        _build_deployment(work_on_run),
        _build_deployment(
            sync_source,
            parameters=schedule.flow_parameters if schedule.paths else {},
            interval=schedule.interval,
            cron=schedule.cron,
        ),
        _build_deployment(
            sweep_ledger, parameters={"tenant": schedule.tenant}, interval=SWEEP_INTERVAL_SECONDS
        ),
    ]
    if schedule.is_watched:
        threading.Thread(
            target=watch_paths,
            args=(schedule.paths, lambda: _start_flow_run("sync", schedule.flow_parameters)),
            daemon=True,
        ).start()
    serve_deployments(*deployments, limit=limit)


def run_remote_ingest(
    services: Services,
    tenant: str,
    origins: Sequence[SourceSpec],
    workers: int = 1,
    on_progress: Callable[[RunProgress], None] = lambda progress: None,
) -> int:
    """Have flow runs elsewhere take sources in, `workers` of them together, and wait; 0 when they succeeded, else 1.

    The ledger says when it is over, whichever of the flow runs were killed on the way. `shown` is told how far it is.

    Raises:
        Unavailable: the server has no such deployments, because nobody serves them yet.
    """
    share = RunHandle(tenant, uuid.uuid4())
    first = origins[0]
    parameters = {
        "tenant": tenant,
        "paths": [origin.address for origin in origins],
        "readers": list(first.allowed_groups),
        "include": list(first.include),
        "exclude": list(first.exclude),
        "run_id": str(share.run_id),
    }
    flow_run = _start_flow_run("ingest", parameters)
    helpers = workers - 1
    while True:
        state = _read_flow_run_state(flow_run)
        progress = _read_progress(services, share)
        if progress is not None:
            on_progress(progress)
            if progress.state == "running":
                for _ in range(helpers):
                    _start_flow_run("work", {"tenant": tenant, "run_id": str(share.run_id)})
                helpers = 0
            elif progress.state != "planning":
                return _print_outcome(progress.state, progress.state == "finished")
        elif state is not None and state.is_final():
            return _print_outcome(
                f"{state.name} {state.message or ''}".strip(), state.is_completed()
            )
        if (
            state is not None
            and (state.is_failed() or state.is_cancelled())
            and not _count_workers(progress)
        ):
            return _print_outcome(f"{state.name} {state.message or ''}".strip(), False)
        time.sleep(POLL_INTERVAL_SECONDS)


def check_server() -> None:
    """See that a Prefect server is configured; raises InvalidInput."""
    if not os.environ.get("PREFECT_API_URL"):
        raise InvalidInput(
            "Set PREFECT_API_URL to the address of a Prefect server, such as http://127.0.0.1:4200/api."
        )


def _build_deployment(flow: Any, **options: Any) -> RunnerDeployment:
    # By module, not by file: the flow is found wherever the package is installed and whatever the current folder is.
    given = {name: value for name, value in options.items() if value}
    return RunnerDeployment.from_flow(
        flow, name=DEPLOYMENT_NAME, entrypoint_type=EntrypointType.MODULE_PATH, **given
    )


def _start_flow_run(flow: str, parameters: dict[str, Any]) -> uuid.UUID:
    try:
        run = asyncio.run(
            arun_deployment(f"{flow}/{DEPLOYMENT_NAME}", parameters=parameters, timeout=0)
        )
    except (
        Exception
    ) as error:  # the client raises its own, httpx's and anyio's errors for one fact: not reached
        raise Unavailable(
            f"The flow could not be started ({type(error).__name__}); see that `groundwork flows serve` runs"
            " and that PREFECT_API_URL names the same server."
        ) from error
    return uuid.UUID(str(run.id))


def _read_flow_run_state(flow_run: uuid.UUID) -> Any:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run).state


def _read_progress(services: Services, run_handle: RunHandle) -> RunProgress | None:
    try:
        with services.database.writing(run_handle.tenant) as connection:
            return queue.read_progress(connection, run_handle)
    except (NotFound, Unavailable):
        return None  # not planned yet, or nothing to do; or the database is away, which its workers wait out


def _count_workers(progress: RunProgress | None) -> int:
    return progress.workers if progress is not None else 0


def _print_outcome(message: str, succeeded: bool) -> int:
    sys.stderr.write(f"ingest: {message}\n")
    return 0 if succeeded else 1
