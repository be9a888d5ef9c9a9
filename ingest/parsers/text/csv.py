"""Comma-, semicolon- or tab-separated values: one table, its first row the header."""

import csv
import io

from ingest.parsers.builder import TextBuilder
from ingest.parsers.encoding import decode_text
from ingest.parsers.types import ParsedDocument

_DELIMITERS = ",;\t|"
_SAMPLE_CHARACTERS = 8192


def parse(data: bytes) -> ParsedDocument:
    """Parse a CSV or TSV file in any encoding and with any delimiter."""
    text = decode_text(data)
    delimiter = _detect_delimiter(text[:_SAMPLE_CHARACTERS])
    builder = TextBuilder()
    builder.add_table(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter), first_row=1)
    return builder.build()


def _detect_delimiter(sample: str) -> str:
    """Return the delimiter that cuts most lines into the same number of cells, above one."""
    lines = [line for line in sample.splitlines() if line.strip()][:20]

    def rate_delimiter(delimiter: str) -> tuple[float, int]:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        usual = max(set(widths), key=widths.count, default=1)
        return (widths.count(usual) / len(widths) if usual > 1 else 0.0, usual)

    return max(_DELIMITERS, key=rate_delimiter)
