"""Sitemaps: XML that names pages, or further sitemaps. No entity of any kind is expanded."""

import zlib
from dataclasses import dataclass, field
from xml.parsers import expat

from core.errors import UnreadableFile

MAX_SITEMAP_BYTES = 50_000_000  # the protocol's own limit, unpacked


@dataclass(slots=True)
class SitemapEntries:
    """The addresses in a sitemap, as they stand there: of pages, and of further sitemaps."""

    pages: list[str] = field(default_factory=list)
    sitemaps: list[str] = field(default_factory=list)


def parse_sitemap(display_name: str, data: bytes) -> SitemapEntries:
    """The addresses in a sitemap's bytes, packed or not.

    Raises:
        Unreadable: it is no sitemap, has a document type, or is too large.
    """
    found = SitemapEntries()
    parser = expat.ParserCreate(namespace_separator=" ")
    open_elements: list[str] = []
    text: list[str] = []

    def start(name: str, _: dict[str, str]) -> None:
        open_elements.append(name.rpartition(" ")[2])
        text.clear()

    def end(_: str) -> None:
        if open_elements[-2:] == ["url", "loc"]:
            found.pages.append("".join(text).strip())
        elif open_elements[-2:] == ["sitemap", "loc"]:
            found.sitemaps.append("".join(text).strip())
        open_elements.pop()

    def refuse(*_: object) -> None:
        raise UnreadableFile(
            "corrupt",
            f"{display_name} declares a document type, which no sitemap needs; it is not read.",
        )

    parser.StartElementHandler, parser.EndElementHandler = start, end
    parser.CharacterDataHandler, parser.StartDoctypeDeclHandler = text.append, refuse
    try:
        parser.Parse(_decompress_sitemap(display_name, data), True)
    except expat.ExpatError as error:
        raise UnreadableFile(
            "corrupt", f"{display_name} is no sitemap ({error}); name one, or a page."
        ) from error
    return found


def _decompress_sitemap(display_name: str, data: bytes) -> bytes:
    if data.startswith(b"\x1f\x8b"):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            data = unpacker.decompress(data, MAX_SITEMAP_BYTES + 1)
        except zlib.error as error:
            raise UnreadableFile(
                "corrupt", f"{display_name} is damaged; tell whoever keeps it."
            ) from error
    if len(data) > MAX_SITEMAP_BYTES:
        raise UnreadableFile(
            "too-large",
            f"{display_name} is larger than a sitemap may be; name the sitemaps it is made of.",
        )
    return data
