"""Protocol of detectors, and what they report.

To add a detector, write a function or a class with this protocol in a new file and add it to
DETECTORS in core/redaction/__init__.py. A detector on top of Presidio is an example.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

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
    """A secret or personal data in a text.

    `confidence` is 1 where only a secret can be, 0.95 with a check digit or a vendor's
    prefix, 0.8 for a distinctive form, and 0.6 for light rules and for forms that only the words
    around them explain. Of two entities that overlap, the one with more confidence is kept.
    """

    kind: EntityKind
    span: Span
    confidence: float


class Detector(Protocol):
    """Finds entities in a text. Must be safe for threads, and linear in the length of the text."""

    def __call__(self, text: str) -> Iterator[DetectedEntity]:
        """Yield the entities in any order; they may overlap."""
