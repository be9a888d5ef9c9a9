"""reStructuredText: the parts that documentation uses, without running any directive.

docutils is not used here: one megabyte of nested list markers takes it minutes, it drops a
document that has one overlong line, and it needs patches to keep the text of Sphinx's roles.
"""

import re
import textwrap
from collections.abc import Sequence
from itertools import dropwhile, islice, pairwise

from core.errors import UnreadableFile
from ingest.parsers.builder import ListItem, TextBuilder, to_single_line
from ingest.parsers.encoding import decode_text
from ingest.parsers.types import ParsedDocument

_RULE = re.compile(r"([=\-~^\"'`#*+:.<>_])\1{2,}\s*")  # a heading's underline, or a transition
_BORDER = re.compile(r"\+[-=+]+\+|=+(?:\s+=+)+\s*")  # of a table
_ITEM = re.compile(r"(\s*)(?:([-*+\u2022])|(?:\(?(\d{1,3}|#|[a-zA-Z])[.)]))\s+(\S.*)")
_DIRECTIVE = re.compile(r"\.\.\s+(?:\|[^|]+\|\s+)?([\w:-]+)::\s*(.*)")
_FOOTNOTE = re.compile(r"\.\.\s+\[(?:\d+|#\w*|\*|\w+)\]\s*(.*)")
_OPTION = re.compile(r":([\w-]+):(?:\s|$)(.*)")
_FIELD = re.compile(r":([\w -]+):\s*(.*)")

_MAX_DEPTH = 20  # directives within directives
# The patterns' time can grow with the square of a text's length: a longer one keeps its markup.
_MAX_INLINE_CHARACTERS = 20_000
_CODE_DIRECTIVES = frozenset(
    """
    code code-block sourcecode parsed-literal literalinclude prompt console highlight-block
    """.split()
)
_DROPPED_DIRECTIVES = frozenset(
    """
    toctree contents index raw include highlight default-role role meta only-not
    """.split()
)
_INLINE_MARKUP = (
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r":[\w:+.-]+:`~?([^`<]+?)\s*(?:<[^`>]*>)?`"), r"\1"),  # role
    (re.compile(r":[\w:+.-]+:`<?([^`]+?)>?`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?"), r"\1"),  # link
    (re.compile(r"`([^`]+)`(?:__?)?"), r"\1"),
    (re.compile(r"\*\*(\S(?:.*?\S)?)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*(\S(?:[^*]*\S)?)\*(?!\w)"), r"\1"),
    (re.compile(r"\|(\w[^|]*\w|\w)\|_{0,2}"), r"\1"),  # substitution
    (re.compile(r"\s*\[(?:\d+|#\w*|\*)\]_"), ""),  # reference to a footnote
    (re.compile(r"(?<=\w)_{1,2}(?=[\s.,;:!?)]|$)"), ""),  # link of one word
    (re.compile(r"\\(.)"), r"\1"),
)


def parse(data: bytes) -> ParsedDocument:
    """Parse reStructuredText in any encoding; the field list at its top becomes metadata."""
    lines = decode_text(data).expandtabs(8).splitlines()
    start = _skip_blank_lines(lines, 0)
    metadata: dict[str, object] = {}
    while start < len(lines) and (match := _FIELD.fullmatch(lines[start])):
        metadata[match[1].lower()] = to_single_line(match[2])
        start += 1
    builder = TextBuilder()
    _RstReader(builder).read(lines[start:])
    return builder.build("", metadata)


class _RstReader:
    """Writes block by block; the indented text of a directive is read again as text of its own.

    The `_write` methods for blocks return the index of the line after the block.
    """

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._heading_styles: list[str] = []
        self._depth = 0

    def read(self, lines: Sequence[str]) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            why = "The text's directives are nested too deeply. Save it in another format."
            raise UnreadableFile("too-deep", why)
        at = _skip_blank_lines(lines, 0)
        while at < len(lines):
            at = _skip_blank_lines(lines, self._write_block(lines, at))
        self._depth -= 1

    def _write_block(self, lines: Sequence[str], at: int) -> int:
        if heading_end := self._write_heading(lines, at):
            return heading_end
        line = lines[at]
        is_border = _BORDER.fullmatch(line.strip())
        if _RULE.fullmatch(line) and not is_border:
            return at + 1  # A transition between paragraphs.
        if line.startswith("..") and (len(line) == 2 or line[2].isspace()):
            return self._write_explicit_markup(lines, at)
        if is_border:
            return self._write_table(lines, at)
        if _ITEM.fullmatch(line):
            return self._write_list(lines, at)
        if line[0].isspace():
            end = _find_indented_end(lines, at)
            self.read(_dedent(lines[at:end]))
            return end
        return self._write_paragraph(lines, at)

    def _write_heading(self, lines: Sequence[str], at: int) -> int | None:
        """Write a heading, underlined or between two lines; None if there is none here."""
        line, *following = lines[at : at + 3]
        if _RULE.fullmatch(line):
            if len(following) == 2 and following[0].strip() and _RULE.fullmatch(following[1]):
                self._add_heading(following[0], style=line.strip()[0] * 2)
                return at + 3
        elif following and _RULE.fullmatch(following[0]) and not line[0].isspace():
            self._add_heading(line, style=following[0].strip()[0])
            return at + 2
        return None

    def _add_heading(self, text: str, style: str) -> None:
        """Add a heading; styles get their levels in the order in which they first occur."""
        if style not in self._heading_styles:
            self._heading_styles.append(style)
        self._builder.add_heading(self._heading_styles.index(style) + 1, _strip_markup(text))

    def _write_paragraph(self, lines: Sequence[str], at: int) -> int:
        end = at + 1
        while end < len(lines) and lines[end].strip() and not lines[end][0].isspace():
            end += 1
        text = " ".join(lines[at:end]).rstrip()
        code_start = _skip_blank_lines(lines, end)
        has_code = text.endswith("::") and _is_indented(lines, code_start)
        if has_code:
            is_marker_alone = text == "::" or text.endswith(" ::")
            text = text[:-2].rstrip() if is_marker_alone else text[:-1]
        if all(line.startswith("| ") or line == "|" for line in lines[at:end]):
            self._builder.add_lines(_strip_markup(line[1:]) for line in lines[at:end])
        else:
            is_term = end == at + 1 and _is_indented(lines, end)
            colon = ":" if is_term and not text.endswith((":", ".")) else ""
            self._builder.add_paragraph(_strip_markup(text + colon))
        if not has_code:
            return end
        code_end = _find_indented_end(lines, code_start)
        self._builder.add_code("\n".join(_dedent(lines[code_start:code_end])))
        return code_end

    def _write_explicit_markup(self, lines: Sequence[str], at: int) -> int:
        """Write a directive or a footnote; comments and link targets are not for readers."""
        end = _find_indented_end(lines, at + 1)
        body = lines[at + 1 : end]
        if match := _DIRECTIVE.fullmatch(lines[at]):
            self._write_directive(match[1].lower(), match[2].strip(), _dedent(body))
        elif match := _FOOTNOTE.fullmatch(lines[at]):
            text = " ".join([match[1], *map(str.strip, body)])
            self._builder.add_paragraph(_strip_markup(text))
        return end

    def _write_directive(self, name: str, argument: str, body: Sequence[str]) -> None:
        options = [match.groups() for line in body if (match := _OPTION.match(line))]
        content = list(dropwhile(_OPTION.match, body))
        if name in _CODE_DIRECTIVES:
            self._builder.add_code("\n".join(content))
            return
        if name in _DROPPED_DIRECTIVES:
            return
        if name in ("image", "figure"):
            argument = next((value for option, value in options if option == "alt"), "")
        self._builder.add_paragraph(_strip_markup(argument))
        if name == "csv-table":
            header = [value for option, value in options if option == "header"]
            self._add_table(_split_csv_rows([*header, *content]))
        elif name == "list-table":
            self._add_table(_split_list_rows(content))
        else:
            self.read(content)

    def _write_table(self, lines: Sequence[str], at: int) -> int:
        if lines[at].lstrip().startswith("+"):
            end = at
            while end < len(lines) and lines[end].strip():
                end += 1
            self._add_table(_split_grid_rows(lines[at:end]))
        else:
            end = _find_simple_table_end(lines, at)
            self._add_table(_split_simple_rows(lines[at:end]))
        return end

    def _add_table(self, rows: Sequence[Sequence[str]]) -> None:
        self._builder.add_table([list(map(_strip_markup, row)) for row in rows])

    def _write_list(self, lines: Sequence[str], at: int) -> int:
        items: list[ListItem] = []
        indents: list[int] = []  # of the item and the items that contain it
        number = 0
        while at < len(lines):
            if match := _ITEM.fullmatch(lines[at]):
                indent = len(match[1])
                indents = [outer for outer in indents if outer < indent] + [indent]
                if match[3]:
                    number = int(match[3]) if match[3].isdigit() else number + 1
                marker = "-" if match[2] else f"{number}."
                items.append(ListItem(match[4], len(indents) - 1, marker))
            elif not _continues_list(lines, at):
                break
            elif lines[at].strip():
                items[-1] = items[-1]._replace(text=f"{items[-1].text} {lines[at].strip()}")
            at += 1
        self._builder.add_list(item._replace(text=_strip_markup(item.text)) for item in items)
        return at


def _skip_blank_lines(lines: Sequence[str], at: int) -> int:
    while at < len(lines) and not lines[at].strip():
        at += 1
    return at


def _is_indented(lines: Sequence[str], at: int) -> bool:
    return at < len(lines) and lines[at].startswith(" ")


def _find_indented_end(lines: Sequence[str], at: int) -> int:
    """Return the end of the indented lines from `at` on, blank lines between them included."""
    end = at
    for index in range(at, len(lines)):
        if lines[index].strip():
            if not lines[index][0].isspace():
                break
            end = index + 1
    return end


def _dedent(lines: Sequence[str]) -> list[str]:
    return textwrap.dedent("\n".join(lines)).split("\n")


def _strip_markup(text: str) -> str:
    if len(text) > _MAX_INLINE_CHARACTERS:
        return text
    for pattern, replacement in _INLINE_MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def _continues_list(lines: Sequence[str], at: int) -> bool:
    """Return True if a line that begins no item belongs to the list above it."""
    line = lines[at]
    if line.strip():
        return line[0].isspace() and not line.strip().startswith(".. ")
    following = _skip_blank_lines(lines, at)
    if following == len(lines):
        return False
    return _is_indented(lines, following) or bool(_ITEM.fullmatch(lines[following]))


def _find_simple_table_end(lines: Sequence[str], at: int) -> int:
    """Return the line after the third border of a simple table: top, below the header, bottom."""
    borders = (i for i in range(at, len(lines)) if _BORDER.fullmatch(lines[i].strip()))
    bottom = next(islice(borders, 2, None), len(lines) - 1)
    return bottom + 1


def _split_grid_rows(lines: Sequence[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    begins_row = True
    for line in map(str.strip, lines):
        if line.startswith("+"):
            begins_row = True
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if begins_row or len(cells) != len(rows[-1]):
            rows.append(cells)
        else:
            rows[-1] = _join_cells(rows[-1], cells)
        begins_row = False
    return rows


def _split_simple_rows(lines: Sequence[str]) -> list[list[str]]:
    starts = [match.start() for match in re.finditer(r"=+", lines[0])]
    columns = [slice(*edges) for edges in pairwise([*starts, None])]
    rows: list[list[str]] = []
    for line in lines:
        if not line.strip() or _BORDER.fullmatch(line.strip()):
            continue
        cells = [line[column].strip() for column in columns]
        if rows and not cells[0]:
            rows[-1] = _join_cells(rows[-1], cells)
        else:
            rows.append(cells)
    return rows


def _join_cells(row: Sequence[str], continuation: Sequence[str]) -> list[str]:
    return [f"{cell} {more}".strip() for cell, more in zip(row, continuation, strict=True)]


def _split_csv_rows(lines: Sequence[str]) -> list[list[str]]:
    rows = [line.split(",") for line in lines if line.strip()]
    return [[cell.strip(' "') for cell in row] for row in rows]


def _split_list_rows(lines: Sequence[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    for text in map(str.strip, lines):
        if text.startswith("* -"):
            rows.append([text[3:]])
        elif text.startswith("- ") or text == "-":
            rows[-1].append(text[1:])
        elif text and rows:
            rows[-1][-1] += f" {text}"
    return rows
