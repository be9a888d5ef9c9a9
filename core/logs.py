"""Logs that keep secrets and personal data to themselves, whoever writes to them.

`protect` is called first by every process: whatever a library logs is redacted as it is recorded, before any handler
sees it, and an error that nobody caught is told without what it says. `configure` adds JSON lines on standard error.

What an error says is written by whoever raised it, often around the very value that it choked on (a psycopg DETAIL, a
pydantic input_value, a KeyError), and no expression finds a name in it. So of other people's errors the kind and the
places are told, never the message; of our own, which are sentences for people, the message is redacted.
"""

import json
import logging
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from core.errors import GroundworkError

LONGEST = 8_192  # characters of a field; what is longer is content, whatever it was meant to be
OURS = frozenset(("request_id", "route", "level", "timestamp"))  # made by us, of nothing that anybody sent


def protect() -> None:
    """Redact all that is logged in this process from now on, and the errors that end it or a thread of it."""
    if logging.getLogRecordFactory() is _record:
        return
    logging.setLogRecordFactory(_record)
    sys.excepthook = _end
    sys.unraisablehook = lambda given: _tell(given.exc_value)
    threading.excepthook = lambda given: _tell(given.exc_value)


def configure() -> None:
    """JSON lines on standard error for everything that is logged, ours (structlog) and the libraries' (logging)."""
    protect()
    _ours(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Lines())
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(True)


def quiet() -> None:
    """For a command, whose results are on standard output: of ours only what is wrong, on standard error."""
    _ours(logging.WARNING)


def _ours(least: int) -> None:
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            redacted,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def redacted(_: Any, __: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """A structlog processor: every field of an event redacted, an exception told without its message."""
    event = dict(event)
    error = event.pop("exc_info", None)
    if error:
        error = error if isinstance(error, BaseException) else sys.exc_info()[1]
        event["exception"] = told(error)
    return {name: value if name in OURS or name == "exception" else _clean(value) for name, value in event.items()}


def told(error: BaseException | None) -> str:
    """What went wrong and where, in the order of a traceback, without what strangers say about it."""
    return "\n".join(_told(error)) if error else ""


def said(error: BaseException) -> str:
    """An error in one line, as far as that may be told; all of it, redacted, in Python's development mode (-X dev)."""
    from core.redaction import redact

    name = type(error).__qualname__
    if isinstance(error, Unforeseen):
        return str(error)
    if isinstance(error, GroundworkError) or sys.flags.dev_mode:
        return f"{name}: {redact(str(error)).text}"
    facts = ", ".join(str(fact) for fact in _facts(error) if fact)
    return f"{name} ({facts})" if facts else name


def placed(error: BaseException) -> str:
    """An error in one line, with the place it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{said(error)} at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else said(error)


def _facts(error: BaseException) -> tuple[Any, ...]:
    """What is known of an error without reading its message: the system's word, or PostgreSQL's code and names."""
    diagnosis = getattr(error, "diag", None)
    return (
        error.strerror if isinstance(error, OSError) else None,
        getattr(error, "sqlstate", None),
        getattr(diagnosis, "table_name", None),
        getattr(diagnosis, "constraint_name", None),
    )


class Unforeseen(Exception):
    """An error of somebody else's, without its message: for where errors are kept or shown, as Prefect does."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(told(error))


class Lines(logging.Formatter):
    """A library's record as a JSON line. It was redacted when it was made."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        line = {"logger": record.name, "event": record.getMessage(), "level": record.levelname.lower()}
        return json.dumps(line | ({"exception": record.exc_text} if record.exc_text else {}) | {"timestamp": when})


_plain = logging.getLogRecordFactory()


def _record(*given: Any, **more: Any) -> logging.LogRecord:
    """A record whose message is final and redacted, so that no handler comes by the arguments or the error itself."""
    from core.redaction import redact

    record = _plain(*given, **more)
    if isinstance(record.args, tuple):
        record.args = tuple(said(each) if isinstance(each, BaseException) else each for each in record.args)
    try:
        message = record.getMessage()
    except (TypeError, ValueError, KeyError):  # a library's mistake is not to end in a traceback with the arguments
        message = str(record.msg)
    if record.exc_info and record.exc_info[1]:
        error = record.exc_info[1]
        for spoken in (repr(error), str(error)):  # asyncio, Prefect and others write the error into the message
            message = message.replace(spoken, said(error)) if len(spoken) > 2 else message
        record.exc_text, record.exc_info = told(error), None
    record.msg, record.args = redact(message[:LONGEST]).text, None
    return record


def _clean(value: Any) -> Any:
    from core.redaction import redact

    if isinstance(value, BaseException):
        return said(value)
    if isinstance(value, Mapping):
        return {str(name): _clean(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value)[:LONGEST]).text


def _told(error: BaseException) -> Iterator[str]:
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier:
        yield from _told(earlier)
        yield "then:"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
    yield said(error)
    for one in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _told(one)


def _tell(error: BaseException | None) -> None:
    sys.stderr.write(f"{told(error)}\n")


def _end(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
    _tell(error)
