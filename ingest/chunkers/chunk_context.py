"""Context of a chunk, which makes it understandable alone: title, headings, a table's header."""

from collections.abc import Sequence

from core.types import Location
from ingest.chunkers.token_counter import TokenCounter

_CONTEXT_DIVISOR = 4  # A context takes at most a quarter of a chunk's tokens.
_PATH_SEPARATOR = " > "


class ContextBuilder:
    """Builds the contexts of one document.

    Title and heading path are on one line, a table's header row on the next. If they are too long,
    the most general headings are dropped.
    """

    def __init__(self, title: str, token_counter: TokenCounter, max_tokens: int) -> None:
        self._title = title
        self._token_counter = token_counter
        self._max_tokens = max_tokens // _CONTEXT_DIVISOR
        self._cache: dict[tuple[tuple[str, ...], str], str] = {}

    def build(self, location: Location, header: str = "") -> str:
        """Return the context of a chunk at `location`, in a table with that header row."""
        path = self._build_path(location)
        if (path, header) not in self._cache:
            self._cache[path, header] = self._build_context(path, header)
        return self._cache[path, header]

    def _build_path(self, location: Location) -> tuple[str, ...]:
        top_heading = location.headings[0] if location.headings else ""
        is_repeated = top_heading.casefold() == self._title.casefold()
        title = () if is_repeated or not self._title else (self._title,)
        sheet = (location.sheet,) if location.sheet else ()
        return title + sheet + location.headings

    def _build_context(self, path: Sequence[str], header: str) -> str:
        max_header_tokens = max(self._max_tokens // 2, 1) if path else self._max_tokens
        header = self._keep_first_words(header, max_header_tokens)
        tokens_left = self._max_tokens - self._token_counter.count_context_tokens(header)
        while len(path) > 1 and not self._fits(_PATH_SEPARATOR.join(path), tokens_left):
            path = path[1:]
        headings = self._keep_last_words(_PATH_SEPARATOR.join(path), tokens_left)
        return "\n".join(filter(None, (headings, header)))

    def _keep_last_words(self, text: str, max_tokens: int) -> str:
        words = text.split()
        while words and not self._fits(" ".join(words), max_tokens):
            words = words[max(1, len(words) // 8) :]
        return " ".join(words)

    def _keep_first_words(self, text: str, max_tokens: int) -> str:
        if self._fits(text, max_tokens):
            return text
        return text[: self._token_counter.token_starts(text)[max_tokens]].rstrip(" |")

    def _fits(self, text: str, max_tokens: int) -> bool:
        return self._token_counter.count_context_tokens(text) <= max_tokens
