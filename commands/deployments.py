"""The flows on a Prefect server: `groundwork flows serve` and `flows ingest`."""

from typing import Annotated

import typer

from commands.console import Tenant, names
from knowledge.settings import load_settings


def flows_serve() -> None:
    """Register the flows with the Prefect server at PREFECT_API_URL and run what it schedules, until stopped."""
    from flows.deployments import serve as serve_flows

    serve_flows()


def flows_ingest(
    paths: Annotated[list[str], typer.Argument(help="Files and folders, as the worker sees them.")],
    tenant: Tenant = "",
    readers: Annotated[str, typer.Option(help="Groups that may read them, separated by commas.")] = "",
) -> int:
    """Have a worker on the Prefect server run the ingest flow, and wait for it."""
    from flows.deployments import run_ingest

    return run_ingest(tenant or load_settings().tenant, paths, list(names(readers)))
