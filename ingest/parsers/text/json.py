"""JSON: members as "name: value" lines, objects under headings, lists of records as tables."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ingest.parsers.builder import ListItem, TextBuilder, to_json_value, to_single_line
from ingest.parsers.encoding import decode_text
from ingest.parsers.types import ParsedDocument

_TITLE_KEYS = ("title", "name", "subject", "question", "label", "id", "_id", "key")
_METADATA_KEYS = ("author", "created", "date", "language", "modified", "updated", "version")
_BODY_KEYS = ("text", "content", "body")
# Headings begin at level 2: level 1 would make one part's name the title of the file.
FIRST_HEADING_LEVEL = 2
_MAX_CELL_CHARACTERS = 200  # A longer value is a text of its own.
_MAX_COLUMNS = 12  # Records with more members become a section each.


def parse(data: bytes) -> ParsedDocument:
    """Parse a file of one JSON value."""
    builder = TextBuilder()
    value = json.loads(decode_text(data))
    write_value(value, builder, FIRST_HEADING_LEVEL)
    members = value if isinstance(value, Mapping) else {}
    title = members.get("title")
    metadata = {
        name: to_json_value(members[name])
        for name in _METADATA_KEYS
        if isinstance(members.get(name), str | int | float)
    }
    return builder.build(title if isinstance(title, str) else "", metadata)


def write_value(value: Any, builder: TextBuilder, level: int) -> None:
    """Write a value below the current headings; `level` is the level of the next heading."""
    if isinstance(value, Mapping):
        _write_object(value, builder, level)
    elif isinstance(value, list):
        _write_list(value, builder, level)
    else:
        builder.add_paragraph(_format_scalar(value))


def write_records(records: Sequence[Mapping[str, Any]], builder: TextBuilder, level: int) -> None:
    """Write records as a table if they are small and flat, else as one section each."""
    columns = list(dict.fromkeys(name for record in records for name in record))
    if len(columns) <= _MAX_COLUMNS and all(_is_flat(record.values()) for record in records):
        rows = [[_format_scalar(record.get(name)) for name in columns] for record in records]
        builder.add_table([columns, *rows])
        return
    for number, record in enumerate(records, 1):
        title_key = next((key for key in _TITLE_KEYS if isinstance(record.get(key), str | int)), "")
        builder.add_heading(level, str(record.get(title_key, "")) or f"Record {number}")
        members = {name: value for name, value in record.items() if name != title_key}
        _write_object(members, builder, level + 1)


def _write_object(value: Mapping[str, Any], builder: TextBuilder, level: int) -> None:
    """Write one-line members first, then long texts and nested values in their order."""
    lines = {name: _format_line(item) for name, item in value.items()}
    builder.add_list(ListItem(f"{name}: {line}") for name, line in lines.items() if line)
    for name, item in value.items():
        if lines[name] is None and item:
            _write_member(name, item, builder, level)


def _write_member(name: str, item: Any, builder: TextBuilder, level: int) -> None:
    if not isinstance(item, str):
        builder.add_heading(level, name)
        write_value(item, builder, level + 1)
        return
    text = item if name.lower() in _BODY_KEYS else f"{name}: {item}"
    for paragraph in text.split("\n\n"):
        builder.add_paragraph(paragraph)


def _format_line(value: object) -> str | None:
    """Return a scalar, or a short list of scalars, as one line; None for any other value."""
    if _is_short(value):
        return _format_scalar(value)
    if isinstance(value, list) and _is_flat(value):
        line = ", ".join(map(_format_scalar, value))
        return line if len(line) <= _MAX_CELL_CHARACTERS else None
    return None


def _write_list(values: list[Any], builder: TextBuilder, level: int) -> None:
    if values and all(isinstance(value, Mapping) for value in values):
        write_records(values, builder, level)
    elif values and all(isinstance(value, list) and _is_flat(value) for value in values):
        builder.add_table([list(map(_format_scalar, row)) for row in values])
    elif _is_flat(values):
        builder.add_list(ListItem(_format_scalar(value)) for value in values)
    else:
        for value in values:
            write_value(value, builder, level)


def _is_flat(values: Iterable[object]) -> bool:
    return all(map(_is_short, values))


def _is_short(value: object) -> bool:
    return not isinstance(value, Mapping | list) and len(str(value)) <= _MAX_CELL_CHARACTERS


def _format_scalar(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else to_single_line(str(value))
