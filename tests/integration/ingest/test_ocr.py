"""OCR of scanned pages through the parser pool."""

from io import BytesIO
from shutil import which

import pytest
from PIL import Image, ImageDraw, ImageFont

from core.errors import UnreadableFile
from ingest.parsers import limits
from ingest.sandbox.pool import ParserPool


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


def test_scanned_pages_are_read_by_the_given_engine():
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


def test_scan_without_text_is_refused():
    with ParserPool(1, ocr=Says(" \n")) as reader, pytest.raises(UnreadableFile) as caught:
        reader.parse("a.pdf", scanned("One"))
    assert caught.value.reason == "no-text"


def test_number_of_scanned_pages_is_limited():
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
