"""Markdown (CommonMark with tables): what a reader sees, without the mark-up; front matter becomes metadata."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence

import yaml
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from ingest.parsers import Parsed
from ingest.parsers.builder import Item, TextBuilder, plain
from ingest.parsers.encoding import read
from ingest.parsers.html.parser import HiddenTags, write_html

_LONGEST = 20_000  # Characters of a paragraph; a longer one is bait, and read as it stands.
_YAML = re.compile(r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_TOML = re.compile(r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_FRONT_MATTER = 200_000  # Characters.
_DEEP = re.compile(r"(?:[\[{]\s*){50}|^(?:[-?:] ){50}|^ {500}", re.MULTILINE)
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BREAK_TAG = re.compile(r"<(?:br|/?p|/?div|/?li)\b", re.IGNORECASE)
# Site generators' own mark-up: Hugo's shortcodes and Kramdown's attribute lists. No reader of the page sees them.
_GENERATOR = re.compile(r"\{\{[<%][^{}\n]*[>%]\}\}|^[ \t]*\{:[^}\n]*\}[ \t]*$", re.MULTILINE)
_NOTE = re.compile(r"^\[!(\w+)\][ \t]*")


def parse(data: bytes) -> Parsed:
    """Read Markdown in any encoding."""
    return parse_text(read(data))


def parse_text(text: str) -> Parsed:
    """Read Markdown that is decoded already."""
    metadata, body = front_matter(text.replace("\r\n", "\n"))
    builder = TextBuilder()
    _Writer(builder).write(_MARKDOWN.parse(_GENERATOR.sub("", body)))
    title = metadata.get("title")
    return builder.build(title if isinstance(title, str) else "", metadata)


def front_matter(text: str) -> tuple[Mapping[str, object], str]:
    """The metadata at the top of `text` and the rest; text that only looks like front matter stays text."""
    for pattern, load in ((_YAML, _load_yaml), (_TOML, tomllib.loads)):
        if match := pattern.match(text):
            try:
                values = load(match[1])
            except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError):
                values = {}
                if not re.match(r"\s*[\w-]+[ \t]*[:=]", match[1]):
                    return {}, text
            if isinstance(values, Mapping):
                return {str(key): plain(value) for key, value in values.items()}, text[match.end() :]
    return {}, text


def _load_yaml(text: str) -> object:
    if len(text) > _FRONT_MATTER or _DEEP.search(text):  # The loader in C doesn't survive a hundred thousand brackets.
        raise yaml.YAMLError("too long or too deep")
    if re.search(r"(?:^|[\s\[{,])[&*]\w", text):  # Anchors can make a few lines expand to gigabytes.
        raise yaml.YAMLError("anchors are not read")
    return yaml.load(text, Loader=_LOADER)  # noqa: S506 - both loaders are safe ones


def _read_inline(state: StateCore) -> None:
    """What markdown-it does within paragraphs, whose time can grow with the square of their length."""
    for token in state.tokens:
        if token.type == "inline":
            token.children = []
            if len(token.content) > _LONGEST:
                token.children.append(Token("text", "", 0, content=token.content))
            else:
                state.md.inline.parse(token.content, state.md, state.env, token.children)


_MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_MARKDOWN.core.ruler.at("inline", _read_inline)


class _Writer:
    """Walks markdown-it's flat list of tokens and tells the builder what it meets."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._hidden = HiddenTags()
        self._items: list[Item] = []
        self._markers: list[Iterator[str]] = []
        self._marker: str | None = None
        self._rows: list[list[str]] = []

    def write(self, tokens: Sequence[Token]) -> None:
        for previous, token in zip([None, *tokens], tokens, strict=False):
            match token.type:
                case "inline":
                    self._inline(previous, _text(token.children or [], self._hidden))
                case "fence" | "code_block":
                    self._flush()
                    if not self._hidden:
                        self._builder.code(token.content)
                case "html_block":
                    self._html(token.content)
                case "bullet_list_open" | "ordered_list_open":
                    self._markers.append(_markers(token))
                case "bullet_list_close" | "ordered_list_close":
                    self._markers.pop()
                    if not self._markers:
                        self._flush()
                case "list_item_open":
                    self._marker = next(self._markers[-1])
                case "table_open":
                    self._flush()
                    self._rows = []
                case "tr_open":
                    self._rows.append([])
                case "table_close":
                    self._builder.table(self._rows)

    def _inline(self, opening: Token | None, text: str) -> None:
        kind = opening.type if opening else ""
        if kind in ("th_open", "td_open"):
            self._rows[-1].append(text)
        elif kind == "heading_open" and opening:
            self._flush()
            self._builder.heading(int(opening.tag[1]), text)
        elif self._markers and self._marker is not None:
            self._items.append(Item(text, len(self._markers) - 1, self._marker))
            self._marker = None
        elif self._markers and self._items:  # A further paragraph of the item.
            self._items.append(Item(text, len(self._markers), ""))
        else:
            self._builder.lines(_NOTE.sub("", text).split("\n"))

    def _html(self, source: str) -> None:
        was_hidden = bool(self._hidden)
        self._hidden.read(source)
        if not was_hidden and not self._hidden:
            self._flush()
            write_html(source, self._builder)

    def _flush(self) -> None:
        """Write the list so far: its end, or something inside an item that is a block of its own."""
        self._builder.list(self._items)
        self._items = []


def _markers(token: Token) -> Iterator[str]:
    if token.type == "bullet_list_open":
        while True:
            yield "-"
    number = int(token.attrs.get("start", 1))
    while True:
        yield f"{number}."
        number += 1


def _text(tokens: Sequence[Token], hidden: HiddenTags) -> str:
    """The visible text of inline tokens; a newline stands for a hard line break."""
    parts = []
    for token in tokens:
        if token.type == "html_inline":
            hidden.read(token.content)
            parts.append("\n" if _BREAK_TAG.match(token.content) else "")
        elif hidden:
            continue
        elif token.type in ("text", "code_inline", "text_special"):
            parts.append(token.content)
        elif token.type == "softbreak":
            parts.append(" ")
        elif token.type == "hardbreak":
            parts.append("\n")
        elif token.type == "image":
            parts.append(_text(token.children or [], hidden))
    return "".join(parts)
