"""Commands shown in the documentation run, and the demo prints the answers of the README."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import cli.main
from core.embedding import Embedder
from core.services import Services
from flows.prefect_server import PrefectServer
from serving.api.server import claim_port
from tests.conftest import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND_KINDS = ("make ", ".venv/bin/groundwork ", "docker compose ")


def read_blocks(page: Path, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def list_commands() -> list[str]:
    """Return every command that a page shows after a prompt, once."""
    commands = []
    for page in PAGES:
        for block in read_blocks(page, "console"):
            commands += [line[2:] for line in block.splitlines() if line.startswith("$ ")]
    return list(dict.fromkeys(commands))


def select_commands(kind: str) -> list[str]:
    return [command for command in list_commands() if command.startswith(kind)]


@pytest.fixture(scope="module")
def few_questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write every twentieth golden question; test_answers.py asks all of them."""
    golden = yaml.safe_load((ROOT / "sample" / "golden.yaml").read_text(encoding="utf-8"))
    file = tmp_path_factory.mktemp("golden") / "golden.yaml"
    file.write_text(yaml.safe_dump(golden[::20]), encoding="utf-8")
    return file


@pytest.fixture
def shell_settings(
    sample_services: Services, embedder: Embedder, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Set the settings of a user who has just run the demo, and reuse the loaded model."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", sample_services.settings.database_url)
    monkeypatch.setenv("GROUNDWORK_HOME", str(home))
    # A service on this machine may use the default port.
    with claim_port("127.0.0.1", 0) as free:
        monkeypatch.setenv("GROUNDWORK_PORT", str(free.getsockname()[1]))
    monkeypatch.setattr("core.services.load_embedder", lambda name, dtype: embedder)


def run_command(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Run `groundwork ...` in this process; return exit code, standard output, standard error."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["groundwork", *shlex.split(command)[1:]])
    with pytest.raises(SystemExit) as ended:
        cli.main.main()
    captured = capsys.readouterr()
    return int(ended.value.code or 0), captured.out, captured.err


@pytest.mark.usefixtures("shell_settings")
@pytest.mark.parametrize("command", select_commands(".venv/bin/groundwork "))
def test_shown_command_succeeds(
    command: str,
    few_questions: Path,
    engine: PrefectServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = command.replace("sample/golden.yaml", str(few_questions))
    with engine.connect():
        from prefect.settings import PREFECT_API_URL

        monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
        code, out, err = run_command(command, capsys, monkeypatch)
    assert code == 0, err
    assert out.strip()


@pytest.mark.parametrize("command", select_commands("make "))
def test_shown_make_target_exists(command: str) -> None:
    subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_every_shown_command_is_tested() -> None:
    """Fail for a command that none of the tests above tries, nor test_compose.py."""
    assert [command for command in list_commands() if not command.startswith(COMMAND_KINDS)] == []


def test_no_shown_command_needs_data_outside_the_repository() -> None:
    assert [command for command in list_commands() if ".." in command] == []


@pytest.mark.usefixtures("shell_settings")
def test_demo_prints_the_answers_in_the_readme(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compare words only, because the README wraps long lines."""
    code, out, _ = run_command("groundwork demo", capsys, monkeypatch)
    assert code == 0
    printed = " ".join(out.split())
    (block,) = read_blocks(ROOT / "README.md", "text")
    for answer in block.split("\n\n"):
        assert " ".join(answer.split()) in printed
    assert max(map(len, block.splitlines())) <= 90

    lines = [line.strip() for line in out.splitlines()]
    assert sum(line.startswith("A ") for line in lines) >= 3
    assert any(".pdf · page" in line for line in lines)
    assert sum(line.startswith("—") for line in lines) == 1
