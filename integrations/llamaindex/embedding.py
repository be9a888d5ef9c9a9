"""The model of the live index as a LlamaIndex embedding."""

import asyncio
import math
from collections.abc import Sequence
from typing import Any

from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.bridge.pydantic import PrivateAttr

from core.embedding import Embedder, Vectors, truncate_to_model
from core.errors import InvalidInput
from core.services import Services


class GroundworkEmbedding(BaseEmbedding):
    """The model of the live index, for a VectorStoreIndex on `GroundworkVectorStore`."""

    _services: Services = PrivateAttr()

    def __init__(self, services: Services, **options: Any) -> None:
        super().__init__(model_name=services.embedder().model.name, **options)
        self._services = services

    @classmethod
    def class_name(cls) -> str:
        """See `BaseComponent`."""
        return "GroundworkEmbedding"

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        vectors = encode_truncated(self._services.embedder(), texts)
        return [[float(number) for number in vector] for vector in vectors]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._get_text_embeddings([query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return await asyncio.to_thread(self._get_query_embedding, query)


def encode_truncated(embedder: Embedder, texts: Sequence[str]) -> Vectors:
    """Return unit vectors of texts, each up to the model's limit: shape (len(texts), dimension)."""
    return embedder.encode([truncate_to_model(embedder, text) for text in texts])


def check_vector(embedder: Embedder, vector: Sequence[float]) -> list[float]:
    """Return `vector` as a list if it may come from this model.

    Raises:
        InvalidInput: it has another dimension, or numbers that are not finite.
    """
    if len(vector) != embedder.model.dimension:
        raise InvalidInput(
            f"The vector has {len(vector)} dimensions, the index {embedder.model.dimension}."
            " Embed with GroundworkEmbedding."
        )
    if not all(map(math.isfinite, vector)):
        raise InvalidInput(
            "The vector has a number that is not finite. Embed with GroundworkEmbedding."
        )
    return list(vector)
