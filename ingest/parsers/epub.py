"""E-books: the chapters in the order of the spine, each read as the HTML it is."""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from core.errors import Unreadable
from ingest.parsers import Parsed, limits, too_large
from ingest.parsers.builder import TextBuilder, plain
from ingest.parsers.encoding import read
from ingest.parsers.html.parser import write_html
from ingest.parsers.xml import local, read_xml, text_of

_METADATA = {"creator": "author", "date": "date", "language": "language", "publisher": "publisher"}


def parse(data: bytes) -> Parsed:
    """Read an EPUB without copy protection; its table of contents page is left out."""
    builder = TextBuilder()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if "META-INF/rights.xml" in archive.namelist():
            raise Unreadable("encrypted", "The e-book is copy-protected; ingest an edition without protection.")
        container = read_xml(archive.read("META-INF/container.xml"))
        path = next(node.get("full-path", "") for node in container.iter() if local(node) == "rootfile")
        package = read_xml(archive.read(path))
        chapters = list(_chapters(package))
        if len(chapters) > limits.CHAPTERS:
            raise too_large("The e-book", f"has more than {limits.CHAPTERS:,} chapters")
        for name in chapters:
            write_html(read(archive.read(posixpath.normpath(posixpath.join(posixpath.dirname(path), name)))), builder)
    metadata = {key: plain(value) for name, key in _METADATA.items() if (value := text_of(package, name))}
    return builder.build(text_of(package, "title"), metadata)


def _chapters(package: Element) -> Iterator[str]:
    items = {node.get("id"): node for node in package.iter() if local(node) == "item"}
    for node in package.iter():
        item = items.get(node.get("idref", "")) if local(node) == "itemref" else None
        if (
            item is not None
            and "html" in item.get("media-type", "")
            and "nav" not in item.get("properties", "").split()
        ):
            yield unquote(item.get("href", ""))
