"""Optional second ranking of the best hits, by a model that reads question and passage together.

Off unless GROUNDWORK_RERANKER names a cross-encoder. To use another reranker, pass an object with a
`name` and a `score` to `retrieve(..., reranker=...)`. docs/decisions/0010-reranking.md gives the
costs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from core.cross_encoder import load_cross_encoder
from core.errors import Unavailable
from core.settings import Settings
from retrieval.types import Hit, RerankScore, RerankSummary, SearchResult

RERANK_DEPTH = 30  # hits that are scored; each costs as much as embedding its passage
BATCH_SIZE = 8
RERANKER_SETTING = "GROUNDWORK_RERANKER"


class Reranker(Protocol):
    """Scores how well a passage answers a question."""

    @property
    def name(self) -> str:
        """The name in reports."""

    def score(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        """Return a finite score for each passage, on any scale; more is better."""


class CrossEncoderReranker:
    """A `Reranker` on sentence-transformers' CrossEncoder.

    Raises:
        Unavailable: there is no such model, or it returns more than one number for a pair.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._model = load_cross_encoder(name, RERANKER_SETTING)
        if self._model.num_labels != 1:
            raise Unavailable(
                f"The reranker {name!r} returns {self._model.num_labels} numbers for a passage."
                f" Set {RERANKER_SETTING} to a cross-encoder that returns one."
            )

    def score(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        """See `Reranker`. Text beyond the model's window is cut off."""
        pairs = [(question, passage) for passage in passages]
        scores = self._model.predict(pairs, batch_size=BATCH_SIZE, show_progress_bar=False)
        return [float(score) for score in scores]


def load_reranker(settings: Settings) -> Reranker | None:
    """Return the reranker of the settings; None if they name none. A process loads its model once.

    Raises:
        Unavailable: it can't be loaded.
    """
    return CrossEncoderReranker(settings.reranker) if settings.reranker else None


def rerank_hits(reranker: Reranker, result: SearchResult, limit: int) -> SearchResult:
    """Return the best `limit` hits: the first `RERANK_DEPTH` are in the reranker's order."""
    judged, others = result.hits[:RERANK_DEPTH], result.hits[RERANK_DEPTH:]
    scores = reranker.score(result.question, [f"{hit.context}\n{hit.text}" for hit in judged])
    by_score = sorted(zip(scores, judged, strict=True), key=lambda pair: -pair[0])
    hits: list[Hit] = []
    for rank, (score, hit) in enumerate(by_score, start=1):
        hits.append(replace(hit, rank=rank, reranked=RerankScore(score, hit.rank)))
    for rank, hit in enumerate(others, start=len(judged) + 1):
        hits.append(replace(hit, rank=rank))
    hits = hits[:limit]
    moved = sum(hit.reranked is not None and hit.reranked.before != hit.rank for hit in hits)
    summary = RerankSummary(reranker.name, len(judged), moved)
    return replace(result, hits=tuple(hits), reranking=summary)
