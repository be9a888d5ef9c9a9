"""Questions that follow on one another. Read `converse` first; `followups.py` has the rules, `history.py` the rest."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID

from core.principal import Principal
from core.services import Services
from retrieval.retriever import check_question
from serving.answering.conversation.followups import (
    StandaloneQuestion,
    is_follow_up,
    make_standalone,
)
from serving.answering.conversation.history import ConversationHistory, Turn
from serving.answering.conversation.rewriting import rewrite_question
from serving.answering.guardrails.screening import screen_question
from serving.answering.pipeline import stream_answer
from serving.answering.types import Answer, AnswerEvent
from serving.gateway.types import Models


def answer_in_conversation(
    services: Services,
    principal: Principal,
    question: str,
    conversation: UUID,
    models: Models | None = None,
    **how: Any,
) -> Iterator[AnswerEvent]:
    """Answer a question in a conversation of the principal's; `how` goes to `answering.stream`.

    What is searched for, answered and kept is the question as it is understood, and the answer says so. What may not
    be answered is refused as it is put, before a model could word it otherwise, and by `stream` as it is understood.

    Raises:
        NotFound: no such conversation of theirs.
        InvalidInput: see `answering.answer`.
    """
    question = check_question(question)
    history = ConversationHistory(services, principal)
    turns = history.recent_turns(conversation)
    asked = (
        StandaloneQuestion(question)
        if screen_question(question)
        else resolve_question(question, turns, principal, models)
    )
    for event in stream_answer(services, principal, asked.text, **how):
        if not isinstance(event, Answer):
            yield event
            continue
        _store_turn(history, conversation, question, asked, event)
        changed = asked.text if asked.text != question else None
        yield replace(event, question=question, asked_as=changed, conversation=conversation)


def resolve_question(
    question: str, turns: list[Turn], principal: Principal, models: Models | None
) -> StandaloneQuestion:
    """The question as it stands alone: as a model words it where one is configured and keeps to what was said, else by
    the rules.
    """
    if not turns or not is_follow_up(question):
        return StandaloneQuestion(question)
    by_rule = make_standalone(question, turns)
    text = rewrite_question(models, principal, question, turns) if models else None
    return (
        StandaloneQuestion(
            check_question(text), turns[-1].documents[0] if turns[-1].documents else None
        )
        if text
        else by_rule
    )


def _store_turn(
    history: ConversationHistory,
    conversation: UUID,
    question: str,
    standalone: StandaloneQuestion,
    answer: Answer,
) -> None:
    cited = list(dict.fromkeys(citation.document_id for citation in answer.citations))
    history.add_turn(
        conversation,
        question,
        standalone.text,
        cited,
        answered=answer.status == "answered",
        leans_on=standalone.leans_on,
    )
