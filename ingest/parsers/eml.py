"""E-mail: headers, body, and each readable attachment as a section of its own."""

import email
import email.policy
import mimetypes
import re
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime

from core.errors import UnreadableFile
from ingest.parsers import limits
from ingest.parsers.builder import ListItem, TextBuilder, to_single_line
from ingest.parsers.errors import size_limit_error
from ingest.parsers.file_parser import parse_file
from ingest.parsers.html.parser import write_html
from ingest.parsers.media_type import detect_media_type
from ingest.parsers.registry import EMAIL
from ingest.parsers.text.plain_text import write_text
from ingest.parsers.types import ParsedDocument

_MAX_HEADER_CHARACTERS = 4000  # The decoder's time grows with the square of a header's length.
_SHOWN_HEADERS = ("From", "To", "Cc", "Date")
_METADATA_HEADERS = ("From", "To", "Cc", "Message-ID", "In-Reply-To")
# The time to parse a header's parameters grows with the square of their number.
_OVERLONG_PART_HEADER = re.compile(
    rb"^content-(?:type|disposition)[ \t]*:(?:[^\n]|\n[ \t]){10000}", re.IGNORECASE | re.MULTILINE
)


def parse(data: bytes) -> ParsedDocument:
    """Parse a message in the Internet Message Format (.eml)."""
    return _MailReader().read(_parse_message(data), depth=0)


def _parse_message(data: bytes) -> EmailMessage:
    if data.count(b"\n--") > limits.MAX_MAIL_BOUNDARY_LINES or _OVERLONG_PART_HEADER.search(data):
        raise size_limit_error("The message", "has too many parts, or too long a part header")
    message = email.message_from_bytes(data, policy=email.policy.default)
    if not any(name.lower() in ("from", "subject", "date") for name, _ in message.raw_items()):
        why = "The file has no e-mail headers. Save the message as .eml and ingest that."
        raise UnreadableFile("not-a-document", why)
    return message


class _MailReader:
    """Reads a message and those attached to it; counts the attachments of all of them."""

    def __init__(self) -> None:
        self._attachments_left = limits.MAX_ATTACHMENTS

    def read(self, message: EmailMessage, depth: int) -> ParsedDocument:
        """Read a message; `depth` is 0 for the file itself, 1 for a message attached to it."""
        builder = TextBuilder()
        subject = _read_header(message, "Subject")
        builder.add_heading(1, subject)
        headers = {name: _read_header(message, name) for name in _SHOWN_HEADERS}
        builder.add_list(
            ListItem(f"{name}: {value}", marker="") for name, value in headers.items() if value
        )
        body = message.get_body(("plain", "html"))
        if body is not None:
            _write_body(body, builder)
        reasons = self._write_attachments(_list_attachments(message, body), builder, depth)
        metadata = _read_metadata(message)
        if reasons:
            metadata["attachments"] = list(reasons)
        if unread := {name: reason for name, reason in reasons.items() if reason}:
            metadata["attachments_not_read"] = unread
        return builder.build(subject, metadata)

    def _write_attachments(
        self, attachments: list[MIMEPart], builder: TextBuilder, depth: int
    ) -> dict[str, str]:
        """Write the attachments; return each name with the reason if it was not read, else ""."""
        reasons = {}
        for number, part in enumerate(attachments, 1):
            name = _attachment_name(part, number)
            reasons[name] = ""
            try:
                builder.add_subdocument(2, name, self._parse_attachment(name, part, depth))
            except UnreadableFile as error:
                reasons[name] = error.reason
        return reasons

    def _parse_attachment(self, name: str, part: MIMEPart, depth: int) -> ParsedDocument:
        self._attachments_left -= 1
        if self._attachments_left < 0 or depth >= limits.MAX_ATTACHMENT_DEPTH:
            raise UnreadableFile("too-deep", f"{name} is beyond the attachments that are read.")
        if part.get_content_type() == EMAIL:
            inner = part.get_payload()
            if isinstance(inner, list) and inner and isinstance(inner[0], EmailMessage):
                return self.read(inner[0], depth + 1)
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes):
            raise UnreadableFile("corrupt", f"{name} has no content. Attach it again.")
        if detect_media_type(name, data) == EMAIL:
            return self.read(_parse_message(data), depth + 1)
        return parse_file(name, data)[1]


def _write_body(body: MIMEPart, builder: TextBuilder) -> None:
    is_html = body.get_content_type() == "text/html"
    write = write_html if is_html else write_text
    write(_read_content(body), builder)


def _list_attachments(message: EmailMessage, body: MIMEPart | None) -> list[MIMEPart]:
    if not message.is_multipart():
        return [message] if body is None else []
    try:
        return list(message.iter_attachments())
    except (AttributeError, KeyError, TypeError):  # It declares parts and has none.
        return []


def _attachment_name(part: MIMEPart, number: int) -> str:
    if name := to_single_line(part.get_filename() or ""):
        return name
    media_type = part.get_content_type()
    suffix = ".eml" if media_type == EMAIL else mimetypes.guess_extension(media_type)
    return f"attachment {number}{suffix or ''}"


def _read_header(message: EmailMessage, name: str) -> str:
    """Return the beginning of a header as text; "" if the message has none of that name."""
    values = (str(value) for key, value in message.raw_items() if key.lower() == name.lower())
    beginning = next(values, "")[:_MAX_HEADER_CHARACTERS]
    return to_single_line(str(email.policy.default.header_fetch_parse(name, beginning)))


def _read_content(part: MIMEPart) -> str:
    try:
        return str(part.get_content())
    except (LookupError, UnicodeError):  # The declared encoding is unknown or wrong.
        payload = part.get_payload(decode=True)
        return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else str(payload)


def _read_metadata(message: EmailMessage) -> dict[str, object]:
    metadata: dict[str, object] = {}
    for name in _METADATA_HEADERS:
        if value := _read_header(message, name):
            metadata[name.lower().replace("-", "_")] = value
    if date := _parse_date(_read_header(message, "Date")):
        metadata["date"] = date
    return metadata


def _parse_date(text: str) -> str | None:
    try:
        return parsedate_to_datetime(text).isoformat()
    except (ValueError, TypeError, IndexError):
        return None
