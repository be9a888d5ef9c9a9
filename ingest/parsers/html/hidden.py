"""What a page's styles hide from its readers: text that only a program would find is not taken for the page's own.

Read are inline styles and the page's own style sheets, as far as they apply to a screen of any size. A rule inside a
condition (a narrow window, print) hides nothing here, since the page shows the text on other screens.
"""

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import NamedTuple

from selectolax.lexbor import LexborHTMLParser, SelectolaxError

_RULES = 300  # Rules of a page that are looked at: each costs a walk over the page.
_FAR = 900  # Pixels beyond the edge, where text is put that should be found but not seen.
_TINY = 3  # Pixels: smaller letters can't be read.
_COMMENT = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)
_PLAIN_SELECTOR = re.compile(r"[\w\s.#>*+~\-]+")  # Not :hover, ::before and the like, which are states and ornaments.
_EVERYWHERE = re.compile(r"@(?:layer\b[^{]*|media\s+(?:all|screen)\s*|supports\b[^{]*)", re.IGNORECASE)
_LENGTH = re.compile(r"(-?(?:\d+\.?\d*|\.\d+))\s*(px|pt|em|rem|%|vw|vh|in|cm)?")
_FONT_SIZE = re.compile(r"(?:\d+\.?\d*|\.\d+)(?:px|pt|em|rem|%)")
_PIXELS = {"px": 1.0, "pt": 1.33, "em": 16.0, "rem": 16.0, "%": 16.0, "vw": 16.0, "vh": 16.0, "in": 96.0, "cm": 38.0}
_DECIDING = (
    "display visibility opacity font-size font color background background-color left right top bottom text-indent "
    "position height max-height width max-width overflow clip clip-path transform content-visibility".split()
)


class _Rule(NamedTuple):
    selector: str
    style: Mapping[str, str]
    weight: tuple[int, int, int]


def hides(style: str) -> bool:
    """Whether an element with these declarations, as in its attribute `style`, can't be seen."""
    return bool(style) and _conceals(_declarations(style))


def mark_hidden(tree: LexborHTMLParser) -> None:
    """Give the attribute `hidden` to every element that the page's style sheets hide."""
    sheets = "\n".join(node.text() for node in tree.css("style"))
    rules = [rule for rule in islice(_rules(_COMMENT.sub(" ", sheets)), 20 * _RULES) if rule.style]
    if not any(_conceals(rule.style) for rule in rules):
        return
    names = {name for rule in rules if _conceals(rule.style) for name in rule.style}
    deciding = [rule for rule in rules if names & rule.style.keys()]
    styles: dict[int, dict[str, str]] = {}
    nodes = {}
    for rule in sorted(deciding[:_RULES], key=lambda rule: rule.weight):  # A stable sort: the later rule wins.
        try:
            matching = tree.css(rule.selector)
        except SelectolaxError:
            continue
        for node in matching:
            nodes[node.mem_id] = node
            styles.setdefault(node.mem_id, {}).update(rule.style)
    for key, style in styles.items():
        own = _declarations(nodes[key].attributes.get("style") or "")
        if _conceals({**style, **own}) and nodes[key].tag not in ("html", "body"):
            nodes[key].attrs["hidden"] = ""


def _rules(sheet: str) -> Iterator[_Rule]:
    at = 0
    while (opening := sheet.find("{", at)) >= 0:
        head = sheet[at:opening].rpartition(";")[2].lstrip("} \n\t\r").rstrip()
        if head.startswith("@"):
            if _EVERYWHERE.fullmatch(head):
                at = opening + 1  # Its rules are read as if they stood outside; a stray brace is passed over below.
                continue
            at = _block_end(sheet, opening)
            continue
        closing = sheet.find("}", opening)
        closing = len(sheet) if closing < 0 else closing
        style = {k: v for k, v in _declarations(sheet[opening + 1 : closing]).items() if k in _DECIDING}
        for selector in head.split(","):
            if _PLAIN_SELECTOR.fullmatch(selector.strip()):
                yield _Rule(selector.strip(), style, _weight(selector))
        at = closing + 1


def _block_end(sheet: str, opening: int) -> int:
    depth = 0
    for brace in re.finditer(r"[{}]", sheet[opening:]):
        depth += 1 if brace[0] == "{" else -1
        if not depth:
            return opening + brace.end()
    return len(sheet)


def _weight(selector: str) -> tuple[int, int, int]:
    """Which of two rules wins, much as browsers reckon it: identifiers, classes, tags."""
    return selector.count("#"), selector.count("."), len(re.findall(r"(?:^|[\s>+~])\w", selector))


def _declarations(text: str) -> dict[str, str]:
    found = {}
    for declaration in text.split(";"):
        name, colon, value = declaration.partition(":")
        if colon:
            found[name.strip().lower()] = value.lower().replace("!important", "").strip()
    return found


def _conceals(style: Mapping[str, str]) -> bool:
    return (
        style.get("display") == "none"
        or style.get("visibility") in ("hidden", "collapse")
        or style.get("content-visibility") == "hidden"
        or _is_transparent(style)
        or _is_tiny(style)
        or _is_away(style)
        or _is_clipped(style)
    )


def _is_transparent(style: Mapping[str, str]) -> bool:
    color = style.get("color", "")
    opacity = style.get("opacity")
    if opacity is not None and (match := _LENGTH.match(opacity)) and float(match[1]) <= 0.01:
        return True
    background = style.get("background-color") or style.get("background")
    return color == "transparent" or bool(color and color == background)


def _is_tiny(style: Mapping[str, str]) -> bool:
    size = style.get("font-size")
    if size is None and (match := _FONT_SIZE.search(style.get("font", ""))):
        size = match[0]
    pixels = _pixels(size or "")
    if pixels is None or size is None:
        return False
    return pixels <= 0 or (pixels < _TINY and not size.endswith(("em", "%")))  # Relative ones: to what?


def _is_away(style: Mapping[str, str]) -> bool:
    if (indent := _pixels(style.get("text-indent", ""))) is not None and abs(indent) > _FAR:
        return True
    if style.get("position") not in ("absolute", "fixed", "relative"):
        return False
    return any((_pixels(style.get(side, "")) or 0) < -_FAR for side in ("left", "right", "top", "bottom"))


def _is_clipped(style: Mapping[str, str]) -> bool:
    """Cut down to nothing, or to the one pixel of text meant for screen readers alone."""
    if style.get("position") == "absolute" and re.match(r"rect\(\s*[01]", style.get("clip", "")):
        return True
    if not style.get("overflow", "").startswith("hidden"):
        return False
    sizes = (_pixels(style.get(name, "")) for name in ("height", "max-height", "width", "max-width"))
    return any(size is not None and size <= 1 for size in sizes)


def _pixels(value: str) -> float | None:
    """A length in pixels, relative ones at their usual size; None for what isn't one."""
    match = _LENGTH.fullmatch(value)
    return float(match[1]) * _PIXELS[match[2] or "px"] if match else None
