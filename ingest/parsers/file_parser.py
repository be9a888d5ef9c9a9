"""Entry of the parsers: a file's name and bytes become text, blocks and metadata."""

from dataclasses import replace

from core.errors import UnreadableFile
from ingest.parsers.errors import size_limit_error
from ingest.parsers.language import detect_language
from ingest.parsers.media_type import detect_media_type, unsupported_type_error
from ingest.parsers.registry import has_parser, load_parser
from ingest.parsers.types import ParsedDocument


def parse_file(name: str, data: bytes) -> tuple[str, ParsedDocument]:
    """Return the media type and the content of a file.

    Raises:
        UnreadableFile: with a reason and the fix, for any problem with the file.
    """
    if not data or data.isspace():
        raise UnreadableFile("empty", f"{name} is empty. Add text, or remove it from the source.")
    media_type = detect_media_type(name, data)
    if not has_parser(media_type):
        raise unsupported_type_error(name, media_type, data)
    parsed = _parse_as(media_type, name, data)
    if not parsed.text:
        why = f"{name} contains no readable text. Add text, or remove it from the source."
        raise UnreadableFile("no-text", why)
    return media_type, _with_language(parsed)


def _parse_as(media_type: str, name: str, data: bytes) -> ParsedDocument:
    """Run the parser. A library may raise anything on a damaged file: all of it is caught here."""
    try:
        return load_parser(media_type)(data)
    except UnreadableFile:
        raise
    except MemoryError as error:
        raise size_limit_error(name, "needs more memory than one file may use") from error
    except RecursionError as error:
        why = f"{name} is nested too deeply. Save it in another format, such as PDF or text."
        raise UnreadableFile("too-deep", why) from error
    except Exception as error:
        detail = " ".join(str(error).split())[:160] or type(error).__name__
        why = f"{name} is damaged or not of the type it claims to be ({detail}). Export it again."
        raise UnreadableFile("corrupt", why) from error


def _with_language(parsed: ParsedDocument) -> ParsedDocument:
    if "language" in parsed.metadata:
        return parsed
    language = detect_language(parsed.text)
    if language is None:
        return parsed
    return replace(parsed, metadata={**parsed.metadata, "language": language})
