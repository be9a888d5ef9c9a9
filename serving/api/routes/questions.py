"""Routes for questions: answers and passages."""

import threading
from collections.abc import Generator

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request, Response

from core.principal import Principal
from retrieval.retriever import retrieve
from serving.answering.conversation.conversation import answer_in_conversation
from serving.answering.conversation.history import ConversationHistory
from serving.answering.generator.registry import create_generator
from serving.answering.pipeline import stream_answer
from serving.answering.types import AnswerEvent
from serving.api.dependencies import AdmittedCaller, ApiContext, Context
from serving.api.schemas import AnswerOut, Question, SearchOut, SearchQuestion
from serving.api.streaming import EVENT_STREAM_TYPE, collect_answer, stream_response
from serving.gateway.types import CancellableModels

router = APIRouter(prefix="/v1", tags=["questions"])


@router.post(
    "/ask", response_model=AnswerOut, responses={200: {"content": {EVENT_STREAM_TYPE: {}}}}
)
async def ask(
    body: Question, caller: AdmittedCaller, request: Request, context: Context
) -> AnswerOut | Response:
    """Answer a question from the documents that the caller may see, with citations, or refuse.

    With `Accept: text/event-stream` each sentence is sent once it is verified
    (docs/reference/answers.md).
    """
    disconnected = threading.Event()
    events = await run_sync(_start_answer, context, body, caller, disconnected)
    if EVENT_STREAM_TYPE in request.headers.get("accept", ""):
        return await run_sync(stream_response, events, disconnected)
    return await collect_answer(events, request, disconnected)


def _start_answer(
    context: ApiContext, body: Question, caller: Principal, disconnected: threading.Event
) -> Generator[AnswerEvent]:
    services = context.services
    models = CancellableModels(context.models, disconnected) if context.models else None
    generator = create_generator(services.settings, models, caller)
    if body.conversation is None:
        return stream_answer(
            services,
            caller,
            body.question,
            generator=generator,
            mode=body.mode,
            where=body.filter,
            answer_cache=context.answer_cache,
        )
    conversation = body.conversation
    if conversation == "new":
        conversation = ConversationHistory(services, caller).create_conversation()
    return answer_in_conversation(
        services,
        caller,
        body.question,
        conversation,
        models,
        generator=generator,
        mode=body.mode,
        where=body.filter,
        answer_cache=context.answer_cache,
    )


@router.post("/search")
def search(body: SearchQuestion, caller: AdmittedCaller, context: Context) -> SearchOut:
    """Return the passages that answer a question best, with their scores."""
    result = retrieve(
        context.services,
        caller,
        body.question,
        limit=body.limit,
        mode=body.mode,
        where=body.filter,
        explain=body.explain,
    )
    return SearchOut.model_validate(result)
