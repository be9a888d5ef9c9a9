"""The default: chunks follow the document's own structure and never cut a sentence.

A document is a row of units (sentences, list items, table rows, groups of code lines) in sections, whose borders no
chunk crosses. Where to cut a section is chosen as a typesetter breaks a paragraph into lines: of all the ways, the
one whose chunks come nearest to TARGET tokens and whose cuts fall where a reader would pause.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from core.types import Block, Chunk, Span
from ingest.chunkers.chunk_context import ContextBuilder
from ingest.chunkers.token_counter import MAX_CHARACTERS_PER_TOKEN, TokenCounter, TokenOffsets
from ingest.chunkers.units import ChunkUnit, split_block
from ingest.parsers.types import ParsedDocument

TARGET_TOKENS = 180
"""Tokens of text a chunk aims at: well below the window of a small model (256), whose vectors blur beyond."""
MAX_SECTION_LEVEL = 3
"""A heading of this level or higher begins a section; lower ones stay inside a chunk."""

_CANDIDATES_PER_TARGET = (
    32  # Cuts are considered this many times per target: finer ones cost time and change nothing.
)


@dataclass(frozen=True, slots=True)
class _MeasuredUnit:
    """A unit with what the choice of cuts needs: its tokens' indexes and the context of a chunk that begins with it."""

    unit: ChunkUnit
    first_token: int
    last_token: int
    context: str
    max_tokens: int


def chunk_document(
    parsed: ParsedDocument,
    title: str,
    token_offsets: TokenOffsets,
    max_tokens: int,
    target_tokens: int = TARGET_TOKENS,
) -> list[Chunk]:
    """Chunks in order, of about `target` tokens; together they hold all text but the headings, each piece once."""
    measure = TokenCounter(parsed.text, token_offsets)
    contexts = ContextBuilder(title, measure, max_tokens)
    target_tokens = min(target_tokens, max_tokens * 3 // 4)
    chunks: list[Chunk] = []
    for section in _split_sections(parsed):
        placed = list(_measure_units(section, contexts, measure, max_tokens))
        chunks += [
            _build_chunk(measure, placed[start:end])
            for start, end in _choose_cuts(placed, target_tokens)
        ]
    return [replace(found, ordinal=ordinal) for ordinal, found in enumerate(chunks)]


def _split_sections(parsed: ParsedDocument) -> Iterator[list[Block]]:
    """Blocks between borders: headings of a section's level, and a new page, slide or sheet. Headings are left out,
    unless there is nothing else.
    """
    only_headings = all(block.kind == "heading" for block in parsed.blocks)
    border = 0
    numbered: list[tuple[int, Block]] = []
    for block in parsed.blocks:
        if block.kind == "heading" and not only_headings:
            border += block.level <= MAX_SECTION_LEVEL
        else:
            numbered.append((border, block))
    for _, group in groupby(numbered, key=lambda pair: (pair[0], _build_page_key(pair[1]))):
        yield [block for _, block in group]


def _build_page_key(block: Block) -> tuple[int | None, int | None, str | None]:
    return block.location.page, block.location.slide, block.location.sheet


def _measure_units(
    blocks: Sequence[Block], contexts: ContextBuilder, token_counter: TokenCounter, max_tokens: int
) -> Iterator[_MeasuredUnit]:
    for block in blocks:
        before = contexts.build(block.location)
        budget = max_tokens - token_counter.count_context_tokens(before)
        for number, unit in enumerate(
            split_block(token_counter.text, block, token_counter, budget)
        ):
            if block.kind == "table" and number == 1:
                header = token_counter.text[block.span.start : unit.span.start].strip()
                before = contexts.build(block.location, header)
                budget = max_tokens - token_counter.count_context_tokens(before)
            for piece in unit.split_to_fit(token_counter, budget):
                yield _MeasuredUnit(
                    piece,
                    token_counter.token_index(piece.span.start),
                    token_counter.token_index(piece.span.end),
                    before,
                    budget,
                )


def _choose_cuts(units: Sequence[_MeasuredUnit], target_tokens: int) -> list[tuple[int, int]]:
    """The cheapest way to cut `units` into runs that fit, as (start, end) indexes. Linear in the number of units,
    since a run is never longer than its budget.
    """
    places = _find_cut_candidates(units, target_tokens // _CANDIDATES_PER_TARGET)
    widest = max(unit.max_tokens for unit in units)
    best: list[tuple[float, int]] = [
        (0.0, 0)
    ]  # For each place: the least cost up to it, and where its run begins.
    for end in range(1, len(places)):
        best.append(
            min(
                (
                    best[start][0] + _compute_cost(units[places[start]].unit, size, target_tokens),
                    start,
                )
                for start, size in _find_runs(units, places, end, widest)
            )
        )
    cuts = []
    end = len(places) - 1
    while end:
        start = best[end][1]
        cuts.append((places[start], places[end]))
        end = start
    return cuts[::-1]


def _find_cut_candidates(units: Sequence[_MeasuredUnit], min_tokens: int) -> list[int]:
    """Where a cut is considered: before each unit, except that units of less than `grain` tokens go together."""
    places = [0]
    for index in range(1, len(units)):
        unit, before = units[index], units[index - 1]
        apart = unit.unit.is_word_cut or before.unit.is_word_cut
        if (
            apart
            or _count_tokens(unit, unit) >= min_tokens
            or _count_tokens(units[places[-1]], before) >= min_tokens
        ):
            places.append(index)
    return [*places, len(units)]


def _find_runs(
    units: Sequence[_MeasuredUnit], candidates: Sequence[int], end: int, max_tokens: int
) -> Iterator[tuple[int, int]]:
    """The places where a chunk that ends before place `end` may begin, and its size in tokens."""
    last = units[candidates[end] - 1]
    yield end - 1, _count_tokens(units[candidates[end - 1]], last)
    for start in range(end - 2, -1, -1):
        first = units[candidates[start]]
        size = _count_tokens(first, last)
        if size > max_tokens or last.unit.is_word_cut or first.unit.is_word_cut:
            return
        if size <= first.max_tokens:
            yield start, size


def _count_tokens(first: _MeasuredUnit, last: _MeasuredUnit) -> int:
    characters = last.unit.span.end - first.unit.span.start
    return max(last.last_token - first.first_token, characters // MAX_CHARACTERS_PER_TOKEN)


def _compute_cost(first: ChunkUnit, size: int, target_tokens: int) -> float:
    """How far a chunk is from the target, squared, since one bad chunk is worse than two fair ones; and how much a
    cut before its first unit hurts.
    """
    return ((size - target_tokens) / target_tokens) ** 2 + first.cut_cost


def _build_chunk(token_counter: TokenCounter, run: Sequence[_MeasuredUnit]) -> Chunk:
    first, last = run[0], run[-1]
    span = Span(first.unit.span.start, last.unit.span.end)
    text = token_counter.text[span.start : span.end]
    location = first.unit.location
    if location.rows and last.unit.location.rows:
        location = replace(location, rows=(location.rows[0], last.unit.location.rows[1]))
    own = (
        len(token_counter.token_starts(text))
        if first.unit.is_word_cut
        else last.last_token - first.first_token
    )
    return Chunk(
        ordinal=0,
        span=span,
        text=text,
        context=first.context,
        location=location,
        sentences=tuple(sentence for placed in run for sentence in placed.unit.sentences),
        tokens=token_counter.count_context_tokens(first.context) + own,
    )
