"""From a file's bytes to plain text and its structure. `parse` is the way in; one small file per format.

To add a format: write `ingest/parsers/<format>.py` with `def parse(data: bytes) -> Parsed` on a `TextBuilder`,
and add a line to `PARSERS` and one to `EXTENSIONS`.
"""

import io
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import PurePosixPath
from typing import Protocol

from core.errors import UnreadableFile
from core.types import Block
from ingest.parsers import limits
from ingest.parsers.encoding import try_decode
from ingest.parsers.language import detect_language
from ingest.parsers.sniffing import detect_unambiguous_type, guess_text_type


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A file's plain text, its blocks as offsets into it, its title ("" when it names none) and metadata."""

    text: str
    blocks: tuple[Block, ...]
    title: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)


class Parser(Protocol):
    """One format's parser. It may raise Unreadable; `parse` turns whatever a library raises into one."""

    def __call__(self, data: bytes) -> ParsedDocument:
        """`data` is all of the file."""
        ...


# Media type -> the module whose `parse` reads it. Names, so that a library is imported when its format first comes.
PARSER_MODULES: Mapping[str, str] = {
    "text/markdown": "ingest.parsers.text.markdown",
    "text/plain": "ingest.parsers.text.plain_text",
    "text/html": "ingest.parsers.html.parser",
    "application/pdf": "ingest.parsers.pdf.parser",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "ingest.parsers.office.docx",
    "application/vnd.openxmlformats-officedocument.presentationml.presentation": "ingest.parsers.office.pptx",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "ingest.parsers.office.xlsx",
    "text/csv": "ingest.parsers.text.csv",
    "text/x-rst": "ingest.parsers.text.rst",
    "application/json": "ingest.parsers.text.json",
    "application/jsonl": "ingest.parsers.text.jsonl",
    "message/rfc822": "ingest.parsers.eml",
    "application/epub+zip": "ingest.parsers.epub",
    "application/rtf": "ingest.parsers.office.rtf",
    "application/vnd.oasis.opendocument.text": "ingest.parsers.office.odt",
}

MEDIA_TYPE_BY_EXTENSION: Mapping[str, str] = {
    ".md": "text/markdown",
    ".markdown": "text/markdown",
    ".mdx": "text/markdown",
    ".txt": "text/plain",
    ".htm": "text/html",
    ".html": "text/html",
    ".xhtml": "text/html",
    ".pdf": "application/pdf",
    ".docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    ".pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    ".xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    ".csv": "text/csv",
    ".tsv": "text/csv",
    ".rst": "text/x-rst",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".ndjson": "application/jsonl",
    ".eml": "message/rfc822",
    ".epub": "application/epub+zip",
    ".rtf": "application/rtf",
    ".odt": "application/vnd.oasis.opendocument.text",
}

_MEDIA_TYPE_BY_ZIP_FOLDER = {
    "word/": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "ppt/": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "xl/": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
# A text with such a name isn't what the name says.
_BINARY_MEDIA_TYPES = (
    "application/pdf",
    "application/epub+zip",
    "application/rtf",
    MEDIA_TYPE_BY_EXTENSION[".odt"],
    *_MEDIA_TYPE_BY_ZIP_FOLDER.values(),
)
# How pictures, sound and programs begin, which may look like text in some encoding.
_NON_TEXT_SIGNATURES = (
    b"\x89PNG",
    b"\xff\xd8\xff",
    b"GIF8",
    b"RIFF",
    b"ID3",
    b"OggS",
    b"\x7fELF",
    b"MZ\x90",
    b"\x1f\x8b",
    b"7z\xbc",
)
_PDF_MARKER = re.compile(
    rb"%PDF-|endobj"
)  # Readers forgive what stands before the head, or a head that is damaged.
_PDF_HEADER_BYTES = 1024
_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
_OLE_MESSAGE_STREAM = "__properties_version1.0".encode(
    "utf-16-le"
)  # [MS-OXMSG] 2.4: every message holds a stream so called
# What is often among documents and is none -> how such a file begins, or what stands at its fourth byte.
_UNSUPPORTED_SIGNATURES = {
    "a picture; put it into a PDF if it shows text": (
        b"\xff\xd8\xff",
        b"\x89PNG\r\n",
        b"GIF8",
        b"II*\0",
        b"MM\0*",
    ),
    "sound or film; ingest a transcript instead": (
        b"ID3",
        b"RIFF",
        b"OggS",
        b"fLaC",
        b"\x1aE\xdf\xa3",
        b"ftyp",
    ),
    "an archive or built like one; unpack it, or convert it to PDF or DOCX": (
        b"PK\x03\x04",
        b"\x1f\x8b",
        b"7z\xbc\xaf",
        b"Rar!",
        b"BZh",
    ),
}
_UNKNOWN_MEDIA_TYPE = "application/octet-stream"


def parse(name: str, data: bytes) -> tuple[str, ParsedDocument]:
    """The media type and the content of a file called `name`; raises Unreadable with a reason and the fix."""
    if not data or data.isspace():
        raise UnreadableFile(
            "empty", f"{name} is empty; put some text into it or remove it from the source."
        )
    kind = detect_media_type(name, data)
    if kind not in PARSER_MODULES:
        raise _unsupported_type_error(name, kind, data)
    try:
        parsed = load_parser(kind)(data)
    except UnreadableFile:
        raise
    except MemoryError as error:
        raise size_limit_error(name, "takes more memory than a file may") from error
    except RecursionError as error:
        why = f"{name} is nested deeper than can be followed; save it in another format, such as PDF or text."
        raise UnreadableFile("too-deep", why) from error
    except Exception as error:  # Whatever a library makes of a broken file; here, and nowhere else.
        short = " ".join(str(error).split())[:160] or type(error).__name__
        raise UnreadableFile(
            "corrupt", f"{name} is damaged or not what it claims to be ({short}); export it again."
        ) from error
    if not parsed.text:
        raise UnreadableFile(
            "no-text",
            f"{name} holds no text that can be read; add text, or remove it from the source.",
        )
    if "language" not in parsed.metadata and (language := detect_language(parsed.text)):
        parsed = replace(parsed, metadata={**parsed.metadata, "language": language})
    return kind, parsed


def load_parser(media_type: str) -> Parser:
    """The parser of a media type in PARSERS; its libraries are imported by this call."""
    function: Parser = import_module(PARSER_MODULES[media_type]).parse
    return function


def detect_media_type(name: str, data: bytes) -> str:
    """What a file is, by its content first and its extension second; application/octet-stream when unknown."""
    by_name = MEDIA_TYPE_BY_EXTENSION.get(PurePosixPath(name).suffix.lower())
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"%PDF-") or (
        by_name in (None, "application/pdf") and _PDF_MARKER.search(data[:_PDF_HEADER_BYTES])
    ):
        return "application/pdf"
    if data.startswith(_NON_TEXT_SIGNATURES) or data[4:8] == b"ftyp":
        return _UNKNOWN_MEDIA_TYPE
    if data.startswith(b"PK\x03\x04"):
        return _detect_zip_type(data) or by_name or "application/zip"
    if head.startswith(b"{\\rtf"):
        return "application/rtf"
    if head[:15].lower().startswith((b"<!doctype html", b"<html")):
        return "text/html"
    if head.startswith(b"<?xml"):
        return "text/html" if b"<html" in head.lower() else "application/xml"
    text = try_decode(data)
    if text is None:
        return _UNKNOWN_MEDIA_TYPE
    if by_name and by_name not in _BINARY_MEDIA_TYPES:
        return by_name
    nameless = by_name is not None or not PurePosixPath(name).suffix
    return detect_unambiguous_type(text) or (guess_text_type(text) if nameless else "text/plain")


def size_limit_error(name: str, problem: str) -> UnreadableFile:
    """The refusal of a file that costs more than ingest/parsers/limits.py allows; `what` completes the sentence."""
    return UnreadableFile("too-large", f"{name} {problem}; split it into several and ingest those.")


def _detect_zip_type(data: bytes) -> str | None:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_archive(archive, len(data))
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                return archive.read("mimetype").decode("ascii", "replace").strip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return None  # Damaged: its name decides, and the parser says what is wrong.
    return next(
        (
            kind
            for folder, kind in _MEDIA_TYPE_BY_ZIP_FOLDER.items()
            if any(name.startswith(folder) for name in names)
        ),
        None,
    )


def _check_archive(archive: zipfile.ZipFile, size: int) -> None:
    """By the sizes its directory names; a part that unpacks to more than its own ends the reading of it."""
    parts = archive.infolist()
    unpacked = sum(part.file_size for part in parts)
    if len(parts) > limits.MAX_ARCHIVE_FILES:
        raise size_limit_error(
            "The file",
            f"holds {len(parts):,} parts, more than the {limits.MAX_ARCHIVE_FILES:,} that it may",
        )
    if unpacked > limits.MAX_UNPACKED_BYTES or unpacked > max(
        limits.MIN_RATIO_CHECK_BYTES, limits.MAX_COMPRESSION_RATIO * size
    ):
        raise size_limit_error(
            "The file", f"unpacks from {size / 1e6:,.1f} to {unpacked / 1e6:,.0f} MB, as attacks do"
        )


def _unsupported_type_error(name: str, media_type: str, data: bytes) -> UnreadableFile:
    if data.startswith(_OLE_SIGNATURE) and _OLE_ENCRYPTED_STREAM in data:
        return UnreadableFile(
            "encrypted",
            f"{name} is encrypted with a password; save a copy without one and ingest that.",
        )
    for what, begins in _UNSUPPORTED_SIGNATURES.items():
        if data.startswith(begins) or data[4:8] in begins:
            return UnreadableFile("not-a-document", f"{name} is {what}.")
    if data.startswith(_OLE_SIGNATURE) and _OLE_MESSAGE_STREAM in data:
        return UnreadableFile(
            "not-a-document",
            f"{name} is an Outlook message; save it as .eml or PDF and ingest that.",
        )
    if data.startswith(_OLE_SIGNATURE):
        return UnreadableFile(
            "not-a-document",
            f"{name} is in an old Office format; save it as .docx, .pptx, .xlsx or PDF and ingest that.",
        )
    what = (
        "no kind of document that is known here"
        if media_type == _UNKNOWN_MEDIA_TYPE
        else f"of type {media_type}, which has no parser here"
    )
    return UnreadableFile(
        "not-a-document", f"{name} is {what}; convert it to PDF, DOCX, HTML, Markdown or text."
    )
