"""What is put in front of a chunk so that it is understood alone: title, headings, a table's header."""

from ingest.chunkers.measure import Measure
from knowledge.types import Location

_SHARE = 4  # A context takes at most this fraction of a chunk: one in four tokens.
_ARROW = " > "


def context(title: str, location: Location, header: str, measure: Measure, limit: int) -> str:
    """Title and heading path on one line, a table's header row on the next, in at most a quarter of `limit` tokens.

    What stands left, the most general, goes first when it is too long.
    """
    allowed = limit // _SHARE
    header = _cut_right(header, measure, allowed if not location.headings and not title else max(allowed // 2, 1))
    left = allowed - measure.before(header)
    parts = _path(title, location)
    while len(parts) > 1 and measure.before(_ARROW.join(parts)) > left:
        parts = parts[1:]
    path = _cut_left(_ARROW.join(parts), measure, left)
    return "\n".join(filter(None, (path, header)))


def _path(title: str, location: Location) -> list[str]:
    headings = list(location.headings)
    sheet = [location.sheet] if location.sheet else []
    repeated = bool(headings) and headings[0].casefold() == title.casefold()
    return ([title] if title and not repeated else []) + sheet + headings


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
