"""One sentence (or item, or row) a chunk, found by itself and embedded with its neighbours as context."""

from collections.abc import Sequence

from core.types import Chunk
from ingest.chunkers.chunk_context import ContextBuilder
from ingest.chunkers.token_counter import TokenCounter, TokenOffsets
from ingest.chunkers.units import ChunkUnit, split_block
from ingest.parsers.types import ParsedDocument

NEIGHBOUR_UNITS = 2
"""Units before and after that stand in the context, of the same block or the blocks beside it."""


def chunk_document(
    parsed: ParsedDocument, title: str, token_offsets: TokenOffsets, max_tokens: int
) -> list[Chunk]:
    """Chunks in order; together they hold all text but the headings, each piece once."""
    measure = TokenCounter(parsed.text, token_offsets)
    half = max(1, max_tokens // 2)
    blocks = [block for block in parsed.blocks if block.kind != "heading"] or list(parsed.blocks)
    units = [
        piece
        for block in blocks
        for unit in split_block(parsed.text, block, measure, half)
        for piece in unit.split_to_fit(measure, half)
    ]
    contexts = ContextBuilder(title, measure, max_tokens)
    return [
        _build_chunk(units, index, contexts.build(unit.location), measure, max_tokens)
        for index, unit in enumerate(units)
    ]


def _build_chunk(
    units: Sequence[ChunkUnit],
    index: int,
    context: str,
    token_counter: TokenCounter,
    max_tokens: int,
) -> Chunk:
    unit = units[index]
    text = token_counter.text[slice(*unit.span)]
    own = (
        len(token_counter.token_starts(text))
        if unit.is_word_cut
        else token_counter.count_tokens(*unit.span)
    )
    before = "\n".join(
        filter(
            None,
            [
                context,
                *_select_neighbours(
                    units,
                    index,
                    token_counter,
                    max_tokens - own - token_counter.count_context_tokens(context),
                ),
            ],
        )
    )
    taken = len(token_counter.token_starts(f"{before}\n")) + own
    if taken > max_tokens:  # Cut words count for more beside each other than one by one.
        before, taken = context, token_counter.count_context_tokens(context) + own
    return Chunk(index, unit.span, text, before, unit.location, unit.sentences, taken)


def _select_neighbours(
    units: Sequence[ChunkUnit], index: int, token_counter: TokenCounter, remaining_tokens: int
) -> list[str]:
    """The texts around a unit in their order; the nearest are taken first, as long as they fit."""
    taken: list[int] = []
    for distance in range(1, NEIGHBOUR_UNITS + 1):
        for at in (index - distance, index + distance):
            if (
                0 <= at < len(units)
                and (size := token_counter.count_tokens(*units[at].span)) <= remaining_tokens
            ):
                taken.append(at)
                remaining_tokens -= size
    return [token_counter.text[slice(*units[at].span)] for at in sorted(taken)]
