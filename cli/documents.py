"""`groundwork ingest`, and the ingest functions that other commands share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cli.console import (
    JsonOption,
    TenantOption,
    create_progress_bar,
    err,
    open_configured_services,
    out,
    print_json,
    split_names,
)
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    from core.services import Services
    from flows.prefect_server import PrefectServer
    from ingest.pipeline import IngestReport
    from ingest.runs.queue import FileOutcome, RunProgress, SourceSpec


ReadersOption = Annotated[
    str, typer.Option(help="Groups that may read the documents, comma-separated; empty: everyone.")
]
IncludeOption = Annotated[
    list[str] | None, typer.Option(help="Only paths that match, such as '*.md'. Repeatable.")
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option(help="No paths that match; overrides --include. Repeatable.")
]

OUTCOME_STATES = (  # in the order of the printed report
    "added",
    "changed",
    "unchanged",
    "duplicate",
    "deleted",
    "quarantined",
    "superseded",
)
TIMED_STAGES = ("parse", "embed", "store")
PROGRESS_INTERVAL_SECONDS = 0.5


def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, buckets or sites.")],
    tenant: TenantOption = "",
    readers: ReadersOption = "",
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    as_json: JsonOption = False,
) -> int:
    """Ingest documents: read new and changed files, delete what is gone, skip the rest.

    A folder's readers.yaml controls which groups can see which files. A file that can't be read is
    quarantined with its reason. The exit code is 1 if that happens to a file named on the command
    line, or to every file.
    """
    settings = load_settings()
    with open_configured_services(settings) as services, create_prefect_server(settings) as server:
        report = ingest_paths(
            services,
            server,
            tenant or settings.tenant,
            paths,
            split_names(readers),
            include or (),
            exclude or (),
        )
    print_report(report, as_json)
    quarantined = [outcome for outcome in report.outcomes if outcome.state == "quarantined"]
    print_quarantined(quarantined)
    named = {Path(path).expanduser().resolve().as_uri() for path in paths if "://" not in path}
    is_named = any(outcome.uri in named for outcome in quarantined)
    is_every_file = bool(quarantined) and len(quarantined) == len(report.outcomes)
    return 1 if is_named or is_every_file else 0


def ingest_paths(
    services: "Services",
    prefect_server: "PrefectServer",
    tenant: str,
    paths: Sequence[str],
    readers: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> "IngestReport":
    """Ingest paths by a flow in this process, with a progress bar."""
    from ingest.pipeline import build_source_spec

    specs = [build_source_spec(path, readers, include, exclude) for path in paths]
    return ingest_specs(services, prefect_server, tenant, specs)


def ingest_specs(
    services: "Services",
    prefect_server: "PrefectServer",
    tenant: str,
    specs: "Sequence[SourceSpec]",
) -> "IngestReport":
    """Plan a run over sources, work on it by a flow in this process, and return the report.

    Prefect is not started if there is nothing to do.
    """
    from ingest.pipeline import build_report, plan_run
    from ingest.runs.queue import RunHandle
    from ingest.runs.status import watch_progress

    plan = plan_run(services, tenant, specs)
    if plan.is_empty:
        return build_report(services, tenant, plan)
    # The server starts in the background while the model's libraries load, which takes seconds.
    # The flow opens its own services and loads the model again, which then takes half a second.
    prefect_server.start()
    services.embedder()
    from flows.ingest import ingest_documents, work_on_run

    run_id = str(plan.run_id)
    with (
        prefect_server.connect(),
        show_progress_bar() as update,
        watch_progress(services, RunHandle(tenant, plan.run_id), update, PROGRESS_INTERVAL_SECONDS),
    ):
        options = {(spec.allowed_groups, spec.include, spec.exclude) for spec in specs}
        if len(options) == 1:
            groups, include, exclude = map(list, options.pop())
            paths = [spec.address for spec in specs]
            ingest_documents(tenant, paths, groups, include, exclude, run_id)
        else:  # the flow `ingest` has one set of options for all its paths
            work_on_run(tenant, run_id)
    return build_report(services, tenant, plan)


@contextmanager
def show_progress_bar() -> "Iterator[Callable[[RunProgress], None]]":
    """Show a progress bar on standard error; yield the function that updates it."""
    with create_progress_bar("{task.fields[rate]}") as bar:
        task = bar.add_task("Ingesting", total=1, rate="")

        def update(progress: "RunProgress") -> None:
            seconds = bar.tasks[task].elapsed or 1.0
            speed = f"{progress.chunks:,} chunks {progress.tokens / seconds:,.0f} tokens/s"
            rate = f"{speed} {progress.workers} workers" if progress.workers > 1 else speed
            bar.update(task, total=max(1, progress.files), completed=progress.done, rate=rate)

        yield update


def create_prefect_server(settings: Settings) -> "PrefectServer":
    """Return the Prefect server of the home folder, not started yet."""
    from flows.prefect_server import PrefectServer

    return PrefectServer(settings.home / "prefect")


# --- reports --------------------------------------------------------------------------------------


def print_report(report: "IngestReport", as_json: bool) -> None:
    """Print the report of a run on standard output."""
    if as_json:
        print_json(report_to_dict(report))
    else:
        out.print(format_report(report))


def print_quarantined(outcomes: "Sequence[FileOutcome]") -> None:
    """Print quarantined files with their reasons on standard error."""
    for outcome in outcomes:
        message = outcome.message
        if outcome.path not in message:
            message = f"{outcome.path}: {message}"
        err.print(Text("quarantined ", style="yellow").append(message, style="default"))


def format_report(report: "IngestReport") -> str:
    """Return the result of a run, one line for each state, count and stage."""
    counts = [(report.counts.get(state), state) for state in OUTCOME_STATES]
    lines = [f"{count:>9,} {state}" for count, state in counts if count]
    lines.append(f"{report.chunks:>9,} chunks embedded, {report.tokens:,} tokens")
    for stage in TIMED_STAGES:
        if stage in report.seconds:
            lines.append(f"{report.seconds[stage]:>9.1f} s {stage}")
    return "\n".join(lines)


def summarise_report(report: "IngestReport") -> str:
    """Return the result of a run in one line."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(report.counts.items()))
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items())
    summary = f"{states or 'nothing to do'}; {report.chunks} chunks embedded"
    return f"{summary} ({stages})" if stages else summary


def report_to_dict(report: "IngestReport") -> dict[str, Any]:
    """Return the result of a run as JSON values."""
    return {
        "run_id": str(report.run_id),
        "counts": report.counts,
        "chunks": report.chunks,
        "tokens": report.tokens,
        "seconds": {stage: round(seconds, 3) for stage, seconds in report.seconds.items()},
        "put_aside": [
            {"path": outcome.path, "reason": outcome.reason, "message": outcome.message}
            for outcome in report.outcomes
            if outcome.state == "quarantined"
        ],
    }
