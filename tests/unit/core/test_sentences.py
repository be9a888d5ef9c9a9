"""Sentence boundaries: correct on real text, complete, and linear on hostile text."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.text.sentences import split_sentences
from core.types import Span


def split(text: str) -> list[str]:
    return [text[slice(*span)] for span in split_sentences(text, Span(0, len(text)))]


@pytest.mark.parametrize(
    "text",
    [
        "Hello there.|This is v1.2.3 of the tool, e.g. on Linux.|See Fig. 3 and No. "
        "5.|No.|We do not.",
        "Dr. Smith of Apple Inc. met J. R. Smith at 5 p.m.|The U.S. Government said “No.”|He "
        "left (quietly.)|Fine.",
        "Open config.yaml.|Go to https://a.example/c.html?x=1.|Then... "
        "nothing.|Done!|Really?!|Yes.",
        "1. Install it.|2. Run it.|Plan B.|We go.|The cost is approx. 3.5 EUR vs. 20 EUR; "
        "that is fine.",
        "He asked “What?” and left.|iPhone sales rose by 3.5 %.|Add seals, rings, etc.|Close "
        "the lid on Jan. 5.",
        "It ends . . .|It goes on. ...|About 94 000 (c. EUR 23 800).",
        "12 Mill Lane\n|Leeds\n|Open on Sundays.",
        "水质良好。|是吗？|是！",
    ],
)
def test_a_text_is_split_into_its_sentences(text):
    expected = [part.strip() for part in text.split("|")]
    assert split(" ".join(text.split("|")).replace("\n ", "\n")) == expected


TEXT = st.one_of(st.text(max_size=80), st.text("aB1 .!?…\n\"'”)(Dr。", max_size=80))


@settings(max_examples=50)
@given(TEXT, TEXT, TEXT)
def test_every_character_is_in_exactly_one_sentence(before, inside, after):
    text = before + inside + after
    span = Span(len(before), len(before) + len(inside))
    sentences = split_sentences(text, span)
    letters = [text[slice(*sentence)].split() for sentence in sentences]
    assert "".join(map("".join, letters)) == "".join(inside.split())
    position = span.start
    for sentence in sentences:
        assert position <= sentence.start < sentence.end <= span.end
        assert text[slice(*sentence)].strip() == text[slice(*sentence)]
        position = sentence.end
