"""Checks of the documentation: commands run, settings are described, links and paths exist."""

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
from core.settings import Settings
from flows.prefect_server import PrefectServer
from serving.api.server import claim_port
from tests.conftest import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES_WITH_PURPOSE = [page for page in PAGES if not re.match(r"README|\d{4}-", page.name)]
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


def test_every_setting_is_described() -> None:
    """Compare names, defaults and descriptions in settings.md and .env.example with the code."""
    page = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(GROUNDWORK_\w+)` \|\s*`?([^|`]*?)`?\s*\|", page, re.MULTILINE))
    example = (ROOT / ".env.example").read_text(encoding="utf-8")
    settings = Settings(_env_file=None).model_dump()
    fields = {f"GROUNDWORK_{name.upper()}": value for name, value in settings.items()}
    assert set(rows) == set(fields)
    assert set(re.findall(r"GROUNDWORK_\w+", example)) == set(fields)
    for name, value in fields.items():
        default = value.get_secret_value() if hasattr(value, "get_secret_value") else str(value)
        assert rows[name].strip().lower() == default.lower(), name
    for name, field in Settings.model_fields.items():
        assert field.description
        assert field.description in page, name


def build_anchor(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    text = re.sub(r"[`*_]|\[([^\]]*)\]\([^)]*\)", r"\1", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def list_anchors(page: Path) -> set[str]:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return {build_anchor(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def name_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_every_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not file.exists() or (anchor and anchor not in list_anchors(file)):
            broken.append(target)
    assert broken == []


@pytest.mark.parametrize("page", PAGES, ids=name_page)
def test_every_named_file_exists(page: Path) -> None:
    """Check paths and test files in code spans."""
    spans = set(re.findall(r"`([\w./-]+)`", page.read_text(encoding="utf-8")))
    folders = {folder.name for folder in ROOT.iterdir() if (folder / "__init__.py").exists()}
    folders |= {"docs", "sample", "ops"}
    paths = [span for span in spans if span.partition("/")[0] in folders and "/" in span]
    tests = [span for span in spans if re.fullmatch(r"test_\w+\.py", span)]
    missing = [path for path in paths if not (ROOT / path).exists()]
    missing += [name for name in tests if not list((ROOT / "tests").rglob(name))]
    assert missing == []


@pytest.mark.parametrize("page", PAGES_WITH_PURPOSE, ids=name_page)
def test_every_page_begins_with_its_purpose(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert re.match(r"# .+\n\nAfter reading this page,? ", text)
