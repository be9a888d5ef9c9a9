"""The formats that can be parsed.

To add a format, write a module with `def parse(data: bytes) -> ParsedDocument` that writes to a
`TextBuilder`, and add one line to `FORMATS`. Nothing else lists the formats.
"""

from importlib import import_module
from typing import NamedTuple

from ingest.parsers.types import Parser

PDF = "application/pdf"
HTML = "text/html"
EMAIL = "message/rfc822"
EPUB = "application/epub+zip"
RTF = "application/rtf"
ODT = "application/vnd.oasis.opendocument.text"
DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
PPTX = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


class Format(NamedTuple):
    """A media type, the file name suffixes that stand for it, and the module that parses it."""

    media_type: str
    suffixes: tuple[str, ...]
    module: str
    is_binary: bool = False
    """Its files never look like plain text."""


# Modules are named, not imported: a library is loaded when the first file of its format comes.
FORMATS = (
    Format("text/markdown", (".md", ".markdown", ".mdx"), "ingest.parsers.text.markdown"),
    Format("text/plain", (".txt",), "ingest.parsers.text.plain_text"),
    Format(HTML, (".htm", ".html", ".xhtml"), "ingest.parsers.html.parser"),
    Format(PDF, (".pdf",), "ingest.parsers.pdf.parser", is_binary=True),
    Format(DOCX, (".docx",), "ingest.parsers.office.docx", is_binary=True),
    Format(PPTX, (".pptx",), "ingest.parsers.office.pptx", is_binary=True),
    Format(XLSX, (".xlsx",), "ingest.parsers.office.xlsx", is_binary=True),
    Format("text/csv", (".csv", ".tsv"), "ingest.parsers.text.csv"),
    Format("text/x-rst", (".rst",), "ingest.parsers.text.rst"),
    Format("application/json", (".json",), "ingest.parsers.text.json"),
    Format("application/jsonl", (".jsonl", ".ndjson"), "ingest.parsers.text.jsonl"),
    Format(EMAIL, (".eml",), "ingest.parsers.eml"),
    Format(EPUB, (".epub",), "ingest.parsers.epub", is_binary=True),
    Format(RTF, (".rtf",), "ingest.parsers.office.rtf", is_binary=True),
    Format(ODT, (".odt",), "ingest.parsers.office.odt", is_binary=True),
)


def find_format(suffix: str) -> Format | None:
    """Return the format of a file name suffix such as ".md"; None if it is unknown."""
    return next((entry for entry in FORMATS if suffix.lower() in entry.suffixes), None)


def has_parser(media_type: str) -> bool:
    """Return True if files of that media type can be parsed."""
    return any(entry.media_type == media_type for entry in FORMATS)


def load_parser(media_type: str) -> Parser:
    """Import the parser of a media type in `FORMATS`, with the libraries it needs."""
    module = next(entry.module for entry in FORMATS if entry.media_type == media_type)
    parser: Parser = import_module(module).parse
    return parser
