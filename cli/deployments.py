"""The flows on a Prefect server: `groundwork flows serve` and `flows ingest`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from cli.console import TenantOption, create_progress_bar, open_configured_services, split_names
from cli.documents import ExcludeOption, IncludeOption, ReadersOption
from core.errors import InvalidInput
from core.settings import load_settings

if TYPE_CHECKING:
    from ingest.runs.queue import RunProgress


def flows_serve(
    sync: Annotated[
        list[str] | None, typer.Option(help="A source to keep in step; may be repeated.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0, help="Look at it every so many seconds.")] = 0,
    cron: Annotated[str, typer.Option(help="Or when a cron line says, such as '0 * * * *'.")] = "",
    watch: Annotated[
        bool, typer.Option("--watch", help="And at once when a local file changes.")
    ] = False,
    limit: Annotated[
        int, typer.Option(min=1, help="Flow runs at once; each loads a model of its own.")
    ] = 2,
    tenant: TenantOption = "",
    readers: ReadersOption = "",
) -> None:
    """Register the flows with the Prefect server at PREFECT_API_URL and run what it schedules, until stopped."""
    from flows.deployments import SyncSchedule, serve_flows

    if interval and cron:
        raise InvalidInput("Give --interval or --cron, not both.")
    serve_flows(
        SyncSchedule(
            tenant or load_settings().tenant,
            tuple(sync or ()),
            split_names(readers),
            interval or None,
            cron or None,
            watch,
        ),
        limit,
    )


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
    """Have workers on the Prefect server take documents in, and wait for them.

    The progress is the ledger's, so this needs the same database settings as the workers have.
    """
    from flows.deployments import check_server, run_remote_ingest
    from ingest.runs.queue import SourceSpec

    check_server()
    settings = load_settings()
    wanted = split_names(readers), tuple(include or ()), tuple(exclude or ())
    with open_configured_services(settings) as services, _show_progress() as shown:
        return run_remote_ingest(
            services,
            tenant or settings.tenant,
            [SourceSpec(path, *wanted) for path in paths],
            workers,
            shown,
        )


@contextmanager
def _show_progress() -> "Iterator[Callable[[RunProgress], None]]":
    with create_progress_bar("{task.fields[rate]}") as progress:
        bar = progress.add_task("Ingesting", total=1, rate="")

        def shown(now: "RunProgress") -> None:
            seconds = progress.tasks[bar].elapsed or 1.0
            rate = (
                f"{now.chunks:,} chunks {now.tokens / seconds:,.0f} tokens/s {now.workers} workers"
            )
            progress.update(bar, total=max(1, now.files), completed=now.done, rate=rate)

        yield shown
