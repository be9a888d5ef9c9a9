"""Vectors of texts that were embedded a moment ago: what stands in many documents is computed once.

The versions of a manual share most of their sentences and many whole passages, and so do pages with the same notes and
warnings. The same text has the same vector, whichever document it stands in.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

from core.embedding import Embedder, Vectors

MAX_CACHED_TEXTS = 100_000  # texts that are remembered: 95 MB with 384 numbers each


class EmbeddingCache:
    """Embeds what it has not embedded lately. Not safe to share between threads that embed at once."""

    def __init__(self, max_texts: int = MAX_CACHED_TEXTS) -> None:
        self._max_texts = max_texts
        self._vectors: dict[
            bytes, bytes
        ] = {}  # by the hash of the text, the one that was used longest ago first

    def encode(
        self, embedder: Embedder, texts: Sequence[str], on_progress: Callable[[float], None]
    ) -> Vectors:
        """The same as `Embedder.encode`, in the precision in which vectors are stored (16 bits)."""
        keys = [blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
        found = {key: self._vectors.pop(key) for key in set(keys) & self._vectors.keys()}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            computed = embedder.encode(list(missing.values()), on_progress).astype(np.float16)
            found |= zip(missing, map(np.ndarray.tobytes, computed), strict=True)
        else:
            on_progress(1.0)
        self._store_vectors(found)
        halves = np.frombuffer(b"".join(found[key] for key in keys), dtype=np.float16)
        return halves.reshape(len(texts), embedder.model.dimension).astype(np.float32)

    def _store_vectors(self, vectors: dict[bytes, bytes]) -> None:
        self._vectors |= vectors
        for key in list(self._vectors)[: max(0, len(self._vectors) - self._max_texts)]:
            del self._vectors[key]
