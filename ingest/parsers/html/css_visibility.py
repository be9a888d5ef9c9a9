"""Text that a page's styles hide from its readers, and that is therefore not parsed.

Inline styles and the page's own style sheets count, as far as they apply to a screen of any size.
A rule with a condition (a narrow window, print) hides nothing: other screens show the text.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

_MAX_RULES = 300  # of a page that are applied: each costs a walk over the page
_MAX_PARSED_RULES = 20 * _MAX_RULES
_OFF_SCREEN_PIXELS = 900  # Text this far beyond the edge is for machines, not for readers.
_MIN_READABLE_PIXELS = 3
_MAX_HIDING_OPACITY = 0.01
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
# Not :hover, ::before and the like, which are states and ornaments.
_SUPPORTED_SELECTOR = re.compile(r"[\w\s.#>*+~\-]+")
_UNCONDITIONAL_AT_RULE = re.compile(
    r"@(?:layer\b[^{]*|media\s+(?:all|screen)\s*|supports\b[^{]*)", re.IGNORECASE
)
_CSS_LENGTH = re.compile(r"(-?(?:\d+\.?\d*|\.\d+))\s*(px|pt|em|rem|%|vw|vh|in|cm)?")
_FONT_SIZE = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:px|pt|em|rem|%)")
_PIXELS_PER_UNIT = {"px": 1.0, "pt": 1.33, "in": 96.0, "cm": 38.0}
_PIXELS_PER_RELATIVE_UNIT = 16.0  # em, %, vw and the like, at their usual size
_VISIBILITY_PROPERTIES = frozenset(
    """
    display visibility opacity font-size font color background background-color left right top
    bottom text-indent position height max-height width max-width overflow clip clip-path transform
    content-visibility
    """.split()
)


class _StyleRule(NamedTuple):
    selector: str
    declarations: Mapping[str, str]
    specificity: tuple[int, int, int]


def style_hides_element(style: str) -> bool:
    """Return True if the declarations of an attribute `style` hide the element."""
    return bool(style) and _hides_element(_parse_declarations(style))


def mark_hidden(tree: LexborHTMLParser) -> None:
    """Give the attribute `hidden` to each element that the page's style sheets hide."""
    sheets = "\n".join(node.text() for node in tree.css("style"))
    parsed_rules = islice(_parse_rules(_COMMENT.sub(" ", sheets)), _MAX_PARSED_RULES)
    rules = [rule for rule in parsed_rules if rule.declarations]
    hiding = [rule for rule in rules if _hides_element(rule.declarations)]
    if not hiding:
        return
    properties = {name for rule in hiding for name in rule.declarations}
    relevant = [rule for rule in rules if properties & rule.declarations.keys()][:_MAX_RULES]
    for node, style in _cascade(tree, relevant):
        own_style = _parse_declarations(node.attributes.get("style") or "")
        if node.tag not in ("html", "body") and _hides_element({**style, **own_style}):
            node.attrs["hidden"] = ""


def _cascade(
    tree: LexborHTMLParser, rules: list[_StyleRule]
) -> list[tuple[LexborNode, dict[str, str]]]:
    """Return each element that a rule selects, with its declarations after all rules."""
    styles: dict[int, tuple[LexborNode, dict[str, str]]] = {}
    # The sort is stable: of equal rules the later wins.
    for rule in sorted(rules, key=lambda rule: rule.specificity):
        try:
            nodes = tree.css(rule.selector)
        except SelectolaxError:
            continue
        for node in nodes:
            styles.setdefault(node.mem_id, (node, {}))[1].update(rule.declarations)
    return list(styles.values())


def _parse_rules(stylesheet: str) -> Iterator[_StyleRule]:
    at = 0
    while (opening := stylesheet.find("{", at)) >= 0:
        head = stylesheet[at:opening].rpartition(";")[2].lstrip("} \n\t\r").rstrip()
        if _UNCONDITIONAL_AT_RULE.fullmatch(head):
            at = opening + 1  # Its rules count like those outside; its closing brace is skipped.
        elif head.startswith("@"):
            at = _find_block_end(stylesheet, opening)
        else:
            closing = stylesheet.find("}", opening)
            closing = len(stylesheet) if closing < 0 else closing
            yield from _build_rules(head, stylesheet[opening + 1 : closing])
            at = closing + 1


def _build_rules(selectors: str, body: str) -> Iterator[_StyleRule]:
    declarations = _parse_declarations(body)
    relevant = {k: v for k, v in declarations.items() if k in _VISIBILITY_PROPERTIES}
    for selector in map(str.strip, selectors.split(",")):
        if _SUPPORTED_SELECTOR.fullmatch(selector):
            yield _StyleRule(selector, relevant, _measure_specificity(selector))


def _find_block_end(stylesheet: str, opening: int) -> int:
    depth = 0
    for brace in re.finditer(r"[{}]", stylesheet[opening:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return opening + brace.end()
    return len(stylesheet)


def _measure_specificity(selector: str) -> tuple[int, int, int]:
    """Return the number of identifiers, classes and tags, which decides between two rules."""
    return selector.count("#"), selector.count("."), len(re.findall(r"(?:^|[\s>+~])\w", selector))


def _parse_declarations(text: str) -> dict[str, str]:
    declarations = {}
    for declaration in text.split(";"):
        name, colon, value = declaration.partition(":")
        if colon:
            declarations[name.strip().lower()] = value.lower().replace("!important", "").strip()
    return declarations


def _is_not_displayed(style: Mapping[str, str]) -> bool:
    return (
        style.get("display") == "none"
        or style.get("visibility") in ("hidden", "collapse")
        or style.get("content-visibility") == "hidden"
    )


def _is_transparent(style: Mapping[str, str]) -> bool:
    opacity = _CSS_LENGTH.match(style.get("opacity", ""))
    return opacity is not None and float(opacity[1]) <= _MAX_HIDING_OPACITY


def _has_color_of_background(style: Mapping[str, str]) -> bool:
    color = style.get("color", "")
    background = style.get("background-color") or style.get("background")
    return color == "transparent" or bool(color and color == background)


def _is_tiny(style: Mapping[str, str]) -> bool:
    size = style.get("font-size")
    if size is None and (match := _FONT_SIZE.search(style.get("font", ""))):
        size = match[0]
    pixels = _to_pixels(size or "")
    if pixels is None or size is None:
        return False
    is_relative = size.endswith(("em", "%"))  # to a size that is not known here
    return pixels <= 0 or (pixels < _MIN_READABLE_PIXELS and not is_relative)


def _is_off_screen(style: Mapping[str, str]) -> bool:
    if abs(_to_pixels(style.get("text-indent", "")) or 0) > _OFF_SCREEN_PIXELS:
        return True
    if style.get("position") not in ("absolute", "fixed", "relative"):
        return False
    offsets = (_to_pixels(style.get(side, "")) for side in ("left", "right", "top", "bottom"))
    return any((offset or 0) < -_OFF_SCREEN_PIXELS for offset in offsets)


def _is_clipped(style: Mapping[str, str]) -> bool:
    """Return True if at most one pixel is left, as for text meant only for screen readers."""
    if style.get("position") == "absolute" and re.match(r"rect\(\s*[01]", style.get("clip", "")):
        return True
    if not style.get("overflow", "").startswith("hidden"):
        return False
    names = ("height", "max-height", "width", "max-width")
    sizes = (_to_pixels(style.get(name, "")) for name in names)
    return any(size is not None and size <= 1 for size in sizes)


_HIDING_CHECKS = (
    _is_not_displayed,
    _is_transparent,
    _has_color_of_background,
    _is_tiny,
    _is_off_screen,
    _is_clipped,
)


def _hides_element(style: Mapping[str, str]) -> bool:
    return any(check(style) for check in _HIDING_CHECKS)


def _to_pixels(value: str) -> float | None:
    """Return a length in pixels; None for other values."""
    match = _CSS_LENGTH.fullmatch(value)
    if match is None:
        return None
    return float(match[1]) * _PIXELS_PER_UNIT.get(match[2] or "px", _PIXELS_PER_RELATIVE_UNIT)
