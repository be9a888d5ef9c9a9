"""Tokens before the provider counts them: by the model's own tokenizer, by its server, or never too few."""

from bench.fake_models import entry
from core.principal import Principal
from serving.gateway.gateway import Gateway
from serving.gateway.models import ModelsFile
from serving.gateway.providers import open_provider
from serving.gateway.tokens import ENDPOINT, Bytes, most_read
from serving.gateway.transport import Pool
from serving.gateway.types import Message, ModelRequest


def test_the_real_server_counts_as_it_bills(language_model: str) -> None:
    """What is reserved by its own count is at least what it then says it read, and not much more."""
    listed = entry("small", f"{language_model}/v1", model="smollm2", tokenizer=ENDPOINT)
    patience = {"first": 60, "between": 60, "total": 120}
    file, pool = ModelsFile.model_validate({"models": [listed], "patience": patience}), Pool()
    gateway = Gateway(file, {"small": open_provider(file.models[0], pool)}, None, pool)
    tokens = gateway.sites["small"].tokens
    for contents in (["Say hello."], ["Grüße aus Łódź: 日本語 👩‍👩‍👧 " * 5], ["You are brief.", "And polite.", "Why?"]):
        request = ModelRequest(
            [Message("user", content) for content in contents], Principal("alder"), "test", max_tokens=2, seconds=120
        )
        reply = gateway.stream(request)
        assert list(reply)
        assert reply.usage
        assert reply.usage.counted
        assert reply.usage.input_tokens <= most_read(tokens, request) <= reply.usage.input_tokens + 100
        assert most_read(Bytes(), request) >= reply.usage.input_tokens
    gateway.close()
