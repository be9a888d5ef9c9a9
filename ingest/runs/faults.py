"""Faults of a worker: those that one document caused, and those that only need a retry."""

import time
from collections.abc import Callable
from typing import TypeVar

import psycopg

from core.errors import GroundworkError, Unavailable

T = TypeVar("T")

DATABASE_RETRY_DELAYS_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0)

# PostgreSQL refuses the content of a document. All its other errors concern every document.
_DOCUMENT_ERRORS = (psycopg.DataError, psycopg.IntegrityError, psycopg.errors.ProgramLimitExceeded)


def is_document_fault(error: Exception) -> bool:
    """Return True for an error that a document caused in a parser, chunker, model or database."""
    if isinstance(error, GroundworkError):
        return False
    return not isinstance(error, psycopg.Error) or isinstance(error, _DOCUMENT_ERRORS)


def retry_while_unavailable(transaction: Callable[[], T]) -> T:
    """Repeat a transaction while the database is unavailable or other transactions block it.

    Raises:
        Unavailable, psycopg.OperationalError, psycopg.InterfaceError: the last attempt failed.
    """
    for delay in DATABASE_RETRY_DELAYS_SECONDS:
        try:
            return transaction()
        except (Unavailable, psycopg.OperationalError, psycopg.InterfaceError):
            time.sleep(delay)
    return transaction()
