"""What the retriever hands out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from knowledge.types import Location, Span

Mode = Literal["hybrid", "dense", "lexical"]


@dataclass(frozen=True, slots=True)
class Leg:
    """What one leg said of a hit: its score (BM25, or a cosine from -1 to 1) and its rank, None where it has none."""

    score: float | None
    rank: int | None


@dataclass(frozen=True, slots=True)
class SentenceHit:
    """A sentence of a hit, as offsets into the document's text, and its cosine to the question (None if unasked)."""

    span: Span
    cosine: float | None


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found for a question: where it stands, what it says, and why it is here.

    `score` ranks: 0 to 1 (below 0 only for what has nothing to do with the question), and not a probability.
    """

    rank: int
    chunk_id: int
    document_id: UUID
    ordinal: int
    title: str
    path: str
    uri: str
    version: int
    media_type: str
    metadata: Mapping[str, Any]
    location: Location
    context: str
    span: Span
    text: str
    sentences: tuple[SentenceHit, ...]
    score: float
    lexical: Leg
    dense: Leg
    sentence: Leg

    def quote(self, span: Span) -> str:
        """The text of a span that lies inside this passage."""
        return self.text[span.start - self.span.start : span.end - self.span.start]


@dataclass(frozen=True, slots=True)
class Evidence:
    """The hits for a question, best first, with what explains them.

    `idf` is each question term's rarity among what the reader may see; `documents` and `chunks` count that.
    """

    question: str
    mode: Mode
    hits: tuple[Hit, ...]
    idf: dict[str, float]
    documents: int
    chunks: int
    milliseconds: dict[str, float] = field(default_factory=dict)
