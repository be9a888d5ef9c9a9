"""Source for files and folders of this machine."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

from core.errors import InvalidInput, Unavailable, UnreadableFile
from ingest.sources.selection import (
    ACCESS_RULES_FILE,
    AccessRule,
    FileSelection,
    parse_access_rules,
)
from ingest.sources.types import MAX_FILE_BYTES, SourceFile, file_gone, file_too_large

# Follow no link, and do not wait for the other end of a named pipe.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file or a folder. Its files have no tag: reading them is cheap and more reliable."""

    root: Path
    selection: FileSelection

    @property
    def uri(self) -> str:
        """Address of the root; that of a folder ends in a slash."""
        return self.root.as_uri() + ("/" if self.root.is_dir() and self.root != Path("/") else "")

    def list_files(self) -> Iterator[SourceFile]:
        """Yield regular files by path, without links, pipes, devices and hidden files."""
        if self.root.is_file():
            name, size = _decode_path(self.root.name), self.root.stat().st_size
            yield SourceFile(self.uri, name, self.selection.default_groups, size)
            return
        rules = self._read_access_rules()
        found = False
        for entry in _walk_files(self.root):
            path = _decode_path(Path(entry.path).relative_to(self.root).as_posix())
            if self.selection.includes_path(path):
                found = True
                groups = self.selection.groups_for(path, rules)
                size = entry.stat(follow_symlinks=False).st_size
                yield SourceFile(Path(entry.path).as_uri(), path, groups, size)
        if not found:
            raise InvalidInput(
                f"There is no file in {self.root}{self.selection.pattern_hint}."
                " Name a folder with documents."
            )

    def read(self, file: SourceFile) -> bytes:
        """Return the content of a file."""
        return read_local_file(file)

    def _read_access_rules(self) -> list[AccessRule]:
        file = self.root / ACCESS_RULES_FILE
        if not os.path.lexists(file):
            return []
        try:
            return parse_access_rules(str(file), _read_content(file, ACCESS_RULES_FILE))
        except (OSError, UnreadableFile) as error:
            raise InvalidInput(
                f"{file} can't be read. Make it a regular, readable file."
            ) from error


def open_local(address: str, selection: FileSelection, _web_hosts: str = "") -> LocalSource:
    """Return the source of a path or a file:// address.

    Raises:
        InvalidInput: the path does not exist, is neither a file nor a folder, or can't be read.
    """
    is_uri = address.lower().startswith("file:")
    root = (_path_from_uri(address) if is_uri else Path(address).expanduser()).resolve()
    if not root.exists():
        raise InvalidInput(f"There is nothing at {address}. Check the path.")
    if not root.is_dir() and not root.is_file():
        raise InvalidInput(
            f"{address} is neither a file nor a folder. Name a document or a folder."
        )
    if not os.access(root, os.R_OK):
        raise InvalidInput(f"{address} can't be read. Check its permissions.")
    return LocalSource(root, selection)


def read_local_file(file: SourceFile) -> bytes:
    """Return the content of a file; raises as `Source.read`."""
    path = _path_from_uri(file.uri)
    try:
        if path.resolve() != path:  # a folder of the path became a link after the listing
            raise file_gone(file.path)
        return _read_content(path, file.path)
    except FileNotFoundError as error:
        raise file_gone(file.path) from error
    except OSError as error:
        raise UnreadableFile(
            "unopened",
            f"{file.path} can't be opened ({error.strerror}). Check its permissions and the disk.",
        ) from error


def _read_content(path: Path, display_name: str) -> bytes:
    with open(path, "rb", opener=lambda name, _: os.open(name, _OPEN_FLAGS)) as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile(
                "not-a-document",
                f"{display_name} is not a regular file. Put a copy of its content there.",
            )
        if status.st_size > MAX_FILE_BYTES:
            raise file_too_large(display_name)
        data = opened.read(MAX_FILE_BYTES + 1)  # it may still be growing
    if len(data) > MAX_FILE_BYTES:
        raise file_too_large(display_name)
    return data


def _walk_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Yield the regular files below a folder in the order of their paths."""
    waiting = _list_entries(folder)
    while waiting:
        entry = waiting.pop()
        if entry.is_dir(follow_symlinks=False):
            waiting += _list_entries(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield entry


def _list_entries(folder: Path) -> list[os.DirEntry[str]]:
    """Return the entries of a folder that are not hidden, the last one first.

    A folder that can't be listed stops the run: its documents would otherwise count as deleted.
    """
    try:
        with os.scandir(folder) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise Unavailable(
            f"{folder} can't be listed ({error.strerror}). Check its permissions and the disk."
        ) from error
    return sorted(visible, key=_sort_key, reverse=True)


def _sort_key(entry: os.DirEntry[str]) -> str:
    return entry.name + "/" * entry.is_dir(follow_symlinks=False)


def _path_from_uri(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InvalidInput(f"{uri} is on another machine. Write file:///PATH, with three slashes.")
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))


def _decode_path(path: str) -> str:
    """Return a path as text: a name that is not UTF-8 can be opened, but not stored or printed."""
    return os.fsencode(path).decode("utf-8", "replace")
