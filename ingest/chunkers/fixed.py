"""Chunks of equal size by LlamaIndex's SentenceSplitter, without the structure; for comparison."""

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
    """Cut a document into chunks without overlap; headings are part of the text."""
    counter = TokenCounter(parsed.text, token_offsets)
    contexts = ContextBuilder(title, counter, max_tokens)
    chunk_tokens = max(1, max_tokens - max_tokens // 4)  # A context takes at most a quarter.
    chunks: list[Chunk] = []
    for span in _split_text(parsed.text, token_offsets, chunk_tokens):
        location = _find_location(parsed, span)
        context = contexts.build(location)
        context_tokens = counter.count_context_tokens(context)
        unit = ChunkUnit(span, location, tuple(split_sentences(parsed.text, span)), cut_cost=0.0)
        for piece in unit.split_to_fit(counter, max(1, max_tokens - context_tokens)):
            text = parsed.text[slice(*piece.span)]
            tokens = context_tokens + len(counter.token_starts(text))
            chunks.append(
                Chunk(len(chunks), piece.span, text, context, location, piece.sentences, tokens)
            )
    return chunks


def _split_text(text: str, token_offsets: TokenOffsets, chunk_tokens: int) -> list[Span]:
    """Return the spans of the splitter's chunks, and of the text between them.

    The splitter returns texts without reliable offsets, so each text is searched for after the one
    before it.
    """
    from llama_index.core.node_parser import SentenceSplitter

    splitter = SentenceSplitter(
        chunk_size=chunk_tokens, chunk_overlap=0, tokenizer=lambda piece: list(token_offsets(piece))
    )
    spans: list[Span] = []
    position = 0
    for piece in filter(None, map(str.strip, splitter.split_text(text))):
        start = text.find(piece, position)
        if start < 0:
            continue  # The splitter changed it: its text becomes part of the next gap.
        spans += _find_gap(text, position, start)
        position = start + len(piece)
        spans.append(Span(start, position))
    return spans + _find_gap(text, position, len(text))


def _find_gap(text: str, start: int, end: int) -> list[Span]:
    gap = text[start:end]
    first = start + len(gap) - len(gap.lstrip())
    return [Span(first, first + len(gap.strip()))] if gap.strip() else []


def _find_location(parsed: ParsedDocument, span: Span) -> Location:
    index = bisect_right(parsed.blocks, span.start, key=lambda block: block.span.start) - 1
    return parsed.blocks[max(index, 0)].location
