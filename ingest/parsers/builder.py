"""Builder of parsed documents: joins text and records offsets, so that no parser counts characters.

It guarantees, for any input:
* `text` is the blocks' texts joined by one blank line, and each block's span is exactly its text;
* no control or invisible characters, Unicode NFC, no whitespace at a block's end;
* a heading, a list item and a table row are one line each; a paragraph has line breaks only where
  the source has hard ones.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import groupby
from typing import NamedTuple

from core.text.invisible import clean_text
from core.types import Block, BlockKind, Location, Span
from ingest.parsers import limits
from ingest.parsers.errors import size_limit_error
from ingest.parsers.types import ParsedDocument

_BLOCK_SEPARATOR = "\n\n"
_LEADING_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")
_MAX_METADATA_CHARACTERS = 10_000  # of one value
_MAX_INTEGER_BITS = 64
# A longer "heading" is a paragraph; in the heading path it would fill every chunk.
_MAX_HEADING_CHARACTERS = 300


class ListItem(NamedTuple):
    """Entry of a list: `depth` 0 is the outermost, `marker` is "-" or "3."."""

    text: str
    depth: int = 0
    marker: str = "-"


def to_single_line(text: str) -> str:
    """Return the visible characters of `text` on one line, each run of whitespace as one space."""
    return " ".join(clean_text(text).split())


class TextBuilder:
    """Collects blocks in reading order and skips empty ones."""

    def __init__(self) -> None:
        self._block_texts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self._headings: list[tuple[int, str]] = []
        self._location = Location()

    @property
    def has_text(self) -> bool:
        """True once a block has been added."""
        return bool(self._block_texts)

    def start_page(self, number: int) -> None:
        """Begin a page, counted from 1; headings continue across pages."""
        self._location = Location(page=number)

    def start_slide(self, number: int) -> None:
        """Begin a slide, counted from 1, without the headings of the slide before."""
        self._location = Location(slide=number)
        self._headings.clear()

    def start_sheet(self, name: str) -> None:
        """Begin a sheet, without the headings of the sheet before."""
        self._location = Location(sheet=to_single_line(name) or None)
        self._headings.clear()

    def add_heading(self, level: int, text: str) -> None:
        """Add a heading, level 1 (outermost) to 6; it ends those of its level and below."""
        line = to_single_line(text)
        if len(line) > _MAX_HEADING_CHARACTERS:
            self._add_block("paragraph", line)
        elif line:
            level = min(max(level, 1), 6)
            while self._headings and self._headings[-1][0] >= level:
                self._headings.pop()
            self._add_block("heading", line, level)
            self._headings.append((level, line))

    def add_paragraph(self, text: str) -> None:
        """Add prose; its line breaks count as spaces."""
        self._add_block("paragraph", to_single_line(text))

    def add_lines(self, lines: Iterable[str]) -> None:
        """Add a paragraph whose line breaks have a meaning: an address, a verse, a log."""
        self._add_block("paragraph", "\n".join(filter(None, map(to_single_line, lines))))

    def add_list(self, items: Iterable[ListItem]) -> None:
        """Add a list: one line per item, indented by two spaces per level."""
        lines = [_format_item(item) for item in items if to_single_line(item.text)]
        self._add_block("list", "\n".join(lines).lstrip())

    def add_table(self, rows: Iterable[Sequence[str]], first_row: int | None = None) -> None:
        """Add a table: one line per row, header first.

        `first_row` is the header's row number in a sheet, from 1. Empty rows are left out; with
        `first_row` they end the table, so that row numbers stay right.
        """
        lines = [_format_row(row) for row in rows]
        if first_row is None:
            self._add_block("table", "\n".join(filter(None, lines)))
            return
        numbered = enumerate(lines, first_row)
        for is_filled, group in groupby(numbered, key=lambda row: bool(row[1])):
            if is_filled:
                self._add_numbered_rows(list(group))

    def add_code(self, text: str) -> None:
        """Add preformatted text as it is, without blank lines at its ends."""
        self._add_block("code", _LEADING_BLANK_LINES.sub("", clean_text(text)).rstrip())

    def add_subdocument(self, level: int, name: str, parsed: ParsedDocument) -> None:
        """Add another document, such as an attachment, under a heading; its headings move below."""
        self.add_heading(level, name)
        path = self._heading_path()
        for block in parsed.blocks:
            text = parsed.text[slice(*block.span)]
            location = replace(block.location, headings=path + block.location.headings)
            block_level = min(block.level + level, 6) if block.level else 0
            self._append_block(block.kind, text, block_level, location)

    def build(
        self, title: str = "", metadata: Mapping[str, object] | None = None
    ) -> ParsedDocument:
        """Return the document; without a title it takes its heading of level 1 if there is one."""
        return ParsedDocument(
            text=_BLOCK_SEPARATOR.join(self._block_texts),
            blocks=tuple(self._blocks),
            title=to_single_line(title) or self._find_title(),
            metadata=dict(metadata or {}),
        )

    def _find_title(self) -> str:
        """Return the only heading of level 1, or the one at the start of the document."""
        tops = [index for index, block in enumerate(self._blocks) if block.level == 1]
        return self._block_texts[tops[0]] if len(tops) == 1 or tops[:1] == [0] else ""

    def _heading_path(self) -> tuple[str, ...]:
        return tuple(name for _, name in self._headings)

    def _add_numbered_rows(self, rows: Sequence[tuple[int, str]]) -> None:
        location = replace(self._location, rows=(rows[0][0], rows[-1][0]))
        self._add_block("table", "\n".join(line for _, line in rows), location=location)

    def _add_block(
        self, kind: BlockKind, text: str, level: int = 0, location: Location | None = None
    ) -> None:
        if text:
            location = replace(location or self._location, headings=self._heading_path())
            self._append_block(kind, text, level, location)

    def _append_block(self, kind: BlockKind, text: str, level: int, location: Location) -> None:
        start = self._length + len(_BLOCK_SEPARATOR) if self._block_texts else 0
        self._length = start + len(text)
        if self._length > limits.MAX_TEXT_CHARACTERS or len(self._blocks) >= limits.MAX_BLOCKS:
            raise size_limit_error("The file", "contains more text than one document may")
        self._block_texts.append(text)
        self._blocks.append(Block(kind, Span(start, self._length), location, level))


def _format_row(row: Sequence[str]) -> str:
    cells = list(map(to_single_line, row))
    while cells and not cells[-1]:
        cells.pop()
    return " | ".join(cells).strip()


def _format_item(item: ListItem) -> str:
    return "  " * item.depth + to_single_line(f"{item.marker} {item.text}")


def to_json_value(value: object) -> object:
    """Return a metadata value that JSON can represent: dates in ISO form, clean text."""
    match value:
        case None | bool():
            return value
        case str():
            return clean_text(value).strip()[:_MAX_METADATA_CHARACTERS]
        case float():
            return value if math.isfinite(value) else None
        case int():
            is_small = value.bit_length() <= _MAX_INTEGER_BITS
            return value if is_small else hex(value)[:_MAX_INTEGER_BITS]
        case date():
            return value.isoformat()
        case Mapping():
            return {to_single_line(str(key)): to_json_value(item) for key, item in value.items()}
        case Iterable():
            return [to_json_value(item) for item in value]
    return to_single_line(str(value))
