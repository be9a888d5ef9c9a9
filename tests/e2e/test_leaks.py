"""Secrets sent by every way in, in short: none turns up in a log or an error; without protection they do."""

import random
from pathlib import Path

from bench.leaks import (
    HARMLESS_QUESTIONS,
    MarkedText,
    count_traces,
    format_table,
    make_canaries,
    send_texts,
)
from core.services import Services


def test_no_secret_turns_up_and_without_protection_it_does(
    sample_services: Services, tmp_path: Path
) -> None:
    """A canary of each kind, as a question, a filter, a header, in errors of libraries and of PostgreSQL."""
    sent, harmless = (
        make_canaries(random.Random(4711))[:10],
        [MarkedText(text, ()) for text in HARMLESS_QUESTIONS],
    )
    found = {}
    for protected in (True, False):
        known = send_texts(sample_services, None, harmless, tmp_path, protected=protected)
        heard = send_texts(sample_services, None, sent, tmp_path, protected=protected)
        assert heard.requests == 15 * len(sent)
        assert len("".join(heard.texts_by_place["logs"])) > 10_000
        found[protected] = count_traces(
            heard, sent, "\n".join(one for said in known.texts_by_place.values() for one in said)
        )
    assert found[True] == {}
    assert found[False]["logs"] == len(sent)


def test_its_table_has_a_line_for_each_place() -> None:
    """With what was looked through, and what left a trace."""
    report = {
        "texts": 2,
        "requests": 30,
        "characters": {"logs": 1234, "replies": 5},
        "traces": {"replies": 1},
    }
    assert "| logs | 1,234 | 0 |" in format_table(report)
    assert "| replies | 5 | 1 |" in format_table(report)
    assert format_table(report).endswith("2 texts, 30 requests")
