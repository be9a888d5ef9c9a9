"""Hash of source files: it changes when the code that made a stored result changes."""

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path

REPOSITORY_ROOT = Path(__file__).parents[1]


@cache
def hash_source_files(paths: tuple[str, ...], root: Path = REPOSITORY_ROOT) -> str:
    """Return the SHA-256 of the names and contents of some files and all files of some folders.

    Paths are relative to `root`. Line endings do not count, because Git may convert them.
    """
    digest = hashlib.sha256()
    for file in _list_source_files(root, paths):
        name = file.relative_to(root).as_posix()
        content = file.read_bytes().replace(b"\r\n", b"\n")
        digest.update(name.encode() + b"\0" + content + b"\0")
    return digest.hexdigest()


def _list_source_files(root: Path, paths: Iterable[str]) -> list[Path]:
    files: list[Path] = []
    for path in paths:
        files += [root / path] if (root / path).is_file() else (root / path).rglob("*")
    return sorted(file for file in files if file.is_file() and "__pycache__" not in file.parts)
