"""Result of parsing a file, and the function that each format provides."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from core.types import Block


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """Plain text of a file, its blocks as offsets into that text, and its title or ""."""

    text: str
    blocks: tuple[Block, ...]
    title: str = ""
    metadata: Mapping[str, object] = field(default_factory=dict)


class Parser(Protocol):
    """Parser of one format: the function `parse` of a module in `ingest.parsers.registry.FORMATS`.

    It may raise any exception. `parse_file` turns each into an UnreadableFile with a reason.
    """

    def __call__(self, data: bytes) -> ParsedDocument:
        """Parse `data`, the whole file."""
        ...
