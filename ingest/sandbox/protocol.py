"""What the process that parses and the one that asked say to each other: plain JSON, checked on arrival.

The parsing process reads what strangers wrote; whatever it sends is taken for data, never run or unpickled.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from core.errors import Unreadable
from core.types import Block, BlockKind, Location, Span
from ingest.parsers import Parsed

_KINDS: frozenset[str] = frozenset(get_args(BlockKind))


def pack(kind: str, parsed: Parsed) -> bytes:
    """A parsed document; each heading path is sent once, since hundreds of blocks share one."""
    paths: dict[tuple[str, ...], int] = {}
    blocks = [_packed(block, paths) for block in parsed.blocks]
    return _json(
        {"kind": kind, "text": parsed.text, "title": parsed.title, "metadata": dict(parsed.metadata), "blocks": blocks}
        | {"paths": list(paths)}
    )


def pack_refusal(error: Unreadable) -> bytes:
    """Why a file can't become a document."""
    return _json({"reason": error.reason, "message": str(error)})


def unpack(message: bytes) -> tuple[str, Parsed]:
    """What was packed; raises the Unreadable that was, and ValueError for what no parser of ours says."""
    said = json.loads(message)
    if not isinstance(said, dict):
        raise ValueError("not an object")
    if "reason" in said:
        raise Unreadable(_text(said["reason"]), _text(said["message"]))
    try:
        text = _text(said["text"])
        paths = [tuple(_text(name) for name in path) for path in said["paths"]]
        blocks = tuple(_block(block, paths) for block in said["blocks"])
        parsed = Parsed(text, blocks, _text(said["title"]), _mapping(said["metadata"]))
        kind = _text(said["kind"])
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError("not a document") from error
    _check_order(blocks, len(text))
    return kind, parsed


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":")).encode("utf-8", "replace")


def _packed(block: Block, paths: dict[tuple[str, ...], int]) -> Sequence[object]:
    place = block.location
    path = paths.setdefault(place.headings, len(paths))
    if (place.page, place.slide, place.sheet, place.rows) == (None, None, None, None):
        return (block.kind, *block.span, block.level, path)
    return (block.kind, *block.span, block.level, path, place.page, place.slide, place.sheet, place.rows)


def _block(said: Sequence[Any], paths: Sequence[tuple[str, ...]]) -> Block:
    kind, start, end, level, path, *place = said
    if kind not in _KINDS:
        raise ValueError("an unknown kind of block")
    headings = paths[_number(path)]
    location = _location(headings, *place) if place else Location(headings)
    return Block(kind, Span(_number(start), _number(end)), location, _number(level))


def _location(headings: tuple[str, ...], page: object, slide: object, sheet: object, rows: object) -> Location:
    first_and_last = None
    if isinstance(rows, list):
        first, last = rows
        first_and_last = (_number(first), _number(last))
    return Location(
        headings,
        None if page is None else _number(page),
        None if slide is None else _number(slide),
        None if sheet is None else _text(sheet),
        first_and_last,
    )


def _check_order(blocks: Sequence[Block], length: int) -> None:
    at = 0
    for block in blocks:
        if not at <= block.span.start <= block.span.end <= length:
            raise ValueError("blocks out of order")
        at = block.span.end


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _number(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError
    return value
