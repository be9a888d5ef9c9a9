"""OpenDocument text: headings, paragraphs, lists and tables in the order of the body."""

import io
import zipfile
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from core.errors import UnreadableFile
from ingest.parsers.builder import ListItem, TextBuilder, to_json_value
from ingest.parsers.types import ParsedDocument
from ingest.parsers.xml import find_text, local_name, parse_xml

_METADATA_KEYS = {
    "creator": "author",
    "initial-creator": "author",
    "date": "modified",
    "creation-date": "created",
    "language": "language",
    "subject": "subject",
    "keyword": "keywords",
}
_SKIPPED_TAGS = (
    "tracked-changes",
    "annotation",
    "table-of-content",
    "alphabetical-index",
    "sequence-decls",
    "forms",
)
_CODE_STYLE_WORDS = ("preformatted", "code", "source")


def parse(data: bytes) -> ParsedDocument:
    """Read an .odt; deleted text, comments and indexes are left out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "META-INF/manifest.xml" in names and b"encryption-data" in archive.read(
            "META-INF/manifest.xml"
        ):
            raise UnreadableFile(
                "encrypted",
                "The file is encrypted with a password; save a copy without one and ingest that.",
            )
        content = parse_xml(archive.read("content.xml"))
        meta = parse_xml(archive.read("meta.xml")) if "meta.xml" in names else None
    builder = TextBuilder()
    body = next(node for node in content if local_name(node) == "body")
    _OdtWriter(builder, content).write(next(node for node in body if local_name(node) == "text"))
    if meta is None:
        return builder.build()
    metadata = {
        key: to_json_value(value)
        for name, key in _METADATA_KEYS.items()
        if (value := find_text(meta, name))
    }
    return builder.build(find_text(meta, "title"), metadata)


class _OdtWriter:
    """Walks the body; the lines of a piece of code are paragraphs in the file and are gathered here."""

    def __init__(self, builder: TextBuilder, content: Element) -> None:
        self._builder = builder
        self._numbered_styles = {
            _get_attribute(style, "name")
            for style in content.iter()
            if local_name(style) == "list-style"
            and any(local_name(level) == "list-level-style-number" for level in style)
        }
        self._parent_styles = {
            _get_attribute(style, "name"): _get_attribute(style, "parent-style-name")
            for style in content.iter()
            if local_name(style) == "style"
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
            self._builder.add_heading(
                int(_get_attribute(node, "outline-level") or 1), _inline_text(node)
            )
        elif tag == "p":
            style = self._parent_styles.get(_get_attribute(node, "style-name")) or _get_attribute(
                node, "style-name"
            )
            if style == "Title":
                self._builder.add_heading(1, _inline_text(node))
            else:
                self._builder.add_lines(_inline_text(node).split("\n"))
            for box in (inner for inner in node.iter() if local_name(inner) == "text-box"):
                self.write(box)
        elif tag == "list":
            self._builder.add_list(
                self._list_items(
                    node, 0, _get_attribute(node, "style-name") in self._numbered_styles
                )
            )
        elif tag == "table":
            self._builder.add_table(
                [[_cell_text(cell) for cell in row] for row in _iter_rows(node)]
            )
        elif tag not in _SKIPPED_TAGS:
            self.write(node)

    def _is_code(self, node: Element) -> bool:
        name = _get_attribute(node, "style-name")
        return any(
            mark in f"{name} {self._parent_styles.get(name, '')}".lower()
            for mark in _CODE_STYLE_WORDS
        )

    def _flush_code(self) -> None:
        self._builder.add_code("\n".join(self._code))
        self._code = []

    def _list_items(self, node: Element, depth: int, numbered: bool) -> Iterator[ListItem]:
        number = 0
        for entry in node:
            marker = ""
            for part in entry:
                if local_name(part) == "list":
                    yield from self._list_items(part, depth + 1, numbered)
                elif local_name(part) in ("p", "h"):
                    number += not marker
                    yield ListItem(
                        _inline_text(part),
                        depth + bool(marker),
                        "" if marker else (f"{number}." if numbered else "-"),
                    )
                    marker = "-"


def _get_attribute(node: Element, name: str) -> str:
    return next(
        (str(value) for key, value in node.attrib.items() if key.rpartition("}")[2] == name), ""
    )


def _inline_text(node: Element) -> str:
    parts = [node.text or ""]
    for child in node:
        tag = local_name(child)
        if tag == "s":
            parts.append(" " * min(int(_get_attribute(child, "c") or 1), 100))
        elif tag in ("tab", "line-break"):
            parts.append("\n" if tag == "line-break" else " ")
        elif tag == "note":
            body = next((inner for inner in child if local_name(inner) == "note-body"), None)
            parts.append(
                f" ({' '.join(map(_inline_text, body)).strip()})" if body is not None else ""
            )
        elif tag and tag not in (
            "annotation",
            "frame",
            "change",
            "change-start",
            "change-end",
            "bookmark",
        ):
            parts.append(_inline_text(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _iter_rows(table: Element) -> Iterator[list[Element]]:
    for node in table:
        if local_name(node) == "table-row":
            yield [cell for cell in node if local_name(cell) == "table-cell"]
        elif local_name(node) in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _iter_rows(node)


def _cell_text(cell: Element) -> str:
    return " ".join(_inline_text(node) for node in cell.iter() if local_name(node) in ("p", "h"))
