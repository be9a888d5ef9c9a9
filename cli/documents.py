"""Documents in: `groundwork ingest`."""

from collections.abc import Iterator, Sequence
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
    from flows.ingest import Watcher
    from flows.prefect_server import PrefectServer
    from ingest.pipeline import IngestPlan, IngestReport
    from ingest.runs.queue import SourceSpec


ReadersOption = Annotated[
    str, typer.Option(help="Groups that may read them, separated by commas; none: everyone.")
]
IncludeOption = Annotated[
    list[str] | None, typer.Option(help="Only paths that match, such as '*.md'; may be repeated.")
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option(help="Not paths that match; wins over --include.")
]

# In the order of the closing table.
OUTCOME_STATES = (
    "added",
    "changed",
    "unchanged",
    "duplicate",
    "deleted",
    "quarantined",
    "superseded",
)


def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, buckets or sites.")],
    tenant: TenantOption = "",
    readers: ReadersOption = "",
    include: IncludeOption = None,
    exclude: ExcludeOption = None,
    as_json: JsonOption = False,
) -> int:
    """Take documents in: new and changed files are read, what is gone is deleted, the rest is not touched.

    A folder's readers.yaml decides who may read what is in it. A file that can't be read is put aside with its reason;
    the exit code is 1 when that happens to a file named on the command line, or to every file.
    """
    settings = load_settings()
    with open_configured_services(settings) as services, create_prefect_server(settings) as engine:
        report = ingest_paths(
            services,
            engine,
            tenant or settings.tenant,
            paths,
            split_names(readers),
            include or (),
            exclude or (),
        )
    put_aside = [outcome for outcome in report.outcomes if outcome.state == "quarantined"]
    if as_json:
        print_json(report_to_dict(report))
    else:
        out.print(format_report(report))
    for outcome in put_aside:
        said = (
            outcome.message
            if outcome.path in outcome.message
            else f"{outcome.path}: {outcome.message}"
        )
        err.print(Text("put aside ", style="yellow").append(said, style="default"))
    named = {Path(path).expanduser().resolve().as_uri() for path in paths if "://" not in path}
    failed = any(outcome.uri in named for outcome in put_aside) or len(put_aside) == len(
        report.outcomes
    )
    return 1 if put_aside and failed else 0


def ingest_paths(
    services: "Services",
    prefect_server: "PrefectServer",
    tenant: str,
    paths: list[str],
    readers: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> "IngestReport":
    """Run the ingest flow in this process, with a progress bar; Prefect is not woken when nothing changed."""
    from ingest.pipeline import build_source_spec

    return ingest_origins(
        services,
        prefect_server,
        tenant,
        [build_source_spec(path, readers, include, exclude) for path in paths],
    )


def ingest_origins(
    services: "Services", prefect_server: "PrefectServer", tenant: str, origins: "list[SourceSpec]"
) -> "IngestReport":
    """The same, for sources as the ledger has them."""
    from ingest.pipeline import build_report, plan_run

    planned = plan_run(services, tenant, origins)
    if planned.is_empty:
        return build_report(services, tenant, planned)
    prefect_server.start()  # in the background, while the model loads
    services.embedder()
    from flows.ingest import ingest_documents, surroundings

    with (
        prefect_server.connect(),
        _show_progress(planned) as watcher,
        surroundings(services, watcher, planned),
    ):
        return ingest_documents(tenant, [each.address for each in origins])


@contextmanager
def _show_progress(plan: "IngestPlan") -> Iterator["Watcher"]:
    """A progress bar on standard error: files, chunks, tokens a second, time left."""
    from flows.ingest import Watcher

    with create_progress_bar("{task.fields[rate]}") as progress:
        bar = progress.add_task(
            "Ingesting", total=max(1, len(plan.to_ingest) + len(plan.to_delete)), rate=""
        )
        done = {"chunks": 0.0, "tokens": 0.0}

        def advanced(files: float, chunks: float, tokens: float) -> None:
            done["chunks"] += chunks
            done["tokens"] += tokens
            seconds = progress.tasks[bar].elapsed or 1.0
            rate = f"{done['chunks']:,.0f} chunks {done['tokens'] / seconds:,.0f} tokens/s"
            progress.update(bar, advance=files, rate=rate)

        yield Watcher(advanced)


def create_prefect_server(settings: Settings) -> "PrefectServer":
    """The Prefect server of this home folder, not yet started."""
    from flows.prefect_server import PrefectServer

    return PrefectServer(settings.home / "prefect")


def format_report(report: "IngestReport") -> str:
    """What a run did, a line each: files by what became of them, what was embedded, seconds by stage."""
    lines = [
        f"{report.counts[state]:>9,} {state}"
        for state in OUTCOME_STATES
        if report.counts.get(state)
    ]
    lines.append(f"{report.chunks:>9,} chunks embedded, {report.tokens:,} tokens")
    lines += [
        f"{report.seconds[stage]:>9.1f} s {stage}"
        for stage in TIMED_STAGES
        if stage in report.seconds
    ]
    return "\n".join(lines)


TIMED_STAGES = ("parse", "embed", "store")


def summarise_report(report: "IngestReport") -> str:
    """A run in one line."""
    states = (
        ", ".join(f"{count} {state}" for state, count in sorted(report.counts.items()))
        or "nothing to do"
    )
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items())
    return f"{states}; {report.chunks} chunks embedded" + (f" ({stages})" if stages else "")


def report_to_dict(report: "IngestReport") -> dict[str, Any]:
    """A run as JSON."""
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
