"""One sentence (or item, or row) a chunk, found by itself and embedded with its neighbours as context."""

from collections.abc import Sequence

from core.types import Chunk
from ingest.chunkers import TokenOffsets
from ingest.chunkers.context import Contexts
from ingest.chunkers.measure import Measure
from ingest.chunkers.units import Unit, units_of
from ingest.parsers import Parsed

NEIGHBOURS = 2
"""Units before and after that stand in the context, of the same block or the blocks beside it."""


def chunk(parsed: Parsed, title: str, tokens: TokenOffsets, limit: int) -> list[Chunk]:
    """Chunks in order; together they hold all text but the headings, each piece once."""
    measure = Measure(parsed.text, tokens)
    half = max(1, limit // 2)
    blocks = [block for block in parsed.blocks if block.kind != "heading"] or list(parsed.blocks)
    units = [
        piece
        for block in blocks
        for unit in units_of(parsed.text, block, measure, half)
        for piece in unit.fitting(measure, half)
    ]
    contexts = Contexts(title, measure, limit)
    return [_chunk(units, index, contexts.of(unit.location), measure, limit) for index, unit in enumerate(units)]


def _chunk(units: Sequence[Unit], index: int, path: str, measure: Measure, limit: int) -> Chunk:
    unit = units[index]
    text = measure.text[slice(*unit.span)]
    own = len(measure.alone(text)) if unit.broken else measure.between(*unit.span)
    before = "\n".join(filter(None, [path, *_neighbours(units, index, measure, limit - own - measure.before(path))]))
    taken = len(measure.alone(f"{before}\n")) + own
    if taken > limit:  # Cut words count for more beside each other than one by one.
        before, taken = path, measure.before(path) + own
    return Chunk(index, unit.span, text, before, unit.location, unit.sentences, taken)


def _neighbours(units: Sequence[Unit], index: int, measure: Measure, allowed: int) -> list[str]:
    """The texts around a unit in their order; the nearest are taken first, as long as they fit."""
    taken: list[int] = []
    for distance in range(1, NEIGHBOURS + 1):
        for at in (index - distance, index + distance):
            if 0 <= at < len(units) and (size := measure.between(*units[at].span)) <= allowed:
                taken.append(at)
                allowed -= size
    return [measure.text[slice(*units[at].span)] for at in sorted(taken)]
