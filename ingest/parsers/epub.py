"""E-books: the chapters in the order of the spine, each read as the HTML it is."""

import io
import posixpath
import zipfile
from collections.abc import Iterator
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from core.errors import UnreadableFile
from ingest.parsers import ParsedDocument, limits, size_limit_error
from ingest.parsers.builder import TextBuilder, to_json_value
from ingest.parsers.encoding import decode_text
from ingest.parsers.html.parser import write_html
from ingest.parsers.xml import find_text, local_name, parse_xml

_METADATA_KEYS = {
    "creator": "author",
    "date": "date",
    "language": "language",
    "publisher": "publisher",
}


def parse(data: bytes) -> ParsedDocument:
    """Read an EPUB without copy protection; its table of contents page is left out."""
    builder = TextBuilder()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if "META-INF/rights.xml" in archive.namelist():
            raise UnreadableFile(
                "encrypted", "The e-book is copy-protected; ingest an edition without protection."
            )
        container = parse_xml(archive.read("META-INF/container.xml"))
        path = next(
            node.get("full-path", "") for node in container.iter() if local_name(node) == "rootfile"
        )
        package = parse_xml(archive.read(path))
        chapters = list(_chapter_paths(package))
        if len(chapters) > limits.MAX_CHAPTERS:
            raise size_limit_error("The e-book", f"has more than {limits.MAX_CHAPTERS:,} chapters")
        for name in chapters:
            write_html(
                decode_text(
                    archive.read(posixpath.normpath(posixpath.join(posixpath.dirname(path), name)))
                ),
                builder,
            )
    metadata = {
        key: to_json_value(value)
        for name, key in _METADATA_KEYS.items()
        if (value := find_text(package, name))
    }
    return builder.build(find_text(package, "title"), metadata)


def _chapter_paths(package: Element) -> Iterator[str]:
    items = {node.get("id"): node for node in package.iter() if local_name(node) == "item"}
    for node in package.iter():
        item = items.get(node.get("idref", "")) if local_name(node) == "itemref" else None
        if (
            item is not None
            and "html" in item.get("media-type", "")
            and "nav" not in item.get("properties", "").split()
        ):
            yield unquote(item.get("href", ""))
