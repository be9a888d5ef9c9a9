"""Redaction: secrets and personal data are found by their form and replaced.

    redact("Call 541-714-1388").text            -> "Call [PHONE]"
    pseudonyms = Pseudonyms()
    pseudonyms.hide(question)                   -> "Call <PHONE_1>"
    pseudonyms.restore(answer)                  puts the value back

Names and most addresses have no fixed form: light rules find only some of them.
docs/reference/privacy.md lists the kinds.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import get_args

from core.redaction.contacts import find_ip_addresses, find_phone_numbers, find_urls
from core.redaction.detector import DetectedEntity, Detector, EntityKind
from core.redaction.identifiers import find_cards, find_ibans
from core.redaction.keys import find_private_keys
from core.redaction.patterns import load_pattern_detectors
from core.types import Span

__all__ = [
    "ALL_KINDS",
    "DETECTORS",
    "ERROR_REDACTED_KINDS",
    "SENSITIVE_KINDS",
    "DetectedEntity",
    "EntityKind",
    "Pseudonyms",
    "RedactedText",
    "find_entities",
    "redact",
]

DETECTORS: tuple[Detector, ...] = (
    find_private_keys,
    *load_pattern_detectors("keys"),
    find_cards,
    find_ibans,
    *load_pattern_detectors("identifiers"),
    find_urls,
    find_ip_addresses,
    find_phone_numbers,
    *load_pattern_detectors("contacts"),
)
ALL_KINDS: frozenset[EntityKind] = frozenset(get_args(EntityKind))
# Removed from prompts and answers if the settings say so. The other kinds stay, because people ask
# for them: dates, places, names and links.
SENSITIVE_KINDS = ALL_KINDS - {"URL", "DATE", "AGE", "POSTAL_CODE", "ADDRESS", "PERSON"}
# Removed from errors. An error may name the address of a server.
ERROR_REDACTED_KINDS = SENSITIVE_KINDS - {"IP", "MAC"}
MIN_CONFIDENCE = 0.5


@dataclass(frozen=True, slots=True)
class RedactedText:
    """A text without the entities that were found in it; their spans refer to the original."""

    text: str
    entities: tuple[DetectedEntity, ...]


def redact(
    text: str, kinds: Iterable[EntityKind] = ALL_KINDS, min_confidence: float = MIN_CONFIDENCE
) -> RedactedText:
    """Replace each entity of a text by `[KIND]`."""
    entities = tuple(find_entities(text, kinds, min_confidence))
    labels = ((entity.span, f"[{entity.kind}]") for entity in entities)
    return RedactedText(_replace_spans(text, labels), entities)


def find_entities(
    text: str, kinds: Iterable[EntityKind] = ALL_KINDS, min_confidence: float = MIN_CONFIDENCE
) -> list[DetectedEntity]:
    """Return the entities of a text in order, without overlaps.

    Of two that overlap, the one with more confidence is kept, then the longer one.
    """
    candidates: list[DetectedEntity] = []
    for detect in DETECTORS:
        candidates.extend(entity for entity in detect(text) if entity.confidence >= min_confidence)
    candidates.sort(key=lambda entity: (-entity.confidence, entity.span.start - entity.span.end))
    taken, entities = bytearray(len(text)), list[DetectedEntity]()
    for entity in candidates:
        start, end = entity.span
        if end > start and not any(taken[start:end]):
            taken[start:end] = b"\1" * (end - start)
            entities.append(entity)
    wanted = frozenset(kinds)
    return sorted((entity for entity in entities if entity.kind in wanted), key=lambda e: e.span)


@dataclass(slots=True)
class Pseudonyms:
    """Pseudonyms such as <EMAIL_1>; equal values have the same one within this object's life.

    A model that reads them can still tell one address from another, and write it where it belongs.
    """

    kinds: frozenset[EntityKind] = SENSITIVE_KINDS
    _pseudonyms: dict[tuple[EntityKind, str], str] = field(default_factory=dict)
    _counts: dict[EntityKind, int] = field(default_factory=dict)

    def hide(self, text: str) -> str:
        """Replace each entity of a text by its pseudonym."""
        entities = find_entities(text, self.kinds)
        pseudonyms = (
            (entity.span, self._pseudonym_for(entity.kind, text[slice(*entity.span)]))
            for entity in entities
        )
        return _replace_spans(text, pseudonyms)

    def restore(self, text: str) -> str:
        """Replace each pseudonym of a text by its value."""
        for (_, value), pseudonym in self._pseudonyms.items():
            text = text.replace(pseudonym, value)
        return text

    def _pseudonym_for(self, kind: EntityKind, value: str) -> str:
        if (kind, value) not in self._pseudonyms:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._pseudonyms[kind, value] = f"<{kind}_{self._counts[kind]}>"
        return self._pseudonyms[kind, value]


def _replace_spans(text: str, replacements: Iterable[tuple[Span, str]]) -> str:
    """Replace spans, which are in order, by other texts."""
    parts: list[str] = []
    position = 0
    for span, replacement in replacements:
        parts += (text[position : span.start], replacement)
        position = span.end
    return "".join((*parts, text[position:]))
