"""Media type of a file: by its content first, by its name second."""

import io
import re
import zipfile
from pathlib import PurePosixPath

from core.errors import UnreadableFile
from ingest.parsers import limits, registry
from ingest.parsers.encoding import try_decode
from ingest.parsers.errors import password_error, size_limit_error
from ingest.parsers.sniffing import detect_unambiguous_type, guess_text_type

_UNKNOWN = "application/octet-stream"
_MEDIA_TYPE_BY_ZIP_FOLDER = {"word/": registry.DOCX, "ppt/": registry.PPTX, "xl/": registry.XLSX}
_ZIP_SIGNATURE = b"PK\x03\x04"
# Pictures, sound and programs, which may look like text in some encoding.
_NON_TEXT_SIGNATURES = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"ID3", b"OggS"),
    *(b"\x7fELF", b"MZ\x90", b"\x1f\x8b", b"7z\xbc"),
)
# PDF readers accept text in front of the header, and a damaged header.
_PDF_MARKER = re.compile(rb"%PDF-|endobj")
_PDF_HEADER_BYTES = 1024

_OLE_SIGNATURE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_ENCRYPTED_STREAM = "EncryptedPackage".encode("utf-16-le")
# [MS-OXMSG] 2.4: every Outlook message contains a stream of this name.
_OLE_MESSAGE_STREAM = "__properties_version1.0".encode("utf-16-le")
# Description -> signatures at the start of the file; `ftyp` begins after four bytes.
_UNSUPPORTED_SIGNATURES = {
    "a picture. Put it into a PDF if it shows text": (
        *(b"\xff\xd8\xff", b"\x89PNG\r\n", b"GIF8", b"II*\0", b"MM\0*"),
    ),
    "sound or film. Ingest a transcript instead": (
        *(b"ID3", b"RIFF", b"OggS", b"fLaC", b"\x1aE\xdf\xa3", b"ftyp"),
    ),
    "an archive, or built like one. Unpack it, or convert it to PDF or DOCX": (
        *(_ZIP_SIGNATURE, b"\x1f\x8b", b"7z\xbc\xaf", b"Rar!", b"BZh"),
    ),
}


def detect_media_type(name: str, data: bytes) -> str:
    """Return the media type of a file; "application/octet-stream" if it is unknown."""
    suffix = PurePosixPath(name).suffix
    known = registry.find_format(suffix)
    type_by_name = known.media_type if known else None
    if _is_pdf(data, type_by_name):
        return registry.PDF
    if data.startswith(_NON_TEXT_SIGNATURES) or data[4:8] == b"ftyp":
        return _UNKNOWN
    if data.startswith(_ZIP_SIGNATURE):
        return _detect_zip_type(data) or type_by_name or "application/zip"
    if markup_type := _detect_markup_type(data):
        return markup_type
    text = try_decode(data)
    if text is None:
        return _UNKNOWN
    if known and not known.is_binary:
        return known.media_type
    # The suffix is unknown, or promises a binary file and is wrong.
    if unambiguous_type := detect_unambiguous_type(text):
        return unambiguous_type
    return guess_text_type(text) if known or not suffix else "text/plain"


def _skip_leading_space(data: bytes) -> bytes:
    return data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n")


def _is_pdf(data: bytes, type_by_name: str | None) -> bool:
    if _skip_leading_space(data).startswith(b"%PDF-"):
        return True
    may_be_pdf = type_by_name in (None, registry.PDF)
    return may_be_pdf and _PDF_MARKER.search(data[:_PDF_HEADER_BYTES]) is not None


def _detect_markup_type(data: bytes) -> str | None:
    head = _skip_leading_space(data)
    if head.startswith(b"{\\rtf"):
        return registry.RTF
    if head[:15].lower().startswith((b"<!doctype html", b"<html")):
        return registry.HTML
    if head.startswith(b"<?xml"):
        return registry.HTML if b"<html" in head.lower() else "application/xml"
    return None


def _detect_zip_type(data: bytes) -> str | None:
    """Return the type of an office file or e-book; None for other archives and damaged ones."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            _check_archive_size(archive, len(data))
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                return archive.read("mimetype").decode("ascii", "replace").strip()
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return None  # Its name decides, and the parser reports the damage.
    for folder, media_type in _MEDIA_TYPE_BY_ZIP_FOLDER.items():
        if any(name.startswith(folder) for name in names):
            return media_type
    return None


def _check_archive_size(archive: zipfile.ZipFile, size: int) -> None:
    """Check the sizes in the archive's directory; zipfile stops at a part that unpacks to more."""
    parts = archive.infolist()
    if len(parts) > limits.MAX_ARCHIVE_FILES:
        problem = f"has {len(parts):,} parts, more than {limits.MAX_ARCHIVE_FILES:,}"
        raise size_limit_error("The file", problem)
    unpacked = sum(part.file_size for part in parts)
    max_by_ratio = max(limits.MIN_RATIO_CHECK_BYTES, limits.MAX_COMPRESSION_RATIO * size)
    if unpacked > min(limits.MAX_UNPACKED_BYTES, max_by_ratio):
        problem = f"unpacks from {size / 1e6:,.1f} to {unpacked / 1e6:,.0f} MB, as in an attack"
        raise size_limit_error("The file", problem)


def unsupported_type_error(name: str, media_type: str, data: bytes) -> UnreadableFile:
    """Return the refusal of a file that has no parser, with the best fix for its type."""
    if data.startswith(_OLE_SIGNATURE):
        return _ole_file_error(name, data)
    for description, signatures in _UNSUPPORTED_SIGNATURES.items():
        if data.startswith(signatures) or data[4:8] in signatures:
            return UnreadableFile("not-a-document", f"{name} is {description}.")
    problem = f"of type {media_type}, which has no parser"
    if media_type == _UNKNOWN:
        problem = "not a supported document type"
    why = f"{name} is {problem}. Convert it to PDF, DOCX, HTML, Markdown or text."
    return UnreadableFile("not-a-document", why)


def _ole_file_error(name: str, data: bytes) -> UnreadableFile:
    if _OLE_ENCRYPTED_STREAM in data:
        return password_error(name)
    if _OLE_MESSAGE_STREAM in data:
        why = f"{name} is an Outlook message. Save it as .eml or PDF and ingest that."
    else:
        why = f"{name} is in an old Office format. Save it as .docx, .pptx, .xlsx or PDF."
    return UnreadableFile("not-a-document", why)
