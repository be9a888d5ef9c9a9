"""Follow-up questions. Read `answer_in_conversation` first."""

from collections.abc import Generator
from dataclasses import replace
from uuid import UUID

from core.principal import Principal
from core.services import Services
from retrieval.filters import Filter
from retrieval.retriever import check_question
from retrieval.types import SearchMode
from serving.answering.answer_cache import AnswerCache
from serving.answering.conversation.followups import (
    StandaloneQuestion,
    is_follow_up,
    make_standalone,
)
from serving.answering.conversation.history import ConversationHistory, Turn
from serving.answering.conversation.rewriting import rewrite_question
from serving.answering.generator.answer_generator import AnswerGenerator
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
    *,
    generator: AnswerGenerator | None = None,
    mode: SearchMode = "hybrid",
    where: Filter | None = None,
    answer_cache: AnswerCache | None = None,
) -> Generator[AnswerEvent]:
    """Answer a question in a conversation; the options are those of `stream_answer`.

    The standalone form of the question is searched, answered and stored, and the answer shows it.

    Raises:
        NotFound: the principal has no such conversation.
        InvalidInput: the standalone question is too long.
    """
    history = ConversationHistory(services, principal)
    turns = history.recent_turns(conversation)
    standalone = StandaloneQuestion(question)
    if not screen_question(question):  # else a model could reword it into an allowed question
        standalone = resolve_question(question, turns, principal, models)
    events = stream_answer(
        services,
        principal,
        check_question(standalone.text),
        generator=generator,
        mode=mode,
        where=where,
        answer_cache=answer_cache,
    )
    for event in events:
        if not isinstance(event, Answer):
            yield event
            continue
        _store_turn(history, conversation, question, standalone, event)
        asked_as = standalone.text if standalone.text != question else None
        yield replace(event, question=question, asked_as=asked_as, conversation=conversation)


def resolve_question(
    question: str, turns: list[Turn], principal: Principal, models: Models | None
) -> StandaloneQuestion:
    """Return the standalone question, by a model if one answers, else by rules."""
    if not turns or not is_follow_up(question):
        return StandaloneQuestion(question)
    text = rewrite_question(models, principal, question, turns) if models else None
    if text is None:
        return make_standalone(question, turns)
    cited = turns[-1].documents
    return StandaloneQuestion(text, cited[0] if cited else None)


def _store_turn(
    history: ConversationHistory,
    conversation: UUID,
    question: str,
    standalone: StandaloneQuestion,
    answer: Answer,
) -> None:
    cited = dict.fromkeys(citation.document_id for citation in answer.citations)
    history.add_turn(
        conversation,
        question,
        standalone.text,
        list(cited),
        answered=answer.status == "answered",
        leans_on=standalone.leans_on,
    )
