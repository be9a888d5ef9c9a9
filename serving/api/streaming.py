"""An answer on its way to its reader: at once, or as server-sent events (HTML standard, 9.2), only what is verified.

searched   how much was looked through
sentence   a verified sentence, with the citations that are new with it
answer     the whole answer or the refusal, as /v1/ask gives it without streaming; the last event
problem    in place of `answer`: what went wrong on the way, as RFC 9457 has it
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator, Iterator
from typing import cast

import anyio
import structlog
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from core.errors import GroundworkError
from serving.answering.pipeline import extract_answer
from serving.answering.types import Answer, AnswerEvent, SentenceVerified
from serving.api.schemas import AnswerOut, Problem, SearchedEvent, SentenceEvent

EVENT_STREAM_TYPE = "text/event-stream"

log = structlog.get_logger("groundwork.api")


def stream_response(
    events: Iterator[AnswerEvent], disconnected: threading.Event
) -> StreamingResponse:
    """A response that sends events as they come. What is wrong with the question is raised here, before the first.

    A client that disconnects early ends the work: `disconnected` is set, which cancels model calls, and `events` is
    closed.
    """
    first = next(events)
    headers = {
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
    }  # no proxy may hold sentences back
    return StreamingResponse(
        _encode_events(first, events, disconnected), media_type=EVENT_STREAM_TYPE, headers=headers
    )


async def collect_answer(
    events: Iterator[AnswerEvent], request: Request, disconnected: threading.Event
) -> AnswerOut:
    """Return the whole answer; set `disconnected` if the client hangs up first."""

    async def watch() -> (
        None
    ):  # not by `is_disconnected`, which never says so behind our middleware
        while (await request.receive())["type"] != "http.disconnect":
            pass
        disconnected.set()

    watching = asyncio.create_task(watch())
    try:
        return AnswerOut.of(await run_sync(extract_answer, events))
    finally:
        watching.cancel()


async def _encode_events(
    first: AnswerEvent, events: Iterator[AnswerEvent], disconnected: threading.Event
) -> AsyncIterator[bytes]:
    working = (
        threading.Lock()
    )  # held by the thread that makes the next event; it goes on where nobody waits for it

    def following() -> AnswerEvent | None:
        with working:
            return next(events, None)

    def close() -> None:
        with working:
            cast("Generator[AnswerEvent]", events).close()

    try:
        event: AnswerEvent | None = first
        while event is not None:
            yield _encode_event(event)
            event = await run_sync(following, abandon_on_cancel=True)
    except GroundworkError as error:
        yield _encode_problem(error)
    except Exception as error:  # a fault of ours: the log has it, the reader a sentence
        log.error("unforeseen", error=type(error).__name__, exc_info=error)
        yield _encode_problem(GroundworkError("Something went wrong here; the log has it."), 500)
    finally:
        disconnected.set()
        with anyio.CancelScope(shield=True):
            await run_sync(close)


def _encode_event(event: AnswerEvent) -> bytes:
    if isinstance(event, Answer):
        return _format_event("answer", AnswerOut.of(event))
    if isinstance(event, SentenceVerified):
        return _format_event("sentence", SentenceEvent.of(event))
    return _format_event(
        "searched", SearchedEvent(documents=event.documents, passages=event.passages)
    )


def _encode_problem(error: GroundworkError, status: int | None = None) -> bytes:
    return _format_event("problem", Problem.of(error, status))


def _format_event(name: str, body: BaseModel) -> bytes:
    return f"event: {name}\ndata: {body.model_dump_json()}\n\n".encode()
