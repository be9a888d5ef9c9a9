"""Plain text: paragraphs, lists and simple headings as people type them."""

import re
from collections.abc import Sequence
from itertools import pairwise

from ingest.parsers.builder import ListItem, TextBuilder
from ingest.parsers.encoding import decode_text
from ingest.parsers.types import ParsedDocument

_BLANK_LINES = re.compile(r"\n(?:[^\S\n]*\n)+")
_UNDERLINE = re.compile(r"([=\-~])\1{2,}")
_LIST_ITEM = re.compile(r"(\s*)(?:([-*\u2022])|(\d{1,3})[.)])\s+(\S.*)")
_HEADING = re.compile(r"[^\W_a-z][^=<>{}|@]*[^\s.,:;!?=<>{}|@]")
_MAX_HEADING_CHARACTERS = 70
_MAX_TITLE_LINES = 3
_MIN_WRAP_COLUMNS = 50  # Nobody wraps prose at fewer columns: shorter lines are lines on purpose.


def parse(data: bytes) -> ParsedDocument:
    """Read text in any encoding."""
    return parse_text(decode_text(data))


def parse_text(text: str) -> ParsedDocument:
    """Read text that is decoded already."""
    builder = TextBuilder()
    write_text(text, builder)
    return builder.build()


def write_text(text: str, builder: TextBuilder) -> None:
    """Write text, such as an e-mail's body, after what the builder holds."""
    body = text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n\n").expandtabs(4)
    pieces = [
        [line.rstrip() for line in piece.strip("\n").split("\n")]
        for piece in _BLANK_LINES.split(body)
    ]
    whole = not builder.has_text  # Lone lines of an e-mail are greetings, not headings.
    title = _count_title_lines(pieces[0]) if whole else 0
    if title:
        builder.add_heading(1, " ".join(pieces[0][:title]))
        write_lines(pieces[0][title:], builder)
        pieces = pieces[1:]
    for lines, following in pairwise([*pieces, []]):
        if whole and len(lines) == 1 and _is_heading(lines[0]) and _is_section_body(following):
            builder.add_heading(2, lines[0])
        else:
            write_lines(lines, builder)


def _count_title_lines(lines: Sequence[str]) -> int:
    """How many lines at the top of a text are its title: those in capitals, else one that stands alone."""
    capitals = next((at for at, line in enumerate(lines) if not line.isupper()), len(lines))
    underlined = len(lines) > 1 and _UNDERLINE.fullmatch(lines[1].strip())
    if 0 < capitals <= _MAX_TITLE_LINES and not underlined:
        return capitals
    return int(len(lines) == 1 and _is_heading(lines[0]))


def _is_heading(line: str) -> bool:
    """A short line that doesn't end as a sentence does and isn't an item or an assignment."""
    return (
        _HEADING.fullmatch(line) is not None
        and len(line) <= _MAX_HEADING_CHARACTERS
        and not _LIST_ITEM.fullmatch(line)
    )


def _is_section_body(lines: Sequence[str]) -> bool:
    """What stands below a heading: prose or a list."""
    text = " ".join(lines)
    return len(text) > _MAX_HEADING_CHARACTERS or bool(lines and _LIST_ITEM.fullmatch(lines[0]))


def write_lines(lines: Sequence[str], builder: TextBuilder) -> None:
    """Write lines that stand together as what they look like: heading, list, preformatted text or prose."""
    if len(lines) >= 2 and _UNDERLINE.fullmatch(lines[1].strip()) and lines[0].strip():
        builder.add_heading(1 if lines[1].strip()[0] == "=" else 2, lines[0])
        lines = lines[2:]
    if not any(lines):
        return
    if any(_LIST_ITEM.fullmatch(line) for line in lines):
        _write_list(lines, builder)
    elif len(lines) > 1 and all(line.startswith("    ") for line in lines):
        builder.add_code("\n".join(lines))
    elif is_wrapped(lines):
        builder.add_paragraph(" ".join(lines))
    else:
        builder.add_lines(lines)


def is_wrapped(lines: Sequence[str]) -> bool:
    """Whether every line is broken only because the next word did not fit; else the breaks are meant."""
    width = max(map(len, lines))
    if width < _MIN_WRAP_COLUMNS:
        return len(lines) == 1
    return all(
        len(line) + 1 + len(_first_word(after)) > 0.85 * width for line, after in pairwise(lines)
    )


def _first_word(line: str) -> str:
    return (line.split(None, 1) or [""])[0]


def _write_list(lines: Sequence[str], builder: TextBuilder) -> None:
    first = next(index for index, line in enumerate(lines) if _LIST_ITEM.fullmatch(line))
    if first:
        write_lines(lines[:first], builder)
    items: list[ListItem] = []
    indents: list[int] = []
    for line in lines[first:]:
        if match := _LIST_ITEM.fullmatch(line):
            indent = len(match[1])
            indents = [seen for seen in indents if seen < indent] + [indent]
            items.append(ListItem(match[4], len(indents) - 1, "-" if match[2] else f"{match[3]}."))
        else:
            items[-1] = items[-1]._replace(text=f"{items[-1].text} {line.strip()}")
    builder.add_list(items)
