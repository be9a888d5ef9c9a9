"""Rich Text Format: its text, headings, lists and tables, without pictures and styles."""

import re
from dataclasses import dataclass, field, replace

from core.errors import UnreadableFile
from ingest.parsers.builder import ListItem, TextBuilder
from ingest.parsers.types import ParsedDocument

_RTF_TOKEN = re.compile(
    r"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?|\\'(?P<hex>[0-9a-fA-F]{2})"
    r"|\\(?P<symbol>[^a-zA-Z])|(?P<open>\{)|(?P<close>\})|(?P<break>[\r\n]+)"
    r"|(?P<text>[^\\{}\r\n]+)"
)
_SKIPPED_DESTINATIONS = frozenset(
    """
    fonttbl colortbl stylesheet pict header headerl headerr headerf footer footerl footerr
    footerf listtable listoverridetable rsidtbl generator themedata colorschememapping datastore
    latentstyles xmlnstbl object objdata fldinst bkmkstart bkmkend annotation atnid atnauthor
    deleted revtbl filetbl pgdsctbl nonshppict
    """.split()
)
_READ_STARRED_DESTINATIONS = ("shppict", "shpinst", "shptxt")
_CHARACTER_BY_WORD = (
    dict.fromkeys(("tab", "emspace", "enspace", "qmspace"), " ")
    | dict.fromkeys(("line", "softline"), "\n")
    | {"emdash": "—", "endash": "–", "bullet": "•"}
    | {"lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”"}
)
_CHARACTER_BY_SYMBOL = {"~": "\u00a0", "_": "-", "\\": "\\", "{": "{", "}": "}"}
_LIST_MARKER = re.compile(r"(?:([^\w\s])|\(?(\w{1,4})[.)])\s*")


@dataclass(frozen=True, slots=True)
class _GroupState:
    """State that ends with the closing brace of a group."""

    destination: str = "text"  # also "marker", "info", "title"; "" for text that is skipped
    unicode_skip: int = 1  # characters after \\u for readers without Unicode
    is_hidden: bool = False


@dataclass(slots=True)
class _ParagraphState:
    text_parts: list[str] = field(default_factory=list)
    marker_parts: list[str] = field(default_factory=list)
    level: int = 0
    depth: int = 0
    is_in_table: bool = False


def parse(data: bytes) -> ParsedDocument:
    """Parse an .rtf file."""
    if not data.lstrip().startswith(b"{\\rtf"):
        why = "The file is not RTF, although its name says so. Save it again as .rtf or .docx."
        raise UnreadableFile("not-a-document", why)
    reader = _RtfReader()
    reader.read(data.decode("latin-1"))
    return reader.builder.build("".join(reader.title_parts))


class _RtfReader:
    def __init__(self) -> None:
        self.builder = TextBuilder()
        self.title_parts: list[str] = []
        self._group = _GroupState()
        self._codepage = "cp1252"
        self._bytes = bytearray()  # of characters that are not complete yet
        self._skip_count = 0
        self._paragraph = _ParagraphState()
        self._items: list[ListItem] = []
        self._row: list[str] = []
        self._rows: list[list[str]] = []

    def read(self, source: str) -> None:
        outer_groups: list[_GroupState] = []
        is_starred = False
        for token in _RTF_TOKEN.finditer(source):
            if token["open"]:
                outer_groups.append(self._group)
            elif token["close"]:
                self._flush_bytes()
                self._group = outer_groups.pop() if outer_groups else self._group
            else:
                self._read_token(token, is_starred)
            is_starred = token["symbol"] == "*"
        self._end_paragraph()
        self._end_rows()
        self._end_list()

    def _read_token(self, token: re.Match[str], is_starred: bool) -> None:
        if token["word"]:
            value = int(token["number"]) if token["number"] else None
            self._read_control_word(token["word"], value, is_starred)
        elif token["hex"]:
            self._add_byte(int(token["hex"], 16))
        elif token["symbol"] and token["symbol"] != "*":
            self._write_text(_CHARACTER_BY_SYMBOL.get(token["symbol"], ""))
        elif token["text"]:
            self._write_text(token["text"])

    def _read_control_word(self, word: str, value: int | None, is_starred: bool) -> None:
        self._flush_bytes()
        destination = _find_destination(word, is_starred, self._group.destination)
        if destination is not None:
            self._group = replace(self._group, destination=destination)
        elif word == "u" and value is not None:
            self._write_text(chr(value % 65536))
            self._skip_count = self._group.unicode_skip
        elif word == "uc":
            self._group = replace(self._group, unicode_skip=value or 0)
        elif word == "v":
            self._group = replace(self._group, is_hidden=value != 0)
        elif word == "ansicpg" and value:
            self._codepage = f"cp{value}"
        elif word in _CHARACTER_BY_WORD:
            self._write_text(_CHARACTER_BY_WORD[word])
        elif self._group.destination:
            self._read_structure_word(word, value)

    def _read_structure_word(self, word: str, value: int | None) -> None:
        if word in ("par", "sect", "page"):
            self._end_paragraph()
        elif word == "pard":
            paragraph = self._paragraph
            self._paragraph = _ParagraphState(paragraph.text_parts, paragraph.marker_parts)
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

    def _flush_bytes(self) -> None:
        """Decode the bytes so far: one character can consist of several escapes."""
        if not self._bytes:
            return
        try:
            text = self._bytes.decode(self._codepage, "replace")
        except LookupError:
            text = self._bytes.decode("cp1252", "replace")
        self._bytes.clear()
        self._append_text(text)

    def _write_text(self, text: str) -> None:
        self._flush_bytes()
        skipped = min(self._skip_count, len(text))
        self._skip_count -= skipped
        self._append_text(text[skipped:])

    def _append_text(self, text: str) -> None:
        destination = self._group.destination
        if destination == "text" and not self._group.is_hidden:
            self._paragraph.text_parts.append(text)
        elif destination == "marker":
            self._paragraph.marker_parts.append(text)
        elif destination == "title":
            self.title_parts.append(text)

    def _end_paragraph(self) -> None:
        self._flush_bytes()
        paragraph = self._paragraph
        if paragraph.is_in_table:
            paragraph.text_parts.append(" ")  # Several paragraphs of one cell.
            return
        self._paragraph = _ParagraphState(level=paragraph.level, depth=paragraph.depth)
        text = _join_surrogates(paragraph.text_parts)
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


def _find_destination(word: str, is_starred: bool, current: str) -> str | None:
    """Return the destination that a control word sets; None if it sets none."""
    if word == "info":
        return "info"
    if word in _SKIPPED_DESTINATIONS or (is_starred and word not in _READ_STARRED_DESTINATIONS):
        return ""
    if word == "title" and current == "info":
        return "title"
    return "marker" if word in ("pntext", "listtext") else None


def _normalize_marker(text: str) -> str:
    match = _LIST_MARKER.fullmatch(text)
    return f"{match[2]}." if match and match[2] else "-"


def _join_surrogates(parts: list[str]) -> str:
    """Join text whose characters RTF can write as two surrogates."""
    return "".join(parts).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
