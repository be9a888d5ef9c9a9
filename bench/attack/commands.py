"""Attacks on the command line: every reading command, with foreign names and ids."""

import contextlib
import io
import os
import random
import sys
from collections.abc import Iterator
from unittest.mock import patch

import cli.main
from bench.attack.estate import Paper
from bench.attack.target import Observation, Target, choose_paper, question_about, random_asker
from bench.attack.web import MODES
from cli.console import split_names
from core.principal import Principal


def run_random_command(target: Target, chance: random.Random) -> Observation:
    """Run one command. Operator commands may show the whole tenant."""
    principal = random_asker(target.estate, chance)
    asker = Principal(
        principal.tenant, split_names(",".join(principal.groups))
    )  # as the command line parses them
    paper = choose_paper(target.estate, asker, chance)
    arguments, operator = _choose_arguments(target, asker, paper, chance)
    arguments += ["--json"] if chance.random() < 0.5 else []
    return Observation(
        asker, " ".join(arguments), run_command(target, arguments), operator=operator
    )


def _choose_arguments(
    target: Target, asker: Principal, paper: Paper, chance: random.Random
) -> tuple[list[str], bool]:
    tenant = ["--tenant", asker.tenant]
    groups = [*tenant, "--groups", ",".join(asker.groups)]
    name = chance.choice([paper.document_id, paper.path, paper.uri])
    word, conversation = chance.choice(paper.canaries), chance.choice(target.estate.conversations)
    choices: list[tuple[list[str], bool]] = [
        (["search", f"gate {word}", "--mode", chance.choice(MODES), *groups], False),
        (["search", f"gate {word}", "--mode", "lexical", "--explain", *groups], False),
        (
            [
                "search",
                f"gate {word}",
                "--mode",
                "lexical",
                "--where",
                f"metadata.owner={paper.canaries[1]}",
                *groups,
            ],
            False,
        ),
        (
            [
                "search",
                "gate codes",
                "--mode",
                "lexical",
                "--where",
                f"document_id={paper.document_id}",
                *groups,
            ],
            False,
        ),
        (["search", "gate codes", "--limit", "100", "--mode", "lexical", *groups], False),
        (["ask", question_about(paper), *groups], False),
        (["conversation", "show", conversation.conversation_id, *groups], False),
        (["conversation", "delete", conversation.conversation_id, *tenant], False),
        (
            [
                "ask",
                "And what was the code?",
                "--conversation",
                conversation.conversation_id,
                *groups,
            ],
            False,
        ),
        (["status", *tenant], True),
        (["runs", *tenant], True),
        (["quarantine", "list", *tenant], True),
        (["quarantine", "show", name, *tenant], True),
        (["document", "show", name, *tenant], True),
        (["sweep", "--dry-run", *tenant], True),
        (["sweep", *tenant], True),
        (["status", "--tenant", f"{asker.tenant}' or true --"], True),
    ]
    return chance.choice(choices)


def run_command(target: Target, arguments: list[str]) -> str:
    """Return the exit code of a command and all of its output."""
    out, err = io.StringIO(), io.StringIO()
    with (
        _target_environment(target),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            with patch.object(sys, "argv", ["groundwork", *arguments]):
                cli.main.main()
        except SystemExit as exit_:
            return f"{exit_.code}\n{out.getvalue()}\n{err.getvalue()}"
    raise AssertionError("the command line always exits")


@contextlib.contextmanager
def _target_environment(target: Target) -> Iterator[None]:
    """Set the target's settings, and reuse its loaded model."""
    settings = target.services.settings
    settings_of_target = {
        "GROUNDWORK_DATABASE_URL": settings.database_url,
        "GROUNDWORK_HOME": str(settings.home),
    }
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("GROUNDWORK_")
    }
    loaded = patch("core.services.load_embedder", lambda *_: target.services.embedder())
    with (
        patch.dict(os.environ, environment | settings_of_target | {"COLUMNS": "200"}, clear=True),
        loaded,
    ):
        yield
