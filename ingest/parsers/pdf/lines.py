"""Lines of a PDF page, with their position, font size and weight."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from pypdf import PageObject

from ingest.parsers.builder import to_single_line

_BOLD_FONT = re.compile(r"bold|black|heavy|semib|demi|CMBX|-Bd", re.IGNORECASE)
# In front of a list item or a heading.
_ITEM_MARKER = re.compile(r"[^\w\s]|\(?(?:\d{1,2}|[A-Za-z])[.)]|\d+(?:\.\d+)*\.?")
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
_MAX_LEADING_RATIO = 1.6  # distance of the baselines of one cell, relative to the font's size
_MAX_CELL_LINES = 4  # A first cell of more lines is a column of prose.
_MIN_FONT_POINTS = 1.0  # Smaller text is hidden from readers, so it is not quoted either.


@dataclass(frozen=True, slots=True)
class TextLine:
    """One printed line.

    `x` and `y` are its start in points from the page's lower left, `size` is its font's in points.
    Pieces side by side are its cells, joined in `text` by " | ".
    """

    text: str
    x: float
    y: float
    size: float
    is_bold: bool
    cell_count: int = 1


class _Fragment(NamedTuple):
    """Text that the PDF draws at once: part of a line, or several lines."""

    text: str
    x: float
    y: float
    size: float
    is_bold: bool


def extract_lines(page: PageObject) -> list[TextLine]:
    """Return the page's lines in the order of the file, which is nearly always that of reading."""
    fragments: list[_Fragment] = []

    def visit(text: str, cm: Sequence[float], tm: Sequence[float], font: Any, size: float) -> None:
        if text:
            fragments.append(_make_fragment(text, cm, tm, font, size))

    page.extract_text(visitor_text=visit)
    lines = map(_build_line, _group_by_line(fragments))
    return _merge_rows([line for line in lines if line is not None])


def _make_fragment(
    text: str, cm: Sequence[float], tm: Sequence[float], font: Any, size: float
) -> _Fragment:
    """Place a text by its transformation matrix `cm` and its text matrix `tm`."""
    x = tm[4] * cm[0] + tm[5] * cm[2] + cm[4]
    y = tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
    scale = math.hypot(tm[2] * cm[0] + tm[3] * cm[2], tm[2] * cm[1] + tm[3] * cm[3])
    font_name = str(font.get("/BaseFont", "")) if font else ""
    if "CMSY" in font_name:  # TeX's symbol font has the minus sign at character 0.
        text = text.replace("\0", "−")
    # pypdf knows this glyph by its name only.
    text = text.replace("/Bullet", "\u2022").replace("/bullet", "\u2022")
    is_bold = _BOLD_FONT.search(font_name) is not None
    return _Fragment(text.translate(_LIGATURES), x, y, abs(size) * scale, is_bold)


def _group_by_line(fragments: Sequence[_Fragment]) -> Iterator[list[_Fragment]]:
    """Yield the fragments of each line, without line breaks; a group may be empty."""
    group: list[_Fragment] = []
    for fragment in fragments:
        if fragment.text.strip():
            if fragment.size < _MIN_FONT_POINTS:
                continue
            if group and _is_on_other_line(fragment, group[-1]):
                yield group
                group = []
        first, *further = fragment.text.split("\n")
        if first:
            group.append(fragment._replace(text=first))
        for text in further:
            yield group
            group = [fragment._replace(text=text)] if text else []
    yield group


def _is_on_other_line(fragment: _Fragment, previous: _Fragment) -> bool:
    """Return True if the baselines are far apart, or a little and the text is further left."""
    distance = abs(fragment.y - previous.y)
    size = max(fragment.size, previous.size)
    return distance > size or (distance > 0.5 * size and fragment.x < previous.x)


def _build_line(fragments: Sequence[_Fragment]) -> TextLine | None:
    visible = [fragment for fragment in fragments if fragment.text.strip()]
    cells = list(filter(None, map(to_single_line, _split_cells(fragments))))
    if not visible or not cells:
        return None
    longest = max(visible, key=lambda fragment: len(fragment.text))
    length = sum(len(fragment.text) for fragment in visible)
    bold_length = sum(len(fragment.text) for fragment in visible if fragment.is_bold)
    return TextLine(
        text=" | ".join(cells),
        x=visible[0].x,
        y=visible[0].y,
        size=round(longest.size * 2) / 2,
        is_bold=bold_length > length / 2,
        cell_count=len(cells),
    )


def _split_cells(fragments: Sequence[_Fragment]) -> list[str]:
    """Split a line where two fragments are further apart than words of prose."""
    cells = [""]
    right = -math.inf
    for fragment in fragments:
        text, size = fragment.text.strip(), fragment.size
        cell = cells[-1].strip()
        if text and cell:
            max_space = 4 * size if _ITEM_MARKER.fullmatch(cell) else size
            if fragment.x - right > max_space:
                cells.append("")
        cells[-1] += fragment.text
        if text:
            width = 0.5 * size * len(text)  # A letter is half as wide as its size.
            right = max(right, fragment.x) + 1.25 * width  # The end is an estimate: add a margin.
    return cells


class _RowBuilder:
    """A line, or the cells of a table's row side by side, each of one or more lines."""

    def __init__(self, line: TextLine) -> None:
        self.first_line = line
        self.cell_count = line.cell_count
        self._cells = [line.text]
        self._is_bold = line.is_bold
        self._last_line = line
        self._last_cell_x = line.x

    def to_line(self) -> TextLine:
        """Return the row as one line of text."""
        text = " | ".join(self._cells)
        return replace(
            self.first_line, text=text, is_bold=self._is_bold, cell_count=self.cell_count
        )

    def is_continued_by(self, line: TextLine) -> bool:
        """Return True if `line` is the next line of the last cell, which is not the first cell."""
        if self.cell_count == 1 or line.cell_count > 1 or self._last_cell_x <= self.first_line.x:
            return False
        gap = self._last_line.y - line.y
        return abs(line.x - self._last_cell_x) < 2 and 0 < gap < _MAX_LEADING_RATIO * line.size

    def has_next_cell(self, line: TextLine) -> bool:
        """Return True if `line` begins another cell: at the row's height, further right."""
        is_same_height = abs(self.first_line.y - line.y) < 0.2 * line.size
        return is_same_height and line.x > self._last_cell_x + line.size

    def extend_last_cell(self, line: TextLine) -> None:
        """Add `line` to the last cell."""
        self._cells[-1] += f" {line.text}"
        self._last_line = line

    def add_cell(self, line: TextLine) -> None:
        """Add `line` as the next cell, or as the text after a list item's marker."""
        self.cell_count += line.cell_count
        if _ITEM_MARKER.fullmatch(self._cells[-1]) and line.x - self._last_cell_x < 4 * line.size:
            self._cells[-1] += f" {line.text}"
            self.cell_count -= 1
        else:
            self._cells.append(line.text)
        self._is_bold = self._is_bold and line.is_bold
        self._last_line, self._last_cell_x = line, line.x


def _merge_rows(lines: Sequence[TextLine]) -> list[TextLine]:
    """Join lines side by side to a row; in the file a cell's lines come before the next cell."""
    rows: list[_RowBuilder] = []
    for line in lines:
        index = _find_row_beside(rows, line)
        if index is not None:
            for wrapped in rows[index + 1 :]:
                rows[index].extend_last_cell(wrapped.first_line)
            del rows[index + 1 :]
            rows[index].add_cell(line)
        elif rows and rows[-1].is_continued_by(line):
            rows[-1].extend_last_cell(line)
        else:
            rows.append(_RowBuilder(line))
    return [row.to_line() for row in rows]


def _find_row_beside(rows: Sequence[_RowBuilder], line: TextLine) -> int | None:
    """Return the index of the row that `line` continues to the right.

    That is the last one, or one whose last cell has had a few more lines since.
    """
    for index in range(len(rows) - 1, max(len(rows) - 1 - _MAX_CELL_LINES, -1), -1):
        row = rows[index]
        if row.has_next_cell(line):
            return index
        is_moved = index > 0 and abs(rows[index - 1].first_line.x - row.first_line.x) > 2
        if row.cell_count > 1 or is_moved:
            return None
    return None
