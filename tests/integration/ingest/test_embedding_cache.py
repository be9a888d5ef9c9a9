"""Texts that stand in several documents are embedded once; what is embedded is batched by tokens and never cut."""

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


class _Counting:
    """The real model, and what it was asked to embed."""

    def __init__(self, embedder: Any) -> None:
        self._embedder = embedder
        self.model = embedder.model
        self.max_input_tokens = embedder.max_input_tokens
        self.token_starts = embedder.token_starts
        self.asked: list[str] = []

    def encode(
        self, texts: Sequence[str], on_progress: Callable[[float], None] = lambda share: None
    ) -> Vectors:
        self.asked += texts
        return self._embedder.compute(texts, on_progress)


def test_a_text_is_embedded_once_and_its_vector_is_the_models(embedder: Any) -> None:
    counting, recent, shares = _Counting(embedder), EmbeddingCache(), list[float]()
    first = recent.encode(counting, [TEXTS[0], TEXTS[1], TEXTS[0]], shares.append)
    second = recent.encode(counting, [TEXTS[2], TEXTS[1]], shares.append)
    third = recent.encode(counting, [TEXTS[1]], shares.append)
    assert sorted(counting.asked) == sorted(TEXTS)
    found = np.concatenate([first, second, third])
    expected = embedder.compute([TEXTS[place] for place in (0, 1, 0, 2, 1, 1)])
    assert np.allclose(found, expected, atol=1e-3)  # sixteen bits
    assert np.isclose(sum(shares), 3.0)


def test_only_so_many_are_remembered_the_last_used_ones(embedder: Embedder) -> None:
    counting, recent = _Counting(embedder), EmbeddingCache(max_texts=2)
    for text in (TEXTS[0], TEXTS[1], TEXTS[0], TEXTS[2], TEXTS[0], TEXTS[1]):
        recent.encode(counting, [text], lambda share: None)
    assert counting.asked == [TEXTS[0], TEXTS[1], TEXTS[2], TEXTS[1]]


def test_nothing_to_embed_is_done_at_once(embedder: Embedder) -> None:
    shares: list[float] = []
    assert EmbeddingCache().encode(embedder, [], shares.append).shape == (
        0,
        embedder.model.dimension,
    )
    assert shares == [1.0]


def test_a_batch_holds_no_more_tokens_than_it_may_and_every_text_is_in_one() -> None:
    lengths = [5, 300, 17, 5, 90, 1, 17, 64, 3]
    batches = _group_into_batches([[0] * length for length in lengths], 256)
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    assert all(
        len(batch) == 1 or len(batch) * max(lengths[place] for place in batch) <= 256
        for batch in batches
    )


def test_vectors_do_not_depend_on_the_company(embedder: Any) -> None:
    long = "A valve that is opened slowly wears less, and so does its seat. " * 12
    texts = [long, *TEXTS, long[:200], *(f"Part {number} of the list." for number in range(120))]
    shares: list[float] = []
    together = embedder.compute(texts, shares.append)
    alone = np.concatenate([embedder.compute([text]) for text in texts[:8]])
    assert np.min((together[:8] * alone).sum(axis=1)) > 0.999
    assert np.allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-3)
    assert np.isclose(sum(shares), 1.0)
