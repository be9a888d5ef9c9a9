"""Redaction of answers, of real data and of hostile text."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from bench.redaction import (
    STRUCTURED_KINDS,
    count_by_kind,
    kinds_below_bound,
    read_records,
    split_halves,
)
from core.principal import Principal
from core.redaction import SENSITIVE_KINDS, find_entities
from core.services import Services
from serving.answering.pipeline import stream_answer


@pytest.mark.parametrize(
    ("policy", "is_shown"), [("logs", True), ("prompts", True), ("answers", False)]
)
def test_answers_and_quotes_are_redacted_only_by_the_setting_answers(
    sample_services: Services, policy: str, is_shown: bool
) -> None:
    settings = sample_services.settings.model_copy(update={"redact": policy})
    services = replace(sample_services, settings=settings)
    question = "Where do requests about personal data go to?"
    events = repr(list(stream_answer(services, Principal("alder"), question)))
    assert ("privacy@alder.example" in events) == is_shown
    assert ("[EMAIL]" in events) != is_shown


def test_encyclopedia_articles_have_few_entities(data: Path) -> None:
    """At most one per hundred, though articles are full of numbers."""
    passages = (data / "squad" / "corpus.jsonl").read_text(encoding="utf-8").splitlines()[::6]
    count = sum(len(find_entities(passage, SENSITIVE_KINDS)) for passage in passages)
    assert count <= len(passages) // 100


def test_kinds_with_a_form_are_found_in_the_held_out_records(data: Path) -> None:
    """`make bench-redaction` prints the whole table."""
    _, held_out = split_halves(read_records(data / "pii" / "synthetic_records.json"))
    tallies = count_by_kind(held_out)
    assert set(STRUCTURED_KINDS) <= set(tallies)
    assert kinds_below_bound(tallies) == []


BAIT = (
    "a",
    "1",
    "1 ",
    "12-",
    "a@",
    "a.",
    "@a.",
    "::",
    "a:",
    "http://",
    "www.",
    "key ",
    "key aB3",
    "password ",
    "password=",
    "password is ",
    'token:"',
    "-----BEGIN PRIVATE KEY-----",
    "eyJaaaaaaaa.",
    "sk-",
    "xoxb-",
    "+1(",
    "0 (1",
    "Aa ",
    "name is Aa ",
    "Mr Aa ",
    "born ",
    "GB12 ",
    "1 a St ",
    "authorization: ",
    "a://b:",
    "4111 1111 ",
    "bearer ",
    "1.1.",
    "SSN ",
    "I am A ",
    "turned ",
    " ",
    "'",
    "é",
    "driver's license number is 1-",
)


def test_hostile_text_takes_linear_time() -> None:
    """Eight times the text must not take sixty-four times the time."""
    for bait in BAIT:
        short, long = (bait * (size // len(bait)) for size in (1_000, 8_000))
        assert min(_seconds(long) for _ in range(2)) < 0.02 + 30 * _seconds(short), bait


def _seconds(text: str) -> float:
    started_at = time.process_time()  # of this process: other processes use the machine too
    find_entities(text)
    return time.process_time() - started_at
