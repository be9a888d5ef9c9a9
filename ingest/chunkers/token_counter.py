"""How many tokens a stretch of a document takes, without asking the tokenizer more than once."""

from bisect import bisect_left
from collections.abc import Callable, Sequence

TokenOffsets = Callable[[str], Sequence[int]]
"""Returns the character offset at which each of a text's tokens begins, in ascending order.

The tokens are those of the embedding model, without its special tokens."""

MAX_CHARACTERS_PER_TOKEN = 12
"""A token never counts for more characters than this, so that what a tokenizer takes for one unknown word (a key, a
base64 attachment) can't become one endless chunk. English has four to five characters a token."""


class TokenCounter:
    """Token counts of stretches of one text, and of short texts beside it."""

    def __init__(self, text: str, token_offsets: TokenOffsets) -> None:
        self.text = text
        self._token_offsets = token_offsets
        self._offsets = token_offsets(text)
        self._context_counts: dict[str, int] = {"": 0}

    def token_index(self, position: int) -> int:
        """How many tokens begin before `position`."""
        return bisect_left(self._offsets, position)

    def count_tokens(self, start: int, end: int) -> int:
        """Tokens of `text[start:end]`, where no token reaches across `start`."""
        return self.token_index(end) - self.token_index(start)

    def count_context_tokens(self, context: str) -> int:
        """Tokens that a context and the line break after it take in front of a chunk's text; counted once."""
        if context not in self._context_counts:
            self._context_counts[context] = len(self._token_offsets(f"{context}\n"))
        return self._context_counts[context]

    def token_starts(self, text: str) -> Sequence[int]:
        """Where each token begins in a text that stands by itself."""
        return self._token_offsets(text)

    def find_fitting_end(self, start: int, end: int, max_tokens: int) -> int:
        """The furthest position up to `end` such that `text[start:position]` takes at most `budget` tokens."""
        last = self.token_index(start) + max_tokens
        furthest = min(end, self._offsets[last] if last < len(self._offsets) else end)
        furthest = min(furthest, start + max_tokens * MAX_CHARACTERS_PER_TOKEN)
        while (
            furthest - start > 1
            and len(self._token_offsets(self.text[start:furthest])) > max_tokens
        ):
            furthest = (
                start + (furthest - start) // 2
            )  # Cut inside a word, which then takes more tokens than before.
        return furthest
