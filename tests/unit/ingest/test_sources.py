"""Where documents come from: folders, and object storage on a real S3-speaking server of one's own."""

import os
import pickle
import socket
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
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


@dataclass
class Storage:
    """The S3 server of this session: what it was asked, and how often it shall say that it is busy."""

    client: Any
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    busy: int = 0

    def count(self, method: str) -> int:
        """How many requests for an object's content (GET) or state (HEAD) since the last call."""
        number = sum(verb == method and path.count("/") > 1 for verb, path in self.asked)
        self.asked.clear()
        return number


@pytest.fixture(scope="module")
def storage_server() -> Iterator[Storage]:
    """moto's server mode: S3 over HTTP, on loopback."""
    moto_server = pytest.importorskip("moto.server")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object, **__: object) -> None: ...

    storage = Storage(None)
    application = moto_server.DomainDispatcherApplication(moto_server.create_backend_app)

    def counting(environ: dict[str, Any], start: Any) -> Any:
        storage.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        if storage.busy:
            storage.busy -= 1
            start("503 Slow Down", [("Content-Type", "text/xml")])
            return [
                b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
            ]
        return application(environ, start)

    server = make_server("127.0.0.1", 0, counting, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    storage.port = server.server_port
    yield storage
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def storage(storage_server: Storage, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    """A bucket called `library` with five objects, and the environment that leads to it."""
    import boto3
    from s3fs import S3FileSystem

    url = f"http://127.0.0.1:{storage_server.port}"
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "one",
        "AWS_SECRET_ACCESS_KEY": "two",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }.items():
        monkeypatch.setenv(name, value)
    _post(f"{url}/moto-api/reset", b"")
    S3FileSystem.clear_instance_cache()
    storage_server.client = boto3.client("s3")
    storage_server.client.create_bucket(Bucket="library")
    for key in ("docs/a.md", "docs/b/c.md", "docs/.hidden/d.md", "docs/mark/", "other/e f.md"):
        storage_server.client.put_object(Bucket="library", Key=key, Body=f"# {key}\n".encode())
    storage_server.asked.clear()
    storage_server.busy = 0
    yield storage_server
    S3FileSystem.clear_instance_cache()


def _post(url: str, body: bytes) -> None:
    request = urllib.request.Request(url, data=body, headers={"Content-Type": "text/plain"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        answer.read()


def put(storage: Storage, key: str, body: bytes) -> None:
    """Put an object into the library."""
    storage.client.put_object(Bucket="library", Key=key, Body=body)


@pytest.mark.parametrize(
    ("address", "uri", "expected"),
    [
        ("s3://library", "s3://library/", ["docs/a.md", "docs/b/c.md", "other/e f.md"]),
        ("S3://library/", "s3://library/", ["docs/a.md", "docs/b/c.md", "other/e f.md"]),
        ("s3://library/docs", "s3://library/docs/", ["a.md", "b/c.md"]),
        ("s3://library/docs/", "s3://library/docs/", ["a.md", "b/c.md"]),
        ("s3://library/other/e f.md", "s3://library/other/e f.md", ["e f.md"]),
    ],
)
def test_a_bucket_a_folder_and_an_object_are_sources(
    storage: Storage, address: str, uri: str, expected: list[str]
) -> None:
    """Marks of folders and hidden parts are left out, as in a folder of this machine."""
    source = open_source(address)
    assert source.uri == uri
    files = list(source.list_files())
    assert [file.path for file in files] == expected
    assert all(file.uri.startswith(uri) and file.size and file.tag for file in files)
    for file in files:
        assert source.read(file) == f"# {file.uri.removeprefix('s3://library/')}\n".encode()


def test_listing_reads_nothing_and_a_change_shows_in_the_tag(storage: Storage) -> None:
    """So a run over what is unchanged downloads nothing."""
    source = open_source("s3://library/docs/")
    before = {file.path: file.tag for file in source.list_files()}
    assert storage.count("GET") == 0
    put(storage, "docs/a.md", b"# Other\n")
    storage.client.delete_object(Bucket="library", Key="docs/b/c.md")
    put(storage, "docs/new.md", b"# New\n")
    after = {file.path: file.tag for file in source.list_files()}
    assert after.keys() == {"a.md", "new.md"}
    assert after["a.md"] != before["a.md"]
    put(storage, "docs/a.md", b"# docs/a.md\n")
    assert {file.path: file.tag for file in source.list_files()}["a.md"] == before["a.md"]
    assert storage.count("GET") == 0


def test_a_long_listing_comes_in_pages(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 tells of a thousand keys at a time; this one of two."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    for number in range(7):
        put(storage, f"many/{number}.txt", b"x")
    source = open_source("s3://library/many/")
    storage.asked.clear()
    assert [file.path for file in source.list_files()] == [f"{number}.txt" for number in range(7)]
    assert storage.asked == [("GET", "/library")] * 4


def test_an_object_that_changed_since_it_was_listed_is_not_stored_under_the_old_tag(
    storage: Storage,
) -> None:
    """Or A, B, A would be served as B."""
    source = open_source("s3://library/docs/a.md")
    (file,) = source.list_files()
    put(storage, "docs/a.md", b"# Other\n")
    with pytest.raises(UnreadableFile) as refused:
        source.read(file)
    assert refused.value.reason == "changed"
    storage.client.delete_object(Bucket="library", Key="docs/a.md")
    with pytest.raises(UnreadableFile) as refused:
        source.read(file)
    assert refused.value.reason == "gone"


def test_a_huge_object_is_refused_unread(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the storage says of its size."""
    monkeypatch.setattr("ingest.sources.object_storage.MAX_FILE_BYTES", 5)
    source = open_source("s3://library/docs/a.md")
    (file,) = source.list_files()
    with pytest.raises(UnreadableFile) as refused:
        source.read(file)
    assert refused.value.reason == "too-large"
    assert storage.count("GET") == 0


def test_patterns_and_reader_rules_work_in_a_bucket(storage: Storage) -> None:
    """The rule file lies at its root, and is no document."""
    put(storage, "readers.yaml", b"rules: [{pattern: 'docs/*', readers: [staff]}]\n")
    files = {
        file.path: file.allowed_groups
        for file in open_source("s3://library", ("all",)).list_files()
    }
    assert files == {"docs/a.md": ("staff",), "docs/b/c.md": ("staff",), "other/e f.md": ("all",)}
    assert paths("s3://library", include=["docs/*"], exclude=["*/b/*"]) == ["docs/a.md"]
    with pytest.raises(InvalidInput, match="--include"):
        paths("s3://library", include=["nothing"])
    put(storage, "readers.yaml", b"- no rules\n")
    with pytest.raises(InvalidInput, match=r"s3://library/readers\.yaml"):
        paths("s3://library")


def test_a_storage_that_is_busy_is_asked_again(storage: Storage) -> None:
    """It says so by a 503."""
    source = open_source("s3://library/docs/a.md")
    (file,) = source.list_files()
    storage.busy = 2
    assert source.read(file) == b"# docs/a.md\n"
    assert storage.busy == 0


@pytest.mark.parametrize(
    ("address", "says"),
    [
        ("s3://nowhere/docs/", "nothing at s3://nowhere/docs/"),
        ("s3://library/nothing", "nothing at"),
    ],
)
def test_what_is_not_there_is_refused(storage: Storage, address: str, says: str) -> None:
    """A missing bucket is not an empty one."""
    with pytest.raises(InvalidInput, match=says):
        open_source(address)


def test_an_emptied_bucket_is_refused_rather_than_taken_for_a_wish_to_delete(
    storage: Storage,
) -> None:
    """As with a folder."""
    storage.client.create_bucket(Bucket="emptied")
    with pytest.raises(InvalidInput, match="no file"):
        paths("s3://emptied")


def test_wrong_credentials_are_refused(storage: Storage) -> None:
    """The server asks for a signature that it knows."""
    url = f"http://127.0.0.1:{storage.port}/moto-api/reset-auth"
    _post(url, b"0")
    try:
        with pytest.raises(InvalidInput, match="credentials"):
            open_source("s3://library/docs/")
    finally:
        _post(url, b"inf")


def test_missing_credentials_are_refused(storage: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the page that says where they are looked for is named."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InvalidInput, match=r"docs/reference/sources\.md"):
        open_source("s3://library/docs/")
