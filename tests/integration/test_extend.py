"""Examples of docs/guides/extend.md that need a server or the sample's database."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

import serving.answering.generator.registry
import serving.api.identity
import serving.gateway.providers
from tests.support.doc_examples import Example


def test_generator_example_answers_with_verified_quotes(
    sample_services, embedder, home, monkeypatch
):
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", sample_services.settings.database_url)
    monkeypatch.setenv("GROUNDWORK_HOME", str(home))
    monkeypatch.setenv("GROUNDWORK_GENERATOR", "first-sentences")
    monkeypatch.setattr("core.services.load_embedder", lambda name, dtype: embedder)
    example = Example("Answer generator", monkeypatch)
    example.install(serving.answering.generator.registry, "GENERATORS")
    example.run()


class OllamaServer(BaseHTTPRequestHandler):
    """Replies to every request with "Hello" in two parts."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()
        for text, done in (("Hel", False), ("lo", True)):
            part = {"message": {"content": text}, "done": done}
            self.wfile.write(json.dumps(part).encode() + b"\n")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ollama_url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), OllamaServer) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_llm_provider_example_streams_a_reply(monkeypatch, ollama_url):
    example = Example("LLM provider", monkeypatch)
    example.install(serving.gateway.providers, "PROVIDERS")
    example.run(base_url=ollama_url)
