"""State of ingestion: `groundwork runs`, `quarantine`, `document` and `sweep`."""

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.console import (
    JsonOption,
    TenantOption,
    open_configured_services,
    out,
    print_facts,
    print_json,
    print_rows,
)
from cli.documents import create_prefect_server, ingest_specs, print_quarantined, print_report
from core.settings import load_settings
from core.types import Location

if TYPE_CHECKING:
    from core.services import Services
    from ingest.runs.queue import IngestRun, SourceSpec
    from ingest.runs.status import QuarantineEntry

MAX_SHOWN_CHARACTERS = 100  # of a chunk in a list

FileOption = Annotated[str, typer.Argument(help="Path or uri of the file.")]


def runs(
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Number of runs, newest first.")] = 20,
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the runs: start, source, result."""
    from ingest.runs.queue import list_runs

    settings = load_settings()
    with (
        open_configured_services(settings) as services,
        services.database.writing(tenant or settings.tenant) as connection,
    ):
        newest = list_runs(connection, tenant or settings.tenant, limit)
    if as_json:
        print_json([_row_to_dict(run) for run in newest])
    elif newest:
        print_rows("Runs", [_run_row(run) for run in newest])
    else:
        out.print("There are no runs.")


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Report, but repair nothing.")] = False,
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Repair what killed runs left behind, and delete expired conversations."""
    from ingest.runs.repair import repair_tenant
    from serving.answering.conversation.history import delete_expired_conversations

    settings = load_settings()
    tenant = tenant or settings.tenant
    with open_configured_services(settings) as services:
        results = repair_tenant(services, tenant, dry_run=dry_run)
        expired, deleted = delete_expired_conversations(services, tenant, dry_run=dry_run)
    rows: list[dict[str, Any]] = [_row_to_dict(result) for result in results]
    rows.append({"check": "conversations past their days", "found": expired, "repaired": deleted})
    if as_json:
        print_json(rows)
    else:
        print_rows("Sweep", rows)


def quarantine_list(tenant: TenantOption = "", as_json: JsonOption = False) -> None:
    """List the quarantined files with stage and reason."""
    files = _list_quarantined(tenant)
    if as_json:
        print_json([_row_to_dict(file) for file in files])
    elif files:
        columns = ("path", "stage", "reason", "attempts")
        rows = [{name: getattr(file, name) for name in columns} for file in files]
        print_rows("Quarantined", rows)
    else:
        out.print("No file is quarantined.")


def quarantine_show(
    name: FileOption, tenant: TenantOption = "", as_json: JsonOption = False
) -> None:
    """Show why a file is quarantined."""
    files = [_row_to_dict(file) for file in _list_quarantined(tenant, name)]
    if as_json:
        print_json(files)
    else:
        for file in files:
            print_facts(file)


def quarantine_retry(
    name: Annotated[str, typer.Argument(help="Path or uri of the file; empty: all files.")] = "",
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> int:
    """Try quarantined files again, by a new run over their sources.

    The exit code is 1 if one of them is quarantined again.
    """
    from ingest.runs.status import list_quarantined_files

    settings = load_settings()
    tenant = tenant or settings.tenant
    with open_configured_services(settings) as services:
        files = list_quarantined_files(services, tenant, name)
        specs = _release_files(services, tenant, files)
        if not specs:
            out.print("There is nothing to try again.")
            return 0
        with create_prefect_server(settings) as server:
            report = ingest_specs(services, server, tenant, specs)
    print_report(report, as_json)
    retried = {file.uri for file in files}
    failed = [
        outcome
        for outcome in report.outcomes
        if outcome.state == "quarantined" and outcome.uri in retried
    ]
    print_quarantined(failed)
    return 1 if failed else 0


def document_show(
    name: Annotated[str, typer.Argument(help="Path, uri or id of the document.")],
    tenant: TenantOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a document: title, version, source, run, history, duplicates and chunks."""
    from ingest.runs.status import describe_document

    settings = load_settings()
    with open_configured_services(settings) as services:
        document = describe_document(services, tenant or settings.tenant, name)
    if as_json:
        print_json(document)
        return
    chunks, places = document.pop("chunks"), document.pop("places")
    versions = document.pop("versions")
    shown = {name: value for name, value in document.items() if value not in (None, {}, [])}
    print_facts({name: _format_value(value) for name, value in shown.items()})
    for place in places:
        edition = f" · {place['edition']}" if place["edition"] else ""
        out.print(f"the same as {place['path']}{edition}")
    out.print("\nversions")
    for version in versions:
        out.print(f"{version['version'] or '':>4}  {_format_version(version)}")
    out.print(f"\n{len(chunks)} chunks")
    for chunk in chunks:
        _print_chunk(chunk)


def _list_quarantined(tenant: str, name: str = "") -> "list[QuarantineEntry]":
    from ingest.runs.status import list_quarantined_files

    settings = load_settings()
    with open_configured_services(settings) as services:
        return list_quarantined_files(services, tenant or settings.tenant, name)


def _release_files(
    services: "Services", tenant: str, files: "Sequence[QuarantineEntry]"
) -> "list[SourceSpec]":
    """Release quarantined files, and return the sources that they came from."""
    from core.errors import NotFound
    from ingest.runs.queue import RunHandle, read_run
    from ingest.runs.status import release_quarantined_files

    specs: list[SourceSpec] = []
    for run_id in sorted(release_quarantined_files(services, tenant, files)):
        with services.database.writing(tenant) as connection:
            try:
                specs += read_run(connection, RunHandle(tenant, run_id)).source_specs
            except NotFound:
                continue  # stored without a run: the next ingest of its source tries the file
    return list(dict.fromkeys(specs))


def _print_chunk(chunk: dict[str, Any]) -> None:
    text = " ".join(chunk["text"].split())
    if len(text) > MAX_SHOWN_CHARACTERS:
        text = text[:MAX_SHOWN_CHARACTERS] + "…"
    characters = f"{chunk['start_char']}-{chunk['end_char']}"
    location = _parse_location(chunk["location"]).label
    out.print(f"{chunk['ordinal']:>4}  {characters}  {chunk['tokens']} tokens  {location}")
    out.print(f"      {text}")


def _parse_location(stored: dict[str, Any]) -> Location:
    rows = stored.get("rows")
    headings = tuple(stored.get("headings", ()))
    fields = stored | {"headings": headings, "rows": tuple(rows) if rows else None}
    return Location(**fields)


def _format_version(version: dict[str, Any]) -> str:
    started = _format_value(version["started_at"])
    line = f"{started}  {version['state']} by {version['kind']} {version['run_id']}"
    if version["content_hash"]:
        line += f"  content {version['content_hash'][:12]}"
    if version["reason"]:
        line += f"  {version['reason']}"
    return line


def _run_row(run: "IngestRun") -> dict[str, Any]:
    seconds = ""
    if run.finished_at:
        seconds = f"{(run.finished_at - run.started_at).total_seconds():.1f}"
    return {
        "started": _format_value(run.started_at),
        "kind": run.kind,
        "state": run.state,
        "files": ", ".join(f"{files} {state}" for state, files in sorted(run.counts.items())),
        "chunks": run.chunks,
        "seconds": seconds,
        "source": run.source,
    }


def _row_to_dict(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}


def _format_value(value: Any) -> Any:
    return value.strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else value
