"""Choice of a plan for a filter, so that a search for k hits returns k if they exist.

A filter that few chunks pass is evaluated first: the search gets their ids and compares just their
vectors, exactly. A filter that many chunks pass is tested on each neighbour that the vector index
returns, nearest first, until enough have passed. In both cases BM25 counts over all that the reader
may see, and only candidates are filtered.
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
MIN_EXACT_CHUNKS = 4_000  # the lowest limit up to which vectors are compared one by one
# The fewer of N chunks pass a filter, the more of them the vector index visits in vain. By
# bench/growth.py, comparing all n chunks that pass takes as long as the index if n² is about this
# many times N.
EXACT_COST_RATIO = 400


@dataclass(frozen=True, slots=True)
class FilterPlan:
    """Conditions on a chunk `p` and a document `d` for search.sql, with the values to bind.

    Some documents with the same bytes may pass and others not: `document_condition` selects those
    that a hit may show. `is_selective` is true if the chunks that pass are compared one by one,
    None without a filter.
    """

    chunk_condition: sql.Composable
    document_condition: sql.Composable
    values: dict[str, Any] = field(default_factory=dict)
    is_selective: bool | None = None


NO_FILTER = FilterPlan(sql.SQL("true"), sql.SQL("true"))


def plan_filter(
    connection: Connection, tenant: str, tree: Filter | None, chunks: int
) -> FilterPlan:
    """Plan a filter over the `chunks` that the connection's reader may see."""
    if tree is None:
        return NO_FILTER
    clause = compile_filter(tree)
    exact_limit = compute_exact_limit(chunks)
    row = connection.execute(
        sql.SQL(QUERIES["list_matching_chunks"]).format(condition=clause.condition),
        {**clause.values, "tenant": tenant, "max_chunks": exact_limit + 1},
    ).fetchone()
    assert row is not None
    [chunk_ids] = row
    if len(chunk_ids) <= exact_limit:
        is_listed = sql.SQL("p.chunk_id = any (%(filter_chunks)s::bigint[])")
        values = {**clause.values, "filter_chunks": chunk_ids}
        return FilterPlan(is_listed, clause.condition, values, is_selective=True)
    matches = sql.SQL(QUERIES["chunk_matches"]).format(condition=clause.condition)
    return FilterPlan(matches, clause.condition, clause.values, is_selective=False)


def compute_exact_limit(chunks: int) -> int:
    """Return the largest number of `chunks` to compare one by one."""
    return max(MIN_EXACT_CHUNKS, isqrt(EXACT_COST_RATIO * chunks))


def count_matches(connection: Connection, tenant: str, tree: Filter) -> DocumentCounts:
    """Count the matches that the connection's reader may see. This reads every document."""
    clause = compile_filter(tree)
    row = connection.execute(
        sql.SQL(QUERIES["count_matches"]).format(condition=clause.condition),
        {**clause.values, "tenant": tenant},
    ).fetchone()
    assert row is not None
    return DocumentCounts(*row)
