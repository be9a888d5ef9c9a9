"""Default chunker: chunks follow the document's structure and never cut a sentence.

A document consists of units (sentences, list items, table rows, groups of code lines) in sections,
whose borders no chunk crosses. The cuts in a section have the lowest total cost, as in typesetting
of paragraphs. A chunk costs more if it is far from the target size, and a cut if it is at a place
where a reader would not pause.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from core.token_estimate import MAX_CHARACTERS_PER_TOKEN
from core.types import Block, Chunk, Span
from ingest.chunkers.chunk_context import ContextBuilder
from ingest.chunkers.token_counter import TokenCounter, TokenOffsets
from ingest.chunkers.units import ChunkUnit, split_block
from ingest.parsers.types import ParsedDocument

TARGET_TOKENS = 180
"""Well below the window of a small model (256 tokens): longer texts get less precise vectors."""
MAX_SECTION_LEVEL = 3
"""A heading of level 1 to 3 begins a section; others stay inside a chunk."""

# Possible cuts per target size: more cost time and change nothing.
_CANDIDATES_PER_TARGET = 32


@dataclass(frozen=True, slots=True)
class _MeasuredUnit:
    """A unit, the indexes of its tokens, and the context of a chunk that begins with it."""

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
    """Cut a document into chunks that contain all its text once, except headings."""
    counter = TokenCounter(parsed.text, token_offsets)
    contexts = ContextBuilder(title, counter, max_tokens)
    target_tokens = min(target_tokens, max_tokens * 3 // 4)
    chunks: list[Chunk] = []
    for section in _split_sections(parsed):
        units = list(_measure_units(section, contexts, counter, max_tokens))
        for start, end in _choose_cuts(units, target_tokens):
            chunks.append(_build_chunk(counter, units[start:end], ordinal=len(chunks)))
    return chunks


def _split_sections(parsed: ParsedDocument) -> Iterator[list[Block]]:
    """Yield the blocks of each section; pages, slides and sheets begin sections too.

    Headings are left out, unless the document has nothing else.
    """
    has_only_headings = all(block.kind == "heading" for block in parsed.blocks)
    section_number = 0
    numbered: list[tuple[int, Block]] = []
    for block in parsed.blocks:
        if block.kind == "heading" and not has_only_headings:
            section_number += block.level <= MAX_SECTION_LEVEL
        else:
            numbered.append((section_number, block))
    for _, group in groupby(numbered, key=lambda pair: (pair[0], _build_page_key(pair[1]))):
        yield [block for _, block in group]


def _build_page_key(block: Block) -> tuple[int | None, int | None, str | None]:
    return block.location.page, block.location.slide, block.location.sheet


def _measure_units(
    blocks: Sequence[Block], contexts: ContextBuilder, counter: TokenCounter, max_tokens: int
) -> Iterator[_MeasuredUnit]:
    for block in blocks:
        context = contexts.build(block.location)
        tokens_left = max_tokens - counter.count_context_tokens(context)
        for number, unit in enumerate(split_block(counter.text, block, counter, tokens_left)):
            if block.kind == "table" and number == 1:  # From here on chunks repeat the header.
                header = counter.text[block.span.start : unit.span.start].strip()
                context = contexts.build(block.location, header)
                tokens_left = max_tokens - counter.count_context_tokens(context)
            for piece in unit.split_to_fit(counter, tokens_left):
                first_token, last_token = map(counter.token_index, piece.span)
                yield _MeasuredUnit(piece, first_token, last_token, context, tokens_left)


def _choose_cuts(units: Sequence[_MeasuredUnit], target_tokens: int) -> list[tuple[int, int]]:
    """Return the cheapest way to cut `units` into runs that fit, as (start, end) indexes.

    The time is linear in the number of units, since the size of a run is limited.
    """
    candidates = _find_cut_candidates(units, target_tokens // _CANDIDATES_PER_TARGET)
    max_tokens = max(unit.max_tokens for unit in units)
    # For each candidate: the lowest cost up to it, and the candidate where its run begins.
    best: list[tuple[float, int]] = [(0.0, 0)]
    for end in range(1, len(candidates)):
        options = []
        for start, size in _find_runs(units, candidates, end, max_tokens):
            cost = _compute_cost(units[candidates[start]].unit, size, target_tokens)
            options.append((best[start][0] + cost, start))
        best.append(min(options))
    cuts = []
    end = len(candidates) - 1
    while end:
        start = best[end][1]
        cuts.append((candidates[start], candidates[end]))
        end = start
    return cuts[::-1]


def _find_cut_candidates(units: Sequence[_MeasuredUnit], min_tokens: int) -> list[int]:
    """Return the units before which a cut is possible; units below `min_tokens` stay together."""
    candidates = [0]
    for index in range(1, len(units)):
        unit, previous = units[index], units[index - 1]
        if (
            unit.unit.is_word_cut
            or previous.unit.is_word_cut
            or _count_tokens(unit, unit) >= min_tokens
            or _count_tokens(units[candidates[-1]], previous) >= min_tokens
        ):
            candidates.append(index)
    return [*candidates, len(units)]


def _find_runs(
    units: Sequence[_MeasuredUnit], candidates: Sequence[int], end: int, max_tokens: int
) -> Iterator[tuple[int, int]]:
    """Yield the candidates where a chunk that ends before `end` can begin, and its tokens."""
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
    """Return the squared distance from the target, and the cost of the cut before the chunk.

    The square makes one bad chunk worse than two fair ones.
    """
    return ((size - target_tokens) / target_tokens) ** 2 + first.cut_cost


def _build_chunk(counter: TokenCounter, run: Sequence[_MeasuredUnit], ordinal: int) -> Chunk:
    first, last = run[0], run[-1]
    span = Span(first.unit.span.start, last.unit.span.end)
    text = counter.text[slice(*span)]
    location = first.unit.location
    if location.rows and last.unit.location.rows:
        location = replace(location, rows=(location.rows[0], last.unit.location.rows[1]))
    text_tokens = last.last_token - first.first_token
    if first.unit.is_word_cut:
        text_tokens = len(counter.token_starts(text))
    return Chunk(
        ordinal=ordinal,
        span=span,
        text=text,
        context=first.context,
        location=location,
        sentences=tuple(sentence for measured in run for sentence in measured.unit.sentences),
        tokens=counter.count_context_tokens(first.context) + text_tokens,
    )
