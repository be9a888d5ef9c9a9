"""Vectors of texts that were embedded a moment ago: what stands in many documents is computed once.

The versions of a manual share most of their sentences and many whole passages, and so do pages with the same notes and
warnings. The same text has the same vector, whichever document it stands in.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b

import numpy as np

from core.embedding import Embedder, Vectors

MOST = 100_000  # texts that are remembered: 95 MB with 384 numbers each


class Recent:
    """Embeds what it has not embedded lately. Not safe to share between threads that embed at once."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._vectors: dict[bytes, bytes] = {}  # by the hash of the text, the one that was used longest ago first

    def encode(self, embedder: Embedder, texts: Sequence[str], advanced: Callable[[float], None]) -> Vectors:
        """The same as `Embedder.encode`, in the precision in which vectors are stored (16 bits)."""
        keys = [blake2b(text.encode("utf-8", "replace"), digest_size=16).digest() for text in texts]
        found = {key: self._vectors.pop(key) for key in set(keys) & self._vectors.keys()}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in found}
        if missing:
            computed = embedder.encode(list(missing.values()), advanced).astype(np.float16)
            found |= zip(missing, map(np.ndarray.tobytes, computed), strict=True)
        else:
            advanced(1.0)
        self._keep(found)
        halves = np.frombuffer(b"".join(found[key] for key in keys), dtype=np.float16)
        return halves.reshape(len(texts), embedder.model.dimension).astype(np.float32)

    def _keep(self, found: dict[bytes, bytes]) -> None:
        self._vectors |= found
        for key in list(self._vectors)[: max(0, len(self._vectors) - self._most)]:
            del self._vectors[key]
