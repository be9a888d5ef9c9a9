"""How many tokens a stretch of a document takes, without asking the tokenizer more than once."""

from bisect import bisect_left
from collections.abc import Sequence

from ingest.chunkers import TokenOffsets

CHARACTERS_PER_TOKEN = 12
"""A token never counts for more characters than this, so that what a tokenizer takes for one unknown word (a key, a
base64 attachment) can't become one endless chunk. English has four to five characters a token."""


class Measure:
    """Token counts of stretches of one text, and of short texts beside it."""

    def __init__(self, text: str, tokens: TokenOffsets) -> None:
        self.text = text
        self._tokens = tokens
        self._offsets = tokens(text)
        self._before: dict[str, int] = {"": 0}

    def index(self, position: int) -> int:
        """How many tokens begin before `position`."""
        return bisect_left(self._offsets, position)

    def between(self, start: int, end: int) -> int:
        """Tokens of `text[start:end]`, where no token reaches across `start`."""
        return self.index(end) - self.index(start)

    def before(self, context: str) -> int:
        """Tokens that a context and the line break after it take in front of a chunk's text; counted once."""
        if context not in self._before:
            self._before[context] = len(self._tokens(f"{context}\n"))
        return self._before[context]

    def alone(self, text: str) -> Sequence[int]:
        """Where each token begins in a text that stands by itself."""
        return self._tokens(text)

    def fitting(self, start: int, end: int, budget: int) -> int:
        """The furthest position up to `end` such that `text[start:position]` takes at most `budget` tokens."""
        last = self.index(start) + budget
        furthest = min(end, self._offsets[last] if last < len(self._offsets) else end)
        furthest = min(furthest, start + budget * CHARACTERS_PER_TOKEN)
        while furthest - start > 1 and len(self._tokens(self.text[start:furthest])) > budget:
            furthest = start + (furthest - start) // 2  # Cut inside a word, which then takes more tokens than before.
        return furthest
