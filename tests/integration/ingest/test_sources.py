"""Sources of documents: folders, and object storage on a local S3 server."""

import os
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from core.principal import Principal
from core.services import Services
from ingest import pipeline
from retrieval.retriever import retrieve
from tests.support.services import shared_parser_pool


@dataclass
class Storage:
    """The S3 server of the test run, its requests, and how often it reports that it is busy."""

    client: Any
    port: int = 0
    asked: list[tuple[str, str]] = field(default_factory=list)
    busy: int = 0

    def count(self, method: str) -> int:
        """Return the number of requests for content (GET) or state (HEAD) since the last call."""
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


def test_the_store_follows_a_bucket_and_downloads_only_what_changed(
    services: Services, storage: Storage
) -> None:
    """In, unchanged, changed, deleted; what is unchanged is asked about in one listing."""
    address = "s3://library/docs/"

    def run() -> dict[str, int]:
        storage.asked.clear()
        return pipeline.ingest_sources(
            services, "acme", [pipeline.build_source_spec(address)], shared_parser_pool()
        ).counts

    put(storage, "docs/a.md", b"# Pumps\n\nThe north pump moves 40 litres a second.\n")
    put(storage, "docs/b/c.md", b"# Valves\n\nClose valve V-17 before the filter is opened.\n")
    assert run() == {"added": 2}
    assert storage.count("GET") == 2
    assert run() == {"unchanged": 2}
    assert storage.count("GET") == 0
    put(storage, "docs/a.md", b"# Pumps\n\nThe north pump moves 55 litres a second.\n")
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
