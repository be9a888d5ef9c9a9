"""gs:// and az:// against servers that speak as those of Google and Azure do. Neither is needed for
development: each is skipped where its library and its emulator aren't installed.

    pip install gcsfs gcp-storage-emulator
    pip install adlfs; npm install azurite, with node_modules/.bin in PATH
"""

import importlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from core.errors import InvalidInput, UnreadableFile
from ingest.sources import open_source

# The key that Azurite's manual gives for its only account; it opens nothing else.
AZURITE = (
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey="
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "BlobEndpoint=http://127.0.0.1:{port}/devstoreaccount1;"
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture
def google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """File system of an empty Google storage."""
    # Its newest part asks Google by gRPC what kind a bucket is, which no emulator answers.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    gcsfs = pytest.importorskip("gcsfs")
    emulator = pytest.importorskip("gcp_storage_emulator.server")
    port = free_port()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    server = emulator.create_server("127.0.0.1", port, in_memory=True)
    server.start()
    yield gcsfs.GCSFileSystem(token="anon", project="test")
    server.stop()


@pytest.fixture
def azure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """File system of an empty Azure storage."""
    adlfs = pytest.importorskip("adlfs")
    program = which("azurite-blob")
    if program is None:
        pytest.skip("azurite-blob is not in PATH")
    port = free_port()
    monkeypatch.setenv("AZURE_STORAGE_CONNECTION_STRING", AZURITE.format(port=port))
    server = subprocess.Popen(
        [
            program,
            "--blobPort",
            str(port),
            "--location",
            str(tmp_path),
            "--skipApiVersionCheck",
            "--silent",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    until(lambda: socket.socket().connect_ex(("127.0.0.1", port)) == 0)
    yield adlfs.AzureBlobFileSystem(connection_string=AZURITE.format(port=port))
    server.terminate()
    server.wait()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def refusal_reason(address: str, opened: Any = None, file: Any = None) -> str:
    """Return the reason for which an address or a file is refused."""
    with pytest.raises((InvalidInput, UnreadableFile)) as refused:
        opened.read(file) if opened else open_source(address)
    return getattr(refused.value, "reason", str(refused.value))


@pytest.mark.parametrize("scheme", ["gs", "az"])
def test_a_bucket_is_a_source(scheme: str, request: pytest.FixtureRequest) -> None:
    """As with S3, a file that changed or disappeared since it was listed is refused."""
    storage = request.getfixturevalue({"gs": "google", "az": "azure"}[scheme])
    importlib.import_module("fsspec").filesystem(scheme).clear_instance_cache()
    storage.mkdir("library")
    for key in ("docs/a.md", "docs/b/c.md", "docs/.hidden/d.md", "other/e f.md"):
        storage.pipe(f"library/{key}", f"# {key}\n".encode())
    source = open_source(f"{scheme}://library/docs")
    files = list(source.list_files())
    assert source.uri == f"{scheme}://library/docs/"
    assert [(file.path, file.size, bool(file.tag)) for file in files] == [
        ("a.md", 12, True),
        ("b/c.md", 14, True),
    ]
    assert [source.read(file) for file in files] == [b"# docs/a.md\n", b"# docs/b/c.md\n"]
    assert [file.path for file in open_source(f"{scheme}://library/other/e f.md").list_files()] == [
        "e f.md"
    ]
    storage.pipe("library/docs/a.md", b"# Other\n")
    assert next(iter(source.list_files())).tag != files[0].tag
    assert refusal_reason("", source, files[0]) == "changed"
    storage.rm("library/docs/a.md")
    assert refusal_reason("", source, files[0]) == "gone"
    assert "nothing at" in refusal_reason(f"{scheme}://nowhere/docs/")
    assert "nothing at" in refusal_reason(f"{scheme}://library/nothing")
    storage.pipe("library/readers.yaml", b"rules: [{pattern: 'docs/*', readers: [staff]}]\n")
    readers = {
        file.path: file.allowed_groups
        for file in open_source(f"{scheme}://library", ("all",)).list_files()
    }
    assert readers == {"docs/b/c.md": ("staff",), "other/e f.md": ("all",)}
