"""Types of answering: an answer with cited sentences, or a refusal with its reason."""

from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from core.types import Location, Span
from retrieval.types import DocumentCounts, DuplicateRef

AnswerStatus = Literal["answered", "refused"]
RefusalCode = Literal[
    "no_evidence", "partial_evidence", "may_not_know", "out_of_scope", "unsafe_request"
]
FaultCode = Literal[
    "no_evidence",
    "unsupported",
    "number",
    "unit",
    "name",
    "negation",
    "bound",
    "modality",
    "opposite",
    "entailment",
    "leak",
    "unrelated",
]


@dataclass(frozen=True, slots=True)
class Citation:
    """An exact quote and its place: `quote` is the document's text from `span.start` to `span.end`.

    `also` lists the documents with the same file, which therefore have the quote at the same place.
    """

    number: int
    document_id: UUID
    title: str
    path: str
    version: int
    location: Location
    quote: str
    span: Span
    also: tuple[DuplicateRef, ...] = ()


@dataclass(frozen=True, slots=True)
class AnswerSentence:
    """A sentence of an answer and the numbers of its citations, at least one."""

    text: str
    citations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """The reason why there is no answer, and the closest passages."""

    code: RefusalCode
    reason: str
    closest: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class InjectionFlag:
    """A suspected prompt injection in a passage: neither quoted nor sent to a model.

    `score` is the sum of its signs, at least 1.
    """

    document_id: UUID
    title: str
    path: str
    span: Span
    score: float
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Sentences with citations, or a refusal. `searched` counts what the caller may see.

    `confidence` is the probability, 0 to 1, that the evidence holds an answer. `removed` has the
    fault of each dropped sentence; `repaired` counts the sentences whose evidence or wording was
    replaced. `model`, `prompt` (SHA-256 of the rendered prompt) and `prompt_version` are None if no
    language model wrote it. `flagged` lists suspected prompt injections. `degraded` is the reason
    why a weaker answer was given. `conflict` has the numbers of citations that contradict each
    other. `asked_as` is the standalone form of a follow-up question. `cached` is True for an answer
    from the cache.
    """

    question: str
    status: AnswerStatus
    sentences: tuple[AnswerSentence, ...]
    citations: tuple[Citation, ...]
    refusal: Refusal | None
    generator: str
    searched: DocumentCounts
    confidence: float = 0.0
    milliseconds: dict[str, float] = field(default_factory=dict)
    removed: tuple[FaultCode, ...] = ()
    repaired: int = 0
    model: str | None = None
    prompt: str | None = None
    prompt_version: str | None = None
    flagged: tuple[InjectionFlag, ...] = ()
    degraded: str | None = None
    conflict: tuple[int, ...] = ()
    asked_as: str | None = None
    conversation: UUID | None = None
    cached: bool = False

    @property
    def text(self) -> str:
        """Return the answer as running text, without citations."""
        return " ".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True, slots=True)
class SearchCompleted:
    """First event of a streamed answer: how much was searched."""

    documents: int
    passages: int


@dataclass(frozen=True, slots=True)
class SentenceVerified:
    """Event of a streamed answer: a verified sentence and those of its citations that are new."""

    sentence: AnswerSentence
    citations: tuple[Citation, ...]


AnswerEvent = SearchCompleted | SentenceVerified | Answer  # `Answer` is the last event


@dataclass(frozen=True, slots=True)
class SupportingSpan:
    """A span of a document as evidence, inside the hit at `hit_index` (from 0)."""

    hit_index: int
    span: Span


@dataclass(frozen=True, slots=True)
class DraftSentence:
    """A sentence as a generator wrote it, and the evidence that it names.

    Nothing of it is trusted.
    """

    text: str
    support: tuple[SupportingSpan, ...]
