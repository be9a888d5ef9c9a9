"""The shapes that leave the service, as JSON over HTTP and as `--json` on the command line."""

from typing import Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from knowledge.types import Location
from retrieval.types import Evidence, Hit, Leg
from serving.documents import StoredDocument
from serving.types import Answer, Citation, Refusal


class Question(BaseModel):
    """A question, and how to look for its answer."""

    model_config = ConfigDict(extra="forbid")

    question: str = Field(description="The question, 1 to 2,000 characters.", examples=["How much leave carries over?"])
    mode: Literal["hybrid", "dense", "lexical"] = Field(
        default="hybrid", description="Which legs of the search to use."
    )


class SearchQuestion(Question):
    """A question to be answered with passages."""

    limit: int = Field(default=10, ge=1, le=100, description="How many passages at most.")


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
    def of(cls, leg: Leg) -> Self:
        """From our own type."""
        return cls(score=leg.score, rank=leg.rank)


class HitOut(BaseModel):
    """A passage that was found. `start` and `end` count the characters (code points) of the document's text."""

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
    legs: dict[Literal["lexical", "dense", "sentence"], LegOut]

    @classmethod
    def of(cls, hit: Hit) -> Self:
        """From our own type."""
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
            legs={
                "lexical": LegOut.of(hit.lexical),
                "dense": LegOut.of(hit.dense),
                "sentence": LegOut.of(hit.sentence),
            },
        )


class SearchOut(BaseModel):
    """The passages for a question, best first; `idf` says how rare each of its terms is."""

    question: str
    mode: str
    hits: list[HitOut]
    idf: dict[str, float]
    searched: dict[Literal["documents", "passages"], int]
    milliseconds: dict[str, float]

    @classmethod
    def of(cls, evidence: Evidence) -> Self:
        """From our own type."""
        return cls(
            question=evidence.question,
            mode=evidence.mode,
            hits=[HitOut.of(hit) for hit in evidence.hits],
            idf=evidence.idf,
            searched={"documents": evidence.documents, "passages": evidence.chunks},
            milliseconds=evidence.milliseconds,
        )


class CitationOut(BaseModel):
    """A quote and where it stands: the document's text from `start` to `end`, in characters (code points)."""

    number: int
    document_id: UUID
    title: str
    path: str
    version: int
    location: LocationOut
    quote: str
    start: int
    end: int

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
        )


class SentenceOut(BaseModel):
    """A sentence of an answer with the numbers of its citations."""

    text: str
    citations: list[int]


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

    @classmethod
    def of(cls, answer: Answer) -> Self:
        """From our own type."""
        return cls(
            question=answer.question,
            status=answer.status,
            sentences=[SentenceOut(text=s.text, citations=list(s.citations)) for s in answer.sentences],
            citations=[CitationOut.of(citation) for citation in answer.citations],
            refusal=RefusalOut.of(answer.refusal) if answer.refusal else None,
            generator=answer.generator,
            searched={"documents": answer.documents, "passages": answer.passages},
            milliseconds=answer.milliseconds,
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
                BlockOut(kind=b["kind"], start=b["start"], end=b["end"], level=b.get("level", 0), page=b.get("page"))
                for b in document.blocks
            ],
        )


class Me(BaseModel):
    """Who the service takes the caller for; `tenants` lists what there is only where requests are believed."""

    tenant: str
    groups: list[str]
    identity: str
    tenants: list[str]


class Problem(BaseModel):
    """What went wrong, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
