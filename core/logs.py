"""Logs without secrets and personal data.

Each process calls `install_redaction` first: every log record is redacted when it is created,
before a handler sees it, and an uncaught error is printed without its message.
`configure_json_logging` adds JSON lines on standard error.

The message of an error often holds the value that caused it (a psycopg DETAIL, a pydantic
input_value, a KeyError), and no pattern finds a person's name in it. So errors of other libraries
are logged with type and location only. Messages of Groundwork's own errors are redacted.
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

MAX_FIELD_CHARACTERS = 8_192  # anything longer is content, which does not belong in a log
MIN_ERROR_TEXT_CHARACTERS = 3  # shorter texts of errors also occur by chance in a message
TRUSTED_FIELDS = frozenset(  # made by Groundwork, without anything that a caller sent
    ("request_id", "route", "level", "timestamp", "exception")
)


def install_redaction() -> None:
    """Redact all log records of this process, and the errors that end it or one of its threads."""
    logging.setLogRecordFactory(_create_redacted_record)
    sys.excepthook = _handle_uncaught_error
    sys.unraisablehook = lambda event: _write_traceback(event.exc_value)
    threading.excepthook = lambda event: _write_traceback(event.exc_value)


def configure_json_logging() -> None:
    """Write all log records, of Groundwork and of libraries, as JSON lines to standard error."""
    install_redaction()
    _configure_structlog(logging.INFO)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLineFormatter())
    logging.getLogger().handlers = [handler]
    logging.captureWarnings(True)


def configure_cli_logging() -> None:
    """Write Groundwork's warnings and errors to standard error, for a command."""
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
    """Redact each field of an event; an error becomes its traceback (structlog processor)."""
    event = dict(event)
    error = event.pop("exc_info", None)
    if error:
        error = error if isinstance(error, BaseException) else sys.exc_info()[1]
        event["exception"] = format_traceback(error)
    return {
        name: value if name in TRUSTED_FIELDS else _redact_value(value)
        for name, value in event.items()
    }


def format_traceback(error: BaseException | None) -> str:
    """Return type and location of an error and its causes, without messages of other libraries."""
    return "\n".join(_traceback_lines(error)) if error else ""


def describe_error(error: BaseException) -> str:
    """Return one line about an error that is safe to log.

    Python's development mode (-X dev) adds the redacted message of any error.
    """
    name = type(error).__qualname__
    if isinstance(error, UnexpectedError):
        return str(error)
    if isinstance(error, GroundworkError) or sys.flags.dev_mode:
        return f"{name}: {_redact(str(error))}"
    facts = ", ".join(str(fact) for fact in _error_facts(error) if fact)
    return f"{name} ({facts})" if facts else name


def describe_error_location(error: BaseException) -> str:
    """Return one line about an error, with the file and line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return describe_error(error)
    return f"{describe_error(error)} at {Path(frames[-1].filename).name}:{frames[-1].lineno}"


def _error_facts(error: BaseException) -> tuple[Any, ...]:
    """Return facts that hold no values: the system's reason, PostgreSQL's code and names."""
    diagnosis = getattr(error, "diag", None)
    return (
        error.strerror if isinstance(error, OSError) else None,
        getattr(error, "sqlstate", None),
        getattr(diagnosis, "table_name", None),
        getattr(diagnosis, "constraint_name", None),
    )


class UnexpectedError(Exception):
    """Replaces an error of another library where errors are stored or shown, as Prefect does."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(format_traceback(error))


class JsonLineFormatter(logging.Formatter):
    """Formats a log record of a library as a JSON line. It was redacted when it was created."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat().replace("+00:00", "Z")
        line = {
            "logger": record.name,
            "event": record.getMessage(),
            "level": record.levelname.lower(),
        }
        if record.exc_text:
            line["exception"] = record.exc_text
        return json.dumps(line | {"timestamp": time})


_default_record_factory = logging.getLogRecordFactory()


def _create_redacted_record(*positional: Any, **named: Any) -> logging.LogRecord:
    """Create a record with its final, redacted message, so that no handler sees the arguments."""
    record = _default_record_factory(*positional, **named)
    if isinstance(record.args, tuple):
        record.args = tuple(map(_describe_if_error, record.args))
    try:
        message = record.getMessage()
    except (TypeError, ValueError, KeyError):
        # The format string does not match its arguments, which a traceback would show.
        message = str(record.msg)
    if record.exc_info and record.exc_info[1]:
        error = record.exc_info[1]
        message = _remove_error_text(message, error)
        record.exc_text, record.exc_info = format_traceback(error), None
    record.msg, record.args = _redact(message), None
    return record


def _describe_if_error(value: Any) -> Any:
    return describe_error(value) if isinstance(value, BaseException) else value


def _remove_error_text(message: str, error: BaseException) -> str:
    """Replace the text of an error, which asyncio, Prefect and others write into the message."""
    for text in (repr(error), str(error)):
        if len(text) >= MIN_ERROR_TEXT_CHARACTERS:
            message = message.replace(text, describe_error(error))
    return message


def _redact(text: str) -> str:
    from core.redaction import redact  # compiles many patterns; most commands log nothing

    return redact(text[:MAX_FIELD_CHARACTERS]).text


def _redact_value(value: Any) -> Any:
    if isinstance(value, BaseException):
        return describe_error(value)
    if isinstance(value, Mapping):
        return {str(name): _redact_value(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_redact_value(item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return _redact(str(value))


def _traceback_lines(error: BaseException) -> Iterator[str]:
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if cause:
        yield from _traceback_lines(cause)
        yield "then:"
    for frame in traceback.extract_tb(error.__traceback__):
        yield f"  {frame.filename}:{frame.lineno} in {frame.name}"
    yield describe_error(error)
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _traceback_lines(member)


def _write_traceback(error: BaseException | None) -> None:
    sys.stderr.write(f"{format_traceback(error)}\n")


def _handle_uncaught_error(
    _: type[BaseException], error: BaseException, __: TracebackType | None
) -> None:
    _write_traceback(error)
