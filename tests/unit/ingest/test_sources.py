"""Where documents come from: folders, and object storage on a real S3-speaking server of one's own."""

import os
import pickle
import socket
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidInput, Unavailable, UnreadableFile
from ingest.sources import MAX_FILE_BYTES, SourceFile, open_source, resolve_source_address


def paths(address: str | Path, **options: Any) -> list[str]:
    """What a source lists, as people see it."""
    return [file.path for file in open_source(str(address), **options).list_files()]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A few files, some of them below."""
    docs = tmp_path / "docs"
    for name in ("a.md", "b/c.md", "b/d.txt", "b.md", "drafts/e.md"):
        (docs / name).parent.mkdir(parents=True, exist_ok=True)
        (docs / name).write_text(f"# {name}\n")
    return docs


def test_a_folder_lists_plain_values_in_the_order_of_their_paths(folder: Path) -> None:
    """So that a worker elsewhere can be given one."""
    files = list(open_source(str(folder), ("staff",)).list_files())
    assert [file.path for file in files] == sorted(file.path for file in files)
    assert files[0] == SourceFile((folder / "a.md").as_uri(), "a.md", ("staff",), 7, None)
    assert open_source(str(folder)).read(pickle.loads(pickle.dumps(files[0]))) == b"# a.md\n"


def test_a_file_address_names_the_same_as_a_path(folder: Path) -> None:
    """However it is written."""
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
def test_patterns_choose_and_exclusion_wins(
    folder: Path, options: dict[str, list[str]], expected: list[str]
) -> None:
    """On the path below the source."""
    assert paths(folder, **options) == expected


def test_patterns_that_leave_nothing_are_refused(folder: Path) -> None:
    """A slip in a pattern must not delete everything."""
    with pytest.raises(InvalidInput, match="--include"):
        paths(folder, include=["*.mdx"])


def test_only_plain_visible_files_of_the_folder_are_listed(folder: Path, tmp_path: Path) -> None:
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
    assert paths(folder) == ["a.md", "b.md", "b/c.md", "b/d.txt", "drafts/e.md"]


@pytest.mark.parametrize("way", ["file", "folder", "pipe"])
def test_a_file_that_became_something_else_is_not_read(
    folder: Path, tmp_path: Path, way: str
) -> None:
    """Between listing and reading there is time for a link, or a pipe that nobody writes to."""
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


def test_a_file_that_went_is_gone(folder: Path) -> None:
    """The reason says so."""
    file = next(iter(open_source(str(folder)).list_files()))
    (folder / "a.md").unlink()
    with pytest.raises(UnreadableFile) as refused:
        open_source(str(folder)).read(file)
    assert refused.value.reason == "gone"


def test_a_huge_file_is_refused_unread(folder: Path) -> None:
    """A gigabyte that takes no room on the disk would take it in memory."""
    with (folder / "a.md").open("wb") as sparse:
        sparse.truncate(1 << 30)
    file = next(iter(open_source(str(folder)).list_files()))
    assert file.size == 1 << 30 > MAX_FILE_BYTES
    with pytest.raises(UnreadableFile) as refused:
        open_source(str(folder)).read(file)
    assert refused.value.reason == "too-large"


def test_a_folder_that_cannot_be_listed_stops_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its documents would otherwise pass for deleted."""
    scandir = os.scandir

    def refusing(path: Any) -> Any:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(Unavailable, match="can't be listed"):
        paths(folder)


def test_a_rule_file_that_is_a_link_stops_the_run(folder: Path, tmp_path: Path) -> None:
    """It is not followed, and what it restricts must not be open."""
    (tmp_path / "readers.yaml").write_text("rules: []\n")
    (folder / "readers.yaml").symlink_to(tmp_path / "readers.yaml")
    with pytest.raises(InvalidInput, match="regular, readable file"):
        paths(folder)


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
def test_an_address_that_cannot_be_used_is_refused_in_a_sentence(address: str, says: str) -> None:
    """With its fix."""
    with pytest.raises(InvalidInput, match=says):
        open_source(address)


def test_an_address_is_kept_such_that_any_folder_will_do(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker is started elsewhere."""
    monkeypatch.chdir(folder)
    assert resolve_source_address("b") == str(folder / "b")
    assert resolve_source_address("web:b/d.txt") == f"web:{folder / 'b/d.txt'}"
    assert [resolve_source_address(name) for name in ("none", "s3://b/b", "https://b/")] == [
        "none",
        "s3://b/b",
        "https://b/",
    ]
