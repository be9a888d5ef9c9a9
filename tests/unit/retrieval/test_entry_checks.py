"""Checks of a question and of the number of hits."""

import pytest

from core.errors import InvalidInput
from retrieval.retriever import MAX_HITS, MAX_QUESTION_CHARACTERS, check_limit, check_question


@pytest.mark.parametrize("question", ["", "   ", "?!", "\x00", "x" * 2_001, "¿…?"])
def test_an_empty_or_overlong_question_is_refused(question: str) -> None:
    """One sentence says what is wrong."""
    with pytest.raises(InvalidInput, match=r"question .*(empty|characters)"):
        check_question(question)


def test_a_question_that_is_not_text_is_refused() -> None:
    """Half a surrogate pair comes from a terminal or from JSON."""
    with pytest.raises(InvalidInput, match="UTF-8"):
        check_question("why \ud800?")


def test_a_question_is_cleaned() -> None:
    """PostgreSQL can't store a NUL character; it becomes a space."""
    assert check_question(" why\x00not? \n") == "why not?"
    assert len(check_question("x" * MAX_QUESTION_CHARACTERS)) == MAX_QUESTION_CHARACTERS


@pytest.mark.parametrize("limit", [0, -1, MAX_HITS + 1])
def test_a_limit_out_of_range_is_refused(limit: int) -> None:
    """From 1 to 100."""
    with pytest.raises(InvalidInput, match="out of range"):
        check_limit(limit)
