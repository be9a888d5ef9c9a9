"""Examples of docs/guides/extend.md that need neither a database nor a server."""

import json
import time

import httpx
import jwt

import core.embedding
import core.redaction
import ingest.chunkers.registry
import ingest.parsers.registry
import ingest.sources
import serving.api.identity
import serving.gateway.providers
from tests.support.doc_examples import Example


def test_parser_example_parses_its_format(monkeypatch):
    example = Example("Parser", monkeypatch)
    example.install(ingest.parsers.registry, "FORMATS")
    example.run()


def test_chunker_example_cuts_a_document(monkeypatch):
    example = Example("Chunker", monkeypatch)
    example.install(ingest.chunkers.registry, "CHUNKERS")
    example.run()


def test_source_example_lists_and_reads_an_archive(monkeypatch, tmp_path):
    example = Example("Source", monkeypatch)
    example.install(ingest.sources, "SOURCES")
    example.run(path=tmp_path / "papers.zip")


def test_embedder_example_calls_its_api(monkeypatch):
    def reply(url, *, json, **_):
        data = [{"embedding": [float(len(text))] * 1536} for text in json["input"]]
        return httpx.Response(200, json={"data": data}, request=httpx.Request("POST", url))

    monkeypatch.setenv("EMBEDDING_URL", "http://127.0.0.1/v1/embeddings")
    monkeypatch.setenv("EMBEDDING_KEY", "key")
    monkeypatch.setattr(httpx, "post", reply)
    example = Example("Embedder", monkeypatch)
    example.install(core.embedding, "PROVIDERS")
    example.run()


def test_identity_example_accepts_a_token_of_a_published_key(monkeypatch):
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key()))
    published = {"keys": [{**public, "kid": "1", "use": "sig", "alg": "RS256"}]}
    claims = {"sub": "ada", "aud": "groundwork", "exp": time.time() + 60}
    claims |= {"org": "alder", "roles": ["finance"]}
    token = jwt.encode(claims, key, algorithm="RS256", headers={"kid": "1"})

    monkeypatch.setenv("JWKS_URL", "https://id.example/keys")
    monkeypatch.setenv("GROUNDWORK_IDENTITY", "jwks")
    monkeypatch.setattr(jwt.PyJWKClient, "fetch_data", lambda client: published)
    example = Example("Identity provider", monkeypatch)
    example.install(serving.api.identity, "PROVIDERS")
    example.run(token=token)


def test_detector_example_redacts_its_values(monkeypatch):
    example = Example("Detector of personal data", monkeypatch)
    example.install(core.redaction, "DETECTORS")
    example.run()
