"""The pieces a chunk is put together from: sentences, list items, table rows, groups of code lines."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.text.sentences import split_sentences
from core.types import Block, Location, Span
from ingest.chunkers.token_counter import MAX_CHARACTERS_PER_TOKEN, TokenCounter

MAX_QUOTE_TOKENS = 60
"""Tokens up to which a list item or a piece of code is quoted whole."""

# What a cut before a unit costs, in the currency of `structure._cost`: 1 is a chunk twice as large as it should be.
_BLOCK_CUT_COST = 0.0
_COLON_CUT_COST = 0.6  # "You need:" belongs to what it announces.
_ITEM_CUT_COST = 0.08
_NESTED_ITEM_CUT_COST = 0.3
_ROW_CUT_COST = 0.08
_CODE_CUT_COST = 0.3
_SENTENCE_CUT_COST = 0.2
_INNER_CUT_COST = 0.5

_LINE = re.compile(r"[^\n]+")
_CODE_GROUP = re.compile(r"[^\n]+(?:\n[^\n]+)*")
_NOT_BLANK = re.compile(r"\S")
_PAUSE_PATTERNS = (
    re.compile(r"(?<=[,;:])\s+|(?<=[、，；：])|\s+\|\s+|\s+[–—]\s+|\n"),
    re.compile(r"\s+"),
)


@dataclass(frozen=True, slots=True)
class ChunkUnit:
    """Never divided, unless it alone is too long for a chunk. `sentences` are what may be quoted of it."""

    span: Span
    location: Location
    sentences: tuple[Span, ...]
    cut_cost: float
    is_word_cut: bool = False
    """Cut inside a word: its tokens are not those of the document, and it makes a chunk by itself."""

    def split_to_fit(self, token_counter: TokenCounter, max_tokens: int) -> Iterator["ChunkUnit"]:
        """The unit itself where it fits into `budget` tokens. Else, the only exception to whole sentences, pieces of
        it: cut at a clause, at a word where there is none, inside a word where there is no other way.
        """
        if _fits_tokens(self.span, token_counter, max_tokens):
            yield self
            return
        for number, (piece, broken) in enumerate(_split_span(self.span, token_counter, max_tokens)):
            cost = _INNER_CUT_COST if number else self.cut_cost
            yield replace(self, span=piece, sentences=(piece,), cut_cost=cost, is_word_cut=broken)


def split_block(
    text: str, block: Block, token_counter: TokenCounter, max_tokens: int
) -> Iterator[ChunkUnit]:
    """A block's units in order. Items and code that don't fit into `budget` tokens are divided further here."""
    at_block = _COLON_CUT_COST if _follows_colon(text, block.span.start) else _BLOCK_CUT_COST
    if block.kind == "table":
        units = _split_table(text, block)
    elif block.kind == "list":
        units = _split_list(text, block, token_counter, max_tokens)
    elif block.kind == "code":
        units = _split_code(text, block, token_counter)
    else:
        units = (
            _build_unit(span, block, _SENTENCE_CUT_COST)
            for span in split_sentences(text, block.span)
        )
    for number, unit in enumerate(units):
        yield unit if number else replace(unit, cut_cost=at_block)


def _build_unit(span: Span, block: Block, cost: float) -> ChunkUnit:
    return ChunkUnit(span, block.location, (span,), cost)


def _follows_colon(text: str, start: int) -> bool:
    return text[max(0, start - 8) : start].rstrip().endswith(":")


def _split_table(text: str, block: Block) -> Iterator[ChunkUnit]:
    first = block.location.rows[0] if block.location.rows else None
    for number, line in enumerate(_find_lines(text, block.span)):
        rows = (first + number, first + number) if first else None
        cost = _COLON_CUT_COST if number == 1 else _ROW_CUT_COST  # A header row alone says nothing.
        yield ChunkUnit(line, replace(block.location, rows=rows), (line,), cost)


def _split_list(
    text: str, block: Block, token_counter: TokenCounter, max_tokens: int
) -> Iterator[ChunkUnit]:
    for line in _find_lines(text, block.span):
        nested = text[line.start - 1 : line.start] == " "
        inner = tuple(split_sentences(text, line))
        unit = _build_unit(line, block, _NESTED_ITEM_CUT_COST if nested else _ITEM_CUT_COST)
        if token_counter.count_tokens(*line) <= MAX_QUOTE_TOKENS or len(inner) < 2:
            yield unit
        elif _fits_tokens(line, token_counter, max_tokens):
            yield replace(unit, sentences=inner)
        else:
            for number, span in enumerate(inner):
                yield replace(
                    unit,
                    span=span,
                    sentences=(span,),
                    cut_cost=_SENTENCE_CUT_COST if number else unit.cut_cost,
                )


def _split_code(text: str, block: Block, token_counter: TokenCounter) -> Iterator[ChunkUnit]:
    """All of it when short; else what stands between blank lines; else as many lines as are quoted at once."""
    if _fits_tokens(block.span, token_counter, MAX_QUOTE_TOKENS):
        first = _NOT_BLANK.search(text, *block.span)
        yield _build_unit(
            Span(first.start() if first else block.span.start, block.span.end),
            block,
            _CODE_CUT_COST,
        )
        return
    for group in _CODE_GROUP.finditer(text, *block.span):
        for span in _group_lines(_find_lines(text, Span(*group.span())), token_counter):
            yield _build_unit(span, block, _CODE_CUT_COST)


def _group_lines(lines: Sequence[Span], token_counter: TokenCounter) -> Iterator[Span]:
    start = 0
    for end in range(1, len(lines) + 1):
        if end == len(lines) or not _fits_tokens(
            Span(lines[start].start, lines[end].end), token_counter, MAX_QUOTE_TOKENS
        ):
            yield Span(lines[start].start, lines[end - 1].end)
            start = end


def _find_lines(text: str, span: Span) -> list[Span]:
    """The lines of a span without the blanks at their ends; blank ones are left out."""
    found = []
    for match in _LINE.finditer(text, *span):
        line = match[0]
        if stripped := line.strip():
            start = match.start() + line.index(stripped)
            found.append(Span(start, start + len(stripped)))
    return found


def _fits_tokens(span: Span, token_counter: TokenCounter, max_tokens: int) -> bool:
    return (
        token_counter.count_tokens(*span) <= max_tokens
        and span.end - span.start <= max_tokens * MAX_CHARACTERS_PER_TOKEN
    )


def _split_span(
    span: Span, token_counter: TokenCounter, max_tokens: int
) -> Iterator[tuple[Span, bool]]:
    """Consecutive pieces that fit, each with whether a word was cut at one of its ends."""
    start, was_broken = span.start, False
    while start < span.end:
        fitting = token_counter.find_fitting_end(start, span.end, max_tokens)
        end = _find_pause(token_counter.text, start, fitting) if fitting < span.end else span.end
        following = _NOT_BLANK.search(token_counter.text, end, span.end)
        next_start = following.start() if following else span.end
        broken = end == next_start < span.end and not token_counter.text[end - 1].isspace()
        yield Span(start, start + len(token_counter.text[start:end].rstrip())), broken or was_broken
        start, was_broken = next_start, broken


def _find_pause(text: str, start: int, end: int) -> int:
    """The last place to cut in the second half of `text[start:end]`, the best kind of place first."""
    middle = max(start + 1, (start + end) // 2)
    for pauses in _PAUSE_PATTERNS:
        places = [match.end() for match in pauses.finditer(text, middle, end)]
        if places:
            return places[-1]
    return end
