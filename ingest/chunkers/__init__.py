"""From a parsed document to chunks: passages that are embedded, found and quoted. CHUNKERS lists the ways.

To add one: write `ingest/chunkers/<name>.py` with a function of the shape of `Chunker` called `chunk`, and add a line.
"""

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from typing import Protocol

from core.errors import InvalidInput
from core.types import Chunk
from ingest.parsers import ParsedDocument

TokenOffsets = Callable[[str], Sequence[int]]
"""The character offset at which each of the model's tokens of a text begins, ascending, special tokens left out."""


class Chunker(Protocol):
    """Cuts a document into chunks of at most `limit` tokens each, context included.

    `limit` is the model's window less its special tokens. Context and text are embedded joined by a line break.
    """

    def __call__(
        self, parsed: ParsedDocument, title: str, token_offsets: TokenOffsets, max_tokens: int
    ) -> list[Chunk]:
        """`title` is the document's, or the file's name where it has none."""
        ...


# The name in the settings -> the module whose `chunk` does it, imported when it is asked for.
CHUNKERS: Mapping[str, str] = {
    "structure": "ingest.chunkers.structure",
    "fixed": "ingest.chunkers.fixed",
    "sentence-window": "ingest.chunkers.sentence_window",
}


def load_chunker(name: str) -> Chunker:
    """The chunker of that name in CHUNKERS; raises InvalidInput for any other."""
    if name not in CHUNKERS:
        raise InvalidInput(f"There is no chunker {name!r}; choose one of {', '.join(CHUNKERS)}.")
    function: Chunker = import_module(CHUNKERS[name]).chunk_document
    return function
