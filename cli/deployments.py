"""Flows on a Prefect server: `groundwork flows serve` and `groundwork flows ingest`."""

from typing import Annotated

import typer

from cli.console import TenantOption, open_configured_services, split_names
from cli.documents import ExcludeOption, IncludeOption, ReadersOption, show_progress_bar
from core.errors import InvalidInput
from core.settings import load_settings


def flows_serve(
    sync: Annotated[
        list[str] | None, typer.Option(help="A source to keep in sync. Repeatable.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0, help="Seconds between two syncs.")] = 0,
    cron: Annotated[str, typer.Option(help="Sync by a cron line, such as '0 * * * *'.")] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="Sync as soon as a local file changes.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, help="Flow runs at once; each loads a model of its own.")
    ] = 2,
    tenant: TenantOption = "",
    readers: ReadersOption = "",
) -> None:
    """Serve the flows: register them with the Prefect server at PREFECT_API_URL, and run them."""
    from flows.deployments import SyncSchedule, serve_flows

    if interval and cron:
        raise InvalidInput("--interval and --cron exclude each other. Use one of them.")
    schedule = SyncSchedule(
        tenant or load_settings().tenant,
        tuple(sync or ()),
        split_names(readers),
        interval or None,
        cron or None,
        watch,
    )
    serve_flows(schedule, limit)


def flows_ingest(
    paths: Annotated[
        list[str], typer.Argument(help="Files, folders, buckets or sites, as the workers see them.")
    ],
    workers: Annotated[int, typer.Option(min=1, help="Flow runs that share the work.")] = 1,
    tenant: TenantOption = "",
    readers: ReadersOption = "",
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
) -> int:
    """Have workers of the Prefect server ingest documents, and wait for them.

    The progress is read from the queue, so this needs the database settings of the workers.
    """
    from flows.deployments import check_server, run_remote_ingest

    check_server()
    settings = load_settings()
    with open_configured_services(settings) as services, show_progress_bar() as update:
        return run_remote_ingest(
            services,
            tenant or settings.tenant,
            paths,
            split_names(readers),
            include or (),
            exclude or (),
            workers,
            update,
        )
