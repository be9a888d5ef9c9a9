"""Detector of private keys in PEM blocks. The other forms of secrets are in patterns.yaml."""

import re
from collections.abc import Iterator

from core.redaction.detector import DetectedEntity
from core.types import Span

_KEY_BEGIN = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")


def find_private_keys(text: str) -> Iterator[DetectedEntity]:
    """Yield blocks from BEGIN to END, or to the end of the text if it was cut off."""
    begin = _KEY_BEGIN.search(text)
    while begin:
        end = _KEY_END.search(text, begin.end())
        span = Span(begin.start(), end.end() if end else len(text))
        yield DetectedEntity("SECRET", span, 0.95)
        begin = _KEY_BEGIN.search(text, span.end)
