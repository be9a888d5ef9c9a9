"""A PDF page as lines of text that know where they stand, how large they are and whether they are bold."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from pypdf import PageObject

from ingest.parsers.builder import one_line

_BOLD = re.compile(r"bold|black|heavy|semib|demi|CMBX|-Bd", re.IGNORECASE)
_MARKER = re.compile(r"[^\w\s]|\(?(?:\d{1,2}|[A-Za-z])[.)]|\d+(?:\.\d+)*\.?")  # In front of an item or a heading.
_LIGATURES = str.maketrans({"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"})
_LEADING = 1.6  # Baselines of one cell's lines are less than this times the font's size apart.
_CELL_LINES = 4  # A first cell of more lines is taken for a column of prose.
_INVISIBLY_SMALL = 1.0  # Points. Nobody reads it, so nobody shall be quoted it.


@dataclass(frozen=True, slots=True)
class Line:
    """One printed line. `x`, `y`: where it begins, in points from the page's lower left; `size` in points, rounded.

    `cells` is how many pieces side by side it was put together from, joined in `text` by " | ".
    """

    text: str
    x: float
    y: float
    size: float
    bold: bool
    cells: int = 1


@dataclass(slots=True)
class _Piece:
    text: str
    x: float
    y: float
    size: float
    bold: bool


def lines_of(page: PageObject) -> list[Line]:
    """The page's lines in the order of the file, which is the order of reading in nearly every PDF."""
    pieces: list[_Piece] = []

    def visit(text: str, cm: Sequence[float], tm: Sequence[float], font: Any, size: float) -> None:
        if text:
            pieces.append(_piece(text, cm, tm, font, size))

    page.extract_text(visitor_text=visit)
    return _rows(_lines(pieces))


def _piece(text: str, cm: Sequence[float], tm: Sequence[float], font: Any, size: float) -> _Piece:
    x = tm[4] * cm[0] + tm[5] * cm[2] + cm[4]
    y = tm[4] * cm[1] + tm[5] * cm[3] + cm[5]
    up = math.hypot(tm[2] * cm[0] + tm[3] * cm[2], tm[2] * cm[1] + tm[3] * cm[3])
    name = str(font.get("/BaseFont", "")) if font else ""
    if "CMSY" in name:
        text = text.replace("\0", "−")  # TeX's symbol font has the minus sign where others have nothing.
    text = text.replace("/Bullet", "\u2022").replace(
        "/bullet", "\u2022"
    )  # A glyph that the library has only a name for.
    return _Piece(text.translate(_LIGATURES), x, y, abs(size) * up, bool(_BOLD.search(name)))


def _lines(pieces: Sequence[_Piece]) -> list[Line]:
    lines: list[Line] = []
    open_line: list[_Piece] = []

    def close() -> None:
        cells = list(filter(None, map(one_line, _cells(open_line))))
        drawn = [piece for piece in open_line if piece.text.strip()]
        open_line.clear()
        if cells and drawn:
            widest = max(drawn, key=lambda piece: len(piece.text))
            bold = sum(len(p.text) for p in drawn if p.bold) > sum(len(p.text) for p in drawn) / 2
            size = round(widest.size * 2) / 2
            lines.append(Line(" | ".join(cells), drawn[0].x, drawn[0].y, size, bold, len(cells)))

    for piece in pieces:
        if piece.size < _INVISIBLY_SMALL and piece.text.strip():
            continue
        if open_line and piece.text.strip() and _is_elsewhere(piece, open_line[-1]):
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


def _is_elsewhere(piece: _Piece, last: _Piece) -> bool:
    """Whether a piece stands on another line: far above or below, or a little and back to the left."""
    drop = abs(piece.y - last.y)
    size = max(piece.size, last.size)
    return drop > size or (drop > 0.5 * size and piece.x < last.x)


def _cells(pieces: Sequence[_Piece]) -> list[str]:
    """A line's text, parted where there is more room between two pieces than prose ever leaves."""
    cells = [""]
    right = -math.inf
    for piece in pieces:
        # Half its size is the usual width of a letter; the longer the piece, the less sure its end.
        width = 0.5 * piece.size * len(piece.text.strip())
        if piece.text.strip() and cells[-1].strip() and piece.x > right:
            room = 4 * piece.size if _MARKER.fullmatch(cells[-1].strip()) else piece.size
            if piece.x - right > room:
                cells.append("")
        cells[-1] += piece.text
        if piece.text.strip():
            right = max(right, piece.x) + 1.25 * width
    return cells


class _Row:
    """A line, or the cells of a table's row side by side, each of one or more lines."""

    def __init__(self, line: Line) -> None:
        self.first = line
        self._cells = [line.text]
        self._bold = line.bold
        self._count = line.cells
        self._last = line  # The line added last; a cell stands where its first line does.
        self._x = line.x

    def line(self) -> Line:
        """The row as one line of text."""
        return replace(self.first, text=" | ".join(self._cells), bold=self._bold, cells=self._count)

    def is_wrapped_below(self, line: Line) -> bool:
        """Whether `line` is the next line of the last cell."""
        below = 0 < self._last.y - line.y < _LEADING * line.size
        return self._count > 1 and line.cells == 1 and below and abs(line.x - self._x) < 2 and self._x > self.first.x

    def has_beside(self, line: Line) -> bool:
        """Whether `line` begins another cell: at the row's height, further right."""
        return abs(self.first.y - line.y) < 0.2 * line.size and line.x > self._x + line.size

    def wrap(self, line: Line) -> None:
        """Take `line` into the last cell."""
        self._cells[-1] += f" {line.text}"
        self._last = line

    def add(self, line: Line) -> None:
        """Take `line` as the next cell, or as what an item's marker stands in front of."""
        if _MARKER.fullmatch(self._cells[-1]) and line.x - self._x < 4 * line.size:
            self._cells[-1] += f" {line.text}"
            self._count += line.cells - 1
        else:
            self._cells.append(line.text)
            self._count += line.cells
        self._bold = self._bold and line.bold
        self._last, self._x = line, line.x


def _rows(lines: Sequence[Line]) -> list[Line]:
    """Lines that stand side by side as one row of cells; a cell's own lines come before the next cell in the file."""
    rows: list[_Row] = []
    for line in lines:
        at = _row_beside(rows, line)
        if at is not None:
            for wrapped in rows[at + 1 :]:
                rows[at].wrap(wrapped.first)
            del rows[at + 1 :]
            rows[at].add(line)
        elif rows and rows[-1].is_wrapped_below(line):
            rows[-1].wrap(line)
        else:
            rows.append(_Row(line))
    return [row.line() for row in rows]


def _row_beside(rows: Sequence[_Row], line: Line) -> int | None:
    """The row that `line` continues to the right: the last one, or one whose last cell has a few more lines since."""
    for back in range(1, min(_CELL_LINES, len(rows)) + 1):
        row = rows[-back]
        if row.has_beside(line):
            return len(rows) - back
        if row.line().cells > 1 or (back < len(rows) and abs(rows[-back - 1].first.x - row.first.x) > 2):
            return None
    return None
