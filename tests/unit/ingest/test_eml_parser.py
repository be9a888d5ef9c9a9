"""E-mail parser: headers, body, attachments."""

from collections.abc import Callable
from email.message import EmailMessage

import pytest

from ingest.parsers import limits
from tests.support.fixtures_documents import Drawn, pdf, xlsx
from tests.support.parsing import list_blocks, read, refusal_reason


def test_email_has_headers_and_visible_body():
    source = (
        "From: Ann <ann@alder.example>\nTo: bo@alder.example\nSubject: "
        "=?utf-8?q?Gr=C3=BC=C3=9Fe?=\n"
        "Date: Tue, 3 Mar 2026 10:00:00 +0100\nMIME-Version: 1.0\n"
        'Content-Type: multipart/mixed; boundary="b"\n\n--b\nContent-Type: text/html; '
        "charset=utf-8\n\n"
        '<p>Hello <b>Bo</b></p><p style="display:none">ignore this</p>\n--b\nContent-Type: '
        "application/pdf\n"
        'Content-Disposition: attachment; filename="offer.pdf"\n\n%PDF-1.7 x\n--b--\n'
    )
    parsed = read("a.eml", source)
    assert [text for _, text in list_blocks(parsed)] == [
        "Grüße",
        "From: Ann <ann@alder.example>\nTo: bo@alder.example\nDate: Tue, 03 Mar 2026 10:00:00 "
        "+0100",
        "Hello Bo",
    ]
    assert parsed.title == "Grüße"
    assert parsed.metadata["attachments"] == ["offer.pdf"]
    assert parsed.metadata["attachments_not_read"] == {"offer.pdf": "corrupt"}
    assert parsed.metadata["date"] == "2026-03-03T10:00:00+01:00"
    assert refusal_reason("a.eml", b"nothing like a message") == "not-a-document"


def message(subject: str, body: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ann@alder.example", "bo@alder.example", subject
    mail.set_content(body)
    return mail


def test_attachments_become_sections_with_their_names():
    mail = message("Offer", "See what is attached.")
    price_list = pdf(
        [[Drawn("Price list", 700, 20), Drawn("The Heron 200 costs 4,100 euro.", 650)]]
    )
    mail.add_attachment(
        price_list, maintype="application", subtype="octet-stream", filename="prices.pdf"
    )
    mail.add_attachment(
        xlsx({"Stock": [["item", "n"], ["pump", 3]]}),
        maintype="a",
        subtype="b",
        filename="stock.xlsx",
    )
    mail.add_attachment(
        b"\x89PNG\r\n\x1a\n" + bytes(99), maintype="image", subtype="png", filename="logo.png"
    )
    parsed = read("a.eml", mail.as_bytes())
    places = {parsed.text[slice(*block.span)]: block.location for block in parsed.blocks}
    assert (
        places["The Heron 200 costs 4,100 euro."].label
        == "page 1 · Offer > prices.pdf > Price list"
    )
    assert places["item | n\npump | 3"].label == "sheet Stock · rows 1-2 · Offer > stock.xlsx"
    assert parsed.metadata["attachments"] == ["prices.pdf", "stock.xlsx", "logo.png"]
    assert parsed.metadata["attachments_not_read"] == {"logo.png": "not-a-document"}


def nested(depth: int, attach: Callable[[EmailMessage, EmailMessage], None]) -> EmailMessage:
    mail = message("Level 0", "Body 0")
    for level in range(1, depth + 1):
        outer = message(f"Level {level}", f"Body {level}")
        attach(outer, mail)
        mail = outer
    return mail


@pytest.mark.parametrize("as_file", [False, True])
def test_nested_messages_are_read_to_a_limited_depth(as_file):
    def attach(outer: EmailMessage, inner: EmailMessage) -> None:
        if as_file:
            outer.add_attachment(
                inner.as_bytes(),
                maintype="application",
                subtype="octet-stream",
                filename="inner.eml",
            )
        else:
            outer.add_attachment(inner)

    text = read("a.eml", nested(limits.MAX_ATTACHMENT_DEPTH + 2, attach).as_bytes()).text
    assert [f"Body {level}" in text for level in range(limits.MAX_ATTACHMENT_DEPTH + 3)] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]


def test_number_of_attachments_is_limited():
    mail = message("Many", "Body")
    for number in range(limits.MAX_ATTACHMENTS + 1):
        mail.add_attachment(f"Note {number}.", filename=f"{number}.txt")
    parsed = read("a.eml", mail.as_bytes())
    assert parsed.text.endswith(f"Note {limits.MAX_ATTACHMENTS - 1}.")
    assert parsed.metadata["attachments_not_read"] == {f"{limits.MAX_ATTACHMENTS}.txt": "too-deep"}


def test_message_without_body_is_its_attachment():
    mail = EmailMessage()
    mail["From"], mail["Subject"], mail["Date"] = "a", "Scan", "Tue, 3 Mar 2026 10:00:00 +0100"
    mail.set_content(
        pdf([[Drawn("Only a PDF.", 700)]]), maintype="application", subtype="pdf", filename="x.pdf"
    )
    assert read("a.eml", mail.as_bytes()).text.endswith("x.pdf\n\nOnly a PDF.")
