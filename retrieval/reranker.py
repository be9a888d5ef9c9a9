"""A second opinion on the best hits, by a model that reads question and passage together.

Off unless GROUNDWORK_RERANKER names a cross-encoder. Whatever has a `name` and a `score` can take its place: pass it to
`retrieve(..., reranker=...)`. docs/decisions/0010-reranking.md says what it costs.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from core.cross_encoder import load_cross_encoder
from core.errors import Unavailable
from core.settings import Settings
from retrieval.types import Hit, RerankScore, RerankSummary

RERANK_DEPTH = 30  # hits that are scored; each costs as much as embedding its passage
BATCH_SIZE = 8


class Reranker(Protocol):
    """Whatever judges how well a passage answers a question."""

    @property
    def name(self) -> str:
        """What a report says did it."""

    def score(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        """A finite score for each passage, more is better; scales may differ, only the order counts."""


class CrossEncoderReranker:
    """A `Reranker` on sentence-transformers' CrossEncoder.

    Raises:
        Unavailable: there is no such model, or it gives more than one number for a pair.
    """

    def __init__(self, name: str) -> None:
        self._model = load_cross_encoder(name, "GROUNDWORK_RERANKER")
        if self._model.num_labels != 1:
            raise Unavailable(
                f"The reranker {name!r} gives {self._model.num_labels} numbers for a passage; set GROUNDWORK_RERANKER"
                " to a cross-encoder that gives one."
            )
        self.name = name

    def score(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        """See `Reranker`. What is beyond the model's window is cut off."""
        pairs = [(question, passage) for passage in passages]
        scores = self._model.predict(pairs, batch_size=BATCH_SIZE, show_progress_bar=False)
        return [float(score) for score in scores]


def load_reranker(settings: Settings) -> Reranker | None:
    """The reranker of the settings, loaded once; None where there is none.

    Raises:
        Unavailable: it can't be loaded.
    """
    return CrossEncoderReranker(settings.reranker) if settings.reranker else None


def rerank_hits(
    reranker: Reranker, question: str, hits: Sequence[Hit], limit: int
) -> tuple[tuple[Hit, ...], RerankSummary]:
    """The best `limit` hits, the first `DEPTH` in the reranker's order; the others follow as they were."""
    first = hits[:RERANK_DEPTH]
    scores = reranker.score(question, [f"{hit.context}\n{hit.text}" for hit in first])
    judged = [
        replace(hit, reranked=RerankScore(score, hit.rank))
        for hit, score in zip(first, scores, strict=True)
    ]
    judged.sort(key=lambda hit: -hit.reranked.score if hit.reranked else 0.0)
    ordered = tuple(
        replace(hit, rank=rank) for rank, hit in enumerate([*judged, *hits[RERANK_DEPTH:]], start=1)
    )[:limit]
    moved = sum(hit.reranked is not None and hit.reranked.before != hit.rank for hit in ordered)
    return ordered, RerankSummary(reranker.name, len(first), moved)
