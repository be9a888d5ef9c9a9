"""Where the words that a model says it copied stand in a passage: to the letter, or with other blanks and case."""

import re

from core.text.invisible import is_invisible
from core.types import Span
from retrieval.types import Hit
from serving.answering.guardrails.prompt_injection import find_injections, overlaps_injection
from serving.answering.question import collect_terms

MAX_QUOTE_SENTENCES = 3  # sentences that a quote is widened to; one over more stays as it is
MAX_NEAREST_SENTENCES = 2  # sentences of a passage that stand for a quote that is not there
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
QUOTE_DECORATION = re.compile(
    r"^(?:[\s\"'“”‘’\[\]…]|\.\.\.)+|(?:[\s\"'“”‘’\[\]…]|\.\.\.)+$"
)  # what models put around a quote


def locate_quote(quote: str, hit: Hit) -> Span | None:
    """The place of a quote in a passage, as offsets into the document; None where it doesn't stand there."""
    wanted = quote.strip()
    place = hit.text.find(wanted) if wanted else -1
    if place >= 0:
        return Span(hit.span.start + place, hit.span.start + place + len(wanted))
    wanted, _ = _normalize_characters(QUOTE_DECORATION.sub("", quote))
    text, places = _normalize_characters(hit.text)
    place = text.find(wanted) if wanted else -1
    if place < 0:
        return None
    return Span(
        hit.span.start + places[place], hit.span.start + places[place + len(wanted) - 1] + 1
    )


def widen_to_sentences(span: Span, hit: Hit) -> Span:
    """The whole sentences that a quote touches, which is what a reader can judge; the quote itself where those are
    many, or none.
    """
    touched = [each.span for each in hit.sentences if each.span.overlaps(span)]
    if not 0 < len(touched) <= MAX_QUOTE_SENTENCES:
        return span
    return Span(min(span.start, touched[0].start), max(span.end, touched[-1].end))


def find_nearest_sentences(text: str, hit: Hit) -> list[Span]:
    """The sentences of a passage that share the most terms with a text, best first; none that share nothing."""
    said, machines = collect_terms(text), find_injections(hit)
    shared = [
        (len(said & collect_terms(hit.quote(each.span))), each.span)
        for each in hit.sentences
        if not overlaps_injection(each.span, machines)
    ]
    best = sorted((each for each in shared if each[0]), key=lambda each: -each[0])
    return [span for _, span in best[:MAX_NEAREST_SENTENCES]]


def _normalize_characters(text: str) -> tuple[str, list[int]]:
    """The text with one blank for any run of them, small letters, plain quotation marks and nothing hidden, and for
    each of its characters the place it had.
    """
    letters, places = list[str](), list[int]()
    for place, character in enumerate(text):
        plain = EQUIVALENT_CHARACTERS.get(character, character).lower()
        if plain.isspace():
            plain = " "
        elif not plain.isascii() and is_invisible(character):
            continue
        if plain == " " and letters[-1:] == [" "]:
            continue
        letters.append(plain[0])
        places.append(place)
    return "".join(letters), places
