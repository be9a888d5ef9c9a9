"""Numbers, dates, ranges and measures in English text."""

import re
from collections.abc import Iterator, Set

NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
        " seventeen eighteen nineteen twenty".split()
    )
} | {
    "thirty": 30,
    "forty": 40,
    "fifty": 50,
    "sixty": 60,
    "eighty": 80,
    "ninety": 90,
    "hundred": 100,
}
NUMBER_PATTERN = re.compile(r"\d+(?:[.,]\d{3})*(?:\.\d+)?")
RANGE_PATTERN = re.compile(
    rf"(?P<low>{NUMBER_PATTERN.pattern})\s*(?:to|-|–|and)\s*[€$£]?(?P<high>{NUMBER_PATTERN.pattern})"
    rf"|\b(?:under|below|less than|up to)\s+[€$£]?(?P<under>{NUMBER_PATTERN.pattern})"
    rf"|\b(?:above|over|more than)\s+[€$£]?(?P<above>{NUMBER_PATTERN.pattern})"
    rf"|(?P<least>{NUMBER_PATTERN.pattern}) (?:and|or) (?:more|over|above)",
    re.IGNORECASE,
)
DATE_PATTERN = re.compile(
    r"\b(?:1[0-9]|20)\d\d\b|\b\d{1,2}:\d\d\b|\b(?:january|february|march|april|june|july|august|september|october"
    r"|november|december|monday|tuesday|wednesday|thursday|friday|saturday|sunday|century|daily|weekly|monthly"
    r"|yearly|annually)\b|\bMay \d|\d May\b|\b\d+(?:st|nd|rd|th)\b",
    re.IGNORECASE,
)
MONEY_PATTERN = re.compile(
    r"[€$£¥]|\b(?:euros?|dollars?|pounds?|francs?|yen|cents?|percent|free of charge)\b|%",
    re.IGNORECASE,
)
MASS_PATTERN = re.compile(
    r"\d\s?(?:kg|g|mg|t|lb|lbs|grams?|kilograms?|tons?|tonnes?|pounds?|ounces?)\b", re.IGNORECASE
)
AGE_PATTERN = re.compile(
    r"\b(?:age[ds]?|years? old|born|founded|established|built|since)\b", re.IGNORECASE
)


def find_numbers(text: str) -> set[float]:
    """The numbers of a text, also those written as words up to a hundred."""
    written = {float(found[0].replace(",", "")) for found in NUMBER_PATTERN.finditer(text)}
    return written | {
        float(NUMBER_WORDS[word])
        for word in re.findall(r"[a-z]+", text.lower())
        if word in NUMBER_WORDS
    }


def is_in_stated_range(values: Set[float], text: str) -> bool:
    """Whether one of some numbers lies in a range that a text writes: 10 to 14, under 5, above 75,000, 15 and more."""
    return any(low <= value <= high for low, high in find_ranges(text) for value in values)


def find_ranges(text: str) -> Iterator[tuple[float, float]]:
    """The ranges that a text writes, as lowest and highest number."""
    for found in RANGE_PATTERN.finditer(text):
        bound = {
            name: float(value.replace(",", ""))
            for name, value in found.groupdict().items()
            if value
        }
        yield (
            bound.get("low", bound.get("above", bound.get("least", 0.0))),
            bound.get("high", bound.get("under", 1e18)),
        )
