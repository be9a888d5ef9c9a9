"""Terms: what a chunk is indexed by is what a question finds it by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.text.terms import (
    MAX_TERM_CHARACTERS,
    STOP_WORDS,
    count_query_terms,
    extract_terms,
    stem_word,
)


@pytest.mark.parametrize(
    ("written", "asked"),
    [
        ("The sensors were calibrated.", "sensor calibrating"),
        ("naïve café", "naive cafe"),
        ("cafe\u0301", "caf\u00e9"),
        ("the customer’s meter", "the customer's meter"),
        ("ﬁlter", "filter"),
        ("RÉSUMÉ", "resume"),
        ("state-of-the-art", "state of the art"),
        ("What's the pump doing? It’s running.", "What is the pump doing? It is running."),
        (
            "They don't, won't, can't and cannot leak.",
            "They do not, will not, can not and can not leak.",
        ),
        ("You mustn't open it.", "You must not open it."),
    ],
)
def test_forms_of_the_same_words_meet(written: str, asked: str) -> None:
    assert set(extract_terms(asked)) == set(extract_terms(written))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("ERR-4711", ["err-4711", "err", "4711"]),
        ("snake_case", ["snake_case", "snake", "case"]),
        ("v1.2.3", ["v1.2.3", "v1", "2", "3"]),
        ("C++", ["c"]),
        ("10.5", ["10.5", "10", "5"]),
    ],
)
def test_an_identifier_is_kept_whole_and_in_parts(text: str, found: list[str]) -> None:
    assert extract_terms(text) == found


@pytest.mark.parametrize("word", ["not", "no", "without"])
def test_a_negation_is_a_word_like_others(word: str) -> None:
    """It changes what is asked; measured, it neither helps nor harms the ranking."""
    assert extract_terms(word) == [stem_word(word)]


def test_a_question_of_function_words_has_no_terms() -> None:
    assert count_query_terms("What is it that they would have been?") == {}
    assert all(extract_terms(word) == [] for word in STOP_WORDS)


def test_repeats_count() -> None:
    assert count_query_terms("pump, pumps and a valve") == {"pump": 2, "valv": 1}


@given(st.text())
def test_any_text_has_terms_that_can_be_stored(text: str) -> None:
    found = extract_terms(text)
    assert found == extract_terms(text)
    assert all(term and len(term) <= MAX_TERM_CHARACTERS and "\x00" not in term for term in found)
    assert sum(count_query_terms(text).values()) == len(found)
