"""OCR of scanned pages: the pictures of a PDF page, and the engine that reads them."""

import io
from collections.abc import Iterator
from typing import Any, Protocol

from ingest.parsers import limits

_MIN_PICTURE_PIXELS = 10_000  # A smaller one is a logo, not a page.
# An A4 page at 600 dots per inch has 35 million, and is as readable at half of that.
_MAX_PICTURE_PIXELS = 30_000_000
_MAX_CHECKED_PICTURES = 100
_MAX_PICTURES_PER_PAGE = 5  # A page scanned in strips has several pictures.
MAX_PICTURES_PER_FILE = _MAX_PICTURES_PER_PAGE * limits.MAX_OCR_PAGES


class OcrEngine(Protocol):
    """Program that recognises text in pictures."""

    def read_text(self, image: bytes) -> str:
        """Return the text on a PNG picture: lines as printed, blank lines between paragraphs."""
        ...


# A parser takes nothing but the file's bytes, so the sandbox process sets its engine here, once.
_engine: list[OcrEngine] = []


def set_ocr_engine(engine: OcrEngine) -> None:
    """Set the engine that reads scanned pages in this process; without one they stay empty."""
    _engine[:] = [engine]


class ScannedPageReader:
    """Reads the scanned pages of one file, up to `MAX_OCR_PAGES`."""

    def __init__(self) -> None:
        self._pages_left = limits.MAX_OCR_PAGES

    def read_lines(self, page: Any) -> list[str]:
        """Return the lines of a PDF page that is a picture, blank ones between paragraphs."""
        if not _engine or self._pages_left <= 0:
            return []
        self._pages_left -= 1
        texts = (_engine[0].read_text(picture) for picture in _extract_pictures(page))
        return "\n\n".join(filter(str.strip, texts)).split("\n")


def _extract_pictures(page: Any) -> Iterator[bytes]:
    """Yield the page's large pictures as PNG files, turned as the page is shown."""
    count = 0
    for name in page.images.keys()[:_MAX_CHECKED_PICTURES]:
        picture = page.images[name].image
        if picture is None or picture.width * picture.height < _MIN_PICTURE_PIXELS:
            continue
        count += 1
        if count > _MAX_PICTURES_PER_PAGE:
            return
        yield _to_png(picture, int(page.rotation or 0) % 360)


def _to_png(picture: Any, rotation: int) -> bytes:
    grey = picture.convert("L")
    if (share := _MAX_PICTURE_PIXELS / (grey.width * grey.height)) < 1:
        grey = grey.resize((int(grey.width * share**0.5), int(grey.height * share**0.5)))
    if rotation:
        grey = grey.rotate(-rotation, expand=True)
    buffer = io.BytesIO()
    grey.save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()
