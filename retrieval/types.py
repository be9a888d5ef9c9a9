"""What the retriever hands out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from core.types import Location, Span
from retrieval.filters import Filter

SearchMode = Literal["hybrid", "dense", "lexical"]
RetrieverName = Literal["lexical", "dense", "sentence"]
AccessMethod = Literal["index only", "index", "HNSW", "exact", "table"]


@dataclass(frozen=True, slots=True)
class RetrieverScore:
    """What one leg said of a hit: its score (BM25, or a cosine from -1 to 1) and its rank, None where it has none."""

    score: float | None
    rank: int | None


@dataclass(frozen=True, slots=True)
class SentenceHit:
    """A sentence of a hit, as offsets into the document's text, and its cosine to the question (None if unasked)."""

    span: Span
    cosine: float | None


@dataclass(frozen=True, slots=True)
class RerankScore:
    """What a reranker said of a hit: its score, on its own scale (more is better), and the rank the hit had before."""

    score: float
    before: int


@dataclass(frozen=True, slots=True)
class DuplicateRef:
    """A document that a hit stands for as well: `exact` where its file has the same bytes, so that the very same
    passage stands there; else one with nearly the same passage.
    """

    document_id: UUID
    path: str
    title: str
    edition: str | None
    exact: bool


@dataclass(frozen=True, slots=True)
class TermMatch:
    """A term of the question in a hit: how often it stands there, how rare it is, what it adds to the BM25 score."""

    term: str
    frequency: float
    idf: float
    score: float


@dataclass(frozen=True, slots=True)
class ScoreReasons:
    """Why a hit has its score: what each leg adds to it, and the terms that matched.

    The shares add up to the passage's own score, which a better near-duplicate may have raised.
    """

    shares: Mapping[RetrieverName, float]
    terms: tuple[TermMatch, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found for a question: where it stands, what it says, and why it is here.

    `score` is the search's: 0 to 1 (below 0 only for what has nothing to do with the question), and not a probability.
    Where a reranker had a say, `reranked` has its score, and `rank` follows that. Of passages that say almost the same
    one stands for all, with the score of the best; `also` names the documents of the others. `coverage` is the share,
    0 to 1, of the question's words, by their rarity, that one sentence holds together with the headings above it.
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
    lexical: RetrieverScore
    dense: RetrieverScore
    sentence: RetrieverScore
    coverage: float = 0.0
    reranked: RerankScore | None = None
    edition: str | None = None
    also: tuple[DuplicateRef, ...] = ()
    reasons: ScoreReasons | None = None

    @property
    def legs(self) -> dict[RetrieverName, RetrieverScore]:
        """The scores of the three retrievers by name."""
        return {"lexical": self.lexical, "dense": self.dense, "sentence": self.sentence}

    def quote(self, span: Span) -> str:
        """The text of a span that lies inside this passage."""
        return self.text[span.start - self.span.start : span.end - self.span.start]


@dataclass(frozen=True, slots=True)
class AccessPath:
    """How the database served a leg, from the plan it really carried out.

    `step` is "find" where it looked for candidates and "score" where it read the vectors of those it had. `rows` counts
    what came out after row-level security.
    """

    leg: RetrieverName
    step: Literal["find", "score"]
    method: AccessMethod
    index: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """How many documents, and passages of them."""

    documents: int
    passages: int


@dataclass(frozen=True, slots=True)
class SearchExplanation:
    """How a search came about; every number is over what the reader may see.

    `passed` counts what the filter lets pass, None without one. `milliseconds` has "planning" and "execution", which
    the database measured in a second run.
    """

    tenant: str
    groups: tuple[str, ...]
    model: str
    index_version: int
    passed: DocumentCounts | None
    accesses: tuple[AccessPath, ...]
    milliseconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RerankSummary:
    """What a reranker did: its name, how many hits it scored, and how many of those handed out changed their place."""

    name: str
    scored: int
    moved: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits for a question, best first, with what explains them.

    `idf` is each question term's rarity among what the reader may see; `searched` counts that. `filter` is
    the one that narrowed it down. `milliseconds` has "embed" and "search", and "filter", "explain" and "rerank"
    where there was such a stage.
    """

    question: str
    mode: SearchMode
    hits: tuple[Hit, ...]
    idf: dict[str, float]
    searched: DocumentCounts
    milliseconds: dict[str, float] = field(default_factory=dict)
    filter: Filter | None = None
    reranking: RerankSummary | None = None
    explanation: SearchExplanation | None = None
