"""HTML: the page's main content as a reader sees it, without navigation, scripts and hidden elements."""

import re
from collections.abc import Container, Iterator, Mapping, Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from core.errors import Unreadable
from ingest.parsers import Parsed
from ingest.parsers.builder import Item, TextBuilder, one_line
from ingest.parsers.encoding import decode, read
from ingest.parsers.html.hidden import hides, mark_hidden

_DROPPED = frozenset(
    """
    script style noscript template head title nav header footer aside form button select input textarea iframe object
    embed svg math canvas audio video map dialog datalist -comment
    """.split()
)
_BLOCKS = frozenset(
    """
    address article blockquote body caption center details dd div dl dt fieldset figcaption figure footer header
    hgroup hr html legend li main menu ol p pre section summary table tbody td tfoot th thead tr ul h1 h2 h3 h4 h5 h6
    """.split()
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_LISTS = ("ul", "ol", "menu")
_MAIN = ("main", "article")
_HIDING_ROLES = ("navigation", "banner", "contentinfo", "search", "complementary")
_CHARSET = re.compile(rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([\w-]{2,40})""", re.IGNORECASE)
_METADATA = {
    "description": "meta[name=description], meta[property='og:description']",
    "author": "meta[name=author]",
    "keywords": "meta[name=keywords]",
    "version": "meta[name=version]",
    "date": "meta[property='article:modified_time'], meta[property='article:published_time'], meta[name=date], "
    "meta[name='dcterms.modified'], meta[name='dc.date']",
}
_BLANKS = re.compile(r"\s+")
_TAG = re.compile(r"<(/?)([a-zA-Z][\w-]*)([^<>]*)>")
_NESTING = re.compile(
    r"<(/?)(?:a|article|b|big|blockquote|center|code|details|div|em|fieldset|font|i|main|ol|pre|s|section|small|span"
    r"|strong|svg|table|u|ul)\b",
    re.IGNORECASE,
)
_DEEPEST = 10_000  # Elements within elements: the time of HTML's own rules grows with the square of it.
_VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")


def parse(data: bytes) -> Parsed:
    """Read a page in the encoding it declares, or else in the one it is found to have."""
    return parse_text(_decoded(data))


def parse_text(source: str) -> Parsed:
    """Read a page that is decoded already."""
    tree = _tree(source)
    title = tree.css_first("title")
    metadata = _metadata(tree)
    builder = TextBuilder()
    for root in _main_content(tree):
        _Writer(builder).write(root)
    parsed = builder.build("", metadata)
    name = one_line(title.text()) if title else ""
    first_heading = next(
        (parsed.text[slice(*b.span)] for b in parsed.blocks if b.kind == "heading" and b.level == 1), ""
    )
    # A title often carries the site's name too ("Leave - Alder"): the page's own heading is the better name then.
    return builder.build(first_heading if first_heading and first_heading in name else name, metadata)


def write_html(source: str, builder: TextBuilder) -> None:
    """Write what is visible in a piece of HTML, such as one inside Markdown or an e-mail."""
    tree = _tree(source)
    if tree.body is not None:
        _Writer(builder).write(tree.body)


class HiddenTags:
    """Follows tags that arrive one by one and is true while inside an element that hides its content."""

    def __init__(self) -> None:
        self._tag = ""
        self._depth = 0

    def __bool__(self) -> bool:
        return self._depth > 0

    def read(self, source: str) -> None:
        """Take note of the opening and closing tags in `source`."""
        for closing, name, attributes in _TAG.findall(source):
            tag = name.lower()
            if tag in _VOID or attributes.endswith("/"):
                continue
            if self._depth:
                self._depth += (-1 if closing else 1) if tag == self._tag else 0
            elif not closing and _hides(tag, attributes):
                self._tag, self._depth = tag, 1


def _hides(tag: str, attributes: str) -> bool:
    node = LexborHTMLParser(f"<body><{tag} {attributes}></{tag}></body>").css_first(f"body > {tag}")
    return tag in ("script", "style", "template") or (node is not None and _is_hidden(node.attributes))


def _tree(source: str) -> LexborHTMLParser:
    _check_depth(source)
    tree = LexborHTMLParser(source)
    mark_hidden(tree)
    return tree


def _check_depth(source: str) -> None:
    if source.count("<") < _DEEPEST:
        return
    depth = 0
    for match in _NESTING.finditer(source):
        depth = max(depth - 1, 0) if match[1] else depth + 1
        if depth > _DEEPEST:
            raise Unreadable("too-deep", "The page's elements are nested too deep; save it in another format.")


def _decoded(data: bytes) -> str:
    declared = _CHARSET.search(data[:4096])
    if declared and not data.startswith((b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode(declared[1].decode("ascii"))
        except (UnicodeError, LookupError):
            pass  # The page is not what it says: go by the bytes.
    return decode(data) or read(data)


def _metadata(tree: LexborHTMLParser) -> Mapping[str, object]:
    found: dict[str, object] = {}
    for key, selector in _METADATA.items():
        node = tree.css_first(selector)
        if node is not None and (value := one_line(node.attributes.get("content") or "")):
            found[key] = value
    root = tree.css_first("html")
    if root is not None and (language := one_line(root.attributes.get("lang") or "")):
        found["language"] = language
    return found


def _main_content(tree: LexborHTMLParser) -> Sequence[LexborNode]:
    """The page's main element, else its articles, else all of it; an empty shell is not taken for the content."""
    everything = [tree.body] if tree.body is not None else []
    for selector in ("main, [role=main]", "article"):
        found = [node for node in tree.css(selector) if not _within(node, _MAIN)]
        if sum(len(node.text().strip()) for node in found) > 100:
            return found
    return everything


def _within(node: LexborNode, names: Container[str]) -> bool:
    above = node.parent
    while above is not None:
        if above.tag in names:
            return True
        above = above.parent
    return False


def _is_hidden(attributes: Mapping[str, str | None]) -> bool:
    if "hidden" in attributes or (attributes.get("aria-hidden") or "").lower() == "true":
        return True
    if attributes.get("role") in _HIDING_ROLES:
        return True
    return hides(attributes.get("style") or "")


def _is_dropped(node: LexborNode) -> bool:
    return node.tag in _DROPPED or _is_hidden(node.attributes)


def _children(node: LexborNode) -> Iterator[LexborNode]:
    child = node.first_child
    while child is not None:
        if child.is_text_node or (child.is_element_node and not _is_dropped(child)):
            yield child
        elif child.tag == "header":
            # A site's banner is dropped; what heads the main content names it.
            yield from (found for found in child.css("h1") if _within(found, _MAIN))
        child = child.next


class _Writer:
    """Walks the tree; text gathers in a line until an element that is a block of its own begins or ends."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._line: list[str] = []

    def write(self, root: LexborNode) -> None:
        self._inside(root)
        self._flush()

    def _inside(self, root: LexborNode) -> None:
        """By a stack of its own: pages with unclosed tags nest deeper than Python calls may."""
        stack = [(_children(root), False)]
        while stack:
            children, is_block = stack[-1]
            node = next(children, None)
            if node is None:
                stack.pop()
                if is_block:
                    self._flush()
            elif node.is_text_node:
                self._line.append(_BLANKS.sub(" ", node.text(deep=False)))
            elif node.tag == "br":
                self._line.append("\n")
            elif node.tag == "img":
                self._line.append(node.attributes.get("alt") or "")
            elif node.tag in _BLOCKS:
                self._flush()
                if not self._block(node.tag, node):
                    stack.append((_children(node), True))
            else:
                stack.append((_children(node), False))

    def _block(self, tag: str, node: LexborNode) -> bool:
        """Write an element that is one block as a whole; False for one that only holds others."""
        if tag in _HEADINGS:
            self._builder.heading(_HEADINGS[tag], _inline(node))
        elif tag == "pre":
            self._builder.code(_verbatim(node))
        elif tag in _LISTS or tag == "dl":
            self._list(node, 0)
        elif tag == "table" and not _is_layout(node):
            self._table(node)
        else:
            return False
        return True

    def _list(self, node: LexborNode, depth: int) -> None:
        items: list[Item] = []
        self._gather(node, depth, items)
        self._builder.list(items)

    def _gather(self, node: LexborNode, depth: int, items: list[Item]) -> None:
        """The items of a list; a table or code inside an item is written as a block and the list goes on after it."""
        number = _start(node)
        for child in _children(node):
            tag = child.tag or ""
            if tag in _LISTS:
                self._gather(child, depth + 1, items)
            elif tag in ("li", "dt", "dd", "div"):
                marker = f"{number}." if node.tag == "ol" else "-"
                number += 1
                self._item(child, depth + (tag == "dd"), marker, items)

    def _item(self, node: LexborNode, depth: int, marker: str, items: list[Item]) -> None:
        words: list[str] = []

        def close() -> None:
            nonlocal marker
            if text := one_line("".join(words)):
                items.append(Item(text, depth, marker))
                marker = ""
            words.clear()

        def walk(parent: LexborNode) -> None:
            for child in _children(parent):
                tag = child.tag or ""
                if child.is_text_node or tag in ("br", "img"):
                    words.append(_inline_piece(child))
                elif tag in _LISTS:
                    close()
                    self._gather(child, depth + 1, items)
                elif tag == "pre" or (tag == "table" and not _is_layout(child)):
                    close()
                    self._builder.list(items)
                    items.clear()
                    self._block(tag, child)
                else:
                    words.append(" " if tag in _BLOCKS else "")
                    walk(child)
                    words.append(" " if tag in _BLOCKS else "")

        walk(node)
        close()

    def _table(self, node: LexborNode) -> None:
        caption = node.css_first("caption")
        if caption is not None and not _is_dropped(caption):
            self._builder.paragraph(_inline(caption))
        self._builder.table([_cells(row) for row in _rows(node)])

    def _flush(self) -> None:
        text, self._line = "".join(self._line), []
        if text.strip():
            self._builder.lines(text.split("\n"))


def _rows(node: LexborNode) -> Iterator[LexborNode]:
    for child in _children(node):
        if child.tag == "tr":
            yield child
        elif child.tag in ("thead", "tbody", "tfoot"):
            yield from _rows(child)


def _cells(row: LexborNode) -> list[str]:
    return [_inline(cell) for cell in _children(row) if cell.tag in ("td", "th")]


def _is_layout(table: LexborNode) -> bool:
    """A table that holds a page's layout rather than data: it has tables or headings in its cells, or one cell."""
    if table.css_first("table table, td h1, td h2, td h3, td pre, td ul ul") is not None:
        return True
    return all(len(_cells(row)) < 2 for row in _rows(table))


def _inline(node: LexborNode) -> str:
    return "".join(_pieces(node))


def _pieces(node: LexborNode) -> Iterator[str]:
    for child in _children(node):
        if child.is_text_node or child.tag in ("br", "img"):
            yield _inline_piece(child)
        else:
            edge = " " if child.tag in _BLOCKS else ""
            yield edge
            yield from _pieces(child)
            yield edge


def _inline_piece(node: LexborNode) -> str:
    if node.is_text_node:
        return node.text(deep=False)
    return f" {node.attributes.get('alt') or ''} " if node.tag == "img" else " "


def _verbatim(node: LexborNode) -> str:
    parts = []
    for child in _children(node):
        if child.is_text_node:
            parts.append(child.text(deep=False))
        else:
            parts.append("\n" if child.tag == "br" else _verbatim(child))
    return "".join(parts)


def _start(node: LexborNode) -> int:
    value = node.attributes.get("start") or ""
    return int(value) if value.isdigit() else 1
