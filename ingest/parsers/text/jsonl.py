"""JSON Lines: one record per line."""

import json
from collections.abc import Mapping

from ingest.parsers.builder import TextBuilder
from ingest.parsers.encoding import decode_text
from ingest.parsers.text.json import FIRST_HEADING_LEVEL, write_records, write_value
from ingest.parsers.types import ParsedDocument


def parse(data: bytes) -> ParsedDocument:
    """Parse JSON Lines; blank lines are skipped."""
    records = [json.loads(line) for line in decode_text(data).split("\n") if line.strip()]
    builder = TextBuilder()
    if all(isinstance(record, Mapping) for record in records):
        write_records(records, builder, FIRST_HEADING_LEVEL)
    else:
        for record in records:
            write_value(record, builder, FIRST_HEADING_LEVEL)
    return builder.build()
