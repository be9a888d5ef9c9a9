"""PDF: text page by page, put back into paragraphs, rows and headings from where and how large it was drawn."""

import io
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import pairwise
from statistics import median
from typing import Any

from pypdf import PdfReader

from core.errors import Unreadable
from ingest.parsers import Parsed, limits, too_large
from ingest.parsers.builder import Item, TextBuilder, one_line
from ingest.parsers.pdf.lines import Line, lines_of
from ingest.parsers.pdf.ocr import PageReader

# pypdf logs each oddity of each file; what matters reaches the caller as an exception.
logging.getLogger("pypdf").setLevel(logging.ERROR)

_ENDS = re.compile(r"""[.!?:;…。！？]["'”’)\]»]*$""")
_BULLET = re.compile(r"(?:([•●○▪■◦‣·∙*–-])|(\(?(?:\d{1,2}|[a-z])[.)]))\s+(?=\S)")
_NUMBERING = re.compile(r"^(?:chapter|section|part)?\s*(?:\d+|[IVX]+)?(?:\.\d+)*[.:]?\s+", re.IGNORECASE)
_JUNK = re.compile(r"\(?(?:untitled|anonymous|unspecified|unknown)\)?", re.IGNORECASE)
_JUNK_TITLE = re.compile(r"microsoft (?:word|powerpoint|excel) - |.*\.(?:docx?|pdf|tex|indd|pptx?|xlsx?)$", re.I)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_SHORT = 0.75  # A line of less than this share of the column's width ended because its paragraph did.
_HEADING_LENGTH = 120


def parse(data: bytes) -> Parsed:
    """Read a PDF that has a text layer; raises Unreadable `encrypted` or `no-text` (a scan)."""
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise Unreadable("encrypted", "The PDF is encrypted with a password; save a copy without one and ingest that.")
    if len(reader.pages) > limits.PAGES:
        raise too_large("The PDF", f"has more than {limits.PAGES:,} pages")
    pages = [lines_of(page) for page in reader.pages]
    scanned = _read_scans(reader, pages)
    empty = [number for number, lines in enumerate(pages, 1) if not lines]
    fields = _form_fields(reader)
    if len(empty) == len(pages) and not fields:
        raise Unreadable(
            "no-text", "The PDF has no text on any page, it seems to be scanned; run OCR on it and ingest that."
        )
    builder = TextBuilder()
    _Writer(builder, _without_running_lines(pages), _outline(reader)).write()
    builder.list(fields)
    metadata = _metadata(reader)
    if empty:
        metadata["pages_without_text"] = empty
    if scanned:
        metadata["pages_by_ocr"] = scanned
    title = str(metadata.pop("title", ""))
    return builder.build(title, metadata)


def _read_scans(reader: PdfReader, pages: list[list[Line]]) -> list[int]:
    """Fill in the pages that are pictures, where a program for it is in use; returns their numbers."""
    ocr = PageReader()
    scanned = []
    for index, lines in enumerate(pages):
        if not lines:
            with suppress(Exception):  # A picture that can't be decoded leaves the page without text, and is named so.
                pages[index] = _as_printed(ocr.lines(reader.pages[index]))
        if pages[index] and not lines:
            scanned.append(index + 1)
    return scanned


def _as_printed(texts: Sequence[str]) -> list[Line]:
    """Lines of text as if they had been drawn from top to bottom, blank ones as room between paragraphs."""
    lines = [Line(one_line(text), 72, 12 * (len(texts) - at), 10, False) for at, text in enumerate(texts)]
    return [line for line in lines if line.text]


def _metadata(reader: PdfReader) -> dict[str, object]:
    found: dict[str, object] = {"pages": len(reader.pages)}
    with suppress(Exception):
        if language := one_line(str(reader.root_object.get("/Lang") or "")):
            found["language"] = language
    info = reader.metadata
    if info is None:
        return found
    for name in ("title", "author", "subject", "keywords"):
        with suppress(Exception):  # A damaged entry costs that entry, not the document.
            value = one_line(str(getattr(info, name) or ""))
            if value and not _JUNK.fullmatch(value) and not (name == "title" and _JUNK_TITLE.match(value)):
                found[name] = value
    for key, name in (("created", "creation_date"), ("modified", "modification_date")):
        with suppress(Exception):
            if moment := getattr(info, name):
                found[key] = moment.isoformat()
    return found


def _form_fields(reader: PdfReader) -> list[Item]:
    """What somebody filled in: it is drawn by the viewer, so no page's text holds it."""
    with suppress(Exception):
        values = reader.get_form_text_fields()
        return [Item(f"{name}: {value}") for name, value in values.items() if value and str(value).strip()]
    return []


def _outline(reader: PdfReader) -> Mapping[tuple[int, str], int]:
    """(page, normalised title) -> level, for each bookmark."""
    levels: dict[tuple[int, str], int] = {}

    def walk(entries: Sequence[Any], level: int) -> None:
        for entry in entries:
            if isinstance(entry, list):
                walk(entry, level + 1)
            elif (page := reader.get_destination_page_number(entry)) is not None:
                levels.setdefault((page + 1, _heading_key(str(entry.title))), level)

    with suppress(Exception):  # Bookmarks are a help; a file with broken ones is still readable.
        walk(reader.outline, 1)
    return levels


def _heading_key(text: str) -> str:
    line = one_line(text).casefold()
    return _NUMBERING.sub("", line) or line


def _without_running_lines(pages: Sequence[Sequence[Line]]) -> list[tuple[int, Line]]:
    """All lines with their page, without the headers, footers and page numbers that repeat on most pages."""
    written = [lines for lines in pages if lines]
    seen = Counter(key for lines in written for key in {_running_key(line) for line in _edges(lines)})
    # Books alternate left and right headers: each is on half of the pages.
    running = {key for key, count in seen.items() if count >= 3 and count >= 0.4 * len(written)}
    kept = []
    for number, lines in enumerate(pages, 1):
        edges = {id(line) for line in _edges(lines)}
        own = [line for line in lines if not (id(line) in edges and _running_key(line) in running)]
        kept += [(number, line) for line in own or lines]
    return kept


def _edges(lines: Sequence[Line]) -> Sequence[Line]:
    """The two topmost and the two lowest lines of a page, wherever they stand in the file."""
    ordered = sorted(lines, key=lambda line: line.y)
    return ordered if len(ordered) <= 4 else [*ordered[:2], *ordered[-2:]]


def _running_key(line: Line) -> str:
    return re.sub(r"\d+|\b[ivxlc]+\b", "#", line.text.casefold())


class _Writer:
    """Groups lines into paragraphs, list items and table rows and tells the builder."""

    def __init__(self, builder: TextBuilder, lines: Sequence[tuple[int, Line]], outline: Mapping[tuple[int, str], int]):
        self._builder = builder
        self._lines = lines
        self._words = Counter(word.casefold() for _, line in lines for word in _WORD.findall(line.text))
        sizes = Counter[float]()
        for _, line in lines:
            sizes[line.size] += len(line.text)
        self._body = sizes.most_common(1)[0][0] if sizes else 0.0
        self._leading = _usual_leading([line for _, line in lines], self._body)
        self._outline = outline
        self._by_outline = any((page, _heading_key(line.text)) in outline for page, line in lines)
        larger = sorted({line.size for _, line in lines if line.size > 1.15 * self._body}, reverse=True)
        self._levels = {size: min(level, 4) for level, size in enumerate(larger, 1)}

    def write(self) -> None:
        for group in self._groups():
            page, first = group[0]
            self._builder.page(page)
            lines = [line for _, line in group]
            level = self._heading_level(page, lines)
            text = self._joined(lines)
            if level:
                self._builder.heading(level, text)
            elif first.cells > 1:
                self._builder.table([line.text.split(" | ") for line in lines])
            elif _BULLET.match(first.text):
                self._builder.list(self._items(lines))
            else:
                self._builder.paragraph(text)

    def _groups(self) -> Iterator[list[tuple[int, Line]]]:
        group: list[tuple[int, Line]] = []
        widths = self._widths()
        for entry in self._lines:
            if group and not self._continues(group[-1], entry, group[0][1], widths[group[-1][0]]):
                yield group
                group = []
            group.append(entry)
        if group:
            yield group

    def _widths(self) -> Mapping[int, float]:
        """Per page, the usual length of a full line, in characters."""
        lengths: dict[int, list[int]] = {}
        for page, line in self._lines:
            lengths.setdefault(page, []).append(len(line.text))
        return {page: sorted(found)[int(0.8 * (len(found) - 1))] for page, found in lengths.items()}

    def _continues(self, last: tuple[int, Line], entry: tuple[int, Line], first: Line, width: float) -> bool:
        """Whether `entry` belongs to the same block as the line before it."""
        (page, above), (next_page, line) = last, entry
        if above.cells > 1 or line.cells > 1:
            return above.cells > 1 and line.cells > 1 and page == next_page and above.y > line.y
        if self._is_bookmark(entry) or self._is_bookmark(last) or abs(above.size - line.size) > 0.1 * above.size:
            return False
        in_list = bool(_BULLET.match(first.text))
        if _BULLET.match(line.text):
            return in_list and page == next_page
        unfinished = not _ENDS.search(above.text) and line.text[:1].islower() and not self._is_title(above)
        drop = above.y - line.y
        if page != next_page or drop <= 0:  # The next page or column.
            return unfinished
        if above.bold != line.bold and (self._is_title(above) or self._is_title(line)):
            return False
        if drop > 1.35 * self._leading.get(above.size, 1.5 * above.size):
            return unfinished and drop < 2.2 * self._leading.get(above.size, 1.5 * above.size)
        if in_list:
            return line.x > first.x or unfinished
        if len(above.text) < _SHORT * width:
            return unfinished
        indented = line.x > above.x + 0.5 * line.size and above.x <= first.x
        return not (indented and _ENDS.search(above.text))

    def _is_bookmark(self, entry: tuple[int, Line]) -> bool:
        return (entry[0], _heading_key(entry[1].text)) in self._outline

    def _is_title(self, line: Line) -> bool:
        """Larger than the body, or bold, and short: what a heading looks like."""
        emphasised = line.size in self._levels or (line.bold and line.size >= self._body)
        return emphasised and len(line.text) <= _HEADING_LENGTH and not re.search(r"[.,;!]$", line.text)

    def _heading_level(self, page: int, lines: Sequence[Line]) -> int:
        if self._by_outline:
            return self._outline.get((page, _heading_key(self._joined(lines))), 0)
        text = " ".join(line.text for line in lines)
        wordy = re.search(r"[^\W\d_]{2}", text) is not None
        if len(lines) > 3 or len(text) > _HEADING_LENGTH or not wordy or any(line.cells > 1 for line in lines):
            return 0
        if not all(self._is_title(line) for line in lines) or text.endswith(":"):
            return 0
        return self._levels.get(lines[0].size, min(len(self._levels) + 1, 5))

    def _items(self, lines: Sequence[Line]) -> Iterator[Item]:
        group: list[Line] = []
        for line in lines:
            if group and _BULLET.match(line.text):
                yield self._item(group)
                group = []
            group.append(line)
        yield self._item(group)

    def _item(self, lines: Sequence[Line]) -> Item:
        text = self._joined(lines)
        match = _BULLET.match(text)
        assert match is not None
        return Item(text[match.end() :], 0, "-" if match[1] else match[2])

    def _joined(self, lines: Sequence[Line]) -> str:
        text = lines[0].text
        for line in lines[1:]:
            text = self._join(text, line.text)
        return text

    def _join(self, text: str, line: str) -> str:
        """Two lines as one. A hyphen at the break goes, unless the document writes that word with it elsewhere."""
        if not (text.endswith("-") and text[-2:-1].isalpha() and line[:1].islower()):
            return f"{text} {line}"
        left, right = _WORD.findall(text[:-1])[-1].casefold(), _WORD.findall(line)[0].casefold()
        keeps = self._words[f"{left}-{right}"] > self._words[left + right]
        return text + line if keeps else text[:-1] + line


def _usual_leading(lines: Sequence[Line], body: float) -> Mapping[float, float]:
    """Font size -> the usual distance from one baseline to the next within a paragraph."""
    gaps: dict[float, list[float]] = {}
    for above, line in pairwise(lines):
        if above.size == line.size and 0.9 * line.size < above.y - line.y < 2.5 * line.size:
            gaps.setdefault(line.size, []).append(above.y - line.y)
    return {size: median(found) for size, found in gaps.items() if size == body or len(found) >= 5}
