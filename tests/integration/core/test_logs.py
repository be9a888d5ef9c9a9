"""Logs of a process of its own never hold values."""

import json
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT

CANARY = "zanzibarplan"
CARD = "4111111111111111"

LOGGING_PROGRAM = """
import logging
import structlog
from core import logs
logs.configure_json_logging()
own_logger, library_logger = structlog.get_logger("groundwork.test"), logging.getLogger("httpx")
def fail():
    raise ValueError(f"could not read {CANARY}")
try:
    try:
        fail()
    except ValueError as error:
        raise KeyError(CANARY) from error
except KeyError as error:
    nested = {"list": [CARD, error]}
    own_logger.error("unforeseen", exc_info=error, card=CARD, nested=nested, request_id="5" * 16)
    library_logger.error("failed for %s: %s", CARD, error, exc_info=True)
    library_logger.error(f"task failed with {error!r}", exc_info=error)
library_logger.warning("%d of %s", CARD)
"""


def run_program(program: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own, because a test can't change the hooks of pytest's."""
    return subprocess.run(
        [sys.executable, "-c", f"CANARY, CARD = {CANARY!r}, {CARD!r}\n{program}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "GROUNDWORK_HOME": ""},
    )


def test_fields_arguments_and_errors_are_redacted() -> None:
    """In Groundwork's events and in those of libraries, even with a wrong format string."""
    output = run_program(LOGGING_PROGRAM).stderr
    assert CANARY not in output
    assert CARD not in output
    lines = [json.loads(line) for line in output.splitlines()]
    events = ["unforeseen", "failed for [CARD]: KeyError", "task failed with KeyError", "%d of %s"]
    assert [line["event"] for line in lines] == events
    assert lines[0]["request_id"] == "5" * 16
    assert lines[0]["nested"] == {"list": ["[CARD]", "KeyError"]}
    assert all(line["timestamp"].endswith("Z") for line in lines)
    for line in lines[:3]:
        assert "in fail" in line["exception"]
        assert line["exception"].splitlines()[-1] == "KeyError"


@pytest.mark.parametrize(
    "code",
    [
        "raise RuntimeError(CANARY)",
        "import threading as u; t = u.Thread(target=int, args=[CANARY]); t.start(); t.join();"
        " raise KeyError(CANARY)",
        "import logging; logging.warning('lost %s', ValueError(CANARY));"
        " raise RuntimeError from ValueError(CANARY)",
    ],
    ids=["process", "thread", "logged"],
)
def test_an_uncaught_error_is_printed_without_its_message(code: str) -> None:
    """Also an error that ends a thread."""
    ended = run_program(f"from core import logs\nlogs.install_redaction()\n{code}")
    assert ended.returncode == 1
    assert "Error" in ended.stderr
    assert " in <module>" in ended.stderr
    assert CANARY not in ended.stderr
