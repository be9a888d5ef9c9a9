"""Inputs of the search plan: the live index, the size of the corpus, and planner settings."""

from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import dict_row

from core.db.database import Connection
from core.db.index_version import IndexVersion, partition_suffix, require_live_index
from core.db.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("search_plan.sql"))

# Comparing this many vectors one by one takes about as long as the vector index. For a tenant with
# only part of an index the limit is higher: the index visits vectors of other tenants in vain.
MAX_EXACT_VECTORS = 4_000

# Candidates that the vector index keeps (hnsw.ef_search): more find more of the nearest vectors and
# take longer. For the same recall a larger graph needs more (bench/growth.py), up to pgvector's
# maximum.
MIN_EF_SEARCH, MAX_EF_SEARCH = 100, 1_000
VECTORS_PER_EF_SEARCH = 625


@dataclass(frozen=True, slots=True)
class CorpusStats:
    """The live index, counts of what the reader may see, and all vectors of the partition."""

    index: IndexVersion
    documents: int
    chunks: int
    terms: int
    vectors: int

    @property
    def ef_search(self) -> int:
        """Number of candidates that the vector index keeps (hnsw.ef_search)."""
        return min(MAX_EF_SEARCH, max(MIN_EF_SEARCH, self.vectors // VECTORS_PER_EF_SEARCH))

    @property
    def prefers_exact_search(self) -> bool:
        """True if comparing every vector, which is exact, is no slower than the index."""
        return self.chunks * min(1.0, self.chunks / max(1, self.vectors)) <= MAX_EXACT_VECTORS


def read_corpus_stats(connection: Connection, tenant: str) -> CorpusStats:
    """Read the counts for the connection's reader.

    Raises:
        Unavailable: the database has no live index.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        values = {"tenant": tenant, "partition": partition_suffix(tenant)}
        row = cursor.execute(QUERIES["corpus_stats"], values, prepare=True).fetchone()
    assert row is not None
    number = row["index_version_id"]
    index = require_live_index(
        IndexVersion(number, row["model"], row["revision"], row["dimension"]) if number else None
    )
    return CorpusStats(index, row["documents"], row["chunks"], row["terms"], row["vectors"])


# For the transaction of a search. Iterative scan: where few neighbours belong to the tenant, the
# groups and the filter, the vector index continues until it has enough; the default limit of 20,000
# tuples would end too early. No sort where an index returns rows in order. No JIT: compiling would
# take longer than the search.
SEARCH_SETTINGS = {
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.ef_search": str(MIN_EF_SEARCH),
    "hnsw.max_scan_tuples": "10000000",
    "hnsw.scan_mem_multiplier": "32",
    "enable_sort": "off",
    "jit": "off",
}
# Without a filter a search needs few rows of each table, all found by key. So the plan is the same
# for every question, is made once for each connection, and joins by nested loops only.
UNFILTERED_SETTINGS = SEARCH_SETTINGS | {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
# With a filter the plan depends on the values.
FILTERED_SETTINGS = SEARCH_SETTINGS | {"plan_cache_mode": "force_custom_plan"}
