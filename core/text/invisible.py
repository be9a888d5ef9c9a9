"""A text as a reader sees it: without characters that show nothing, which may carry what only a machine reads."""

import re
import unicodedata

# What is drawn as nothing, or as a blank that is none, though Unicode doesn't count it among the format characters.
BLANK_CHARACTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
VARIATION_SELECTOR_RANGES = (
    range(0xFE00, 0xFE10),
    range(0xE0100, 0xE01F0),
)  # selectors; a byte can be hidden in each
TAG_CHARACTER_RANGE = range(
    0xE0000, 0xE0080
)  # each stands for the ASCII character that is 0xE0000 before it
ALLOWED_CONTROL_CHARACTERS = frozenset("\n\t")
PRINTABLE_ASCII_PATTERN = re.compile(r"[\x20-\x7e\n\t]*")


def remove_invisible(text: str) -> str:
    """The text without format characters (category Cf: zero-width, bidirectional, tags, soft hyphens), variation
    selectors, control characters other than line breaks and tabs, and letters that are drawn as nothing.
    """
    if PRINTABLE_ASCII_PATTERN.fullmatch(text):
        return text
    return "".join(character for character in text if not is_invisible(character))


def is_invisible(character: str) -> bool:
    """Whether a character shows nothing."""
    if character in BLANK_CHARACTERS or any(
        ord(character) in some for some in VARIATION_SELECTOR_RANGES
    ):
        return True
    return (
        unicodedata.category(character) in ("Cf", "Cc", "Co", "Cn")
        and character not in ALLOWED_CONTROL_CHARACTERS
    )


def decode_tag_characters(text: str) -> str:
    """What is written in the text with tag characters, in plain letters; empty where nothing is."""
    if PRINTABLE_ASCII_PATTERN.fullmatch(text):
        return ""
    return "".join(
        chr(ord(character) - TAG_CHARACTER_RANGE.start)
        for character in text
        if ord(character) - 0x20 in TAG_CHARACTER_RANGE
    )
