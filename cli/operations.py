"""Commands for operation: `groundwork status`, `doctor`, `migrate`, `partition` and `demo`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from cli.console import (
    JsonOption,
    TenantOption,
    load_admin_settings,
    open_admin_conninfo,
    open_configured_services,
    out,
    print_facts,
    print_json,
)
from cli.documents import create_prefect_server, ingest_paths, summarise_report
from cli.questions import print_answer
from core.errors import InvalidInput
from core.principal import Principal
from core.settings import load_settings


def status(tenant: TenantOption = "", as_json: JsonOption = False) -> None:
    """Show a tenant's documents, chunks, quarantined files and last run."""
    from ingest.runs.status import read_tenant_status

    settings = load_settings()
    with open_configured_services(settings) as services:
        facts = read_tenant_status(services, tenant or settings.tenant)
    if as_json:
        print_json(facts)
    else:
        print_facts(facts)


def doctor(as_json: JsonOption = False) -> int:
    """Check the machine and the configuration, and print how to fix each problem."""
    from core.doctor import run_checks

    findings = list(run_checks(load_settings()))
    if as_json:
        print_json(
            [{"check": f.check, "ok": f.ok, "found": f.detail, "fix": f.fix} for f in findings]
        )
    else:
        for finding in findings:
            mark = Text("ok  ", style="green") if finding.ok else Text("fix ", style="red")
            out.print(mark.append(f" {finding.check}: {finding.detail}", style="default"))
            if finding.fix:
                out.print(f"     {finding.fix}")
    return 0 if all(finding.ok for finding in findings) else 1


def migrate(as_json: JsonOption = False) -> None:
    """Update the database schema; an external one needs GROUNDWORK_ADMIN_DATABASE_URL."""
    from core.db.migrate import migrate_database as apply
    from core.embedding import describe_model
    from core.services import start_embedded_postgres

    settings = load_admin_settings()
    if settings.admin_database_url:
        applied = apply(
            settings.admin_database_url, lambda: describe_model(settings.embedding_model)
        )
    else:
        embedded, applied = start_embedded_postgres(settings)
        embedded.stop()
    if as_json:
        print_json({"applied": applied})
    else:
        out.print("\n".join(f"applied {name}" for name in applied) or "The database is up to date.")


def partition(
    tenant: Annotated[str, typer.Argument(help="Tenant that gets its own vector index.")],
    as_json: JsonOption = False,
) -> None:
    """Give a large tenant its own vector index; useful from about ten thousand passages."""
    from core.db.partitions import create_tenant_partition

    with open_admin_conninfo() as conninfo:
        created = create_tenant_partition(conninfo, tenant)
    if as_json:
        print_json({"tenant": tenant, "made": created})
    elif created:
        out.print("\n".join(f"created {name}" for name in created))
    else:
        out.print(f"{tenant} has its own partition already.")


def demo() -> int:
    """Ingest the sample company's documents, answer some questions and refuse one."""
    from serving.answering.pipeline import answer_question

    sample = Path(__file__).parent.parent / "sample"
    if not sample.is_dir():
        raise InvalidInput(
            "There is no sample folder. Run the demo from a clone of the repository."
        )
    settings = load_settings()
    with open_configured_services(settings) as services, create_prefect_server(settings) as engine:
        for tenant in DEMO_TENANTS:
            report = ingest_paths(services, engine, tenant, [str(sample / tenant)])
            out.print(
                Text(tenant, style="bold").append(f": {summarise_report(report)}", style="not bold")
            )
        answers = [
            answer_question(services, Principal("alder"), question) for question in DEMO_QUESTIONS
        ]
    for answer in answers:
        out.print()
        print_answer(answer)
    out.print(DEMO_NEXT_STEPS)
    return 0


DEMO_TENANTS = ("alder", "brightwater")
DEMO_QUESTIONS = (
    "How many days of annual leave can I carry over into next year?",
    "What happens to a parcel that has no return number?",
    "How often must the Kestrel T5 be calibrated in waste water?",
    "Who won the football world cup in 1998?",
)
DEMO_NEXT_STEPS = """
Next steps:
  make serve                                          open the page at http://127.0.0.1:8080/
  .venv/bin/groundwork ask "..." --tenant alder       ask here; --groups finance sees more
  .venv/bin/groundwork ingest ~/documents             ingest your files, then ask without --tenant
  docs/start/tour.md                                  read the code in order"""
