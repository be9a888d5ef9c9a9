"""What was used, summed up for whoever pays the bill."""

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
    """What calls to models used, under one name. `estimated` counts those whose tokens we counted ourselves, `tight`
    those made past a soft limit; failed and cancelled calls are in all sums, since they cost as well.
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
    """Calls of processes that died before they said what was used, and the most that this can have been."""

    calls: int
    tokens: int
    cost: Decimal


def fetch_usage(
    database: Database, tenant: str, by: UsageGrouping, since: datetime | None = None
) -> list[UsageRow]:
    """What a tenant used since a time, or ever, by name."""
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
    """What nobody knows of; it is in no other sum."""
    with (
        database.writing(tenant) as connection,
        connection.cursor(row_factory=class_row(UnaccountedUsage)) as cursor,
    ):
        row = cursor.execute(QUERIES["lost"], {"tenant": tenant, "since": since}).fetchone()
    assert row is not None
    return row
