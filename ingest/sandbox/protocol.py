"""Wire protocol between the parser process and its parent: plain JSON, checked on arrival.

The parser process reads untrusted files. Its messages are data; nothing is unpickled or run.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, get_args

from core.errors import UnreadableFile
from core.types import Block, BlockKind, Location, Span
from ingest.parsers.types import ParsedDocument

_Value = TypeVar("_Value")
_BLOCK_KINDS: frozenset[str] = frozenset(get_args(BlockKind))


def encode_document(media_type: str, parsed: ParsedDocument) -> bytes:
    """Encode a document; each heading path is sent once, since hundreds of blocks share one."""
    paths: dict[tuple[str, ...], int] = {}
    blocks = [_encode_block(block, paths) for block in parsed.blocks]
    return _to_json(
        {
            "kind": media_type,
            "text": parsed.text,
            "title": parsed.title,
            "metadata": dict(parsed.metadata),
            "blocks": blocks,
            "paths": list(paths),
        }
    )


def encode_refusal(error: UnreadableFile) -> bytes:
    """Encode the reason why a file can't become a document."""
    return _to_json({"reason": error.reason, "message": str(error)})


def decode_reply(message: bytes) -> tuple[str, ParsedDocument]:
    """Decode a media type and a document.

    Raises:
        UnreadableFile: the parser process refused the file.
        ValueError: the message is not one that a parser sends.
    """
    reply = json.loads(message)
    if not isinstance(reply, dict):
        raise ValueError("not an object")
    try:
        if "reason" in reply:
            reason, why = _require(str, reply["reason"]), _require(str, reply["message"])
            raise UnreadableFile(reason, why)
        parsed = _decode_document(reply)
        media_type = _require(str, reply["kind"])
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError("not a document") from error
    _check_block_order(parsed.blocks, len(parsed.text))
    return media_type, parsed


def _to_json(value: Mapping[str, object]) -> bytes:
    text = json.dumps(value, ensure_ascii=False, default=str, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _encode_block(block: Block, paths: dict[tuple[str, ...], int]) -> Sequence[object]:
    location = block.location
    path = paths.setdefault(location.headings, len(paths))
    fields = (block.kind, *block.span, block.level, path)
    place = (location.page, location.slide, location.sheet, location.rows)
    return fields if place == (None, None, None, None) else (*fields, *place)


def _decode_document(reply: Mapping[str, Any]) -> ParsedDocument:
    paths = [tuple(_require(str, name) for name in path) for path in reply["paths"]]
    return ParsedDocument(
        text=_require(str, reply["text"]),
        blocks=tuple(_decode_block(block, paths) for block in reply["blocks"]),
        title=_require(str, reply["title"]),
        metadata=_require(dict, reply["metadata"]),
    )


def _decode_block(fields: Sequence[Any], paths: Sequence[tuple[str, ...]]) -> Block:
    kind, start, end, level, path, *place = fields
    if kind not in _BLOCK_KINDS:
        raise ValueError("not a kind of block")
    headings = paths[_require(int, path)]
    location = _decode_location(headings, *place) if place else Location(headings)
    span = Span(_require(int, start), _require(int, end))
    return Block(kind, span, location, _require(int, level))


def _decode_location(
    headings: tuple[str, ...], page: object, slide: object, sheet: object, rows: object
) -> Location:
    first_and_last = None
    if isinstance(rows, list):
        first, last = rows
        first_and_last = (_require(int, first), _require(int, last))
    return Location(
        headings,
        page=None if page is None else _require(int, page),
        slide=None if slide is None else _require(int, slide),
        sheet=None if sheet is None else _require(str, sheet),
        rows=first_and_last,
    )


def _check_block_order(blocks: Sequence[Block], text_length: int) -> None:
    position = 0
    for block in blocks:
        if not position <= block.span.start <= block.span.end <= text_length:
            raise ValueError("blocks out of order")
        position = block.span.end


def _require(expected: type[_Value], value: object) -> _Value:
    if not isinstance(value, expected):
        raise TypeError
    return value
