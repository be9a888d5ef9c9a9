"""What the process that parses and the one that asked say to each other: plain JSON, checked on arrival.

The parsing process reads what strangers wrote; whatever it sends is taken for data, never run or unpickled.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, get_args

from core.errors import UnreadableFile
from core.types import Block, BlockKind, Location, Span
from ingest.parsers.types import ParsedDocument

_BLOCK_KINDS: frozenset[str] = frozenset(get_args(BlockKind))


def encode_document(media_type: str, parsed: ParsedDocument) -> bytes:
    """A parsed document; each heading path is sent once, since hundreds of blocks share one."""
    paths: dict[tuple[str, ...], int] = {}
    blocks = [_encode_block(block, paths) for block in parsed.blocks]
    return _to_json(
        {
            "kind": media_type,
            "text": parsed.text,
            "title": parsed.title,
            "metadata": dict(parsed.metadata),
            "blocks": blocks,
        }
        | {"paths": list(paths)}
    )


def encode_refusal(error: UnreadableFile) -> bytes:
    """Why a file can't become a document."""
    return _to_json({"reason": error.reason, "message": str(error)})


def decode_reply(message: bytes) -> tuple[str, ParsedDocument]:
    """What was packed; raises the Unreadable that was, and ValueError for what no parser of ours says."""
    said = json.loads(message)
    if not isinstance(said, dict):
        raise ValueError("not an object")
    if "reason" in said:
        raise UnreadableFile(_require_str(said["reason"]), _require_str(said["message"]))
    try:
        text = _require_str(said["text"])
        paths = [tuple(_require_str(name) for name in path) for path in said["paths"]]
        blocks = tuple(_decode_block(block, paths) for block in said["blocks"])
        parsed = ParsedDocument(
            text, blocks, _require_str(said["title"]), _require_mapping(said["metadata"])
        )
        kind = _require_str(said["kind"])
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError("not a document") from error
    _check_block_order(blocks, len(text))
    return kind, parsed


def _to_json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":")).encode(
        "utf-8", "replace"
    )


def _encode_block(block: Block, paths: dict[tuple[str, ...], int]) -> Sequence[object]:
    place = block.location
    path = paths.setdefault(place.headings, len(paths))
    if (place.page, place.slide, place.sheet, place.rows) == (None, None, None, None):
        return (block.kind, *block.span, block.level, path)
    return (
        block.kind,
        *block.span,
        block.level,
        path,
        place.page,
        place.slide,
        place.sheet,
        place.rows,
    )


def _decode_block(fields: Sequence[Any], paths: Sequence[tuple[str, ...]]) -> Block:
    kind, start, end, level, path, *place = fields
    if kind not in _BLOCK_KINDS:
        raise ValueError("an unknown kind of block")
    headings = paths[_require_int(path)]
    location = _decode_location(headings, *place) if place else Location(headings)
    return Block(kind, Span(_require_int(start), _require_int(end)), location, _require_int(level))


def _decode_location(
    headings: tuple[str, ...], page: object, slide: object, sheet: object, rows: object
) -> Location:
    first_and_last = None
    if isinstance(rows, list):
        first, last = rows
        first_and_last = (_require_int(first), _require_int(last))
    return Location(
        headings,
        None if page is None else _require_int(page),
        None if slide is None else _require_int(slide),
        None if sheet is None else _require_str(sheet),
        first_and_last,
    )


def _check_block_order(blocks: Sequence[Block], text_length: int) -> None:
    at = 0
    for block in blocks:
        if not at <= block.span.start <= block.span.end <= text_length:
            raise ValueError("blocks out of order")
        at = block.span.end


def _require_str(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _require_int(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value


def _require_mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError
    return value
