"""Folders as sources, and the addresses of sources."""

import os
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidInput, Unavailable, UnreadableFile
from ingest.sources import MAX_FILE_BYTES, SourceFile, open_source, resolve_source_address


def list_paths(address: str | Path, **options: Any) -> list[str]:
    """Return the display paths that a source lists."""
    return [file.path for file in open_source(str(address), **options).list_files()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files and subfolders."""
    docs = tmp_path / "docs"
    for name in ("a.md", "b/c.md", "b/d.txt", "b.md", "drafts/e.md"):
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(f"# {name}\n")
    return docs


def test_a_folder_lists_its_files_as_plain_values_ordered_by_path(folder: Path) -> None:
    """They can be sent to a worker on another machine."""
    files = list(open_source(str(folder), ("staff",)).list_files())
    assert [file.path for file in files] == sorted(file.path for file in files)
    assert files[0] == SourceFile((folder / "a.md").as_uri(), "a.md", ("staff",), 7, None)
    assert open_source(str(folder)).read(pickle.loads(pickle.dumps(files[0]))) == b"# a.md\n"


def test_a_file_address_equals_its_path(folder: Path) -> None:
    """Escaped characters included."""
    (folder / "ä b%20.md").write_text("x")
    by_path = open_source(str(folder))
    by_address = open_source(folder.as_uri())
    assert by_path.uri == by_address.uri == folder.as_uri() + "/"
    assert [by_address.read(file) for file in by_address.list_files()] == [
        by_path.read(file) for file in by_path.list_files()
    ]
    one = open_source((folder / "ä b%20.md").as_uri())
    assert [file.path for file in one.list_files()] == ["ä b%20.md"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"include": ["*.md"]}, ["a.md", "b.md", "b/c.md", "drafts/e.md"]),
        ({"include": ["**/*.md"]}, ["a.md", "b.md", "b/c.md", "drafts/e.md"]),
        ({"include": ["b/*"]}, ["b/c.md", "b/d.txt"]),
        ({"exclude": ["drafts/*", "*.txt"]}, ["a.md", "b.md", "b/c.md"]),
        ({"include": ["b/*"], "exclude": ["*.md"]}, ["b/d.txt"]),
    ],
)
def test_include_and_exclude_patterns_select_files(
    folder: Path, options: dict[str, list[str]], expected: list[str]
) -> None:
    """Exclusion wins. Patterns match the path below the source."""
    assert list_paths(folder, **options) == expected


def test_patterns_that_match_no_file_are_refused(folder: Path) -> None:
    """A typing error in a pattern must not delete everything."""
    with pytest.raises(InvalidInput, match="--include"):
        list_paths(folder, include=["*.mdx"])


def test_only_regular_visible_files_are_listed(folder: Path, tmp_path: Path) -> None:
    """No hidden files, links, pipes or sockets."""
    (tmp_path / "secret.md").write_text("secret")
    (folder / "link.md").symlink_to(tmp_path / "secret.md")
    (folder / "around").symlink_to(folder, target_is_directory=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "config.md").write_text("x")
    (folder / ".env").write_text("x")
    os.mkfifo(folder / "pipe.md")
    listener = socket.socket(socket.AF_UNIX)
    here = Path.cwd()
    os.chdir(folder)  # a socket's path may only be short
    listener.bind("socket.md")
    os.chdir(here)
    listener.close()
    assert list_paths(folder) == ["a.md", "b.md", "b/c.md", "b/d.txt", "drafts/e.md"]


@pytest.mark.parametrize("way", ["file", "folder", "pipe"])
def test_a_file_that_was_replaced_by_a_link_or_a_pipe_is_not_read(
    folder: Path, tmp_path: Path, way: str
) -> None:
    """It may be replaced between listing and reading."""
    file = next(file for file in open_source(str(folder)).list_files() if file.path == "b/c.md")
    (tmp_path / "c.md").write_text("secret")
    if way == "folder":
        (folder / "b").rename(tmp_path / "b")
        (folder / "b").symlink_to(tmp_path)
    else:
        (folder / "b/c.md").unlink()
        if way == "file":
            (folder / "b/c.md").symlink_to(tmp_path / "c.md")
        else:
            os.mkfifo(folder / "b/c.md")
    with pytest.raises(UnreadableFile):
        open_source(str(folder)).read(file)


def test_a_deleted_file_is_gone(folder: Path) -> None:
    file = next(iter(open_source(str(folder)).list_files()))
    (folder / "a.md").unlink()
    with pytest.raises(UnreadableFile) as refused:
        open_source(str(folder)).read(file)
    assert refused.value.reason == "gone"


def test_a_huge_file_is_refused_unread(folder: Path) -> None:
    """The sparse file would need a gigabyte of memory."""
    with (folder / "a.md").open("wb") as sparse:
        sparse.truncate(1 << 30)
    file = next(iter(open_source(str(folder)).list_files()))
    assert file.size == 1 << 30 > MAX_FILE_BYTES
    with pytest.raises(UnreadableFile) as refused:
        open_source(str(folder)).read(file)
    assert refused.value.reason == "too-large"


def test_an_unreadable_folder_stops_the_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise its documents would be deleted."""
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(Unavailable, match="can't be listed"):
        list_paths(folder)


def test_a_rule_file_that_is_a_link_stops_the_run(folder: Path, tmp_path: Path) -> None:
    """The link is not followed, and its folder must not become readable for everyone."""
    (tmp_path / "readers.yaml").write_text("rules: []\n")
    (folder / "readers.yaml").symlink_to(tmp_path / "readers.yaml")
    with pytest.raises(InvalidInput, match="regular, readable file"):
        list_paths(folder)


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("/nowhere/at/all", "nothing at"),
        ("/dev/null", "neither a file nor a folder"),
        ("file://elsewhere/share", "another machine"),
        ("ftp://example.org/a", "not a known kind of source"),
        ("gs://bucket/a", r"pip install .*\[gcs\]"),
        ("az://container/a", r"pip install .*\[azure\]"),
        ("s3://", "has no bucket"),
        ("s3:///folder", "has no bucket"),
    ],
)
def test_an_invalid_address_is_refused_with_a_fix(address: str, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        open_source(address)


def test_a_relative_address_is_stored_as_absolute(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker may run in another folder."""
    monkeypatch.chdir(folder)
    assert resolve_source_address("b") == str(folder / "b")
    assert resolve_source_address("web:b/d.txt") == f"web:{folder / 'b/d.txt'}"
    assert [resolve_source_address(name) for name in ("none", "s3://b/b", "https://b/")] == [
        "none",
        "s3://b/b",
        "https://b/",
    ]
