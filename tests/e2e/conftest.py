"""The command line in this process, for tests of its commands."""

import contextlib
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import cli.main
import core.services
from cli import documents, runs
from core.embedding import Embedder
from core.local_postgres import EmbeddedPostgres
from flows.prefect_server import PrefectServer


@dataclass(frozen=True, slots=True)
class Ran:
    """Result of a command: exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def sentence(self) -> str:
        """The error sentence of a command that failed."""
        assert self.code in (1, 2)
        assert self.out == ""
        assert re.fullmatch(r"error: [^\n]+[.]\n", self.err), self.err
        return self.err.removeprefix("error: ").strip()

    @property
    def json(self) -> Any:
        """Standard output, which must be JSON only."""
        assert self.code == 0, self.err
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    embedder: Embedder,
    tmp_path: Path,
) -> Run:
    """Run a command as the `groundwork` program does, with the model that is loaded already."""
    monkeypatch.setattr(core.services, "load_embedder", lambda *_: embedder)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GROUNDWORK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", "postgresql://groundwork_app@127.0.0.1:1/none")

    def run(*arguments: str) -> Ran:
        capfd.readouterr()
        monkeypatch.setattr(sys, "argv", ["groundwork", *arguments])
        with pytest.raises(SystemExit) as exit_info:
            cli.main.main()
        out, err = capfd.readouterr()
        return Ran(int(exit_info.value.code or 0), out, err)

    return run


@pytest.fixture
def stored(
    run: Run,
    server: EmbeddedPostgres,
    clone: Callable[[], str],
    engine: PrefectServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Run:
    """Run a command on an empty database, with the session's Prefect server."""
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", server.conninfo("groundwork_app", clone()))
    for command in (documents, runs):
        monkeypatch.setattr(
            command, "create_prefect_server", lambda _: contextlib.nullcontext(engine)
        )
    return run
