"""The guardrails: small policies, in the order in which they are asked. Read this first.

question   before anything is looked for: may it be answered at all?
evidence   before anything is judged or written: what of it may be read?
draft      each sentence that a generator writes, before it is verified: what of it may be said?
answer     each verified sentence, before it leaves

A policy has a name and the reason why it is there; docs/guardrails.md has the same table, and a test holds the two
together.
serving/answering/verification/verifier.py stands between draft and answer, and is the one that says whether a sentence is true.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from retrieval.types import Evidence
from serving.answering.guardrails.leaks import leaks
from serving.answering.guardrails.plain import inert, plain
from serving.answering.guardrails.relevance import bears_on
from serving.answering.guardrails.requests import refuse
from serving.answering.guardrails.suspicion import Suspicious, watch
from serving.answering.types import DraftSentence, Fault, Flag, Refusal

Act = TypeVar("Act")
AskPolicy = Callable[[str], Refusal | None]
EvidencePolicy = Callable[[Evidence, Suspicious], tuple[Evidence, tuple[Flag, ...]]]
AnswerPolicy = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Policy(Generic[Act]):
    """What is done, under which name, and why."""

    name: str
    reason: str
    act: Act


@dataclass(frozen=True, slots=True)
class Drafting:
    """What a draft is held to: the evidence it is written from, and what its writer was told (nothing, if no model)."""

    evidence: Evidence
    told: str = ""

    def quotes(self, sentence: DraftSentence) -> list[str]:
        """The text that a sentence cites."""
        hits = self.evidence.hits
        return [hits[each.hit].quote(each.span) for each in sentence.support if 0 <= each.hit < len(hits)]

    @property
    def known(self) -> str:
        """The question, and all that the evidence says."""
        passages = (f"{hit.title}\n{hit.path}\n{hit.context}\n{hit.text}" for hit in self.evidence.hits)
        return "\n".join((self.evidence.question, *passages))


DraftPolicy = Callable[[DraftSentence, Drafting], DraftSentence | Fault]


def _plain(sentence: DraftSentence, drafting: Drafting) -> DraftSentence:
    return replace(sentence, text=plain(sentence.text, drafting.quotes(sentence)))


def _kept(sentence: DraftSentence, drafting: Drafting) -> DraftSentence | Fault:
    return "leak" if leaks(sentence.text, drafting.told, drafting.known) else sentence


def _to_the_point(sentence: DraftSentence, drafting: Drafting) -> DraftSentence | Fault:
    return sentence if bears_on(sentence, drafting.evidence) else "unrelated"


QUESTION: tuple[Policy[AskPolicy], ...] = (
    Policy("unsafe requests", "Some things are not to be answered, whatever the documents say.", refuse),
)
EVIDENCE: tuple[Policy[EvidencePolicy], ...] = (
    Policy("planted instructions", "Documents are data: what speaks to a machine in them is no evidence.", watch),
)
DRAFT: tuple[Policy[DraftPolicy], ...] = (
    Policy("plain text", "A model's links, images and HTML could carry data out, or the reader away.", _plain),
    Policy(
        "to the point", "Whoever made a model answer another question has not made it answer this one.", _to_the_point
    ),
    Policy("nothing that was told", "Prompts, keys and codes are not for the reader.", _kept),
)
ANSWER: tuple[Policy[AnswerPolicy], ...] = (
    Policy("text only", "A page that reads Markdown must not make a link of what a document says.", inert),
)


def refused(question: str) -> Refusal | None:
    """The refusal of the first policy that refuses a question."""
    return next((refusal for policy in QUESTION if (refusal := policy.act(question))), None)


def readable_evidence(evidence: Evidence, suspicious: Suspicious) -> tuple[Evidence, tuple[Flag, ...]]:
    """The evidence as it may be read, and what was flagged."""
    flags: tuple[Flag, ...] = ()
    for policy in EVIDENCE:
        evidence, more = policy.act(evidence, suspicious)
        flags += more
    return evidence, flags


def sayable(sentence: DraftSentence, drafting: Drafting) -> DraftSentence | Fault:
    """A drafted sentence as it may be said, or why it may not."""
    for policy in DRAFT:
        done = policy.act(sentence, drafting)
        if isinstance(done, str):
            return done
        sentence = done
    return sentence


def leaving(sentence: DraftSentence) -> DraftSentence:
    """A verified sentence as it leaves."""
    for policy in ANSWER:
        sentence = replace(sentence, text=policy.act(sentence.text))
    return sentence
