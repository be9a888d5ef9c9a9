"""Rich Text Format: its text, headings, lists and tables; pictures and styles are passed over."""

import re
from dataclasses import dataclass, field, replace

from core.errors import UnreadableFile
from ingest.parsers.builder import ListItem, TextBuilder
from ingest.parsers.types import ParsedDocument

_RTF_TOKEN = re.compile(
    r"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?|\\'(?P<hex>[0-9a-fA-F]{2})|\\(?P<symbol>[^a-zA-Z])"
    r"|(?P<open>\{)|(?P<close>\})|(?P<break>[\r\n]+)|(?P<text>[^\\{}\r\n]+)"
)
_SKIPPED_DESTINATIONS = frozenset(
    """
    fonttbl colortbl stylesheet info pict header headerl headerr headerf footer footerl footerr footerf listtable
    listoverridetable rsidtbl generator themedata colorschememapping datastore latentstyles xmlnstbl object objdata
    fldinst bkmkstart bkmkend annotation atnid atnauthor deleted revtbl filetbl pgdsctbl nonshppict
    """.split()
)
_CHARACTER_BY_WORD = {
    "tab": " ",
    "line": "\n",
    "emdash": "—",
    "endash": "–",
    "lquote": "‘",
    "rquote": "’",
    "ldblquote": "“",
    "rdblquote": "”",
    "bullet": "•",
    "emspace": " ",
    "enspace": " ",
    "qmspace": " ",
    "softline": "\n",
}
_CHARACTER_BY_SYMBOL = {"~": "\u00a0", "_": "-", "\\": "\\", "{": "{", "}": "}"}
_LIST_MARKER = re.compile(r"(?:([^\w\s])|\(?(\w{1,4})[.)])\s*")


@dataclass(frozen=True, slots=True)
class _GroupState:
    """What a pair of braces keeps to itself."""

    destination: str = "text"
    unicode_skip: int = 1
    is_hidden: bool = False


@dataclass(slots=True)
class _ParagraphState:
    text_parts: list[str] = field(default_factory=list)
    marker_parts: list[str] = field(default_factory=list)
    level: int = 0
    depth: int = 0
    is_in_table: bool = False


def parse(data: bytes) -> ParsedDocument:
    """Read an .rtf file."""
    if not data.lstrip().startswith(b"{\\rtf"):
        raise UnreadableFile(
            "not-a-document",
            "The file isn't RTF in spite of its name; save it again as .rtf or .docx.",
        )
    reader = _RtfReader()
    reader.read(data.decode("latin-1"))
    return reader.builder.build("".join(reader.title))


class _RtfReader:
    def __init__(self) -> None:
        self.builder = TextBuilder()
        self.title: list[str] = []
        self._codepage = "cp1252"
        self._bytes = bytearray()
        self._skip_count = 0
        self._paragraph = _ParagraphState()
        self._items: list[ListItem] = []
        self._row: list[str] = []
        self._rows: list[list[str]] = []

    def read(self, source: str) -> None:
        groups = [_GroupState()]
        starred = False
        for token in _RTF_TOKEN.finditer(source):
            if token["open"]:
                groups.append(groups[-1])
            elif token["close"]:
                self._flush_bytes(groups[-1])
                if len(groups) > 1:
                    groups.pop()
            elif token["symbol"] == "*":
                starred = True
                continue
            elif token["word"]:
                groups[-1] = self._handle_control_word(
                    token["word"], token["number"], groups[-1], starred
                )
            elif token["hex"]:
                self._add_byte(int(token["hex"], 16))
            elif token["symbol"]:
                self._write_text(_CHARACTER_BY_SYMBOL.get(token["symbol"], ""), groups[-1])
            elif token["text"]:
                self._write_text(token["text"], groups[-1])
            starred = False
        self._end_paragraph(groups[-1])
        self._end_rows()
        self._end_list()

    def _handle_control_word(
        self, word: str, number: str | None, group: _GroupState, starred: bool
    ) -> _GroupState:
        """Carry out a control word; returns the group as it is from here on."""
        value = int(number) if number else None
        if word != "u" or value is None:
            self._flush_bytes(group)
        if word in _SKIPPED_DESTINATIONS or (
            starred and word not in ("shppict", "shpinst", "shptxt")
        ):
            return replace(group, destination="" if word != "info" else "info")
        if word == "title" and group.destination == "info":
            return replace(group, destination="title")
        if word in ("pntext", "listtext"):
            return replace(group, destination="marker")
        if word == "u" and value is not None:
            self._flush_bytes(group)
            self._write_text(chr(value % 65536), group)
            self._skip_count = group.unicode_skip
        elif word == "uc":
            return replace(group, unicode_skip=value or 0)
        elif word == "v":
            return replace(group, is_hidden=value != 0)
        elif word == "ansicpg" and value:
            self._codepage = f"cp{value}"
        elif word in _CHARACTER_BY_WORD:
            self._write_text(_CHARACTER_BY_WORD[word], group)
        else:
            self._handle_structure_word(word, value, group)
        return group

    def _handle_structure_word(self, word: str, value: int | None, group: _GroupState) -> None:
        if not group.destination:
            return
        if word in ("par", "sect", "page"):
            self._end_paragraph(group)
        elif word == "pard":
            words, marker = self._paragraph.text_parts, self._paragraph.marker_parts
            self._paragraph = _ParagraphState(words, marker)
        elif word == "outlinelevel":
            self._paragraph.level = (value or 0) + 1
        elif word == "ilvl":
            self._paragraph.depth = value or 0
        elif word == "intbl":
            self._paragraph.is_in_table = True
        elif word == "cell":
            self._row.append(_join_surrogates(self._paragraph.text_parts))
            self._paragraph = _ParagraphState(is_in_table=True)
        elif word == "row":
            self._end_list()
            self._rows.append(self._row)
            self._row = []

    def _add_byte(self, value: int) -> None:
        if self._skip_count:
            self._skip_count -= 1
        else:
            self._bytes.append(value)

    def _flush_bytes(self, group: _GroupState) -> None:
        """Bytes of one character can come as several escapes: they are decoded when something else comes."""
        if self._bytes:
            try:
                text = self._bytes.decode(self._codepage, "replace")
            except LookupError:
                text = self._bytes.decode("cp1252", "replace")
            self._bytes.clear()
            self._append_text(text, group)

    def _write_text(self, text: str, group: _GroupState) -> None:
        self._flush_bytes(group)
        if self._skip_count and text:
            skipped = min(self._skip_count, len(text))
            self._skip_count -= skipped
            text = text[skipped:]
        self._append_text(text, group)

    def _append_text(self, text: str, group: _GroupState) -> None:
        if group.destination == "text" and not group.is_hidden:
            self._paragraph.text_parts.append(text)
        elif group.destination == "marker":
            self._paragraph.marker_parts.append(text)
        elif group.destination == "title":
            self.title.append(text)

    def _end_paragraph(self, group: _GroupState) -> None:
        self._flush_bytes(group)
        paragraph = self._paragraph
        if paragraph.is_in_table:
            paragraph.text_parts.append(" ")  # Several paragraphs of one cell.
            return
        text = _join_surrogates(paragraph.text_parts)
        self._paragraph = _ParagraphState(level=paragraph.level, depth=paragraph.depth)
        if not text.strip():
            return
        self._end_rows()
        if marker := "".join(paragraph.marker_parts).strip():
            self._items.append(ListItem(text, paragraph.depth, _normalize_marker(marker)))
            return
        self._end_list()
        if paragraph.level:
            self.builder.add_heading(paragraph.level, text)
        else:
            self.builder.add_lines(text.split("\n"))

    def _end_rows(self) -> None:
        self.builder.add_table(self._rows)
        self._rows = []

    def _end_list(self) -> None:
        self.builder.add_list(self._items)
        self._items = []


def _normalize_marker(text: str) -> str:
    match = _LIST_MARKER.fullmatch(text)
    return f"{match[2]}." if match and match[2] else "-"


def _join_surrogates(parts: list[str]) -> str:
    """Text with its surrogate pairs, which RTF writes as two characters, put together."""
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
