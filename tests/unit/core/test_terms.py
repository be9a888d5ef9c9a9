"""Terms: chunks and questions are analyzed in the same way."""

import pytest
from hypothesis import given, settings
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
def test_forms_of_a_word_have_the_same_terms(written: str, asked: str) -> None:
    assert set(extract_terms(asked)) == set(extract_terms(written))


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("ERR-4711", ["err-4711", "err", "4711"]),
        ("snake_case", ["snake_case", "snake", "case"]),
        ("v1.2.3", ["v1.2.3", "v1", "2", "3"]),
        ("C++", ["c"]),
        ("10.5", ["10.5", "10", "5"]),
    ],
)
def test_an_identifier_is_kept_whole_and_in_parts(text: str, terms: list[str]) -> None:
    assert extract_terms(text) == terms


@pytest.mark.parametrize("word", ["not", "no", "without"])
def test_a_negation_is_not_a_stop_word(word: str) -> None:
    """It changes the question; the ranking is the same without it."""
    assert extract_terms(word) == [stem_word(word)]


def test_a_question_of_function_words_has_no_terms() -> None:
    assert count_query_terms("What is it that they would have been?") == {}
    assert all(extract_terms(word) == [] for word in STOP_WORDS)


def test_repeated_terms_are_counted() -> None:
    assert count_query_terms("pump, pumps and a valve") == {"pump": 2, "valv": 1}


@settings(max_examples=50)
@given(st.text())
def test_the_terms_of_any_text_can_be_stored(text: str) -> None:
    terms = extract_terms(text)
    assert all(0 < len(term) <= MAX_TERM_CHARACTERS for term in terms)
    assert not any("\x00" in term for term in terms)
    assert sum(count_query_terms(text).values()) == len(terms)
