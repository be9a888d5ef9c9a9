"""Blocks of a PDF: groups printed lines into headings, paragraphs, list items and table rows."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from ingest.parsers.builder import ListItem, TextBuilder, to_single_line
from ingest.parsers.pdf.lines import TextLine

_SENTENCE_END = re.compile(r"""[.!?:;…。！？]["'”’)\]»]*$""")
_LIST_MARKER = re.compile(r"(?:([•●○▪■◦‣·∙*–-])|(\(?(?:\d{1,2}|[a-z])[.)]))\s+(?=\S)")
_HEADING_NUMBER = re.compile(
    r"^(?:chapter|section|part)?\s*(?:\d+|[IVX]+)?(?:\.\d+)*[.:]?\s+", re.IGNORECASE
)
_HEADING_END = re.compile(r"[.,;!]$")  # A heading does not end like this.
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_LETTERS = re.compile(r"[^\W\d_]{2}")
_MAX_HEADING_CHARACTERS = 120
_MAX_HEADING_LINES = 3
_MIN_HEADING_SIZE_RATIO = 1.15  # font size, relative to the body's
_MAX_SIZE_CHANGE = 0.1  # of the font within a block
# A line of less than this share of a full line ended because its paragraph did.
_SHORT_LINE_RATIO = 0.75
_FULL_LINE_QUANTILE = 0.8
# Distance of two baselines, relative to the usual one: within a block, and within a sentence.
_MAX_BLOCK_GAP = 1.35
_MAX_SENTENCE_GAP = 2.2
_DEFAULT_LEADING_RATIO = 1.5  # usual distance of baselines, relative to the font's size


class PageLine(NamedTuple):
    """A printed line and the number of its page."""

    page: int
    line: TextLine


def to_outline_key(text: str) -> str:
    """Return a bookmark's or heading's text without case and number, to compare the two."""
    line = to_single_line(text).casefold()
    return _HEADING_NUMBER.sub("", line) or line


class PdfWriter:
    """Writes the lines of a document as blocks.

    `outline` has the heading level of each bookmark, by page and `to_outline_key` of its title.
    """

    def __init__(
        self,
        builder: TextBuilder,
        page_lines: Sequence[PageLine],
        outline: Mapping[tuple[int, str], int],
    ):
        self._builder = builder
        self._page_lines = page_lines
        self._outline = outline
        self._has_bookmarks = any(map(self._is_bookmark, page_lines))
        lines = [line for _, line in page_lines]
        self._word_counts = _count_words(lines)
        self._body_size = _find_body_size(lines)
        self._leading_by_size = _measure_leading(lines, self._body_size)
        min_heading_size = _MIN_HEADING_SIZE_RATIO * self._body_size
        larger = sorted({line.size for line in lines if line.size > min_heading_size}, reverse=True)
        self._level_by_size = {size: min(level, 4) for level, size in enumerate(larger, 1)}

    def write(self) -> None:
        """Write all blocks to the builder."""
        for group in self._group_lines():
            page, first = group[0]
            lines = [line for _, line in group]
            self._builder.start_page(page)
            if level := self._heading_level(page, lines):
                self._builder.add_heading(level, self._join_lines(lines))
            elif first.cell_count > 1:
                self._builder.add_table([line.text.split(" | ") for line in lines])
            elif _LIST_MARKER.match(first.text):
                self._builder.add_list(self._split_items(lines))
            else:
                self._builder.add_paragraph(self._join_lines(lines))

    def _group_lines(self) -> Iterator[list[PageLine]]:
        group: list[PageLine] = []
        full_lengths = _measure_full_lines(self._page_lines)
        for entry in self._page_lines:
            if group and not self._continues_block(group, entry, full_lengths[group[-1].page]):
                yield group
                group = []
            group.append(entry)
        if group:
            yield group

    def _continues_block(
        self, group: Sequence[PageLine], entry: PageLine, full_length: float
    ) -> bool:
        """Return True if a line belongs to the block of the lines in `group`.

        `full_length` is the usual length of a full line on the page, in characters.
        """
        first, above, line = group[0].line, group[-1].line, entry.line
        is_same_page = group[-1].page == entry.page
        gap = above.y - line.y
        if above.cell_count > 1 or line.cell_count > 1:
            return min(above.cell_count, line.cell_count) > 1 and is_same_page and gap > 0
        if self._has_other_role(group[-1], entry):
            return False
        is_list = _LIST_MARKER.match(first.text) is not None
        if _LIST_MARKER.match(line.text):
            return is_list and is_same_page
        is_sentence = self._continues_sentence(above, line)
        if not is_same_page or gap <= 0:  # The next page or column.
            return is_sentence
        if self._changes_to_or_from_heading(above, line):
            return False
        leading = self._leading_by_size.get(above.size, _DEFAULT_LEADING_RATIO * above.size)
        if gap > _MAX_BLOCK_GAP * leading:
            return is_sentence and gap < _MAX_SENTENCE_GAP * leading
        if is_list:
            return line.x > first.x or is_sentence
        if len(above.text) < _SHORT_LINE_RATIO * full_length:
            return is_sentence
        return not _begins_indented_paragraph(first, above, line)

    def _has_other_role(self, above: PageLine, entry: PageLine) -> bool:
        """Return True if one of two lines is a bookmark's heading, or their sizes differ."""
        if self._is_bookmark(entry) or self._is_bookmark(above):
            return True
        size = above.line.size
        return abs(size - entry.line.size) > _MAX_SIZE_CHANGE * size

    def _continues_sentence(self, above: TextLine, line: TextLine) -> bool:
        is_open = not _SENTENCE_END.search(above.text) and line.text[:1].islower()
        return is_open and not self._looks_like_heading(above)

    def _changes_to_or_from_heading(self, above: TextLine, line: TextLine) -> bool:
        if above.is_bold == line.is_bold:
            return False
        return self._looks_like_heading(above) or self._looks_like_heading(line)

    def _is_bookmark(self, entry: PageLine) -> bool:
        return (entry.page, to_outline_key(entry.line.text)) in self._outline

    def _looks_like_heading(self, line: TextLine) -> bool:
        """Return True for a short line that is larger than the body, or bold."""
        is_bold = line.is_bold and line.size >= self._body_size
        if not is_bold and line.size not in self._level_by_size:
            return False
        return len(line.text) <= _MAX_HEADING_CHARACTERS and not _HEADING_END.search(line.text)

    def _heading_level(self, page: int, lines: Sequence[TextLine]) -> int:
        """Return the level of a block that is a heading, else 0."""
        if self._has_bookmarks:
            return self._outline.get((page, to_outline_key(self._join_lines(lines))), 0)
        text = " ".join(line.text for line in lines)
        is_heading = (
            len(lines) <= _MAX_HEADING_LINES
            and len(text) <= _MAX_HEADING_CHARACTERS
            and _LETTERS.search(text) is not None
            and all(line.cell_count == 1 and self._looks_like_heading(line) for line in lines)
            and not text.endswith(":")
        )
        if not is_heading:
            return 0
        return self._level_by_size.get(lines[0].size, min(len(self._level_by_size) + 1, 5))

    def _split_items(self, lines: Sequence[TextLine]) -> Iterator[ListItem]:
        group: list[TextLine] = []
        for line in lines:
            if group and _LIST_MARKER.match(line.text):
                yield self._to_list_item(group)
                group = []
            group.append(line)
        yield self._to_list_item(group)

    def _to_list_item(self, lines: Sequence[TextLine]) -> ListItem:
        text = self._join_lines(lines)
        match = _LIST_MARKER.match(text)
        assert match is not None
        return ListItem(text[match.end() :], marker="-" if match[1] else match[2])

    def _join_lines(self, lines: Sequence[TextLine]) -> str:
        text = lines[0].text
        for line in lines[1:]:
            text = self._append_line(text, line.text)
        return text

    def _append_line(self, text: str, line: str) -> str:
        """Join two lines.

        A hyphen at the break is removed, unless the document writes the word with it elsewhere.
        """
        if not (text.endswith("-") and text[-2:-1].isalpha() and line[:1].islower()):
            return f"{text} {line}"
        left, right = _WORD.findall(text[:-1])[-1].casefold(), _WORD.findall(line)[0].casefold()
        keeps_hyphen = self._word_counts[f"{left}-{right}"] > self._word_counts[left + right]
        return text + line if keeps_hyphen else text[:-1] + line


def _begins_indented_paragraph(first: TextLine, above: TextLine, line: TextLine) -> bool:
    is_indented = line.x > above.x + 0.5 * line.size and above.x <= first.x
    return is_indented and _SENTENCE_END.search(above.text) is not None


def _count_words(lines: Sequence[TextLine]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for line in lines:
        counts.update(word.casefold() for word in _WORD.findall(line.text))
    return counts


def _find_body_size(lines: Sequence[TextLine]) -> float:
    """Return the font size of most characters."""
    sizes: Counter[float] = Counter()
    for line in lines:
        sizes[line.size] += len(line.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _measure_leading(lines: Sequence[TextLine], body_size: float) -> Mapping[float, float]:
    """Return the usual distance of two baselines in a paragraph, by font size."""
    gaps: dict[float, list[float]] = {}
    for above, line in pairwise(lines):
        if above.size == line.size and 0.9 * line.size < above.y - line.y < 2.5 * line.size:
            gaps.setdefault(line.size, []).append(above.y - line.y)
    usual = {size: median(values) for size, values in gaps.items()}
    return {size: usual[size] for size in gaps if size == body_size or len(gaps[size]) >= 5}


def _measure_full_lines(page_lines: Sequence[PageLine]) -> Mapping[int, float]:
    """Return the usual length of a full line in characters, by page."""
    lengths: dict[int, list[int]] = {}
    for page, line in page_lines:
        lengths.setdefault(page, []).append(len(line.text))
    return {
        page: sorted(values)[int(_FULL_LINE_QUANTILE * (len(values) - 1))]
        for page, values in lengths.items()
    }
