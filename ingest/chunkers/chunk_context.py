"""What is put in front of a chunk so that it is understood alone: title, headings, a table's header."""

from collections.abc import Sequence

from core.types import Location
from ingest.chunkers.token_counter import TokenCounter

_CONTEXT_DIVISOR = 4  # A context takes at most this fraction of a chunk: one in four tokens.
_PATH_SEPARATOR = " > "


class ContextBuilder:
    """The contexts of one document. Title and heading path on one line, a table's header row on the next, in at most
    a quarter of `limit` tokens; what stands left, the most general, goes first when they are too long.
    """

    def __init__(self, title: str, token_counter: TokenCounter, max_tokens: int) -> None:
        self._title = title
        self._token_counter = token_counter
        self._max_tokens = max_tokens // _CONTEXT_DIVISOR
        self._cache: dict[tuple[tuple[str, ...], str], str] = {}

    def build(self, location: Location, header: str = "") -> str:
        """The context of a chunk that begins at `location`, inside a table with this header row."""
        path = self._build_path(location)
        if (path, header) not in self._cache:
            self._cache[path, header] = self._shorten_context(path, header)
        return self._cache[path, header]

    def _build_path(self, location: Location) -> tuple[str, ...]:
        repeated = (
            bool(location.headings) and location.headings[0].casefold() == self._title.casefold()
        )
        title = () if repeated or not self._title else (self._title,)
        return title + ((location.sheet,) if location.sheet else ()) + location.headings

    def _shorten_context(self, path: Sequence[str], header: str) -> str:
        header = _keep_first_words(
            header, self._token_counter, max(self._max_tokens // 2, 1) if path else self._max_tokens
        )
        left = self._max_tokens - self._token_counter.count_context_tokens(header)
        while (
            len(path) > 1
            and self._token_counter.count_context_tokens(_PATH_SEPARATOR.join(path)) > left
        ):
            path = path[1:]
        return "\n".join(
            filter(
                None,
                (_keep_last_words(_PATH_SEPARATOR.join(path), self._token_counter, left), header),
            )
        )


def _keep_last_words(text: str, token_counter: TokenCounter, max_tokens: int) -> str:
    """The last words of `text` that fit."""
    words = text.split()
    while words and token_counter.count_context_tokens(" ".join(words)) > max_tokens:
        words = words[max(1, len(words) // 8) :]
    return " ".join(words)


def _keep_first_words(text: str, token_counter: TokenCounter, max_tokens: int) -> str:
    """The first words of `text` that fit."""
    if token_counter.count_context_tokens(text) <= max_tokens:
        return text
    return text[: token_counter.token_starts(text)[max_tokens]].rstrip(" |")
