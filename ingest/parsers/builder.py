"""What every parser writes into: it keeps text and blocks in step, so that no parser counts characters.

What it promises, whatever it is given:
* `text` is the blocks' texts joined by one blank line, and each block's span is exactly its text;
* no control or invisible characters, Unicode NFC, no blank at a block's end;
* a heading, a list item and a table row are one line each; a paragraph's line breaks are the source's hard ones.
"""

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from itertools import groupby
from typing import NamedTuple

from core.types import Block, BlockKind, Location, Span
from ingest.parsers import ParsedDocument, limits, size_limit_error

_BLOCK_SEPARATOR = "\n\n"
# Controls except tab and newline; soft hyphen; zero-width, direction and other format characters; tag characters,
# which smuggle text past a reader's eyes; surrogates, which no database stores.
_INVISIBLE_CHARACTERS = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
# The joiners stay between non-ASCII characters, where Persian, Indic scripts and emoji need them.
_STRAY_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
# Marks on one letter beyond what any language writes: to put a million in order takes time that grows with the square.
_COMBINING_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u06d6-\u06ed\u0730-\u074a\u0f71-\u0f84"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u302a-\u302f\u3099\u309a\ufe20-\ufe2f"
)
_STACKED_MARKS = re.compile(f"([{_COMBINING_MARKS}]{{20}})[{_COMBINING_MARKS}]+")
_LINE_BREAK = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_MAX_METADATA_CHARACTERS = 10_000  # Characters of a value of metadata.
_MAX_INTEGER_BITS = 64  # Bits of one.
_MAX_HEADING_CHARACTERS = 300  # A longer "heading" is a paragraph in a heading's clothes; as a path it would swamp every chunk.


class ListItem(NamedTuple):
    """One entry of a list: `depth` 0 is the outermost, `marker` is "-" or "3."."""

    text: str
    depth: int = 0
    marker: str = "-"


def remove_invisible(text: str) -> str:
    """`text` in NFC without the characters that nobody sees; line breaks become a plain newline."""
    if text.isascii() and text.isprintable():
        return text
    shown = _STACKED_MARKS.sub(r"\1", _INVISIBLE_CHARACTERS.sub("", _LINE_BREAK.sub("\n", text)))
    shown = unicodedata.normalize("NFC", shown)
    # Once more, since taking a character out may bring a letter and its accent together.
    return unicodedata.normalize("NFC", _STRAY_JOINERS.sub("", shown))


def to_single_line(text: str) -> str:
    """`text` as a single line: visible characters, every run of whitespace one space."""
    return " ".join(remove_invisible(text).split())


class TextBuilder:
    """Collects blocks in reading order; empty ones are passed over."""

    def __init__(self) -> None:
        self._block_texts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self._headings: list[tuple[int, str]] = []
        self._location = Location()

    @property
    def has_text(self) -> bool:
        """Whether anything has been written yet."""
        return bool(self._block_texts)

    def start_page(self, number: int) -> None:
        """What follows stands on this page, counted from 1."""
        self._location = Location(page=number)

    def start_slide(self, number: int) -> None:
        """What follows stands on this slide, counted from 1, under no heading of the slide before."""
        self._location = Location(slide=number)
        self._headings.clear()

    def start_sheet(self, name: str) -> None:
        """What follows stands on this sheet, under no heading of the sheet before."""
        self._location = Location(sheet=to_single_line(name) or None)
        self._headings.clear()

    def add_heading(self, level: int, text: str) -> None:
        """A heading of level 1 (outermost) to 6; it stands above what follows until one of its level or higher."""
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
        """Prose; its line breaks count as spaces."""
        self._add_block("paragraph", to_single_line(text))

    def add_lines(self, lines: Iterable[str]) -> None:
        """A paragraph whose line breaks the source means: an address, a verse, a log."""
        self._add_block("paragraph", "\n".join(filter(None, map(to_single_line, lines))))

    def add_list(self, items: Iterable[ListItem]) -> None:
        """A list: a line an item, nested ones indented by two spaces a level."""
        lines = [_format_item(item) for item in items if to_single_line(item.text)]
        self._add_block("list", "\n".join(lines).lstrip())

    def add_table(self, rows: Iterable[Sequence[str]], first_row: int | None = None) -> None:
        """A table: a line a row, header first. `first_row` is the header's row number in a sheet, from 1.

        Empty rows are left out, except that with `first_row` they end the table, so that row numbers stay right.
        """
        lines = [_format_row(row) for row in rows]
        if first_row is None:
            self._add_block("table", "\n".join(filter(None, lines)))
            return
        numbered = enumerate(lines, first_row)
        for filled, group in groupby(numbered, key=lambda row: bool(row[1])):
            if filled:
                self._add_numbered_rows(list(group))

    def add_code(self, text: str) -> None:
        """Preformatted text, kept as it is but for blank lines at its ends."""
        shown = remove_invisible(text)
        self._add_block("code", re.sub(r"\A(?:[^\S\n]*\n)+", "", shown).rstrip())

    def add_subdocument(self, level: int, name: str, parsed: ParsedDocument) -> None:
        """Another document under a heading of that level, such as an attachment; its own headings stand below it."""
        self.add_heading(level, name)
        above = tuple(heading for _, heading in self._headings)
        for block in parsed.blocks:
            place = replace(block.location, headings=above + block.location.headings)
            self._append_block(
                block.kind,
                parsed.text[slice(*block.span)],
                block.level and min(block.level + level, 6),
                place,
            )

    def build(
        self, title: str = "", metadata: Mapping[str, object] | None = None
    ) -> ParsedDocument:
        """The document so far; without a title it takes that of its heading of level 1, where that names it all."""
        return ParsedDocument(
            _BLOCK_SEPARATOR.join(self._block_texts),
            tuple(self._blocks),
            to_single_line(title) or self._find_title(),
            dict(metadata or {}),
        )

    def _find_title(self) -> str:
        """The only heading of level 1, or the one the document begins with; of several chapters none is the title."""
        tops = [index for index, block in enumerate(self._blocks) if block.level == 1]
        return self._block_texts[tops[0]] if tops and (len(tops) == 1 or tops[0] == 0) else ""

    def _add_numbered_rows(self, rows: Sequence[tuple[int, str]]) -> None:
        place = replace(self._location, rows=(rows[0][0], rows[-1][0]))
        self._add_block("table", "\n".join(line for _, line in rows), location=place)

    def _add_block(
        self, kind: BlockKind, text: str, level: int = 0, location: Location | None = None
    ) -> None:
        if text:
            path = tuple(name for _, name in self._headings)
            self._append_block(
                kind, text, level, replace(location or self._location, headings=path)
            )

    def _append_block(self, kind: BlockKind, text: str, level: int, location: Location) -> None:
        start = self._length + len(_BLOCK_SEPARATOR) if self._block_texts else 0
        self._length = start + len(text)
        if self._length > limits.MAX_TEXT_CHARACTERS or len(self._blocks) >= limits.MAX_BLOCKS:
            raise size_limit_error("The file", "holds more text than one document may")
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
    """A metadata value as JSON can hold it: dates in ISO form, text visible, containers in depth."""
    if isinstance(value, str):
        return remove_invisible(value).strip()[:_MAX_METADATA_CHARACTERS]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if value.bit_length() <= _MAX_INTEGER_BITS else hex(value)[:_MAX_INTEGER_BITS]
    if value is None:
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {to_single_line(str(key)): to_json_value(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [to_json_value(item) for item in value]
    return to_single_line(str(value))
