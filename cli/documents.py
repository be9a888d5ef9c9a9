"""Documents in: `groundwork ingest`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cli.console import Json, Tenant, err, names, opened, out, print_json, progress_bar
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    from core.services import Services
    from flows.engine import Engine
    from flows.ingest import Watcher
    from ingest.pipeline import Plan, Report
    from ingest.runs.queue import Origin


Readers = Annotated[str, typer.Option(help="Groups that may read them, separated by commas; none: everyone.")]
Include = Annotated[list[str] | None, typer.Option(help="Only paths that match, such as '*.md'; may be repeated.")]
Exclude = Annotated[list[str] | None, typer.Option(help="Not paths that match; wins over --include.")]

# In the order of the closing table.
STATES = ("added", "changed", "unchanged", "duplicate", "deleted", "quarantined", "superseded")


def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files, folders, buckets or sites.")],
    tenant: Tenant = "",
    readers: Readers = "",
    include: Include = None,
    exclude: Exclude = None,
    as_json: Json = False,
) -> int:
    """Take documents in: new and changed files are read, what is gone is deleted, the rest is not touched.

    A folder's readers.yaml decides who may read what is in it. A file that can't be read is put aside with its reason;
    the exit code is 1 when that happens to a file named on the command line, or to every file.
    """
    settings = load_settings()
    with opened(settings) as services, prefect_engine(settings) as engine:
        report = run_ingest(
            services, engine, tenant or settings.tenant, paths, names(readers), include or (), exclude or ()
        )
    put_aside = [outcome for outcome in report.outcomes if outcome.state == "quarantined"]
    if as_json:
        print_json(report_json(report))
    else:
        out.print(closing_table(report))
    for outcome in put_aside:
        said = outcome.message if outcome.path in outcome.message else f"{outcome.path}: {outcome.message}"
        err.print(Text("put aside ", style="yellow").append(said, style="default"))
    named = {Path(path).expanduser().resolve().as_uri() for path in paths if "://" not in path}
    failed = any(outcome.uri in named for outcome in put_aside) or len(put_aside) == len(report.outcomes)
    return 1 if put_aside and failed else 0


def run_ingest(
    services: "Services",
    engine: "Engine",
    tenant: str,
    paths: list[str],
    readers: Sequence[str] = (),
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
) -> "Report":
    """Run the ingest flow in this process, with a progress bar; Prefect is not woken when nothing changed."""
    from ingest.pipeline import origin

    return run_origins(services, engine, tenant, [origin(path, readers, include, exclude) for path in paths])


def run_origins(services: "Services", engine: "Engine", tenant: str, origins: "list[Origin]") -> "Report":
    """The same, for sources as the ledger has them."""
    from ingest.pipeline import plan, report

    planned = plan(services, tenant, origins)
    if planned.empty:
        return report(services, tenant, planned)
    engine.start()  # in the background, while the model loads
    services.embedder()
    from flows.ingest import ingest_documents, surroundings

    with engine.ready(), _watch(planned) as watcher, surroundings(services, watcher, planned):
        return ingest_documents(tenant, [each.address for each in origins])


@contextmanager
def _watch(plan: "Plan") -> Iterator["Watcher"]:
    """A progress bar on standard error: files, chunks, tokens a second, time left."""
    from flows.ingest import Watcher

    with progress_bar("{task.fields[rate]}") as progress:
        bar = progress.add_task("Ingesting", total=max(1, len(plan.to_take_in) + len(plan.to_delete)), rate="")
        done = {"chunks": 0.0, "tokens": 0.0}

        def advanced(files: float, chunks: float, tokens: float) -> None:
            done["chunks"] += chunks
            done["tokens"] += tokens
            seconds = progress.tasks[bar].elapsed or 1.0
            rate = f"{done['chunks']:,.0f} chunks {done['tokens'] / seconds:,.0f} tokens/s"
            progress.update(bar, advance=files, rate=rate)

        yield Watcher(advanced)


def prefect_engine(settings: Settings) -> "Engine":
    """The Prefect server of this home folder, not yet started."""
    from flows.engine import Engine

    return Engine(settings.home / "prefect")


def closing_table(report: "Report") -> str:
    """What a run did, a line each: files by what became of them, what was embedded, seconds by stage."""
    lines = [f"{report.counts[state]:>9,} {state}" for state in STATES if report.counts.get(state)]
    lines.append(f"{report.chunks:>9,} chunks embedded, {report.tokens:,} tokens")
    lines += [f"{report.seconds[stage]:>9.1f} s {stage}" for stage in STAGES if stage in report.seconds]
    return "\n".join(lines)


STAGES = ("parse", "embed", "store")


def summary(report: "Report") -> str:
    """A run in one line."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(report.counts.items())) or "nothing to do"
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items())
    return f"{states}; {report.chunks} chunks embedded" + (f" ({stages})" if stages else "")


def report_json(report: "Report") -> dict[str, Any]:
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
