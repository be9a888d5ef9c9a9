"""Secrets and personal data, found by their form and taken out. What has no form (a name, most addresses) is only found
by light rules, and is not promised: docs/reference/privacy.md says which kinds are.

    redact("Call 541-714-1388").text            -> "Call [PHONE]"
    names = Pseudonyms(); names.hide(question)  -> "Call <PHONE_1>", and names.restore(answer) puts it back
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import get_args

from core.redaction import contacts, identifiers, keys
from core.redaction.detector import DetectedEntity, EntityKind
from core.types import Span

__all__ = [
    "ALL_KINDS",
    "ERROR_REDACTED_KINDS",
    "SENSITIVE_KINDS",
    "DetectedEntity",
    "EntityKind",
    "Pseudonyms",
    "RedactedText",
    "find_entities",
    "redact",
]

ALL_KINDS: frozenset[EntityKind] = frozenset(get_args(EntityKind))
# What is taken out of prompts and answers where the policy says so. Dates, places, names and links are what
# documents are asked for; without them answers would say nothing.
SENSITIVE_KINDS: frozenset[EntityKind] = frozenset(
    (
        "SECRET",
        "CARD",
        "IBAN",
        "NATIONAL_ID",
        "DRIVER_LICENSE",
        "EMAIL",
        "PHONE",
        "IP",
        "MAC",
        "BIRTH_DATE",
    )
)
# What an error does not repeat to whoever sent it; it may name the address of a server.
ERROR_REDACTED_KINDS = SENSITIVE_KINDS - {"IP", "MAC"}
DETECTORS = (*keys.DETECTORS, *identifiers.DETECTORS, *contacts.DETECTORS)
MIN_CONFIDENCE = 0.5  # confidence from which something is taken out


@dataclass(frozen=True, slots=True)
class RedactedText:
    """A text without what was found in it; `found` has its places in the text as it was."""

    text: str
    entities: tuple[DetectedEntity, ...]


def find_entities(
    text: str, kinds: Iterable[EntityKind] = ALL_KINDS, min_confidence: float = MIN_CONFIDENCE
) -> list[DetectedEntity]:
    """What stands in a text, in order and without overlaps: of two that overlap the more certain, then the longer."""
    wanted = frozenset(kinds)
    found = [
        one for detect in DETECTORS for one in detect(text) if one.confidence >= min_confidence
    ]
    found.sort(key=lambda one: (-one.confidence, one.span.start - one.span.end))
    taken, kept = bytearray(len(text)), list[DetectedEntity]()
    for one in found:
        start, end = one.span
        if end > start and not any(taken[start:end]):
            taken[start:end] = b"\1" * (end - start)
            kept.append(one)
    return sorted((one for one in kept if one.kind in wanted), key=lambda one: one.span)


def redact(
    text: str, kinds: Iterable[EntityKind] = ALL_KINDS, min_confidence: float = MIN_CONFIDENCE
) -> RedactedText:
    """A text with `[KIND]` in place of each find."""
    found = tuple(find_entities(text, kinds, min_confidence))
    return RedactedText(_replace_spans(text, ((one.span, f"[{one.kind}]") for one in found)), found)


@dataclass(slots=True)
class Pseudonyms:
    """Names such as <EMAIL_1> for what was found, the same for the same value as long as this lives: one request.

    A model that reads them can still tell one address from another, and write them where it means them.
    """

    kinds: frozenset[EntityKind] = SENSITIVE_KINDS
    _pseudonyms: dict[tuple[EntityKind, str], str] = field(default_factory=dict)
    _counts: dict[EntityKind, int] = field(default_factory=dict)

    def hide(self, text: str) -> str:
        """The text with a name in place of each find."""
        return _replace_spans(
            text,
            (
                (one.span, self._pseudonym_for(one.kind, text[slice(*one.span)]))
                for one in find_entities(text, self.kinds)
            ),
        )

    def restore(self, text: str) -> str:
        """The text with the values back in place of their names."""
        for (_, value), name in self._pseudonyms.items():
            text = text.replace(name, value)
        return text

    def _pseudonym_for(self, kind: EntityKind, value: str) -> str:
        if (kind, value) not in self._pseudonyms:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._pseudonyms[kind, value] = f"<{kind}_{self._counts[kind]}>"
        return self._pseudonyms[kind, value]


def _replace_spans(text: str, replacements: Iterable[tuple[Span, str]]) -> str:
    """The text with something else in place of spans, which are in order."""
    parts: list[str] = []
    at = 0
    for span, instead in replacements:
        parts += (text[at : span.start], instead)
        at = span.end
    return "".join((*parts, text[at:]))
