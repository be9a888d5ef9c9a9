"""Where the words that a model says it copied stand in a passage: to the letter, or with other blanks and case."""

import re

from core.text.invisible import hidden
from core.types import Span
from retrieval.types import Hit
from serving.answering.guardrails.prompt_injection import overlaps, planted
from serving.answering.question import words

MOST_WIDENED = 3  # sentences that a quote is widened to; one over more stays as it is
BEST = 2  # sentences of a passage that stand for a quote that is not there
SAME = {"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "‑": "-", "\u00a0": " "}
AROUND = re.compile(r"^(?:[\s\"'“”‘’\[\]…]|\.\.\.)+|(?:[\s\"'“”‘’\[\]…]|\.\.\.)+$")  # what models put around a quote


def located(quote: str, hit: Hit) -> Span | None:
    """The place of a quote in a passage, as offsets into the document; None where it doesn't stand there."""
    wanted = quote.strip()
    place = hit.text.find(wanted) if wanted else -1
    if place >= 0:
        return Span(hit.span.start + place, hit.span.start + place + len(wanted))
    wanted, _ = _even(AROUND.sub("", quote))
    text, places = _even(hit.text)
    place = text.find(wanted) if wanted else -1
    if place < 0:
        return None
    return Span(hit.span.start + places[place], hit.span.start + places[place + len(wanted) - 1] + 1)


def widened(span: Span, hit: Hit) -> Span:
    """The whole sentences that a quote touches, which is what a reader can judge; the quote itself where those are
    many, or none.
    """
    touched = [each.span for each in hit.sentences if each.span.overlaps(span)]
    if not 0 < len(touched) <= MOST_WIDENED:
        return span
    return Span(min(span.start, touched[0].start), max(span.end, touched[-1].end))


def nearest(text: str, hit: Hit) -> list[Span]:
    """The sentences of a passage that share the most terms with a text, best first; none that share nothing."""
    said, machines = words(text), planted(hit)
    shared = [
        (len(said & words(hit.quote(each.span))), each.span)
        for each in hit.sentences
        if not overlaps(each.span, machines)
    ]
    best = sorted((each for each in shared if each[0]), key=lambda each: -each[0])
    return [span for _, span in best[:BEST]]


def _even(text: str) -> tuple[str, list[int]]:
    """The text with one blank for any run of them, small letters, plain quotation marks and nothing hidden, and for
    each of its characters the place it had.
    """
    letters, places = list[str](), list[int]()
    for place, character in enumerate(text):
        plain = SAME.get(character, character).lower()
        if plain.isspace():
            plain = " "
        elif not plain.isascii() and hidden(character):
            continue
        if plain == " " and letters[-1:] == [" "]:
            continue
        letters.append(plain[0])
        places.append(place)
    return "".join(letters), places
