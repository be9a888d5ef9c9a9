"""The guardrails: small policies, in the order in which they are asked. Read this first.

question   before anything is looked for: may it be answered at all?
evidence   before anything is judged or written: what of it may be read?
draft      each sentence that a generator writes, before it is verified: what of it may be said?
answer     each verified sentence, before it leaves

A policy has a name and the reason why it is there; docs/reference/guardrails.md has the same table, and a test holds the two
together.
serving/answering/verification/verifier.py stands between draft and answer, and is the one that says whether a sentence is true.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from retrieval.types import SearchResult
from serving.answering.guardrails.leaks import contains_leak
from serving.answering.guardrails.markup import neutralize_markup, remove_markup
from serving.answering.guardrails.relevance import is_relevant
from serving.answering.guardrails.suspicious_passages import (
    SuspiciousAction,
    flag_suspicious_passages,
)
from serving.answering.guardrails.unsafe_requests import refuse_request
from serving.answering.types import DraftSentence, FaultCode, InjectionFlag, Refusal

ApplyT = TypeVar("ApplyT")
QuestionCheck = Callable[[str], Refusal | None]
EvidenceFilter = Callable[
    [SearchResult, SuspiciousAction], tuple[SearchResult, tuple[InjectionFlag, ...]]
]
AnswerFilter = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Guardrail(Generic[ApplyT]):
    """What is done, under which name, and why."""

    name: str
    reason: str
    apply: ApplyT


@dataclass(frozen=True, slots=True)
class DraftContext:
    """What a draft is held to: the evidence it is written from, and what its writer was told (nothing, if no model)."""

    evidence: SearchResult
    instructions: str = ""

    def cited_quotes(self, sentence: DraftSentence) -> list[str]:
        """The text that a sentence cites."""
        hits = self.evidence.hits
        return [
            hits[each.hit_index].quote(each.span)
            for each in sentence.support
            if 0 <= each.hit_index < len(hits)
        ]

    @property
    def known_text(self) -> str:
        """The question, and all that the evidence says."""
        passages = (
            f"{hit.title}\n{hit.path}\n{hit.context}\n{hit.text}" for hit in self.evidence.hits
        )
        return "\n".join((self.evidence.question, *passages))


DraftCheck = Callable[[DraftSentence, DraftContext], DraftSentence | FaultCode]


def _remove_sentence_markup(sentence: DraftSentence, context: DraftContext) -> DraftSentence:
    return replace(sentence, text=remove_markup(sentence.text, context.cited_quotes(sentence)))


def _reject_leak(sentence: DraftSentence, context: DraftContext) -> DraftSentence | FaultCode:
    return (
        "leak"
        if contains_leak(sentence.text, context.instructions, context.known_text)
        else sentence
    )


def _reject_unrelated(sentence: DraftSentence, context: DraftContext) -> DraftSentence | FaultCode:
    return sentence if is_relevant(sentence, context.evidence) else "unrelated"


QUESTION_GUARDRAILS: tuple[Guardrail[QuestionCheck], ...] = (
    Guardrail(
        "unsafe requests",
        "Some things are not to be answered, whatever the documents say.",
        refuse_request,
    ),
)
EVIDENCE_GUARDRAILS: tuple[Guardrail[EvidenceFilter], ...] = (
    Guardrail(
        "planted instructions",
        "Documents are data: what speaks to a machine in them is no evidence.",
        flag_suspicious_passages,
    ),
)
DRAFT_GUARDRAILS: tuple[Guardrail[DraftCheck], ...] = (
    Guardrail(
        "plain text",
        "A model's links, images and HTML could carry data out, or the reader away.",
        _remove_sentence_markup,
    ),
    Guardrail(
        "to the point",
        "Whoever made a model answer another question has not made it answer this one.",
        _reject_unrelated,
    ),
    Guardrail(
        "nothing that was told", "Prompts, keys and codes are not for the reader.", _reject_leak
    ),
)
ANSWER_GUARDRAILS: tuple[Guardrail[AnswerFilter], ...] = (
    Guardrail(
        "text only",
        "A page that reads Markdown must not make a link of what a document says.",
        neutralize_markup,
    ),
)


def screen_question(question: str) -> Refusal | None:
    """The refusal of the first policy that refuses a question."""
    return next(
        (refusal for policy in QUESTION_GUARDRAILS if (refusal := policy.apply(question))), None
    )


def screen_evidence(
    evidence: SearchResult, action: SuspiciousAction
) -> tuple[SearchResult, tuple[InjectionFlag, ...]]:
    """The evidence as it may be read, and what was flagged."""
    flags: tuple[InjectionFlag, ...] = ()
    for policy in EVIDENCE_GUARDRAILS:
        evidence, more = policy.apply(evidence, action)
        flags += more
    return evidence, flags


def screen_sentence(sentence: DraftSentence, context: DraftContext) -> DraftSentence | FaultCode:
    """A drafted sentence as it may be said, or why it may not."""
    for policy in DRAFT_GUARDRAILS:
        done = policy.apply(sentence, context)
        if isinstance(done, str):
            return done
        sentence = done
    return sentence


def render_safe(sentence: DraftSentence) -> DraftSentence:
    """A verified sentence as it leaves."""
    for policy in ANSWER_GUARDRAILS:
        sentence = replace(sentence, text=policy.apply(sentence.text))
    return sentence
