"""Base class of the guardrails: one method per stage between question and answer."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, Literal

from retrieval.types import SearchResult
from serving.answering.types import DraftSentence, FaultCode, InjectionFlag, Refusal

Stage = Literal["question", "evidence", "draft", "answer"]
SuspiciousAction = Literal["demote", "drop"]


@dataclass(frozen=True)
class DraftContext:
    """The evidence of a draft, and the instructions of the model that wrote it, if one did."""

    evidence: SearchResult
    instructions: str = ""

    def cited_quotes(self, sentence: DraftSentence) -> list[str]:
        """Return the texts that a sentence cites."""
        hits = self.evidence.hits
        return [
            hits[support.hit_index].quote(support.span)
            for support in sentence.support
            if 0 <= support.hit_index < len(hits)
        ]

    @cached_property
    def known_text(self) -> str:
        """The question and all text of the evidence."""
        passages = (
            f"{hit.title}\n{hit.path}\n{hit.context}\n{hit.text}" for hit in self.evidence.hits
        )
        return "\n".join((self.evidence.question, *passages))


class Guardrail:
    """A small policy with a reason. A subclass overrides the method of its stage."""

    stage: ClassVar[Stage]
    name: ClassVar[str]
    reason: ClassVar[str]

    def check_question(self, question: str) -> Refusal | None:
        """Return a refusal if the question must not be answered. Nothing is searched then."""
        return None

    def filter_evidence(
        self, evidence: SearchResult, action: SuspiciousAction
    ) -> tuple[SearchResult, tuple[InjectionFlag, ...]]:
        """Return the evidence that may be read, and a flag for each suspicious sentence."""
        return evidence, ()

    def check_draft(
        self, sentence: DraftSentence, context: DraftContext
    ) -> DraftSentence | FaultCode:
        """Return the drafted sentence as it may be said, or the reason to drop it."""
        return sentence

    def render_text(self, text: str) -> str:
        """Return the text of a verified sentence as it may leave the service."""
        return text
