"""The flows on a Prefect server: registered and run by `groundwork flows serve`, asked for by whoever reaches it."""

import asyncio
import os
import sys

from prefect import serve as serve_deployments
from prefect.deployments import arun_deployment
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

import flows  # noqa: F401 - sets Prefect's switches before Prefect is imported
from flows.ingest import ingest_documents
from knowledge.errors import InvalidInput, Unavailable

DEPLOYMENT = "ingest/documents"  # flow name / deployment name
MOST_AT_ONCE = 2  # runs; each loads a model of its own


def serve() -> None:
    """Register the flows and run what is asked for, until stopped.

    Raises:
        InvalidInput: no Prefect server is configured.
    """
    _check_server()
    # By module, not by file: the flow is found wherever the package is installed and whatever the current folder is.
    documents = RunnerDeployment.from_flow(
        ingest_documents, name="documents", entrypoint_type=EntrypointType.MODULE_PATH
    )
    serve_deployments(documents, limit=MOST_AT_ONCE)


def run_ingest(tenant: str, paths: list[str], readers: list[str]) -> int:
    """Have the ingest flow run elsewhere and wait for it; returns 0 when it succeeded, else 1.

    Raises:
        InvalidInput: no Prefect server is configured.
        Unavailable: the server has no such deployment, because no worker has registered it yet.
    """
    _check_server()
    parameters = {"tenant": tenant, "paths": paths, "readers": readers}
    try:
        run = asyncio.run(arun_deployment(DEPLOYMENT, parameters=parameters, poll_interval=1))
    except Exception as error:  # the client raises its own, httpx's and anyio's errors for one fact: not reached
        raise Unavailable(
            f"The flow could not be started ({type(error).__name__}); see that `groundwork flows serve` runs"
            " and that PREFECT_API_URL names the same server."
        ) from error
    state = run.state
    succeeded = state is not None and state.is_completed()
    why = f" ({state.message})" if state is not None and state.message and not succeeded else ""
    sys.stderr.write(f"{run.name}: {state.name if state else 'unknown'}{why}\n")
    return 0 if succeeded else 1


def _check_server() -> None:
    if not os.environ.get("PREFECT_API_URL"):
        raise InvalidInput("Set PREFECT_API_URL to the address of a Prefect server, such as http://127.0.0.1:4200/api.")
