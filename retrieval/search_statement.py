"""Ranking as one SQL statement, search.sql: its values, and the hits that its rows become.

The score of a passage is half words and half meaning. Words: 0.4 of BM25, as a fraction of the most
that any text could get for the question, and 0.1 of the question's idf that one sentence covers.
Meaning: 0.25 of the passage's cosine and 0.25 of its best sentence's (late interaction at the level
of sentences). All four are comparable between questions, so nothing is scaled to the candidates.
docs/decisions/0004-ranking.md compares this with other formulas.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, LiteralString
from uuid import UUID

from pgvector import HalfVector
from psycopg import RawCursor, sql
from psycopg.rows import dict_row

from core.db.database import Connection
from core.db.index_version import IndexVersion
from core.db.queries import load_queries, number_placeholders
from core.text.terms import count_query_terms, hash_terms
from core.types import Location, Span
from retrieval.filter_plan import NO_FILTER, FilterPlan
from retrieval.filters import Filter
from retrieval.search_plan import CorpusStats
from retrieval.types import DuplicateRef, Hit, RetrieverScore, SearchMode, SentenceHit

QUERIES = load_queries(Path(__file__).with_name("search.sql"))

# Of BM25, of the idf that one sentence covers, and of the cosines of passage and best sentence.
WEIGHT_NAMES = ("bm25_weight", "coverage_weight", "passage_weight", "sentence_weight")
WEIGHTS: Mapping[SearchMode, tuple[float, float, float, float]] = {
    "hybrid": (0.4, 0.1, 0.25, 0.25),
    "dense": (0.0, 0.0, 1.0, 0.0),
    "lexical": (1.0, 0.0, 0.0, 0.0),
}

# BM25's saturation and length normalisation, as in Anserini: Trotman and others (2012).
BM25_K1, BM25_B = 0.9, 0.4

# Candidates of each search, or the caller's limit. More change nothing among the first ten hits.
MIN_SEARCH_DEPTH = 20
# If near-duplicates leave too few hits, the search looks deeper by this factor, down to this depth.
DEPTH_GROWTH_FACTOR, MAX_SEARCH_DEPTH = 4, 1_000
# Under a filter the vector index looks this many times further: few of its candidates may pass, and
# the nearest that pass are not all among them (bench/growth.py, a filter that a tenth passes).
FILTERED_DEPTH_FACTOR = 4
# Postings read for candidates, the rarest terms first. bench/growth.py measures what that loses.
MAX_POSTINGS_READ = 10_000
# A newer edition represents its near-duplicates if it lacks at most this part of the best score.
EDITION_SCORE_MARGIN = 0.1


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A question for the database. `named_editions` is None to keep near-duplicates apart."""

    question: str
    mode: SearchMode = "hybrid"
    limit: int = 10
    vector: Sequence[float] | None = None
    where: Filter | None = None
    named_editions: Sequence[str] | None = None


@dataclass(frozen=True, slots=True)
class ExecutedSearch:
    """A search statement with its values, and what it found."""

    statement: sql.Composed
    values: Mapping[str, Any]
    hits: tuple[Hit, ...]
    idf: dict[str, float]


def execute_search(
    connection: Connection,
    tenant: str,
    stats: CorpusStats,
    request: SearchRequest,
    filter_plan: FilterPlan,
) -> ExecutedSearch:
    """Search, and search deeper while near-duplicates leave too few hits."""
    depth = max(MIN_SEARCH_DEPTH, request.limit)
    while True:
        statement, values = build_search_statement(tenant, stats, request, filter_plan, depth)
        rows = _fetch_rows(connection, statement, values)
        hit_rows = [row for row in rows if row["chunk_id"] is not None]
        candidates = len(hit_rows) + sum(len(row["also"] or ()) for row in hit_rows)
        if len(hit_rows) >= request.limit or candidates < depth or depth >= MAX_SEARCH_DEPTH:
            hits = tuple(_parse_hit(row) for row in hit_rows)
            return ExecutedSearch(statement, values, hits, rows[0]["idf"])
        depth *= DEPTH_GROWTH_FACTOR


def build_search_statement(
    tenant: str,
    stats: CorpusStats,
    request: SearchRequest,
    filter_plan: FilterPlan = NO_FILTER,
    depth: int = MIN_SEARCH_DEPTH,
) -> tuple[sql.Composed, dict[str, Any]]:
    """Return the statement and its values, for a transaction with the settings of search_plan.py.

    `depth` is the lowest number of candidates that each search looks for.
    """
    depth = max(depth, request.limit)
    dense_depth = depth * FILTERED_DEPTH_FACTOR if filter_plan.is_selective is False else depth
    term_counts = count_query_terms(request.question)
    values = {
        **filter_plan.values,
        **dict(zip(WEIGHT_NAMES, WEIGHTS[request.mode], strict=True)),
        "tenant": tenant,
        "terms": list(term_counts),
        "term_numbers": hash_terms(term_counts),
        "term_counts": [float(count) for count in term_counts.values()],
        "vector": None if request.vector is None else HalfVector(list(request.vector)),
        "lexical_depth": 0 if request.mode == "dense" else depth,
        "dense_depth": 0 if request.mode == "lexical" else dense_depth,
        "max_postings": MAX_POSTINGS_READ,
        "chunk_count": float(stats.chunks),
        "bm25_base": BM25_K1 * (1 - BM25_B),
        "bm25_slope": BM25_K1 * BM25_B * stats.chunks / max(1, stats.terms),
        "collapse": request.named_editions is not None,
        "named_editions": list(request.named_editions or ()),
        "edition_margin": EDITION_SCORE_MARGIN,
        "limit": request.limit,
    }
    is_exact = filter_plan.is_selective
    if is_exact is None:
        is_exact = stats.prefers_exact_search
    texts = QUERIES["search"], QUERIES["nearest_exact" if is_exact else "nearest_index"]
    if filter_plan is NO_FILTER:
        return _compose_unfiltered(*texts, stats.index), values
    return _compose_statement(*texts, stats.index, filter_plan), values


@lru_cache(maxsize=8)
def _compose_unfiltered(
    search: LiteralString, nearest: LiteralString, index: IndexVersion
) -> sql.Composed:
    """Compose the statement of most searches once."""
    return _compose_statement(search, nearest, index, NO_FILTER)


def _compose_statement(
    search: LiteralString, nearest: LiteralString, index: IndexVersion, filter_plan: FilterPlan
) -> sql.Composed:
    parts = {
        "vectors": sql.Identifier(index.vector_table_name),
        "chunk_condition": filter_plan.chunk_condition,
        "document_condition": filter_plan.document_condition,
    }
    return sql.SQL(search).format(
        sentences=sql.Identifier(index.sentence_table_name),
        nearest=sql.SQL(nearest).format(**parts),
        **parts,
    )


def _fetch_rows(
    connection: Connection, query: sql.Composed, values: Mapping[str, Any]
) -> list[dict[str, Any]]:
    text, names = number_placeholders(query.as_string(connection))
    with RawCursor(connection, row_factory=dict_row) as cursor:
        return cursor.execute(text, [values[name] for name in names], prepare=True).fetchall()


def _parse_hit(row: dict[str, Any]) -> Hit:
    sentence_rank = row["sentence_rank"] if row["sentence_score"] is not None else None
    return Hit(
        rank=row["rank"],
        chunk_id=row["chunk_id"],
        document_id=row["document_id"],
        ordinal=row["ordinal"],
        title=row["title"],
        path=row["path"],
        uri=row["uri"],
        version=row["version"],
        media_type=row["media_type"],
        metadata=row["metadata"],
        location=parse_location(row["location"]),
        context=row["context"],
        span=Span(row["start_char"], row["end_char"]),
        text=row["text"],
        sentences=_parse_sentences(row),
        score=float(row["score"]),
        lexical=RetrieverScore(row["lexical_score"], row["lexical_rank"]),
        dense=RetrieverScore(row["dense_score"], row["dense_rank"]),
        sentence=RetrieverScore(row["sentence_score"], sentence_rank),
        coverage=row["coverage"] or 0.0,
        edition=row["edition"],
        also=_parse_duplicates(row),
    )


def parse_location(stored: dict[str, Any]) -> Location:
    """Return a location as the database stores it (missing fields are None)."""
    rows = stored.get("rows")
    return Location(
        headings=tuple(stored.get("headings", ())),
        page=stored.get("page"),
        slide=stored.get("slide"),
        sheet=stored.get("sheet"),
        rows=(rows[0], rows[1]) if rows else None,
    )


def _parse_sentences(row: dict[str, Any]) -> tuple[SentenceHit, ...]:
    spans = row["sentence_spans"] or []
    cosines = row["sentence_cosines"] or [None] * len(spans)
    return tuple(
        SentenceHit(Span(*span), cosine) for span, cosine in zip(spans, cosines, strict=True)
    )


def _parse_duplicates(row: dict[str, Any]) -> tuple[DuplicateRef, ...]:
    """Return the other documents of a hit, each once; those with the very same passage first."""
    duplicates: dict[UUID, DuplicateRef] = {}
    for stored in sorted(row["also"] or (), key=lambda stored: not stored["exact"]):
        document_id = UUID(stored["document_id"])
        duplicates.setdefault(document_id, DuplicateRef(**stored | {"document_id": document_id}))
    duplicates.pop(row["document_id"], None)
    return tuple(duplicates.values())
