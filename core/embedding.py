"""Embedding models: the protocol of an embedder, and the table of providers.

GROUNDWORK_EMBEDDING_MODEL is `provider:model`, or a plain model name or folder for
sentence-transformers. To add a provider, write a class with the members of `Embedder` and
`EmbedderClass`, and add it to PROVIDERS.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from core.types import EmbeddingModel

Vectors = NDArray[np.float32]

DEFAULT_PROVIDER = "sentence-transformers"
PROVIDERS = {DEFAULT_PROVIDER: "core.embedders.sentence_transformer:SentenceTransformerEmbedder"}
"""Classes by provider, as `module:Class`, so that only the selected one is imported."""


class Embedder(Protocol):
    """A loaded embedding model: text in, unit vectors out."""

    @property
    def model(self) -> EmbeddingModel:
        """Name, revision and dimension."""

    @property
    def max_input_tokens(self) -> int:
        """Maximum number of tokens of a text, without the special tokens of the model."""

    def token_starts(self, text: str) -> Sequence[int]:
        """Return the character offset at which each token of the text starts."""

    def encode(
        self, texts: Sequence[str], on_progress: Callable[[float], None] = lambda fraction: None
    ) -> Vectors:
        """Return unit vectors of shape (len(texts), dimension), float32.

        A text over `max_input_tokens` is cut off. `on_progress` gets the fraction of the work that
        was completed since its last call; the fractions add up to 1.
        """


class EmbedderClass(Protocol):
    """Class of a provider's embedders."""

    def __call__(self, name: str, dtype: str) -> Embedder:
        """Load a model. `dtype` is GROUNDWORK_EMBEDDING_DTYPE; a remote model ignores it.

        Raises:
            Unavailable: the model can't be loaded or reached.
        """

    def describe(self, name: str) -> EmbeddingModel:
        """Return name, revision and dimension of a model, without loading it (class method).

        The revision must change whenever the vectors change.

        Raises:
            Unavailable: the model is not available.
        """


def truncate_to_model(embedder: Embedder, text: str) -> str:
    """Return the part of a text that fits the model's input."""
    starts = embedder.token_starts(text)
    limit = embedder.max_input_tokens
    return text if len(starts) <= limit else text[: starts[limit]]


def load_embedder(setting: str, dtype: str = "auto") -> Embedder:
    """Load the embedding model that a value of GROUNDWORK_EMBEDDING_MODEL selects.

    Raises:
        Unavailable: the model can't be loaded.
    """
    provider, name = split_model_setting(setting)
    return _import_embedder_class(provider)(name, dtype)


def describe_model(setting: str) -> EmbeddingModel:
    """Return the identity of an embedding model; its name is the setting.

    Raises:
        Unavailable: the model is not available.
    """
    provider, name = split_model_setting(setting)
    return replace(_import_embedder_class(provider).describe(name), name=setting)


def split_model_setting(setting: str) -> tuple[str, str]:
    """Split `provider:model`. Without a known provider, all of it is a sentence-transformers model.

    So a path may contain a colon (`C:/models/minilm`).
    """
    provider, _, name = setting.partition(":")
    return (provider, name) if provider in PROVIDERS else (DEFAULT_PROVIDER, setting)


def _import_embedder_class(provider: str) -> EmbedderClass:
    module, _, name = PROVIDERS[provider].partition(":")
    return cast(EmbedderClass, getattr(import_module(module), name))
