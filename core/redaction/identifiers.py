"""Detectors of payment cards and IBANs. National numbers are in patterns.yaml."""

import re
from collections.abc import Iterator

from core.redaction import checksums
from core.redaction.detector import DetectedEntity
from core.text.lexicon import load_lexicon
from core.types import Span

MAX_KEYWORD_DISTANCE_CHARACTERS = 48  # between a card's number and a word for a card
MIN_CARD_GROUP_DIGITS, MAX_CARD_GROUPS = 3, 5  # as printed on cards

_CARD_WORD_PATTERN = load_lexicon("redaction").pattern("card_word")
_CARD_PATTERN = re.compile(r"(?<![\w.-])(?<!\d )\d(?:[ -]?\d){11,18}+(?![\w-]|\.\d)")
_IBAN_PREFIX_PATTERN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?=[ -]?[A-Z0-9])", re.IGNORECASE)


def find_cards(text: str) -> Iterator[DetectedEntity]:
    """Yield numbers with a valid check digit that a network issues or that are called a card."""
    for match in _CARD_PATTERN.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        groups = re.split(r"[ -]", match[0])
        is_printed_form = (
            len(groups) <= MAX_CARD_GROUPS and min(map(len, groups)) >= MIN_CARD_GROUP_DIGITS
        )
        is_repeated_digit = len(set(digits)) == 1
        if not is_printed_form or is_repeated_digit or not checksums.is_valid_luhn(digits):
            continue
        if checksums.has_card_issuer_prefix(digits) or _is_near_card_word(text, match):
            yield DetectedEntity("CARD", Span(*match.span()), 0.95)


def _is_near_card_word(text: str, match: re.Match[str]) -> bool:
    start = max(0, match.start() - MAX_KEYWORD_DISTANCE_CHARACTERS)
    end = match.end() + MAX_KEYWORD_DISTANCE_CHARACTERS
    return _CARD_WORD_PATTERN.search(text, start, end) is not None


def find_ibans(text: str) -> Iterator[DetectedEntity]:
    """Yield IBANs of the right length for their country, with single spaces or hyphens."""
    for match in _IBAN_PREFIX_PATTERN.finditer(text):
        length = checksums.IBAN_LENGTHS.get(match[0][:2].upper())
        end = _find_token_end(text, match.start(), length) if length else None
        if end and checksums.is_valid_iban(re.sub(r"[ -]", "", text[match.start() : end]).upper()):
            yield DetectedEntity("IBAN", Span(match.start(), end), 0.95)


def _find_token_end(text: str, start: int, length: int) -> int | None:
    """Return the end of a token of exactly `length` letters and digits, or None."""
    position = start
    for count in range(length):
        if count and text[position : position + 1] in {" ", "-"}:
            position += 1
        character = text[position : position + 1]
        if not (character.isascii() and character.isalnum()):
            return None
        position += 1
    return None if text[position : position + 1].isalnum() else position
