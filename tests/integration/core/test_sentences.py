"""Time to split hostile text into sentences."""

import time

import pytest

from core.text.sentences import split_sentences
from core.types import Span


@pytest.mark.parametrize(
    "piece",
    [
        ".",
        "a",
        "a.",
        ". ",
        ".)",
        "!?",
        '("',
        "A. ",
        "\n",
        ". (((",
        "Dr. ",
        " ",
        "e.g. A",
        "。",
        "1.",
    ],
)
def test_time_is_linear_in_hostile_text(piece):
    times = []
    for size in (50_000, 400_000):
        text = piece * (size // len(piece))
        begin = time.process_time()
        split_sentences(text, Span(0, len(text)))
        times.append(time.process_time() - begin)
    assert times[1] < 32 * times[0] + 0.2  # linear: 8 times as long; quadratic: 64 times


def test_blanks_before_many_stops_take_linear_time():
    text = " " * 200_000 + "Dr. A " * 20_000
    begin = time.process_time()
    split_sentences(text, Span(0, len(text)))
    assert time.process_time() - begin < 2
