"""The pieces a chunk is put together from: sentences, list items, table rows, groups of code lines."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.text.sentences import sentences
from core.types import Block, Location, Span
from ingest.chunkers.measure import CHARACTERS_PER_TOKEN, Measure

QUOTED = 60
"""Tokens up to which a list item or a piece of code is quoted whole."""

# What a cut before a unit costs, in the currency of `structure._cost`: 1 is a chunk twice as large as it should be.
_AT_A_BLOCK = 0.0
_AFTER_A_COLON = 0.6  # "You need:" belongs to what it announces.
_AT_AN_ITEM = 0.08
_AT_A_NESTED_ITEM = 0.3
_AT_A_ROW = 0.08
_AT_CODE = 0.3
_AT_A_SENTENCE = 0.2
_INSIDE_A_SENTENCE = 0.5

_LINE = re.compile(r"[^\n]+")
_CODE_GROUP = re.compile(r"[^\n]+(?:\n[^\n]+)*")
_NOT_BLANK = re.compile(r"\S")
_PAUSES = (re.compile(r"(?<=[,;:])\s+|(?<=[、，；：])|\s+\|\s+|\s+[–—]\s+|\n"), re.compile(r"\s+"))


@dataclass(frozen=True, slots=True)
class Unit:
    """Never divided, unless it alone is too long for a chunk. `sentences` are what may be quoted of it."""

    span: Span
    location: Location
    sentences: tuple[Span, ...]
    cut_cost: float
    broken: bool = False
    """Cut inside a word: its tokens are not those of the document, and it makes a chunk by itself."""

    def fitting(self, measure: Measure, budget: int) -> Iterator["Unit"]:
        """The unit itself where it fits into `budget` tokens. Else, the only exception to whole sentences, pieces of
        it: cut at a clause, at a word where there is none, inside a word where there is no other way.
        """
        if _fits(self.span, measure, budget):
            yield self
            return
        for number, (piece, broken) in enumerate(_pieces(self.span, measure, budget)):
            cost = _INSIDE_A_SENTENCE if number else self.cut_cost
            yield replace(self, span=piece, sentences=(piece,), cut_cost=cost, broken=broken)


def units_of(text: str, block: Block, measure: Measure, budget: int) -> Iterator[Unit]:
    """A block's units in order. Items and code that don't fit into `budget` tokens are divided further here."""
    at_block = _AFTER_A_COLON if _announced(text, block.span.start) else _AT_A_BLOCK
    if block.kind == "table":
        units = _rows(text, block)
    elif block.kind == "list":
        units = _items(text, block, measure, budget)
    elif block.kind == "code":
        units = _code(text, block, measure)
    else:
        units = (_unit(span, block, _AT_A_SENTENCE) for span in sentences(text, block.span))
    for number, unit in enumerate(units):
        yield unit if number else replace(unit, cut_cost=at_block)


def _unit(span: Span, block: Block, cost: float) -> Unit:
    return Unit(span, block.location, (span,), cost)


def _announced(text: str, start: int) -> bool:
    return text[max(0, start - 8) : start].rstrip().endswith(":")


def _rows(text: str, block: Block) -> Iterator[Unit]:
    first = block.location.rows[0] if block.location.rows else None
    for number, line in enumerate(_lines(text, block.span)):
        rows = (first + number, first + number) if first else None
        cost = _AFTER_A_COLON if number == 1 else _AT_A_ROW  # A header row alone says nothing.
        yield Unit(line, replace(block.location, rows=rows), (line,), cost)


def _items(text: str, block: Block, measure: Measure, budget: int) -> Iterator[Unit]:
    for line in _lines(text, block.span):
        nested = text[line.start - 1 : line.start] == " "
        inner = tuple(sentences(text, line))
        unit = _unit(line, block, _AT_A_NESTED_ITEM if nested else _AT_AN_ITEM)
        if measure.between(*line) <= QUOTED or len(inner) < 2:
            yield unit
        elif _fits(line, measure, budget):
            yield replace(unit, sentences=inner)
        else:
            for number, span in enumerate(inner):
                yield replace(unit, span=span, sentences=(span,), cut_cost=_AT_A_SENTENCE if number else unit.cut_cost)


def _code(text: str, block: Block, measure: Measure) -> Iterator[Unit]:
    """All of it when short; else what stands between blank lines; else as many lines as are quoted at once."""
    if _fits(block.span, measure, QUOTED):
        first = _NOT_BLANK.search(text, *block.span)
        yield _unit(Span(first.start() if first else block.span.start, block.span.end), block, _AT_CODE)
        return
    for group in _CODE_GROUP.finditer(text, *block.span):
        for span in _line_groups(_lines(text, Span(*group.span())), measure):
            yield _unit(span, block, _AT_CODE)


def _line_groups(lines: Sequence[Span], measure: Measure) -> Iterator[Span]:
    start = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or not _fits(Span(lines[start].start, lines[end].end), measure, QUOTED):
            yield Span(lines[start].start, lines[end - 1].end)
            start = end


def _lines(text: str, span: Span) -> list[Span]:
    """The lines of a span without the blanks at their ends; blank ones are left out."""
    found = []
    for match in _LINE.finditer(text, *span):
        line = match[0]
        if stripped := line.strip():
            start = match.start() + line.index(stripped)
            found.append(Span(start, start + len(stripped)))
    return found


def _fits(span: Span, measure: Measure, budget: int) -> bool:
    return measure.between(*span) <= budget and span.end - span.start <= budget * CHARACTERS_PER_TOKEN


def _pieces(span: Span, measure: Measure, budget: int) -> Iterator[tuple[Span, bool]]:
    """Consecutive pieces that fit, each with whether a word was cut at one of its ends."""
    start, was_broken = span.start, False
    while start < span.end:
        fitting = measure.fitting(start, span.end, budget)
        end = _pause(measure.text, start, fitting) if fitting < span.end else span.end
        following = _NOT_BLANK.search(measure.text, end, span.end)
        next_start = following.start() if following else span.end
        broken = end == next_start < span.end and not measure.text[end - 1].isspace()
        yield Span(start, start + len(measure.text[start:end].rstrip())), broken or was_broken
        start, was_broken = next_start, broken


def _pause(text: str, start: int, end: int) -> int:
    """The last place to cut in the second half of `text[start:end]`, the best kind of place first."""
    middle = max(start + 1, (start + end) // 2)
    for pauses in _PAUSES:
        places = [match.end() for match in pauses.finditer(text, middle, end)]
        if places:
            return places[-1]
    return end
