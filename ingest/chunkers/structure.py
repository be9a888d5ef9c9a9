"""The default: chunks follow the document's own structure and never cut a sentence.

A document is a row of units (sentences, list items, table rows, groups of code lines) in sections, whose borders no
chunk crosses. Where to cut a section is chosen as a typesetter breaks a paragraph into lines: of all the ways, the
one whose chunks come nearest to TARGET tokens and whose cuts fall where a reader would pause.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from core.types import Block, Chunk, Span
from ingest.chunkers import TokenOffsets
from ingest.chunkers.context import Contexts
from ingest.chunkers.measure import CHARACTERS_PER_TOKEN, Measure
from ingest.chunkers.units import Unit, units_of
from ingest.parsers import Parsed

TARGET = 180
"""Tokens of text a chunk aims at: well below the window of a small model (256), whose vectors blur beyond."""
SECTION_LEVEL = 3
"""A heading of this level or higher begins a section; lower ones stay inside a chunk."""

_PLACES = 32  # Cuts are considered this many times per target: finer ones cost time and change nothing.


@dataclass(frozen=True, slots=True)
class _Placed:
    """A unit with what the choice of cuts needs: its tokens' indexes and the context of a chunk that begins with it."""

    unit: Unit
    first: int
    last: int
    context: str
    budget: int


def chunk(parsed: Parsed, title: str, tokens: TokenOffsets, limit: int, target: int = TARGET) -> list[Chunk]:
    """Chunks in order, of about `target` tokens; together they hold all text but the headings, each piece once."""
    measure = Measure(parsed.text, tokens)
    contexts = Contexts(title, measure, limit)
    target = min(target, limit * 3 // 4)
    chunks: list[Chunk] = []
    for section in _sections(parsed):
        placed = list(_placed(section, contexts, measure, limit))
        chunks += [_chunk(measure, placed[start:end]) for start, end in _cuts(placed, target)]
    return [replace(found, ordinal=ordinal) for ordinal, found in enumerate(chunks)]


def _sections(parsed: Parsed) -> Iterator[list[Block]]:
    """Blocks between borders: headings of a section's level, and a new page, slide or sheet. Headings are left out,
    unless there is nothing else.
    """
    only_headings = all(block.kind == "heading" for block in parsed.blocks)
    border = 0
    numbered: list[tuple[int, Block]] = []
    for block in parsed.blocks:
        if block.kind == "heading" and not only_headings:
            border += block.level <= SECTION_LEVEL
        else:
            numbered.append((border, block))
    for _, group in groupby(numbered, key=lambda pair: (pair[0], _place(pair[1]))):
        yield [block for _, block in group]


def _place(block: Block) -> tuple[int | None, int | None, str | None]:
    return block.location.page, block.location.slide, block.location.sheet


def _placed(blocks: Sequence[Block], contexts: Contexts, measure: Measure, limit: int) -> Iterator[_Placed]:
    for block in blocks:
        before = contexts.of(block.location)
        budget = limit - measure.before(before)
        for number, unit in enumerate(units_of(measure.text, block, measure, budget)):
            if block.kind == "table" and number == 1:
                header = measure.text[block.span.start : unit.span.start].strip()
                before = contexts.of(block.location, header)
                budget = limit - measure.before(before)
            for piece in unit.fitting(measure, budget):
                yield _Placed(piece, measure.index(piece.span.start), measure.index(piece.span.end), before, budget)


def _cuts(units: Sequence[_Placed], target: int) -> list[tuple[int, int]]:
    """The cheapest way to cut `units` into runs that fit, as (start, end) indexes. Linear in the number of units,
    since a run is never longer than its budget.
    """
    places = _places(units, target // _PLACES)
    widest = max(unit.budget for unit in units)
    best: list[tuple[float, int]] = [(0.0, 0)]  # For each place: the least cost up to it, and where its run begins.
    for end in range(1, len(places)):
        best.append(
            min(
                (best[start][0] + _cost(units[places[start]].unit, size, target), start)
                for start, size in _runs(units, places, end, widest)
            )
        )
    cuts = []
    end = len(places) - 1
    while end:
        start = best[end][1]
        cuts.append((places[start], places[end]))
        end = start
    return cuts[::-1]


def _places(units: Sequence[_Placed], grain: int) -> list[int]:
    """Where a cut is considered: before each unit, except that units of less than `grain` tokens go together."""
    places = [0]
    for index in range(1, len(units)):
        unit, before = units[index], units[index - 1]
        apart = unit.unit.broken or before.unit.broken
        if apart or _size(unit, unit) >= grain or _size(units[places[-1]], before) >= grain:
            places.append(index)
    return [*places, len(units)]


def _runs(units: Sequence[_Placed], places: Sequence[int], end: int, widest: int) -> Iterator[tuple[int, int]]:
    """The places where a chunk that ends before place `end` may begin, and its size in tokens."""
    last = units[places[end] - 1]
    yield end - 1, _size(units[places[end - 1]], last)
    for start in range(end - 2, -1, -1):
        first = units[places[start]]
        size = _size(first, last)
        if size > widest or last.unit.broken or first.unit.broken:
            return
        if size <= first.budget:
            yield start, size


def _size(first: _Placed, last: _Placed) -> int:
    characters = last.unit.span.end - first.unit.span.start
    return max(last.last - first.first, characters // CHARACTERS_PER_TOKEN)


def _cost(first: Unit, size: int, target: int) -> float:
    """How far a chunk is from the target, squared, since one bad chunk is worse than two fair ones; and how much a
    cut before its first unit hurts.
    """
    return ((size - target) / target) ** 2 + first.cut_cost


def _chunk(measure: Measure, run: Sequence[_Placed]) -> Chunk:
    first, last = run[0], run[-1]
    span = Span(first.unit.span.start, last.unit.span.end)
    text = measure.text[span.start : span.end]
    location = first.unit.location
    if location.rows and last.unit.location.rows:
        location = replace(location, rows=(location.rows[0], last.unit.location.rows[1]))
    own = len(measure.alone(text)) if first.unit.broken else last.last - first.first
    return Chunk(
        ordinal=0,
        span=span,
        text=text,
        context=first.context,
        location=location,
        sentences=tuple(sentence for placed in run for sentence in placed.unit.sentences),
        tokens=measure.before(first.context) + own,
    )
