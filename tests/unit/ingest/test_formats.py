"""Formats beyond plain reading: what styles hide, attachments, languages, dates, scanned pages."""

import json
from collections.abc import Callable
from email.message import EmailMessage
from io import BytesIO
from shutil import which

import pytest
from PIL import Image, ImageDraw, ImageFont

from core.errors import UnreadableFile
from ingest.parsers import limits
from ingest.parsers.file_parser import parse_file
from ingest.parsers.types import ParsedDocument
from ingest.sandbox.pool import ParserPool
from tests.support.fixtures_documents import Drawn, pdf, xlsx


def read(name: str, source: str | bytes) -> ParsedDocument:
    return parse_file(name, source.encode() if isinstance(source, str) else source)[1]


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
    assert (
        read("a.html", page + "<p class=a>A</p><p class=b>B</p><p class=c>C</p><p>D</p>").text
        == "D"
    )


# Attachments.


def message(subject: str, body: str) -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"], mail["Subject"] = "ann@alder.example", "bo@alder.example", subject
    mail.set_content(body)
    return mail


def test_attachments_are_sections_with_their_names():
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
        places["The Heron 200 costs 4,100 euro."].label()
        == "page 1 · Offer > prices.pdf > Price list"
    )
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


def test_no_more_than_so_many_attachments_are_read():
    mail = message("Many", "Body")
    for number in range(limits.MAX_ATTACHMENTS + 1):
        mail.add_attachment(f"Note {number}.", filename=f"{number}.txt")
    parsed = read("a.eml", mail.as_bytes())
    assert parsed.text.endswith(f"Note {limits.MAX_ATTACHMENTS - 1}.")
    assert parsed.metadata["attachments_not_read"] == {f"{limits.MAX_ATTACHMENTS}.txt": "too-deep"}


def test_a_message_that_is_its_attachment():
    mail = EmailMessage()
    mail["From"], mail["Subject"], mail["Date"] = "a", "Scan", "Tue, 3 Mar 2026 10:00:00 +0100"
    mail.set_content(
        pdf([[Drawn("Only a PDF.", 700)]]), maintype="application", subtype="pdf", filename="x.pdf"
    )
    assert read("a.eml", mail.as_bytes()).text.endswith("x.pdf\n\nOnly a PDF.")


# Languages, dates, versions.

PROSE = {
    "en": "The pump is cleaned by hand, and the filter has to be changed at the end of each month. You can find the "
    "parts for it in the store, which is open from eight to five.",
    "de": "Die Pumpe wird von Hand gereinigt, und der Filter ist am Ende des Monats zu wechseln. Die Teile sind im "
    "Lager, das von acht bis fünf auch für Gäste offen ist.",
    "fr": "La pompe est nettoyée à la main et le filtre est changé à la fin du mois. Vous trouvez les pièces dans le "
    "magasin, qui est ouvert pour tous les clients avec une carte.",
    "es": "La bomba se limpia a mano y el filtro se cambia al final de cada mes. Las piezas están en el almacén, que "
    "está abierto para los clientes con una tarjeta, pero no los lunes.",
    "nb": "Pumpen rengjøres for hånd, og filteret skal skiftes ved slutten av måneden. Det er ikke så vanskelig, men "
    "du vil ha hjelp av en som kan det, og det skal være av den nye typen.",
    "ru": "Насос чистят вручную, и фильтр меняют в конце месяца. Детали лежат на складе, это для всех, но не все "
    "могут так просто войти: он открыт с восьми и не для гостей, как это может быть при заказе.",
    "ja": "ポンプは手で洗います。フィルターは毎月の終わりに交換してください。"
    "部品は倉庫にあります。八時から五時まで開いています。",
    "zh": "水泵需要手工清洗。每个月底应当更换滤芯。零件存放在仓库里,仓库从早上八点到下午五点开放,"
    "所有客户都可以进入领取。",
}


@pytest.mark.parametrize("code", PROSE)
def test_the_language_of_prose_is_known(code):
    assert read("a.txt", PROSE[code]).metadata["language"] == code


@pytest.mark.parametrize(
    "text", ["Too short to tell.", "a1 b2 c3 " * 40, "def f(x): return x\n" * 20, "Heron 200 " * 40]
)
def test_what_is_hardly_prose_has_no_language(text):
    assert "language" not in read("a.txt", text).metadata


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.md", f"---\nlanguage: de-AT\n---\n{PROSE['en']}"),
        ("a.html", f"<html lang=de-AT><p>{PROSE['en']}"),
        ("a.json", json.dumps({"language": "de-AT", "text": PROSE["en"]})),
    ],
)
def test_what_the_file_says_of_its_language_counts(name, source):
    assert read(name, source).metadata["language"] == "de-AT"


def test_dates_and_versions_are_kept():
    assert read("a.md", "---\ndate: 2026-03-01\nversion: 2.1\n---\nText.").metadata == {
        "date": "2026-03-01",
        "version": 2.1,
    }
    page = (
        '<head><meta name=date content=2026-03-01><meta name=version content="2.1"></head><p>Text.'
    )
    assert read("a.html", page).metadata == {"date": "2026-03-01", "version": "2.1"}
    assert read("a.json", '{"version": 3, "modified": "2026-03-01", "a": "b"}').metadata == {
        "version": 3,
        "modified": "2026-03-01",
    }


@pytest.mark.parametrize("value", [".nan", "-.inf", "0x" + "f" * 100])
def test_metadata_that_no_database_holds_is_made_to_fit(value):
    metadata = read("a.md", f"---\na: {value}\n---\nText.").metadata
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata


# Scanned pages.


def scanned(*texts: str) -> bytes:
    """A PDF of pictures of these texts."""
    pages = []
    for text in texts:
        page = Image.new("L", (1700, 600), 255)
        ImageDraw.Draw(page).multiline_text(
            (100, 100), text, fill=0, font=ImageFont.load_default(60), spacing=30
        )
        pages.append(page)
    buffer = BytesIO()
    pages[0].save(buffer, "PDF", save_all=True, append_images=pages[1:], resolution=200)
    return buffer.getvalue()


class Says:
    """An Ocr that always finds this text."""

    def __init__(self, text: str) -> None:
        self._text = text
        self.pictures: list[bytes] = []

    def read_text(self, image: bytes) -> str:
        self.pictures.append(image)
        return self._text


def test_scanned_pages_are_read_by_whatever_is_in_use():
    ocr = Says("The sonde is checked\nevery year.\n\nIt costs nothing.\n")
    with ParserPool(1, ocr=ocr) as reader:
        _, parsed = reader.parse("a.pdf", scanned("One", "Two"))
    assert [parsed.text[slice(*block.span)] for block in parsed.blocks] == [
        "The sonde is checked every year.",
        "It costs nothing.",
    ] * 2
    assert [block.location.page for block in parsed.blocks] == [1, 1, 2, 2]
    assert parsed.metadata["pages_by_ocr"] == [1, 2]
    assert [Image.open(BytesIO(picture)).size for picture in ocr.pictures] == [(1700, 600)] * 2


def test_scanned_pages_that_say_nothing_are_reported():
    with ParserPool(1, ocr=Says(" \n")) as reader, pytest.raises(UnreadableFile) as caught:
        reader.parse("a.pdf", scanned("One"))
    assert caught.value.reason == "no-text"


def test_no_more_than_so_many_pages_are_read_by_ocr():
    ocr = Says("Text.")
    with ParserPool(1, ocr=ocr) as reader:
        _, parsed = reader.parse("a.pdf", scanned(*["Page"] * (limits.MAX_OCR_PAGES + 2)))
    assert len(ocr.pictures) == limits.MAX_OCR_PAGES
    assert parsed.metadata["pages_without_text"] == [
        limits.MAX_OCR_PAGES + 1,
        limits.MAX_OCR_PAGES + 2,
    ]


@pytest.mark.skipif(which("tesseract") is None, reason="tesseract is not installed")
def test_tesseract_reads_a_scanned_page():
    with ParserPool(1) as reader:
        _, parsed = reader.parse("a.pdf", scanned("The Heron 200 is\nchecked every year."))
    assert parsed.text == "The Heron 200 is checked every year."
    assert parsed.metadata["pages_by_ocr"] == [1]
