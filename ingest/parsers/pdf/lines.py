"""A PDF page as lines of text that know where they stand, how large they are and whether they are bold."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pypdf import PageObject

from ingest.parsers.builder import to_single_line

_BOLD_FONT = re.compile(r"bold|black|heavy|semib|demi|CMBX|-Bd", re.IGNORECASE)
_ITEM_MARKER = re.compile(
    r"[^\w\s]|\(?(?:\d{1,2}|[A-Za-z])[.)]|\d+(?:\.\d+)*\.?"
)  # In front of an item or a heading.
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
_MAX_LEADING_RATIO = (
    1.6  # Baselines of one cell's lines are less than this times the font's size apart.
)
_MAX_CELL_LINES = 4  # A first cell of more lines is taken for a column of prose.
_MIN_FONT_POINTS = 1.0  # Points. Nobody reads it, so nobody shall be quoted it.


@dataclass(frozen=True, slots=True)
class TextLine:
    """One printed line. `x`, `y`: where it begins, in points from the page's lower left; `size` in points, rounded.

    `cells` is how many pieces side by side it was put together from, joined in `text` by " | ".
    """

    text: str
    x: float
    y: float
    size: float
    is_bold: bool
    cell_count: int = 1


@dataclass(slots=True)
class _TextFragment:
    text: str
    x: float
    y: float
    size: float
    is_bold: bool


def extract_lines(page: PageObject) -> list[TextLine]:
    """The page's lines in the order of the file, which is the order of reading in nearly every PDF."""
    pieces: list[_TextFragment] = []

    def visit(text: str, cm: Sequence[float], tm: Sequence[float], font: Any, size: float) -> None:
        if text:
            pieces.append(_make_fragment(text, cm, tm, font, size))

    page.extract_text(visitor_text=visit)
    return _merge_rows(_group_fragments(pieces))


def _make_fragment(
    text: str, cm: Sequence[float], tm: Sequence[float], font: Any, size: float
) -> _TextFragment:
    x = tm[4] * cm[0] + tm[5] * cm[2] + cm[4]
    y = tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
    up = math.hypot(tm[2] * cm[0] + tm[3] * cm[2], tm[2] * cm[1] + tm[3] * cm[3])
    name = str(font.get("/BaseFont", "")) if font else ""
    if "CMSY" in name:
        text = text.replace(
            "\0", "−"
        )  # TeX's symbol font has the minus sign where others have nothing.
    text = text.replace("/Bullet", "\u2022").replace(
        "/bullet", "\u2022"
    )  # A glyph that the library has only a name for.
    return _TextFragment(
        text.translate(_LIGATURES), x, y, abs(size) * up, bool(_BOLD_FONT.search(name))
    )


def _group_fragments(fragments: Sequence[_TextFragment]) -> list[TextLine]:
    lines: list[TextLine] = []
    open_line: list[_TextFragment] = []

    def close() -> None:
        cells = list(filter(None, map(to_single_line, _split_cells(open_line))))
        drawn = [piece for piece in open_line if piece.text.strip()]
        open_line.clear()
        if cells and drawn:
            widest = max(drawn, key=lambda piece: len(piece.text))
            bold = (
                sum(len(p.text) for p in drawn if p.is_bold) > sum(len(p.text) for p in drawn) / 2
            )
            size = round(widest.size * 2) / 2
            lines.append(
                TextLine(" | ".join(cells), drawn[0].x, drawn[0].y, size, bold, len(cells))
            )

    for piece in fragments:
        if piece.size < _MIN_FONT_POINTS and piece.text.strip():
            continue
        if open_line and piece.text.strip() and _is_on_other_line(piece, open_line[-1]):
            close()
        first, *further = piece.text.split("\n")
        if first:
            open_line.append(replace(piece, text=first))
        for text in further:
            close()
            if text:
                open_line.append(replace(piece, text=text))
    close()
    return lines


def _is_on_other_line(fragment: _TextFragment, previous: _TextFragment) -> bool:
    """Whether a piece stands on another line: far above or below, or a little and back to the left."""
    drop = abs(fragment.y - previous.y)
    size = max(fragment.size, previous.size)
    return drop > size or (drop > 0.5 * size and fragment.x < previous.x)


def _split_cells(fragments: Sequence[_TextFragment]) -> list[str]:
    """A line's text, parted where there is more room between two pieces than prose ever leaves."""
    cells = [""]
    right = -math.inf
    for piece in fragments:
        # Half its size is the usual width of a letter; the longer the piece, the less sure its end.
        width = 0.5 * piece.size * len(piece.text.strip())
        if piece.text.strip() and cells[-1].strip() and piece.x > right:
            room = 4 * piece.size if _ITEM_MARKER.fullmatch(cells[-1].strip()) else piece.size
            if piece.x - right > room:
                cells.append("")
        cells[-1] += piece.text
        if piece.text.strip():
            right = max(right, piece.x) + 1.25 * width
    return cells


class _RowBuilder:
    """A line, or the cells of a table's row side by side, each of one or more lines."""

    def __init__(self, line: TextLine) -> None:
        self.first_line = line
        self._cells = [line.text]
        self._is_bold = line.is_bold
        self._cell_count = line.cell_count
        self._last_line = line  # The line added last; a cell stands where its first line does.
        self._last_cell_x = line.x

    def to_line(self) -> TextLine:
        """The row as one line of text."""
        return replace(
            self.first_line,
            text=" | ".join(self._cells),
            is_bold=self._is_bold,
            cell_count=self._cell_count,
        )

    def is_continued_by(self, line: TextLine) -> bool:
        """Whether `line` is the next line of the last cell."""
        below = 0 < self._last_line.y - line.y < _MAX_LEADING_RATIO * line.size
        return (
            self._cell_count > 1
            and line.cell_count == 1
            and below
            and abs(line.x - self._last_cell_x) < 2
            and self._last_cell_x > self.first_line.x
        )

    def has_next_cell(self, line: TextLine) -> bool:
        """Whether `line` begins another cell: at the row's height, further right."""
        return (
            abs(self.first_line.y - line.y) < 0.2 * line.size
            and line.x > self._last_cell_x + line.size
        )

    def extend_last_cell(self, line: TextLine) -> None:
        """Take `line` into the last cell."""
        self._cells[-1] += f" {line.text}"
        self._last_line = line

    def add_cell(self, line: TextLine) -> None:
        """Take `line` as the next cell, or as what an item's marker stands in front of."""
        if _ITEM_MARKER.fullmatch(self._cells[-1]) and line.x - self._last_cell_x < 4 * line.size:
            self._cells[-1] += f" {line.text}"
            self._cell_count += line.cell_count - 1
        else:
            self._cells.append(line.text)
            self._cell_count += line.cell_count
        self._is_bold = self._is_bold and line.is_bold
        self._last_line, self._last_cell_x = line, line.x


def _merge_rows(lines: Sequence[TextLine]) -> list[TextLine]:
    """Lines that stand side by side as one row of cells; a cell's own lines come before the next cell in the file."""
    rows: list[_RowBuilder] = []
    for line in lines:
        at = _find_row_beside(rows, line)
        if at is not None:
            for wrapped in rows[at + 1 :]:
                rows[at].extend_last_cell(wrapped.first_line)
            del rows[at + 1 :]
            rows[at].add_cell(line)
        elif rows and rows[-1].is_continued_by(line):
            rows[-1].extend_last_cell(line)
        else:
            rows.append(_RowBuilder(line))
    return [row.to_line() for row in rows]


def _find_row_beside(rows: Sequence[_RowBuilder], line: TextLine) -> int | None:
    """The row that `line` continues to the right: the last one, or one whose last cell has a few more lines since."""
    for back in range(1, min(_MAX_CELL_LINES, len(rows)) + 1):
        row = rows[-back]
        if row.has_next_cell(line):
            return len(rows) - back
        if row.to_line().cell_count > 1 or (
            back < len(rows) and abs(rows[-back - 1].first_line.x - row.first_line.x) > 2
        ):
            return None
    return None
