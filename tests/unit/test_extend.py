"""The examples of docs/guides/extend.md, run as they are written.

Each section has three blocks of code: a new file, its line in the registry, and an attempt.
"""

import re
import sys
from types import ModuleType

import httpx
import pytest

import core.embedding
import ingest.chunkers.registry
import ingest.parsers.registry
from tests.conftest import ROOT

PAGE = ROOT / "docs" / "guides" / "extend.md"


class Example:
    """The code of one section of the page."""

    def __init__(self, heading: str, monkeypatch: pytest.MonkeyPatch) -> None:
        text = PAGE.read_text(encoding="utf-8")
        section = re.split(rf"^## {heading}$", text, flags=re.MULTILINE)[1].split("\n## ")[0]
        blocks = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
        self.file, self.registration, self.attempt = blocks
        self._monkeypatch = monkeypatch

    def create_module(self) -> ModuleType:
        """Import the new file under the name that its first line gives."""
        path = self.file.splitlines()[0].removeprefix("# ")
        module = ModuleType(path.removesuffix(".py").replace("/", "."))
        self._monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(self.file, path, "exec"), module.__dict__)
        return module

    def register(self, registry: ModuleType, name: str) -> None:
        """Add the line to a tuple or a mapping of the registry."""
        entry = eval(self.registration, dict(registry.__dict__))
        entries = getattr(registry, name)
        added = {**entries, **entry} if isinstance(entry, dict) else (*entries, entry)
        self._monkeypatch.setattr(registry, name, added)

    def run_attempt(self) -> None:
        exec(compile(self.attempt, f"{PAGE.name}: try it", "exec"), {})


def test_parser_example_parses_its_format(monkeypatch):
    example = Example("Parser", monkeypatch)
    example.create_module()
    example.register(ingest.parsers.registry, "FORMATS")
    by_media_type = {entry.media_type: entry for entry in ingest.parsers.registry.FORMATS}
    monkeypatch.setattr(ingest.parsers.registry, "_FORMAT_BY_MEDIA_TYPE", by_media_type)
    example.run_attempt()


def test_chunker_example_cuts_a_document(monkeypatch):
    example = Example("Chunker", monkeypatch)
    example.create_module()
    example.register(ingest.chunkers.registry, "CHUNKERS")
    example.run_attempt()


def test_embedder_example_calls_its_api(monkeypatch):
    def reply(url, *, json, **_):
        data = [{"embedding": [float(len(text))] * 1536} for text in json["input"]]
        return httpx.Response(200, json={"data": data}, request=httpx.Request("POST", url))

    monkeypatch.setenv("EMBEDDING_URL", "http://127.0.0.1/v1/embeddings")
    monkeypatch.setenv("EMBEDDING_KEY", "key")
    monkeypatch.setattr(httpx, "post", reply)
    example = Example("Embedder", monkeypatch)
    example.create_module()
    example.register(core.embedding, "PROVIDERS")
    example.run_attempt()
