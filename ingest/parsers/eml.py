"""E-mail: subject, sender, recipients, date, the body, and each attachment that can be read as a section of its own."""

import email
import email.policy
import mimetypes
import re
from collections.abc import Iterator
from datetime import datetime
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime

from core.errors import UnreadableFile
from ingest.parsers import ParsedDocument, detect_media_type, limits, size_limit_error
from ingest.parsers import parse as parse_file
from ingest.parsers.builder import ListItem, TextBuilder, to_single_line
from ingest.parsers.html.parser import write_html
from ingest.parsers.text.plain_text import write_text

_MAX_HEADER_CHARACTERS = 4000  # Characters.
_SHOWN_HEADERS = ("From", "To", "Cc", "Date")
# Reading a header's parameters takes time that grows with the square of their number.
_OVERLONG_PART_HEADER = re.compile(
    rb"^content-(?:type|disposition)[ \t]*:(?:[^\n]|\n[ \t]){10000}", re.IGNORECASE | re.MULTILINE
)
_MAIL_MEDIA_TYPE = "message/rfc822"


def parse(data: bytes) -> ParsedDocument:
    """Read a message in the Internet format (.eml)."""
    return _MailReader().read(_parse_message(data), 0)


def _parse_message(data: bytes) -> EmailMessage:
    if data.count(b"\n--") > limits.MAX_MAIL_BOUNDARY_LINES or _OVERLONG_PART_HEADER.search(data):
        raise size_limit_error(
            "The message", "has more parts, or a longer description of one, than it may"
        )
    message = email.message_from_bytes(data, policy=email.policy.default)
    if not any(name.lower() in ("from", "subject", "date") for name, _ in message.raw_items()):
        raise UnreadableFile(
            "not-a-document",
            "The file has no e-mail headers; save the message as .eml and ingest that.",
        )
    return message


class _MailReader:
    """Reads a message and those attached to it; counts the attachments of all of them."""

    def __init__(self) -> None:
        self._attachments_left = limits.MAX_ATTACHMENTS

    def read(self, message: EmailMessage, depth: int) -> ParsedDocument:
        """`depth` is 0 for the file itself, 1 for a message attached to it."""
        builder = TextBuilder()
        subject = _read_header(message, "Subject")
        builder.add_heading(1, subject)
        builder.add_list(
            ListItem(f"{name}: {value}", 0, "")
            for name in _SHOWN_HEADERS
            if (value := _read_header(message, name))
        )
        body = message.get_body(("plain", "html"))
        if body is not None:
            text = _read_content(body)
            if body.get_content_type() == "text/html":
                write_html(text, builder)
            else:
                write_text(text, builder)
        attached = dict(self._write_attachments(message, body, builder, depth))
        metadata = dict(_read_metadata(message))
        if attached:
            metadata["attachments"] = list(attached)
        if unread := {name: reason for name, reason in attached.items() if reason}:
            metadata["attachments_not_read"] = unread
        return builder.build(subject, metadata)

    def _write_attachments(
        self, message: EmailMessage, body: MIMEPart | None, builder: TextBuilder, depth: int
    ) -> Iterator[tuple[str, str]]:
        """Write what is attached; yields each name and why it could not be read, "" where it was."""
        for number, part in enumerate(_list_attachments(message, body), 1):
            name = _attachment_name(part, number)
            self._attachments_left -= 1
            try:
                if self._attachments_left < 0 or depth >= limits.MAX_ATTACHMENT_DEPTH:
                    raise UnreadableFile("too-deep", f"{name} is beyond what is read of a message.")
                builder.add_subdocument(2, name, self._parse_attachment(name, part, depth))
            except UnreadableFile as error:
                yield name, error.reason
            else:
                yield name, ""

    def _parse_attachment(self, name: str, part: MIMEPart, depth: int) -> ParsedDocument:
        if part.get_content_type() == _MAIL_MEDIA_TYPE:
            inner = part.get_payload()
            if isinstance(inner, list) and inner and isinstance(inner[0], EmailMessage):
                return self.read(inner[0], depth + 1)
        data = part.get_payload(decode=True)
        if not isinstance(data, bytes):
            raise UnreadableFile("corrupt", f"{name} has no content; attach it again.")
        if detect_media_type(name, data) == _MAIL_MEDIA_TYPE:
            return self.read(_parse_message(data), depth + 1)
        return parse_file(name, data)[1]


def _list_attachments(message: EmailMessage, body: MIMEPart | None) -> list[MIMEPart]:
    if not message.is_multipart():
        return [message] if body is None else []
    try:
        return list(message.iter_attachments())
    except (AttributeError, KeyError, TypeError):  # It says that it has parts, and has none.
        return []


def _attachment_name(part: MIMEPart, number: int) -> str:
    if name := to_single_line(part.get_filename() or ""):
        return name
    kind = part.get_content_type()
    ending = ".eml" if kind == _MAIL_MEDIA_TYPE else mimetypes.guess_extension(kind) or ""
    return f"attachment {number}{ending}"


def _read_header(message: EmailMessage, name: str) -> str:
    """A header as text. Only its beginning is decoded, since the decoder's time grows with the square of its length."""
    raw = next(
        (str(value) for key, value in message.raw_items() if key.lower() == name.lower()), ""
    )
    return to_single_line(
        str(email.policy.default.header_fetch_parse(name, raw[:_MAX_HEADER_CHARACTERS]))
    )


def _read_content(part: MIMEPart) -> str:
    try:
        return str(part.get_content())
    except (
        LookupError,
        UnicodeError,
    ):  # An encoding that nobody knows, or that isn't the one it says.
        payload = part.get_payload(decode=True)
        return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else str(payload)


def _read_metadata(message: EmailMessage) -> Iterator[tuple[str, object]]:
    for name in ("From", "To", "Cc", "Message-ID", "In-Reply-To"):
        if value := _read_header(message, name):
            yield name.lower().replace("-", "_"), value
    if moment := _parse_date(_read_header(message, "Date")):
        yield "date", moment.isoformat()


def _parse_date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
