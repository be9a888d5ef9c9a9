"""Plain text: paragraphs, lists and simple headings as people type them."""

import re
from collections.abc import Sequence
from itertools import pairwise, takewhile

from ingest.parsers.builder import ListItem, TextBuilder
from ingest.parsers.encoding import decode_text
from ingest.parsers.types import ParsedDocument

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_UNDERLINE = re.compile(r"([=\-~])\1{2,}")
_LIST_ITEM = re.compile(r"(\s*)(?:([-*\u2022])|(\d{1,3})[.)])\s+(\S.*)")
_HEADING = re.compile(r"[^\W_a-z][^=<>{}|@]*[^\s.,:;!?=<>{}|@]")
_MAX_HEADING_CHARACTERS = 70
_MAX_TITLE_LINES = 3
_MIN_WRAP_COLUMNS = 50  # Nobody wraps prose at fewer columns: shorter lines end on purpose.
_MIN_FULL_LINE_RATIO = 0.85  # of the widest line, counted with the first word of the next line


def parse(data: bytes) -> ParsedDocument:
    """Parse text in any encoding."""
    builder = TextBuilder()
    write_text(decode_text(data), builder)
    return builder.build()


def write_text(text: str, builder: TextBuilder) -> None:
    """Write text. A lone line can be a heading only if the builder is still empty."""
    body = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n").expandtabs(4)
    pieces = [_split_lines(piece) for piece in _BLANK_LINES.split(body)]
    if builder.has_text:  # Lone lines of an e-mail's body are greetings, not headings.
        for lines in pieces:
            _write_lines(lines, builder)
        return
    if title_lines := _count_title_lines(pieces[0]):
        builder.add_heading(1, " ".join(pieces[0][:title_lines]))
        _write_lines(pieces[0][title_lines:], builder)
        pieces = pieces[1:]
    for lines, following in pairwise([*pieces, []]):
        if len(lines) == 1 and _is_heading(lines[0]) and _is_section_body(following):
            builder.add_heading(2, lines[0])
        else:
            _write_lines(lines, builder)


def _split_lines(piece: str) -> list[str]:
    return [line.rstrip() for line in piece.strip("\n").split("\n")]


def _count_title_lines(lines: Sequence[str]) -> int:
    """Return how many lines form the title: those in capitals, else a single one."""
    capitals = len(list(takewhile(str.isupper, lines)))
    is_underlined = len(lines) > 1 and _UNDERLINE.fullmatch(lines[1].strip())
    if 0 < capitals <= _MAX_TITLE_LINES and not is_underlined:
        return capitals
    return int(len(lines) == 1 and _is_heading(lines[0]))


def _is_heading(line: str) -> bool:
    """Return True for a short line that is not a sentence, a list item or an assignment."""
    is_short = len(line) <= _MAX_HEADING_CHARACTERS
    return is_short and bool(_HEADING.fullmatch(line)) and not _LIST_ITEM.fullmatch(line)


def _is_section_body(lines: Sequence[str]) -> bool:
    """Return True for prose or a list, which a heading can have below it."""
    is_long = len(" ".join(lines)) > _MAX_HEADING_CHARACTERS
    return is_long or bool(lines and _LIST_ITEM.fullmatch(lines[0]))


def _write_lines(lines: Sequence[str], builder: TextBuilder) -> None:
    """Write lines without a blank one between them as heading, list, code or prose."""
    if len(lines) >= 2 and _UNDERLINE.fullmatch(lines[1].strip()) and lines[0].strip():
        builder.add_heading(1 if lines[1].strip()[0] == "=" else 2, lines[0])
        lines = lines[2:]
    if not any(lines):
        return
    if any(_LIST_ITEM.fullmatch(line) for line in lines):
        _write_list(lines, builder)
    elif len(lines) > 1 and all(line.startswith("    ") for line in lines):
        builder.add_code("\n".join(lines))
    elif _is_wrapped(lines):
        builder.add_paragraph(" ".join(lines))
    else:
        builder.add_lines(lines)


def _is_wrapped(lines: Sequence[str]) -> bool:
    """Return True if each line ends only because the next word did not fit."""
    width = max(map(len, lines))
    if width < _MIN_WRAP_COLUMNS:
        return len(lines) == 1
    for line, following in pairwise(lines):
        first_word, *_ = following.split(None, 1) or [""]
        if len(line) + 1 + len(first_word) <= _MIN_FULL_LINE_RATIO * width:
            return False
    return True


def _write_list(lines: Sequence[str], builder: TextBuilder) -> None:
    first = next(index for index, line in enumerate(lines) if _LIST_ITEM.fullmatch(line))
    if first:
        _write_lines(lines[:first], builder)
    items: list[ListItem] = []
    indents: list[int] = []  # of the item and the items that contain it
    for line in lines[first:]:
        if match := _LIST_ITEM.fullmatch(line):
            indent = len(match[1])
            indents = [outer for outer in indents if outer < indent] + [indent]
            items.append(ListItem(match[4], len(indents) - 1, "-" if match[2] else f"{match[3]}."))
        else:
            items[-1] = items[-1]._replace(text=f"{items[-1].text} {line.strip()}")
    builder.add_list(items)
