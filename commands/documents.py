"""Documents in: `groundwork ingest`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from commands.console import Json, Tenant, err, names, opened, out, print_json, progress_bar
from knowledge.settings import Settings, load_settings

if TYPE_CHECKING:
    from flows.engine import Engine
    from flows.ingest import Watcher
    from ingest.pipeline import Plan, Report
    from knowledge.services import Services


def ingest(
    paths: Annotated[list[str], typer.Argument(help="Files and folders.")],
    tenant: Tenant = "",
    readers: Annotated[str, typer.Option(help="Groups that may read them, separated by commas; none: everyone.")] = "",
    as_json: Json = False,
) -> int:
    """Take documents in: new and changed files are read, what is gone is deleted, the rest is not touched.

    A folder's readers.yaml decides who may read what is in it. A file that can't be read is put aside with its reason;
    the exit code is 1 when that happens to a file named on the command line, or to every file.
    """
    settings = load_settings()
    with opened(settings) as services, prefect_engine(settings) as engine:
        report = run_ingest(services, engine, tenant or settings.tenant, paths, names(readers))
    put_aside = [outcome for outcome in report.outcomes if outcome.state == "quarantined"]
    if as_json:
        print_json(_report_json(report))
    else:
        _print_report(report)
    for outcome in put_aside:
        said = outcome.message if outcome.path in outcome.message else f"{outcome.path}: {outcome.message}"
        err.print(Text("put aside ", style="yellow").append(said, style="default"))
    named = {Path(path).expanduser().resolve().as_uri() for path in paths}
    failed = any(outcome.uri in named for outcome in put_aside) or len(put_aside) == len(report.outcomes)
    return 1 if put_aside and failed else 0


def run_ingest(
    services: "Services", engine: "Engine", tenant: str, paths: list[str], readers: tuple[str, ...] = ()
) -> "Report":
    """Run the ingest flow in this process, with a progress bar; Prefect is not woken when nothing changed."""
    from ingest.pipeline import origin, plan, report

    planned = plan(services, tenant, [origin(path, readers) for path in paths])
    if planned.empty:
        return report(services, tenant, planned)
    engine.start()  # in the background, while the model loads
    services.embedder()
    from flows.ingest import ingest_documents, surroundings

    with engine.ready(), _watch(planned) as watcher, surroundings(services, watcher, planned):
        return ingest_documents(tenant, paths, list(readers))


@contextmanager
def _watch(plan: "Plan") -> Iterator["Watcher"]:
    """A progress bar on standard error: files, tokens a second, time left."""
    from flows.ingest import Watcher

    with progress_bar("{task.fields[rate]}") as progress:
        bar = progress.add_task("Ingesting", total=max(1, len(plan.to_take_in)), rate="")
        tokens = 0

        def advanced(files: float, more: int) -> None:
            nonlocal tokens
            tokens += more
            seconds = progress.tasks[bar].elapsed or 1.0
            progress.update(bar, advance=files, rate=f"{tokens / seconds:,.0f} tokens/s")

        yield Watcher(advanced)


def prefect_engine(settings: Settings) -> "Engine":
    """The Prefect server of this home folder, not yet started."""
    from flows.engine import Engine

    return Engine(settings.home / "prefect")


def _print_report(report: "Report") -> None:
    out.print(summary(report))


def summary(report: "Report") -> str:
    """A run in one line."""
    states = ", ".join(f"{count} {state}" for state, count in sorted(report.counts.items())) or "nothing to do"
    stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in report.seconds.items())
    return f"{states}; {report.chunks} chunks embedded" + (f" ({stages})" if stages else "")


def _report_json(report: "Report") -> dict[str, Any]:
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
