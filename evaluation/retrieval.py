"""How well are the right passages found? Every query is asked in every mode; judgements say what is right."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from evaluation.datasets import Qrels, Query
from evaluation.metrics import mean, ndcg, percentile, recall, reciprocal_rank
from retrieval.reranker import Reranker
from retrieval.retriever import MAX_HITS, retrieve
from retrieval.types import SearchMode, SearchResult

StepCallback = Callable[[int], None]
"""Called with how many steps were just done."""


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """Means over the judged queries of one mode; times in milliseconds, the search without the embedding.

    `reranker` names the one that had the last word, for which the rerank_ times are. MRR is cut off at rank 10: a first
    relevant passage below counts 0.
    """

    mode: SearchMode
    queries: int
    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float
    search_p50_ms: float
    search_p95_ms: float
    embed_p50_ms: float
    embed_p95_ms: float
    reranker: str = ""
    rerank_p50_ms: float = 0.0
    rerank_p95_ms: float = 0.0

    @property
    def name(self) -> str:
        """The mode, and whether a reranker had a say."""
        return f"{self.mode}, reranked" if self.reranker else self.mode

    def as_dict(self) -> dict[str, Any]:
        """Under the names that the field uses, rounded to what can be told apart."""
        return {
            "queries": self.queries,
            "nDCG@10": round(self.ndcg_at_10, 4),
            "recall@100": round(self.recall_at_100, 4),
            "MRR@10": round(self.mrr_at_10, 4),
            "search_ms": {"p50": round(self.search_p50_ms, 2), "p95": round(self.search_p95_ms, 2)},
            "embed_ms": {"p50": round(self.embed_p50_ms, 2), "p95": round(self.embed_p95_ms, 2)},
            "rerank_ms": {"p50": round(self.rerank_p50_ms, 2), "p95": round(self.rerank_p95_ms, 2)},
        }


def evaluate_retrieval(
    services: Services,
    principal: Principal,
    queries: Sequence[Query],
    qrels: Qrels,
    modes: Sequence[SearchMode],
    on_progress: StepCallback,
    reranker: Reranker | None = None,
) -> list[RetrievalReport]:
    """A report for each mode without a reranker, and one more for the last mode with it, where one is given.

    Queries without a judgement are left out; there are as many steps as reports times judged queries.

    Raises:
        InvalidInput: no query has a judgement.
    """
    asked = select_judged_queries(queries, qrels)
    services.embedder().encode(["A first text, so that loading the model is not measured."])
    runs: list[tuple[SearchMode, Reranker | None]] = [(mode, None) for mode in modes]
    if reranker:
        reranker.score("A first question.", ["As above."])
        runs.append((modes[-1], reranker))
    return [
        _evaluate_mode(services, principal, asked, qrels, mode, on_progress, used)
        for mode, used in runs
    ]


def select_judged_queries(queries: Sequence[Query], qrels: Qrels) -> list[Query]:
    """The queries that have a judgement.

    Raises:
        InvalidInput: none has.
    """
    asked = [query for query in queries if query.query_id in qrels]
    if not asked:
        raise InvalidInput(
            "No query has a judgement; give the queries and qrels of one and the same benchmark."
        )
    return asked


def _evaluate_mode(
    services: Services,
    principal: Principal,
    queries: Sequence[Query],
    qrels: Qrels,
    mode: SearchMode,
    on_progress: StepCallback,
    reranker: Reranker | None,
) -> RetrievalReport:
    found: list[tuple[Query, SearchResult]] = []
    for query in queries:
        evidence = retrieve(
            services, principal, query.text, limit=MAX_HITS, mode=mode, reranker=reranker
        )
        found.append((query, evidence))
        on_progress(1)
    ranked = [(rank_documents(evidence), qrels[query.query_id]) for query, evidence in found]
    search = [evidence.milliseconds["search"] for _, evidence in found]
    embed = [evidence.milliseconds["embed"] for _, evidence in found]
    rerank = [evidence.milliseconds.get("rerank", 0.0) for _, evidence in found]
    return RetrievalReport(
        mode=mode,
        queries=len(queries),
        ndcg_at_10=mean([ndcg(names, judgements, 10) for names, judgements in ranked]),
        recall_at_100=mean([recall(names, judgements, 100) for names, judgements in ranked]),
        mrr_at_10=mean([reciprocal_rank(names, judgements, 10) for names, judgements in ranked]),
        search_p50_ms=percentile(search, 50),
        search_p95_ms=percentile(search, 95),
        embed_p50_ms=percentile(embed, 50),
        embed_p95_ms=percentile(embed, 95),
        reranker=reranker.name if reranker else "",
        rerank_p50_ms=percentile(rerank, 50),
        rerank_p95_ms=percentile(rerank, 95),
    )


def rank_documents(evidence: SearchResult) -> list[str]:
    """The documents of the hits, best first, each once: a corpus' `_id`, or a file's path."""
    return list(dict.fromkeys(hit.path for hit in evidence.hits))
