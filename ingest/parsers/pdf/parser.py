"""PDF: text page by page, put back into headings, paragraphs, lists and tables by its layout."""

import io
import logging
import re
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from pypdf import PdfReader

from core.errors import UnreadableFile
from ingest.parsers import limits
from ingest.parsers.builder import ListItem, TextBuilder, to_single_line
from ingest.parsers.errors import password_error, size_limit_error
from ingest.parsers.pdf.blocks import PageLine, PdfWriter, to_outline_key
from ingest.parsers.pdf.lines import TextLine, extract_lines
from ingest.parsers.pdf.ocr import ScannedPageReader
from ingest.parsers.types import ParsedDocument

# pypdf logs each oddity of each file; what matters reaches the caller as an exception.
logging.getLogger("pypdf").setLevel(logging.ERROR)

_PLACEHOLDER_VALUE = re.compile(r"\(?(?:untitled|anonymous|unspecified|unknown)\)?", re.IGNORECASE)
_GENERATED_TITLE = re.compile(
    r"microsoft (?:word|powerpoint|excel) - |.*\.(?:docx?|pdf|tex|indd|pptx?|xlsx?)$", re.I
)
_NUMBER = re.compile(r"\d+|\b[ivxlc]+\b")
_MIN_REPEATED_PAGES = 3  # A header or footer is on at least this many pages,
_MIN_REPEATED_SHARE = 0.4  # and on this share: books alternate left and right headers.


def parse(data: bytes) -> ParsedDocument:
    """Parse a PDF; scanned pages need OCR. Raises UnreadableFile `encrypted` or `no-text`."""
    reader = _open_pdf(data)
    pages = [extract_lines(page) for page in reader.pages]
    scanned_pages = _read_scanned_pages(reader, pages)
    empty_pages = [number for number, lines in enumerate(pages, 1) if not lines]
    form_fields = _read_form_fields(reader)
    if len(empty_pages) == len(pages) and not form_fields:
        why = "The PDF has no text on any page and seems to be scanned. Run OCR on it first."
        raise UnreadableFile("no-text", why)
    builder = TextBuilder()
    PdfWriter(builder, _drop_headers_and_footers(pages), _read_outline(reader)).write()
    builder.add_list(form_fields)
    metadata = _read_metadata(reader)
    if empty_pages:
        metadata["pages_without_text"] = empty_pages
    if scanned_pages:
        metadata["pages_by_ocr"] = scanned_pages
    return builder.build(str(metadata.pop("title", "")), metadata)


def _open_pdf(data: bytes) -> PdfReader:
    reader = PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise password_error("The PDF")
    if len(reader.pages) > limits.MAX_DOCUMENT_PAGES:
        raise size_limit_error("The PDF", f"has more than {limits.MAX_DOCUMENT_PAGES:,} pages")
    return reader


def _read_scanned_pages(reader: PdfReader, pages: list[list[TextLine]]) -> list[int]:
    """Fill in the lines of pages without text, if OCR is in use; return their numbers."""
    ocr = ScannedPageReader()
    scanned = []
    for index, lines in enumerate(pages):
        if lines:
            continue
        with suppress(Exception):  # A damaged picture leaves its page without text.
            pages[index] = _lines_from_ocr(ocr.read_lines(reader.pages[index]))
        if pages[index]:
            scanned.append(index + 1)
    return scanned


def _lines_from_ocr(texts: Sequence[str]) -> list[TextLine]:
    """Place the lines of a page from top to bottom; blank ones leave room between paragraphs."""
    lines = [
        TextLine(to_single_line(text), x=72, y=12 * (len(texts) - index), size=10, is_bold=False)
        for index, text in enumerate(texts)
    ]
    return [line for line in lines if line.text]


def _read_metadata(reader: PdfReader) -> dict[str, object]:
    """Read the document information; a damaged entry is left out."""
    metadata: dict[str, object] = {"pages": len(reader.pages)}
    with suppress(Exception):
        if language := to_single_line(str(reader.root_object.get("/Lang") or "")):
            metadata["language"] = language
    info = reader.metadata
    for name in ("title", "author", "subject", "keywords"):
        with suppress(Exception):
            value = to_single_line(str(getattr(info, name) or ""))
            if value and not _is_placeholder(name, value):
                metadata[name] = value
    for key, name in (("created", "creation_date"), ("modified", "modification_date")):
        with suppress(Exception):
            metadata[key] = getattr(info, name).isoformat()
    return metadata


def _is_placeholder(name: str, value: str) -> bool:
    if name == "title" and _GENERATED_TITLE.match(value):
        return True
    return _PLACEHOLDER_VALUE.fullmatch(value) is not None


def _read_form_fields(reader: PdfReader) -> list[ListItem]:
    """Read filled-in form fields, which are not part of any page's text."""
    with suppress(Exception):
        fields = reader.get_form_text_fields().items()
        return [ListItem(f"{name}: {value}") for name, value in fields if str(value or "").strip()]
    return []


def _read_outline(reader: PdfReader) -> dict[tuple[int, str], int]:
    """Return the level of each bookmark, by page and normalised title."""
    levels: dict[tuple[int, str], int] = {}

    def add_entries(entries: Sequence[Any], level: int) -> None:
        for entry in entries:
            if isinstance(entry, list):
                add_entries(entry, level + 1)
            elif (page := reader.get_destination_page_number(entry)) is not None:
                levels.setdefault((page + 1, to_outline_key(str(entry.title))), level)

    with suppress(Exception):  # A file with broken bookmarks is still readable.
        add_entries(reader.outline, 1)
    return levels


def _drop_headers_and_footers(pages: Sequence[Sequence[TextLine]]) -> list[PageLine]:
    """Return all lines but the headers, footers and page numbers that repeat on most pages."""
    filled_pages = [lines for lines in pages if lines]
    page_counts: Counter[str] = Counter()
    for lines in filled_pages:
        page_counts.update({_to_repeat_key(line) for line in _edge_lines(lines)})
    min_pages = max(_MIN_REPEATED_PAGES, _MIN_REPEATED_SHARE * len(filled_pages))
    repeated = {key for key, count in page_counts.items() if count >= min_pages}
    kept: list[PageLine] = []
    for number, lines in enumerate(pages, 1):
        dropped = {id(line) for line in _edge_lines(lines) if _to_repeat_key(line) in repeated}
        body = [line for line in lines if id(line) not in dropped]
        kept += [PageLine(number, line) for line in body or lines]
    return kept


def _edge_lines(lines: Sequence[TextLine]) -> Sequence[TextLine]:
    """Return the two highest and the two lowest lines of a page."""
    ordered = sorted(lines, key=lambda line: line.y)
    return ordered if len(ordered) <= 4 else [*ordered[:2], *ordered[-2:]]


def _to_repeat_key(line: TextLine) -> str:
    """Return the line's text with a placeholder for numbers, which differ from page to page."""
    return _NUMBER.sub("#", line.text.casefold())
