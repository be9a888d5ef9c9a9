"""Word documents: paragraphs, lists and tables in the order of the body."""

import io
import re
from collections.abc import Iterator, Sequence
from typing import Any

from docx import Document as open_docx
from docx.document import Document
from docx.oxml.ns import qn
from docx.styles.style import ParagraphStyle
from docx.table import Table, _Cell
from docx.text.paragraph import Paragraph

from ingest.parsers.builder import ListItem, TextBuilder
from ingest.parsers.office.properties import read_properties
from ingest.parsers.types import ParsedDocument

_HEADING_STYLE = re.compile(r"heading\s*([1-9])", re.IGNORECASE)
_LIST_STYLE = re.compile(r"list\s*(bullet|number|paragraph|continue)?\s*([2-5])?", re.IGNORECASE)
_CODE_STYLE = re.compile(r"code|preformatted|source|listing", re.IGNORECASE)
_SKIPPED_STYLE = re.compile(r"toc\s*\d|table of figures|header|footer", re.IGNORECASE)
_MAX_COLUMNS = 1000  # Word has 63.
_MAX_STYLE_CHAIN = 20  # Each is based on the next; in a damaged file they can form a circle.

_TEXT_TAGS = {qn("w:t"), qn("m:t")}
_TEXT_BY_TAG = {qn("w:br"): "\n", qn("w:cr"): "\n", qn("w:tab"): " ", qn("w:noBreakHyphen"): "-"}
_FALLBACK_TAG = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_SKIPPED_TAGS = {
    _FALLBACK_TAG,
    *map(qn, ("w:del", "w:moveFrom", "w:pPr", "w:rPr", "w:instrText", "w:txbxContent")),
}


def parse(data: bytes) -> ParsedDocument:
    """Parse a .docx without headers, footers, tables of contents, deleted and hidden text."""
    document = open_docx(io.BytesIO(data))
    builder = TextBuilder()
    _DocxWriter(document, builder).write(document.iter_inner_content())
    properties = document.core_properties
    return builder.build(properties.title or "", read_properties(properties))


class _DocxWriter:
    """Walks the body. Each list item and line of code is a paragraph; they are collected."""

    def __init__(self, document: Document, builder: TextBuilder) -> None:
        self._builder = builder
        self._numbering = _ListNumbering(document)
        self._style_by_id: dict[str | None, ParagraphStyle | None] = {}
        self._items: list[ListItem] = []
        self._code: list[str] = []

    def write(self, content: Iterator[Paragraph | Table]) -> None:
        for part in content:
            if isinstance(part, Table):
                self._flush_pending()
                self._write_table(part)
            else:
                self._write_paragraph(part)
        self._flush_pending()

    def _write_paragraph(self, paragraph: Paragraph) -> None:
        text = _visible_text(paragraph)
        if text.strip():
            self._write_text(paragraph, text)
        for box in _iter_text_boxes(paragraph):
            self._flush_pending()
            self._builder.add_lines(box.split("\n"))

    def _write_text(self, paragraph: Paragraph, text: str) -> None:
        style = self._find_style(paragraph)
        style_name = _style_name(style)
        if _SKIPPED_STYLE.match(style_name):
            return
        item = self._numbering.to_list_item(paragraph, style, text)
        if level := _heading_level(paragraph, style_name):
            self._flush_pending()
            self._builder.add_heading(level, text)
        elif item:
            self._flush_code()
            self._items.append(item)
        elif _CODE_STYLE.search(style_name):
            self._flush_list()
            self._code.append(text)
        else:
            self._flush_pending()
            self._builder.add_lines(text.split("\n"))

    def _find_style(self, paragraph: Paragraph) -> ParagraphStyle | None:
        """Look each style up once: python-docx searches all of them for each paragraph."""
        style_id = paragraph._p.style
        if style_id not in self._style_by_id:
            self._style_by_id[style_id] = paragraph.style
        return self._style_by_id[style_id]

    def _write_table(self, table: Table) -> None:
        _limit_spans(table)
        rows = [_unique_cells(row.cells) for row in table.rows]
        if any(len(row) > 1 for row in rows):
            self._builder.add_table([list(map(_cell_text, row)) for row in rows])
            return
        for row in rows:  # One column: a frame around ordinary content.
            for cell in row:
                self.write(cell.iter_inner_content())

    def _flush_pending(self) -> None:
        self._flush_list()
        self._flush_code()

    def _flush_list(self) -> None:
        self._builder.add_list(self._items)
        self._items = []

    def _flush_code(self) -> None:
        self._builder.add_code("\n".join(self._code))
        self._code = []


class _ListNumbering:
    """Finds the paragraphs that are list items, and the marker that Word draws before each."""

    def __init__(self, document: Document) -> None:
        self._formats: dict[tuple[str, str], str] = {}  # by list and level
        self._counts: dict[tuple[str, int], int] = {}  # by list and depth
        try:
            root = document.part.numbering_part.element
        except (KeyError, NotImplementedError):
            return
        levels_by_id = {
            node.get(qn("w:abstractNumId")): node.findall(qn("w:lvl"))
            for node in root.findall(qn("w:abstractNum"))
        }
        for node in root.findall(qn("w:num")):
            abstract_id = _val_attribute(node.find(qn("w:abstractNumId")))
            for level in levels_by_id.get(abstract_id, ()):
                key = node.get(qn("w:numId")), level.get(qn("w:ilvl"))
                self._formats[key] = _val_attribute(level.find(qn("w:numFmt")))

    def to_list_item(
        self, paragraph: Paragraph, style: ParagraphStyle | None, text: str
    ) -> ListItem | None:
        """Return the paragraph as a list item; None if it is not one."""
        style_name = _style_name(style)
        match = _LIST_STYLE.match(style_name)
        style_kind = (match[1] or "").lower() if match else ""
        list_id, level = _find_numbering(paragraph, style)
        if list_id in (None, "0") and style_kind not in ("bullet", "number"):
            return None
        style_depth = int(match[2]) - 1 if match and match[2] else 0
        depth = int(level or 0) or style_depth
        number_format = self._formats.get((list_id or "", level or "0"), "")
        is_bullet_style = match is not None and style_kind != "number"
        if number_format in ("bullet", "none") or (not number_format and is_bullet_style):
            return ListItem(text, depth)
        return ListItem(text, depth, f"{self._next_number(list_id or style_name, depth)}.")

    def _next_number(self, list_id: str, depth: int) -> int:
        for key in list(self._counts):
            if key[0] == list_id and key[1] > depth:
                del self._counts[key]
        self._counts[list_id, depth] = self._counts.get((list_id, depth), 0) + 1
        return self._counts[list_id, depth]


def _val_attribute(node: Any) -> str:
    return str(node.get(qn("w:val"))) if node is not None else ""


def _style_name(style: ParagraphStyle | None) -> str:
    return (style.name if style else "") or ""


def _find_numbering(
    paragraph: Paragraph, style: ParagraphStyle | None
) -> tuple[str | None, str | None]:
    """Return list id and level of the paragraph, else of its style or a base style."""
    sources = [paragraph._p.pPr]
    base: Any = style
    while base is not None and len(sources) < _MAX_STYLE_CHAIN:
        sources.append(base.element.find(qn("w:pPr")))
        base = base.base_style
    for properties in sources:
        numbering = properties.find(qn("w:numPr")) if properties is not None else None
        if numbering is None or numbering.find(qn("w:numId")) is None:
            continue
        level = numbering.find(qn("w:ilvl"))
        list_id = _val_attribute(numbering.find(qn("w:numId")))
        return list_id, None if level is None else _val_attribute(level)
    return None, None


def _heading_level(paragraph: Paragraph, style_name: str) -> int:
    """Return the level of a heading, else 0."""
    if style_name.lower() == "title":
        return 1
    if match := _HEADING_STYLE.match(style_name):
        return int(match[1])
    level = _val_attribute(paragraph._p.find(f"{qn('w:pPr')}/{qn('w:outlineLvl')}"))
    return int(level) + 1 if level.isdigit() and int(level) < 9 else 0


def _visible_text(paragraph: Paragraph) -> str:
    """Return the text of links, fields and maths too, but not of deleted and hidden runs."""
    return "".join(_run_texts(paragraph._p))


def _run_texts(node: Any) -> Iterator[str]:
    for child in node:
        if child.tag in _TEXT_TAGS:
            yield child.text or ""
        elif child.tag in _TEXT_BY_TAG:
            yield _TEXT_BY_TAG[child.tag]
        elif child.tag not in _SKIPPED_TAGS and not _is_hidden(child):
            yield from _run_texts(child)


def _is_hidden(node: Any) -> bool:
    return node.find(f"{qn('w:rPr')}/{qn('w:vanish')}") is not None


def _iter_text_boxes(paragraph: Paragraph) -> Iterator[str]:
    for box in paragraph._p.iter(qn("w:txbxContent")):
        if not any(ancestor.tag == _FALLBACK_TAG for ancestor in box.iterancestors()):
            yield "\n".join("".join(_run_texts(inner)) for inner in box.iter(qn("w:p")))


def _limit_spans(table: Table) -> None:
    """Reset absurd column spans, for which python-docx would create as many cells."""
    for span in table._tbl.iter(qn("w:gridSpan")):
        value = _val_attribute(span)
        if not value.isdigit() or int(value) > _MAX_COLUMNS:
            span.set(qn("w:val"), "1")


def _unique_cells(cells: Sequence[_Cell]) -> list[_Cell]:
    """Return a row's cells, a merged one once."""
    unique: list[_Cell] = []
    for cell in cells:
        if not unique or cell._tc is not unique[-1]._tc:
            unique.append(cell)
    return unique


def _cell_text(cell: _Cell) -> str:
    return " ".join(_visible_text(paragraph) for paragraph in _iter_paragraphs(cell))


def _iter_paragraphs(cell: _Cell) -> Iterator[Paragraph]:
    for part in cell.iter_inner_content():
        if isinstance(part, Paragraph):
            yield part
            continue
        for row in part.rows:
            for inner in _unique_cells(row.cells):
                yield from _iter_paragraphs(inner)
