"""The hash of source files changes with the code, and with nothing else."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from core.code_hash import hash_source_files
from ingest.runs.pipeline_version import HASHED_PATHS
from tests.conftest import ROOT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with one hashed file and one beside it."""
    for name in ("hashed/code.py", "other/code.py"):
        file = tmp_path / name
        file.parent.mkdir()
        file.write_bytes(b"one = 1\ntwo = 2\n")
    return tmp_path


def compute_hash(root: Path) -> str:
    hash_source_files.cache_clear()
    return hash_source_files(("hashed",), root)


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "hashed" / "code.py").write_bytes(b"one = 1\ntwo = 3\n"),
        lambda root: (root / "hashed" / "code.py").rename(root / "hashed" / "renamed.py"),
        lambda root: (root / "hashed" / "words.yaml").write_bytes(b""),
    ],
)
def test_a_changed_renamed_or_new_file_changes_the_hash(
    root: Path, change: Callable[[Path], object]
) -> None:
    before = compute_hash(root)
    change(root)
    assert compute_hash(root) != before


def test_line_endings_bytecode_and_other_folders_do_not_count(root: Path) -> None:
    before = compute_hash(root)
    (root / "hashed" / "code.py").write_bytes(b"one = 1\r\ntwo = 2\r\n")
    (root / "hashed" / "__pycache__").mkdir()
    (root / "hashed" / "__pycache__" / "code.pyc").write_bytes(b"bytecode")
    (root / "other" / "code.py").unlink()
    assert compute_hash(root) == before


def test_the_pipeline_version_covers_the_text_analysis_that_ingest_uses() -> None:
    files = [
        file
        for folder in ("chunkers", "parsers", "store")
        for file in (ROOT / "ingest" / folder).rglob("*.py")
    ]
    modules = {
        name for file in files for name in re.findall(r"from core\.text\.(\w+)", file.read_text())
    }
    paths = {f"core/text/{name}.py" for name in modules}
    lexicons = {
        name
        for path in paths
        for name in re.findall(r'load_lexicon\("(\w+)"', (ROOT / path).read_text())
    }
    assert modules >= {"terms", "sentences"}
    assert paths | {f"core/text/english/{name}.yaml" for name in lexicons} <= {*HASHED_PATHS}
    assert all((ROOT / path).exists() for path in HASHED_PATHS)
