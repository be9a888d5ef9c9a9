"""Parsing of model replies while they arrive: JSON, almost JSON, and prose with markers."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.answering.generator.reply_parser import PassageRef, ReplyParser, ReplySentence

ONE = {"evidence": [{"passage": 1, "quote": 'They say "27 {days}".'}], "text": "27 [full] days."}
TWO = {
    "evidence": [{"passage": 2, "quote": "b"}, {"passage": 3, "quote": "c"}],
    "text": "Five are carried.",
}
JSON = json.dumps({"sentences": [ONE, TWO]}, indent=1)
FIRST = ReplySentence("27 [full] days.", (PassageRef(1, 'They say "27 {days}".'),))
SECOND = ReplySentence("Five are carried.", (PassageRef(2, "b"), PassageRef(3, "c")))


def parse_in_pieces(text: str, size: int = 1_000_000) -> list[ReplySentence]:
    """Return the sentences of a reply that arrives in pieces of a size in characters."""
    reading, found = ReplyParser(), []
    for start in range(0, len(text), size):
        found += reading.feed(text[start : start + size])
    return found + list(reading.end())


@pytest.mark.parametrize("size", [1, 3, 17, 10_000])
@pytest.mark.parametrize(
    "text",
    [
        JSON,
        f"```json\n{JSON}\n```",
        f"Here is the answer:\n\n{JSON}\n\nI hope that this helps.",
        json.dumps([ONE, TWO]),
        f"{json.dumps(ONE)}\n{json.dumps(TWO)}",
        JSON.replace("}\n ]", "},\n ]"),
        JSON[:-3],
        JSON[: JSON.index("carried") + len('carried."')],
    ],
)
def test_json_is_parsed_with_text_around_it_and_if_it_is_cut(text, size):
    assert parse_in_pieces(text, size) == [FIRST, SECOND]


def test_an_incomplete_sentence_is_not_returned():
    for end in range(JSON.index("Five"), JSON.index("carried") + len("carried.")):
        assert parse_in_pieces(JSON[:end]) == [FIRST]


def test_a_sentence_is_returned_as_soon_as_it_is_complete():
    reading, end = ReplyParser(), JSON.index("},\n  {\n") + 1
    assert list(reading.feed(JSON[: end - 1])) == []
    assert list(reading.feed(JSON[end - 1 : end])) == [FIRST]
    reading = ReplyParser()
    assert list(reading.feed("27 days [1]. Fi")) == [ReplySentence("27 days.", (PassageRef(1),))]
    assert list(reading.feed("ve are carried. [2]")) == []
    assert list(reading.end()) == [ReplySentence("Five are carried.", (PassageRef(2),))]


@pytest.mark.parametrize("size", [1, 5, 10_000])
@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        (
            "27 days [1]. Five are carried. [2, 3]",
            [("27 days.", (1,)), ("Five are carried.", (2, 3))],
        ),
        (
            "- 27 days [1]\n- Five are carried (2)\n",
            [("27 days", (1,)), ("Five are carried", (2,))],
        ),
        (
            "1. It is 3.5 bar.【1】 [2]\nAsk Dr. Li, e.g. by mail.",
            [("It is 3.5 bar.", (1, 2)), ("Ask Dr. Li, e.g. by mail.", ())],
        ),
        ("Is it 27? Yes [passage 1].", [("Is it 27?", ()), ("Yes.", (1,))]),
        ("The answer is as follows:\n27 days [1].\n", [("27 days.", (1,))]),
        ("Use {name} in its place [1].", [("Use {name} in its place.", (1,))]),
        (
            '{"answer": "27 days [1]. Five are carried. [2]"}',
            [("27 days.", (1,)), ("Five are carried.", (2,))],
        ),
        ("27 days are given and then it bro", []),
        ("", []),
        (" \n```\n", []),
    ],
)
def test_prose_is_parsed_with_its_markers(text, sentences, size):
    assert parse_in_pieces(text, size) == [
        ReplySentence(said, tuple(map(PassageRef, numbers))) for said, numbers in sentences
    ]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"sentence": "A is b.", "passage": "2", "quote": "q"}, (PassageRef(2, "q"),)),
        ({"text": "A is b.", "passages": [1, "[3]"]}, (PassageRef(1), PassageRef(3))),
        ({"claim": "A is b.", "citations": [{"id": 4, "quote": "q"}]}, (PassageRef(4, "q"),)),
        ({"text": "A is b. [5]"}, (PassageRef(5),)),
        ({"text": "A is b.", "passage": True, "quote": 7}, ()),
        ({"text": "A is b.", "passage": None}, ()),
    ],
)
def test_other_key_names_are_accepted(value, named):
    assert parse_in_pieces(json.dumps(value)) == [ReplySentence("A is b.", named)]


@pytest.mark.parametrize(
    "value", [{"text": 7}, {"text": ""}, {"text": "..."}, {"sentences": ["a"]}, {}, [], "a", 7]
)
def test_json_without_a_sentence_gives_none(value):
    assert parse_in_pieces(json.dumps({"x": value})) == []


def test_several_sentences_in_one_string_are_split():
    value = {"text": "A is b. C is d.", "passage": 1}
    assert parse_in_pieces(json.dumps(value)) == [
        ReplySentence("A is b.", (PassageRef(1),)),
        ReplySentence("C is d.", (PassageRef(1),)),
    ]


def test_an_endless_reply_is_not_buffered():
    reading = ReplyParser()
    for _ in range(100):
        list(reading.feed("x" * 10_000))
    assert len(reading._text) < 100_000


@given(st.text(alphabet='{}[]",:\\ \nab.1`', max_size=60), st.integers(1, 7))
def test_any_text_is_parsed_to_non_empty_sentences(text, size):
    assert all(written.text.strip() for written in parse_in_pieces(text, size))
