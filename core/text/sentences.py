"""Where sentences begin and end: by rules, for English first, in time linear in the text.

A sentence ends at a full stop, question or exclamation mark (also CJK ones) and at a newline, which stored text has
only where the source breaks a line on purpose. It does not end after an abbreviation, an initial, inside a number, a
file name or a URL, nor before a lower-case word. Semicolons and colons end nothing.
"""

import re

from core.types import Span

# A candidate: stops, then what may close after them, then a space; CJK stops need no space. The look-behind makes a
# run of stops one candidate and the possessive quantifiers forbid going back, so that 100,000 dots cost one pass.
_STOP_PATTERN = re.compile(
    r"""(?<![.!?…])(?P<stop>[.!?…]++)(?P<close>["'”’»)\]*]*+)(?=\s|$)|(?P<cjk>[。！？｡]++["'”’」』）】]*+)|(?P<line>\n)"""
)
_LETTER_OR_DIGIT_PATTERN = re.compile(r"[^\W_]")
_NON_BLANK_PATTERN = re.compile(r"\S")
_NEXT_WORD_PATTERN = re.compile(r"""\s*+["'“‘«(\[*]*+(?P<word>[^\W_]++|.)?""", re.DOTALL)
_LAST_WORD_PATTERN = re.compile(r"[^\s(\[\"'“‘«/]+$")
_MAX_ABBREVIATION_CHARACTERS = 40  # Characters: longer than any abbreviation.

# What follows these belongs to them: never an end.
_NEVER_FINAL_ABBREVIATIONS = frozenset(
    """
    mr mrs ms mx dr prof rev hon sr st gen col lt capt sgt gov sen rep pres messrs mme mlle fr hr e.g i.e eg ie cf vs
    viz approx ca al resp incl excl esp
    """.split()
)
# These open only a number: "No. 5", "Fig. 2", "Jan. 3", "p. 7".
_NUMBER_ABBREVIATIONS = frozenset(
    """
    no nos nr fig figs eq eqs sec secs ch chap vol vols pp p pt art par para app tab ver v jan feb mar apr jun jul aug
    sep sept oct nov dec art. ext tel min max
    """.split()
)
# These may end a sentence: they do before a word that usually starts one.
_POSSIBLY_FINAL_ABBREVIATIONS = frozenset(
    """
    inc ltd co corp llc plc bros dept univ est etc jr ave blvd rd a.m p.m am pm u.s u.k u.n e.u d.c ph.d m.d b.a m.a
    c     b.sc m.sc u.s.a
    """.split()
)
_SENTENCE_STARTERS = frozenset(
    """
    The This That These Those There It Its He She They We You I In On At If When While After Before As A An And But Or
    So For From To By With Our Your Their His Her My What Why How Who Where Which Please Note See However Also All Any
    Each Some No Not Do Does Don Is Are Was Were Has Have Had Can Could Should Would Will May Must Once Since Then
    Thus Use
    """.split()
)


def split_sentences(text: str, span: Span) -> list[Span]:
    """The sentences of `text[span]` as spans of `text`, in order, without blanks at their ends; no character that is
    not a blank is left out or taken twice.
    """
    found: list[Span] = []
    start = _skip_blanks(text, span.start, span.end)
    for stop in _STOP_PATTERN.finditer(text, start, span.end):
        if stop["line"] or stop["cjk"] or _is_sentence_end(text, start, stop, span.end):
            _append_sentence(found, text, start, stop.end())
            start = _skip_blanks(text, stop.end(), span.end)
    _append_sentence(found, text, start, span.end)
    return found


def _append_sentence(found: list[Span], text: str, start: int, end: int) -> None:
    length = len(text[start:end].rstrip())
    if not length:
        return
    if (
        found
        and not _LETTER_OR_DIGIT_PATTERN.search(text, start, start + length)
        and "\n" not in text[found[-1].end : start]
    ):
        start, length = (
            found[-1].start,
            start + length - found[-1].start,
        )  # Stray stops belong to what they follow.
        found.pop()
    found.append(Span(start, start + length))


def _skip_blanks(text: str, start: int, end: int) -> int:
    """The first place from `start` on that isn't blank; `end` when there is none."""
    match = _NON_BLANK_PATTERN.search(text, start, end)
    return match.start() if match else end


def _is_sentence_end(text: str, start: int, stop: re.Match[str], limit: int) -> bool:
    """Whether a sentence that began at `start` ends at `stop`."""
    following = _NEXT_WORD_PATTERN.match(text, stop.end(), limit)
    after = (following["word"] or "") if following else ""
    if after and after[0].islower() and after.islower():  # "iPhone" may begin a sentence.
        return False
    if stop["stop"] != "." or stop["close"][:1] in ("'", '"', "”", "’"):
        return True
    word = _LAST_WORD_PATTERN.search(
        text, max(start, stop.start() - _MAX_ABBREVIATION_CHARACTERS), stop.start()
    )
    return word is None or _word_ends_sentence(word[0], word.start() == start, after)


def _word_ends_sentence(word: str, is_only_word: bool, after: str) -> bool:
    """Whether "word." ends a sentence before `after`; `alone` when the word is all there is of the sentence."""
    lower = word.lower()
    if is_only_word and (word.isdigit() or len(word) == 1):
        return False  # The number of a list: "1. Install it."
    if lower in _NEVER_FINAL_ABBREVIATIONS:
        return False
    if lower in _NUMBER_ABBREVIATIONS:
        return not after[:1].isdigit()
    if lower in _POSSIBLY_FINAL_ABBREVIATIONS:
        return after in _SENTENCE_STARTERS or lower == "etc"
    if (len(word) == 1 and word.isupper()) or re.fullmatch(r"(?:[A-Z]\.)+[A-Z]", word):
        return after in _SENTENCE_STARTERS  # An initial: "J. Smith", but "Plan B. We go."
    return True
