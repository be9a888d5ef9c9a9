"""Limits that keep the code readable. CONTRIBUTING.md explains them.

Each limit is a symptom: it shows where to look, and does not replace reading.
"""

import ast
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.conftest import ROOT

MAX_FUNCTION_LINES = 60
MAX_FILES_PER_FOLDER = 15
MAX_WHAT_PER_1000_WORDS = 2
QUESTION_WORDS = {
    "what",
    "whether",
    "how",
    "which",
    "who",
    "whom",
    "whose",
    "where",
    "whoever",
    "whatever",
}
UNCLEAR_PHRASES = re.compile(
    r"\b(?:anew|nought|whoever|whatever|of ours|what is what|nobody's|somebody's)\b", re.IGNORECASE
)
NOT_PRODUCT = ("tests/", "bench/", "sample/", ".ci/")


@cache
def tracked_files(pattern: str) -> tuple[Path, ...]:
    listing = subprocess.run(
        ["git", "ls-files", "--", pattern], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listing.returncode:
        pytest.skip("not a Git checkout")
    paths = (ROOT / line for line in listing.stdout.splitlines())
    return tuple(path for path in paths if path.is_file())


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def product_files() -> list[Path]:
    return [path for path in tracked_files("*.py") if not name_of(path).startswith(NOT_PRODUCT)]


def definitions(path: Path) -> Iterator[tuple[str, ast.AST]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            yield f"{name_of(path)}:{getattr(node, 'lineno', 1)}", node


def docstrings(paths: list[Path]) -> Iterator[tuple[str, str]]:
    for path in paths:
        for place, node in definitions(path):
            if text := ast.get_docstring(node):  # type: ignore[arg-type]
                yield place, text


def test_docstrings_begin_with_a_verb_or_a_noun() -> None:
    first_words = [
        (place, re.match(r"\W*(\w+)", text))
        for place, text in docstrings(list(tracked_files("*.py")))
    ]
    assert [p for p, word in first_words if word and word[1].lower() in QUESTION_WORDS] == []


def test_docstrings_and_pages_use_plain_words() -> None:
    texts = [*docstrings(list(tracked_files("*.py")))]
    texts += [(name_of(page), page.read_text(encoding="utf-8")) for page in tracked_files("*.md")]
    texts = [(place, text) for place, text in texts if not place.startswith("sample/")]
    found = [(place, match[0]) for place, text in texts for match in UNCLEAR_PHRASES.finditer(text)]
    assert found == []


def test_functions_are_short() -> None:
    long = []
    for path in product_files():
        for place, node in definitions(path):
            if isinstance(node, ast.FunctionDef):
                lines = (node.end_lineno or node.lineno) - node.lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    long.append((place, node.name, lines))
    assert long == []


def test_folders_are_not_full() -> None:
    files = [path for path in product_files() if path.name != "__init__.py"]
    counts = Counter(name_of(path.parent) for path in files)
    assert {folder: n for folder, n in counts.items() if n > MAX_FILES_PER_FOLDER} == {}


def test_pages_rarely_say_what() -> None:
    pages = [page for page in tracked_files("*.md") if not name_of(page).startswith("sample/")]
    text = " ".join(page.read_text(encoding="utf-8") for page in pages)
    words = re.findall(r"[A-Za-z']+", re.sub(r"```.*?```", " ", text, flags=re.DOTALL))
    whats = sum(word.lower() == "what" for word in words)
    assert 1000 * whats / len(words) <= MAX_WHAT_PER_1000_WORDS
