"""Formats beyond plain reading: what styles hide, attachments, languages, dates, scanned pages."""

from collections.abc import Callable
from email.message import EmailMessage

import pytest

from ingest.parsers import Parsed, limits, parse
from tests.fixtures_documents import Drawn, pdf, xlsx


def read(name: str, source: str | bytes) -> Parsed:
    return parse(name, source.encode() if isinstance(source, str) else source)[1]


# What a page's styles hide.


@pytest.mark.parametrize(
    "style",
    [
        "display:none",
        "display : NONE !important",
        "visibility:hidden",
        "visibility: collapse",
        "opacity:0",
        "opacity: 0.0",
        "font-size:0",
        "font-size: 1px",
        "font: 1px Arial",
        "color:transparent",
        "color:#fff;background:#fff",
        "position:absolute;left:-9999px",
        "position:fixed; top:-100em",
        "text-indent:-9999px",
        "height:0;overflow:hidden",
        "position:absolute;clip:rect(0 0 0 0)",
    ],
)
@pytest.mark.parametrize("place", ["inline", "class", "id", "tag", "nested"])
def test_what_a_style_hides_is_not_read(style, place):
    sheet = {"class": ".x", "id": "#x", "tag": "u", "nested": "body div > .x"}.get(place)
    head = f"<style>/* a {{ */ {sheet} {{{style}}} b {{color:red}}</style>" if sheet else ""
    own = f'style="{style}"' if not sheet else ""
    page = f'{head}<body><div>Seen. <u id="x" class="y x" {own}>Unseen.</u> Seen too.</div>'
    assert read("a.html", page).text == "Seen. Seen too."


@pytest.mark.parametrize(
    "head",
    [
        "<style>.y {display:none}</style>",
        "<style>@media print {.x {display:none}} .z {color:red}</style>",
        "<style>@media (max-width: 600px) {.x {display:none}}</style>",
        "<style>.x {display:none} .x {display:block}</style>",
        "<style>div.x {display:block} .x {display:none}</style>",
        "<style>.x:hover, .x::before {display:none}</style>",
        "<style>.x {font-size:0.8em; opacity:0.5; color:#fff; text-indent:2em; overflow:hidden}</style>",
        "<style>.x {position:absolute; left:-20px} @import 'none';</style>",
        "<style>.x {display:no",
    ],
)
def test_what_a_style_only_might_hide_is_read(head):
    assert read("a.html", f"{head}</style><body><div class=x>Seen.</div>").text == "Seen."


def test_a_style_that_the_element_overrides_does_not_hide():
    page = '<style>.tab {display:none}</style><body><p class=tab style="display:block">One</p><p class=tab>Two</p>'
    assert read("a.html", page).text == "One"


def test_screens_and_layers_count():
    page = "<style>@media screen {.a {display:none}} @layer x {.b {display:none}} .c {display:none}</style><body>"
    assert read("a.html", page + "<p class=a>A</p><p class=b>B</p><p class=c>C</p><p>D</p>").text == "D"


# Attachments.


def message(subject: str, body: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ann@alder.example", "bo@alder.example", subject
    mail.set_content(body)
    return mail


def test_attachments_are_sections_with_their_names():
    mail = message("Offer", "See what is attached.")
    price_list = pdf([[Drawn("Price list", 700, 20), Drawn("The Heron 200 costs 4,100 euro.", 650)]])
    mail.add_attachment(price_list, maintype="application", subtype="octet-stream", filename="prices.pdf")
    mail.add_attachment(xlsx({"Stock": [["item", "n"], ["pump", 3]]}), maintype="a", subtype="b", filename="stock.xlsx")
    mail.add_attachment(b"\x89PNG\r\n\x1a\n" + bytes(99), maintype="image", subtype="png", filename="logo.png")
    parsed = read("a.eml", mail.as_bytes())
    places = {parsed.text[slice(*block.span)]: block.location for block in parsed.blocks}
    assert places["The Heron 200 costs 4,100 euro."].label() == "page 1 · Offer > prices.pdf > Price list"
    assert places["item | n\npump | 3"].label() == "sheet Stock · rows 1-2 · Offer > stock.xlsx"
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
def test_messages_within_messages_are_read_to_a_depth(as_file):
    def attach(outer: EmailMessage, inner: EmailMessage) -> None:
        if as_file:
            outer.add_attachment(inner.as_bytes(), maintype="application", subtype="octet-stream", filename="inner.eml")
        else:
            outer.add_attachment(inner)

    text = read("a.eml", nested(limits.ATTACHMENT_DEPTH + 2, attach).as_bytes()).text
    assert [f"Body {level}" in text for level in range(limits.ATTACHMENT_DEPTH + 3)] == [
        False,
        False,
        True,
        True,
        True,
        True,
    ]


def test_no_more_than_so_many_attachments_are_read():
    mail = message("Many", "Body")
    for number in range(limits.ATTACHMENTS + 1):
        mail.add_attachment(f"Note {number}.", filename=f"{number}.txt")
    parsed = read("a.eml", mail.as_bytes())
    assert parsed.text.endswith(f"Note {limits.ATTACHMENTS - 1}.")
    assert parsed.metadata["attachments_not_read"] == {f"{limits.ATTACHMENTS}.txt": "too-deep"}


def test_a_message_that_is_its_attachment():
    mail = EmailMessage()
    mail["From"], mail["Subject"], mail["Date"] = "a", "Scan", "Tue, 3 Mar 2026 10:00:00 +0100"
    mail.set_content(pdf([[Drawn("Only a PDF.", 700)]]), maintype="application", subtype="pdf", filename="x.pdf")
    assert read("a.eml", mail.as_bytes()).text.endswith("x.pdf\n\nOnly a PDF.")
