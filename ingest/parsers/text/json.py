"""JSON: members as "name: value" lines, nested objects under headings, lists of like records as tables."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ingest.parsers import Parsed
from ingest.parsers.builder import Item, TextBuilder, one_line, plain
from ingest.parsers.encoding import read

_TITLES = ("title", "name", "subject", "question", "label", "id", "_id", "key")
_METADATA = ("author", "created", "date", "language", "modified", "updated", "version")
_BODIES = ("text", "content", "body")
SECTION = 2
"""The level of the first headings: the file as a whole is not named by one of its parts."""
_PROSE = 200  # Characters: a longer value is a text of its own, not a cell.
_COLUMNS = 12  # Records with more members are read one by one.


def parse(data: bytes) -> Parsed:
    """Read one JSON value."""
    builder = TextBuilder()
    value = json.loads(read(data))
    write_value(value, builder, SECTION)
    title = value.get("title") if isinstance(value, Mapping) else ""
    members = value if isinstance(value, Mapping) else {}
    metadata = {name: plain(members[name]) for name in _METADATA if isinstance(members.get(name), str | int | float)}
    return builder.build(title if isinstance(title, str) else "", metadata)


def write_value(value: Any, builder: TextBuilder, level: int) -> None:
    """Write a value under the headings so far; `level` is that of the next heading."""
    if isinstance(value, Mapping):
        _write_object(value, builder, level)
    elif isinstance(value, list):
        _write_list(value, builder, level)
    else:
        builder.paragraph(_scalar(value))


def write_records(records: Sequence[Mapping[str, Any]], builder: TextBuilder, level: int) -> None:
    """Records of one kind: a table when they are small and flat, else a section each."""
    names = list(dict.fromkeys(name for record in records for name in record))
    if len(names) <= _COLUMNS and all(all(map(_is_short, record.values())) for record in records):
        builder.table([names, *([_scalar(record.get(name)) for name in names] for record in records)])
        return
    for number, record in enumerate(records, 1):
        key = next((name for name in _TITLES if isinstance(record.get(name), str | int)), "")
        builder.heading(level, str(record.get(key, "")) or f"Record {number}")
        _write_object({name: value for name, value in record.items() if name != key}, builder, level + 1)


def _write_object(value: Mapping[str, Any], builder: TextBuilder, level: int) -> None:
    """First what is said in a line, then long texts, then what has a structure of its own."""
    lines = {name: line for name, item in value.items() if (line := _as_line(item)) is not None}
    builder.list(Item(f"{name}: {line}") for name, line in lines.items() if line)
    for name, item in value.items():
        if name in lines:
            continue
        if isinstance(item, str):
            first, *further = item.split("\n\n")
            builder.paragraph(first if name.lower() in _BODIES else f"{name}: {first}")
            for paragraph in further:
                builder.paragraph(paragraph)
        elif item:
            builder.heading(level, name)
            write_value(item, builder, level + 1)


def _as_line(value: object) -> str | None:
    """A scalar, or a list of a few, as one line; None for what is longer or nested."""
    if _is_short(value):
        return _scalar(value)
    if isinstance(value, list) and all(map(_is_short, value)):
        line = ", ".join(map(_scalar, value))
        return line if len(line) <= _PROSE else None
    return None


def _write_list(value: list[Any], builder: TextBuilder, level: int) -> None:
    if value and all(isinstance(item, Mapping) for item in value):
        write_records(value, builder, level)
    elif value and all(isinstance(row, list) and all(map(_is_short, row)) for row in value):
        builder.table([[_scalar(cell) for cell in row] for row in value])
    elif all(map(_is_short, value)):
        builder.list(Item(_scalar(item)) for item in value)
    else:
        for item in value:
            write_value(item, builder, level)


def _is_short(value: object) -> bool:
    return not isinstance(value, Mapping | list) and len(str(value)) <= _PROSE


def _scalar(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else one_line(str(value))
