"""Answers over HTTP: whole, or as server-sent events (HTML standard, section 9.2).

searched   how much was searched
sentence   a verified sentence and its new citations
answer     the whole answer or refusal, the same as without streaming; the last event
problem    instead of `answer`: an error, as RFC 9457 describes it
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator

import anyio
import structlog
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from core.errors import GroundworkError
from serving.answering.pipeline import extract_answer
from serving.answering.types import Answer, AnswerEvent, SentenceVerified
from serving.api.problems import build_problem
from serving.api.schemas import AnswerOut, SearchedEvent, SentenceEvent

EVENT_STREAM_TYPE = "text/event-stream"
# A proxy must not hold sentences back.
STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

log = structlog.get_logger("groundwork.api")


def stream_response(
    events: Generator[AnswerEvent], disconnected: threading.Event
) -> StreamingResponse:
    """Return a response that sends events as they come. Raise errors that precede the first one.

    A client that disconnects early ends the work: `disconnected` is set, which cancels model calls,
    and `events` is closed.
    """
    body = _encode_events(next(events), events, disconnected)
    return StreamingResponse(body, media_type=EVENT_STREAM_TYPE, headers=STREAM_HEADERS)


async def collect_answer(
    events: Generator[AnswerEvent], request: Request, disconnected: threading.Event
) -> AnswerOut:
    """Return the whole answer; set `disconnected` if the client hangs up first."""

    async def wait_for_disconnect() -> None:
        # `request.is_disconnected` does not work behind our middleware.
        while (await request.receive())["type"] != "http.disconnect":
            pass
        disconnected.set()

    watcher = asyncio.create_task(wait_for_disconnect())
    try:
        return AnswerOut.model_validate(await run_sync(extract_answer, events))
    finally:
        watcher.cancel()


async def _encode_events(
    first: AnswerEvent, events: Generator[AnswerEvent], disconnected: threading.Event
) -> AsyncIterator[bytes]:
    # A thread that computes the next event goes on after a disconnect. `close` must wait for it.
    lock = threading.Lock()

    def next_event() -> AnswerEvent | None:
        with lock:
            return next(events, None)

    def close_events() -> None:
        with lock:
            events.close()

    try:
        event: AnswerEvent | None = first
        while event is not None:
            yield _encode_event(event)
            event = await run_sync(next_event, abandon_on_cancel=True)
    except GroundworkError as error:
        yield _format_event("problem", build_problem(error))
    except Exception as error:  # our fault: details go to the log only
        log.error("unforeseen", error=type(error).__name__, exc_info=error)
        problem = GroundworkError("Something went wrong. The log has the details.")
        yield _format_event("problem", build_problem(problem, 500))
    finally:
        disconnected.set()
        with anyio.CancelScope(shield=True):
            await run_sync(close_events)


def _encode_event(event: AnswerEvent) -> bytes:
    if isinstance(event, Answer):
        return _format_event("answer", AnswerOut.model_validate(event))
    if isinstance(event, SentenceVerified):
        return _format_event("sentence", SentenceEvent.model_validate(event))
    return _format_event("searched", SearchedEvent.model_validate(event))


def _format_event(name: str, body: BaseModel) -> bytes:
    return f"event: {name}\ndata: {body.model_dump_json()}\n\n".encode()
