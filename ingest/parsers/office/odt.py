"""OpenDocument text: headings, paragraphs, lists and tables in the order of the body."""

import io
import zipfile
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from ingest.parsers.builder import ListItem, TextBuilder
from ingest.parsers.errors import password_error
from ingest.parsers.types import ParsedDocument
from ingest.parsers.xml import find_text, iter_named, local_name, parse_xml, read_metadata

_METADATA_KEYS = {
    "creator": "author",
    "initial-creator": "author",
    "date": "modified",
    "creation-date": "created",
    "language": "language",
    "subject": "subject",
    "keyword": "keywords",
}
_MANIFEST = "META-INF/manifest.xml"
_SKIPPED_TAGS = frozenset(
    "tracked-changes annotation table-of-content alphabetical-index sequence-decls forms".split()
)
_SKIPPED_INLINE_TAGS = frozenset("annotation frame change change-start change-end bookmark".split())
_CODE_STYLE_WORDS = ("preformatted", "code", "source")
_MAX_SPACES = 100


def parse(data: bytes) -> ParsedDocument:
    """Parse an .odt; deleted text, comments and indexes are left out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if _MANIFEST in names and b"encryption-data" in archive.read(_MANIFEST):
            raise password_error("The file")
        content = parse_xml(archive.read("content.xml"))
        meta = parse_xml(archive.read("meta.xml")) if "meta.xml" in names else None
    builder = TextBuilder()
    body = next(node for node in content if local_name(node) == "body")
    _OdtWriter(builder, content).write(next(node for node in body if local_name(node) == "text"))
    if meta is None:
        return builder.build()
    return builder.build(find_text(meta, "title"), read_metadata(meta, _METADATA_KEYS))


class _OdtWriter:
    """Walks the body. Code is a paragraph per line in the file; its lines are collected."""

    def __init__(self, builder: TextBuilder, content: Element) -> None:
        self._builder = builder
        self._numbered_styles = {
            _get_attribute(style, "name")
            for style in iter_named(content, "list-style")
            if any(local_name(level) == "list-level-style-number" for level in style)
        }
        self._parent_styles = {
            _get_attribute(style, "name"): _get_attribute(style, "parent-style-name")
            for style in iter_named(content, "style")
        }
        self._code: list[str] = []

    def write(self, parent: Element) -> None:
        for node in parent:
            self._write_node(node)
        self._flush_code()

    def _write_node(self, node: Element) -> None:
        tag = local_name(node)
        if tag == "p" and self._is_code(node):
            self._code.append(_inline_text(node))
            return
        self._flush_code()
        if tag == "h":
            level = int(_get_attribute(node, "outline-level") or 1)
            self._builder.add_heading(level, _inline_text(node))
        elif tag == "p":
            self._write_paragraph(node)
        elif tag == "list":
            is_numbered = _get_attribute(node, "style-name") in self._numbered_styles
            self._builder.add_list(_list_items(node, 0, is_numbered))
        elif tag == "table":
            self._builder.add_table([list(map(_cell_text, row)) for row in _iter_rows(node)])
        elif tag not in _SKIPPED_TAGS:
            self.write(node)

    def _write_paragraph(self, node: Element) -> None:
        style = _get_attribute(node, "style-name")
        if (self._parent_styles.get(style) or style) == "Title":
            self._builder.add_heading(1, _inline_text(node))
        else:
            self._builder.add_lines(_inline_text(node).split("\n"))
        for box in iter_named(node, "text-box"):
            self.write(box)

    def _is_code(self, node: Element) -> bool:
        style = _get_attribute(node, "style-name")
        names = f"{style} {self._parent_styles.get(style, '')}".lower()
        return any(word in names for word in _CODE_STYLE_WORDS)

    def _flush_code(self) -> None:
        self._builder.add_code("\n".join(self._code))
        self._code = []


def _list_items(node: Element, depth: int, is_numbered: bool) -> Iterator[ListItem]:
    """Yield the items of a list and of those inside it; further paragraphs have no marker."""
    number = 0
    for entry in node:
        is_first = True
        for part in entry:
            if local_name(part) == "list":
                yield from _list_items(part, depth + 1, is_numbered)
            elif local_name(part) in ("p", "h"):
                if is_first:
                    number += 1
                    yield ListItem(_inline_text(part), depth, f"{number}." if is_numbered else "-")
                else:
                    yield ListItem(_inline_text(part), depth + 1, "")
                is_first = False


def _get_attribute(node: Element, name: str) -> str:
    values = (value for key, value in node.attrib.items() if key.rpartition("}")[2] == name)
    return next(values, "")


def _inline_text(node: Element) -> str:
    parts = [node.text or ""]
    for child in node:
        parts += [_child_text(child), child.tail or ""]
    return "".join(parts)


def _child_text(node: Element) -> str:
    match local_name(node):
        case "s":
            return " " * min(int(_get_attribute(node, "c") or 1), _MAX_SPACES)
        case "tab":
            return " "
        case "line-break":
            return "\n"
        case "note":
            bodies = [body for body in node if local_name(body) == "note-body"][:1]
            return "".join(f" ({' '.join(map(_inline_text, body)).strip()})" for body in bodies)
        case tag if tag and tag not in _SKIPPED_INLINE_TAGS:
            return _inline_text(node)
    return ""


def _iter_rows(table: Element) -> Iterator[list[Element]]:
    for node in table:
        if local_name(node) == "table-row":
            yield [cell for cell in node if local_name(cell) == "table-cell"]
        elif local_name(node) in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _iter_rows(node)


def _cell_text(cell: Element) -> str:
    return " ".join(_inline_text(node) for node in cell.iter() if local_name(node) in ("p", "h"))
