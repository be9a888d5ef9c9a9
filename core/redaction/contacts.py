"""Detectors of web addresses, IP addresses and telephone numbers.

E-mail and postal addresses, dates and names are in patterns.yaml.
"""

import ipaddress
import re
from collections.abc import Iterator

from core.redaction.detector import DetectedEntity
from core.text.lexicon import load_lexicon
from core.types import Span

_LEXICON = load_lexicon("redaction")

_URL_CHARACTERS = r"[^\s<>\"'`|\\^{}]{3,2048}"
_URL_PATTERN = re.compile(
    rf"(?<![\w.])(?:https?|ftp)://{_URL_CHARACTERS}|(?<![\w./-])www\.{_URL_CHARACTERS}",
    re.IGNORECASE,
)
_IPV4_PATTERN = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6_PATTERN = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)"
    r"[0-9A-Fa-f:]{3,39}+(?:\.\d{1,3}){0,3}(?![\w:])"
)
_VERSION_PREFIX_PATTERN = _LEXICON.pattern("version_prefix")
MAX_VERSION_PREFIX_CHARACTERS = 16

_DIGIT_SEPARATOR = r"(?:[ ./-]|\) ?| \(| ?\()"
_PHONE_NUMBER = rf"(?P<number>(?:\+|00)?\(?\d{{1,5}}(?:{_DIGIT_SEPARATOR}?\d{{1,11}}){{0,6}}+)"
_PHONE_EXTENSION = r"(?: ?(?:x|ext\.?|#) ?\d{1,6})?"
_PHONE_CANDIDATE_PATTERN = re.compile(
    rf"(?<![\w./@#-])(?<!\d[ ,:]){_PHONE_NUMBER}{_PHONE_EXTENSION}(?![\w@]|[.,:/-]\d)"
)
_PHONE_WORD_PATTERN = _LEXICON.pattern("phone_word")
_OTHER_NUMBER_WORD_PATTERN = _LEXICON.pattern("other_number_word")
# Forms that hardly any other number has: leading zeros and plus signs of ITU-T E.123, and national
# habits.
_PHONE_FORMAT_PATTERN = re.compile(
    r"\+\d{1,3}[ ./(-]?.{5,20}"
    r"|00[1-9]\d{0,2}[ .-]\d.{6,18}"
    r"|\(?[2-9]\d{2}\)?[ .-]?[2-9]\d{2}[.-]\d{4}"  # North America
    r"|\(?0\d{1,4}\)?[ -]\d{3,4}[ -]\d{2,4}(?:[ -]\d{2,4})?"
    r"|\(0\d{1,4}\)[ -]?\d{3,8}"
    r"|0\d(?:[ .]\d{2}){4}"  # France
    r"|0\d{3}(?: \d{2}){3}"  # Belgium
    r"|\(?0\d{2,4}\)?[ /-]\d{6,8}"
)
# Forms that are a telephone number only near a word such as "phone".
_DIGIT_GROUPS_PATTERN = re.compile(r"\(?\d{2,4}\)?(?:[ .-]\d{2,8}){1,4}|\d{9,12}")
MIN_PHONE_DIGITS, MAX_PHONE_DIGITS = 7, 15  # ITU-T E.164 allows 15
MAX_CHARACTERS_AFTER_OTHER_WORD = 32
MAX_CHARACTERS_AFTER_PHONE_WORD, MAX_CHARACTERS_BEFORE_PHONE_WORD = 40, 12


def find_urls(text: str) -> Iterator[DetectedEntity]:
    """Yield web addresses without the punctuation after them."""
    for match in _URL_PATTERN.finditer(text):
        address = match[0].rstrip(".,;:!?*_~")
        if "(" not in address:
            address = address.rstrip(").,;:!?*_~")
        yield DetectedEntity("URL", Span(match.start(), match.start() + len(address)), 0.8)


def find_ip_addresses(text: str) -> Iterator[DetectedEntity]:
    """Yield IP addresses, except loopback addresses and version numbers of programs."""
    for match in (*_IPV4_PATTERN.finditer(text), *_IPV6_PATTERN.finditer(text)):
        written = match[0] if match[0].endswith("::") else match[0].rstrip(":")
        try:
            address = ipaddress.ip_address(written)
        except ValueError:
            continue
        if address.is_loopback or address.is_unspecified or written.endswith(".0.0"):
            continue
        prefix_start = max(0, match.start() - MAX_VERSION_PREFIX_CHARACTERS)
        if not _VERSION_PREFIX_PATTERN.search(text, prefix_start, match.start()):
            yield DetectedEntity("IP", Span(match.start(), match.start() + len(written)), 0.8)


def find_phone_numbers(text: str) -> Iterator[DetectedEntity]:
    """Yield numbers in the form of a telephone number, or near a word for one."""
    for match in _PHONE_CANDIDATE_PATTERN.finditer(text):
        start, end = match.span()
        digits = sum(map(str.isdigit, match["number"]))
        if not MIN_PHONE_DIGITS <= digits <= MAX_PHONE_DIGITS:
            continue
        before = max(0, start - MAX_CHARACTERS_AFTER_OTHER_WORD)
        if _OTHER_NUMBER_WORD_PATTERN.search(text, before, start):
            continue
        if _PHONE_FORMAT_PATTERN.fullmatch(match["number"]):
            yield DetectedEntity("PHONE", Span(start, end), 0.8)
        elif _DIGIT_GROUPS_PATTERN.fullmatch(match["number"]):
            before = max(0, start - MAX_CHARACTERS_AFTER_PHONE_WORD)
            if _PHONE_WORD_PATTERN.search(text, before, end + MAX_CHARACTERS_BEFORE_PHONE_WORD):
                yield DetectedEntity("PHONE", Span(start, end), 0.6)
