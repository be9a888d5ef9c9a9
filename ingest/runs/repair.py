"""Repair of data that killed runs, lost connections or manual changes of the database left behind.

On a healthy system only abandoned runs are found: transactions and constraints prevent the rest.
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

ITEM_RETENTION_DAYS = 30  # for the items of a closed run; its counts stay

# Description of a check -> name of the query that counts; `repair_{name}` repairs.
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
STATISTICS_CHECKS = ("statistics", "lexicon", "words")


@dataclass(frozen=True, slots=True)
class RepairResult:
    """Result of one check."""

    check: str
    found: int
    repaired: int


def repair_tenant(services: Services, tenant: str, *, dry_run: bool = False) -> list[RepairResult]:
    """Run all checks, and repair what they find unless `dry_run`. Safe while workers run."""
    return [_run_check(services, tenant, check, name, dry_run) for check, name in REPAIR_CHECKS]


def _run_check(
    services: Services, tenant: str, check: str, query_name: str, dry_run: bool
) -> RepairResult:
    values = {"tenant": tenant, "seconds": LEASE_SECONDS, "days": ITEM_RETENTION_DAYS}
    repaired = 0
    with services.database.writing(tenant) as connection:
        index = live_index(connection)
        if query_name in STATISTICS_CHECKS:
            # A recount is only right while no transaction stores. Searches are not blocked.
            connection.execute(QUERIES["lock_statistics"], values)
        found = _execute_count(connection, index, query_name, values)
        if found and not dry_run:
            repaired = _execute_count(connection, index, f"repair_{query_name}", values)
    return RepairResult(check, found, repaired)


def _execute_count(
    connection: Connection, index: IndexVersion, query_name: str, values: dict[str, object]
) -> int:
    query = compose_query(
        QUERIES[query_name], vectors=index.vector_table_name, sentences=index.sentence_table_name
    )
    row = connection.execute(query, values).fetchone()
    assert row is not None
    return int(row[0])
