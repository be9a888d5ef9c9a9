"""Types that the write path and the read path share: documents, blocks, chunks, locations."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

BlockKind = Literal["heading", "paragraph", "list", "table", "code"]


class Span(NamedTuple):
    """Half-open character offsets into the stored text of a document."""

    start: int
    end: int

    def overlaps(self, other: "Span") -> bool:
        """Return whether both spans share a character."""
        return self.start < other.end and other.start < self.end


@dataclass(frozen=True, slots=True)
class Location:
    """Place where a person finds a passage. Numbers start at 1; None if a format lacks them."""

    headings: tuple[str, ...] = ()
    page: int | None = None
    slide: int | None = None
    sheet: str | None = None
    rows: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """Return one line for people, such as `page 3 · Travel > Meals`; may be empty."""
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
    """Structural part of a document. The blocks of a document are in order and do not overlap.

    `level` is 1 to 6 for headings, otherwise 0. `location.headings` are the headings above the
    block, outermost first; a heading is not among its own.
    """

    kind: BlockKind
    span: Span
    location: Location = field(default_factory=Location)
    level: int = 0


@dataclass(frozen=True, slots=True)
class Document:
    """Parsed document. `text` is stored and quoted; `blocks` are its structure.

    `uri` identifies the document in its tenant; users see `path`. `allowed_groups` may read it;
    without any, everyone in the tenant may. `content_hash` is the SHA-256 of the source file.
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
    """Passage of a document: consecutive whole sentences, table rows or code lines.

    `text` equals `document.text[span.start:span.end]`. `context` (title, headings, header row of a
    table) is embedded and indexed with the text, but never quoted. `sentences` are the spans that
    an answer may quote, as offsets into the document. `tokens` counts context and text in tokens
    of the embedding model.
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
    """Identity of an embedding model. The revision changes with the weights."""

    name: str
    revision: str
    dimension: int
