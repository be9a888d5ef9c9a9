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

from core.errors import UnreadableFile
from ingest.parsers import limits
from ingest.parsers.builder import ListItem, TextBuilder, to_single_line
from ingest.parsers.errors import size_limit_error
from ingest.parsers.pdf.lines import TextLine, extract_lines
from ingest.parsers.pdf.ocr import ScannedPageReader
from ingest.parsers.types import ParsedDocument

# pypdf logs each oddity of each file; what matters reaches the caller as an exception.
logging.getLogger("pypdf").setLevel(logging.ERROR)

_SENTENCE_END = re.compile(r"""[.!?:;…。！？]["'”’)\]»]*$""")
_LIST_MARKER = re.compile(r"(?:([•●○▪■◦‣·∙*–-])|(\(?(?:\d{1,2}|[a-z])[.)]))\s+(?=\S)")
_HEADING_NUMBER = re.compile(
    r"^(?:chapter|section|part)?\s*(?:\d+|[IVX]+)?(?:\.\d+)*[.:]?\s+", re.IGNORECASE
)
_PLACEHOLDER_VALUE = re.compile(r"\(?(?:untitled|anonymous|unspecified|unknown)\)?", re.IGNORECASE)
_GENERATED_TITLE = re.compile(
    r"microsoft (?:word|powerpoint|excel) - |.*\.(?:docx?|pdf|tex|indd|pptx?|xlsx?)$", re.I
)
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_SHORT_LINE_RATIO = (
    0.75  # A line of less than this share of the column's width ended because its paragraph did.
)
_MAX_HEADING_CHARACTERS = 120


def parse(data: bytes) -> ParsedDocument:
    """Read a PDF that has a text layer; raises Unreadable `encrypted` or `no-text` (a scan)."""
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise UnreadableFile(
            "encrypted",
            "The PDF is encrypted with a password; save a copy without one and ingest that.",
        )
    if len(reader.pages) > limits.MAX_DOCUMENT_PAGES:
        raise size_limit_error("The PDF", f"has more than {limits.MAX_DOCUMENT_PAGES:,} pages")
    pages = [extract_lines(page) for page in reader.pages]
    scanned = _read_scanned_pages(reader, pages)
    empty = [number for number, lines in enumerate(pages, 1) if not lines]
    fields = _read_form_fields(reader)
    if len(empty) == len(pages) and not fields:
        raise UnreadableFile(
            "no-text",
            "The PDF has no text on any page, it seems to be scanned; run OCR on it and ingest that.",
        )
    builder = TextBuilder()
    _PdfWriter(builder, _drop_headers_and_footers(pages), _read_outline(reader)).write()
    builder.add_list(fields)
    metadata = _read_metadata(reader)
    if empty:
        metadata["pages_without_text"] = empty
    if scanned:
        metadata["pages_by_ocr"] = scanned
    title = str(metadata.pop("title", ""))
    return builder.build(title, metadata)


def _read_scanned_pages(reader: PdfReader, pages: list[list[TextLine]]) -> list[int]:
    """Fill in the pages that are pictures, where a program for it is in use; returns their numbers."""
    ocr = ScannedPageReader()
    scanned = []
    for index, lines in enumerate(pages):
        if not lines:
            with suppress(
                Exception
            ):  # A picture that can't be decoded leaves the page without text, and is named so.
                pages[index] = _lines_from_ocr(ocr.read_lines(reader.pages[index]))
        if pages[index] and not lines:
            scanned.append(index + 1)
    return scanned


def _lines_from_ocr(texts: Sequence[str]) -> list[TextLine]:
    """Lines of text as if they had been drawn from top to bottom, blank ones as room between paragraphs."""
    lines = [
        TextLine(to_single_line(text), 72, 12 * (len(texts) - at), 10, False)
        for at, text in enumerate(texts)
    ]
    return [line for line in lines if line.text]


def _read_metadata(reader: PdfReader) -> dict[str, object]:
    found: dict[str, object] = {"pages": len(reader.pages)}
    with suppress(Exception):
        if language := to_single_line(str(reader.root_object.get("/Lang") or "")):
            found["language"] = language
    info = reader.metadata
    if info is None:
        return found
    for name in ("title", "author", "subject", "keywords"):
        with suppress(Exception):  # A damaged entry costs that entry, not the document.
            value = to_single_line(str(getattr(info, name) or ""))
            if (
                value
                and not _PLACEHOLDER_VALUE.fullmatch(value)
                and not (name == "title" and _GENERATED_TITLE.match(value))
            ):
                found[name] = value
    for key, name in (("created", "creation_date"), ("modified", "modification_date")):
        with suppress(Exception):
            if moment := getattr(info, name):
                found[key] = moment.isoformat()
    return found


def _read_form_fields(reader: PdfReader) -> list[ListItem]:
    """What somebody filled in: it is drawn by the viewer, so no page's text holds it."""
    with suppress(Exception):
        values = reader.get_form_text_fields()
        return [
            ListItem(f"{name}: {value}")
            for name, value in values.items()
            if value and str(value).strip()
        ]
    return []


def _read_outline(reader: PdfReader) -> Mapping[tuple[int, str], int]:
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
    line = to_single_line(text).casefold()
    return _HEADING_NUMBER.sub("", line) or line


def _drop_headers_and_footers(pages: Sequence[Sequence[TextLine]]) -> list[tuple[int, TextLine]]:
    """All lines with their page, without the headers, footers and page numbers that repeat on most pages."""
    written = [lines for lines in pages if lines]
    seen = Counter(
        key for lines in written for key in {_running_key(line) for line in _edge_lines(lines)}
    )
    # Books alternate left and right headers: each is on half of the pages.
    running = {key for key, count in seen.items() if count >= 3 and count >= 0.4 * len(written)}
    kept = []
    for number, lines in enumerate(pages, 1):
        edges = {id(line) for line in _edge_lines(lines)}
        own = [line for line in lines if not (id(line) in edges and _running_key(line) in running)]
        kept += [(number, line) for line in own or lines]
    return kept


def _edge_lines(lines: Sequence[TextLine]) -> Sequence[TextLine]:
    """The two topmost and the two lowest lines of a page, wherever they stand in the file."""
    ordered = sorted(lines, key=lambda line: line.y)
    return ordered if len(ordered) <= 4 else [*ordered[:2], *ordered[-2:]]


def _running_key(line: TextLine) -> str:
    return re.sub(r"\d+|\b[ivxlc]+\b", "#", line.text.casefold())


class _PdfWriter:
    """Groups lines into paragraphs, list items and table rows and tells the builder."""

    def __init__(
        self,
        builder: TextBuilder,
        lines: Sequence[tuple[int, TextLine]],
        outline: Mapping[tuple[int, str], int],
    ):
        self._builder = builder
        self._lines = lines
        self._word_counts = Counter(
            word.casefold() for _, line in lines for word in _WORD.findall(line.text)
        )
        sizes = Counter[float]()
        for _, line in lines:
            sizes[line.size] += len(line.text)
        self._body_size = sizes.most_common(1)[0][0] if sizes else 0.0
        self._leading_by_size = _measure_leading([line for _, line in lines], self._body_size)
        self._outline = outline
        self._has_bookmarks = any(
            (page, _heading_key(line.text)) in outline for page, line in lines
        )
        larger = sorted(
            {line.size for _, line in lines if line.size > 1.15 * self._body_size}, reverse=True
        )
        self._level_by_size = {size: min(level, 4) for level, size in enumerate(larger, 1)}

    def write(self) -> None:
        for group in self._group_lines():
            page, first = group[0]
            self._builder.start_page(page)
            lines = [line for _, line in group]
            level = self._heading_level(page, lines)
            text = self._join_lines(lines)
            if level:
                self._builder.add_heading(level, text)
            elif first.cell_count > 1:
                self._builder.add_table([line.text.split(" | ") for line in lines])
            elif _LIST_MARKER.match(first.text):
                self._builder.add_list(self._split_items(lines))
            else:
                self._builder.add_paragraph(text)

    def _group_lines(self) -> Iterator[list[tuple[int, TextLine]]]:
        group: list[tuple[int, TextLine]] = []
        widths = self._full_line_lengths()
        for entry in self._lines:
            if group and not self._continues_block(
                group[-1], entry, group[0][1], widths[group[-1][0]]
            ):
                yield group
                group = []
            group.append(entry)
        if group:
            yield group

    def _full_line_lengths(self) -> Mapping[int, float]:
        """Per page, the usual length of a full line, in characters."""
        lengths: dict[int, list[int]] = {}
        for page, line in self._lines:
            lengths.setdefault(page, []).append(len(line.text))
        return {page: sorted(found)[int(0.8 * (len(found) - 1))] for page, found in lengths.items()}

    def _continues_block(
        self,
        previous: tuple[int, TextLine],
        entry: tuple[int, TextLine],
        first: TextLine,
        line_length: float,
    ) -> bool:
        """Whether `entry` belongs to the same block as the line before it."""
        (page, above), (next_page, line) = previous, entry
        if above.cell_count > 1 or line.cell_count > 1:
            return (
                above.cell_count > 1
                and line.cell_count > 1
                and page == next_page
                and above.y > line.y
            )
        if (
            self._is_bookmark(entry)
            or self._is_bookmark(previous)
            or abs(above.size - line.size) > 0.1 * above.size
        ):
            return False
        in_list = bool(_LIST_MARKER.match(first.text))
        if _LIST_MARKER.match(line.text):
            return in_list and page == next_page
        unfinished = (
            not _SENTENCE_END.search(above.text)
            and line.text[:1].islower()
            and not self._looks_like_heading(above)
        )
        drop = above.y - line.y
        if page != next_page or drop <= 0:  # The next page or column.
            return unfinished
        if above.is_bold != line.is_bold and (
            self._looks_like_heading(above) or self._looks_like_heading(line)
        ):
            return False
        if drop > 1.35 * self._leading_by_size.get(above.size, 1.5 * above.size):
            return unfinished and drop < 2.2 * self._leading_by_size.get(
                above.size, 1.5 * above.size
            )
        if in_list:
            return line.x > first.x or unfinished
        if len(above.text) < _SHORT_LINE_RATIO * line_length:
            return unfinished
        indented = line.x > above.x + 0.5 * line.size and above.x <= first.x
        return not (indented and _SENTENCE_END.search(above.text))

    def _is_bookmark(self, entry: tuple[int, TextLine]) -> bool:
        return (entry[0], _heading_key(entry[1].text)) in self._outline

    def _looks_like_heading(self, line: TextLine) -> bool:
        """Larger than the body, or bold, and short: what a heading looks like."""
        emphasised = line.size in self._level_by_size or (
            line.is_bold and line.size >= self._body_size
        )
        return (
            emphasised
            and len(line.text) <= _MAX_HEADING_CHARACTERS
            and not re.search(r"[.,;!]$", line.text)
        )

    def _heading_level(self, page: int, lines: Sequence[TextLine]) -> int:
        if self._has_bookmarks:
            return self._outline.get((page, _heading_key(self._join_lines(lines))), 0)
        text = " ".join(line.text for line in lines)
        wordy = re.search(r"[^\W\d_]{2}", text) is not None
        if (
            len(lines) > 3
            or len(text) > _MAX_HEADING_CHARACTERS
            or not wordy
            or any(line.cell_count > 1 for line in lines)
        ):
            return 0
        if not all(self._looks_like_heading(line) for line in lines) or text.endswith(":"):
            return 0
        return self._level_by_size.get(lines[0].size, min(len(self._level_by_size) + 1, 5))

    def _split_items(self, lines: Sequence[TextLine]) -> Iterator[ListItem]:
        group: list[TextLine] = []
        for line in lines:
            if group and _LIST_MARKER.match(line.text):
                yield self._to_list_item(group)
                group = []
            group.append(line)
        yield self._to_list_item(group)

    def _to_list_item(self, lines: Sequence[TextLine]) -> ListItem:
        text = self._join_lines(lines)
        match = _LIST_MARKER.match(text)
        assert match is not None
        return ListItem(text[match.end() :], 0, "-" if match[1] else match[2])

    def _join_lines(self, lines: Sequence[TextLine]) -> str:
        text = lines[0].text
        for line in lines[1:]:
            text = self._append_line(text, line.text)
        return text

    def _append_line(self, text: str, line: str) -> str:
        """Two lines as one. A hyphen at the break goes, unless the document writes that word with it elsewhere."""
        if not (text.endswith("-") and text[-2:-1].isalpha() and line[:1].islower()):
            return f"{text} {line}"
        left, right = _WORD.findall(text[:-1])[-1].casefold(), _WORD.findall(line)[0].casefold()
        keeps = self._word_counts[f"{left}-{right}"] > self._word_counts[left + right]
        return text + line if keeps else text[:-1] + line


def _measure_leading(lines: Sequence[TextLine], body_size: float) -> Mapping[float, float]:
    """Font size -> the usual distance from one baseline to the next within a paragraph."""
    gaps: dict[float, list[float]] = {}
    for above, line in pairwise(lines):
        if above.size == line.size and 0.9 * line.size < above.y - line.y < 2.5 * line.size:
            gaps.setdefault(line.size, []).append(above.y - line.y)
    return {
        size: median(found) for size, found in gaps.items() if size == body_size or len(found) >= 5
    }
