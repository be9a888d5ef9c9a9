"""Object storage as a source, against an S3 server on loopback."""

import os
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidInput, UnreadableFile
from core.principal import Principal
from core.services import Services
from ingest import pipeline
from ingest.sources import open_source
from retrieval.retriever import retrieve
from tests.support.services import shared_parser_pool


def list_paths(address: str | Path, **options: Any) -> list[str]:
    """Return the display paths that a source lists."""
    return [file.path for file in open_source(str(address), **options).list_files()]


@dataclass
class ObjectStorage:
    """S3 server of the tests: its client, its requests, and how many it still answers with 503."""

    client: Any
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    busy: int = 0

    def count(self, method: str) -> int:
        """Return the number of GET or HEAD requests for an object since the last call."""
        number = sum(verb == method and path.count("/") > 1 for verb, path in self.asked)
        self.asked.clear()
        return number


@pytest.fixture(scope="module")
def storage_server() -> Iterator[ObjectStorage]:
    """S3 over HTTP on loopback, by moto's server mode."""
    moto_server = pytest.importorskip("moto.server")
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_request(self, *_: object, **__: object) -> None: ...

    storage = ObjectStorage(None)
    application = moto_server.DomainDispatcherApplication(moto_server.create_backend_app)

    def counting(environ: dict[str, Any], start: Any) -> Any:
        storage.asked.append((environ["REQUEST_METHOD"], environ["PATH_INFO"]))
        if storage.busy:
            storage.busy -= 1
            start("503 Slow Down", [("Content-Type", "text/xml")])
            return [
                b"<Error><Code>SlowDown</Code><Message>Please reduce your request "
                b"rate.</Message></Error>"
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
def storage(
    storage_server: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ObjectStorage]:
    """A bucket `library` with five objects, and the environment variables for it."""
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


def put_object(storage: ObjectStorage, key: str, body: bytes) -> None:
    """Store an object in the bucket."""
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
    storage: ObjectStorage, address: str, uri: str, expected: list[str]
) -> None:
    """Folder markers and hidden parts are left out, as in a local folder."""
    source = open_source(address)
    assert source.uri == uri
    files = list(source.list_files())
    assert [file.path for file in files] == expected
    assert all(file.uri.startswith(uri) and file.size and file.tag for file in files)
    for file in files:
        assert source.read(file) == f"# {file.uri.removeprefix('s3://library/')}\n".encode()


def test_listing_reads_no_object_and_changes_change_the_tag(storage: ObjectStorage) -> None:
    """A run over unchanged objects downloads nothing."""
    source = open_source("s3://library/docs/")
    before = {file.path: file.tag for file in source.list_files()}
    assert storage.count("GET") == 0
    put_object(storage, "docs/a.md", b"# Other\n")
    storage.client.delete_object(Bucket="library", Key="docs/b/c.md")
    put_object(storage, "docs/new.md", b"# New\n")
    after = {file.path: file.tag for file in source.list_files()}
    assert after.keys() == {"a.md", "new.md"}
    assert after["a.md"] != before["a.md"]
    put_object(storage, "docs/a.md", b"# docs/a.md\n")
    assert {file.path: file.tag for file in source.list_files()}["a.md"] == before["a.md"]
    assert storage.count("GET") == 0


def test_a_long_listing_comes_in_pages(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3 returns 1,000 keys a page; this server returns two."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    for number in range(7):
        put_object(storage, f"many/{number}.txt", b"x")
    source = open_source("s3://library/many/")
    storage.asked.clear()
    assert [file.path for file in source.list_files()] == [f"{number}.txt" for number in range(7)]
    assert storage.asked == [("GET", "/library")] * 4


def test_an_object_that_changed_since_it_was_listed_is_refused(storage: ObjectStorage) -> None:
    """Its content must not be stored under the old tag."""
    source = open_source("s3://library/docs/a.md")
    (file,) = source.list_files()
    put_object(storage, "docs/a.md", b"# Other\n")
    with pytest.raises(UnreadableFile) as refused:
        source.read(file)
    assert refused.value.reason == "changed"
    storage.client.delete_object(Bucket="library", Key="docs/a.md")
    with pytest.raises(UnreadableFile) as refused:
        source.read(file)
    assert refused.value.reason == "gone"


def test_a_huge_object_is_refused_unread(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its listed size is enough."""
    monkeypatch.setattr("ingest.sources.object_storage.MAX_FILE_BYTES", 5)
    source = open_source("s3://library/docs/a.md")
    (file,) = source.list_files()
    with pytest.raises(UnreadableFile) as refused:
        source.read(file)
    assert refused.value.reason == "too-large"
    assert storage.count("GET") == 0


def test_patterns_and_reader_rules_work_in_a_bucket(storage: ObjectStorage) -> None:
    """The rule file is at the root and is not a document."""
    put_object(storage, "readers.yaml", b"rules: [{pattern: 'docs/*', readers: [staff]}]\n")
    files = {
        file.path: file.allowed_groups
        for file in open_source("s3://library", ("all",)).list_files()
    }
    assert files == {"docs/a.md": ("staff",), "docs/b/c.md": ("staff",), "other/e f.md": ("all",)}
    assert list_paths("s3://library", include=["docs/*"], exclude=["*/b/*"]) == ["docs/a.md"]
    with pytest.raises(InvalidInput, match="--include"):
        list_paths("s3://library", include=["nothing"])
    put_object(storage, "readers.yaml", b"- no rules\n")
    with pytest.raises(InvalidInput, match=r"s3://library/readers\.yaml"):
        list_paths("s3://library")


def test_a_busy_storage_is_asked_again(storage: ObjectStorage) -> None:
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
def test_a_missing_bucket_or_object_is_refused(
    storage: ObjectStorage, address: str, says: str
) -> None:
    """A missing bucket is not an empty one."""
    with pytest.raises(InvalidInput, match=says):
        open_source(address)


def test_an_empty_bucket_is_refused(storage: ObjectStorage) -> None:
    """Otherwise all its documents would be deleted."""
    storage.client.create_bucket(Bucket="emptied")
    with pytest.raises(InvalidInput, match="no file"):
        list_paths("s3://emptied")


def test_wrong_credentials_are_refused(storage: ObjectStorage) -> None:
    url = f"http://127.0.0.1:{storage.port}/moto-api/reset-auth"
    _post(url, b"0")
    try:
        with pytest.raises(InvalidInput, match="credentials"):
            open_source("s3://library/docs/")
    finally:
        _post(url, b"inf")


def test_missing_credentials_are_refused(
    storage: ObjectStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the page on credentials."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(InvalidInput, match=r"docs/reference/sources\.md"):
        open_source("s3://library/docs/")


def test_the_store_follows_a_bucket_and_downloads_only_what_changed(
    services: Services, storage: ObjectStorage
) -> None:
    """In, unchanged, changed, deleted; what is unchanged is asked about in one listing."""
    address = "s3://library/docs/"

    def run() -> dict[str, int]:
        storage.asked.clear()
        return pipeline.ingest_sources(
            services, "acme", [pipeline.build_source_spec(address)], shared_parser_pool()
        ).counts

    put_object(storage, "docs/a.md", b"# Pumps\n\nThe north pump moves 40 litres a second.\n")
    put_object(
        storage, "docs/b/c.md", b"# Valves\n\nClose valve V-17 before the filter is opened.\n"
    )
    assert run() == {"added": 2}
    assert storage.count("GET") == 2
    assert run() == {"unchanged": 2}
    assert storage.count("GET") == 0
    put_object(storage, "docs/a.md", b"# Pumps\n\nThe north pump moves 55 litres a second.\n")
    assert run() == {"changed": 1, "unchanged": 1}
    assert {path for method, path in storage.asked if method == "GET"} == {
        "/library",
        "/library/docs/a.md",
    }
    storage.client.delete_object(Bucket="library", Key="docs/b/c.md")
    assert run() == {"deleted": 1, "unchanged": 1}
    hits = retrieve(services, Principal("acme"), "How much does the north pump move?").hits
    assert [hit.path for hit in hits] == ["a.md"]
    assert "55 litres" in hits[0].text
