"""JSON: members as "name: value" lines, nested objects under headings, lists of like records as tables."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ingest.parsers.builder import ListItem, TextBuilder, to_json_value, to_single_line
from ingest.parsers.encoding import decode_text
from ingest.parsers.types import ParsedDocument

_TITLE_KEYS = ("title", "name", "subject", "question", "label", "id", "_id", "key")
_METADATA_KEYS = ("author", "created", "date", "language", "modified", "updated", "version")
_BODY_KEYS = ("text", "content", "body")
FIRST_HEADING_LEVEL = 2
"""The level of the first headings: the file as a whole is not named by one of its parts."""
_MAX_CELL_CHARACTERS = 200  # Characters: a longer value is a text of its own, not a cell.
_MAX_COLUMNS = 12  # Records with more members are read one by one.


def parse(data: bytes) -> ParsedDocument:
    """Read one JSON value."""
    builder = TextBuilder()
    value = json.loads(decode_text(data))
    write_value(value, builder, FIRST_HEADING_LEVEL)
    title = value.get("title") if isinstance(value, Mapping) else ""
    members = value if isinstance(value, Mapping) else {}
    metadata = {
        name: to_json_value(members[name])
        for name in _METADATA_KEYS
        if isinstance(members.get(name), str | int | float)
    }
    return builder.build(title if isinstance(title, str) else "", metadata)


def write_value(value: Any, builder: TextBuilder, level: int) -> None:
    """Write a value under the headings so far; `level` is that of the next heading."""
    if isinstance(value, Mapping):
        _write_object(value, builder, level)
    elif isinstance(value, list):
        _write_list(value, builder, level)
    else:
        builder.add_paragraph(_format_scalar(value))


def write_records(records: Sequence[Mapping[str, Any]], builder: TextBuilder, level: int) -> None:
    """Records of one kind: a table when they are small and flat, else a section each."""
    names = list(dict.fromkeys(name for record in records for name in record))
    if len(names) <= _MAX_COLUMNS and all(
        all(map(_is_short, record.values())) for record in records
    ):
        builder.add_table(
            [names, *([_format_scalar(record.get(name)) for name in names] for record in records)]
        )
        return
    for number, record in enumerate(records, 1):
        key = next((name for name in _TITLE_KEYS if isinstance(record.get(name), str | int)), "")
        builder.add_heading(level, str(record.get(key, "")) or f"Record {number}")
        _write_object(
            {name: value for name, value in record.items() if name != key}, builder, level + 1
        )


def _write_object(value: Mapping[str, Any], builder: TextBuilder, level: int) -> None:
    """First what is said in a line, then long texts, then what has a structure of its own."""
    lines = {name: line for name, item in value.items() if (line := _format_line(item)) is not None}
    builder.add_list(ListItem(f"{name}: {line}") for name, line in lines.items() if line)
    for name, item in value.items():
        if name in lines:
            continue
        if isinstance(item, str):
            first, *further = item.split("\n\n")
            builder.add_paragraph(first if name.lower() in _BODY_KEYS else f"{name}: {first}")
            for paragraph in further:
                builder.add_paragraph(paragraph)
        elif item:
            builder.add_heading(level, name)
            write_value(item, builder, level + 1)


def _format_line(value: object) -> str | None:
    """A scalar, or a list of a few, as one line; None for what is longer or nested."""
    if _is_short(value):
        return _format_scalar(value)
    if isinstance(value, list) and all(map(_is_short, value)):
        line = ", ".join(map(_format_scalar, value))
        return line if len(line) <= _MAX_CELL_CHARACTERS else None
    return None


def _write_list(value: list[Any], builder: TextBuilder, level: int) -> None:
    if value and all(isinstance(item, Mapping) for item in value):
        write_records(value, builder, level)
    elif value and all(isinstance(row, list) and all(map(_is_short, row)) for row in value):
        builder.add_table([[_format_scalar(cell) for cell in row] for row in value])
    elif all(map(_is_short, value)):
        builder.add_list(ListItem(_format_scalar(item)) for item in value)
    else:
        for item in value:
            write_value(item, builder, level)


def _is_short(value: object) -> bool:
    return not isinstance(value, Mapping | list) and len(str(value)) <= _MAX_CELL_CHARACTERS


def _format_scalar(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else to_single_line(str(value))
