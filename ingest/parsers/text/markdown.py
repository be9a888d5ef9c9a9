"""Markdown (CommonMark with tables): what a reader sees, without the mark-up; front matter becomes metadata."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence

import yaml
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from ingest.parsers.builder import ListItem, TextBuilder, to_json_value
from ingest.parsers.encoding import decode_text
from ingest.parsers.html.parser import HiddenElementTracker, write_html
from ingest.parsers.types import ParsedDocument

_MAX_PARAGRAPH_CHARACTERS = (
    20_000  # Characters of a paragraph; a longer one is bait, and read as it stands.
)
_YAML_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_TOML_FRONT_MATTER = re.compile(
    r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_MAX_FRONT_MATTER_CHARACTERS = 200_000  # Characters.
_DEEP_NESTING = re.compile(r"(?:[\[{]\s*){50}|^(?:[-?:] ){50}|^ {500}", re.MULTILINE)
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BREAK_TAG = re.compile(r"<(?:br|/?p|/?div|/?li)\b", re.IGNORECASE)
# Site generators' own mark-up: Hugo's shortcodes and Kramdown's attribute lists. No reader of the page sees them.
_SITE_GENERATOR_MARKUP = re.compile(
    r"\{\{[<%][^{}\n]*[>%]\}\}|^[ \t]*\{:[^}\n]*\}[ \t]*$", re.MULTILINE
)
_ALERT_MARKER = re.compile(r"^\[!(\w+)\][ \t]*")


def parse(data: bytes) -> ParsedDocument:
    """Read Markdown in any encoding."""
    return parse_text(decode_text(data))


def parse_text(text: str) -> ParsedDocument:
    """Read Markdown that is decoded already."""
    metadata, body = split_front_matter(text.replace("\r\n", "\n"))
    builder = TextBuilder()
    _MarkdownWriter(builder).write(_MARKDOWN_PARSER.parse(_SITE_GENERATOR_MARKUP.sub("", body)))
    title = metadata.get("title")
    return builder.build(title if isinstance(title, str) else "", metadata)


def split_front_matter(text: str) -> tuple[Mapping[str, object], str]:
    """The metadata at the top of `text` and the rest; text that only looks like front matter stays text."""
    for pattern, load in ((_YAML_FRONT_MATTER, _load_yaml), (_TOML_FRONT_MATTER, tomllib.loads)):
        if match := pattern.match(text):
            try:
                values = load(match[1])
            except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError):
                values = {}
                if not re.match(r"\s*[\w-]+[ \t]*[:=]", match[1]):
                    return {}, text
            if isinstance(values, Mapping):
                return {str(key): to_json_value(value) for key, value in values.items()}, text[
                    match.end() :
                ]
    return {}, text


def _load_yaml(text: str) -> object:
    if len(text) > _MAX_FRONT_MATTER_CHARACTERS or _DEEP_NESTING.search(
        text
    ):  # The loader in C doesn't survive a hundred thousand brackets.
        raise yaml.YAMLError("too long or too deep")
    if re.search(
        r"(?:^|[\s\[{,])[&*]\w", text
    ):  # Anchors can make a few lines expand to gigabytes.
        raise yaml.YAMLError("anchors are not read")
    return yaml.load(text, Loader=_YAML_LOADER)


def _parse_inline(state: StateCore) -> None:
    """What markdown-it does within paragraphs, whose time can grow with the square of their length."""
    for token in state.tokens:
        if token.type == "inline":
            token.children = []
            if len(token.content) > _MAX_PARAGRAPH_CHARACTERS:
                token.children.append(Token("text", "", 0, content=token.content))
            else:
                state.md.inline.parse(token.content, state.md, state.env, token.children)


_MARKDOWN_PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])
_MARKDOWN_PARSER.core.ruler.at("inline", _parse_inline)


class _MarkdownWriter:
    """Walks markdown-it's flat list of tokens and tells the builder what it meets."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._hidden_elements = HiddenElementTracker()
        self._items: list[ListItem] = []
        self._markers: list[Iterator[str]] = []
        self._marker: str | None = None
        self._rows: list[list[str]] = []

    def write(self, tokens: Sequence[Token]) -> None:
        for previous, token in zip([None, *tokens], tokens, strict=False):
            match token.type:
                case "inline":
                    self._write_inline(
                        previous, _visible_text(token.children or [], self._hidden_elements)
                    )
                case "fence" | "code_block":
                    self._flush_list()
                    if not self._hidden_elements:
                        self._builder.add_code(token.content)
                case "html_block":
                    self._write_html_block(token.content)
                case "bullet_list_open" | "ordered_list_open":
                    self._markers.append(_iter_markers(token))
                case "bullet_list_close" | "ordered_list_close":
                    self._markers.pop()
                    if not self._markers:
                        self._flush_list()
                case "list_item_open":
                    self._marker = next(self._markers[-1])
                case "table_open":
                    self._flush_list()
                    self._rows = []
                case "tr_open":
                    self._rows.append([])
                case "table_close":
                    self._builder.add_table(self._rows)

    def _write_inline(self, opening: Token | None, text: str) -> None:
        kind = opening.type if opening else ""
        if kind in ("th_open", "td_open"):
            self._rows[-1].append(text)
        elif kind == "heading_open" and opening:
            self._flush_list()
            self._builder.add_heading(int(opening.tag[1]), text)
        elif self._markers and self._marker is not None:
            self._items.append(ListItem(text, len(self._markers) - 1, self._marker))
            self._marker = None
        elif self._markers and self._items:  # A further paragraph of the item.
            self._items.append(ListItem(text, len(self._markers), ""))
        else:
            self._builder.add_lines(_ALERT_MARKER.sub("", text).split("\n"))

    def _write_html_block(self, source: str) -> None:
        was_hidden = bool(self._hidden_elements)
        self._hidden_elements.feed(source)
        if not was_hidden and not self._hidden_elements:
            self._flush_list()
            write_html(source, self._builder)

    def _flush_list(self) -> None:
        """Write the list so far: its end, or something inside an item that is a block of its own."""
        self._builder.add_list(self._items)
        self._items = []


def _iter_markers(token: Token) -> Iterator[str]:
    if token.type == "bullet_list_open":
        while True:
            yield "-"
    number = int(token.attrs.get("start", 1))
    while True:
        yield f"{number}."
        number += 1


def _visible_text(tokens: Sequence[Token], hidden: HiddenElementTracker) -> str:
    """The visible text of inline tokens; a newline stands for a hard line break."""
    parts = []
    for token in tokens:
        if token.type == "html_inline":
            hidden.feed(token.content)
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
            parts.append(_visible_text(token.children or [], hidden))
    return "".join(parts)
