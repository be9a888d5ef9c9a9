"""What models write, in every form they write it in: read as it comes, half a sentence never."""

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


def read(text: str, size: int = 1_000_000) -> list[ReplySentence]:
    """The sentences of a reply that comes in pieces of so many characters."""
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
def test_json_is_read_whatever_stands_around_it_and_wherever_it_breaks_off(text, size):
    assert read(text, size) == [FIRST, SECOND]


def test_a_sentence_that_broke_off_is_not_handed_out():
    for end in range(JSON.index("Five"), JSON.index("carried") + len("carried.")):
        assert read(JSON[:end]) == [FIRST]


def test_a_sentence_comes_as_soon_as_it_is_whole():
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
def test_prose_is_read_with_its_markers(text, sentences, size):
    assert read(text, size) == [
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
def test_other_names_for_the_same_are_understood(value, named):
    assert read(json.dumps(value)) == [ReplySentence("A is b.", named)]


@pytest.mark.parametrize(
    "value", [{"text": 7}, {"text": ""}, {"text": "..."}, {"sentences": ["a"]}, {}, [], "a", 7]
)
def test_what_holds_no_sentence_gives_none(value):
    assert read(json.dumps({"x": value})) == []


def test_several_sentences_in_one_string_are_several():
    value = {"text": "A is b. C is d.", "passage": 1}
    assert read(json.dumps(value)) == [
        ReplySentence("A is b.", (PassageRef(1),)),
        ReplySentence("C is d.", (PassageRef(1),)),
    ]


def test_a_reply_without_end_is_not_kept():
    reading = ReplyParser()
    for _ in range(100):
        list(reading.feed("x" * 10_000))
    assert len(reading._text) < 100_000


@given(st.text(alphabet='{}[]",:\\ \nab.1`', max_size=60), st.integers(1, 7))
def test_whatever_comes_is_survived(text, size):
    """And in pieces nothing else is read than at once, but for what comes before a JSON object."""
    assert all(written.text.strip() for written in read(text, size))
