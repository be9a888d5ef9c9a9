"""Spreadsheets: each visible sheet as tables, with the row numbers that a person sees."""

import io
from collections.abc import Iterator, Sequence
from datetime import date, datetime, time
from itertools import groupby
from typing import Any

from openpyxl.reader.excel import load_workbook

from ingest.parsers import limits
from ingest.parsers.builder import TextBuilder
from ingest.parsers.errors import size_limit_error
from ingest.parsers.office.properties import read_properties
from ingest.parsers.types import ParsedDocument

_MIDNIGHT = time(0)
_NumberedRow = tuple[int, Sequence[str]]


def parse(data: bytes) -> ParsedDocument:
    """Parse an .xlsx: values as last computed, not formulas; hidden sheets are left out."""
    open_book: Any = load_workbook  # It has no types.
    book = open_book(io.BytesIO(data), read_only=True, data_only=True)
    builder = TextBuilder()
    for sheet in book.worksheets:
        if sheet.sheet_state == "visible":
            builder.start_sheet(sheet.title)
            _write_sheet(list(_iter_filled_rows(sheet)), builder)
    metadata = {**read_properties(book.properties), "sheets": book.sheetnames}
    return builder.build(book.properties.title or "", metadata)


def _iter_filled_rows(sheet: Any) -> Iterator[_NumberedRow]:
    """Yield the rows that are not empty; the size that the file declares is not trusted."""
    sheet.reset_dimensions()
    cell_count = 0
    for number, row in enumerate(sheet.iter_rows(), 1):
        cell_count += len(row)
        if cell_count > limits.MAX_SHEET_CELLS or number > limits.MAX_SHEET_ROWS:
            problem = f"has a sheet of more than {limits.MAX_SHEET_CELLS:,} cells"
            raise size_limit_error("The file", problem)
        texts = [_format_cell(cell) for cell in row]
        if any(texts):
            yield number, texts


def _write_sheet(rows: Sequence[_NumberedRow], builder: TextBuilder) -> None:
    for first_row, table in _split_tables(_drop_empty_columns(rows)):
        # A single cell above a table is its caption, not its header.
        is_header = (sum(map(bool, row)) > 1 for row in table)
        caption_count = next((index for index, found in enumerate(is_header) if found), 0)
        for index in range(caption_count):
            builder.add_table([table[index]], first_row + index)
        builder.add_table(table[caption_count:], first_row + caption_count)


def _drop_empty_columns(rows: Sequence[_NumberedRow]) -> list[_NumberedRow]:
    used: set[int] = set()
    for _, row in rows:
        used.update(index for index, cell in enumerate(row) if cell)
    columns = sorted(used)
    width = max(columns, default=-1) + 1
    padded = ((number, [*row, *[""] * (width - len(row))]) for number, row in rows)
    return [(number, [row[index] for index in columns]) for number, row in padded]


def _split_tables(rows: Sequence[_NumberedRow]) -> Iterator[tuple[int, list[Sequence[str]]]]:
    """Yield the rows between empty ones, with the number of the first."""
    # The number less the index is the same for rows that follow each other.
    for _, group in groupby(enumerate(rows), key=lambda entry: entry[1][0] - entry[0]):
        table = [row for _, row in group]
        yield table[0][0], [cells for _, cells in table]


def _format_cell(cell: object) -> str:
    """Return a value much as the sheet shows it."""
    value = getattr(cell, "value", None)
    match value:
        case None:
            return ""
        case bool():
            return str(value).upper()
        case datetime():
            has_time = value.time() != _MIDNIGHT
            return value.isoformat(" ", "minutes") if has_time else value.date().isoformat()
        case date() | time():
            return value.isoformat()
        case int() | float():
            is_percentage = str(getattr(cell, "number_format", "")).endswith("%")
            return f"{value * 100:.10g}%" if is_percentage else f"{value:.12g}"
    return str(value).strip()
