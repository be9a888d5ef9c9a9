"""HTML: the page's main content as a reader sees it, without navigation, scripts, hidden text."""

import re
from collections.abc import Container, Iterator, Mapping, Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from core.errors import UnreadableFile
from ingest.parsers.builder import ListItem, TextBuilder, to_single_line
from ingest.parsers.encoding import decode_text
from ingest.parsers.html.css_visibility import mark_hidden, style_hides_element
from ingest.parsers.types import ParsedDocument

_DROPPED_TAGS = frozenset(
    """
    script style noscript template head title nav header footer aside form button select input
    textarea iframe object embed svg math canvas audio video map dialog datalist -comment
    """.split()
)
_BLOCK_TAGS = frozenset(
    """
    address article blockquote body caption center details dd div dl dt fieldset figcaption figure
    footer header hgroup hr html legend li main menu ol p pre section summary table tbody td tfoot
    th thead tr ul h1 h2 h3 h4 h5 h6
    """.split()
)
_HEADING_LEVELS = {f"h{level}": level for level in range(1, 7)}
_LIST_TAGS = ("ul", "ol", "menu")
_MAIN_TAGS = ("main", "article")
_MIN_MAIN_CHARACTERS = 100  # A main element with less text is an empty shell.
_DROPPED_ROLES = ("navigation", "banner", "contentinfo", "search", "complementary")
_CHARSET_DECLARATION = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w-]{2,40})""", re.IGNORECASE
)
_BYTE_ORDER_MARKS = (b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")
_METADATA_SELECTORS = {
    "description": "meta[name=description], meta[property='og:description']",
    "author": "meta[name=author]",
    "keywords": "meta[name=keywords]",
    "version": "meta[name=version]",
    "date": "meta[property='article:modified_time'], meta[property='article:published_time'], "
    "meta[name=date], meta[name='dcterms.modified'], meta[name='dc.date']",
}
_WHITESPACE = re.compile(r"\s+")
_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)([^<>]*)>")
_NESTING_TAG = re.compile(
    r"<(/?)(?:a|article|b|big|blockquote|center|code|details|div|em|fieldset|font|i|main|ol|pre|s"
    r"|section|small|span|strong|svg|table|u|ul)\b",
    re.IGNORECASE,
)
_MAX_ELEMENT_DEPTH = 10_000  # The time of HTML's own rules grows with the square of the depth.
_VOID_TAGS = frozenset("area base br col embed hr img input link meta source track wbr".split())


def parse(data: bytes) -> ParsedDocument:
    """Parse a page in the encoding that it declares, or else in the detected one."""
    tree = _parse_tree(_decode_page(data))
    builder = TextBuilder()
    for root in _find_main_content(tree):
        _HtmlWriter(builder).write(root)
    metadata = _read_metadata(tree)
    return builder.build(_choose_title(tree, builder.build()), metadata)


def write_html(source: str, builder: TextBuilder) -> None:
    """Write the visible part of a piece of HTML, such as one inside Markdown or an e-mail."""
    tree = _parse_tree(source)
    if tree.body is not None:
        _HtmlWriter(builder).write(tree.body)


class HiddenElementTracker:
    """Follows tags that arrive one by one; true inside an element that hides its content."""

    def __init__(self) -> None:
        self._tag = ""
        self._depth = 0

    def __bool__(self) -> bool:
        return self._depth > 0

    def feed(self, source: str) -> None:
        """Follow the opening and closing tags in `source`."""
        for closing, name, attributes in _TAG.findall(source):
            tag = name.lower()
            if tag in _VOID_TAGS or attributes.endswith("/"):
                continue
            if not self._depth:
                if not closing and _tag_hides_content(tag, attributes):
                    self._tag, self._depth = tag, 1
            elif tag == self._tag:
                self._depth += -1 if closing else 1


def _tag_hides_content(tag: str, attributes: str) -> bool:
    if tag in ("script", "style", "template"):
        return True
    node = LexborHTMLParser(f"<body><{tag} {attributes}></{tag}></body>").css_first(f"body > {tag}")
    return node is not None and _is_hidden(node.attributes)


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
            why = "The page's elements are nested too deeply. Save it in another format."
            raise UnreadableFile("too-deep", why)


def _decode_page(data: bytes) -> str:
    declared = _CHARSET_DECLARATION.search(data[:4096])
    if declared and not data.startswith(_BYTE_ORDER_MARKS):
        try:
            return data.decode(declared[1].decode("ascii"))
        except (UnicodeError, LookupError):
            pass  # The declaration is wrong: detect the encoding.
    return decode_text(data)


def _choose_title(tree: LexborHTMLParser, parsed: ParsedDocument) -> str:
    """Return the page's title, or its first heading if the title contains that.

    A title often contains the site's name ("Leave - Alder"); then the heading is the better name.
    """
    node = tree.css_first("title")
    title = to_single_line(node.text()) if node else ""
    top = next((block for block in parsed.blocks if block.level == 1), None)
    heading = parsed.text[slice(*top.span)] if top else ""
    return heading if heading and heading in title else title


def _read_metadata(tree: LexborHTMLParser) -> Mapping[str, object]:
    metadata: dict[str, object] = {}
    for key, selector in _METADATA_SELECTORS.items():
        if value := _read_attribute(tree, selector, "content"):
            metadata[key] = value
    if language := _read_attribute(tree, "html", "lang"):
        metadata["language"] = language
    return metadata


def _read_attribute(tree: LexborHTMLParser, selector: str, name: str) -> str:
    node = tree.css_first(selector)
    return to_single_line(node.attributes.get(name) or "") if node is not None else ""


def _find_main_content(tree: LexborHTMLParser) -> Sequence[LexborNode]:
    """Return the page's main element, else its articles, else its body."""
    for selector in ("main, [role=main]", "article"):
        nodes = [node for node in tree.css(selector) if not _is_within(node, _MAIN_TAGS)]
        if sum(len(node.text().strip()) for node in nodes) > _MIN_MAIN_CHARACTERS:
            return nodes
    return [tree.body] if tree.body is not None else []


def _is_within(node: LexborNode, tags: Container[str]) -> bool:
    ancestor = node.parent
    while ancestor is not None:
        if ancestor.tag in tags:
            return True
        ancestor = ancestor.parent
    return False


def _is_hidden(attributes: Mapping[str, str | None]) -> bool:
    return (
        "hidden" in attributes
        or (attributes.get("aria-hidden") or "").lower() == "true"
        or attributes.get("role") in _DROPPED_ROLES
        or style_hides_element(attributes.get("style") or "")
    )


def _visible_children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        if child.is_text_node or _is_visible_element(child):
            yield child
        elif child.tag == "header":  # Dropped as the site's banner, except for the main heading.
            yield from (node for node in child.css("h1") if _is_within(node, _MAIN_TAGS))
        child = child.next


def _is_visible_element(node: LexborNode) -> bool:
    is_element = node.is_element_node and node.tag not in _DROPPED_TAGS
    return is_element and not _is_hidden(node.attributes)


class _HtmlWriter:
    """Walks the tree; inline text is collected until a block element begins or ends."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._line: list[str] = []

    def write(self, root: LexborNode) -> None:
        """Write all below `root`, without recursion: unclosed tags nest deeper than calls may."""
        stack = [(_visible_children(root), True)]
        while stack:
            children, is_block = stack[-1]
            node = next(children, None)
            if node is not None:
                if self._write_node(node):
                    stack.append((_visible_children(node), node.tag in _BLOCK_TAGS))
                continue
            stack.pop()
            if is_block:
                self._flush_line()

    def _write_node(self, node: LexborNode) -> bool:
        """Write a leaf or a whole block; return True if the node's children are to be written."""
        if node.is_text_node:
            self._line.append(_WHITESPACE.sub(" ", node.text(deep=False)))
        elif node.tag == "br":
            self._line.append("\n")
        elif node.tag == "img":
            self._line.append(node.attributes.get("alt") or "")
        elif node.tag in _BLOCK_TAGS:
            self._flush_line()
            return not self._write_block(node.tag, node)
        else:
            return True
        return False

    def _write_block(self, tag: str, node: LexborNode) -> bool:
        """Write an element that is one block; return False if it only contains others."""
        if tag in _HEADING_LEVELS:
            self._builder.add_heading(_HEADING_LEVELS[tag], _inline_text(node))
        elif tag == "pre":
            self._builder.add_code(_preformatted_text(node))
        elif tag in _LIST_TAGS or tag == "dl":
            items: list[ListItem] = []
            self._collect_items(node, 0, items)
            self._builder.add_list(items)
        elif _is_data_table(node):
            self._write_table(node)
        else:
            return False
        return True

    def _collect_items(self, node: LexborNode, depth: int, items: list[ListItem]) -> None:
        """Collect the items of a list and of the lists inside it."""
        number = _start_number(node)
        for child in _visible_children(node):
            tag = child.tag or ""
            if tag in _LIST_TAGS:
                self._collect_items(child, depth + 1, items)
            elif tag in ("li", "dt", "dd", "div"):
                marker = f"{number}." if node.tag == "ol" else "-"
                number += 1
                item = _OpenItem(items, depth + (tag == "dd"), marker)
                self._collect_item(child, item)
                item.flush()

    def _collect_item(self, node: LexborNode, item: "_OpenItem") -> None:
        """Collect the text of an item. A table or code in it splits the list."""
        for child in _visible_children(node):
            tag = child.tag or ""
            if child.is_text_node or tag in ("br", "img"):
                item.words.append(_leaf_text(child))
            elif tag in _LIST_TAGS:
                item.flush()
                self._collect_items(child, item.depth + 1, item.items)
            elif tag == "pre" or _is_data_table(child):
                item.flush()
                self._builder.add_list(item.items)
                item.items.clear()
                self._write_block(tag, child)
            else:
                space = " " if tag in _BLOCK_TAGS else ""
                item.words.append(space)
                self._collect_item(child, item)
                item.words.append(space)

    def _write_table(self, node: LexborNode) -> None:
        caption = node.css_first("caption")
        if caption is not None and _is_visible_element(caption):
            self._builder.add_paragraph(_inline_text(caption))
        self._builder.add_table([_cell_texts(row) for row in _iter_rows(node)])

    def _flush_line(self) -> None:
        text, self._line = "".join(self._line), []
        if text.strip():
            self._builder.add_lines(text.split("\n"))


class _OpenItem:
    """List item whose words are collected; only its first part has a marker."""

    def __init__(self, items: list[ListItem], depth: int, marker: str) -> None:
        self.items = items
        self.depth = depth
        self.words: list[str] = []
        self._marker = marker

    def flush(self) -> None:
        """Add the words so far to the list."""
        if text := to_single_line("".join(self.words)):
            self.items.append(ListItem(text, self.depth, self._marker))
            self._marker = ""
        self.words.clear()


def _iter_rows(node: LexborNode) -> Iterator[LexborNode]:
    for child in _visible_children(node):
        if child.tag == "tr":
            yield child
        elif child.tag in ("thead", "tbody", "tfoot"):
            yield from _iter_rows(child)


def _cell_texts(row: LexborNode) -> list[str]:
    return [_inline_text(cell) for cell in _visible_children(row) if cell.tag in ("td", "th")]


def _is_data_table(node: LexborNode) -> bool:
    """Return False for a table that lays out a page: with blocks in its cells, or one column."""
    if node.tag != "table":
        return False
    if node.css_first("table table, td h1, td h2, td h3, td pre, td ul ul") is not None:
        return False
    return any(len(_cell_texts(row)) > 1 for row in _iter_rows(node))


def _inline_text(node: LexborNode) -> str:
    return "".join(_iter_inline_texts(node))


def _iter_inline_texts(node: LexborNode) -> Iterator[str]:
    for child in _visible_children(node):
        if child.is_text_node or child.tag in ("br", "img"):
            yield _leaf_text(child)
        else:
            space = " " if child.tag in _BLOCK_TAGS else ""
            yield space
            yield from _iter_inline_texts(child)
            yield space


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
