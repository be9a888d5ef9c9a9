"""E-books (EPUB): the chapters in the order of the spine, each parsed as HTML."""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from core.errors import UnreadableFile
from ingest.parsers import limits
from ingest.parsers.builder import TextBuilder
from ingest.parsers.encoding import decode_text
from ingest.parsers.errors import size_limit_error
from ingest.parsers.html.parser import write_html
from ingest.parsers.types import ParsedDocument
from ingest.parsers.xml import find_text, iter_named, parse_xml, read_metadata

_METADATA_KEYS = {key: key for key in ("date", "language", "publisher")} | {"creator": "author"}


def parse(data: bytes) -> ParsedDocument:
    """Parse an EPUB without copy protection; its table of contents page is left out."""
    builder = TextBuilder()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if "META-INF/rights.xml" in archive.namelist():
            why = "The e-book is copy-protected. Ingest an edition without protection."
            raise UnreadableFile("encrypted", why)
        container = parse_xml(archive.read("META-INF/container.xml"))
        package_path = next(iter_named(container, "rootfile")).get("full-path", "")
        package = parse_xml(archive.read(package_path))
        chapters = list(_iter_chapters(package))
        if len(chapters) > limits.MAX_CHAPTERS:
            raise size_limit_error("The e-book", f"has more than {limits.MAX_CHAPTERS:,} chapters")
        folder = posixpath.dirname(package_path)
        for chapter in chapters:
            chapter_path = posixpath.normpath(posixpath.join(folder, chapter))
            write_html(decode_text(archive.read(chapter_path)), builder)
    return builder.build(find_text(package, "title"), read_metadata(package, _METADATA_KEYS))


def _iter_chapters(package: Element) -> Iterator[str]:
    """Yield the paths of the chapters, relative to the package file."""
    items = {item.get("id"): item for item in iter_named(package, "item")}
    for reference in iter_named(package, "itemref"):
        item = items.get(reference.get("idref", ""))
        if item is not None and _is_chapter(item):
            yield unquote(item.get("href", ""))


def _is_chapter(item: Element) -> bool:
    is_page = "html" in item.get("media-type", "")
    return is_page and "nav" not in item.get("properties", "").split()
