"""Rich Text Format: its text, headings, lists and tables; pictures and styles are passed over."""

import re
from dataclasses import dataclass, field, replace

from core.errors import Unreadable
from ingest.parsers import Parsed
from ingest.parsers.builder import Item, TextBuilder

_TOKEN = re.compile(
    r"\\(?P<word>[a-zA-Z]{1,32})(?P<number>-?\d{1,10})? ?|\\'(?P<hex>[0-9a-fA-F]{2})|\\(?P<symbol>[^a-zA-Z])"
    r"|(?P<open>\{)|(?P<close>\})|(?P<break>[\r\n]+)|(?P<text>[^\\{}\r\n]+)"
)
_SKIPPED = frozenset(
    """
    fonttbl colortbl stylesheet info pict header headerl headerr headerf footer footerl footerr footerf listtable
    listoverridetable rsidtbl generator themedata colorschememapping datastore latentstyles xmlnstbl object objdata
    fldinst bkmkstart bkmkend annotation atnid atnauthor deleted revtbl filetbl pgdsctbl nonshppict
    """.split()
)
_CHARACTERS = {
    "tab": " ", "line": "\n", "emdash": "—", "endash": "–", "lquote": "‘", "rquote": "’", "ldblquote": "“",
    "rdblquote": "”", "bullet": "•", "emspace": " ", "enspace": " ", "qmspace": " ", "softline": "\n",
}  # fmt: skip
_SYMBOLS = {"~": "\u00a0", "_": "-", "\\": "\\", "{": "{", "}": "}"}
_MARKER = re.compile(r"(?:([^\w\s])|\(?(\w{1,4})[.)])\s*")


@dataclass(frozen=True, slots=True)
class _Group:
    """What a pair of braces keeps to itself."""

    target: str = "text"
    fallback: int = 1
    hidden: bool = False


@dataclass(slots=True)
class _Paragraph:
    words: list[str] = field(default_factory=list)
    marker: list[str] = field(default_factory=list)
    level: int = 0
    depth: int = 0
    in_table: bool = False


def parse(data: bytes) -> Parsed:
    """Read an .rtf file."""
    if not data.lstrip().startswith(b"{\\rtf"):
        raise Unreadable("not-a-document", "The file isn't RTF in spite of its name; save it again as .rtf or .docx.")
    reader = _Reader()
    reader.read(data.decode("latin-1"))
    return reader.builder.build("".join(reader.title))


class _Reader:
    def __init__(self) -> None:
        self.builder = TextBuilder()
        self.title: list[str] = []
        self._codepage = "cp1252"
        self._bytes = bytearray()
        self._skip = 0
        self._paragraph = _Paragraph()
        self._items: list[Item] = []
        self._row: list[str] = []
        self._rows: list[list[str]] = []

    def read(self, source: str) -> None:
        groups = [_Group()]
        starred = False
        for token in _TOKEN.finditer(source):
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
                groups[-1] = self._word(token["word"], token["number"], groups[-1], starred)
            elif token["hex"]:
                self._byte(int(token["hex"], 16))
            elif token["symbol"]:
                self._write(_SYMBOLS.get(token["symbol"], ""), groups[-1])
            elif token["text"]:
                self._write(token["text"], groups[-1])
            starred = False
        self._end_paragraph(groups[-1])
        self._end_rows()
        self._end_list()

    def _word(self, word: str, number: str | None, group: _Group, starred: bool) -> _Group:
        """Carry out a control word; returns the group as it is from here on."""
        value = int(number) if number else None
        if word != "u" or value is None:
            self._flush_bytes(group)
        if word in _SKIPPED or (starred and word not in ("shppict", "shpinst", "shptxt")):
            return replace(group, target="" if word != "info" else "info")
        if word == "title" and group.target == "info":
            return replace(group, target="title")
        if word in ("pntext", "listtext"):
            return replace(group, target="marker")
        if word == "u" and value is not None:
            self._flush_bytes(group)
            self._write(chr(value % 65536), group)
            self._skip = group.fallback
        elif word == "uc":
            return replace(group, fallback=value or 0)
        elif word == "v":
            return replace(group, hidden=value != 0)
        elif word == "ansicpg" and value:
            self._codepage = f"cp{value}"
        elif word in _CHARACTERS:
            self._write(_CHARACTERS[word], group)
        else:
            self._structure(word, value, group)
        return group

    def _structure(self, word: str, value: int | None, group: _Group) -> None:
        if not group.target:
            return
        if word in ("par", "sect", "page"):
            self._end_paragraph(group)
        elif word == "pard":
            words, marker = self._paragraph.words, self._paragraph.marker
            self._paragraph = _Paragraph(words, marker)
        elif word == "outlinelevel":
            self._paragraph.level = (value or 0) + 1
        elif word == "ilvl":
            self._paragraph.depth = value or 0
        elif word == "intbl":
            self._paragraph.in_table = True
        elif word == "cell":
            self._row.append(_joined(self._paragraph.words))
            self._paragraph = _Paragraph(in_table=True)
        elif word == "row":
            self._end_list()
            self._rows.append(self._row)
            self._row = []

    def _byte(self, value: int) -> None:
        if self._skip:
            self._skip -= 1
        else:
            self._bytes.append(value)

    def _flush_bytes(self, group: _Group) -> None:
        """Bytes of one character can come as several escapes: they are decoded when something else comes."""
        if self._bytes:
            try:
                text = self._bytes.decode(self._codepage, "replace")
            except LookupError:
                text = self._bytes.decode("cp1252", "replace")
            self._bytes.clear()
            self._put(text, group)

    def _write(self, text: str, group: _Group) -> None:
        self._flush_bytes(group)
        if self._skip and text:
            skipped = min(self._skip, len(text))
            self._skip -= skipped
            text = text[skipped:]
        self._put(text, group)

    def _put(self, text: str, group: _Group) -> None:
        if group.target == "text" and not group.hidden:
            self._paragraph.words.append(text)
        elif group.target == "marker":
            self._paragraph.marker.append(text)
        elif group.target == "title":
            self.title.append(text)

    def _end_paragraph(self, group: _Group) -> None:
        self._flush_bytes(group)
        paragraph = self._paragraph
        if paragraph.in_table:
            paragraph.words.append(" ")  # Several paragraphs of one cell.
            return
        text = _joined(paragraph.words)
        self._paragraph = _Paragraph(level=paragraph.level, depth=paragraph.depth)
        if not text.strip():
            return
        self._end_rows()
        if marker := "".join(paragraph.marker).strip():
            self._items.append(Item(text, paragraph.depth, _marker(marker)))
            return
        self._end_list()
        if paragraph.level:
            self.builder.heading(paragraph.level, text)
        else:
            self.builder.lines(text.split("\n"))

    def _end_rows(self) -> None:
        self.builder.table(self._rows)
        self._rows = []

    def _end_list(self) -> None:
        self.builder.list(self._items)
        self._items = []


def _marker(text: str) -> str:
    match = _MARKER.fullmatch(text)
    return f"{match[2]}." if match and match[2] else "-"


def _joined(words: list[str]) -> str:
    """Text with its surrogate pairs, which RTF writes as two characters, put together."""
    return "".join(words).encode("utf-16", "surrogatepass").decode("utf-16", "replace")
