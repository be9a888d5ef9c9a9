"""What the write path and the read path agree on: a document, its blocks, its chunks, and where a passage stands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]


class Span(NamedTuple):
    """Half-open character offsets into a document's stored text: `text[start:end]` is the quote."""

    start: int
    end: int

    def overlaps(self, other: "Span") -> bool:
        """Whether both have a character in common."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Location:
    """Where a person opens a passage. Numbers count from 1; what a format doesn't have stays None."""

    headings: tuple[str, ...] = ()
    page: int | None = None
    slide: int | None = None
    sheet: str | None = None
    rows: tuple[int, int] | None = None

    def label(self) -> str:
        """One line a person can follow: `page 3 · Travel > Meals`; empty when there is nothing to say."""
        parts = [
            f"page {self.page}" if self.page else "",
            f"slide {self.slide}" if self.slide else "",
            f"sheet {self.sheet}" if self.sheet else "",
            f"rows {self.rows[0]}-{self.rows[1]}" if self.rows else "",
            " > ".join(self.headings),
        ]
        return " · ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class Block:
    """A structural piece of a document's text; blocks are in order and do not overlap.

    `level` is 1 to 6 for headings, else 0. `location.headings` holds the headings above the block,
    outermost first; a heading's own path does not include itself.
    """

    kind: BlockKind
    span: Span
    location: Location = field(default_factory=Location)
    level: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document: `text` is what is stored and quoted, `blocks` its structure as offsets into it.

    `uri` is its identity inside a tenant; `path` is what people are shown. `readers` are the groups that
    may see it, empty for everyone in the tenant. `content_hash` is the SHA-256 of the source's bytes.
    """

    uri: str
    path: str
    title: str
    media_type: str
    text: str
    blocks: tuple[Block, ...]
    content_hash: str
    allowed_groups: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of a document: a contiguous span of whole sentences (or table rows, or code lines).

    `text` equals `document.text[span.start:span.end]`. `context` is what is put in front of it when it is
    embedded and indexed (title, heading path, a table's header row) and is never quoted. `sentences` are
    the units an answer may quote, as offsets into the document's text. `tokens` counts context and text
    in the embedding model's own tokens.
    """

    ordinal: int
    span: Span
    text: str
    context: str
    location: Location
    sentences: tuple[Span, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """What an index version is built with: the model's name, the digest of its weights, and its dimension."""

    name: str
    revision: str
    dimension: int
