"""Logs say that and where, never what: not in fields, not in messages of libraries, not in what errors say."""

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from core import logs
from core.errors import InvalidInput
from tests.conftest import ROOT

CANARY = "zanzibarplan"
CARD = "4111111111111111"


LOGGING = """
import logging
import structlog
from core import logs
logs.configure_json_logging()
ours, theirs = structlog.get_logger("groundwork.test"), logging.getLogger("httpx")
def fail():
    raise ValueError(f"could not read {CANARY}")
try:
    try:
        fail()
    except ValueError as error:
        raise KeyError(CANARY) from error
except KeyError as error:
    ours.error("unforeseen", exc_info=error, card=CARD, nested={"list": [CARD, error]}, request_id="5" * 16)
    theirs.error("failed for %s: %s", CARD, error, exc_info=True)
    theirs.error(f"task failed with {error!r}", exc_info=error)
theirs.warning("%d of %s", CARD)
"""


def test_a_field_an_argument_and_an_error_are_redacted() -> None:
    """In our own events and in those of libraries; also where a library's message can't be put together."""
    said = run(LOGGING).stderr
    assert CANARY not in said
    assert CARD not in said
    lines = [json.loads(line) for line in said.splitlines()]
    events = ["unforeseen", "failed for [CARD]: KeyError", "task failed with KeyError", "%d of %s"]
    assert [line["event"] for line in lines] == events
    assert lines[0]["request_id"] == "5" * 16
    assert lines[0]["nested"] == {"list": ["[CARD]", "KeyError"]}
    assert all(line["timestamp"].endswith("Z") for line in lines)
    for line in lines[:3]:
        assert "in fail" in line["exception"]
        assert line["exception"].splitlines()[-1] == "KeyError"


def run(
    program: str, *arguments: str, home: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """A program in a process of its own, which is all that a process's hooks can be tried in."""
    return subprocess.run(
        [sys.executable, "-c", f"CANARY, CARD = {CANARY!r}, {CARD!r}\n{program}", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "GROUNDWORK_HOME": str(home or "")},
    )


def test_our_own_sentences_are_told_and_postgresqls_are_not() -> None:
    """Of an error of PostgreSQL's its code and names; its DETAIL repeats the row."""
    assert (
        logs.describe_error(InvalidInput("No such mode; choose hybrid."))
        == "InvalidInput: No such mode; choose hybrid."
    )
    assert logs.describe_error(InvalidInput(f"Not {CARD}.")) == "InvalidInput: Not [CARD]."
    assert (
        logs.describe_error(psycopg.errors.UniqueViolation(f"Key (name)=({CANARY})"))
        == "UniqueViolation (23505)"
    )
    assert (
        logs.describe_error(FileNotFoundError(2, "No such file", CANARY))
        == "FileNotFoundError (No such file)"
    )


@pytest.mark.parametrize(
    "code",
    [
        "raise RuntimeError(CANARY)",
        "import threading as u; t = u.Thread(target=int, args=[CANARY]); t.start(); t.join(); raise KeyError(CANARY)",
        "import logging; logging.warning('lost %s', ValueError(CANARY)); raise RuntimeError from ValueError(CANARY)",
    ],
    ids=["process", "thread", "logged"],
)
def test_an_error_that_ends_a_process_is_told_without_its_message(code: str) -> None:
    """Also one that ends a thread."""
    ended = run(f"from core import logs\nlogs.install_redaction()\n{code}")
    assert ended.returncode == 1
    assert "Error" in ended.stderr
    assert " in <module>" in ended.stderr
    assert CANARY not in ended.stderr


BROKEN = """
import cli.main, cli.questions as questions
def fail(*_):
    raise RuntimeError(CANARY)
questions.open_configured_services = fail
cli.main.main()
"""


def test_the_command_line_tells_a_fault_of_its_own_without_its_message(tmp_path: Path) -> None:
    """And does not repeat a key that was typed in the wrong place."""
    key = "sk-" + "proj-" + "a1B2" * 8
    for arguments, code in ((["ask", CANARY], 1), (["search", "x", "--mode", key], 2)):
        ended = run(BROKEN, *arguments, home=tmp_path)
        assert ended.returncode == code
        assert CANARY not in ended.stderr
        assert key not in ended.stderr
