"""Questions that follow on one another. Read `converse` first; `followups.py` has the rules, `history.py` the rest."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

from core.principal import Principal
from core.services import Services
from retrieval.retriever import check_question
from serving.answering.conversation.followups import Standalone, follows, standalone
from serving.answering.conversation.history import History, Turn
from serving.answering.conversation.rewriting import rewritten
from serving.answering.guardrails.policies import refused
from serving.answering.pipeline import stream
from serving.answering.types import Answer, Event
from serving.gateway.types import Models


def converse(
    services: Services,
    principal: Principal,
    question: str,
    conversation: UUID,
    models: Models | None = None,
    **how: Any,
) -> Iterator[Event]:
    """Answer a question in a conversation of the principal's; `how` goes to `answering.stream`.

    What is searched for, answered and kept is the question as it is understood, and the answer says so. What may not
    be answered is refused as it is put, before a model could word it otherwise, and by `stream` as it is understood.

    Raises:
        NotFound: no such conversation of theirs.
        InvalidInput: see `answering.answer`.
    """
    question = check_question(question)
    history = History(services, principal)
    turns = history.recent(conversation)
    asked = Standalone(question) if refused(question) else understood(question, turns, principal, models)
    for event in stream(services, principal, asked.text, **how):
        if not isinstance(event, Answer):
            yield event
            continue
        _remember(history, conversation, question, asked, event)
        changed = asked.text if asked.text != question else None
        yield replace(event, question=question, asked_as=changed, conversation=conversation)


def understood(question: str, turns: list[Turn], principal: Principal, models: Models | None) -> Standalone:
    """The question as it stands alone: as a model words it where one is configured and keeps to what was said, else by
    the rules.
    """
    if not turns or not follows(question):
        return Standalone(question)
    by_rule = standalone(question, turns)
    text = rewritten(models, principal, question, turns) if models else None
    return (
        Standalone(check_question(text), turns[-1].documents[0] if turns[-1].documents else None) if text else by_rule
    )


def _remember(history: History, conversation: UUID, question: str, asked: Standalone, answer: Answer) -> None:
    cited = list(dict.fromkeys(citation.document_id for citation in answer.citations))
    history.add(
        conversation, question, asked.text, cited, answered=answer.status == "answered", leans_on=asked.leans_on
    )
