"""Removal of invisible characters, which can carry text that only a machine reads.

There are two sets of such characters:
* `clean_text` prepares text for the database. It keeps everything that a script needs (joiners,
  variation selectors) and normalises line breaks and Unicode.
* `remove_invisible` is stricter and keeps every other character in place. It is for text that a
  model reads or that is checked for attacks.
"""

import re
import unicodedata

# Characters that are drawn as nothing or as a blank, but that Unicode counts as letters or marks.
BLANK_CHARACTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
# Each of the 256 variation selectors can hide one byte.
VARIATION_SELECTORS = frozenset(map(chr, [*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)]))
TAG_BASE = 0xE0000  # a tag character is an ASCII character plus this number
INVISIBLE_CATEGORIES = ("Cf", "Cc", "Co", "Cn")  # format, control, private use, unassigned
ALLOWED_CONTROL_CHARACTERS = frozenset("\n\t")
PRINTABLE_ASCII_PATTERN = re.compile(r"[\x20-\x7e\n\t]*")

# Controls except tab and newline; soft hyphen; zero-width, direction and other format characters;
# tag characters; surrogates, which no database stores.
_UNSTORED_CHARACTERS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e"
    "\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e0fff]"
)
# Between non-ASCII characters the joiners stay: Persian, Indic scripts and emoji need them.
_STRAY_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
# More marks on one letter than any language writes. To normalise a million of them takes time that
# grows with the square of their number.
_COMBINING_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u06d6-\u06ed"
    "\u0730-\u074a\u0f71-\u0f84\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u302a-\u302f"
    "\u3099\u309a\ufe20-\ufe2f"
)
_STACKED_MARKS = re.compile(f"([{_COMBINING_MARKS}]{{20}})[{_COMBINING_MARKS}]+")
_LINE_BREAK = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")


def clean_text(text: str) -> str:
    """Return `text` as it is stored: in NFC, visible characters only, line breaks as newlines."""
    if text.isascii() and text.isprintable():
        return text
    visible = _UNSTORED_CHARACTERS.sub("", _LINE_BREAK.sub("\n", text))
    visible = unicodedata.normalize("NFC", _STACKED_MARKS.sub(r"\1", visible))
    # Once more, since the removal of a joiner may bring a letter and its accent together.
    return unicodedata.normalize("NFC", _STRAY_JOINERS.sub("", visible))


def remove_invisible(text: str) -> str:
    """Return a text without the characters that show nothing."""
    if PRINTABLE_ASCII_PATTERN.fullmatch(text):
        return text
    return "".join(character for character in text if not is_invisible(character))


def is_invisible(character: str) -> bool:
    """Return true for zero-width, bidirectional, tag and control characters, and for blank letters.

    Line breaks and tabs count as visible.
    """
    if character in BLANK_CHARACTERS or character in VARIATION_SELECTORS:
        return True
    if character in ALLOWED_CONTROL_CHARACTERS:
        return False
    return unicodedata.category(character) in INVISIBLE_CATEGORIES


def decode_tag_characters(text: str) -> str:
    """Return the part of a text that is written in tag characters, as plain letters."""
    if PRINTABLE_ASCII_PATTERN.fullmatch(text):
        return ""
    codes = (ord(character) - TAG_BASE for character in text)
    return "".join(chr(code) for code in codes if 0x20 <= code < 0x80)
