"""Results of a search."""

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
    """A retriever's score of a hit (BM25, or a cosine, -1 to 1) and its rank, if it has them."""

    score: float | None
    rank: int | None


@dataclass(frozen=True, slots=True)
class SentenceHit:
    """A sentence's offsets in the document's text, and its cosine to the question, if known."""

    span: Span
    cosine: float | None


@dataclass(frozen=True, slots=True)
class RerankScore:
    """A reranker's score of a hit, on its own scale, and the rank that the hit had before."""

    score: float
    before: int


@dataclass(frozen=True, slots=True)
class DuplicateRef:
    """Another document with the passage of a hit: the same file (`exact`), or a similar text."""

    document_id: UUID
    path: str
    title: str
    edition: str | None
    exact: bool


@dataclass(frozen=True, slots=True)
class TermMatch:
    """A question term in a hit: its frequency, its idf, and what it adds to the BM25 score."""

    term: str
    frequency: float
    idf: float
    score: float


@dataclass(frozen=True, slots=True)
class ScoreReasons:
    """The share of each retriever in the score of a hit, and the terms that matched.

    The shares add up to the passage's own score; the hit's may come from a better near-duplicate.
    """

    shares: Mapping[RetrieverName, float]
    terms: tuple[TermMatch, ...]


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found, with its place in the document.

    `score` is the search score, 0 to 1 (below 0 for unrelated passages); it is not a probability.
    `rank` is the reranker's if `reranked` is set. A hit represents its near-duplicates and has the
    score of the best of them; `also` lists their documents. `coverage` is the share, 0 to 1, of the
    question's idf that one sentence covers together with the headings above it.
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
        """Return the text of a span inside this passage."""
        return self.text[span.start - self.span.start : span.end - self.span.start]


@dataclass(frozen=True, slots=True)
class AccessPath:
    """A scan that the database ran for a retriever.

    `step` is "find" if it looked for candidates, and "score" if it read the vectors of known ones.
    `rows` counts the rows after row-level security.
    """

    leg: RetrieverName
    step: Literal["find", "score"]
    method: AccessMethod
    index: str | None
    rows: int


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """Numbers of documents and of their passages."""

    documents: int
    passages: int


@dataclass(frozen=True, slots=True)
class SearchExplanation:
    """Details of a search. Every number covers only what the reader may see.

    `passed` counts what passes the filter, None without one. `milliseconds` has "planning" and
    "execution", which the database measured in a second run.
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
    """A reranker's name, and the numbers of scored hits and of returned hits that moved."""

    name: str
    scored: int
    moved: int


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The hits for a question, best first.

    `idf`, by term of the question, and `searched` cover only what the reader may see.
    `milliseconds` has "embed" and "search", and "filter", "explain" and "rerank" if there was such
    a stage.
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
