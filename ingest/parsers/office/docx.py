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

from ingest.parsers.builder import ListItem, TextBuilder, to_json_value
from ingest.parsers.types import ParsedDocument

_HEADING_STYLE = re.compile(r"heading\s*([1-9])", re.IGNORECASE)
_LIST_STYLE = re.compile(r"list\s*(bullet|number|paragraph|continue)?\s*([2-5])?", re.IGNORECASE)
_CODE_STYLE = re.compile(r"code|preformatted|source|listing", re.IGNORECASE)
_SKIPPED_STYLE = re.compile(r"toc\s*\d|table of figures|header|footer", re.IGNORECASE)
_MAX_COLUMNS = 1000  # Word has 63.
_MAX_STYLE_CHAIN = 20  # Each based on the next; a file can have them in a circle.
_METADATA_PROPERTIES = (
    "author",
    "created",
    "modified",
    "subject",
    "keywords",
    "category",
    "language",
    "version",
)


def parse(data: bytes) -> ParsedDocument:
    """Read a .docx; headers, footers, tables of contents and deleted or hidden text are left out."""
    document = open_docx(io.BytesIO(data))
    builder = TextBuilder()
    _DocxWriter(document, builder).write(document.iter_inner_content())
    properties = document.core_properties
    metadata = {
        name: to_json_value(value)
        for name in _METADATA_PROPERTIES
        if (value := getattr(properties, name, None))
    }
    return builder.build(properties.title or "", metadata)


class _DocxWriter:
    """Paragraphs of a list, or of code, come one by one in the file: they are gathered until something else comes."""

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
        own_style = self._find_style(paragraph)
        style = (own_style.name if own_style else "") or ""
        if _SKIPPED_STYLE.match(style):
            return
        item = self._numbering.to_list_item(paragraph, own_style, text)
        if level := _heading_level(paragraph, style):
            self._flush_pending()
            self._builder.add_heading(level, text)
        elif item:
            self._flush_code()
            self._items.append(item)
        elif _CODE_STYLE.search(style):
            self._flush_list()
            self._code.append(text)
        else:
            self._flush_pending()
            self._builder.add_lines(text.split("\n"))

    def _find_style(self, paragraph: Paragraph) -> ParagraphStyle | None:
        """Looked up once for each style: the library goes through all of them for each paragraph."""
        key = paragraph._p.style
        if key not in self._style_by_id:
            self._style_by_id[key] = paragraph.style
        return self._style_by_id[key]

    def _write_table(self, table: Table) -> None:
        for span in table._tbl.iter(qn("w:gridSpan")):
            if not _val_attribute(span).isdigit() or int(_val_attribute(span)) > _MAX_COLUMNS:
                span.set(qn("w:val"), "1")  # The library would make that many cells.
        rows = [_unique_cells(row.cells) for row in table.rows]
        if any(len(row) > 1 for row in rows):
            self._builder.add_table([[_cell_text(cell) for cell in row] for row in rows])
        else:  # One column: a frame around ordinary content.
            for row in rows:
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
    """Which paragraphs are list items, and the marker Word would draw in front of each."""

    def __init__(self, document: Document) -> None:
        self._formats: dict[tuple[str, str], str] = {}
        self._counts: dict[tuple[str, int], int] = {}
        try:
            root = document.part.numbering_part.element
        except (KeyError, NotImplementedError):
            return
        abstract = {
            node.get(qn("w:abstractNumId")): {
                level.get(qn("w:ilvl")): _val_attribute(level.find(qn("w:numFmt")))
                for level in node.findall(qn("w:lvl"))
            }
            for node in root.findall(qn("w:abstractNum"))
        }
        for node in root.findall(qn("w:num")):
            for level, form in abstract.get(
                _val_attribute(node.find(qn("w:abstractNumId"))), {}
            ).items():
                self._formats[node.get(qn("w:numId")), level] = form

    def to_list_item(
        self, paragraph: Paragraph, own_style: ParagraphStyle | None, text: str
    ) -> ListItem | None:
        """The paragraph as a list item; None when it isn't one."""
        style = (own_style.name if own_style else "") or ""
        named = _LIST_STYLE.match(style)
        number, level = _find_numbering(paragraph, own_style)
        if number in (None, "0") and not (named and named[1]):
            return None
        if number in (None, "0") and named and named[1].lower() in ("paragraph", "continue"):
            return None
        depth = int(level or 0) or (int(named[2]) - 1 if named and named[2] else 0)
        form = self._formats.get((number or "", level or "0"), "")
        if form in ("bullet", "none") or (
            not form and named and (named[1] or "").lower() != "number"
        ):
            return ListItem(text, depth)
        return ListItem(text, depth, f"{self._next_number(number or style, depth)}.")

    def _next_number(self, number: str, depth: int) -> int:
        for key in [key for key in self._counts if key[0] == number and key[1] > depth]:
            del self._counts[key]
        self._counts[number, depth] = self._counts.get((number, depth), 0) + 1
        return self._counts[number, depth]


def _val_attribute(node: object) -> str:
    return str(node.get(qn("w:val"))) if node is not None else ""  # type: ignore[attr-defined]


def _find_numbering(
    paragraph: Paragraph, own_style: ParagraphStyle | None
) -> tuple[str | None, str | None]:
    """NumId and ilvl, of the paragraph itself or of its style or a style that one is based on."""
    style: Any = own_style
    sources = [paragraph._p.pPr]
    while style is not None and len(sources) < _MAX_STYLE_CHAIN:
        sources.append(style.element.find(qn("w:pPr")))
        style = style.base_style
    for properties in sources:
        numbering = properties.find(qn("w:numPr")) if properties is not None else None
        if numbering is not None and numbering.find(qn("w:numId")) is not None:
            level = numbering.find(qn("w:ilvl"))
            return _val_attribute(numbering.find(qn("w:numId"))), _val_attribute(
                level
            ) if level is not None else None
    return None, None


def _heading_level(paragraph: Paragraph, style: str) -> int:
    if style.lower() == "title":
        return 1
    if match := _HEADING_STYLE.match(style):
        return int(match[1])
    outline = paragraph._p.find(f"{qn('w:pPr')}/{qn('w:outlineLvl')}")
    level = _val_attribute(outline)
    return int(level) + 1 if level.isdigit() and int(level) < 9 else 0


def _visible_text(paragraph: Paragraph) -> str:
    """The paragraph's text without deleted, moved-away and hidden runs; links, fields' results and maths included."""
    return "".join(_run_texts(paragraph._p))


_TEXT_TAGS = {qn("w:t"), qn("m:t")}
_BREAK_TEXT_BY_TAG = {
    qn("w:br"): "\n",
    qn("w:cr"): "\n",
    qn("w:tab"): " ",
    qn("w:noBreakHyphen"): "-",
}
_FALLBACK_TAG = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"
_SKIPPED_TAGS = {
    _FALLBACK_TAG,
    *map(qn, ("w:del", "w:moveFrom", "w:pPr", "w:rPr", "w:instrText", "w:txbxContent")),
}


def _run_texts(node: object) -> Iterator[str]:
    for child in node:  # type: ignore[attr-defined]
        if child.tag in _TEXT_TAGS:
            yield child.text or ""
        elif child.tag in _BREAK_TEXT_BY_TAG:
            yield _BREAK_TEXT_BY_TAG[child.tag]
        elif child.tag not in _SKIPPED_TAGS and not _is_hidden(child):
            yield from _run_texts(child)


def _is_hidden(node: object) -> bool:
    return node.find(f"{qn('w:rPr')}/{qn('w:vanish')}") is not None  # type: ignore[attr-defined]


def _iter_text_boxes(paragraph: Paragraph) -> Iterator[str]:
    for box in paragraph._p.iter(qn("w:txbxContent")):
        if not any(above.tag == _FALLBACK_TAG for above in box.iterancestors()):
            yield "\n".join("".join(_run_texts(inner)) for inner in box.iter(qn("w:p")))


def _unique_cells(cells: Sequence[_Cell]) -> list[_Cell]:
    """A row's cells, a merged one once."""
    return [
        cell
        for index, cell in enumerate(cells)
        if index == 0 or cell._tc is not cells[index - 1]._tc
    ]


def _cell_text(cell: _Cell) -> str:
    return " ".join(_visible_text(paragraph) for paragraph in _iter_paragraphs(cell))


def _iter_paragraphs(cell: _Cell) -> Iterator[Paragraph]:
    for part in cell.iter_inner_content():
        if isinstance(part, Paragraph):
            yield part
        else:
            for row in part.rows:
                for inner in _unique_cells(row.cells):
                    yield from _iter_paragraphs(inner)
