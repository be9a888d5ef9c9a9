"""LlamaIndex's SentenceSplitter: chunks of about one size, blind to the document's structure. For comparison."""

from bisect import bisect_right

from core.text.sentences import split_sentences
from core.types import Chunk, Location, Span
from ingest.chunkers.chunk_context import ContextBuilder
from ingest.chunkers.token_counter import TokenCounter, TokenOffsets
from ingest.chunkers.units import ChunkUnit
from ingest.parsers.types import ParsedDocument


def chunk_document(
    parsed: ParsedDocument, title: str, token_offsets: TokenOffsets, max_tokens: int
) -> list[Chunk]:
    """Chunks in order, without overlap; headings are part of the text here."""
    measure = TokenCounter(parsed.text, token_offsets)
    contexts = ContextBuilder(title, measure, max_tokens)
    size = max(1, max_tokens - max_tokens // 4)  # What a context leaves at least.
    chunks: list[Chunk] = []
    for span in _split_text(parsed.text, token_offsets, size):
        location = _find_location(parsed, span)
        before = contexts.build(location)
        whole = ChunkUnit(span, location, tuple(split_sentences(parsed.text, span)), 0.0)
        for piece in whole.split_to_fit(
            measure, max(1, max_tokens - measure.count_context_tokens(before))
        ):
            text = parsed.text[slice(*piece.span)]
            taken = measure.count_context_tokens(before) + len(measure.token_starts(text))
            chunks.append(
                Chunk(len(chunks), piece.span, text, before, location, piece.sentences, taken)
            )
    return chunks


def _split_text(text: str, token_offsets: TokenOffsets, chunk_tokens: int) -> list[Span]:
    """Where the splitter's chunks stand in `text`. It returns texts; the offsets it offers come from a search that
    can hit an earlier repetition, so each is looked for behind the one before it, and what lies between is kept.
    """
    from llama_index.core.node_parser import SentenceSplitter

    splitter = SentenceSplitter(
        chunk_size=chunk_tokens, chunk_overlap=0, tokenizer=lambda piece: list(token_offsets(piece))
    )
    spans: list[Span] = []
    position = 0
    for piece in filter(str.strip, splitter.split_text(text)):
        start = text.find(piece.strip(), position)
        if start < 0:
            continue  # Not verbatim: its text becomes part of the next gap.
        spans += _find_gap(text, position, start)
        position = start + len(piece.strip())
        spans.append(Span(start, position))
    return spans + _find_gap(text, position, len(text))


def _find_gap(text: str, start: int, end: int) -> list[Span]:
    inner = text[start:end]
    first = start + len(inner) - len(inner.lstrip())
    return [Span(first, first + len(inner.strip()))] if inner.strip() else []


def _find_location(parsed: ParsedDocument, span: Span) -> Location:
    index = bisect_right(parsed.blocks, span.start, key=lambda block: block.span.start) - 1
    return parsed.blocks[max(index, 0)].location
