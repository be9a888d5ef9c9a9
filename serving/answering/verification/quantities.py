"""Numbers of a sentence, with their units, limits and names, and comparison of two such numbers."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations

from core.text.lexicon import load_lexicon
from core.text.terms import extract_terms

_LEXICON = load_lexicon("claims")
_UNITS = _LEXICON.words("units")
_UNIT_SYNONYMS: dict[str, str] = _LEXICON["unit_synonyms"]
_DAY_COUNT_WORDS = _LEXICON.words("day_count_words")
_MONTHS_AND_DAYS = _LEXICON.words("months_and_days")
_BOUND_PATTERNS = _LEXICON.word_patterns("bounds")
_LEAST_AFTER_NUMBER = _LEXICON.pattern("least_after_number", flags=0)
_MOST_AFTER_NUMBER = _LEXICON.pattern("most_after_number", flags=0)

_NUMBER_PATTERN = re.compile(r"(?<![A-Za-z])(?<![A-Za-z]-)\d+(?:[.,:]\d+)*")  # RF-2 is a name
_TRAILING_NAME = re.compile(r"\b[A-Z][\w'’-]* $")
_WORD_PATTERN = re.compile(r"[^\W\d_]+")
_UNIT_PATTERN = re.compile(r"[^\W\d_]+(?:'[a-z]+)?")
MAX_UNIT_DISTANCE_WORDS = 3  # after the number
MAX_BOUND_DISTANCE_WORDS = 4  # before or after the number
MAX_PAIRED_QUANTITIES = 4  # of one value in a clause; their pairings are tried, 4! at most


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a sentence."""

    value: str  # as written
    units: frozenset[str]
    bound: str | None  # class of the limit that the number is: "most", "least", "before", ...
    context_terms: frozenset[str]  # between the numbers before and after it
    name_terms: frozenset[str]  # of a name right before it: Heron 210

    def may_share_name(self, other: "Quantity") -> bool:
        """Return false for ISO 9001 and IEC 9001; a number without a name may have any."""
        if not self.name_terms or not other.name_terms:
            return True
        return self.name_terms == other.name_terms

    def is_comparable(self, other: "Quantity") -> bool:
        """Return true if one could be mistaken for the other: the same units, or both a time."""
        return self.units == other.units and (":" in self.value) == (":" in other.value)

    def has_units_of(self, other: "Quantity") -> bool:
        """Return true if the units are those of the other quantity, or unknown."""
        if not self.units or self.units <= other.units:
            return True
        return not other.units and not self.units & _UNITS

    def has_bound_of(self, other: "Quantity") -> bool:
        """Return true for the same kind of limit. A date may lose its "by" or "from"."""
        if self.bound == other.bound:
            return True
        return self.bound is None and other.bound in ("before", "after")


def extract_quantities(text: str) -> Iterator[Quantity]:
    """Yield the numbers of a normalized text in order."""
    matches = list(_NUMBER_PATTERN.finditer(text))
    ends = [0, *(match.end() for match in matches)]
    starts = [*(match.start() for match in matches), len(text)]
    for i, match in enumerate(matches):
        left, right = text[ends[i] : match.start()], text[match.end() : starts[i + 1]]
        has_name = _TRAILING_NAME.search(left)
        yield Quantity(
            value=match[0].replace(",", "."),
            units=frozenset(_extract_units(left, right)),
            bound=_find_bound(left, right),
            context_terms=frozenset(extract_terms(left)) | frozenset(extract_terms(right)),
            name_terms=frozenset(extract_terms(left.split()[-1])) if has_name else frozenset(),
        )


def _extract_units(left: str, right: str) -> Iterator[str]:
    """Yield the unit after a number, with "working" or "calendar", and a month before it."""
    for word in _UNIT_PATTERN.findall(right)[:MAX_UNIT_DISTANCE_WORDS]:
        unit = _normalize_unit(word)
        if unit in _UNITS:
            yield unit
            if unit not in _DAY_COUNT_WORDS:
                break
    for word in _WORD_PATTERN.findall(left)[-1:]:
        if word.lower() in _MONTHS_AND_DAYS:
            yield word.lower()


def _normalize_unit(word: str) -> str:
    word = word.lower()
    singular = word[:-1] if word.endswith("s") and word[:-1] in _UNITS else word
    return _UNIT_SYNONYMS.get(singular, singular)


def _find_bound(left: str, right: str) -> str | None:
    before = " ".join(left.split()[-MAX_BOUND_DISTANCE_WORDS:])
    bounds = [
        (match.end(), name)
        for name, pattern in _BOUND_PATTERNS.items()
        for match in pattern.finditer(before)
    ]
    if bounds:
        return max(bounds)[1]
    after = " ".join(right.split()[:MAX_BOUND_DISTANCE_WORDS])
    if _LEAST_AFTER_NUMBER.search(after):
        return "least"
    return "most" if _MOST_AFTER_NUMBER.search(after) else None


def can_pair_units(quantities: Sequence[Quantity], others: Sequence[Quantity]) -> bool:
    """Return true if the quantities of one value can be paired so that all units agree."""
    if len(quantities) > MAX_PAIRED_QUANTITIES:
        return True
    return any(
        all(one.has_units_of(other) for one, other in zip(quantities, order, strict=True))
        for order in permutations(others)
    )
