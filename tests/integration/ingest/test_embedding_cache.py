"""A text of several documents is embedded once; a batch holds a limited number of tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from core.embedders.sentence_transformer import _group_into_batches
from core.embedding import Embedder, Vectors
from ingest.store.embedding_cache import EmbeddingCache

TEXTS = [
    "The wiper is replaced every two years.",
    "Press the red button.",
    "A sentence that is only here.",
]


class _RecordingEmbedder:
    """The real model, and a record of the texts that it embedded."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.model = embedder.model
        self.max_input_tokens = embedder.max_input_tokens
        self.token_starts = embedder.token_starts
        self.encoded_texts: list[str] = []

    def encode(
        self, texts: Sequence[str], on_progress: Callable[[float], None] = lambda share: None
    ) -> Vectors:
        self.encoded_texts += texts
        vectors: Vectors = self._embedder.encode_uncached(texts)
        return vectors


def test_a_text_is_embedded_once_and_gets_the_vector_of_the_model(embedder: Any) -> None:
    recorder, cache = _RecordingEmbedder(embedder), EmbeddingCache()
    first = cache.encode(recorder, [TEXTS[0], TEXTS[1], TEXTS[0]])
    second = cache.encode(recorder, [TEXTS[2], TEXTS[1]])
    third = cache.encode(recorder, [TEXTS[1]])
    assert sorted(recorder.encoded_texts) == sorted(TEXTS)
    vectors = np.concatenate([first, second, third])
    expected = embedder.encode_uncached([TEXTS[index] for index in (0, 1, 0, 2, 1, 1)])
    assert np.allclose(vectors, expected, atol=1e-3)  # vectors are stored with 16 bits


def test_the_cache_keeps_the_most_recently_used_texts(embedder: Embedder) -> None:
    recorder, cache = _RecordingEmbedder(embedder), EmbeddingCache(max_texts=2)
    for text in (TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2], TEXTS[0], TEXTS[1]):
        cache.encode(recorder, [text])
    assert recorder.encoded_texts == [TEXTS[0], TEXTS[1], TEXTS[2], TEXTS[1]]


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    assert EmbeddingCache().encode(embedder, []).shape == (0, embedder.model.dimension)


def test_every_text_is_in_one_batch_and_no_batch_exceeds_the_token_limit() -> None:
    lengths = [5, 300, 17, 5, 90, 1, 17, 64, 3]
    batches = _group_into_batches([[0] * length for length in lengths], 256)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) == 1 or len(batch) * longest <= 256


def test_a_vector_does_not_depend_on_the_other_texts_of_its_batch(embedder: Any) -> None:
    long_text = "A valve that is opened slowly wears less, and so does its seat. " * 12
    numbered = [f"Part {number} of the list." for number in range(120)]
    texts = [long_text, *TEXTS, long_text[:200], *numbered]
    shares: list[float] = []
    together = embedder.encode_uncached(texts, shares.append)
    alone = np.concatenate([embedder.encode_uncached([text]) for text in texts[:8]])
    assert np.min((together[:8] * alone).sum(axis=1)) > 0.999
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-3)
    assert np.isclose(sum(shares), 1.0)
