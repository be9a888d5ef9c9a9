"""reStructuredText: the parts that documentation uses, read without running any directive."""

import re
import textwrap
from collections.abc import Sequence

from core.errors import UnreadableFile
from ingest.parsers.builder import ListItem, TextBuilder, to_single_line
from ingest.parsers.encoding import decode_text
from ingest.parsers.types import ParsedDocument

_LINE = re.compile(r"([=\-~^\"'`#*+:.<>_])\1{2,}\s*")
_ITEM = re.compile(r"(\s*)(?:([-*+\u2022])|(?:\(?(\d{1,3}|#|[a-zA-Z])[.)]))\s+(\S.*)")
_DIRECTIVE = re.compile(r"\.\.\s+(?:\|[^|]+\|\s+)?([\w:-]+)::\s*(.*)")
_OPTION = re.compile(r":[\w-]+:(?:\s|$)")
_FIELD = re.compile(r":([\w -]+):\s*(.*)")
_BORDER = re.compile(r"\+[-=+]+\+|=+(?:\s+=+)+\s*")

_DEEPEST = 20  # Directives within directives.
_LONGEST = 20_000  # Characters of a paragraph; a longer one is bait, and read as it stands.
_CODE = (
    "code",
    "code-block",
    "sourcecode",
    "parsed-literal",
    "literalinclude",
    "prompt",
    "console",
    "highlight-block",
)
_DROPPED = (
    "toctree",
    "contents",
    "index",
    "raw",
    "include",
    "highlight",
    "default-role",
    "role",
    "meta",
    "only-not",
)
_INLINE = (
    (re.compile(r"``(.+?)``"), r"\1"),
    (re.compile(r":[\w:+.-]+:`~?([^`<]+?)\s*(?:<[^`>]*>)?`"), r"\1"),
    (re.compile(r":[\w:+.-]+:`<?([^`]+?)>?`"), r"\1"),
    (re.compile(r"`([^`<]+?)\s*<[^`>]+>`__?"), r"\1"),
    (re.compile(r"`([^`]+)`(?:__?)?"), r"\1"),
    (re.compile(r"\*\*(\S(?:.*?\S)?)\*\*"), r"\1"),
    (re.compile(r"(?<![\w*])\*(\S(?:[^*]*\S)?)\*(?!\w)"), r"\1"),
    (re.compile(r"\|(\w[^|]*\w|\w)\|_{0,2}"), r"\1"),
    (re.compile(r"\s*\[(?:\d+|#\w*|\*)\]_"), ""),
    (re.compile(r"(?<=\w)_{1,2}(?=[\s.,;:!?)]|$)"), ""),
    (re.compile(r"\\(.)"), r"\1"),
)


def parse(data: bytes) -> ParsedDocument:
    """Read reStructuredText in any encoding."""
    builder = TextBuilder()
    metadata = _Reader(builder).read(decode_text(data).expandtabs(8).splitlines())
    return builder.build("", metadata)


class _Reader:
    """Reads paragraph by paragraph; what is indented below a directive is read again as text of its own."""

    def __init__(self, builder: TextBuilder) -> None:
        self._builder = builder
        self._styles: list[str] = []
        self._depth = 0

    def read(self, lines: Sequence[str]) -> dict[str, object]:
        """Write the whole document; the field list at its top is returned as metadata."""
        at = next((index for index, line in enumerate(lines) if line.strip()), len(lines))
        metadata: dict[str, object] = {}
        while at < len(lines) and (match := _FIELD.fullmatch(lines[at])):
            metadata[match[1].lower()] = to_single_line(match[2])
            at += 1
        self._read(lines[at:])
        return metadata

    def _read(self, lines: Sequence[str]) -> None:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise UnreadableFile(
                "too-deep", "The text's directives are nested too deep; save it in another format."
            )
        at = 0
        while at < len(lines):
            if not lines[at].strip():
                at += 1
            else:
                at = self._piece(lines, at)
        self._depth -= 1

    def _piece(self, lines: Sequence[str], at: int) -> int:
        """Write what begins at line `at`; returns the line after it."""
        line = lines[at]
        if (
            at + 2 < len(lines)
            and _is_line(line)
            and _is_line(lines[at + 2])
            and lines[at + 1].strip()
        ):
            self._heading(lines[at + 1], line.strip()[0] * 2)
            return at + 3
        if (
            at + 1 < len(lines)
            and _is_line(lines[at + 1])
            and not _is_line(line)
            and not line[0].isspace()
        ):
            self._heading(line, lines[at + 1].strip()[0])
            return at + 2
        if _is_line(line) and not _BORDER.fullmatch(line.strip()):
            return at + 1  # A rule between paragraphs.
        if line.startswith("..") and (len(line) == 2 or line[2].isspace()):
            return self._directive(lines, at)
        if _BORDER.fullmatch(line.strip()):
            return self._table(lines, at)
        if _ITEM.fullmatch(line):
            return self._list(lines, at)
        if line[0].isspace():
            end = _indented(lines, at)
            self._read(textwrap.dedent("\n".join(lines[at:end])).split("\n"))
            return end
        return self._paragraph(lines, at)

    def _heading(self, text: str, style: str) -> None:
        """A level is named by its line, in the order in which the document first uses them."""
        if style not in self._styles:
            self._styles.append(style)
        self._builder.add_heading(self._styles.index(style) + 1, _plain(text))

    def _paragraph(self, lines: Sequence[str], at: int) -> int:
        end = at
        while (
            end < len(lines) and lines[end].strip() and not (end > at and lines[end][0].isspace())
        ):
            end += 1
        text = " ".join(lines[at:end]).rstrip()
        following = next(
            (index for index in range(end, len(lines)) if lines[index].strip()), len(lines)
        )
        is_term = end == at + 1 and end < len(lines) and lines[end].startswith(" ")
        literal = (
            text.endswith("::") and following < len(lines) and lines[following].startswith(" ")
        )
        if literal:
            text = text[:-2].rstrip() if text.endswith(" ::") or text == "::" else text[:-1]
        if all(line.startswith("| ") or line == "|" for line in lines[at:end]):
            self._builder.add_lines(_plain(line[1:]) for line in lines[at:end])
        else:
            self._builder.add_paragraph(
                _plain(text + ":" if is_term and not text.endswith((":", ".")) else text)
            )
        if literal:
            stop = _indented(lines, following)
            self._builder.add_code(textwrap.dedent("\n".join(lines[following:stop])))
            return stop
        return end

    def _directive(self, lines: Sequence[str], at: int) -> int:
        end = _indented(lines, at + 1)
        match = _DIRECTIVE.fullmatch(lines[at])
        if match is None:  # A comment, a target or a footnote; only the last is for readers.
            note = re.fullmatch(r"\.\.\s+\[(?:\d+|#\w*|\*|\w+)\]\s*(.*)", lines[at])
            if note:
                self._builder.add_paragraph(
                    _plain(" ".join([note[1], *map(str.strip, lines[at + 1 : end])]))
                )
            return end
        name, argument = match[1].lower(), match[2].strip()
        body = textwrap.dedent("\n".join(lines[at + 1 : end])).split("\n")
        options = [line for line in body if _OPTION.match(line)]
        content = body[
            next((i for i, line in enumerate(body) if not _OPTION.match(line)), len(body)) :
        ]
        if name in _CODE:
            self._builder.add_code("\n".join(content))
        elif name in ("image", "figure"):
            alt = next((line.split(":", 2)[2] for line in options if line.startswith(":alt:")), "")
            self._builder.add_paragraph(_plain(alt))
            self._read(content)
        elif name in ("csv-table", "list-table", "table"):
            self._builder.add_paragraph(_plain(argument))
            self._directive_table(name, options, content)
        elif name not in _DROPPED:
            self._builder.add_paragraph(_plain(argument))
            self._read(content)
        return end

    def _directive_table(self, name: str, options: Sequence[str], content: Sequence[str]) -> None:
        if name == "table":
            self._read(content)
        elif name == "csv-table":
            header = [line.split(":", 2)[2] for line in options if line.startswith(":header:")]
            rows = [line for line in [*header, *content] if line.strip()]
            self._builder.add_table(
                [[_plain(cell.strip(' "')) for cell in row.split(",")] for row in rows]
            )
        else:
            cells: list[list[str]] = []
            for line in content:
                text = line.strip()
                if text.startswith("* -"):
                    cells.append([text[3:]])
                elif text.startswith("- ") or text == "-":
                    cells[-1].append(text[1:])
                elif text and cells:
                    cells[-1][-1] += f" {text}"
            self._builder.add_table([[_plain(cell) for cell in row] for row in cells])

    def _table(self, lines: Sequence[str], at: int) -> int:
        grid = lines[at].lstrip().startswith("+")
        end = at
        borders = 0
        while end < len(lines) and (lines[end].strip() or (not grid and borders < 3)):
            borders += bool(_BORDER.fullmatch(lines[end].strip()))
            end += 1
            if not grid and borders == 3:
                break
        self._builder.add_table(_grid_rows(lines[at:end]) if grid else _simple_rows(lines[at:end]))
        return max(end, at + 1)

    def _list(self, lines: Sequence[str], at: int) -> int:
        items: list[ListItem] = []
        indents: list[int] = []
        number = 0
        while at < len(lines):
            line = lines[at]
            if match := _ITEM.fullmatch(line):
                indents = [indent for indent in indents if indent < len(match[1])] + [len(match[1])]
                if match[3]:
                    number = int(match[3]) if match[3].isdigit() else number + 1
                items.append(
                    ListItem(match[4], len(indents) - 1, "-" if match[2] else f"{number}.")
                )
            elif not line.strip():
                following = next((other for other in lines[at:] if other.strip()), "")
                if not (following.startswith(" ") or _ITEM.fullmatch(following)):
                    break
            elif line[0].isspace() and not line.strip().startswith(".. "):
                items[-1] = items[-1]._replace(text=f"{items[-1].text} {line.strip()}")
            else:
                break
            at += 1
        self._builder.add_list(item._replace(text=_plain(item.text)) for item in items)
        return at


def _is_line(line: str) -> bool:
    return _LINE.fullmatch(line) is not None


def _indented(lines: Sequence[str], at: int) -> int:
    """The line after the indented ones from `at` on, blank ones between them included."""
    end = at
    for index in range(at, len(lines)):
        if lines[index].strip():
            if not lines[index][0].isspace():
                break
            end = index + 1
    return end


def _plain(text: str) -> str:
    if len(text) > _LONGEST:
        return text
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return text.strip()


def _grid_rows(lines: Sequence[str]) -> list[list[str]]:
    rows: list[list[str]] = []
    fresh = True
    for line in map(str.strip, lines):
        if line.startswith("+"):
            fresh = True
            continue
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if fresh or len(cells) != len(rows[-1]):
            rows.append(cells)
        else:
            rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
        fresh = False
    return [[_plain(cell) for cell in row] for row in rows]


def _simple_rows(lines: Sequence[str]) -> list[list[str]]:
    starts = [match.start() for match in re.finditer(r"=+", lines[0])]
    edges = [*starts, None]
    rows: list[list[str]] = []
    for line in lines:
        if _BORDER.fullmatch(line.strip()) or not line.strip():
            continue
        cells = [line[first:last].strip() for first, last in zip(starts, edges[1:], strict=True)]
        if rows and not cells[0]:
            rows[-1] = [f"{old} {new}".strip() for old, new in zip(rows[-1], cells, strict=True)]
        else:
            rows.append(cells)
    return [[_plain(cell) for cell in row] for row in rows]
