"""How many tokens a text has, before or in place of the provider's own count.

A model's own tokenizer knows, from a file or from the server that runs the model (`tokenizer` in the models file).
Without one the text's bytes stand for its tokens: never fewer, of English prose four times as many.
"""

import json
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import httpx
from tokenizers import Tokenizer

from core.errors import InvalidInput
from serving.gateway.types import ModelRequest

# What chat templates put around the content: the role and the marks of a turn; and once the marks of the reply, and the
# system prompt with a date that some templates bring along where there is none. Generous: SmolLM2 takes 5 and 24.
TEMPLATE_TOKENS_PER_MESSAGE, TEMPLATE_TOKENS_PER_REQUEST = 8, 64
ENDPOINT_TOKENIZER = "endpoint"  # in the models file: ask the server
TOKENIZE_TIMEOUT_SECONDS = 2.0  # that the server may take for it


class TokenCounter(Protocol):
    """Counts the tokens of a text for one model."""

    def count(self, text: str) -> int:
        """How many, without what marks the beginning and the end."""


class ByteTokenCounter:
    """Never too few: a token of a byte-level vocabulary stands for at least one byte, and one of another vocabulary for
    at least one character, of the text as it is or as Unicode normalises it (UAX 15).
    """

    def count(self, text: str) -> int:
        """See `Tokens`."""
        if text.isascii():
            return len(text)
        forms = (
            text,
            *(unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")),
        )
        return max(len(form.encode("utf-8", "surrogatepass")) for form in forms)


class HuggingFaceTokenCounter:
    """The tokenizer that the model was trained with, in the form of Hugging Face: `tokenizer.json`, or its folder.

    Raises:
        InvalidInput: it isn't there, or is none.
    """

    def __init__(self, path: Path) -> None:
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise InvalidInput(
                f"{file} is no tokenizer.json; correct `tokenizer` in the models file."
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, text: str) -> int:
        """See `Tokens`."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


class EndpointTokenCounter:
    """The server that runs the model, where it is llama.cpp's: `POST /tokenize`. Bytes where it does not answer."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(
            base_url=base_url.removesuffix("/v1"), timeout=TOKENIZE_TIMEOUT_SECONDS
        )

    def count(self, text: str) -> int:
        """See `Tokens`."""
        try:
            answered = self._client.post("/tokenize", json={"content": text, "add_special": False})
            return len(answered.raise_for_status().json()["tokens"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return ByteTokenCounter().count(text)


def open_token_counter(tokenizer: str, base_url: str) -> TokenCounter:
    """What counts for a model of the models file.

    Raises:
        InvalidInput: the file that it names is no tokenizer.
    """
    if not tokenizer:
        return ByteTokenCounter()
    return (
        EndpointTokenCounter(base_url)
        if tokenizer == ENDPOINT_TOKENIZER
        else HuggingFaceTokenCounter(Path(tokenizer))
    )


def max_prompt_tokens(counter: TokenCounter, request: ModelRequest) -> int:
    """The most tokens that a model reads of a request, its chat template and schema included."""
    texts: Iterable[str] = [message.content for message in request.messages]
    schema = [json.dumps(request.schema)] if request.schema else []
    return (
        counter.count("\n".join([*texts, *schema]))
        + TEMPLATE_TOKENS_PER_MESSAGE * len(request.messages)
        + TEMPLATE_TOKENS_PER_REQUEST
    )
