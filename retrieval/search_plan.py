"""What a search goes by, read in its own snapshot: the live index, and how much there is that the reader may see."""

from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import dict_row

from core.db.database import Connection
from core.db.index_version import IndexVersion, check_live
from core.db.migrate import partition_suffix
from core.db.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("search_plan.sql"))

# Vectors that are compared one by one in about the time that the vector index takes. Where a tenant has but a share of
# an index, the index passes by others' vectors to find its own, so comparing pays for as many more.
EXACT = 4_000

# How many candidates the vector index keeps in mind; more find more of the nearest and take longer. For the same recall
# a larger graph needs a longer look (bench/growth.py): one in so many of its vectors, up to the most that pgvector has.
EF_SEARCH, MOST_EF_SEARCH = 100, 1_000
IN_MIND = 625


@dataclass(frozen=True, slots=True)
class Reach:
    """The live index; the documents, chunks and terms that the reader may see; all vectors of its partition."""

    index: IndexVersion
    documents: int
    chunks: int
    terms: int
    vectors: int

    @property
    def looking(self) -> int:
        """How far the vector index looks (hnsw.ef_search)."""
        return min(MOST_EF_SEARCH, max(EF_SEARCH, self.vectors // IN_MIND))

    @property
    def few(self) -> bool:
        """Whether to compare every vector: exact, and no slower than the index."""
        return self.chunks * min(1.0, self.chunks / max(1, self.vectors)) <= EXACT


def within_reach(connection: Connection, tenant: str) -> Reach:
    """What the connection's reader can reach.

    Raises:
        Unavailable: the database has no live index.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        values = {"tenant": tenant, "partition": partition_suffix(tenant)}
        row = cursor.execute(QUERIES["reach"], values, prepare=True).fetchone()
    assert row is not None
    number = row["index_version_id"]
    index = check_live(IndexVersion(number, row["model"], row["revision"], row["dimension"]) if number else None)
    return Reach(index, row["documents"], row["chunks"], row["terms"], row["rows"])


# For the transaction of a search. Iterative: where a tenant, a group or a filter thins the neighbours out, the vector
# index goes on until it has enough; the default of 20,000 would end before a far corner is reached. No sort where an
# index brings the order, and no JIT, whose compiling would take longer than the search.
SEARCHING = {
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.ef_search": str(EF_SEARCH),
    "hnsw.max_scan_tuples": "10000000",
    "hnsw.scan_mem_multiplier": "32",
    "enable_sort": "off",
    "jit": "off",
}
# A search needs few rows of any table, each found by key: so without a filter the plan is the same for every question,
# is made once a connection, and has no join but the nested loop.
UNFILTERED = SEARCHING | {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
# A filter is planned with its values.
FILTERED = SEARCHING | {"plan_cache_mode": "force_custom_plan"}
