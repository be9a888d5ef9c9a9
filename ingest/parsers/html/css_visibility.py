"""What a page's styles hide from its readers: text that only a program would find is not taken for the page's own.

Read are inline styles and the page's own style sheets, as far as they apply to a screen of any size. A rule inside a
condition (a narrow window, print) hides nothing here, since the page shows the text on other screens.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, SelectolaxError

_MAX_RULES = 300  # Rules of a page that are looked at: each costs a walk over the page.
_OFF_SCREEN_PIXELS = (
    900  # Pixels beyond the edge, where text is put that should be found but not seen.
)
_MIN_READABLE_PIXELS = 3  # Pixels: smaller letters can't be read.
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_SUPPORTED_SELECTOR = re.compile(
    r"[\w\s.#>*+~\-]+"
)  # Not :hover, ::before and the like, which are states and ornaments.
_UNCONDITIONAL_AT_RULE = re.compile(
    r"@(?:layer\b[^{]*|media\s+(?:all|screen)\s*|supports\b[^{]*)", re.IGNORECASE
)
_CSS_LENGTH = re.compile(r"(-?(?:\d+\.?\d*|\.\d+))\s*(px|pt|em|rem|%|vw|vh|in|cm)?")
_FONT_SIZE = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:px|pt|em|rem|%)")
_PIXELS_PER_UNIT = {
    "px": 1.0,
    "pt": 1.33,
    "em": 16.0,
    "rem": 16.0,
    "%": 16.0,
    "vw": 16.0,
    "vh": 16.0,
    "in": 96.0,
    "cm": 38.0,
}
_VISIBILITY_PROPERTIES = (
    "display visibility opacity font-size font color background background-color left right top bottom text-indent "
    "position height max-height width max-width overflow clip clip-path transform content-visibility".split()
)


class _StyleRule(NamedTuple):
    selector: str
    declarations: Mapping[str, str]
    selector_specificity: tuple[int, int, int]


def style_hides_element(style: str) -> bool:
    """Whether an element with these declarations, as in its attribute `style`, can't be seen."""
    return bool(style) and _declarations_hide_element(_parse_declarations(style))


def mark_hidden(tree: LexborHTMLParser) -> None:
    """Give the attribute `hidden` to every element that the page's style sheets hide."""
    sheets = "\n".join(node.text() for node in tree.css("style"))
    rules = [
        rule
        for rule in islice(_parse_rules(_COMMENT.sub(" ", sheets)), 20 * _MAX_RULES)
        if rule.declarations
    ]
    if not any(_declarations_hide_element(rule.declarations) for rule in rules):
        return
    names = {
        name
        for rule in rules
        if _declarations_hide_element(rule.declarations)
        for name in rule.declarations
    }
    deciding = [rule for rule in rules if names & rule.declarations.keys()]
    styles: dict[int, dict[str, str]] = {}
    nodes = {}
    for rule in sorted(
        deciding[:_MAX_RULES], key=lambda rule: rule.selector_specificity
    ):  # A stable sort: the later rule wins.
        try:
            matching = tree.css(rule.selector)
        except SelectolaxError:
            continue
        for node in matching:
            nodes[node.mem_id] = node
            styles.setdefault(node.mem_id, {}).update(rule.declarations)
    for key, style in styles.items():
        own = _parse_declarations(nodes[key].attributes.get("style") or "")
        if _declarations_hide_element({**style, **own}) and nodes[key].tag not in ("html", "body"):
            nodes[key].attrs["hidden"] = ""


def _parse_rules(stylesheet: str) -> Iterator[_StyleRule]:
    at = 0
    while (opening := stylesheet.find("{", at)) >= 0:
        head = stylesheet[at:opening].rpartition(";")[2].lstrip("} \n\t\r").rstrip()
        if head.startswith("@"):
            if _UNCONDITIONAL_AT_RULE.fullmatch(head):
                at = (
                    opening + 1
                )  # Its rules are read as if they stood outside; a stray brace is passed over below.
                continue
            at = _find_block_end(stylesheet, opening)
            continue
        closing = stylesheet.find("}", opening)
        closing = len(stylesheet) if closing < 0 else closing
        style = {
            k: v
            for k, v in _parse_declarations(stylesheet[opening + 1 : closing]).items()
            if k in _VISIBILITY_PROPERTIES
        }
        for selector in head.split(","):
            if _SUPPORTED_SELECTOR.fullmatch(selector.strip()):
                yield _StyleRule(selector.strip(), style, _selector_specificity(selector))
        at = closing + 1


def _find_block_end(stylesheet: str, opening: int) -> int:
    depth = 0
    for brace in re.finditer(r"[{}]", stylesheet[opening:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return opening + brace.end()
    return len(stylesheet)


def _selector_specificity(selector: str) -> tuple[int, int, int]:
    """Which of two rules wins, much as browsers reckon it: identifiers, classes, tags."""
    return selector.count("#"), selector.count("."), len(re.findall(r"(?:^|[\s>+~])\w", selector))


def _parse_declarations(text: str) -> dict[str, str]:
    found = {}
    for declaration in text.split(";"):
        name, colon, value = declaration.partition(":")
        if colon:
            found[name.strip().lower()] = value.lower().replace("!important", "").strip()
    return found


def _declarations_hide_element(style: Mapping[str, str]) -> bool:
    return (
        style.get("display") == "none"
        or style.get("visibility") in ("hidden", "collapse")
        or style.get("content-visibility") == "hidden"
        or _is_transparent(style)
        or _is_tiny(style)
        or _is_off_screen(style)
        or _is_clipped(style)
    )


def _is_transparent(style: Mapping[str, str]) -> bool:
    color = style.get("color", "")
    opacity = style.get("opacity")
    if opacity is not None and (match := _CSS_LENGTH.match(opacity)) and float(match[1]) <= 0.01:
        return True
    background = style.get("background-color") or style.get("background")
    return color == "transparent" or bool(color and color == background)


def _is_tiny(style: Mapping[str, str]) -> bool:
    size = style.get("font-size")
    if size is None and (match := _FONT_SIZE.search(style.get("font", ""))):
        size = match[0]
    pixels = _to_pixels(size or "")
    if pixels is None or size is None:
        return False
    return pixels <= 0 or (
        pixels < _MIN_READABLE_PIXELS and not size.endswith(("em", "%"))
    )  # Relative ones: to what?


def _is_off_screen(style: Mapping[str, str]) -> bool:
    if (indent := _to_pixels(style.get("text-indent", ""))) is not None and abs(
        indent
    ) > _OFF_SCREEN_PIXELS:
        return True
    if style.get("position") not in ("absolute", "fixed", "relative"):
        return False
    return any(
        (_to_pixels(style.get(side, "")) or 0) < -_OFF_SCREEN_PIXELS
        for side in ("left", "right", "top", "bottom")
    )


def _is_clipped(style: Mapping[str, str]) -> bool:
    """Cut down to nothing, or to the one pixel of text meant for screen readers alone."""
    if style.get("position") == "absolute" and re.match(r"rect\(\s*[01]", style.get("clip", "")):
        return True
    if not style.get("overflow", "").startswith("hidden"):
        return False
    sizes = (
        _to_pixels(style.get(name, "")) for name in ("height", "max-height", "width", "max-width")
    )
    return any(size is not None and size <= 1 for size in sizes)


def _to_pixels(value: str) -> float | None:
    """A length in pixels, relative ones at their usual size; None for what isn't one."""
    match = _CSS_LENGTH.fullmatch(value)
    return float(match[1]) * _PIXELS_PER_UNIT[match[2] or "px"] if match else None
