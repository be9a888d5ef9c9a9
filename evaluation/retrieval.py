"""Quality and speed of retrieval: every query in every mode, compared with relevance judgements."""

from collections.abc import Callable, Mapping, Sequence
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
"""Called with the number of steps that were just done."""


@dataclass(frozen=True, slots=True)
class RetrievalReport:
    """Means over the judged queries of one mode. `milliseconds` has the p50 and p95 of each stage.

    MRR ends at rank 10: a first relevant passage below counts 0.
    """

    mode: SearchMode
    reranker: str  # "" without one
    queries: int
    ndcg_at_10: float
    recall_at_100: float
    mrr_at_10: float
    milliseconds: Mapping[str, Mapping[str, float]]

    @property
    def name(self) -> str:
        """The mode, and whether a reranker was used."""
        return f"{self.mode}, reranked" if self.reranker else self.mode

    def as_dict(self) -> dict[str, Any]:
        """Return the figures under their common names, rounded."""
        return {
            "queries": self.queries,
            "nDCG@10": round(self.ndcg_at_10, 4),
            "recall@100": round(self.recall_at_100, 4),
            "MRR@10": round(self.mrr_at_10, 4),
            **{f"{stage}_ms": dict(times) for stage, times in self.milliseconds.items()},
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
    """Return a report for each mode, and one for the last mode with the reranker, if any.

    Queries without a judgement are left out. There is one step for each judged query of each
    report.

    Raises:
        InvalidInput: no query has a judgement.
    """
    judged = select_judged_queries(queries, qrels)
    services.embedder().encode(["A first text, so that the figures leave out loading the model."])
    runs: list[tuple[SearchMode, Reranker | None]] = [(mode, None) for mode in modes]
    if reranker:
        reranker.score("A first question.", ["As above."])
        runs.append((modes[-1], reranker))
    reports = []
    for mode, used_reranker in runs:
        results = []
        for query in judged:
            result = retrieve(
                services, principal, query.text, limit=MAX_HITS, mode=mode, reranker=used_reranker
            )
            results.append(result)
            on_progress(1)
        reports.append(_build_report(mode, used_reranker, results, judged, qrels))
    return reports


def select_judged_queries(queries: Sequence[Query], qrels: Qrels) -> list[Query]:
    """Return the queries that have a judgement.

    Raises:
        InvalidInput: no query has one.
    """
    judged = [query for query in queries if query.query_id in qrels]
    if not judged:
        raise InvalidInput("No query has a judgement. Use queries and qrels of the same benchmark.")
    return judged


def _build_report(
    mode: SearchMode,
    reranker: Reranker | None,
    results: Sequence[SearchResult],
    queries: Sequence[Query],
    qrels: Qrels,
) -> RetrievalReport:
    rankings = [rank_documents(result) for result in results]
    judged = list(zip(rankings, [qrels[query.query_id] for query in queries], strict=True))
    return RetrievalReport(
        mode=mode,
        reranker=reranker.name if reranker else "",
        queries=len(queries),
        ndcg_at_10=mean([ndcg(ranking, grades, 10) for ranking, grades in judged]),
        recall_at_100=mean([recall(ranking, grades, 100) for ranking, grades in judged]),
        mrr_at_10=mean([reciprocal_rank(ranking, grades, 10) for ranking, grades in judged]),
        milliseconds={
            stage: _summarise_times([result.milliseconds.get(stage, 0.0) for result in results])
            for stage in ("search", "embed", "rerank")
        },
    )


def _summarise_times(times: Sequence[float]) -> dict[str, float]:
    return {"p50": round(percentile(times, 50), 2), "p95": round(percentile(times, 95), 2)}


def rank_documents(result: SearchResult) -> list[str]:
    """Return the paths of the hits, best first, each once; in a corpus they are the `_id`."""
    return list(dict.fromkeys(hit.path for hit in result.hits))
