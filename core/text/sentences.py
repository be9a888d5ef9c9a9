"""Sentence boundaries by rules, in time linear in the text.

A sentence ends at a full stop, question mark or exclamation mark (also CJK ones), and at a newline:
stored text has one only where the source breaks a line on purpose. It does not end after an
abbreviation or an initial, inside a number, file name or URL, or before a lower-case word.
Semicolons and colons do not end a sentence.
"""

import re

from core.text.lexicon import load_lexicon
from core.types import Span

# A candidate: stops, closing quotes or brackets, then a space; CJK stops need no space. The
# look-behind makes a run of stops one candidate, and the possessive quantifiers forbid
# backtracking, so that 100,000 dots cost one pass.
_STOP_PATTERN = re.compile(
    r"""(?<![.!?…])(?P<stop>[.!?…]++)(?P<close>["'”’»)\]*]*+)(?=\s|$)"""
    r"""|(?P<cjk>[。！？｡]++["'”’」』）】]*+)|(?P<line>\n)"""
)
_LETTER_OR_DIGIT_PATTERN = re.compile(r"[^\W_]")
_NON_BLANK_PATTERN = re.compile(r"\S")
_NEXT_WORD_PATTERN = re.compile(r"""\s*+["'“‘«(\[*]*+(?P<word>[^\W_]++|.)?""", re.DOTALL)
_LAST_WORD_PATTERN = re.compile(r"[^\s(\[\"'“‘«/]+$")
_INITIALS_PATTERN = re.compile(r"(?:[A-Z]\.)+[A-Z]")
_MAX_ABBREVIATION_CHARACTERS = 40

_LEXICON = load_lexicon("sentences")
_NEVER_FINAL_ABBREVIATIONS = _LEXICON.words("never_final_abbreviations")
_NUMBER_ABBREVIATIONS = _LEXICON.words("number_abbreviations")
_POSSIBLY_FINAL_ABBREVIATIONS = _LEXICON.words("possibly_final_abbreviations")
_SENTENCE_STARTERS = _LEXICON.words("sentence_starters")


def split_sentences(text: str, span: Span) -> list[Span]:
    """Return the sentences of `text[span]` in order, as spans of `text` without blanks at the ends.

    Every character that is not a blank is in exactly one sentence.
    """
    sentences: list[Span] = []
    start = _skip_blanks(text, span.start, span.end)
    for stop in _STOP_PATTERN.finditer(text, start, span.end):
        if stop["line"] or stop["cjk"] or _is_sentence_end(text, start, stop, span.end):
            _append_sentence(sentences, text, start, stop.end())
            start = _skip_blanks(text, stop.end(), span.end)
    _append_sentence(sentences, text, start, span.end)
    return sentences


def _append_sentence(sentences: list[Span], text: str, start: int, end: int) -> None:
    end = start + len(text[start:end].rstrip())
    if start == end:
        return
    has_letter = _LETTER_OR_DIGIT_PATTERN.search(text, start, end)
    if sentences and not has_letter and "\n" not in text[sentences[-1].end : start]:
        start = sentences.pop().start  # stray stops belong to the sentence before them
    sentences.append(Span(start, end))


def _skip_blanks(text: str, start: int, end: int) -> int:
    """Return the first place from `start` on that is not blank, or `end`."""
    match = _NON_BLANK_PATTERN.search(text, start, end)
    return match.start() if match else end


def _is_sentence_end(text: str, start: int, stop: re.Match[str], limit: int) -> bool:
    """Return true if a sentence that begins at `start` ends at `stop`."""
    following = _NEXT_WORD_PATTERN.match(text, stop.end(), limit)
    next_word = (following["word"] or "") if following else ""
    if next_word and next_word[0].islower() and next_word.islower():
        return False  # a word such as "iPhone" may begin a sentence
    if stop["stop"] != "." or stop["close"][:1] in ("'", '"', "”", "’"):
        return True
    search_start = max(start, stop.start() - _MAX_ABBREVIATION_CHARACTERS)
    word = _LAST_WORD_PATTERN.search(text, search_start, stop.start())
    return word is None or _word_ends_sentence(word[0], word.start() == start, next_word)


def _word_ends_sentence(word: str, is_only_word: bool, next_word: str) -> bool:
    """Return true if "word." ends a sentence before `next_word`.

    `is_only_word` is true if the sentence consists of that word.
    """
    lower = word.lower()
    if is_only_word and (word.isdigit() or len(word) == 1):
        return False  # the number of a list item: "1. Install it."
    if lower in _NEVER_FINAL_ABBREVIATIONS:
        return False
    if lower in _NUMBER_ABBREVIATIONS:
        return not next_word[:1].isdigit()
    if lower in _POSSIBLY_FINAL_ABBREVIATIONS:
        return next_word in _SENTENCE_STARTERS or lower == "etc"
    if (len(word) == 1 and word.isupper()) or _INITIALS_PATTERN.fullmatch(word):
        return next_word in _SENTENCE_STARTERS  # "J. Smith", but "Plan B. We go."
    return True
