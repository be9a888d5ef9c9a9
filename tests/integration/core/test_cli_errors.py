"""Errors of the command line in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

CANARY = "zanzibarplan"
KEY = "sk-" + "proj-" + "a1B2" * 8
FAILING_PROGRAM = f"""
import cli.main, cli.questions as questions
def fail(*_):
    raise RuntimeError({CANARY!r})
questions.open_configured_services = fail
cli.main.main()
"""


@pytest.mark.parametrize(
    ("arguments", "exit_code"),
    [(["ask", CANARY], 1), (["search", "x", "--mode", KEY], 2)],
    ids=["unexpected error", "wrong option"],
)
def test_an_error_is_printed_without_values(
    tmp_path: Path, arguments: list[str], exit_code: int
) -> None:
    """Neither the message of an unexpected error nor a key in the wrong place is repeated."""
    ended = subprocess.run(
        [sys.executable, "-c", FAILING_PROGRAM, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "GROUNDWORK_HOME": str(tmp_path)},
    )
    assert ended.returncode == exit_code
    assert ended.stderr
    assert CANARY not in ended.stderr
    assert KEY not in ended.stderr
