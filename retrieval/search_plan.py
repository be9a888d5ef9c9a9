"""What a search goes by, read in its own snapshot: the live index, and how much there is that the reader may see."""

from dataclasses import dataclass
from pathlib import Path

from psycopg.rows import dict_row

from core.db.database import Connection
from core.db.index_version import IndexVersion, partition_suffix, require_live_index
from core.db.queries import load_queries

QUERIES = load_queries(Path(__file__).with_name("search_plan.sql"))

# Vectors that are compared one by one in about the time that the vector index takes. Where a tenant has but a share of
# an index, the index passes by others' vectors to find its own, so comparing pays for as many more.
MAX_EXACT_VECTORS = 4_000

# How many candidates the vector index keeps in mind; more find more of the nearest and take longer. For the same recall
# a larger graph needs a longer look (bench/growth.py): one in so many of its vectors, up to the most that pgvector has.
MIN_EF_SEARCH, MAX_EF_SEARCH = 100, 1_000
VECTORS_PER_EF_SEARCH = 625


@dataclass(frozen=True, slots=True)
class CorpusStats:
    """The live index; the documents, chunks and terms that the reader may see; all vectors of its partition."""

    index: IndexVersion
    documents: int
    chunks: int
    terms: int
    vectors: int

    @property
    def ef_search(self) -> int:
        """How far the vector index looks (hnsw.ef_search)."""
        return min(MAX_EF_SEARCH, max(MIN_EF_SEARCH, self.vectors // VECTORS_PER_EF_SEARCH))

    @property
    def prefers_exact_search(self) -> bool:
        """Whether to compare every vector: exact, and no slower than the index."""
        return self.chunks * min(1.0, self.chunks / max(1, self.vectors)) <= MAX_EXACT_VECTORS


def read_corpus_stats(connection: Connection, tenant: str) -> CorpusStats:
    """What the connection's reader can reach.

    Raises:
        Unavailable: the database has no live index.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        values = {"tenant": tenant, "partition": partition_suffix(tenant)}
        row = cursor.execute(QUERIES["reach"], values, prepare=True).fetchone()
    assert row is not None
    number = row["index_version_id"]
    index = require_live_index(
        IndexVersion(number, row["model"], row["revision"], row["dimension"]) if number else None
    )
    return CorpusStats(index, row["documents"], row["chunks"], row["terms"], row["rows"])


# For the transaction of a search. Iterative: where a tenant, a group or a filter thins the neighbours out, the vector
# index goes on until it has enough; the default of 20,000 would end before a far corner is reached. No sort where an
# index brings the order, and no JIT, whose compiling would take longer than the search.
SEARCH_SETTINGS = {
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.ef_search": str(MIN_EF_SEARCH),
    "hnsw.max_scan_tuples": "10000000",
    "hnsw.scan_mem_multiplier": "32",
    "enable_sort": "off",
    "jit": "off",
}
# A search needs few rows of any table, each found by key: so without a filter the plan is the same for every question,
# is made once a connection, and has no join but the nested loop.
UNFILTERED_SETTINGS = SEARCH_SETTINGS | {
    "plan_cache_mode": "force_generic_plan",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
}
# A filter is planned with its values.
FILTERED_SETTINGS = SEARCH_SETTINGS | {"plan_cache_mode": "force_custom_plan"}
