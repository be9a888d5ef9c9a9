"""Helpers for tests of parsers."""

import pytest

from core.errors import UnreadableFile
from ingest.parsers.file_parser import parse_file
from ingest.parsers.types import ParsedDocument


def read(name: str, source: str | bytes) -> ParsedDocument:
    """Parse a file of that name; text is encoded as UTF-8."""
    return parse_file(name, source.encode() if isinstance(source, str) else source)[1]


def list_blocks(parsed: ParsedDocument) -> list[tuple[str, str]]:
    """Return kind and text of each block."""
    return [(block.kind, parsed.text[slice(*block.span)]) for block in parsed.blocks]


def refusal_reason(name: str, data: bytes) -> str:
    """Return the reason with which a file is refused."""
    with pytest.raises(UnreadableFile) as caught:
        parse_file(name, data)
    assert str(caught.value).endswith(".")
    return caught.value.reason
