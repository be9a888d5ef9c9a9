"""Units that chunks consist of: sentences, list items, table rows, groups of code lines."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from core.text.sentences import split_sentences
from core.token_estimate import MAX_CHARACTERS_PER_TOKEN
from core.types import Block, Location, Span
from ingest.chunkers.token_counter import TokenCounter

MAX_QUOTE_TOKENS = 60
"""A list item or a piece of code of at most this many tokens is quoted as a whole."""

# Costs of a cut before a unit, on the scale of `structure._compute_cost`: 1 is a chunk of twice
# the target size.
_BLOCK_CUT_COST = 0.0
_COLON_CUT_COST = 0.6  # "You need:" belongs to the text after it.
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
    """Text that is not divided, unless it alone is too long for a chunk.

    `sentences` are its quotable parts. `is_word_cut` is true for a piece that begins or ends inside
    a word: its tokens are not those of the document, so it makes a chunk of its own.
    """

    span: Span
    location: Location
    sentences: tuple[Span, ...]
    cut_cost: float
    is_word_cut: bool = False

    def split_to_fit(self, counter: TokenCounter, max_tokens: int) -> Iterator["ChunkUnit"]:
        """Yield the unit, or pieces of it if it is too long.

        This is the only exception to whole sentences. The cut is at a clause, or else at a word, or
        else inside a word.
        """
        if _fits_tokens(self.span, counter, max_tokens):
            yield self
            return
        cost = self.cut_cost
        for piece, is_word_cut in _split_span(self.span, counter, max_tokens):
            yield replace(
                self, span=piece, sentences=(piece,), cut_cost=cost, is_word_cut=is_word_cut
            )
            cost = _INNER_CUT_COST


def split_block(
    text: str, block: Block, counter: TokenCounter, max_tokens: int
) -> Iterator[ChunkUnit]:
    """Yield a block's units in order; list items and code that do not fit are divided."""
    if block.kind == "table":
        units = _split_table(text, block)
    elif block.kind == "list":
        units = _split_list(text, block, counter, max_tokens)
    elif block.kind == "code":
        units = _split_code(text, block, counter)
    else:
        sentences = split_sentences(text, block.span)
        units = (_build_unit(span, block, _SENTENCE_CUT_COST) for span in sentences)
    first_cost = _COLON_CUT_COST if _follows_colon(text, block.span.start) else _BLOCK_CUT_COST
    for number, unit in enumerate(units):
        yield unit if number else replace(unit, cut_cost=first_cost)


def _build_unit(span: Span, block: Block, cost: float) -> ChunkUnit:
    return ChunkUnit(span, block.location, (span,), cost)


def _follows_colon(text: str, start: int) -> bool:
    return text[max(0, start - 8) : start].rstrip().endswith(":")


def _split_table(text: str, block: Block) -> Iterator[ChunkUnit]:
    first_row = block.location.rows[0] if block.location.rows else None
    for number, line in enumerate(_find_lines(text, block.span)):
        rows = (first_row + number, first_row + number) if first_row else None
        cost = _COLON_CUT_COST if number == 1 else _ROW_CUT_COST  # A header row alone is useless.
        yield ChunkUnit(line, replace(block.location, rows=rows), (line,), cost)


def _split_list(
    text: str, block: Block, counter: TokenCounter, max_tokens: int
) -> Iterator[ChunkUnit]:
    for line in _find_lines(text, block.span):
        is_nested = text[line.start - 1 : line.start] == " "
        cost = _NESTED_ITEM_CUT_COST if is_nested else _ITEM_CUT_COST
        item = _build_unit(line, block, cost)
        sentences = tuple(split_sentences(text, line))
        if counter.count_tokens(*line) <= MAX_QUOTE_TOKENS or len(sentences) < 2:
            yield item
        elif _fits_tokens(line, counter, max_tokens):
            yield replace(item, sentences=sentences)
        else:
            for sentence in sentences:
                yield replace(item, span=sentence, sentences=(sentence,), cut_cost=cost)
                cost = _SENTENCE_CUT_COST


def _split_code(text: str, block: Block, counter: TokenCounter) -> Iterator[ChunkUnit]:
    """Yield short code as a whole, other code by blank lines and then by size."""
    if _fits_tokens(block.span, counter, MAX_QUOTE_TOKENS):
        visible = _NOT_BLANK.search(text, *block.span)
        start = visible.start() if visible else block.span.start
        yield _build_unit(Span(start, block.span.end), block, _CODE_CUT_COST)
        return
    for group in _CODE_GROUP.finditer(text, *block.span):
        for span in _group_lines(_find_lines(text, Span(*group.span())), counter):
            yield _build_unit(span, block, _CODE_CUT_COST)


def _group_lines(lines: Sequence[Span], counter: TokenCounter) -> Iterator[Span]:
    """Yield spans of as many lines as can be quoted at once."""
    group: Span | None = None
    for line in lines:
        longer = Span(group.start if group else line.start, line.end)
        if group and not _fits_tokens(longer, counter, MAX_QUOTE_TOKENS):
            yield group
            longer = line
        group = longer
    if group:
        yield group


def _find_lines(text: str, span: Span) -> list[Span]:
    """Return the lines of a span without whitespace at their ends; blank ones are left out."""
    lines = []
    for match in _LINE.finditer(text, *span):
        if stripped := match[0].strip():
            start = match.start() + match[0].index(stripped)
            lines.append(Span(start, start + len(stripped)))
    return lines


def _fits_tokens(span: Span, counter: TokenCounter, max_tokens: int) -> bool:
    is_short = span.end - span.start <= max_tokens * MAX_CHARACTERS_PER_TOKEN
    return is_short and counter.count_tokens(*span) <= max_tokens


def _split_span(span: Span, counter: TokenCounter, max_tokens: int) -> Iterator[tuple[Span, bool]]:
    """Yield consecutive pieces that fit, each with True if a word is cut at one of its ends."""
    text = counter.text
    start, begins_in_word = span.start, False
    while start < span.end:
        end = counter.find_fitting_end(start, span.end, max_tokens)
        if end < span.end:
            end = _find_pause(text, start, end)
        following = _NOT_BLANK.search(text, end, span.end)
        next_start = following.start() if following else span.end
        ends_in_word = end == next_start < span.end and not text[end - 1].isspace()
        length = len(text[start:end].rstrip())
        yield Span(start, start + length), begins_in_word or ends_in_word
        start, begins_in_word = next_start, ends_in_word


def _find_pause(text: str, start: int, end: int) -> int:
    """Return the last pause in the second half of `text[start:end]`: at a clause, else a word."""
    middle = max(start + 1, (start + end) // 2)
    for pattern in _PAUSE_PATTERNS:
        pauses = [match.end() for match in pattern.finditer(text, middle, end)]
        if pauses:
            return pauses[-1]
    return end
