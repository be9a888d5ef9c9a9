"""What a detector reports, and how one is made from an expression."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from core.types import Span

EntityKind = Literal[
    "SECRET",
    "CARD",
    "IBAN",
    "NATIONAL_ID",
    "DRIVER_LICENSE",
    "EMAIL",
    "PHONE",
    "IP",
    "MAC",
    "URL",
    "BIRTH_DATE",
    "DATE",
    "AGE",
    "POSTAL_CODE",
    "ADDRESS",
    "PERSON",
]


@dataclass(frozen=True, slots=True)
class DetectedEntity:
    """A piece of text that should not be passed on.

    `confidence`: 1 for what stands where only a secret can, 0.95 where a check digit or a vendor's prefix says so, 0.8
    for a form of its own, 0.6 for one that only its surroundings make clear, and for light rules.
    """

    kind: EntityKind
    span: Span
    confidence: float


Detector = Callable[[str], Iterator[DetectedEntity]]


def build_pattern_detector(
    kind: EntityKind,
    pattern: str,
    confidence: float,
    check: Callable[[str], bool] | None = None,
    flags: int = 0,
) -> Detector:
    """A detector of what an expression finds: its group `value`, or all of it; `check` may still reject that.

    The expressions take time in proportion to the text: every repetition has a bound, and none can match the same
    characters in two ways (tests/test_redaction.py feeds them bait).
    """
    compiled = re.compile(pattern, flags)
    group = "value" if "value" in compiled.groupindex else 0

    def detect(text: str) -> Iterator[DetectedEntity]:
        for match in compiled.finditer(text):
            if check is None or check(match[group]):
                yield DetectedEntity(kind, Span(*match.span(group)), confidence)

    return detect
