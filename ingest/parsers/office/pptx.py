"""Presentations: each slide's title, text, tables, charts and speaker notes."""

import io
from collections.abc import Iterable, Iterator

from pptx import Presentation
from pptx.chart.chart import Chart
from pptx.shapes.base import BaseShape
from pptx.shapes.group import GroupShape
from pptx.slide import Slide
from pptx.text.text import TextFrame

from ingest.parsers import limits
from ingest.parsers.builder import ListItem, TextBuilder, to_json_value
from ingest.parsers.errors import size_limit_error
from ingest.parsers.types import ParsedDocument

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
_SKIPPED_PLACEHOLDERS = ("FOOTER", "DATE", "SLIDE_NUMBER", "HEADER")
_ROW_HEIGHT_EMU = 457_200  # EMU, half an inch: shapes whose tops differ by less stand side by side.


def parse(data: bytes) -> ParsedDocument:
    """Read a .pptx; hidden slides, footers and slide numbers are left out."""
    presentation = Presentation(io.BytesIO(data))
    if len(presentation.slides) > limits.MAX_DOCUMENT_PAGES:
        raise size_limit_error(
            "The presentation", f"has more than {limits.MAX_DOCUMENT_PAGES:,} slides"
        )
    builder = TextBuilder()
    for number, slide in enumerate(presentation.slides, 1):
        if slide.element.get("show") != "0":
            builder.start_slide(number)
            _write_slide(slide, builder)
    properties = presentation.core_properties
    metadata = {
        name: to_json_value(value)
        for name in _METADATA_PROPERTIES
        if (value := getattr(properties, name, None))
    }
    title = properties.title if properties.title != "PowerPoint Presentation" else ""
    return builder.build(title or "", {**metadata, "slides": len(presentation.slides)})


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
    """From top to bottom, then from left to right; the file's order is that of drawing."""
    return sorted(shapes, key=lambda shape: ((shape.top or 0) // _ROW_HEIGHT_EMU, shape.left or 0))


def _write_shape(shape: BaseShape, builder: TextBuilder) -> None:
    if isinstance(shape, GroupShape):
        for inner in _sort_by_position(shape.shapes):
            _write_shape(inner, builder)
    elif getattr(shape, "has_table", False):
        builder.add_table([[cell.text for cell in row.cells] for row in shape.table.rows])  # type: ignore[attr-defined]
    elif getattr(shape, "has_chart", False):
        _write_chart(shape.chart, builder)  # type: ignore[attr-defined]
    elif shape.has_text_frame and not _is_skipped_placeholder(shape):
        _write_text(shape.text_frame, shape.is_placeholder, builder)  # type: ignore[attr-defined]
    elif description := _alternative_text(shape):
        builder.add_paragraph(description)


def _is_skipped_placeholder(shape: BaseShape) -> bool:
    return shape.is_placeholder and any(
        name in str(shape.placeholder_format.type) for name in _SKIPPED_PLACEHOLDERS
    )


def _write_text(frame: TextFrame, is_placeholder: bool, builder: TextBuilder) -> None:
    """Several paragraphs in a placeholder are its bullets; elsewhere they are paragraphs."""
    paragraphs = [
        (paragraph.text.replace("\v", " "), paragraph.level) for paragraph in frame.paragraphs
    ]
    filled = [(text, level) for text, level in paragraphs if text.strip()]
    if is_placeholder and len(filled) > 1:
        builder.add_list(ListItem(text, level) for text, level in filled)
    else:
        for text, _ in filled:
            builder.add_paragraph(text)


def _write_chart(chart: Chart, builder: TextBuilder) -> None:
    if chart.has_title and chart.chart_title.has_text_frame:
        builder.add_paragraph(chart.chart_title.text_frame.text)
    builder.add_table(list(_chart_rows(chart)))


def _chart_rows(chart: Chart) -> Iterator[list[str]]:
    for plot in chart.plots:
        series = list(plot.series)
        yield ["", *(one.name or "" for one in series)]
        for index, category in enumerate(plot.categories):
            values = (one.values[index] if index < len(one.values) else None for one in series)
            yield [str(category), *("" if value is None else f"{value:g}" for value in values)]


def _alternative_text(shape: BaseShape) -> str:
    """A picture's alternative text, unless it is only a file's name."""
    properties = shape._element.xpath(".//p:cNvPr[@descr]")
    text = str(properties[0].get("descr")) if properties else ""
    return "" if text.lower().endswith((".png", ".jpg", ".jpeg", ".gif", ".svg")) else text
