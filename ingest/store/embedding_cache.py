"""Cache of the vectors of recent texts. The same text has the same vector in every document.

The versions of a manual share most of their sentences and many passages, and so do pages with the
same notes and warnings.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from core.embedding import Embedder, Vectors

MAX_CACHED_TEXTS = 100_000  # 95 MB with 384 numbers each


class EmbeddingCache:
    """Embeds the texts that it has not embedded recently. Only one thread at a time may use it."""

    def __init__(self, max_texts: int = MAX_CACHED_TEXTS) -> None:
        self._max_texts = max_texts
        self._vectors: dict[bytes, bytes] = {}  # by hash of the text, least recently used first

    def encode(self, embedder: Embedder, texts: Sequence[str]) -> Vectors:
        """Return the vectors as `Embedder.encode`, in the precision of stored vectors (16 bits)."""
        keys = [blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
        vectors = {key: self._vectors.pop(key) for key in set(keys) & self._vectors.keys()}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
        if missing:
            computed = embedder.encode(list(missing.values())).astype(np.float16)
            vectors |= zip(missing, map(np.ndarray.tobytes, computed), strict=True)
        self._remember(vectors)
        halves = np.frombuffer(b"".join(vectors[key] for key in keys), dtype=np.float16)
        return halves.reshape(len(texts), embedder.model.dimension).astype(np.float32)

    def _remember(self, vectors: dict[bytes, bytes]) -> None:
        self._vectors |= vectors
        surplus = max(0, len(self._vectors) - self._max_texts)
        for key in list(self._vectors)[:surplus]:
            del self._vectors[key]
