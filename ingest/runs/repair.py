"""The sweep: what killed runs, lost connections or hands in the database may have left behind, found and repaired.

Nothing in here should ever find anything but runs whose worker was killed: all else is kept true by transactions and by
the database itself. That it was looked at is worth a line all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.db.database import Connection
from core.db.index_version import IndexVersion, live_index
from core.db.queries import compose_query, load_queries
from core.services import Services
from ingest.runs.queue import LEASE_SECONDS

QUERIES = load_queries(Path(__file__).with_name("repair.sql"))

ITEM_RETENTION_DAYS = 30  # that the items of a closed run are kept; its counts stay


@dataclass(frozen=True, slots=True)
class RepairResult:
    """One check: what it looks for, how much it found, and how much of that was repaired."""

    check: str
    found: int
    repaired: int


# What is looked for -> the statement that finds it; the one beside it called repair_... puts it right.
REPAIR_CHECKS: Sequence[tuple[str, str]] = (
    ("leases that nobody renewed", "leases"),
    ("runs without a live worker", "runs"),
    ("chunks without a document", "chunks"),
    ("duplicates without the document they are the same as", "copies"),
    ("passage vectors without a chunk", "vectors"),
    ("sentences without a chunk", "sentences"),
    ("postings without a chunk", "postings"),
    ("sets of readers whose statistics are wrong", "statistics"),
    ("terms whose statistics are wrong", "lexicon"),
    ("words that no document holds any longer", "words"),
    ("files of runs long closed", "items"),
)


def repair_tenant(services: Services, tenant: str, *, dry_run: bool = False) -> list[RepairResult]:
    """Look for each kind of thing that is left behind, and repair it unless `dry_run`. Safe at any time."""
    return [_run_check(services, tenant, check, name, dry_run) for check, name in REPAIR_CHECKS]


def _run_check(
    services: Services, tenant: str, check: str, query_name: str, dry_run: bool
) -> RepairResult:
    values = {"tenant": tenant, "seconds": LEASE_SECONDS, "days": ITEM_RETENTION_DAYS}
    with services.database.writing(tenant) as connection:
        index = live_index(connection)
        if query_name in ("statistics", "lexicon", "words"):
            # A recount is only true while nobody stores; readers are not in its way.
            connection.execute(QUERIES["quiet"], values)
        found = _execute_count(connection, index, query_name, values)
        repaired = (
            _execute_count(connection, index, f"repair_{query_name}", values)
            if found and not dry_run
            else 0
        )
    return RepairResult(check, found, repaired)


def _execute_count(
    connection: Connection, index: IndexVersion, query_name: str, values: dict[str, object]
) -> int:
    composed = compose_query(
        QUERIES[query_name], vectors=index.vector_table_name, sentences=index.sentence_table_name
    )
    row = connection.execute(composed, values).fetchone()
    assert row is not None
    return int(row[0])
