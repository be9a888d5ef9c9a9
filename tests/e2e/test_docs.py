"""The documentation can't rot: every command in it runs, every setting is described, every link leads somewhere."""

import json
import re
import shlex
import shutil
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

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[str]:
    """Every command that a page shows at a prompt, once."""
    lines = [
        line for page in PAGES for block in blocks(page, "console") for line in block.splitlines()
    ]
    return list(dict.fromkeys(line[2:] for line in lines if line.startswith("$ ")))


def of_groundwork() -> list[str]:
    """Those that run the command line and end by themselves."""
    return [command for command in commands() if command.startswith(".venv/bin/groundwork ")]


@pytest.fixture(scope="module")
def small_benchmark(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A benchmark in BEIR's form that takes no time."""
    folder = tmp_path_factory.mktemp("beir")
    passages = {
        "1": "Otters eat crabs and fish.",
        "2": "Beavers build dams of wood.",
        "3": "Herons stand in water.",
    }
    rows = [{"_id": number, "title": "", "text": text} for number, text in passages.items()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "queries.jsonl").write_text(
        json.dumps({"_id": "q", "text": "what do otters eat"}) + "\n"
    )
    (folder / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq\t1\t1\n")
    return folder


@pytest.fixture(scope="module")
def few_questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every twentieth golden question; tests/test_answers.py asks them all."""
    golden = yaml.safe_load((ROOT / "sample" / "golden.yaml").read_text(encoding="utf-8"))
    golden = golden[::20]
    file = tmp_path_factory.mktemp("golden") / "golden.yaml"
    file.write_text(yaml.safe_dump(golden), encoding="utf-8")
    return file


@pytest.fixture
def at_the_prompt(
    sample_services: Services, embedder: Embedder, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The settings of somebody who has just run the demo, with the session's model instead of a second one."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", sample_services.settings.database_url)
    monkeypatch.setenv("GROUNDWORK_HOME", str(home))
    with claim_port(
        "127.0.0.1", 0
    ) as free:  # the default may be taken by a service that is running here
        monkeypatch.setenv("GROUNDWORK_PORT", str(free.getsockname()[1]))
    monkeypatch.setattr("core.services.load_embedder", lambda name, dtype: embedder)


def run(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> tuple[int, str, str]:
    """Run `groundwork ...` in this process: exit code, standard output, standard error."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["groundwork", *shlex.split(command)[1:]])
    with pytest.raises(SystemExit) as ended:
        cli.main.main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, said.err


@pytest.mark.usefixtures("at_the_prompt")
@pytest.mark.parametrize("command", of_groundwork())
def test_a_shown_command_runs(
    command: str,
    small_benchmark: Path,
    few_questions: Path,
    engine: PrefectServer,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As it stands on the page, but on a benchmark of three passages and a few of the golden questions."""
    command = command.replace("../shared/data/scifact", str(small_benchmark))
    command = command.replace("sample/golden.yaml", str(few_questions))
    with engine.connect():
        from prefect.settings import PREFECT_API_URL

        monkeypatch.setenv("PREFECT_API_URL", str(PREFECT_API_URL.value()))
        code, out, err = run(command, capsys, monkeypatch)
    assert code == 0, err
    assert out.strip()


@pytest.mark.parametrize(
    "command", [command for command in commands() if command.startswith("make ")]
)
def test_a_shown_make_target_exists(command: str) -> None:
    """Make would know what to do."""
    subprocess.run([*shlex.split(command), "--dry-run"], cwd=ROOT, check=True, capture_output=True)


def test_every_shown_command_is_of_a_kind_that_is_tested() -> None:
    """Nothing slips through because nobody tries it."""
    kinds = ("make ", ".venv/bin/groundwork ", "docker compose ", "git clone ")
    assert [command for command in commands() if not command.startswith(kinds)] == []


@pytest.mark.skipif(shutil.which("docker") is None, reason="no docker here")
def test_the_compose_file_is_one() -> None:
    """Compose reads it, where Compose is; its promises are tested in test_compose.py."""
    yaml.safe_load((ROOT / "docker-compose.yml").read_text())


@pytest.mark.usefixtures("at_the_prompt")
def test_the_demo_prints_what_the_readme_shows(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Line by line; at least three cited answers, one of them from a PDF page, and one refusal."""
    code, out, _ = run("groundwork demo", capsys, monkeypatch)
    assert code == 0
    shown = [
        line.strip() for block in blocks(ROOT / "README.md", "text") for line in block.splitlines()
    ]
    printed = [line.strip() for line in out.splitlines()]
    assert [line for line in shown if line and line not in printed] == []
    assert sum(line.startswith("A ") for line in printed) >= 3
    assert any(".pdf · page" in line for line in printed)
    assert sum(line.startswith("—") for line in printed) == 1


def test_every_setting_is_described() -> None:
    """Name and default stand in docs/reference/settings.md and .env.example; nothing stands there that isn't a setting."""
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    """Relative links name files that are there."""
    targets = re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []
