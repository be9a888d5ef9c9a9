"""The shapes that leave the service, as JSON over HTTP and as `--json` on the command line."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from core.errors import GroundworkError
from core.redaction import ERROR_REDACTED_KINDS, redact
from core.types import Location
from retrieval.filters import Filter, filter_json, parse_filter
from retrieval.retriever import check_question
from retrieval.types import (
    AccessMethod,
    DuplicateRef,
    Hit,
    RetrieverName,
    RetrieverScore,
    ScoreReasons,
    SearchExplanation,
    SearchResult,
)
from serving.answering.conversation.history import Turn
from serving.answering.types import (
    Answer,
    AnswerSentence,
    Citation,
    FaultCode,
    InjectionFlag,
    Refusal,
    SentenceVerified,
)
from serving.api.stored_document import StoredDocument


class Question(BaseModel):
    """A question, and how to look for its answer."""

    model_config = ConfigDict(extra="forbid")

    question: Annotated[str, AfterValidator(check_question)] = Field(
        description="The question, 1 to 2,000 characters.",
        examples=["How much leave carries over?"],
    )
    mode: Literal["hybrid", "dense", "lexical"] = Field(
        default="hybrid", description="Which legs of the search to use."
    )
    filter: Annotated[Filter, BeforeValidator(parse_filter)] | None = Field(
        default=None,
        description=(
            "Which documents to consider: a condition, which is a field with one test (or with several bounds), or"
            ' {"and": [...]}, {"or": [...]}, {"not": ...} of filters. docs/reference/search.md has the grammar.'
        ),
        examples=[
            {"and": [{"field": "path", "prefix": "products/"}, {"field": "version", "gte": 1}]}
        ],
    )

    conversation: UUID | Literal["new"] | None = Field(
        default=None,
        description="A conversation to ask in, so that follow-ups are understood; `new` begins one. /v1/ask only.",
    )


class SearchQuestion(Question):
    """A question to be answered with passages."""

    limit: int = Field(default=10, ge=1, le=100, description="How many passages at most.")
    explain: bool = Field(
        default=False, description="Also say how each score came about; it searches twice for that."
    )


class LocationOut(BaseModel):
    """Where a passage stands; `label` says it in one line."""

    label: str
    headings: list[str]
    page: int | None
    slide: int | None
    sheet: str | None
    rows: tuple[int, int] | None

    @classmethod
    def of(cls, location: Location) -> Self:
        """From our own type."""
        return cls(
            label=location.label(),
            headings=list(location.headings),
            page=location.page,
            slide=location.slide,
            sheet=location.sheet,
            rows=location.rows,
        )


class LegOut(BaseModel):
    """What one leg of the search said of a passage."""

    score: float | None
    rank: int | None

    @classmethod
    def of(cls, leg: RetrieverScore) -> Self:
        """From our own type."""
        return cls(score=leg.score, rank=leg.rank)


class TermOut(BaseModel):
    """A term of the question in a passage, and what it adds to the passage's BM25 score."""

    term: str
    frequency: float
    idf: float
    score: float


class ReasonsOut(BaseModel):
    """What each leg adds to a passage's score, which is their sum, and the terms that matched."""

    shares: dict[RetrieverName, float]
    terms: list[TermOut]

    @classmethod
    def of(cls, reasons: ScoreReasons) -> Self:
        """From our own type."""
        terms = [
            TermOut(term=m.term, frequency=m.frequency, idf=m.idf, score=m.score)
            for m in reasons.terms
        ]
        return cls(shares=dict(reasons.shares), terms=terms)


class RerankedOut(BaseModel):
    """What the reranker said of a passage: its score, on its own scale, and the rank the passage had before."""

    score: float
    before: int


class AlsoOut(BaseModel):
    """Another document with the same passage: `exact` where its file is the same, else it says almost the same."""

    document_id: UUID
    path: str
    title: str
    edition: str | None
    exact: bool

    @classmethod
    def of(cls, other: DuplicateRef) -> Self:
        """From our own type."""
        return cls(
            document_id=other.document_id,
            path=other.path,
            title=other.title,
            edition=other.edition,
            exact=other.exact,
        )


class HitOut(BaseModel):
    """A passage that was found. `start` and `end` count the characters (code points) of the document's text.

    `also` names the documents that the passage stands for as well. `reranked` is there where a reranker judged it,
    `reasons` where they were asked for.
    """

    rank: int
    document_id: UUID
    title: str
    path: str
    version: int
    location: LocationOut
    start: int
    end: int
    text: str
    score: float
    legs: dict[RetrieverName, LegOut]
    edition: str | None = None
    also: list[AlsoOut] = []
    reranked: RerankedOut | None = None
    reasons: ReasonsOut | None = None

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """From our own type."""
        judged = hit.reranked
        return cls(
            rank=hit.rank,
            document_id=hit.document_id,
            title=hit.title,
            path=hit.path,
            version=hit.version,
            location=LocationOut.of(hit.location),
            start=hit.span.start,
            end=hit.span.end,
            text=hit.text,
            score=hit.score,
            legs={name: LegOut.of(leg) for name, leg in hit.legs.items()},
            edition=hit.edition,
            also=[AlsoOut.of(other) for other in hit.also],
            reranked=RerankedOut(score=judged.score, before=judged.before) if judged else None,
            reasons=ReasonsOut.of(hit.reasons) if hit.reasons else None,
        )


class AccessOut(BaseModel):
    """How the database served a leg: `find` its candidates, or read the vectors to `score` those it had.

    `rows` is how many came out after row-level security.
    """

    leg: RetrieverName
    step: Literal["find", "score"]
    method: AccessMethod
    index: str | None
    rows: int


class ExplanationOut(BaseModel):
    """How a search came about; whatever is counted is counted over what the caller may see.

    `passed` is what the filter lets pass. The database measured `planning` and `execution` in a second run.
    """

    tenant: str
    groups: list[str]
    model: str
    index_version: int
    passed: dict[Literal["documents", "passages"], int] | None
    accesses: list[AccessOut]
    milliseconds: dict[Literal["planning", "execution"], float]

    @classmethod
    def of(cls, explanation: SearchExplanation) -> Self:
        """From our own type."""
        passed = explanation.passed
        return cls(
            tenant=explanation.tenant,
            groups=list(explanation.groups),
            model=explanation.model,
            index_version=explanation.index_version,
            passed={"documents": passed.documents, "passages": passed.passages} if passed else None,
            accesses=[
                AccessOut(leg=a.leg, step=a.step, method=a.method, index=a.index, rows=a.rows)
                for a in explanation.accesses
            ],
            milliseconds={
                "planning": explanation.milliseconds["planning"],
                "execution": explanation.milliseconds["execution"],
            },
        )


class RerankingOut(BaseModel):
    """Which reranker had a say, how many passages it scored, how many of those here changed their place."""

    name: str
    scored: int
    moved: int


class SearchOut(BaseModel):
    """The passages for a question, best first; `idf` says how rare each of its terms is.

    `filter` is the one in force. `milliseconds` has `embed` and `search`, and `filter`, `explain` and `rerank` where
    there was such a stage.
    """

    question: str
    mode: str
    hits: list[HitOut]
    idf: dict[str, float]
    searched: dict[Literal["documents", "passages"], int]
    milliseconds: dict[str, float]
    filter: dict[str, Any] | None = None
    reranking: RerankingOut | None = None
    explanation: ExplanationOut | None = None

    @classmethod
    def of(cls, evidence: SearchResult) -> Self:
        """From our own type."""
        explanation, reranking = evidence.explanation, evidence.reranking
        return cls(
            question=evidence.question,
            mode=evidence.mode,
            hits=[HitOut.of(hit) for hit in evidence.hits],
            idf=evidence.idf,
            searched={
                "documents": evidence.searched.documents,
                "passages": evidence.searched.passages,
            },
            milliseconds=evidence.milliseconds,
            filter=filter_json(evidence.filter) if evidence.filter else None,
            reranking=RerankingOut(
                name=reranking.name, scored=reranking.scored, moved=reranking.moved
            )
            if reranking
            else None,
            explanation=ExplanationOut.of(explanation) if explanation else None,
        )


class CitationOut(BaseModel):
    """A quote and where it stands: the document's text from `start` to `end`, in characters (code points).

    `also` names the documents whose files are the same.
    """

    number: int
    document_id: UUID
    title: str
    path: str
    version: int
    location: LocationOut
    quote: str
    start: int
    end: int
    also: list[AlsoOut] = []

    @classmethod
    def of(cls, citation: Citation) -> Self:
        """From our own type."""
        return cls(
            number=citation.number,
            document_id=citation.document_id,
            title=citation.title,
            path=citation.path,
            version=citation.version,
            location=LocationOut.of(citation.location),
            quote=citation.quote,
            start=citation.span.start,
            end=citation.span.end,
            also=[AlsoOut.of(other) for other in citation.also],
        )


class SentenceOut(BaseModel):
    """A sentence of an answer with the numbers of its citations."""

    text: str
    citations: list[int]

    @classmethod
    def of(cls, sentence: AnswerSentence) -> Self:
        """From our own type."""
        return cls(text=sentence.text, citations=list(sentence.citations))


class RefusalOut(BaseModel):
    """Why there is no answer, and what came closest."""

    code: str
    reason: str
    closest: list[CitationOut]

    @classmethod
    def of(cls, refusal: Refusal) -> Self:
        """From our own type."""
        closest = [CitationOut.of(citation) for citation in refusal.closest]
        return cls(code=refusal.code, reason=refusal.reason, closest=closest)


class FlagOut(BaseModel):
    """A place that speaks to a machine, in a passage that was found; it was neither quoted nor shown to a model."""

    document_id: UUID
    title: str
    path: str
    start: int
    end: int
    score: float = Field(description="How sure that is; from 1 on a sentence is flagged.")
    signs: list[str]

    @classmethod
    def of(cls, flag: InjectionFlag) -> Self:
        """From our own type."""
        return cls(
            document_id=flag.document_id,
            title=flag.title,
            path=flag.path,
            start=flag.span.start,
            end=flag.span.end,
            score=flag.score,
            signs=list(flag.signs),
        )


class AnswerOut(BaseModel):
    """An answer with its citations, or a refusal."""

    question: str
    status: Literal["answered", "refused"]
    sentences: list[SentenceOut]
    citations: list[CitationOut]
    refusal: RefusalOut | None
    generator: str
    searched: dict[Literal["documents", "passages"], int]
    milliseconds: dict[str, float]
    removed: list[FaultCode] = Field(
        description="Why sentences of the generator's were left out, one for each."
    )
    repaired: int = Field(
        description="Sentences that got other evidence, or another wording, than they came with."
    )
    model: str | None = Field(description="The language model that wrote it; null where none did.")
    prompt: str | None = Field(
        description="SHA-256 of what the model was told; null where none was asked."
    )
    prompt_version: str | None = Field(
        description="Name and version of the prompt; null where no model was asked."
    )
    flagged: list[FlagOut] = Field(
        description="What spoke to a machine in the passages that were found."
    )
    degraded: str | None = Field(
        description="Why it is not the answer that was asked for; null where it is."
    )
    conflict: list[int] = Field(description="Numbers of the citations that contradict each other.")
    cached: bool = Field(
        description="Whether it was given before, to somebody who may read the same."
    )
    asked_as: str | None = Field(
        description="The question as it was understood in its conversation; null where as put."
    )
    conversation: UUID | None = Field(
        description="The conversation that the question belongs to; null where to none."
    )

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """From our own type."""
        return cls(
            question=answer.question,
            status=answer.status,
            sentences=[SentenceOut.of(sentence) for sentence in answer.sentences],
            citations=[CitationOut.of(citation) for citation in answer.citations],
            refusal=RefusalOut.of(answer.refusal) if answer.refusal else None,
            generator=answer.generator,
            searched={"documents": answer.documents, "passages": answer.passages},
            milliseconds=answer.milliseconds,
            removed=list(answer.removed),
            repaired=answer.repaired,
            model=answer.model,
            prompt=answer.prompt,
            prompt_version=answer.prompt_version,
            flagged=[FlagOut.of(flag) for flag in answer.flagged],
            degraded=answer.degraded,
            conflict=list(answer.conflict),
            cached=answer.cached,
            asked_as=answer.asked_as,
            conversation=answer.conversation,
        )


class TurnOut(BaseModel):
    """A question of a conversation. `titles` are of the cited documents that are still there for the reader."""

    question: str
    asked_as: str
    answered: bool
    documents: list[UUID]
    titles: list[str]
    at: str


class ConversationOut(BaseModel):
    """A conversation's questions, first to last; answers are not kept."""

    conversation: UUID
    turns: list[TurnOut]

    @classmethod
    def of(cls, conversation: UUID, turns: Sequence[Turn]) -> Self:
        """From our own type."""
        return cls(
            conversation=conversation,
            turns=[
                TurnOut(
                    question=turn.question,
                    asked_as=turn.asked_as,
                    answered=turn.answered,
                    documents=turn.documents,
                    titles=turn.titles,
                    at=turn.at.isoformat(),
                )
                for turn in turns
            ],
        )


class BlockOut(BaseModel):
    """A structural piece of a document's text, as offsets into it."""

    kind: str
    start: int
    end: int
    level: int
    page: int | None


class DocumentOut(BaseModel):
    """A document as it is stored."""

    document_id: UUID
    title: str
    path: str
    media_type: str
    version: int
    readers: list[str]
    metadata: dict[str, Any]
    ingested_at: str
    text: str
    blocks: list[BlockOut]

    @classmethod
    def of(cls, document: StoredDocument) -> Self:
        """From our own type."""
        return cls(
            document_id=document.document_id,
            title=document.title,
            path=document.path,
            media_type=document.media_type,
            version=document.version,
            readers=document.readers,
            metadata=document.metadata,
            ingested_at=document.ingested_at.isoformat(),
            text=document.text,
            blocks=[
                BlockOut(
                    kind=b["kind"],
                    start=b["start"],
                    end=b["end"],
                    level=b.get("level", 0),
                    page=b.get("page"),
                )
                for b in document.blocks
            ],
        )


class Me(BaseModel):
    """Who the service takes the caller for; `tenants` lists what there is only where requests are believed."""

    tenant: str
    groups: list[str]
    identity: str
    tenants: list[str]


class SearchedEvent(BaseModel):
    """The first event of a streamed answer: how much is looked through."""

    documents: int
    passages: int


class SentenceEvent(BaseModel):
    """An event of a streamed answer: a verified sentence, and those of its citations that came with no earlier one."""

    sentence: SentenceOut
    citations: list[CitationOut]

    @classmethod
    def of(cls, said: SentenceVerified) -> Self:
        """From our own type."""
        return cls(
            sentence=SentenceOut.of(said.sentence),
            citations=[CitationOut.of(each) for each in said.citations],
        )


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str

    @classmethod
    def of(cls, error: GroundworkError, status: int | None = None) -> Self:
        """From an error; `status` in place of its own. A secret that was sent is not repeated."""
        detail = redact(str(error), ERROR_REDACTED_KINDS).text
        return cls(
            type=f"urn:groundwork:{error.slug}",
            title=error.title,
            status=status or error.status,
            detail=detail,
        )
