"""Spreadsheets: each visible sheet as tables, a line a row, with the row numbers a person sees."""

import io
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from itertools import groupby
from typing import Any

from openpyxl.reader.excel import load_workbook

from ingest.parsers import limits
from ingest.parsers.builder import TextBuilder, to_json_value
from ingest.parsers.errors import size_limit_error
from ingest.parsers.types import ParsedDocument

_METADATA_KEYS = {
    "creator": "author",
    "created": "created",
    "modified": "modified",
    "subject": "subject",
    "keywords": "keywords",
    "category": "category",
    "language": "language",
    "version": "version",
}
_MIDNIGHT = time(0)


def parse(data: bytes) -> ParsedDocument:
    """Read a .xlsx: values as last computed, not formulas; hidden sheets are left out."""
    book = load_workbook(io.BytesIO(data), read_only=True, data_only=True)  # type: ignore[no-untyped-call]
    builder = TextBuilder()
    for sheet in book.worksheets:
        if sheet.sheet_state == "visible":
            builder.start_sheet(sheet.title)
            _write_sheet(list(_iter_filled_rows(sheet)), builder)
    properties = book.properties
    metadata = {
        name: to_json_value(value)
        for key, name in _METADATA_KEYS.items()
        if (value := getattr(properties, key, None))
    }
    return builder.build(properties.title or "", {**metadata, "sheets": book.sheetnames})


def _iter_filled_rows(sheet: Any) -> Iterator[tuple[int, list[str]]]:
    """The rows that hold something, by number; what the file says of the sheet's size is not believed."""
    sheet.reset_dimensions()
    cells = 0
    for number, row in enumerate(sheet.iter_rows(), 1):
        cells += len(row)
        if cells > limits.MAX_SHEET_CELLS or number > limits.MAX_SHEET_ROWS:
            raise size_limit_error(
                "The file", f"has a sheet of more than {limits.MAX_SHEET_CELLS:,} cells"
            )
        shown = [_format_cell(cell) for cell in row]
        if any(shown):
            yield number, shown


def _write_sheet(rows: Sequence[tuple[int, Sequence[str]]], builder: TextBuilder) -> None:
    used = sorted({index for _, row in rows for index, cell in enumerate(row) if cell})
    filled = [
        (number, [row[index] if index < len(row) else "" for index in used]) for number, row in rows
    ]
    for first, table in _split_tables(filled):
        # A lone cell above a table is its caption, not its header.
        captions = next((at for at, row in enumerate(table) if sum(map(bool, row)) > 1), 0)
        for number in range(captions):
            builder.add_table([table[number]], first + number)
        builder.add_table(table[captions:], first + captions)


def _split_tables(
    rows: Sequence[tuple[int, Sequence[str]]],
) -> Iterator[tuple[int, list[Sequence[str]]]]:
    """Runs of rows between empty ones, each with the number of its first row."""
    for _, group in groupby(enumerate(rows), key=lambda placed: placed[1][0] - placed[0]):
        numbered = [row for _, row in group]
        yield numbered[0][0], [row for _, row in numbered]


def _format_cell(cell: object) -> str:
    """A value much as the sheet shows it."""
    value = getattr(cell, "value", None)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, datetime):
        return (
            value.date().isoformat()
            if value.time() == _MIDNIGHT
            else value.isoformat(" ", "minutes")
        )
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, int | float):
        percent = str(getattr(cell, "number_format", "")).endswith("%")
        return f"{value * 100:.10g}%" if percent else f"{value:.12g}"
    return str(value).strip()
