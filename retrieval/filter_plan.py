"""How a filter meets the search, so that k rows come back where k exist.

A filter that lets few chunks pass is answered first, and the search gets their list: it compares the vectors of just
these, exactly. One that lets many pass is asked of the neighbours as the vector index brings them, nearest first, until
enough have passed. In both cases BM25 counts over all that the reader sees, and only candidates are filtered.
"""

from dataclasses import dataclass, field
from math import isqrt
from pathlib import Path
from typing import Any

from psycopg import sql

from core.db.database import Connection
from core.db.queries import load_queries
from retrieval.filter_sql import compile_filter
from retrieval.filters import Filter
from retrieval.types import DocumentCounts

QUERIES = load_queries(Path(__file__).with_name("filter_plan.sql"))
MIN_EXACT_CHUNKS = 4_000  # chunks whose vectors are compared one by one, at least
# The fewer of N chunks a filter lets through, the more of them the vector index passes by. By bench/growth.py comparing
# all n that are let through takes as long where n² is about so many times N.
EXACT_COST_RATIO = 400


@dataclass(frozen=True, slots=True)
class FilterPlan:
    """Conditions on a chunk `p` and on a document `d` for search.sql, and the values of their placeholders.

    Of documents that are the same, some may pass and others not: `document` says which a hit may stand in.
    """

    chunk_condition: sql.Composable
    document_condition: sql.Composable
    values: dict[str, Any] = field(default_factory=dict)
    is_selective: bool | None = (
        None  # whether it leaves so few that each is compared; None: there is no filter
    )


NO_FILTER = FilterPlan(sql.SQL("true"), sql.SQL("true"))


def plan_filter(
    connection: Connection, tenant: str, tree: Filter | None, chunks: int
) -> FilterPlan:
    """What a filter lets pass of the so many chunks that the connection's reader sees.

    Raises:
        InvalidInput: the filter is too deep or too large.
    """
    if tree is None:
        return NO_FILTER
    made = compile_filter(tree)
    row = connection.execute(
        sql.SQL(QUERIES["passing"]).format(condition=made.condition),
        {**made.values, "tenant": tenant, "most": compute_exact_limit(chunks) + 1},
    ).fetchone()
    assert row is not None
    if len(row[0]) <= compute_exact_limit(chunks):
        listed = sql.SQL("p.chunk_id = any (%(filter_chunks)s::bigint[])")
        return FilterPlan(
            listed, made.condition, {**made.values, "filter_chunks": row[0]}, is_selective=True
        )
    asked = sql.SQL(QUERIES["passes"]).format(condition=made.condition)
    return FilterPlan(asked, made.condition, made.values, is_selective=False)


def compute_exact_limit(chunks: int) -> int:
    """How many of so many chunks are compared one by one, rather than met on the way through the vector index."""
    return max(MIN_EXACT_CHUNKS, isqrt(EXACT_COST_RATIO * chunks))


def count_matches(connection: Connection, tenant: str, tree: Filter) -> DocumentCounts:
    """How much a filter lets pass of what the connection's reader sees; it looks at every document."""
    made = compile_filter(tree)
    counted = connection.execute(
        sql.SQL(QUERIES["passed"]).format(condition=made.condition),
        {**made.values, "tenant": tenant},
    ).fetchone()
    assert counted is not None
    return DocumentCounts(*counted)
