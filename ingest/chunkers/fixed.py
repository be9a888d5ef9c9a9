"""LlamaIndex's SentenceSplitter: chunks of about one size, blind to the document's structure. For comparison."""

from bisect import bisect_right

from core.text.sentences import sentences
from core.types import Chunk, Location, Span
from ingest.chunkers import TokenOffsets
from ingest.chunkers.context import Contexts
from ingest.chunkers.measure import Measure
from ingest.chunkers.units import Unit
from ingest.parsers import Parsed


def chunk(parsed: Parsed, title: str, tokens: TokenOffsets, limit: int) -> list[Chunk]:
    """Chunks in order, without overlap; headings are part of the text here."""
    measure = Measure(parsed.text, tokens)
    contexts = Contexts(title, measure, limit)
    size = max(1, limit - limit // 4)  # What a context leaves at least.
    chunks: list[Chunk] = []
    for span in _spans(parsed.text, tokens, size):
        location = _location(parsed, span)
        before = contexts.of(location)
        whole = Unit(span, location, tuple(sentences(parsed.text, span)), 0.0)
        for piece in whole.fitting(measure, max(1, limit - measure.before(before))):
            text = parsed.text[slice(*piece.span)]
            taken = measure.before(before) + len(measure.alone(text))
            chunks.append(Chunk(len(chunks), piece.span, text, before, location, piece.sentences, taken))
    return chunks


def _spans(text: str, tokens: TokenOffsets, size: int) -> list[Span]:
    """Where the splitter's chunks stand in `text`. It returns texts; the offsets it offers come from a search that
    can hit an earlier repetition, so each is looked for behind the one before it, and what lies between is kept.
    """
    from llama_index.core.node_parser import SentenceSplitter

    splitter = SentenceSplitter(chunk_size=size, chunk_overlap=0, tokenizer=lambda piece: list(tokens(piece)))
    spans: list[Span] = []
    position = 0
    for piece in filter(str.strip, splitter.split_text(text)):
        start = text.find(piece.strip(), position)
        if start < 0:
            continue  # Not verbatim: its text becomes part of the next gap.
        spans += _gap(text, position, start)
        position = start + len(piece.strip())
        spans.append(Span(start, position))
    return spans + _gap(text, position, len(text))


def _gap(text: str, start: int, end: int) -> list[Span]:
    inner = text[start:end]
    first = start + len(inner) - len(inner.lstrip())
    return [Span(first, first + len(inner.strip()))] if inner.strip() else []


def _location(parsed: Parsed, span: Span) -> Location:
    index = bisect_right(parsed.blocks, span.start, key=lambda block: block.span.start) - 1
    return parsed.blocks[max(index, 0)].location
