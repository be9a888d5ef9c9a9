"""E-mail: subject, sender, recipients, date and the body; attachments are named, not read."""

import email
import email.policy
from collections.abc import Iterator
from datetime import datetime
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime

from ingest.parsers import Parsed
from ingest.parsers.builder import Item, TextBuilder, one_line
from ingest.parsers.html import write_html
from ingest.parsers.text import write_text
from knowledge.errors import Unreadable

_HEADER = 4000  # Characters.
_SHOWN = ("From", "To", "Cc", "Date")


def parse(data: bytes) -> Parsed:
    """Read a message in the Internet format (.eml)."""
    message = email.message_from_bytes(data, policy=email.policy.default)
    if not any(name.lower() in ("from", "subject", "date") for name, _ in message.raw_items()):
        raise Unreadable("not-a-document", "The file has no e-mail headers; save the message as .eml and ingest that.")
    builder = TextBuilder()
    subject = _header(message, "Subject")
    builder.heading(1, subject)
    builder.list(Item(f"{name}: {value}", 0, "") for name in _SHOWN if (value := _header(message, name)))
    body = message.get_body(("plain", "html"))
    if body is not None:
        text = _content(body)
        if body.get_content_type() == "text/html":
            write_html(text, builder)
        else:
            write_text(text, builder)
    return builder.build(subject, dict(_metadata(message)))


def _header(message: EmailMessage, name: str) -> str:
    """A header as text. Only its beginning is decoded, since the decoder's time grows with the square of its length."""
    raw = next((str(value) for key, value in message.raw_items() if key.lower() == name.lower()), "")
    return one_line(str(email.policy.default.header_fetch_parse(name, raw[:_HEADER])))


def _content(part: MIMEPart) -> str:
    try:
        return str(part.get_content())
    except (LookupError, UnicodeError):  # An encoding that nobody knows, or that isn't the one it says.
        payload = part.get_payload(decode=True)
        return payload.decode("utf-8", "replace") if isinstance(payload, bytes) else str(payload)


def _metadata(message: EmailMessage) -> Iterator[tuple[str, object]]:
    for name in ("From", "To", "Cc", "Message-ID", "In-Reply-To"):
        if value := _header(message, name):
            yield name.lower().replace("-", "_"), value
    if moment := _date(_header(message, "Date")):
        yield "date", moment.isoformat()
    names = [one_line(part.get_filename() or part.get_content_type()) for part in message.iter_attachments()]
    if names:
        yield "attachments", names


def _date(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (ValueError, TypeError, IndexError):
        return None
