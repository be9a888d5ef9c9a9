"""OpenDocument text: headings, paragraphs, lists and tables in the order of the body."""

import io
import zipfile
from collections.abc import Iterator
from xml.etree.ElementTree import Element

from core.errors import Unreadable
from ingest.parsers import Parsed
from ingest.parsers.builder import Item, TextBuilder, plain
from ingest.parsers.xml import local, read_xml, text_of

_METADATA = {
    "creator": "author", "initial-creator": "author", "date": "modified", "creation-date": "created",
    "language": "language", "subject": "subject", "keyword": "keywords",
}  # fmt: skip
_SKIPPED = ("tracked-changes", "annotation", "table-of-content", "alphabetical-index", "sequence-decls", "forms")
_CODE = ("preformatted", "code", "source")


def parse(data: bytes) -> Parsed:
    """Read an .odt; deleted text, comments and indexes are left out."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "META-INF/manifest.xml" in names and b"encryption-data" in archive.read("META-INF/manifest.xml"):
            raise Unreadable(
                "encrypted", "The file is encrypted with a password; save a copy without one and ingest that."
            )
        content = read_xml(archive.read("content.xml"))
        meta = read_xml(archive.read("meta.xml")) if "meta.xml" in names else None
    builder = TextBuilder()
    body = next(node for node in content if local(node) == "body")
    _Writer(builder, content).write(next(node for node in body if local(node) == "text"))
    if meta is None:
        return builder.build()
    metadata = {key: plain(value) for name, key in _METADATA.items() if (value := text_of(meta, name))}
    return builder.build(text_of(meta, "title"), metadata)


class _Writer:
    """Walks the body; the lines of a piece of code are paragraphs in the file and are gathered here."""

    def __init__(self, builder: TextBuilder, content: Element) -> None:
        self._builder = builder
        self._numbered = {
            _attribute(style, "name")
            for style in content.iter()
            if local(style) == "list-style" and any(local(level) == "list-level-style-number" for level in style)
        }
        self._parents = {
            _attribute(style, "name"): _attribute(style, "parent-style-name")
            for style in content.iter()
            if local(style) == "style"
        }
        self._code: list[str] = []

    def write(self, parent: Element) -> None:
        for node in parent:
            self._node(node)
        self._flush()

    def _node(self, node: Element) -> None:
        tag = local(node)
        if tag == "p" and self._is_code(node):
            self._code.append(_inline(node))
            return
        self._flush()
        if tag == "h":
            self._builder.heading(int(_attribute(node, "outline-level") or 1), _inline(node))
        elif tag == "p":
            style = self._parents.get(_attribute(node, "style-name")) or _attribute(node, "style-name")
            if style == "Title":
                self._builder.heading(1, _inline(node))
            else:
                self._builder.lines(_inline(node).split("\n"))
            for box in (inner for inner in node.iter() if local(inner) == "text-box"):
                self.write(box)
        elif tag == "list":
            self._builder.list(self._items(node, 0, _attribute(node, "style-name") in self._numbered))
        elif tag == "table":
            self._builder.table([[_cell(cell) for cell in row] for row in _rows(node)])
        elif tag not in _SKIPPED:
            self.write(node)

    def _is_code(self, node: Element) -> bool:
        name = _attribute(node, "style-name")
        return any(mark in f"{name} {self._parents.get(name, '')}".lower() for mark in _CODE)

    def _flush(self) -> None:
        self._builder.code("\n".join(self._code))
        self._code = []

    def _items(self, node: Element, depth: int, numbered: bool) -> Iterator[Item]:
        number = 0
        for entry in node:
            marker = ""
            for part in entry:
                if local(part) == "list":
                    yield from self._items(part, depth + 1, numbered)
                elif local(part) in ("p", "h"):
                    number += not marker
                    yield Item(
                        _inline(part), depth + bool(marker), "" if marker else (f"{number}." if numbered else "-")
                    )
                    marker = "-"


def _attribute(node: Element, name: str) -> str:
    return next((str(value) for key, value in node.attrib.items() if key.rpartition("}")[2] == name), "")


def _inline(node: Element) -> str:
    parts = [node.text or ""]
    for child in node:
        tag = local(child)
        if tag == "s":
            parts.append(" " * min(int(_attribute(child, "c") or 1), 100))
        elif tag in ("tab", "line-break"):
            parts.append("\n" if tag == "line-break" else " ")
        elif tag == "note":
            body = next((inner for inner in child if local(inner) == "note-body"), None)
            parts.append(f" ({' '.join(map(_inline, body)).strip()})" if body is not None else "")
        elif tag and tag not in ("annotation", "frame", "change", "change-start", "change-end", "bookmark"):
            parts.append(_inline(child))
        parts.append(child.tail or "")
    return "".join(parts)


def _rows(table: Element) -> Iterator[list[Element]]:
    for node in table:
        if local(node) == "table-row":
            yield [cell for cell in node if local(cell) == "table-cell"]
        elif local(node) in ("table-header-rows", "table-rows", "table-row-group"):
            yield from _rows(node)


def _cell(cell: Element) -> str:
    return " ".join(_inline(node) for node in cell.iter() if local(node) in ("p", "h"))
