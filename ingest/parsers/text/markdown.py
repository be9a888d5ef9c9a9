"""Markdown (CommonMark with tables), as a reader sees it; front matter becomes metadata."""

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, pairwise, repeat

import yaml
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

from ingest.parsers.builder import ListItem, TextBuilder, to_json_value
from ingest.parsers.encoding import decode_text
from ingest.parsers.html.parser import HiddenElementTracker, write_html
from ingest.parsers.types import ParsedDocument

# markdown-it's time can grow with the square of a paragraph's length: a longer one is not parsed.
_MAX_PARAGRAPH_CHARACTERS = 20_000
_YAML_FRONT_MATTER = re.compile(
    r"\A---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_TOML_FRONT_MATTER = re.compile(
    r"\A\+\+\+[ \t]*\n(.*?)^\+\+\+[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE
)
_FRONT_MATTER_START = re.compile(r"\s*[\w-]+[ \t]*[:=]")
_MAX_FRONT_MATTER_CHARACTERS = 200_000
# The YAML loader in C crashes on a hundred thousand nested brackets.
_DEEP_NESTING = re.compile(r"(?:[\[{]\s*){50}|^(?:[-?:] ){50}|^ {500}", re.MULTILINE)
_YAML_ANCHOR = re.compile(r"(?:^|[\s\[{,])[&*]\w")  # makes a few lines expand to gigabytes
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BREAK_TAG = re.compile(r"<(?:br|/?p|/?div|/?li)\b", re.IGNORECASE)
# Hugo's shortcodes and Kramdown's attribute lists, which the rendered page does not show.
_SITE_GENERATOR_MARKUP = re.compile(
    r"\{\{[<%][^{}\n]*[>%]\}\}|^[ \t]*\{:[^}\n]*\}[ \t]*$", re.MULTILINE
)
_ALERT_MARKER = re.compile(r"^\[!(\w+)\][ \t]*")


def parse(data: bytes) -> ParsedDocument:
    """Parse Markdown in any encoding."""
    metadata, body = _split_front_matter(decode_text(data).replace("\r\n", "\n"))
    builder = TextBuilder()
    _MarkdownWriter(builder).write(_MARKDOWN_PARSER.parse(_SITE_GENERATOR_MARKUP.sub("", body)))
    title = metadata.get("title")
    return builder.build(title if isinstance(title, str) else "", metadata)


def _split_front_matter(text: str) -> tuple[Mapping[str, object], str]:
    """Return the metadata at the top of `text`, and the rest.

    Text between the same markers that is not front matter stays text.
    """
    for pattern, load in ((_YAML_FRONT_MATTER, _load_yaml), (_TOML_FRONT_MATTER, tomllib.loads)):
        match = pattern.match(text)
        if match is None:
            continue
        try:
            values = load(match[1])
        except (yaml.YAMLError, tomllib.TOMLDecodeError, ValueError, RecursionError):
            values = {}
            if not _FRONT_MATTER_START.match(match[1]):
                return {}, text
        if isinstance(values, Mapping):
            metadata = {str(key): to_json_value(value) for key, value in values.items()}
            return metadata, text[match.end() :]
    return {}, text


def _load_yaml(text: str) -> object:
    if len(text) > _MAX_FRONT_MATTER_CHARACTERS or _DEEP_NESTING.search(text):
        raise yaml.YAMLError("too long or too deep")
    if _YAML_ANCHOR.search(text):
        raise yaml.YAMLError("anchors are not read")
    return yaml.load(text, Loader=_YAML_LOADER)  # noqa: S506 - a safe loader


def _parse_inline(state: StateCore) -> None:
    """Replace markdown-it's rule for the content of paragraphs by one with a limit."""
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
    """Writes markdown-it's flat list of tokens to the builder."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._hidden_elements = HiddenElementTracker()
        self._items: list[ListItem] = []
        self._markers: list[Iterator[str]] = []  # of the open lists, the innermost last
        self._marker: str | None = None  # of the open item, until its first paragraph
        self._rows: list[list[str]] = []

    def write(self, tokens: Sequence[Token]) -> None:
        for previous, token in pairwise([Token("", "", 0), *tokens]):
            match token.type:
                case "inline":
                    text = _visible_text(token.children or [], self._hidden_elements)
                    self._write_inline(previous, text)
                case "fence" | "code_block":
                    self._flush_list()
                    if not self._hidden_elements:
                        self._builder.add_code(token.content)
                case "html_block":
                    self._write_html_block(token.content)
                case "table_open":
                    self._flush_list()
                    self._rows = []
                case "tr_open":
                    self._rows.append([])
                case "table_close":
                    self._builder.add_table(self._rows)
                case _:
                    self._follow_list(token)

    def _follow_list(self, token: Token) -> None:
        match token.type:
            case "bullet_list_open":
                self._markers.append(repeat("-"))
            case "ordered_list_open":
                numbers = count(int(token.attrs.get("start", 1)))
                self._markers.append(f"{number}." for number in numbers)
            case "list_item_open":
                self._marker = next(self._markers[-1])
            case "bullet_list_close" | "ordered_list_close":
                self._markers.pop()
                if not self._markers:
                    self._flush_list()

    def _write_inline(self, opening: Token, text: str) -> None:
        if opening.type in ("th_open", "td_open"):
            self._rows[-1].append(text)
        elif opening.type == "heading_open":
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
        """Write the list so far: at its end, or at a block inside an item."""
        self._builder.add_list(self._items)
        self._items = []


def _visible_text(tokens: Sequence[Token], hidden: HiddenElementTracker) -> str:
    """Return the visible text of inline tokens, with a newline for each hard line break."""
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
