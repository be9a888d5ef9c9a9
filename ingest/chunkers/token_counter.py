"""Token counts of parts of a document, from one call of the tokenizer."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

from core.token_estimate import MAX_CHARACTERS_PER_TOKEN

TokenOffsets = Callable[[str], Sequence[int]]
"""Returns the character offset at which each of a text's tokens begins, in ascending order.

The tokens are those of the embedding model, without its special tokens."""


class TokenCounter:
    """Counts the tokens of parts of one text, and of short texts that go with it."""

    def __init__(self, text: str, token_offsets: TokenOffsets) -> None:
        self.text = text
        self._token_offsets = token_offsets
        self._offsets = token_offsets(text)
        self._context_counts: dict[str, int] = {"": 0}

    def token_index(self, position: int) -> int:
        """Return the number of tokens that begin before `position`."""
        return bisect_left(self._offsets, position)

    def count_tokens(self, start: int, end: int) -> int:
        """Return the tokens of `text[start:end]`, if no token reaches across `start`."""
        return self.token_index(end) - self.token_index(start)

    def count_context_tokens(self, context: str) -> int:
        """Return the tokens of a context and the line break after it."""
        if context not in self._context_counts:
            self._context_counts[context] = len(self._token_offsets(f"{context}\n"))
        return self._context_counts[context]

    def token_starts(self, text: str) -> Sequence[int]:
        """Return where each token of a separate text begins."""
        return self._token_offsets(text)

    def find_fitting_end(self, start: int, end: int, max_tokens: int) -> int:
        """Return the end of the longest part of `start` to `end` that fits into `max_tokens`."""
        last = self.token_index(start) + max_tokens
        fitting = self._offsets[last] if last < len(self._offsets) else end
        fitting = min(end, fitting, start + max_tokens * MAX_CHARACTERS_PER_TOKEN)
        # A cut inside a word can make more tokens of it than before.
        while fitting - start > 1 and self._count_separate(start, fitting) > max_tokens:
            fitting = start + (fitting - start) // 2
        return fitting

    def _count_separate(self, start: int, end: int) -> int:
        return len(self._token_offsets(self.text[start:end]))
