"""Text from pictures of pages: the one method that a program for it must have, and where a parser finds it."""

import io
from collections.abc import Iterator
from typing import Any, Protocol

from ingest.parsers import limits

_MIN_PICTURE_PIXELS = 10_000  # Pixels: less is a logo, not a page.
_MAX_PICTURE_PIXELS = 30_000_000  # Pixels: an A4 page at 600 dots an inch is 35 million, and as readable at half of that.
_MAX_PICTURES_PER_PAGE = 5  # A page scanned in strips has several pictures.
MAX_PICTURES_PER_FILE = _MAX_PICTURES_PER_PAGE * limits.MAX_OCR_PAGES
"""The most that one file has read."""


class OcrEngine(Protocol):
    """Reads pictures of text."""

    def text(self, image: bytes) -> str:
        """The text on a picture, which is a PNG file; lines as printed, a blank line between paragraphs."""
        ...


_active_engines: list[OcrEngine] = []


def set_ocr_engine(engine: OcrEngine) -> None:
    """From here on parsers in this process read scanned pages with `ocr`."""
    _active_engines[:] = [engine]


class ScannedPageReader:
    """Reads the scanned pages of one file, up to a number of them."""

    def __init__(self) -> None:
        self._pages_left = limits.MAX_OCR_PAGES

    def read_lines(self, page: Any) -> list[str]:
        """The lines on a PDF page that is a picture; an empty one between paragraphs. None without an Ocr in use."""
        if not _active_engines or self._pages_left <= 0:
            return []
        self._pages_left -= 1
        texts = (_active_engines[0].text(picture) for picture in _extract_pictures(page))
        return "\n\n".join(filter(str.strip, texts)).split("\n")


def _extract_pictures(page: Any) -> Iterator[bytes]:
    """The page's large pictures as PNG files, turned as the page is shown."""
    found = 0
    for name in page.images.keys()[:100]:
        picture = page.images[name].image
        if picture is None or picture.width * picture.height < _MIN_PICTURE_PIXELS:
            continue
        found += 1
        if found > _MAX_PICTURES_PER_PAGE:
            return
        grey = picture.convert("L")
        if (share := _MAX_PICTURE_PIXELS / (grey.width * grey.height)) < 1:
            grey = grey.resize((int(grey.width * share**0.5), int(grey.height * share**0.5)))
        if turn := int(page.rotation or 0) % 360:
            grey = grey.rotate(-turn, expand=True)
        buffer = io.BytesIO()
        grey.save(buffer, "PNG", compress_level=1)
        yield buffer.getvalue()
