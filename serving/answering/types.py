"""What the service hands out: an answer whose every sentence is cited, or a refusal with its reason."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal
from uuid import UUID

from core.types import Location, Span
from retrieval.types import DuplicateRef

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
    """An exact quote and where it stands: `quote` equals the document's text from `span.start` to `span.end`.

    `also` names the documents in which the very same stands at the same place, since their files are the same.
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
    """A sentence of an answer and the numbers of the citations that carry it; there is always at least one."""

    text: str
    citations: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why there is no answer, and the passages that came closest."""

    code: RefusalCode
    reason: str
    closest: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class InjectionFlag:
    """A place in a passage that speaks to a machine: how sure that is (from 1 on), and by which signs. It is no
    evidence, and no model reads it.
    """

    document_id: UUID
    title: str
    path: str
    span: Span
    score: float
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """Either sentences with citations, or a refusal. `documents` and `passages` count what was searched.

    `confidence` is the probability, 0 to 1, that the evidence holds an answer; below a threshold it is refused.
    `removed` has, for each sentence of the generator's that its evidence did not carry, what was wrong with it, and
    `repaired` counts those that were mended. `model` and `prompt` (the SHA-256 of the rendered template) say which
    language model wrote and what it was told, `prompt_version` the template's name and version; None where none did.
    `conflict` has the numbers of the citations that contradict each other. `flagged` has what
    spoke to a machine in the passages that were found. `degraded` says why the answer is not what was asked for: no
    model answered, or it broke off. `cached` says that it was given before, to somebody who may read the same.
    """

    question: str
    status: AnswerStatus
    sentences: tuple[AnswerSentence, ...]
    citations: tuple[Citation, ...]
    refusal: Refusal | None
    generator: str
    documents: int
    passages: int
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
        """The answer as running text, without its citations."""
        return " ".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True, slots=True)
class SearchCompleted:
    """The first event of an answer on its way: how much was searched, before anything is said."""

    documents: int
    passages: int


@dataclass(frozen=True, slots=True)
class SentenceVerified:
    """An event of an answer on its way: a verified sentence, and those of its citations that are new."""

    sentence: AnswerSentence
    citations: tuple[Citation, ...]


AnswerEvent = SearchCompleted | SentenceVerified | Answer  # the answer itself comes last


@dataclass(frozen=True, slots=True)
class SupportingSpan:
    """A claim of evidence: a span of a document's text, inside the hit at this place of the evidence (from 0)."""

    hit_index: int
    span: Span


@dataclass(frozen=True, slots=True)
class DraftSentence:
    """What a generator wrote, and the evidence it names for it; nothing of this is trusted before it is verified."""

    text: str
    support: tuple[SupportingSpan, ...]


@dataclass(frozen=True, slots=True)
class DraftAnswer:
    """A generator's answer before verification, where it has all of it at once."""

    sentences: tuple[DraftSentence, ...]

    def __iter__(self) -> Iterator[DraftSentence]:
        """The sentences in order."""
        return iter(self.sentences)
