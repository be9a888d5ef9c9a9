"""Deployments of the flows on a Prefect server: serve them, and start them from elsewhere."""

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
from prefect.client.schemas.objects import State
from prefect.deployments import arun_deployment
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from core.errors import InvalidInput, Unavailable
from core.services import Services
from flows.file_watcher import watch_paths
from flows.ingest import ingest_documents, sweep_ledger, sync_source, work_on_run
from ingest.runs.queue import RunHandle, RunProgress
from ingest.runs.status import find_progress

DEPLOYMENT_NAME = "documents"  # of every flow: ingest/documents, sync/documents, ...
MAX_CONCURRENT_RUNS = 2  # in one serving process; each run loads a model of its own
POLL_INTERVAL_SECONDS = 1.0
SWEEP_INTERVAL_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class SyncSchedule:
    """Sources to keep in sync: at an interval in seconds, by a cron line, or on local changes."""

    tenant: str
    paths: tuple[str, ...] = ()
    allowed_groups: tuple[str, ...] = ()
    interval: float | None = None
    cron: str | None = None
    is_watched: bool = False

    @property
    def flow_parameters(self) -> dict[str, Any]:
        """Return the parameters of the `sync` flow."""
        return {
            "tenant": self.tenant,
            "paths": list(self.paths),
            "readers": list(self.allowed_groups),
        }


def serve_flows(schedule: SyncSchedule, limit: int = MAX_CONCURRENT_RUNS) -> None:
    """Register the flows and run what is scheduled, up to `limit` runs at once, until stopped.

    Raises:
        InvalidInput: no Prefect server is configured, or a schedule has no source.
    """
    check_server()
    if not schedule.paths and (schedule.interval or schedule.cron or schedule.is_watched):
        raise InvalidInput("The schedule has no source. Name one with --sync PATH.")
    sync_options = {
        "parameters": schedule.flow_parameters if schedule.paths else {},
        "interval": schedule.interval,
        "cron": schedule.cron,
    }
    deployments = [
        _build_deployment(ingest_documents),
        _build_deployment(work_on_run),
        _build_deployment(sync_source, **sync_options),
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
    paths: Sequence[str],
    readers: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    workers: int = 1,
    on_progress: Callable[[RunProgress], None] = lambda progress: None,
) -> int:
    """Ingest sources with `workers` flow runs on the Prefect server, and wait for the result.

    Return 0 if the run succeeded, else 1. The queue decides, even if flow runs were killed.

    Raises:
        Unavailable: the server has no such deployments, because no process serves them.
    """
    run = RunHandle(tenant, uuid.uuid4())
    parameters = {
        "tenant": tenant,
        "paths": list(paths),
        "readers": list(readers),
        "include": list(include),
        "exclude": list(exclude),
        "run_id": str(run.run_id),
    }
    flow_run_id = _start_flow_run("ingest", parameters)
    has_helpers = False
    while True:
        state = _read_flow_run_state(flow_run_id)
        progress = find_progress(services, run)
        if progress is not None:
            on_progress(progress)
            if progress.state == "running" and not has_helpers:
                _start_helpers(run, workers - 1)
                has_helpers = True
        outcome = _find_outcome(state, progress)
        if outcome is not None:
            message, succeeded = outcome
            sys.stderr.write(f"ingest: {message}\n")
            return 0 if succeeded else 1
        time.sleep(POLL_INTERVAL_SECONDS)


def check_server() -> None:
    """Raise InvalidInput if no Prefect server is configured."""
    if not os.environ.get("PREFECT_API_URL"):
        raise InvalidInput(
            "No Prefect server is configured. Set PREFECT_API_URL to its address, such as"
            " http://127.0.0.1:4200/api."
        )


def _build_deployment(flow: Any, **options: Any) -> RunnerDeployment:
    # By module, not by file: so it is found in any folder where the package is installed.
    chosen = {name: value for name, value in options.items() if value}
    return RunnerDeployment.from_flow(
        flow, name=DEPLOYMENT_NAME, entrypoint_type=EntrypointType.MODULE_PATH, **chosen
    )


def _start_flow_run(flow: str, parameters: dict[str, Any]) -> uuid.UUID:
    name = f"{flow}/{DEPLOYMENT_NAME}"
    try:
        flow_run = asyncio.run(arun_deployment(name, parameters=parameters, timeout=0))
    except Exception as error:  # the client raises its own errors, httpx's and anyio's
        raise Unavailable(
            f"The flow could not be started ({type(error).__name__}). Check that"
            " `groundwork flows serve` runs, and that PREFECT_API_URL names the same server."
        ) from error
    return uuid.UUID(str(flow_run.id))


def _start_helpers(run: RunHandle, count: int) -> None:
    for _ in range(count):
        _start_flow_run("work", {"tenant": run.tenant, "run_id": str(run.run_id)})


def _read_flow_run_state(flow_run_id: uuid.UUID) -> State[Any] | None:
    with get_client(sync_client=True) as client:
        return client.read_flow_run(flow_run_id).state


def _find_outcome(
    state: State[Any] | None, progress: RunProgress | None
) -> tuple[str, bool] | None:
    """Return a message and True if the run succeeded; None while it continues.

    `state` is that of the first flow run. `progress` is None before the run is planned, if there
    was nothing to do, or while the database is unavailable.
    """
    if progress is not None and progress.state not in ("planning", "running"):
        return progress.state, progress.state == "finished"
    if state is None:
        return None
    message = f"{state.name} {state.message or ''}".strip()
    if progress is None and state.is_final():
        return message, state.is_completed()
    has_workers = progress is not None and progress.workers > 0
    if (state.is_failed() or state.is_cancelled()) and not has_workers:
        return message, False
    return None
