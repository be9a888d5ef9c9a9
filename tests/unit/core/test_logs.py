"""Logs never hold values: not in fields, not in messages of libraries, not in errors."""

import psycopg
import pytest

from core import logs
from core.errors import InvalidInput

CANARY = "zanzibarplan"
CARD = "4111111111111111"


@pytest.mark.parametrize(
    ("error", "description"),
    [
        (InvalidInput("Not a mode. Use hybrid."), "InvalidInput: Not a mode. Use hybrid."),
        (InvalidInput(f"Not {CARD}."), "InvalidInput: Not [CARD]."),
        (psycopg.errors.UniqueViolation(f"Key (name)=({CANARY})"), "UniqueViolation (23505)"),
        (FileNotFoundError(2, "No such file", CANARY), "FileNotFoundError (No such file)"),
    ],
)
def test_only_messages_of_own_errors_are_logged(error: Exception, description: str) -> None:
    """An error of PostgreSQL is logged with its code and names; its DETAIL repeats the row."""
    assert logs.describe_error(error) == description
