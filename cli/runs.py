"""What was taken in, when, from where, and what was not: `groundwork runs`, `quarantine`, `document`, `sweep`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from cli.console import (
    JsonOption,
    TenantOption,
    err,
    open_configured_services,
    out,
    print_facts,
    print_json,
    print_rows,
)
from cli.documents import create_prefect_server, format_report, ingest_origins, report_to_dict
from core.settings import load_settings
from core.types import Location

if TYPE_CHECKING:
    from ingest.runs.queue import IngestRun

MAX_SHOWN_CHARACTERS = 100  # characters of a chunk in a list


def runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many, newest first.")] = 20,
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the runs: when, which source, what came of it."""
    from ingest.runs import queue

    settings = load_settings()
    with (
        open_configured_services(settings) as services,
        services.database.writing(tenant or settings.tenant) as connection,
    ):
        found = queue.list_runs(connection, tenant or settings.tenant, limit)
    if as_json:
        print_json([_row_to_dict(run) for run in found])
    elif found:
        print_rows("Runs", [_run_row(run) for run in found])
    else:
        out.print("No run so far.")


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, but repair nothing.")] = False,
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Find and repair what killed runs left behind: leases, orphans, wrong statistics; delete old conversations."""
    from ingest.runs.repair import repair_tenant as sweep_tenant
    from serving.answering.conversation.history import (
        delete_expired_conversations as sweep_conversations,
    )

    settings = load_settings()
    with open_configured_services(settings) as services:
        findings = sweep_tenant(services, tenant or settings.tenant, dry_run=dry_run)
        expired, deleted = sweep_conversations(services, tenant or settings.tenant, dry_run=dry_run)
    rows = [
        {"check": each.check, "found": each.found, "repaired": each.repaired} for each in findings
    ]
    rows.append({"check": "conversations past their days", "found": expired, "repaired": deleted})
    if as_json:
        print_json(rows)
    else:
        print_rows("Sweep", rows)


def quarantine_list(tenant: TenantOption = "", as_json: JsonOption = False) -> None:
    """List the files that were put aside, with stage and reason."""
    from ingest.runs.status import list_quarantined_files

    settings = load_settings()
    with open_configured_services(settings) as services:
        found = list_quarantined_files(services, tenant or settings.tenant)
    if as_json:
        print_json([_row_to_dict(file) for file in found])
    elif found:
        print_rows(
            "Put aside",
            [
                {"path": f.path, "stage": f.stage, "reason": f.reason, "attempts": f.attempts}
                for f in found
            ],
        )
    else:
        out.print("No file is put aside.")


def quarantine_show(
    name: Annotated[str, typer.Argument(help="The file's path or uri.")],
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show why a file was put aside."""
    from ingest.runs.status import list_quarantined_files

    settings = load_settings()
    with open_configured_services(settings) as services:
        found = list_quarantined_files(services, tenant or settings.tenant, name)
    if as_json:
        print_json([_row_to_dict(file) for file in found])
    else:
        for file in found:
            print_facts(_row_to_dict(file))


def quarantine_retry(
    name: Annotated[
        str, typer.Argument(help="The file's path or uri; without it, all of them.")
    ] = "",
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> int:
    """Try files that were put aside again, by a new run over the sources that they came from.

    The exit code is 1 when one of them is put aside once more.
    """
    from core.errors import NotFound
    from ingest.runs import queue
    from ingest.runs.queue import RunHandle
    from ingest.runs.status import list_quarantined_files, release_quarantined_files

    settings = load_settings()
    tenant = tenant or settings.tenant
    with open_configured_services(settings) as services:
        chosen = list_quarantined_files(services, tenant, name)
        origins: list[queue.SourceSpec] = []
        for run_id in sorted(release_quarantined_files(services, tenant, chosen)):
            with services.database.writing(tenant) as connection:
                try:
                    origins += queue.read_run(connection, RunHandle(tenant, run_id)).source_specs
                except NotFound:
                    continue  # it was put aside by what is no run: the next ingest of its source tries it
        if not origins:
            out.print("Nothing to try again.")
            return 0
        with create_prefect_server(settings) as engine:
            report = ingest_origins(services, engine, tenant, list(dict.fromkeys(origins)))
    if as_json:
        print_json(report_to_dict(report))
    else:
        out.print(format_report(report))
    tried = {file.uri for file in chosen}
    again = [each for each in report.outcomes if each.state == "quarantined" and each.uri in tried]
    for outcome in again:
        err.print(Text("put aside ", style="yellow").append(outcome.message, style="default"))
    return 1 if again else 0


def document_show(
    name: Annotated[str, typer.Argument(help="Its path, uri or id.")],
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a document: title, version, source and run, earlier versions, where else it stands, and its chunks."""
    from ingest.runs.status import describe_document

    settings = load_settings()
    with open_configured_services(settings) as services:
        found = describe_document(services, tenant or settings.tenant, name)
    if as_json:
        print_json(found)
        return
    chunks, places, versions = found.pop("chunks"), found.pop("places"), found.pop("versions")
    print_facts(
        {key: _format_value(value) for key, value in found.items() if value not in (None, {}, [])}
    )
    for place in places:
        out.print(
            f"the same as {place['path']}" + (f" · {place['edition']}" if place["edition"] else "")
        )
    out.print("\nversions")
    for each in versions:
        out.print(f"{each['version'] or '':>4}  {_format_version(each)}")
    out.print(f"\n{len(chunks)} chunks")
    for chunk in chunks:
        place = _parse_location(chunk["location"]).label()
        words = " ".join(chunk["text"].split())
        shown = words[:MAX_SHOWN_CHARACTERS] + ("…" if len(words) > MAX_SHOWN_CHARACTERS else "")
        head = f"{chunk['ordinal']:>4}  {chunk['start_char']}-{chunk['end_char']}  {chunk['tokens']} tokens"
        out.print(f"{head}  {place}\n      {shown}")


def _format_version(version: dict[str, Any]) -> str:
    """What a run made of the file, in a line."""
    said = f"{_format_value(version['started_at'])}  {version['state']} by {version['kind']} {version['run_id']}"
    content = f"  content {version['content_hash'][:12]}" if version["content_hash"] else ""
    return said + content + (f"  {version['reason']}" if version["reason"] else "")


def _parse_location(stored: dict[str, Any]) -> Location:
    rows = stored.pop("rows", None)
    return Location(
        **{**stored, "headings": tuple(stored.get("headings", ()))},
        rows=tuple(rows) if rows else None,
    )


def _run_row(run: "IngestRun") -> dict[str, Any]:
    counts = ", ".join(f"{files} {state}" for state, files in sorted(run.counts.items()))
    took = f"{(run.finished_at - run.started_at).total_seconds():.1f}" if run.finished_at else ""
    return {
        "started": _format_value(run.started_at),
        "kind": run.kind,
        "state": run.state,
        "files": counts,
        "chunks": run.chunks,
        "seconds": took,
        "source": run.source,
    }


def _row_to_dict(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def _format_value(value: Any) -> Any:
    return value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else value
