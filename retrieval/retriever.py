"""A question in, ranked evidence out. Read this first; the ranking itself is one statement, retrieval/search.sql.

The score of a passage is half words and half meaning: BM25 as a share of the most that any text could get for the
question, and for a tenth, how much of the question one sentence holds by itself; the cosine of the passage and that of
its best sentence (late interaction at the level of sentences). All mean the same for every question, so nothing is
stretched over whatever the candidates happen to be.
docs/decisions/0004-ranking.md has the comparison that chose it.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, LiteralString
from uuid import UUID

import numpy as np
from pgvector import HalfVector
from psycopg import RawCursor, sql
from psycopg.rows import dict_row

from core.db.database import Connection
from core.db.index_version import IndexVersion
from core.db.queries import load_queries, number_placeholders
from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from core.text.editions import find_editions
from core.text.terms import count_query_terms, hash_terms
from core.types import Location, Span
from retrieval.explain import explain_search as explain_search
from retrieval.filter_plan import NO_FILTER, FilterPlan, plan_filter
from retrieval.filters import Filter
from retrieval.reranker import RERANK_DEPTH as RERANKED
from retrieval.reranker import Reranker, load_reranker, rerank_hits
from retrieval.search_plan import (
    FILTERED_SETTINGS,
    MIN_EF_SEARCH,
    UNFILTERED_SETTINGS,
    CorpusStats,
    read_corpus_stats,
)
from retrieval.types import (
    DocumentCounts,
    DuplicateRef,
    Hit,
    RetrieverScore,
    SearchMode,
    SearchResult,
    SentenceHit,
)

QUERIES = load_queries(Path(__file__).with_name("search.sql"))

MIN_SEARCH_DEPTH = 20  # candidates from each leg, or as many as are asked for; more changes nothing among the first ten
# Behind a filter the vector index looks that many times further: of what it brings at one look few may pass, and the
# nearest that do are not all among them (bench/growth.py, a filter that lets a tenth pass).
FILTERED_DEPTH_FACTOR = 4
MAX_POSTINGS_READ = 10_000  # postings read to find candidates, the rarest terms first: bench/growth.py says what that costs and loses
BM25_WEIGHT, COVERAGE_WEIGHT = (
    0.4,
    0.1,
)  # half of a score are words: a passage's BM25, and what one sentence covers
PASSAGE_WEIGHT, SENTENCE_WEIGHT = (
    0.25,
    0.25,
)  # half is meaning: the cosines of the passage and of its best sentence
EDITION_SCORE_MARGIN = 0.1  # of the best score: by how much a newer edition may be worse and still stand for its near-duplicates
DEPTH_GROWTH_FACTOR, MAX_SEARCH_DEPTH = (
    4,
    1_000,
)  # candidates, where near-duplicates leave too few hits: so many times more, so many at most
BM25_K1, BM25_B = (
    0.9,
    0.4,
)  # BM25's saturation and length normalisation, the values of Trotman and others (2012), as in Anserini
MAX_QUESTION_CHARACTERS = 2_000  # characters
MAX_HITS = 100


def retrieve(
    services: Services,
    principal: Principal,
    question: str,
    *,
    limit: int = 10,
    mode: SearchMode = "hybrid",
    where: Filter | None = None,
    vector: Sequence[float] | None = None,
    reranker: Reranker | Literal["configured"] | None = "configured",
    explain: bool = False,
    collapse: bool | None = None,
) -> SearchResult:
    """The passages that answer a question best, among those the principal may see, in one snapshot.

    `where` narrows them down to documents that a filter lets pass. `vector` is the question's, by the model of the live
    index, where the caller has it already; in mode dense the question may then be empty, in mode lexical it changes no
    score, but gives the hits their cosines. `reranker` has the last word on the order of the best; None for none.
    `explain` also says how each score came about and which index served what, and takes about twice as long.
    `collapse` has one passage stand for all that say almost the same; None: as the settings have it.

    Raises:
        InvalidInput: an empty or overlong question, a limit outside 1..100, or a filter that is too large.
        Unavailable: no database, or a model that can't be loaded.
    """
    if vector is None or mode != "dense":
        question = check_question(question)
    if not 1 <= limit <= MAX_HITS:
        raise InvalidInput(f"The limit must be between 1 and {MAX_HITS}; {limit} is not.")
    if reranker == "configured":
        reranker = load_reranker(services.settings)
    depth = max(limit, RERANKED) if reranker else limit
    if collapse is None:
        collapse = services.settings.near_duplicates == "collapse"
    watch = _StageTimer()
    if mode != "lexical" and vector is None:
        vector = services.embedder().encode([question])[0].tolist()
    watch.record_stage("embed")
    asked, explanation = count_query_terms(question), None
    asked_vector = None if vector is None else HalfVector(list(vector))
    with services.database.reading(
        principal, FILTERED_SETTINGS if where else UNFILTERED_SETTINGS
    ) as connection:
        reach = read_corpus_stats(connection, principal.tenant)
        if reach.ef_search != MIN_EF_SEARCH:
            connection.execute(
                "select set_config('hnsw.ef_search', %s, true)", (str(reach.ef_search),)
            )
        passes = plan_filter(connection, principal.tenant, where, reach.chunks)
        if where:
            watch.record_stage("filter")
        search, found, hits = _execute_search(
            connection,
            reach,
            principal.tenant,
            asked,
            asked_vector,
            depth,
            mode,
            passes,
            find_editions(question) if collapse else None,
        )
        watch.record_stage("search")
        if explain:
            explanation, hits = explain_search(
                connection, principal, reach.index, where, search, hits, found[0]["idf"]
            )
            watch.record_stage("explain")
    reranking = None
    if reranker:
        hits, reranking = rerank_hits(reranker, question, hits, limit)
        watch.record_stage("rerank")
    hits = _score_sentences(services, vector, hits)
    return SearchResult(
        question,
        mode,
        hits,
        found[0]["idf"],
        DocumentCounts(reach.documents, reach.chunks),
        watch.milliseconds,
        where,
        reranking,
        explanation,
    )


class _StageTimer:
    """Takes the milliseconds of one stage after the other."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._last_recorded = time.perf_counter()

    def record_stage(self, stage: str) -> None:
        now = time.perf_counter()
        self.milliseconds[stage], self._last_recorded = (now - self._last_recorded) * 1000, now


def check_question(question: str) -> str:
    """The question without surrounding space, refused when it holds nothing, far too much, or no text."""
    try:
        question = question.replace("\x00", " ").strip()
        question.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, from a terminal or from JSON
        raise InvalidInput(
            "The question is not text in UTF-8; check the encoding of what sent it."
        ) from error
    if not any(character.isalnum() for character in question):
        raise InvalidInput("The question is empty; ask something in words.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidInput(
            f"The question has {len(question):,} characters; shorten it to {MAX_QUESTION_CHARACTERS:,} at most."
        )
    return question


def build_search_statement(
    stats: CorpusStats,
    tenant: str,
    term_counts: dict[str, int],
    vector: HalfVector | None,
    limit: int,
    mode: SearchMode,
    filter_plan: FilterPlan,
    named_editions: Sequence[str] | None = None,
    depth: int = MIN_SEARCH_DEPTH,
) -> tuple[sql.Composed, dict[str, Any]]:
    """The statement that searches, and its values, for a transaction with the settings of retrieval/search_plan.py.

    `asked_editions` are those that the question names; None: near-duplicates stay apart. `depth` is how many candidates
    a leg has at least.
    """
    depth = max(depth, limit)
    exact = (
        filter_plan.is_selective
        if filter_plan.is_selective is not None
        else stats.prefers_exact_search
    )
    texts = QUERIES["search"], QUERIES["nearest_exact" if exact else "nearest_index"]
    composed = (
        _compose_unfiltered(*texts, stats.index)
        if filter_plan is NO_FILTER
        else _compose_statement(*texts, stats.index, filter_plan)
    )
    return composed, {
        **filter_plan.values,
        "tenant": tenant,
        "terms": list(term_counts),
        "numbers": hash_terms(term_counts),
        "weights": [float(count) for count in term_counts.values()],
        "vector": vector,
        "lexical_depth": 0 if mode == "dense" else depth,
        "dense_depth": 0
        if mode == "lexical"
        else depth * (FILTERED_DEPTH_FACTOR if filter_plan.is_selective is False else 1),
        "bm25_weight": {"hybrid": BM25_WEIGHT, "dense": 0.0, "lexical": 1.0}[mode],
        "coverage_weight": COVERAGE_WEIGHT if mode == "hybrid" else 0.0,
        "passage_weight": {"hybrid": PASSAGE_WEIGHT, "dense": 1.0, "lexical": 0.0}[mode],
        "sentence_weight": SENTENCE_WEIGHT if mode == "hybrid" else 0.0,
        "budget": MAX_POSTINGS_READ,
        "chunks": float(stats.chunks),
        "base": BM25_K1 * (1 - BM25_B),
        "slope": BM25_K1 * BM25_B * stats.chunks / max(1, stats.terms),
        "collapse": named_editions is not None,
        "editions": list(named_editions or ()),
        "margin": EDITION_SCORE_MARGIN,
        "limit": limit,
    }


def _compose_statement(
    search: LiteralString, nearest: LiteralString, index: IndexVersion, filter_plan: FilterPlan
) -> sql.Composed:
    tables = {
        "vectors": sql.Identifier(index.vector_table_name),
        "passes": filter_plan.chunk_condition,
        "stands": filter_plan.document_condition,
    }
    return sql.SQL(search).format(
        sentences=sql.Identifier(index.sentence_table_name),
        nearest=sql.SQL(nearest).format(**tables),
        **tables,
    )


@lru_cache(maxsize=8)
def _compose_unfiltered(
    search: LiteralString, nearest: LiteralString, index: IndexVersion
) -> sql.Composed:
    """The statement that most searches need, composed once."""
    return _compose_statement(search, nearest, index, NO_FILTER)


def _execute_search(
    connection: Connection,
    stats: CorpusStats,
    tenant: str,
    term_counts: dict[str, int],
    vector: HalfVector | None,
    limit: int,
    mode: SearchMode,
    filter_plan: FilterPlan,
    named_editions: Sequence[str] | None,
) -> tuple[tuple[sql.Composed, dict[str, Any]], list[dict[str, Any]], tuple[Hit, ...]]:
    """Search; deeper, where so many candidates are near-duplicates that there are not enough hits and may be more."""
    depth = max(MIN_SEARCH_DEPTH, limit)
    while True:
        search = build_search_statement(
            stats, tenant, term_counts, vector, limit, mode, filter_plan, named_editions, depth
        )
        found = _fetch_rows(connection, *search)
        rows = [row for row in found if row["chunk_id"] is not None]
        candidates = len(rows) + sum(len(row["also"] or ()) for row in rows)
        if len(rows) >= limit or candidates < depth or depth >= MAX_SEARCH_DEPTH:
            return search, found, tuple(_parse_hit(row) for row in rows)
        depth *= DEPTH_GROWTH_FACTOR


def _fetch_rows(
    connection: Connection, query: sql.Composed, values: dict[str, Any]
) -> list[dict[str, Any]]:
    text, names = number_placeholders(query.as_string(connection))
    with RawCursor(connection, row_factory=dict_row) as cursor:
        return cursor.execute(text, [values[name] for name in names], prepare=True).fetchall()


def _parse_hit(row: dict[str, Any]) -> Hit:
    spans = row["sentence_spans"] or []
    cosines = row["sentence_cosines"] or [None] * len(spans)
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
        sentences=tuple(
            SentenceHit(Span(*span), cosine) for span, cosine in zip(spans, cosines, strict=True)
        ),
        score=float(row["score"]),
        lexical=RetrieverScore(row["lexical_score"], row["lexical_rank"]),
        dense=RetrieverScore(row["dense_score"], row["dense_rank"]),
        sentence=RetrieverScore(
            row["sentence_score"],
            row["sentence_rank"] if row["sentence_score"] is not None else None,
        ),
        coverage=row["coverage"] or 0.0,
        edition=row["edition"],
        also=_parse_duplicates(row),
    )


def _parse_duplicates(row: dict[str, Any]) -> tuple[DuplicateRef, ...]:
    """The other documents that a hit stands for, each once; those with the very same passage first."""
    named: dict[UUID, DuplicateRef] = {}
    for other in sorted(row["also"] or (), key=lambda other: not other["exact"]):
        named.setdefault(
            UUID(other["document_id"]),
            DuplicateRef(**other | {"document_id": UUID(other["document_id"])}),
        )
    named.pop(row["document_id"], None)
    return tuple(named.values())


def _score_sentences(
    services: Services, vector: Sequence[float] | None, hits: tuple[Hit, ...]
) -> tuple[Hit, ...]:
    """The hits with cosines for sentences that were stored without a vector (GROUNDWORK_SENTENCE_VECTORS=off)."""
    bare = [
        (hit, place)
        for hit in hits
        for place, each in enumerate(hit.sentences)
        if each.cosine is None
    ]
    if vector is None or not bare:
        return hits
    vectors = services.embedder().encode(
        [hit.quote(hit.sentences[place].span) for hit, place in bare]
    )
    cosines = dict(
        zip([(hit.chunk_id, place) for hit, place in bare], vectors @ np.array(vector), strict=True)
    )
    return tuple(
        replace(
            hit,
            sentences=tuple(
                replace(each, cosine=float(cosines.get((hit.chunk_id, place), each.cosine or 0.0)))
                for place, each in enumerate(hit.sentences)
            ),
        )
        for hit in hits
    )


def parse_location(stored: dict[str, Any]) -> Location:
    """A location as it lies in the database (absent fields are None)."""
    rows = stored.get("rows")
    return Location(
        headings=tuple(stored.get("headings", ())),
        page=stored.get("page"),
        slide=stored.get("slide"),
        sheet=stored.get("sheet"),
        rows=(rows[0], rows[1]) if rows else None,
    )
