"""Alignment of the quotes of a language model with the text of a passage."""

import re

from core.text.invisible import is_invisible
from core.types import Span
from retrieval.types import Hit
from serving.answering.guardrails.prompt_injection import find_injections, overlaps_injection
from serving.answering.question import collect_terms

MAX_QUOTE_SENTENCES = 3  # a quote that touches more sentences is not widened
MAX_NEAREST_SENTENCES = 2  # instead of a quote that is not in the passage
EQUIVALENT_CHARACTERS = {
    "’": "'",
    "‘": "'",
    "“": '"',
    "”": '"',
    "–": "-",
    "—": "-",
    "‑": "-",
    "\u00a0": " ",
}
# Models put quotation marks, brackets and dots around a quote.
QUOTE_DECORATION = re.compile(r"^(?:[\s\"'“”‘’\[\]…]|\.\.\.)+|(?:[\s\"'“”‘’\[\]…]|\.\.\.)+$")


def locate_quote(quote: str, hit: Hit) -> Span | None:
    """Return the place of a quote as offsets into the document, or None.

    The quote must be exact, or differ only in whitespace, case, quotation marks and hidden
    characters.
    """
    exact = quote.strip()
    start = hit.text.find(exact) if exact else -1
    if start >= 0:
        return Span(hit.span.start + start, hit.span.start + start + len(exact))
    normalized, _ = _normalize_characters(QUOTE_DECORATION.sub("", quote))
    text, offsets = _normalize_characters(hit.text)
    start = text.find(normalized) if normalized else -1
    if start < 0:
        return None
    last = start + len(normalized) - 1
    return Span(hit.span.start + offsets[start], hit.span.start + offsets[last] + 1)


def widen_to_sentences(span: Span, hit: Hit) -> Span:
    """Return the whole sentences of a quote; the quote itself if they are too many, or none."""
    touched = [sentence.span for sentence in hit.sentences if sentence.span.overlaps(span)]
    if not 0 < len(touched) <= MAX_QUOTE_SENTENCES:
        return span
    return Span(min(span.start, touched[0].start), max(span.end, touched[-1].end))


def find_nearest_sentences(text: str, hit: Hit) -> list[Span]:
    """Return the sentences of a passage that share the most terms with a text, best first."""
    terms, injections = collect_terms(text), find_injections(hit)
    overlaps: list[tuple[int, Span]] = []
    for sentence in hit.sentences:
        shared = len(terms & collect_terms(hit.quote(sentence.span)))
        if shared and not overlaps_injection(sentence.span, injections):
            overlaps.append((shared, sentence.span))
    overlaps.sort(key=lambda overlap: -overlap[0])
    return [span for _, span in overlaps[:MAX_NEAREST_SENTENCES]]


def _normalize_characters(text: str) -> tuple[str, list[int]]:
    """Return a text in lower case with single blanks, plain punctuation and nothing hidden.

    The second value has, for each character, its offset in the original text.
    """
    characters, offsets = list[str](), list[int]()
    for offset, character in enumerate(text):
        plain = EQUIVALENT_CHARACTERS.get(character, character).lower()
        if plain.isspace():
            plain = " "
        elif not plain.isascii() and is_invisible(character):
            continue
        if plain == " " and characters[-1:] == [" "]:
            continue
        characters.append(plain[0])
        offsets.append(offset)
    return "".join(characters), offsets
