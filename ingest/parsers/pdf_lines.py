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
        if open_line and piece.text.strip() and abs(piece.y - open_line[-1].y) > max(piece.size, open_line[-1].size):
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


def _rows(lines: Sequence[Line]) -> list[Line]:
    """Lines that stand side by side, each further right than the last, as one row of cells."""
    rows: list[Line] = []
    right = 0.0
    for line in lines:
        last = rows[-1] if rows else None
        if last and abs(last.y - line.y) < 0.2 * line.size and line.x > right + line.size:
            marker = _MARKER.fullmatch(last.text) and line.x - right < 4 * line.size
            joined = f"{last.text}{' ' if marker else ' | '}{line.text}"
            cells = line.cells if marker else last.cells + line.cells
            rows[-1] = replace(last, text=joined, cells=cells, bold=last.bold and line.bold)
        else:
            rows.append(line)
        right = line.x
    return rows
