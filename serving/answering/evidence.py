"""What a question asks for, and what each sentence of the evidence holds of it: the words, the names, the numbers.

Everything here is counted relative to the question, so that it means the same in ten documents and in a million.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from core.text.editions import CAPITALISED
from core.text.numbers import DATE, quantities
from core.text.terms import terms
from core.types import Span
from retrieval.types import Evidence, Hit
from serving.answering.guardrails.prompt_injection import overlaps, planted
from serving.answering.question import _PATTERNS, Asked, words

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Unit:
    """A sentence (or list item, or table row) of the evidence, with what stands around it.

    `header` is the row that names the columns where the unit is a row of a table. `own` are its terms, `around` its
    own with those of the headings, of the table's header and of the sentence before. `before` is the unit before it in
    the same paragraph.
    """

    hit: int
    span: Span
    text: str
    cosine: float
    header: str
    own: frozenset[str]
    around: frozenset[str]
    before: "Unit | None"


def coverage(weights: Mapping[str, float], present: Set[str]) -> float:
    """The share of the weight of some terms that are present, 0 to 1; 0 for no terms."""
    whole = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in present) / whole if whole else 0.0


def pairs(text: str) -> set[tuple[str, str]]:
    """The terms of a text that follow one another."""
    found = terms(text)
    return set(pairwise(found))


def share(wanted: Set[T], present: Set[T]) -> float:
    """The share of the wanted terms that are present, 0 to 1; 1 where nothing is wanted."""
    return len(wanted & present) / len(wanted) if wanted else 1.0


def units(evidence: Evidence) -> list[Unit]:
    """The sentences of the evidence in order, without rows that only name a table's columns, and without what
    speaks to a machine (serving/answering/guardrails/prompt_injection.py).
    """
    return [unit for number, hit in enumerate(evidence.hits) for unit in _units(number, hit)]


def _units(number: int, hit: Hit) -> Iterator[Unit]:
    path = words(f"{hit.title} {hit.context}")
    headers, machines = dict(table_rows(hit)), planted(hit)
    before, end = None, hit.span.start
    for place, sentence in enumerate(hit.sentences):
        text, header = hit.quote(sentence.span), headers.get(place)
        if "\n" in hit.text[end - hit.span.start : sentence.span.start - hit.span.start]:
            before = None
        end = sentence.span.end
        if overlaps(sentence.span, machines):
            before = None  # no quote goes across it
            continue
        if header == text:
            continue
        own = words(text)
        around = own | path | (before.own if before else frozenset()) | words(header or "")
        unit = Unit(number, sentence.span, text, sentence.cosine or 0.0, header or "", own, around, before)
        before = unit
        yield unit


def table_rows(hit: Hit) -> Iterator[tuple[int, str]]:
    """The places of the sentences of a hit that are rows of a table, each with its header row (its own, for that).

    A table that began in an earlier chunk has its header as the last line of the hit's context.
    """
    carried = hit.context.rsplit("\n", 1)[-1]
    header = carried if is_row(carried) else None
    end = hit.span.start
    for place, sentence in enumerate(hit.sentences):
        text = hit.quote(sentence.span)
        apart = place and hit.text[end - hit.span.start : sentence.span.start - hit.span.start].count("\n") != 1
        if apart or not is_row(text):
            header = None
        if is_row(text):
            header = header or text
            yield place, header
        end = sentence.span.end


def is_row(text: str) -> bool:
    """Whether a line is a row of a table, as parsers write it: cells with bars between them."""
    return " | " in text


def answers_kind(wanted: Asked, text: str) -> float:
    """1 where a text holds something of the kind that is asked for and not in the question, -1 where it doesn't,
    0 where the question doesn't say of which kind the answer is.
    """
    if wanted.kind is None:
        return 0.0
    return 1.0 if _holds(wanted, text) else -1.0


def _holds(wanted: Asked, text: str) -> bool:
    if wanted.kind in _PATTERNS:
        return _PATTERNS[wanted.kind].search(text) is not None
    if wanted.kind == "date":
        return any(not set(terms(found[0])) <= wanted.present for found in DATE.finditer(text))
    if wanted.kind == "number":
        return bool(quantities(text) - wanted.values)
    return any(set(terms(found[0])) - wanted.present for found in CAPITALISED.finditer(text) if found.start())
