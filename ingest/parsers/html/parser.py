"""HTML: the page's main content as a reader sees it, without navigation, scripts and hidden elements."""

import re
from collections.abc import Container, Iterator, Mapping, Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from core.errors import UnreadableFile
from ingest.parsers.builder import ListItem, TextBuilder, to_single_line
from ingest.parsers.encoding import decode_text, try_decode
from ingest.parsers.html.css_visibility import mark_hidden, style_hides_element
from ingest.parsers.types import ParsedDocument

_DROPPED_TAGS = frozenset(
    """
    script style noscript template head title nav header footer aside form button select input textarea iframe object
    embed svg math canvas audio video map dialog datalist -comment
    """.split()
)
_BLOCK_TAGS = frozenset(
    """
    address article blockquote body caption center details dd div dl dt fieldset figcaption figure footer header
    hgroup hr html legend li main menu ol p pre section summary table tbody td tfoot th thead tr ul h1 h2 h3 h4 h5 h6
    """.split()
)
_HEADING_LEVELS = {f"h{level}": level for level in range(1, 7)}
_LIST_TAGS = ("ul", "ol", "menu")
_MAIN_TAGS = ("main", "article")
_DROPPED_ROLES = ("navigation", "banner", "contentinfo", "search", "complementary")
_CHARSET_DECLARATION = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w-]{2,40})""", re.IGNORECASE
)
_METADATA_SELECTORS = {
    "description": "meta[name=description], meta[property='og:description']",
    "author": "meta[name=author]",
    "keywords": "meta[name=keywords]",
    "version": "meta[name=version]",
    "date": "meta[property='article:modified_time'], meta[property='article:published_time'], meta[name=date], "
    "meta[name='dcterms.modified'], meta[name='dc.date']",
}
_WHITESPACE = re.compile(r"\s+")
_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)([^<>]*)>")
_NESTING_TAG = re.compile(
    r"<(/?)(?:a|article|b|big|blockquote|center|code|details|div|em|fieldset|font|i|main|ol|pre|s|section|small|span"
    r"|strong|svg|table|u|ul)\b",
    re.IGNORECASE,
)
_MAX_ELEMENT_DEPTH = (
    10_000  # Elements within elements: the time of HTML's own rules grows with the square of it.
)
_VOID_TAGS = (
    "area",
    "base",
    "br",
    "col",
    "embed",
    "hr",
    "img",
    "input",
    "link",
    "meta",
    "source",
    "track",
    "wbr",
)


def parse(data: bytes) -> ParsedDocument:
    """Read a page in the encoding it declares, or else in the one it is found to have."""
    return parse_text(_decode_page(data))


def parse_text(source: str) -> ParsedDocument:
    """Read a page that is decoded already."""
    tree = _parse_tree(source)
    title = tree.css_first("title")
    metadata = _read_metadata(tree)
    builder = TextBuilder()
    for root in _find_main_content(tree):
        _HtmlWriter(builder).write(root)
    parsed = builder.build("", metadata)
    name = to_single_line(title.text()) if title else ""
    first_heading = next(
        (
            parsed.text[slice(*b.span)]
            for b in parsed.blocks
            if b.kind == "heading" and b.level == 1
        ),
        "",
    )
    # A title often carries the site's name too ("Leave - Alder"): the page's own heading is the better name then.
    return builder.build(
        first_heading if first_heading and first_heading in name else name, metadata
    )


def write_html(source: str, builder: TextBuilder) -> None:
    """Write what is visible in a piece of HTML, such as one inside Markdown or an e-mail."""
    tree = _parse_tree(source)
    if tree.body is not None:
        _HtmlWriter(builder).write(tree.body)


class HiddenElementTracker:
    """Follows tags that arrive one by one and is true while inside an element that hides its content."""

    def __init__(self) -> None:
        self._tag = ""
        self._depth = 0

    def __bool__(self) -> bool:
        return self._depth > 0

    def feed(self, source: str) -> None:
        """Take note of the opening and closing tags in `source`."""
        for closing, name, attributes in _TAG.findall(source):
            tag = name.lower()
            if tag in _VOID_TAGS or attributes.endswith("/"):
                continue
            if self._depth:
                self._depth += (-1 if closing else 1) if tag == self._tag else 0
            elif not closing and _tag_hides_content(tag, attributes):
                self._tag, self._depth = tag, 1


def _tag_hides_content(tag: str, attributes: str) -> bool:
    node = LexborHTMLParser(f"<body><{tag} {attributes}></{tag}></body>").css_first(f"body > {tag}")
    return tag in ("script", "style", "template") or (
        node is not None and _is_hidden(node.attributes)
    )


def _parse_tree(source: str) -> LexborHTMLParser:
    _check_depth(source)
    tree = LexborHTMLParser(source)
    mark_hidden(tree)
    return tree


def _check_depth(source: str) -> None:
    if source.count("<") < _MAX_ELEMENT_DEPTH:
        return
    depth = 0
    for match in _NESTING_TAG.finditer(source):
        depth = max(depth - 1, 0) if match[1] else depth + 1
        if depth > _MAX_ELEMENT_DEPTH:
            raise UnreadableFile(
                "too-deep", "The page's elements are nested too deep; save it in another format."
            )


def _decode_page(data: bytes) -> str:
    declared = _CHARSET_DECLARATION.search(data[:4096])
    if declared and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode(declared[1].decode("ascii"))
        except (UnicodeError, LookupError):
            pass  # The page is not what it says: go by the bytes.
    return try_decode(data) or decode_text(data)


def _read_metadata(tree: LexborHTMLParser) -> Mapping[str, object]:
    found: dict[str, object] = {}
    for key, selector in _METADATA_SELECTORS.items():
        node = tree.css_first(selector)
        if node is not None and (value := to_single_line(node.attributes.get("content") or "")):
            found[key] = value
    root = tree.css_first("html")
    if root is not None and (language := to_single_line(root.attributes.get("lang") or "")):
        found["language"] = language
    return found


def _find_main_content(tree: LexborHTMLParser) -> Sequence[LexborNode]:
    """The page's main element, else its articles, else all of it; an empty shell is not taken for the content."""
    everything = [tree.body] if tree.body is not None else []
    for selector in ("main, [role=main]", "article"):
        found = [node for node in tree.css(selector) if not _is_within(node, _MAIN_TAGS)]
        if sum(len(node.text().strip()) for node in found) > 100:
            return found
    return everything


def _is_within(node: LexborNode, names: Container[str]) -> bool:
    above = node.parent
    while above is not None:
        if above.tag in names:
            return True
        above = above.parent
    return False


def _is_hidden(attributes: Mapping[str, str | None]) -> bool:
    if "hidden" in attributes or (attributes.get("aria-hidden") or "").lower() == "true":
        return True
    if attributes.get("role") in _DROPPED_ROLES:
        return True
    return style_hides_element(attributes.get("style") or "")


def _is_dropped(node: LexborNode) -> bool:
    return node.tag in _DROPPED_TAGS or _is_hidden(node.attributes)


def _visible_children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        if child.is_text_node or (child.is_element_node and not _is_dropped(child)):
            yield child
        elif child.tag == "header":
            # A site's banner is dropped; what heads the main content names it.
            yield from (found for found in child.css("h1") if _is_within(found, _MAIN_TAGS))
        child = child.next


class _HtmlWriter:
    """Walks the tree; text gathers in a line until an element that is a block of its own begins or ends."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._line: list[str] = []

    def write(self, root: LexborNode) -> None:
        self._write_children(root)
        self._flush_line()

    def _write_children(self, root: LexborNode) -> None:
        """By a stack of its own: pages with unclosed tags nest deeper than Python calls may."""
        stack = [(_visible_children(root), False)]
        while stack:
            children, is_block = stack[-1]
            node = next(children, None)
            if node is None:
                stack.pop()
                if is_block:
                    self._flush_line()
            elif node.is_text_node:
                self._line.append(_WHITESPACE.sub(" ", node.text(deep=False)))
            elif node.tag == "br":
                self._line.append("\n")
            elif node.tag == "img":
                self._line.append(node.attributes.get("alt") or "")
            elif node.tag in _BLOCK_TAGS:
                self._flush_line()
                if not self._write_block(node.tag, node):
                    stack.append((_visible_children(node), True))
            else:
                stack.append((_visible_children(node), False))

    def _write_block(self, tag: str, node: LexborNode) -> bool:
        """Write an element that is one block as a whole; False for one that only holds others."""
        if tag in _HEADING_LEVELS:
            self._builder.add_heading(_HEADING_LEVELS[tag], _inline_text(node))
        elif tag == "pre":
            self._builder.add_code(_preformatted_text(node))
        elif tag in _LIST_TAGS or tag == "dl":
            self._write_list(node, 0)
        elif tag == "table" and not _is_layout_table(node):
            self._write_table(node)
        else:
            return False
        return True

    def _write_list(self, node: LexborNode, depth: int) -> None:
        items: list[ListItem] = []
        self._collect_items(node, depth, items)
        self._builder.add_list(items)

    def _collect_items(self, node: LexborNode, depth: int, items: list[ListItem]) -> None:
        """The items of a list; a table or code inside an item is written as a block and the list goes on after it."""
        number = _start_number(node)
        for child in _visible_children(node):
            tag = child.tag or ""
            if tag in _LIST_TAGS:
                self._collect_items(child, depth + 1, items)
            elif tag in ("li", "dt", "dd", "div"):
                marker = f"{number}." if node.tag == "ol" else "-"
                number += 1
                self._collect_item(child, depth + (tag == "dd"), marker, items)

    def _collect_item(
        self, node: LexborNode, depth: int, marker: str, items: list[ListItem]
    ) -> None:
        words: list[str] = []

        def close() -> None:
            nonlocal marker
            if text := to_single_line("".join(words)):
                items.append(ListItem(text, depth, marker))
                marker = ""
            words.clear()

        def walk(parent: LexborNode) -> None:
            for child in _visible_children(parent):
                tag = child.tag or ""
                if child.is_text_node or tag in ("br", "img"):
                    words.append(_leaf_text(child))
                elif tag in _LIST_TAGS:
                    close()
                    self._collect_items(child, depth + 1, items)
                elif tag == "pre" or (tag == "table" and not _is_layout_table(child)):
                    close()
                    self._builder.add_list(items)
                    items.clear()
                    self._write_block(tag, child)
                else:
                    words.append(" " if tag in _BLOCK_TAGS else "")
                    walk(child)
                    words.append(" " if tag in _BLOCK_TAGS else "")

        walk(node)
        close()

    def _write_table(self, node: LexborNode) -> None:
        caption = node.css_first("caption")
        if caption is not None and not _is_dropped(caption):
            self._builder.add_paragraph(_inline_text(caption))
        self._builder.add_table([_cell_texts(row) for row in _iter_rows(node)])

    def _flush_line(self) -> None:
        text, self._line = "".join(self._line), []
        if text.strip():
            self._builder.add_lines(text.split("\n"))


def _iter_rows(node: LexborNode) -> Iterator[LexborNode]:
    for child in _visible_children(node):
        if child.tag == "tr":
            yield child
        elif child.tag in ("thead", "tbody", "tfoot"):
            yield from _iter_rows(child)


def _cell_texts(row: LexborNode) -> list[str]:
    return [_inline_text(cell) for cell in _visible_children(row) if cell.tag in ("td", "th")]


def _is_layout_table(table: LexborNode) -> bool:
    """A table that holds a page's layout rather than data: it has tables or headings in its cells, or one cell."""
    if table.css_first("table table, td h1, td h2, td h3, td pre, td ul ul") is not None:
        return True
    return all(len(_cell_texts(row)) < 2 for row in _iter_rows(table))


def _inline_text(node: LexborNode) -> str:
    return "".join(_iter_inline_texts(node))


def _iter_inline_texts(node: LexborNode) -> Iterator[str]:
    for child in _visible_children(node):
        if child.is_text_node or child.tag in ("br", "img"):
            yield _leaf_text(child)
        else:
            edge = " " if child.tag in _BLOCK_TAGS else ""
            yield edge
            yield from _iter_inline_texts(child)
            yield edge


def _leaf_text(node: LexborNode) -> str:
    if node.is_text_node:
        return node.text(deep=False)
    return f" {node.attributes.get('alt') or ''} " if node.tag == "img" else " "


def _preformatted_text(node: LexborNode) -> str:
    parts = []
    for child in _visible_children(node):
        if child.is_text_node:
            parts.append(child.text(deep=False))
        else:
            parts.append("\n" if child.tag == "br" else _preformatted_text(child))
    return "".join(parts)


def _start_number(node: LexborNode) -> int:
    value = node.attributes.get("start") or ""
    return int(value) if value.isdigit() else 1
