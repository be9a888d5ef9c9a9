"""Numbers and ranges of numbers in a text."""

import re
from collections.abc import Iterator, Set

from core.text.lexicon import load_lexicon

_LEXICON = load_lexicon("numbers")
NUMBER_WORDS: dict[str, int] = {
    word: value for value, word in enumerate(_LEXICON["numbers_to_twenty"].split())
} | _LEXICON["larger_numbers"]
DATE_PATTERN = _LEXICON.pattern("date")
_NUMBER_PATTERN = _LEXICON.pattern("number")
_RANGE_PATTERN = _LEXICON.pattern("range")
_NO_UPPER_LIMIT = 1e18


def find_numbers(text: str) -> set[float]:
    """Return the numbers of a text, also those written as words up to a hundred."""
    written = {_parse_number(match[0]) for match in _NUMBER_PATTERN.finditer(text)}
    words = NUMBER_WORDS.keys() & re.findall(r"[a-z]+", text.lower())
    return written | {float(NUMBER_WORDS[word]) for word in words}


def is_in_stated_range(values: Set[float], text: str) -> bool:
    """Return true if a text states a range that includes one of the values.

    Ranges are written as 10 to 14, under 5, above 75,000 or 15 and more.
    """
    return any(low <= value <= high for low, high in find_ranges(text) for value in values)


def find_ranges(text: str) -> Iterator[tuple[float, float]]:
    """Yield the lowest and highest number of each range that a text states."""
    for match in _RANGE_PATTERN.finditer(text):
        limits = {name: _parse_number(text) for name, text in match.groupdict().items() if text}
        low = limits.get("low", limits.get("above", limits.get("least", 0.0)))
        yield low, limits.get("high", limits.get("under", _NO_UPPER_LIMIT))


def _parse_number(text: str) -> float:
    return float(text.replace(",", ""))
