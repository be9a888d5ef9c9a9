"""Static checks of the docs: links, named files and types, settings, the limits of the tour."""

import re
from pathlib import Path

import pytest

from core.settings import Settings
from tests.conftest import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
PAGES_WITH_PURPOSE = [page for page in PAGES if not re.match(r"README|\d{4}-", page.name)]
TOUR = ROOT / "docs" / "start" / "tour.md"
MAX_TOUR_FILES = 12
MAX_TOUR_TYPES = 40


def name_page(page: Path) -> str:
    return str(page.relative_to(ROOT))


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


def read_section(page: Path, heading: str) -> str:
    """Return the text below a heading of level 2, up to the next one."""
    text = page.read_text(encoding="utf-8")
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    return str(section)


def list_defined_types() -> set[str]:
    """Return every class and type alias of the product's packages."""
    names: set[str] = set()
    for package in ROOT.iterdir():
        if (package / "__init__.py").exists():
            for file in package.rglob("*.py"):
                code = file.read_text(encoding="utf-8")
                names |= set(
                    re.findall(r"^(?:class )?([A-Z]\w+)\b(?: = |[(:])", code, re.MULTILINE)
                )
    return names


@pytest.mark.parametrize("path", ["A document in", "A question out"])
def test_tour_stays_within_its_limits(path: str) -> None:
    section = read_section(TOUR, path)
    spans = set(re.findall(r"`([^`\n]+)`", section))
    files = {span for span in spans if re.fullmatch(r"[\w/]+\.(py|sql|yaml|json)", span)}
    types = {span for span in spans if re.fullmatch(r"(?=.*[a-z])[A-Z]\w+", span)}
    code_files = {file for file in files if file.endswith((".py", ".sql"))}
    assert 5 <= len(code_files) <= MAX_TOUR_FILES
    assert [file for file in code_files if not (ROOT / file).exists()] == []
    assert 5 <= len(types) <= MAX_TOUR_TYPES
    assert types - list_defined_types() == set()


def test_every_constant_to_refit_is_in_its_file() -> None:
    page = ROOT / "docs" / "guides" / "make-it-yours.md"
    missing = []
    for row in page.read_text(encoding="utf-8").splitlines():
        files = re.findall(r"`([\w/]+\.py)`", row)
        constants = re.findall(r"`((?!GROUNDWORK)[A-Z]+_[A-Z_]+)`", row)
        if row.startswith("| ") and files and constants:
            code = (ROOT / files[0]).read_text(encoding="utf-8")
            missing += [name for name in constants if not re.search(rf"\b{name}\b.* =", code)]
    assert missing == []
