"""Presentations: each slide's title, text, tables, charts and speaker notes."""

import io
from collections.abc import Iterable, Iterator
from typing import Any

from pptx import Presentation
from pptx.chart.chart import Chart
from pptx.shapes.base import BaseShape
from pptx.shapes.group import GroupShape
from pptx.slide import Slide
from pptx.text.text import TextFrame

from ingest.parsers import limits
from ingest.parsers.builder import ListItem, TextBuilder
from ingest.parsers.errors import size_limit_error
from ingest.parsers.office.properties import read_properties
from ingest.parsers.types import ParsedDocument

_DEFAULT_TITLE = "PowerPoint Presentation"
_SKIPPED_PLACEHOLDERS = ("FOOTER", "DATE", "SLIDE_NUMBER", "HEADER")
_PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".svg")
_ROW_HEIGHT_EMU = 457_200  # Half an inch: shapes whose tops differ by less are side by side.


def parse(data: bytes) -> ParsedDocument:
    """Parse a .pptx; hidden slides, footers and slide numbers are left out."""
    presentation = Presentation(io.BytesIO(data))
    slide_count = len(presentation.slides)
    if slide_count > limits.MAX_DOCUMENT_PAGES:
        problem = f"has more than {limits.MAX_DOCUMENT_PAGES:,} slides"
        raise size_limit_error("The presentation", problem)
    builder = TextBuilder()
    for number, slide in enumerate(presentation.slides, 1):
        if slide.element.get("show") != "0":
            builder.start_slide(number)
            _write_slide(slide, builder)
    properties = presentation.core_properties
    title = properties.title if properties.title != _DEFAULT_TITLE else ""
    return builder.build(title or "", {**read_properties(properties), "slides": slide_count})


def _write_slide(slide: Slide, builder: TextBuilder) -> None:
    title = slide.shapes.title
    if title is not None and title.has_text_frame:
        builder.add_heading(1, title.text_frame.text)
    for shape in _sort_by_position(slide.shapes):
        if title is None or shape.shape_id != title.shape_id:
            _write_shape(shape, builder)
    if slide.has_notes_slide and slide.notes_slide.notes_text_frame is not None:
        notes = slide.notes_slide.notes_text_frame.text
        if notes.strip():
            builder.add_paragraph(f"Notes: {notes}")


def _sort_by_position(shapes: Iterable[BaseShape]) -> list[BaseShape]:
    """Sort from top to bottom, then from left to right; the file's order is that of drawing."""
    return sorted(shapes, key=lambda shape: ((shape.top or 0) // _ROW_HEIGHT_EMU, shape.left or 0))


def _write_shape(shape: Any, builder: TextBuilder) -> None:
    if isinstance(shape, GroupShape):
        for inner in _sort_by_position(shape.shapes):
            _write_shape(inner, builder)
    elif getattr(shape, "has_table", False):
        builder.add_table([[cell.text for cell in row.cells] for row in shape.table.rows])
    elif getattr(shape, "has_chart", False):
        _write_chart(shape.chart, builder)
    elif shape.has_text_frame and not _is_skipped_placeholder(shape):
        _write_text(shape.text_frame, shape.is_placeholder, builder)
    elif description := _alternative_text(shape):
        builder.add_paragraph(description)


def _is_skipped_placeholder(shape: BaseShape) -> bool:
    if not shape.is_placeholder:
        return False
    return any(name in str(shape.placeholder_format.type) for name in _SKIPPED_PLACEHOLDERS)


def _write_text(frame: TextFrame, is_placeholder: bool, builder: TextBuilder) -> None:
    """Write paragraphs; several in a placeholder are its bullets."""
    items = [ListItem(part.text.replace("\v", " "), part.level) for part in frame.paragraphs]
    items = [item for item in items if item.text.strip()]
    if is_placeholder and len(items) > 1:
        builder.add_list(items)
    else:
        for item in items:
            builder.add_paragraph(item.text)


def _write_chart(chart: Chart, builder: TextBuilder) -> None:
    if chart.has_title and chart.chart_title.has_text_frame:
        builder.add_paragraph(chart.chart_title.text_frame.text)
    builder.add_table(list(_chart_rows(chart)))


def _chart_rows(chart: Chart) -> Iterator[list[str]]:
    for plot in chart.plots:
        all_series = list(plot.series)
        yield ["", *(series.name or "" for series in all_series)]
        for index, category in enumerate(plot.categories):
            yield [str(category), *(_format_point(series.values, index) for series in all_series)]


def _format_point(values: tuple[float | None, ...], index: int) -> str:
    value = values[index] if index < len(values) else None
    return "" if value is None else f"{value:g}"


def _alternative_text(shape: BaseShape) -> str:
    """Return a picture's alternative text, unless it is only a file's name."""
    properties = shape._element.xpath(".//p:cNvPr[@descr]")
    text = str(properties[0].get("descr")) if properties else ""
    return "" if text.lower().endswith(_PICTURE_SUFFIXES) else text
