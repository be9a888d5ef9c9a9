"""Sitemaps: XML with the addresses of pages or of further sitemaps. No XML entity is expanded."""

import zlib
from dataclasses import dataclass, field
from xml.parsers import expat

from core.errors import UnreadableFile

MAX_SITEMAP_BYTES = 50_000_000  # unpacked; the limit of the sitemap protocol


@dataclass(slots=True)
class SitemapEntries:
    """Addresses in a sitemap, unchecked: of pages, and of further sitemaps."""

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


def parse_sitemap(display_name: str, data: bytes) -> SitemapEntries:
    """Return the addresses of a sitemap, packed or not.

    Raises:
        UnreadableFile: it is not a sitemap, has a document type, or is too large.
    """
    entries = SitemapEntries()
    parser = expat.ParserCreate(namespace_separator=" ")
    open_elements: list[str] = []
    text: list[str] = []

    def start(name: str, _: dict[str, str]) -> None:
        open_elements.append(name.rpartition(" ")[2])
        text.clear()

    def end(_: str) -> None:
        if open_elements[-2:] == ["url", "loc"]:
            entries.pages.append("".join(text).strip())
        elif open_elements[-2:] == ["sitemap", "loc"]:
            entries.sitemaps.append("".join(text).strip())
        open_elements.pop()

    def refuse(*_: object) -> None:
        raise UnreadableFile(
            "corrupt", f"{display_name} has a document type, which may be hostile. Remove it."
        )

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text.append, refuse
    try:
        parser.Parse(_decompress_sitemap(display_name, data), True)
    except expat.ExpatError as error:
        raise UnreadableFile(
            "corrupt", f"{display_name} is not a sitemap ({error}). Name one, or a page."
        ) from error
    return entries


def _decompress_sitemap(display_name: str, data: bytes) -> bytes:
    if data.startswith(b"\x1f\x8b"):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            data = unpacker.decompress(data, MAX_SITEMAP_BYTES + 1)
        except zlib.error as error:
            raise UnreadableFile(
                "corrupt", f"{display_name} is damaged. Ask its owner to fix it."
            ) from error
    if len(data) > MAX_SITEMAP_BYTES:
        raise UnreadableFile(
            "too-large", f"{display_name} is larger than a sitemap may be. Name smaller sitemaps."
        )
    return data
