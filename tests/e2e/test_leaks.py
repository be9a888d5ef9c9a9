"""Short form of `python -m bench.leaks`: no log or error contains a secret."""

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


def test_secrets_leave_traces_only_without_protection(
    sample_services: Services, tmp_path: Path
) -> None:
    """Canaries go into questions, filters, headers, and errors of libraries and PostgreSQL."""
    texts, harmless = (
        make_canaries(random.Random(4711))[:10],
        [MarkedText(text, ()) for text in HARMLESS_QUESTIONS],
    )
    traces = {}
    for protected in (True, False):
        harmless_captured = send_texts(
            sample_services, None, harmless, tmp_path, protected=protected
        )
        captured = send_texts(sample_services, None, texts, tmp_path, protected=protected)
        assert captured.requests == 15 * len(texts)
        assert len("".join(captured.texts_by_place["logs"])) > 10_000
        traces[protected] = count_traces(captured, texts, harmless_captured.join_texts())
    assert traces[True] == {}
    assert traces[False]["logs"] == len(texts)


def test_the_table_has_a_line_for_each_place() -> None:
    """A line has the characters searched and the number of traces."""
    report = {
        "texts": 2,
        "requests": 30,
        "characters": {"logs": 1234, "replies": 5},
        "traces": {"replies": 1},
    }
    assert "| logs | 1,234 | 0 |" in format_table(report)
    assert "| replies | 5 | 1 |" in format_table(report)
    assert format_table(report).endswith("2 texts, 30 requests")
