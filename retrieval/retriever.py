"""Ranked passages for a question. Read `retrieve` first; search_statement.py has the ranking."""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from core.db.database import Connection
from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from core.text.editions import find_editions
from retrieval.explain import explain_search
from retrieval.filter_plan import plan_filter
from retrieval.filters import Filter
from retrieval.reranker import RERANK_DEPTH, Reranker, load_reranker, rerank_hits
from retrieval.search_plan import (
    FILTERED_SETTINGS,
    MIN_EF_SEARCH,
    UNFILTERED_SETTINGS,
    read_corpus_stats,
)
from retrieval.search_statement import SearchRequest, execute_search
from retrieval.types import DocumentCounts, Hit, SearchMode, SearchResult

MAX_QUESTION_CHARACTERS = 2_000
MAX_HITS = 100


def check_question(question: str) -> str:
    """Return a question without surrounding space.

    Each entry point calls this once; the functions below rely on it.

    Raises:
        InvalidInput: the question is empty, too long, or not text.
    """
    try:
        question = question.replace("\x00", " ").strip()
        question.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, from a terminal or from JSON
        raise InvalidInput(
            "The question is not UTF-8 text. Check the encoding of the client."
        ) from error
    if not any(character.isalnum() for character in question):
        raise InvalidInput("The question is empty. Write it in words.")
    if len(question) > MAX_QUESTION_CHARACTERS:
        raise InvalidInput(
            f"The question has {len(question):,} characters."
            f" Shorten it to {MAX_QUESTION_CHARACTERS:,}."
        )
    return question


def check_limit(limit: int) -> int:
    """Return `limit` if a search can return that many hits.

    Raises:
        InvalidInput: it is not between 1 and `MAX_HITS`.
    """
    if not 1 <= limit <= MAX_HITS:
        raise InvalidInput(f"The limit {limit} is out of range. Use 1 to {MAX_HITS}.")
    return limit


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
    """Return the passages that answer a question best, among those that the principal may see.

    The caller has checked `question` and `limit` (`check_question`, `check_limit`). `vector` is the
    question's embedding, if the caller has it: in mode dense the question may then be empty; in
    mode lexical it changes no score, but the hits get cosines. The `reranker` orders the best hits.
    `explain` adds the reasons of each score and takes about twice as long. `collapse` merges
    near-duplicates into one hit; None uses the setting.

    Raises:
        Unavailable: the database or a model can't be used.
    """
    if reranker == "configured":
        reranker = load_reranker(services.settings)
    if collapse is None:
        collapse = services.settings.near_duplicates == "collapse"
    timer = _StageTimer()
    if vector is None and mode != "lexical":
        vector = services.embedder().encode([question])[0].tolist()
    timer.record_stage("embed")
    request = SearchRequest(
        question,
        mode,
        max(limit, RERANK_DEPTH) if reranker else limit,
        vector,
        where,
        find_editions(question) if collapse else None,
    )
    result = _search_snapshot(services, principal, request, explain, timer)
    if reranker:
        result = rerank_hits(reranker, result, limit)
        timer.record_stage("rerank")
    hits = _score_sentences(services, vector, result.hits)
    return replace(result, hits=hits, milliseconds=timer.milliseconds)


class _StageTimer:
    """Measures the milliseconds of consecutive stages."""

    def __init__(self) -> None:
        self.milliseconds: dict[str, float] = {}
        self._last_recorded = time.perf_counter()

    def record_stage(self, stage: str) -> None:
        now = time.perf_counter()
        self.milliseconds[stage] = (now - self._last_recorded) * 1000
        self._last_recorded = now


def _search_snapshot(
    services: Services,
    principal: Principal,
    request: SearchRequest,
    explain: bool,
    timer: _StageTimer,
) -> SearchResult:
    """Search in one transaction, so that counts, hits and explanation fit together."""
    settings = FILTERED_SETTINGS if request.where else UNFILTERED_SETTINGS
    with services.database.reading(principal, settings) as connection:
        stats = read_corpus_stats(connection, principal.tenant)
        _set_ef_search(connection, stats.ef_search)
        filter_plan = plan_filter(connection, principal.tenant, request.where, stats.chunks)
        if request.where:
            timer.record_stage("filter")
        search = execute_search(connection, principal.tenant, stats, request, filter_plan)
        timer.record_stage("search")
        result = SearchResult(
            request.question,
            request.mode,
            search.hits,
            search.idf,
            DocumentCounts(stats.documents, stats.chunks),
            filter=request.where,
        )
        if explain:
            explanation, hits = explain_search(
                connection, principal, stats.index, request.where, search
            )
            result = replace(result, hits=hits, explanation=explanation)
            timer.record_stage("explain")
    return result


def _set_ef_search(connection: Connection, ef_search: int) -> None:
    if ef_search != MIN_EF_SEARCH:  # already set by the transaction's settings
        connection.execute("select set_config('hnsw.ef_search', %s, true)", (str(ef_search),))


def _score_sentences(
    services: Services, vector: Sequence[float] | None, hits: tuple[Hit, ...]
) -> tuple[Hit, ...]:
    """Add cosines of sentences stored without a vector (GROUNDWORK_SENTENCE_VECTORS=off)."""
    spans = [
        (hit, sentence.span)
        for hit in hits
        for sentence in hit.sentences
        if sentence.cosine is None
    ]
    if vector is None or not spans:
        return hits
    vectors = services.embedder().encode([hit.quote(span) for hit, span in spans])
    cosines = iter((vectors @ vector).tolist())
    scored = []
    for hit in hits:
        sentences = [
            sentence if sentence.cosine is not None else replace(sentence, cosine=next(cosines))
            for sentence in hit.sentences
        ]
        scored.append(replace(hit, sentences=tuple(sentences)))
    return tuple(scored)
