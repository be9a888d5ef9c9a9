"""Where documents come from: files and folders, each file with its identity, its bytes and its readers."""

import fnmatch
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from knowledge.database import check_name
from knowledge.errors import InvalidInput

READERS_FILE = "readers.yaml"


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file to take in. `uri` is its identity, `path` what people are shown, `readers` who may see it."""

    uri: str
    path: str
    readers: tuple[str, ...]
    file: Path


@dataclass(frozen=True, slots=True)
class ReaderRule:
    """Files whose path below the folder matches `pattern` (`*` also crosses folders) are for `readers` only."""

    pattern: str
    readers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A file or a folder that a person named. `uri` covers all that is below it."""

    root: Path
    readers: tuple[str, ...] = ()

    @property
    def uri(self) -> str:
        """What the identities of its files begin with (a folder's ends in a slash) or, for a file, are."""
        return self.root.as_uri() + ("/" if self.root.is_dir() else "")

    def files(self) -> list[SourceFile]:
        """Its files in a stable order; hidden ones and the rule file are left out.

        Raises:
            InvalidInput: a folder without a file, or a rule file that can't be understood.
        """
        if self.root.is_file():
            return [SourceFile(self.uri, _shown(self.root.name), self.readers, self.root)]
        rules = read_rules(self.root / READERS_FILE)
        found = [self._source_file(path, rules) for path in sorted(_walk(self.root))]
        if not found:
            raise InvalidInput(f"There is no file in {self.root}; name a folder that holds documents.")
        return found

    def _source_file(self, file: Path, rules: list[ReaderRule]) -> SourceFile:
        below = _shown(file.relative_to(self.root).as_posix())
        readers = next((rule.readers for rule in rules if fnmatch.fnmatchcase(below, rule.pattern)), self.readers)
        return SourceFile(file.as_uri(), below, readers, file)


def open_source(path: str, readers: tuple[str, ...] = ()) -> Source:
    """The source that a path names.

    Raises:
        InvalidInput: there is nothing at that path, or a reader's name can't be one.
    """
    root = Path(path).expanduser().resolve()
    if not root.exists():
        raise InvalidInput(f"There is nothing at {path}; check the path.")
    if not os.access(root, os.R_OK):
        raise InvalidInput(f"{path} can't be read; check its permissions.")
    return Source(root, tuple(sorted({check_name("group", reader) for reader in readers})))


def read_rules(file: Path) -> list[ReaderRule]:
    """The rules of a `readers.yaml`, in order; the first that matches a path decides. No file, no rules.

    Raises:
        InvalidInput: the file is not `rules:` with a `pattern` and `readers` each. A rule that can't be read must
            stop the run: without it a restricted document would be open to everyone.
    """
    if not file.is_file():
        return []
    try:
        content: Any = yaml.safe_load(file.read_text(encoding="utf-8"))
        return [
            ReaderRule(str(rule["pattern"]), tuple(sorted(check_name("group", reader) for reader in rule["readers"])))
            for rule in content["rules"]
        ]
    except (yaml.YAMLError, TypeError, KeyError, AttributeError, UnicodeDecodeError) as error:
        raise InvalidInput(
            f"{file} can't be understood; write `rules:` and a list of `pattern:` with `readers:` each."
        ) from error


def _shown(path: str) -> str:
    """The path as text: a name that is not UTF-8 can be opened, but neither stored nor printed as it is."""
    return os.fsencode(path).decode("utf-8", "replace")


def _walk(folder: Path) -> Iterator[Path]:
    """Plain files below a folder; links are not followed, so nothing outside it gets in."""
    for directory, folders, names in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(directory, name)
            if not name.startswith(".") and name != READERS_FILE and path.is_file() and not path.is_symlink():
                yield path
