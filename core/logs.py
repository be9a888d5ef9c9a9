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

MAX_FIELD_CHARACTERS = (
    8_192  # characters of a field; what is longer is content, whatever it was meant to be
)
TRUSTED_FIELDS = frozenset(
    ("request_id", "route", "level", "timestamp")
)  # made by us, of nothing that anybody sent


def install_redaction() -> None:
    """Redact all that is logged in this process from now on, and the errors that end it or a thread of it."""
    if logging.getLogRecordFactory() is _create_redacted_record:
        return
    logging.setLogRecordFactory(_create_redacted_record)
    sys.excepthook = _handle_uncaught_error
    sys.unraisablehook = lambda given: _write_traceback(given.exc_value)
    threading.excepthook = lambda given: _write_traceback(given.exc_value)


def configure_json_logging() -> None:
    """JSON lines on standard error for everything that is logged, ours (structlog) and the libraries' (logging)."""
    install_redaction()
    _configure_structlog(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLineFormatter())
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(True)


def configure_cli_logging() -> None:
    """For a command, whose results are on standard output: of ours only what is wrong, on standard error."""
    _configure_structlog(logging.WARNING)


def _configure_structlog(min_level: int) -> None:
    import structlog

    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            redact_event,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(min_level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )


def redact_event(_: Any, __: str, event: Mapping[str, Any]) -> dict[str, Any]:
    """A structlog processor: every field of an event redacted, an exception told without its message."""
    event = dict(event)
    error = event.pop("exc_info", None)
    if error:
        error = error if isinstance(error, BaseException) else sys.exc_info()[1]
        event["exception"] = format_traceback(error)
    return {
        name: value if name in TRUSTED_FIELDS or name == "exception" else _redact_value(value)
        for name, value in event.items()
    }


def format_traceback(error: BaseException | None) -> str:
    """What went wrong and where, in the order of a traceback, without what strangers say about it."""
    return "\n".join(_traceback_lines(error)) if error else ""


def describe_error(error: BaseException) -> str:
    """An error in one line, as far as that may be told; all of it, redacted, in Python's development mode (-X dev)."""
    from core.redaction import redact

    name = type(error).__qualname__
    if isinstance(error, UnexpectedError):
        return str(error)
    if isinstance(error, GroundworkError) or sys.flags.dev_mode:
        return f"{name}: {redact(str(error)).text}"
    facts = ", ".join(str(fact) for fact in _error_facts(error) if fact)
    return f"{name} ({facts})" if facts else name


def describe_error_location(error: BaseException) -> str:
    """An error in one line, with the place it comes from."""
    frames = traceback.extract_tb(error.__traceback__)
    return (
        f"{describe_error(error)} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"
        if frames
        else describe_error(error)
    )


def _error_facts(error: BaseException) -> tuple[Any, ...]:
    """What is known of an error without reading its message: the system's word, or PostgreSQL's code and names."""
    diagnosis = getattr(error, "diag", None)
    return (
        error.strerror if isinstance(error, OSError) else None,
        getattr(error, "sqlstate", None),
        getattr(diagnosis, "table_name", None),
        getattr(diagnosis, "constraint_name", None),
    )


class UnexpectedError(Exception):
    """An error of somebody else's, without its message: for where errors are kept or shown, as Prefect does."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(format_traceback(error))


class JsonLineFormatter(logging.Formatter):
    """A library's record as a JSON line. It was redacted when it was made."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        line = {
            "logger": record.name,
            "event": record.getMessage(),
            "level": record.levelname.lower(),
        }
        return json.dumps(
            line | ({"exception": record.exc_text} if record.exc_text else {}) | {"timestamp": when}
        )


_default_record_factory = logging.getLogRecordFactory()


def _create_redacted_record(*given: Any, **more: Any) -> logging.LogRecord:
    """A record whose message is final and redacted, so that no handler comes by the arguments or the error itself."""
    from core.redaction import redact

    record = _default_record_factory(*given, **more)
    if isinstance(record.args, tuple):
        record.args = tuple(
            describe_error(each) if isinstance(each, BaseException) else each
            for each in record.args
        )
    try:
        message = record.getMessage()
    except (
        TypeError,
        ValueError,
        KeyError,
    ):  # a library's mistake is not to end in a traceback with the arguments
        message = str(record.msg)
    if record.exc_info and record.exc_info[1]:
        error = record.exc_info[1]
        for spoken in (
            repr(error),
            str(error),
        ):  # asyncio, Prefect and others write the error into the message
            message = message.replace(spoken, describe_error(error)) if len(spoken) > 2 else message
        record.exc_text, record.exc_info = format_traceback(error), None
    record.msg, record.args = redact(message[:MAX_FIELD_CHARACTERS]).text, None
    return record


def _redact_value(value: Any) -> Any:
    from core.redaction import redact

    if isinstance(value, BaseException):
        return describe_error(value)
    if isinstance(value, Mapping):
        return {str(name): _redact_value(each) for name, each in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(each) for each in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value)[:MAX_FIELD_CHARACTERS]).text


def _traceback_lines(error: BaseException) -> Iterator[str]:
    earlier = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if earlier:
        yield from _traceback_lines(earlier)
        yield "then:"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
    yield describe_error(error)
    for one in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        yield from _traceback_lines(one)


def _write_traceback(error: BaseException | None) -> None:
    sys.stderr.write(f"{format_traceback(error)}\n")


def _handle_uncaught_error(
    _: type[BaseException], error: BaseException, __: TracebackType | None
) -> None:
    _write_traceback(error)
