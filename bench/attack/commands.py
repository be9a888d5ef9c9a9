"""Attacks at the command line: every command that reads, in this process, with others' names and ids."""

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
    """One command. Those for who runs a tenant may show all of it; search and ask only what the groups allow."""
    someone = random_asker(target.estate, chance)
    asker = Principal(
        someone.tenant, split_names(",".join(someone.groups))
    )  # as the command line reads them
    aim = choose_paper(target.estate, asker, chance)
    arguments, operator = _choose_arguments(target, asker, aim, chance)
    arguments += ["--json"] if chance.random() < 0.5 else []
    return Observation(
        asker, " ".join(arguments), run_command(target, arguments), operator=operator
    )


def _choose_arguments(
    target: Target, asker: Principal, aim: Paper, chance: random.Random
) -> tuple[list[str], bool]:
    tenant = ["--tenant", asker.tenant]
    groups = [*tenant, "--groups", ",".join(asker.groups)]
    name = chance.choice([aim.document_id, aim.path, aim.uri])
    word, talk = chance.choice(aim.canaries), chance.choice(target.estate.conversations)
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
                f"metadata.owner={aim.canaries[1]}",
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
                f"document_id={aim.document_id}",
                *groups,
            ],
            False,
        ),
        (["search", "gate codes", "--limit", "100", "--mode", "lexical", *groups], False),
        (["ask", question_about(aim), *groups], False),
        (["conversation", "show", talk.conversation_id, *groups], False),
        (["conversation", "delete", talk.conversation_id, *tenant], False),
        (["ask", "And what was the code?", "--conversation", talk.conversation_id, *groups], False),
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
    """All that a command writes, and its exit code."""
    out, err = io.StringIO(), io.StringIO()
    with (
        _target_environment(target),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            with patch.object(sys, "argv", ["groundwork", *arguments]):
                cli.main.main()
        except SystemExit as left:
            return f"{left.code}\n{out.getvalue()}\n{err.getvalue()}"
    raise AssertionError("the command line always exits")


@contextlib.contextmanager
def _target_environment(target: Target) -> Iterator[None]:
    """The settings of the target, and the model that is loaded already."""
    settings = target.services.settings
    named = {
        "GROUNDWORK_DATABASE_URL": settings.database_url,
        "GROUNDWORK_HOME": str(settings.home),
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GROUNDWORK_")}
    loaded = patch("core.services.load_embedder", lambda *_: target.services.embedder())
    with patch.dict(os.environ, kept | named | {"COLUMNS": "200"}, clear=True), loaded:
        yield
