"""JSON Lines: a record a line."""

import json
from collections.abc import Mapping

from ingest.parsers import Parsed
from ingest.parsers.builder import TextBuilder
from ingest.parsers.encoding import read
from ingest.parsers.text.json import SECTION, write_records, write_value


def parse(data: bytes) -> Parsed:
    """Read JSON Lines; blank lines are passed over."""
    records = [json.loads(line) for line in read(data).split("\n") if line.strip()]
    builder = TextBuilder()
    if all(isinstance(record, Mapping) for record in records):
        write_records(records, builder, SECTION)
    else:
        for record in records:
            write_value(record, builder, SECTION)
    return builder.build()
