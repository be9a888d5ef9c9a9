"""Tokens before the provider counts them: by the model's own tokenizer, by its server, or never too
few.
"""

from bench.fake_models import model_entry
from core.http import HttpPool
from core.principal import Principal
from serving.gateway.gateway import Gateway
from serving.gateway.models_file import ModelsFile
from serving.gateway.providers.base import open_provider
from serving.gateway.token_counters import ENDPOINT_TOKENIZER, ByteTokenCounter, max_prompt_tokens
from serving.gateway.types import Message, ModelRequest


def test_the_real_server_counts_as_it_bills(language_model: str) -> None:
    """A reservation covers the tokens that the model then reports, and not many more."""
    listed = model_entry(
        "small", f"{language_model}/v1", model="smollm2", tokenizer=ENDPOINT_TOKENIZER
    )
    patience = {"first": 60, "between": 60, "total": 120}
    file, pool = ModelsFile.model_validate({"models": [listed], "patience": patience}), HttpPool()
    gateway = Gateway(file, {"small": open_provider(file.models[0], pool)}, None, pool)
    tokens = gateway.endpoints["small"].token_counter
    for contents in (
        ["Say hello."],
        ["Grüße aus Łódź: 日本語 👩‍👩‍👧 " * 5],
        ["You are brief.", "And polite.", "Why?"],
    ):
        request = ModelRequest(
            [Message("user", content) for content in contents],
            Principal("alder"),
            "test",
            max_tokens=2,
            timeout_seconds=120,
        )
        reply = gateway.stream(request)
        assert list(reply)
        assert reply.usage
        assert reply.usage.counted_by_provider
        assert (
            reply.usage.input_tokens
            <= max_prompt_tokens(tokens, request)
            <= reply.usage.input_tokens + 100
        )
        assert max_prompt_tokens(ByteTokenCounter(), request) >= reply.usage.input_tokens
    gateway.close()
