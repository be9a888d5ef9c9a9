"""Files and folders of this machine."""

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

# No link is followed, and nobody has to open the other end of a named pipe first.
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class LocalSource:
    """A file or a folder that a person named. Files carry no tag: reading them costs little and says more."""

    root: Path
    selection: FileSelection

    @property
    def uri(self) -> str:
        """Its address; a folder's ends in a slash."""
        return self.root.as_uri() + ("/" if self.root.is_dir() and self.root != Path("/") else "")

    def list_files(self) -> Iterator[SourceFile]:
        """Plain files in the order of their paths; links, pipes, sockets, devices and hidden files are left out."""
        if self.root.is_file():
            yield SourceFile(
                self.uri,
                _decode_path(self.root.name),
                self.selection.default_groups,
                self.root.stat().st_size,
            )
            return
        rules = self._read_access_rules()
        found = False
        for entry in _walk_files(self.root):
            path = _decode_path(Path(entry.path).relative_to(self.root).as_posix())
            if self.selection.includes_path(path):
                found = True
                readers = self.selection.groups_for(path, rules)
                yield SourceFile(
                    Path(entry.path).as_uri(),
                    path,
                    readers,
                    entry.stat(follow_symlinks=False).st_size,
                )
        if not found:
            narrowed = self.selection.pattern_hint
            raise InvalidInput(
                f"There is no file in {self.root}{narrowed}; name a folder that holds documents."
            )

    def read(self, file: SourceFile) -> bytes:
        """All of a file."""
        return read_local_file(file)

    def _read_access_rules(self) -> list[AccessRule]:
        file = self.root / ACCESS_RULES_FILE
        if not os.path.lexists(file):
            return []
        try:
            return parse_access_rules(str(file), _read_content(file, ACCESS_RULES_FILE))
        except (OSError, UnreadableFile) as error:
            raise InvalidInput(
                f"{file} can't be read; make it a plain file that may be read."
            ) from error


def open_local(address: str, selection: FileSelection) -> LocalSource:
    """The source that a path or a file:// address names.

    Raises:
        InvalidInput: there is nothing at that path, it is neither file nor folder, or it can't be read.
    """
    root = (
        _path_from_uri(address)
        if address.lower().startswith("file:")
        else Path(address).expanduser()
    ).resolve()
    if not root.exists():
        raise InvalidInput(f"There is nothing at {address}; check the path.")
    if not root.is_dir() and not root.is_file():
        raise InvalidInput(
            f"{address} is neither a file nor a folder; name one that holds documents."
        )
    if not os.access(root, os.R_OK):
        raise InvalidInput(f"{address} can't be read; check its permissions.")
    return LocalSource(root, selection)


def read_local_file(file: SourceFile) -> bytes:
    """All of a file of this machine; see Source.read."""
    path = _path_from_uri(file.uri)
    try:
        if path.resolve() != path:  # a folder on the way became a link after it was listed
            raise file_gone(file.path)
        return _read_content(path, file.path)
    except FileNotFoundError as error:
        raise file_gone(file.path) from error
    except OSError as error:
        reason = (
            f"{file.path} can't be opened ({error.strerror}); check its permissions and the disk."
        )
        raise UnreadableFile("unopened", reason) from error


def _read_content(path: Path, display_name: str) -> bytes:
    with open(path, "rb", opener=lambda name, _: os.open(name, _OPEN_FLAGS)) as opened:
        status = os.fstat(opened.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise UnreadableFile(
                "not-a-document",
                f"{display_name} is not a plain file; put a copy of its content there.",
            )
        if status.st_size > MAX_FILE_BYTES:
            raise file_too_large(display_name)
        data = opened.read(MAX_FILE_BYTES + 1)  # it may still be growing
    if len(data) > MAX_FILE_BYTES:
        raise file_too_large(display_name)
    return data


def _walk_files(folder: Path) -> Iterator[os.DirEntry[str]]:
    """Plain files below a folder in the order of their paths."""
    waiting = _list_entries(folder)
    while waiting:
        entry = waiting.pop()
        if entry.is_dir(follow_symlinks=False):
            waiting += _list_entries(Path(entry.path))
        elif entry.is_file(follow_symlinks=False):
            yield entry


def _list_entries(folder: Path) -> list[os.DirEntry[str]]:
    """What is in a folder and not hidden, last first.

    A folder that can't be listed stops the run: its documents would otherwise pass for deleted.
    """
    try:
        with os.scandir(folder) as entries:
            shown = [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise Unavailable(
            f"{folder} can't be listed ({error.strerror}); check its permissions and the disk."
        ) from error
    return sorted(
        shown,
        key=lambda entry: entry.name + "/" * entry.is_dir(follow_symlinks=False),
        reverse=True,
    )


def _path_from_uri(uri: str) -> Path:
    parts = urlsplit(uri)
    if parts.netloc not in ("", "localhost"):
        raise InvalidInput(f"{uri} is on another machine; write file:///PATH, with three slashes.")
    return Path(os.fsdecode(unquote_to_bytes(parts.path)))


def _decode_path(path: str) -> str:
    """The path as text: a name that is not UTF-8 can be opened, but neither stored nor printed as it is."""
    return os.fsencode(path).decode("utf-8", "replace")
