"""Token counts, before or in place of the provider's own count.

`tokenizer` in the models file names the model's own tokenizer: a file, or the server that runs the
model. Without one, bytes are counted: never too few, and four times too many for English prose.
"""

import json
import unicodedata
from pathlib import Path
from typing import Protocol

import httpx
from tokenizers import Tokenizer

from core.errors import InvalidInput
from serving.gateway.types import ModelRequest

# Chat templates add the role and marks to each message, and to each request the marks of the reply
# and sometimes a system prompt with a date. Both numbers are generous: SmolLM2 takes 5 and 24.
TEMPLATE_TOKENS_PER_MESSAGE = 8
TEMPLATE_TOKENS_PER_REQUEST = 64
ENDPOINT_TOKENIZER = "endpoint"  # in the models file: ask the server
TOKENIZE_TIMEOUT_SECONDS = 2.0


class TokenCounter(Protocol):
    """Counts the tokens of a text for one model."""

    def count(self, text: str) -> int:
        """Return the tokens of a text, without start and end marks."""


class ByteTokenCounter:
    """Upper bound: each token has at least one byte of the text, as it is or in a normal form.

    Tokenizers may first apply one of Unicode's normal forms (UAX 15).
    """

    def count(self, text: str) -> int:
        """Return the bytes of the longest normalized form, an upper bound of the tokens."""
        if text.isascii():
            return len(text)
        forms = [unicodedata.normalize(form, text) for form in ("NFC", "NFD", "NFKC", "NFKD")]
        return max(len(form.encode("utf-8", "surrogatepass")) for form in (text, *forms))


class HuggingFaceTokenCounter:
    """The model's own tokenizer: a Hugging Face `tokenizer.json`, or its folder.

    Raises:
        InvalidInput: the file does not exist, or is not a tokenizer.
    """

    def __init__(self, path: Path) -> None:
        file = path / "tokenizer.json" if path.is_dir() else path
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises nothing narrower
            raise InvalidInput(
                f"{file} is not a tokenizer.json. Correct `tokenizer` in the models file."
            ) from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    def count(self, text: str) -> int:
        """Return the number of tokens by the tokenizer file."""
        return len(self._tokenizer.encode(text, add_special_tokens=False).ids)


class EndpointTokenCounter:
    """The model's llama.cpp server: `POST /tokenize`. Counts bytes if it does not answer."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.Client(
            base_url=base_url.removesuffix("/v1"), timeout=TOKENIZE_TIMEOUT_SECONDS
        )

    def count(self, text: str) -> int:
        """Return the number of tokens by the server of the model."""
        try:
            response = self._client.post("/tokenize", json={"content": text, "add_special": False})
            return len(response.raise_for_status().json()["tokens"])
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            return ByteTokenCounter().count(text)


def open_token_counter(tokenizer: str, base_url: str) -> TokenCounter:
    """Return the counter that the models file names for a model.

    Raises:
        InvalidInput: the file that it names is not a tokenizer.
    """
    if not tokenizer:
        return ByteTokenCounter()
    if tokenizer == ENDPOINT_TOKENIZER:
        return EndpointTokenCounter(base_url)
    return HuggingFaceTokenCounter(Path(tokenizer))


def max_prompt_tokens(counter: TokenCounter, request: ModelRequest) -> int:
    """Return the most tokens that a model reads of a request, with its chat template and schema."""
    texts = [message.content for message in request.messages]
    if request.schema:
        texts.append(json.dumps(request.schema))
    template_tokens = (
        TEMPLATE_TOKENS_PER_MESSAGE * len(request.messages) + TEMPLATE_TOKENS_PER_REQUEST
    )
    return counter.count("\n".join(texts)) + template_tokens
