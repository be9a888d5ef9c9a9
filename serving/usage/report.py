"""Usage reports by day, model, team, key or purpose."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Literal

from psycopg.rows import class_row

from core.db.database import Database
from core.db.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("report.sql"))

UsageGrouping = Literal["day", "model", "team", "key", "purpose"]


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Usage of one group. `estimated` calls have our own token count, and `tight` ones were made
    above a soft limit.

    All sums include failed and cancelled calls, since they cost as well.
    """

    name: str
    calls: int
    input_tokens: int
    output_tokens: int
    cost: Decimal
    estimated: int
    failed: int
    cancelled: int
    tight: int


@dataclass(frozen=True, slots=True)
class UnaccountedUsage:
    """Calls whose process died before it recorded usage, and the most that they can have used."""

    calls: int
    tokens: int
    cost: Decimal


def fetch_usage(
    database: Database, tenant: str, by: UsageGrouping, since: datetime | None = None
) -> list[UsageRow]:
    """Return the usage of a tenant, since a time or ever."""
    with (
        database.writing(tenant) as connection,
        connection.cursor(row_factory=class_row(UsageRow)) as cursor,
    ):
        return cursor.execute(
            QUERIES["usage"], {"tenant": tenant, "by": by, "since": since}
        ).fetchall()


def fetch_unaccounted_usage(
    database: Database, tenant: str, since: datetime | None = None
) -> UnaccountedUsage:
    """Return the usage that no report contains."""
    with (
        database.writing(tenant) as connection,
        connection.cursor(row_factory=class_row(UnaccountedUsage)) as cursor,
    ):
        row = cursor.execute(
            QUERIES["unaccounted_usage"], {"tenant": tenant, "since": since}
        ).fetchone()
    assert row is not None
    return row
