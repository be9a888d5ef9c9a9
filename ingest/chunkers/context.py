"""What is put in front of a chunk so that it is understood alone: title, headings, a table's header."""

from collections.abc import Sequence

from core.types import Location
from ingest.chunkers.measure import Measure

_SHARE = 4  # A context takes at most this fraction of a chunk: one in four tokens.
_ARROW = " > "


class Contexts:
    """The contexts of one document. Title and heading path on one line, a table's header row on the next, in at most
    a quarter of `limit` tokens; what stands left, the most general, goes first when they are too long.
    """

    def __init__(self, title: str, measure: Measure, limit: int) -> None:
        self._title = title
        self._measure = measure
        self._allowed = limit // _SHARE
        self._found: dict[tuple[tuple[str, ...], str], str] = {}

    def of(self, location: Location, header: str = "") -> str:
        """The context of a chunk that begins at `location`, inside a table with this header row."""
        path = self._path(location)
        if (path, header) not in self._found:
            self._found[path, header] = self._shortened(path, header)
        return self._found[path, header]

    def _path(self, location: Location) -> tuple[str, ...]:
        repeated = bool(location.headings) and location.headings[0].casefold() == self._title.casefold()
        title = () if repeated or not self._title else (self._title,)
        return title + ((location.sheet,) if location.sheet else ()) + location.headings

    def _shortened(self, path: Sequence[str], header: str) -> str:
        header = _cut_right(header, self._measure, max(self._allowed // 2, 1) if path else self._allowed)
        left = self._allowed - self._measure.before(header)
        while len(path) > 1 and self._measure.before(_ARROW.join(path)) > left:
            path = path[1:]
        return "\n".join(filter(None, (_cut_left(_ARROW.join(path), self._measure, left), header)))


def _cut_left(text: str, measure: Measure, allowed: int) -> str:
    """The last words of `text` that fit."""
    words = text.split()
    while words and measure.before(" ".join(words)) > allowed:
        words = words[max(1, len(words) // 8) :]
    return " ".join(words)


def _cut_right(text: str, measure: Measure, allowed: int) -> str:
    """The first words of `text` that fit."""
    if measure.before(text) <= allowed:
        return text
    return text[: measure.alone(text)[allowed]].rstrip(" |")
