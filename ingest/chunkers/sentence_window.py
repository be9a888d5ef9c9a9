"""One sentence (or item, or row) a chunk, found by itself and embedded with its neighbours as context."""

from dataclasses import replace

from ingest.chunkers import TokenOffsets
from ingest.chunkers.context import context
from ingest.chunkers.measure import Measure
from ingest.chunkers.units import Unit, units_of
from ingest.parsers import Parsed
from knowledge.types import Chunk

NEIGHBOURS = 2
"""Units before and after, of the same block or the blocks beside it, that stand in the context."""


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
    chunks = [_chunk(units, index, title, measure, limit) for index in range(len(units))]
    return [replace(found, ordinal=ordinal) for ordinal, found in enumerate(chunks)]


def _chunk(units: list[Unit], index: int, title: str, measure: Measure, limit: int) -> Chunk:
    unit = units[index]
    text = measure.text[slice(*unit.span)]
    own = len(measure.alone(text))
    path = context(title, unit.location, "", measure, limit)
    before = _window(units, index, path, measure, limit - own)
    return Chunk(0, unit.span, text, before, unit.location, unit.sentences, measure.before(before) + own)


def _window(units: list[Unit], index: int, path: str, measure: Measure, allowed: int) -> str:
    """The path and as many neighbours, the nearest first, as fit into `allowed` tokens."""
    start = end = index
    shown = path
    for distance in range(1, NEIGHBOURS + 1):
        for low, high in ((max(start, 0) - 1, end), (start, end + 1)):
            near = max(index - distance, 0) <= low and high <= min(index + distance, len(units) - 1)
            if near and measure.before(wider := _shown(units, low, high, index, path, measure.text)) <= allowed:
                start, end, shown = low, high, wider
    return shown if measure.before(shown) <= allowed else ""


def _shown(units: list[Unit], low: int, high: int, index: int, path: str, text: str) -> str:
    around = [text[slice(*units[at].span)] for at in range(low, high + 1) if at != index]
    return "\n".join(filter(None, [path, *around]))
