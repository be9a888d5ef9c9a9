"""JSON shapes of the HTTP API and of `--json` on the command line.

Most domain types are their own shape. A model here is a domain type whose JSON differs:
`SearchOut.model_validate(result)` reads the fields by name from its attributes.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, AliasPath, BaseModel, BeforeValidator, ConfigDict, Field

from retrieval.filters import Filter, filter_json, parse_filter
from retrieval.retriever import check_question
from retrieval.types import (
    AccessPath,
    DocumentCounts,
    DuplicateRef,
    RerankScore,
    RerankSummary,
    RetrieverName,
    RetrieverScore,
    ScoreReasons,
    SearchMode,
)
from serving.answering.types import AnswerSentence, AnswerStatus, FaultCode, RefusalCode

SpanStart = Annotated[int, Field(validation_alias=AliasPath("span", "start"))]
SpanEnd = Annotated[int, Field(validation_alias=AliasPath("span", "end"))]
IsoTime = Annotated[str, BeforeValidator(datetime.isoformat)]
FilterJson = Annotated[
    dict[str, Any] | None, BeforeValidator(lambda tree: filter_json(tree) if tree else None)
]


class Question(BaseModel):
    """A question and how to search for its answer."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, AfterValidator(check_question)] = Field(
        description="The question, 1 to 2,000 characters.",
        examples=["How much leave carries over?"],
    )
    mode: SearchMode = Field(default="hybrid", description="Retrievers to use.")
    filter: Annotated[Filter, BeforeValidator(parse_filter)] | None = Field(
        default=None,
        description=(
            "Documents to search: a condition, which is a field with a test, or"
            ' {"and": [...]}, {"or": [...]}, {"not": ...} of filters. See docs/reference/search.md.'
        ),
        examples=[
            {"and": [{"field": "path", "prefix": "products/"}, {"field": "version", "gte": 1}]}
        ],
    )

    conversation: UUID | Literal["new"] | None = Field(
        default=None,
        description="A conversation with follow-up questions; `new` starts one. /v1/ask only.",
    )


class SearchQuestion(Question):
    """A question that passages answer."""

    limit: int = Field(default=10, ge=1, le=100, description="Maximum number of passages.")
    explain: bool = Field(default=False, description="Explain each score; this searches twice.")


class DomainModel(BaseModel):
    """A shape that is read from the attributes of a domain type."""

    model_config = ConfigDict(from_attributes=True)


class LocationOut(DomainModel):
    """The place of a passage in its document; `label` is the same in one line."""

    label: str
    headings: list[str]
    page: int | None
    slide: int | None
    sheet: str | None
    rows: tuple[int, int] | None


class HitOut(DomainModel):
    """A passage. `start` and `end` count characters (code points) of the document's text.

    `also` lists documents with the same, or nearly the same, passage. `reranked` is present if a
    reranker ran, `reasons` if an explanation was requested.
    """

    rank: int
    document_id: UUID
    title: str
    path: str
    version: int
    location: LocationOut
    start: SpanStart
    end: SpanEnd
    text: str
    score: float
    legs: dict[RetrieverName, RetrieverScore]
    edition: str | None = None
    also: list[DuplicateRef] = []
    reranked: RerankScore | None = None
    reasons: ScoreReasons | None = None


class ExplanationOut(DomainModel):
    """Explanation of a search. All counts cover only documents that the caller may see.

    `passed` counts what the filter matches. The database measured `milliseconds` in a second run.
    """

    tenant: str
    groups: list[str]
    model: str
    index_version: int
    passed: DocumentCounts | None
    accesses: list[AccessPath]
    milliseconds: Mapping[Literal["planning", "execution"], float]


class SearchOut(DomainModel):
    """Passages for a question, best first.

    `idf` is the rarity of each term of the question. `milliseconds` has `embed` and `search`, and
    `filter`, `explain` and `rerank` if these stages ran.
    """

    question: str
    mode: str
    hits: list[HitOut]
    idf: dict[str, float]
    searched: DocumentCounts
    milliseconds: dict[str, float]
    filter: FilterJson = None
    reranking: RerankSummary | None = None
    explanation: ExplanationOut | None = None


class CitationOut(DomainModel):
    """A quote and its place: the document's text from `start` to `end`, in characters (code
    points).

    `also` lists the documents with the same file.
    """

    number: int
    document_id: UUID
    title: str
    path: str
    version: int
    location: LocationOut
    quote: str
    start: SpanStart
    end: SpanEnd
    also: list[DuplicateRef] = []


class RefusalOut(DomainModel):
    """The reason why there is no answer, and the closest passages."""

    code: RefusalCode
    reason: str
    closest: list[CitationOut]


class FlagOut(DomainModel):
    """A suspected prompt injection in a retrieved passage.

    It was neither quoted nor sent to a model.
    """

    document_id: UUID
    title: str
    path: str
    start: SpanStart
    end: SpanEnd
    score: float = Field(description="Sum of the signs; a sentence is flagged from 1.")
    signs: list[str]


class AnswerOut(DomainModel):
    """An answer with its citations, or a refusal."""

    question: str
    status: AnswerStatus
    sentences: list[AnswerSentence]
    citations: list[CitationOut]
    refusal: RefusalOut | None
    generator: str
    searched: DocumentCounts
    milliseconds: dict[str, float]
    removed: list[FaultCode] = Field(description="The fault of each dropped sentence.")
    repaired: int = Field(description="Sentences whose evidence or wording was replaced.")
    model: str | None = Field(description="The language model that wrote the answer, if any.")
    prompt: str | None = Field(description="SHA-256 of the prompt; null without a model.")
    prompt_version: str | None = Field(
        description="Name and version of the prompt; null without a model."
    )
    flagged: list[FlagOut] = Field(description="Suspected prompt injections in the passages.")
    degraded: str | None = Field(description="Why a weaker answer was given; null if it was not.")
    conflict: list[int] = Field(description="Numbers of citations that contradict each other.")
    cached: bool = Field(description="True for an answer from the cache.")
    asked_as: str | None = Field(
        description="The standalone form of a follow-up question, else null."
    )
    conversation: UUID | None = Field(description="The conversation of the question, if any.")


class TurnOut(DomainModel):
    """A question of a conversation.

    `titles` are of the cited documents that the caller may still see.
    """

    question: str
    asked_as: str
    answered: bool
    documents: list[UUID]
    titles: list[str]
    at: IsoTime


class ConversationOut(BaseModel):
    """The questions of a conversation, oldest first. Answers are not stored."""

    conversation: UUID
    turns: list[TurnOut]


class BlockOut(BaseModel):
    """A structural part of a document, as offsets into its text."""

    kind: str
    start: int
    end: int
    level: int = 0
    page: int | None = None


class DocumentOut(DomainModel):
    """A stored document."""

    document_id: UUID
    title: str
    path: str
    media_type: str
    version: int
    readers: list[str]
    metadata: dict[str, Any]
    ingested_at: IsoTime
    text: str
    blocks: list[BlockOut]


class Me(BaseModel):
    """The caller. `tenants` is empty unless the service believes requests."""

    tenant: str
    groups: list[str]
    identity: str
    tenants: list[str]


class SearchedEvent(DomainModel):
    """First event of a streamed answer: how much was searched."""

    documents: int
    passages: int


class SentenceEvent(DomainModel):
    """Event of a streamed answer: a verified sentence and those of its citations that are new."""

    sentence: AnswerSentence
    citations: list[CitationOut]


class Problem(BaseModel):
    """An error as RFC 9457 describes it."""

    type: str
    title: str
    status: int
    detail: str
