"""Chunks of one sentence, item or row, each embedded with its neighbours as context."""

from collections.abc import Sequence

from core.types import Chunk
from ingest.chunkers.chunk_context import ContextBuilder
from ingest.chunkers.token_counter import TokenCounter, TokenOffsets
from ingest.chunkers.units import ChunkUnit, split_block
from ingest.parsers.types import ParsedDocument

NEIGHBOUR_UNITS = 2
"""Units before and after a chunk that are part of its context."""


def chunk_document(
    parsed: ParsedDocument, title: str, token_offsets: TokenOffsets, max_tokens: int
) -> list[Chunk]:
    """Cut a document into chunks that contain all its text once, except headings."""
    counter = TokenCounter(parsed.text, token_offsets)
    contexts = ContextBuilder(title, counter, max_tokens)
    units = _split_document(parsed, counter, max(1, max_tokens // 2))
    return [
        _build_chunk(units, index, contexts.build(unit.location), counter, max_tokens)
        for index, unit in enumerate(units)
    ]


def _split_document(
    parsed: ParsedDocument, counter: TokenCounter, max_tokens: int
) -> list[ChunkUnit]:
    units: list[ChunkUnit] = []
    blocks = [block for block in parsed.blocks if block.kind != "heading"] or parsed.blocks
    for block in blocks:
        for unit in split_block(parsed.text, block, counter, max_tokens):
            units += unit.split_to_fit(counter, max_tokens)
    return units


def _build_chunk(
    units: Sequence[ChunkUnit], index: int, context: str, counter: TokenCounter, max_tokens: int
) -> Chunk:
    unit = units[index]
    text = counter.text[slice(*unit.span)]
    text_tokens = counter.count_tokens(*unit.span)
    if unit.is_word_cut:
        text_tokens = len(counter.token_starts(text))
    tokens_left = max_tokens - text_tokens - counter.count_context_tokens(context)
    neighbours = _select_neighbours(units, index, counter, tokens_left)
    window = "\n".join(filter(None, [context, *neighbours]))
    tokens = len(counter.token_starts(f"{window}\n")) + text_tokens
    if tokens > max_tokens:  # Two parts of a cut word can take more tokens together than alone.
        window, tokens = context, counter.count_context_tokens(context) + text_tokens
    return Chunk(index, unit.span, text, window, unit.location, unit.sentences, tokens)


def _select_neighbours(
    units: Sequence[ChunkUnit], index: int, counter: TokenCounter, tokens_left: int
) -> list[str]:
    """Return the texts around a unit in order; the nearest are chosen first, if they fit."""
    chosen: list[int] = []
    for distance in range(1, NEIGHBOUR_UNITS + 1):
        for neighbour in (index - distance, index + distance):
            if not 0 <= neighbour < len(units):
                continue
            tokens = counter.count_tokens(*units[neighbour].span)
            if tokens <= tokens_left:
                chosen.append(neighbour)
                tokens_left -= tokens
    return [counter.text[slice(*units[neighbour].span)] for neighbour in sorted(chosen)]
