"""The chunkers that the setting `GROUNDWORK_CHUNKER` can name.

To add a chunker, write a module with a function `chunk_document` that follows `Chunker`, and add
one line to `CHUNKERS`. Nothing else lists the names.
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Protocol

from core.errors import InvalidInput
from core.types import Chunk
from ingest.chunkers.token_counter import TokenOffsets
from ingest.parsers.types import ParsedDocument


class Chunker(Protocol):
    """Cuts a document into chunks of at most `max_tokens` tokens each, context included.

    `max_tokens` is the model's window without its special tokens. Context and text are embedded
    together, joined by a line break.
    """

    def __call__(
        self, parsed: ParsedDocument, title: str, token_offsets: TokenOffsets, max_tokens: int
    ) -> list[Chunk]:
        """Return the chunks in order; `title` is the document's, or the name of its file."""
        ...


# Modules are named, not imported: LlamaIndex is loaded only for the chunkers that need it.
CHUNKERS: Mapping[str, str] = {
    "structure": "ingest.chunkers.structure",
    "fixed": "ingest.chunkers.fixed",
    "sentence-window": "ingest.chunkers.sentence_window",
}


def check_chunker_name(name: str) -> None:
    """Raise InvalidInput if `CHUNKERS` has no chunker of that name."""
    if name not in CHUNKERS:
        names = ", ".join(CHUNKERS)
        raise InvalidInput(f"GROUNDWORK_CHUNKER: {name!r} is not a chunker. Use one of {names}.")


def load_chunker(name: str) -> Chunker:
    """Import the chunker of that name; raises InvalidInput if there is none."""
    check_chunker_name(name)
    chunker: Chunker = import_module(CHUNKERS[name]).chunk_document
    return chunker
