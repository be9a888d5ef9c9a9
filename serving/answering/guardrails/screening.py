"""Guardrails in the order in which they are applied. Read this file first.

| stage    | time                                              | guardrails                    |
|----------|---------------------------------------------------|-------------------------------|
| question | before the search                                 | unsafe requests               |
| evidence | before answerability and generation               | prompt injection              |
| draft    | per generated sentence, before verification       | plain text, relevance, leaks  |
| answer   | per verified sentence, before it leaves           | no active markup              |

Verification (serving/answering/verification/verifier.py) runs between draft and answer. It alone
decides if a sentence is true. docs/reference/guardrails.md has the same table with the reasons; a
test compares them. To add a guardrail, write a subclass of Guardrail and add it to GUARDRAILS.
"""

from dataclasses import replace

from retrieval.types import SearchResult
from serving.answering.guardrails.guardrail import DraftContext, Guardrail, SuspiciousAction
from serving.answering.guardrails.leaks import contains_leak
from serving.answering.guardrails.markup import neutralize_markup, remove_markup
from serving.answering.guardrails.relevance import is_relevant
from serving.answering.guardrails.suspicious_passages import flag_suspicious_passages
from serving.answering.guardrails.unsafe_requests import refuse_request
from serving.answering.types import DraftSentence, FaultCode, InjectionFlag, Refusal


class _UnsafeRequest(Guardrail):
    stage, name = "question", "unsafe requests"
    reason = "Some requests must not be answered, even if the documents hold the answer."

    def check_question(self, question: str) -> Refusal | None:
        return refuse_request(question)


class _PromptInjection(Guardrail):
    stage, name = "evidence", "prompt injection"
    reason = "Documents are data: a sentence that gives orders to a model is not evidence."

    def filter_evidence(
        self, evidence: SearchResult, action: SuspiciousAction
    ) -> tuple[SearchResult, tuple[InjectionFlag, ...]]:
        return flag_suspicious_passages(evidence, action)


class _PlainText(Guardrail):
    stage, name = "draft", "plain text"
    reason = "Links, images and HTML of a model could carry data out or lead the reader away."

    def check_draft(self, sentence: DraftSentence, context: DraftContext) -> DraftSentence:
        return replace(sentence, text=remove_markup(sentence.text, context.cited_quotes(sentence)))


class _Relevance(Guardrail):
    stage, name = "draft", "relevance"
    reason = "A model that is led to another subject must not answer with it."

    def check_draft(
        self, sentence: DraftSentence, context: DraftContext
    ) -> DraftSentence | FaultCode:
        return sentence if is_relevant(sentence, context.evidence) else "unrelated"


class _Leak(Guardrail):
    stage, name = "draft", "leaks"
    reason = "Prompts, keys and codes are not for the reader."

    def check_draft(
        self, sentence: DraftSentence, context: DraftContext
    ) -> DraftSentence | FaultCode:
        is_leak = contains_leak(sentence.text, context.instructions, context.known_text)
        return "leak" if is_leak else sentence


class _ActiveMarkup(Guardrail):
    stage, name = "answer", "no active markup"
    reason = "A page that renders Markdown must not turn the text of a document into a link."

    def render_text(self, text: str) -> str:
        return neutralize_markup(text)


GUARDRAILS: tuple[Guardrail, ...] = (
    _UnsafeRequest(),
    _PromptInjection(),
    _PlainText(),
    _Relevance(),
    _Leak(),
    _ActiveMarkup(),
)


def screen_question(question: str) -> Refusal | None:
    """Return the first refusal of a question."""
    refusals = (guardrail.check_question(question) for guardrail in GUARDRAILS)
    return next(filter(None, refusals), None)


def screen_evidence(
    evidence: SearchResult, action: SuspiciousAction
) -> tuple[SearchResult, tuple[InjectionFlag, ...]]:
    """Return the evidence that may be read, and the flags of suspicious sentences."""
    flags: tuple[InjectionFlag, ...] = ()
    for guardrail in GUARDRAILS:
        evidence, new_flags = guardrail.filter_evidence(evidence, action)
        flags += new_flags
    return evidence, flags


def screen_sentence(sentence: DraftSentence, context: DraftContext) -> DraftSentence | FaultCode:
    """Return a drafted sentence as it may be said, or the reason to drop it."""
    for guardrail in GUARDRAILS:
        result = guardrail.check_draft(sentence, context)
        if isinstance(result, str):
            return result
        sentence = result
    return sentence


def render_safe(sentence: DraftSentence) -> DraftSentence:
    """Return a verified sentence as it leaves the service."""
    for guardrail in GUARDRAILS:
        sentence = replace(sentence, text=guardrail.render_text(sentence.text))
    return sentence
