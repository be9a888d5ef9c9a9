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
from ingest.parsers import Parsed, limits, too_large

_SEPARATOR = "\n\n"
# Controls except tab and newline; soft hyphen; zero-width, direction and other format characters; tag characters,
# which smuggle text past a reader's eyes; surrogates, which no database stores.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f"
    "\u202a-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff0-\ufffb\ud800-\udfff\U000e0000-\U000e0fff]"
)
# The joiners stay between non-ASCII characters, where Persian, Indic scripts and emoji need them.
_STRAY_JOINERS = re.compile("(?<![^\x00-\x7f])[\u200c\u200d]+|[\u200c\u200d]+(?![^\x00-\x7f])")
# Marks on one letter beyond what any language writes: to put a million in order takes time that grows with the square.
_MARKS = (
    "\u0300-\u036f\u0483-\u0489\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u06d6-\u06ed\u0730-\u074a\u0f71-\u0f84"
    "\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u302a-\u302f\u3099\u309a\ufe20-\ufe2f"
)
_PILED = re.compile(f"([{_MARKS}]{{20}})[{_MARKS}]+")
_BREAK = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_VALUE = 10_000  # Characters of a value of metadata.
_INTEGER = 64  # Bits of one.
_MAX_HEADING = 300  # A longer "heading" is a paragraph in a heading's clothes; as a path it would swamp every chunk.


class Item(NamedTuple):
    """One entry of a list: `depth` 0 is the outermost, `marker` is "-" or "3."."""

    text: str
    depth: int = 0
    marker: str = "-"


def visible(text: str) -> str:
    """`text` in NFC without the characters that nobody sees; line breaks become a plain newline."""
    if text.isascii() and text.isprintable():
        return text
    shown = _PILED.sub(r"\1", _INVISIBLE.sub("", _BREAK.sub("\n", text)))
    shown = unicodedata.normalize("NFC", shown)
    # Once more, since taking a character out may bring a letter and its accent together.
    return unicodedata.normalize("NFC", _STRAY_JOINERS.sub("", shown))


def one_line(text: str) -> str:
    """`text` as a single line: visible characters, every run of whitespace one space."""
    return " ".join(visible(text).split())


class TextBuilder:
    """Collects blocks in reading order; empty ones are passed over."""

    def __init__(self) -> None:
        self._parts: list[str] = []
        self._blocks: list[Block] = []
        self._length = 0
        self._headings: list[tuple[int, str]] = []
        self._place = Location()

    @property
    def has_text(self) -> bool:
        """Whether anything has been written yet."""
        return bool(self._parts)

    def page(self, number: int) -> None:
        """What follows stands on this page, counted from 1."""
        self._place = Location(page=number)

    def slide(self, number: int) -> None:
        """What follows stands on this slide, counted from 1, under no heading of the slide before."""
        self._place = Location(slide=number)
        self._headings.clear()

    def sheet(self, name: str) -> None:
        """What follows stands on this sheet, under no heading of the sheet before."""
        self._place = Location(sheet=one_line(name) or None)
        self._headings.clear()

    def heading(self, level: int, text: str) -> None:
        """A heading of level 1 (outermost) to 6; it stands above what follows until one of its level or higher."""
        line = one_line(text)
        if len(line) > _MAX_HEADING:
            self._add("paragraph", line)
        elif line:
            level = min(max(level, 1), 6)
            while self._headings and self._headings[-1][0] >= level:
                self._headings.pop()
            self._add("heading", line, level)
            self._headings.append((level, line))

    def paragraph(self, text: str) -> None:
        """Prose; its line breaks count as spaces."""
        self._add("paragraph", one_line(text))

    def lines(self, lines: Iterable[str]) -> None:
        """A paragraph whose line breaks the source means: an address, a verse, a log."""
        self._add("paragraph", "\n".join(filter(None, map(one_line, lines))))

    def list(self, items: Iterable[Item]) -> None:
        """A list: a line an item, nested ones indented by two spaces a level."""
        lines = [_item_line(item) for item in items if one_line(item.text)]
        self._add("list", "\n".join(lines).lstrip())

    def table(self, rows: Iterable[Sequence[str]], first_row: int | None = None) -> None:
        """A table: a line a row, header first. `first_row` is the header's row number in a sheet, from 1.

        Empty rows are left out, except that with `first_row` they end the table, so that row numbers stay right.
        """
        lines = [_row_line(row) for row in rows]
        if first_row is None:
            self._add("table", "\n".join(filter(None, lines)))
            return
        numbered = enumerate(lines, first_row)
        for filled, group in groupby(numbered, key=lambda row: bool(row[1])):
            if filled:
                self._numbered_rows(list(group))

    def code(self, text: str) -> None:
        """Preformatted text, kept as it is but for blank lines at its ends."""
        shown = visible(text)
        self._add("code", re.sub(r"\A(?:[^\S\n]*\n)+", "", shown).rstrip())

    def section(self, level: int, name: str, parsed: Parsed) -> None:
        """Another document under a heading of that level, such as an attachment; its own headings stand below it."""
        self.heading(level, name)
        above = tuple(heading for _, heading in self._headings)
        for block in parsed.blocks:
            place = replace(block.location, headings=above + block.location.headings)
            self._put(block.kind, parsed.text[slice(*block.span)], block.level and min(block.level + level, 6), place)

    def build(self, title: str = "", metadata: Mapping[str, object] | None = None) -> Parsed:
        """The document so far; without a title it takes that of its heading of level 1, where that names it all."""
        return Parsed(
            _SEPARATOR.join(self._parts),
            tuple(self._blocks),
            one_line(title) or self._own_title(),
            dict(metadata or {}),
        )

    def _own_title(self) -> str:
        """The only heading of level 1, or the one the document begins with; of several chapters none is the title."""
        tops = [index for index, block in enumerate(self._blocks) if block.level == 1]
        return self._parts[tops[0]] if tops and (len(tops) == 1 or tops[0] == 0) else ""

    def _numbered_rows(self, rows: Sequence[tuple[int, str]]) -> None:
        place = replace(self._place, rows=(rows[0][0], rows[-1][0]))
        self._add("table", "\n".join(line for _, line in rows), place=place)

    def _add(self, kind: BlockKind, text: str, level: int = 0, place: Location | None = None) -> None:
        if text:
            path = tuple(name for _, name in self._headings)
            self._put(kind, text, level, replace(place or self._place, headings=path))

    def _put(self, kind: BlockKind, text: str, level: int, place: Location) -> None:
        start = self._length + len(_SEPARATOR) if self._parts else 0
        self._length = start + len(text)
        if self._length > limits.TEXT or len(self._blocks) >= limits.BLOCKS:
            raise too_large("The file", "holds more text than one document may")
        self._parts.append(text)
        self._blocks.append(Block(kind, Span(start, self._length), place, level))


def _row_line(row: Sequence[str]) -> str:
    cells = list(map(one_line, row))
    while cells and not cells[-1]:
        cells.pop()
    return " | ".join(cells).strip()


def _item_line(item: Item) -> str:
    return "  " * item.depth + one_line(f"{item.marker} {item.text}")


def plain(value: object) -> object:
    """A metadata value as JSON can hold it: dates in ISO form, text visible, containers in depth."""
    if isinstance(value, str):
        return visible(value).strip()[:_VALUE]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if value.bit_length() <= _INTEGER else hex(value)[:_INTEGER]
    if value is None:
        return value
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Mapping):
        return {one_line(str(key)): plain(item) for key, item in value.items()}
    if isinstance(value, Iterable):
        return [plain(item) for item in value]
    return one_line(str(value))
