"""Secrets and personal data, found by their form and taken out. What has no form (a name, most addresses) is only found
by light rules, and is not promised: docs/privacy.md says which kinds are.

    redact("Call 541-714-1388").text            -> "Call [PHONE]"
    names = Pseudonyms(); names.hide(question)  -> "Call <PHONE_1>", and names.restore(answer) puts it back
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import get_args

from core.redaction import contacts, keys, numbers
from core.redaction.found import Found, Kind
from core.types import Span

__all__ = ["ALL", "ECHOED", "SENSITIVE", "Found", "Kind", "Pseudonyms", "Redacted", "find", "redact"]

ALL: frozenset[Kind] = frozenset(get_args(Kind))
# What is taken out of prompts and answers where the policy says so. Dates, places, names and links are what
# documents are asked for; without them answers would say nothing.
SENSITIVE: frozenset[Kind] = frozenset(
    ("SECRET", "CARD", "IBAN", "NATIONAL_ID", "DRIVER_LICENSE", "EMAIL", "PHONE", "IP", "MAC", "BIRTH_DATE")
)
# What an error does not repeat to whoever sent it; it may name the address of a server.
ECHOED = SENSITIVE - {"IP", "MAC"}
DETECTORS = (*keys.DETECTORS, *numbers.DETECTORS, *contacts.DETECTORS)
CERTAIN = 0.5  # confidence from which something is taken out


@dataclass(frozen=True, slots=True)
class Redacted:
    """A text without what was found in it; `found` has its places in the text as it was."""

    text: str
    found: tuple[Found, ...]


def find(text: str, kinds: Iterable[Kind] = ALL, at_least: float = CERTAIN) -> list[Found]:
    """What stands in a text, in order and without overlaps: of two that overlap the more certain, then the longer."""
    wanted = frozenset(kinds)
    found = [one for detect in DETECTORS for one in detect(text) if one.confidence >= at_least]
    found.sort(key=lambda one: (-one.confidence, one.span.start - one.span.end))
    taken, kept = bytearray(len(text)), list[Found]()
    for one in found:
        start, end = one.span
        if end > start and not any(taken[start:end]):
            taken[start:end] = b"\1" * (end - start)
            kept.append(one)
    return sorted((one for one in kept if one.kind in wanted), key=lambda one: one.span)


def redact(text: str, kinds: Iterable[Kind] = ALL, at_least: float = CERTAIN) -> Redacted:
    """A text with `[KIND]` in place of each find."""
    found = tuple(find(text, kinds, at_least))
    return Redacted(_replaced(text, ((one.span, f"[{one.kind}]") for one in found)), found)


@dataclass(slots=True)
class Pseudonyms:
    """Names such as <EMAIL_1> for what was found, the same for the same value as long as this lives: one request.

    A model that reads them can still tell one address from another, and write them where it means them.
    """

    kinds: frozenset[Kind] = SENSITIVE
    _names: dict[tuple[Kind, str], str] = field(default_factory=dict)
    _counts: dict[Kind, int] = field(default_factory=dict)

    def hide(self, text: str) -> str:
        """The text with a name in place of each find."""
        return _replaced(
            text, ((one.span, self._name(one.kind, text[slice(*one.span)])) for one in find(text, self.kinds))
        )

    def restore(self, text: str) -> str:
        """The text with the values back in place of their names."""
        for (_, value), name in self._names.items():
            text = text.replace(name, value)
        return text

    def _name(self, kind: Kind, value: str) -> str:
        if (kind, value) not in self._names:
            self._counts[kind] = self._counts.get(kind, 0) + 1
            self._names[kind, value] = f"<{kind}_{self._counts[kind]}>"
        return self._names[kind, value]


def _replaced(text: str, pieces: Iterable[tuple[Span, str]]) -> str:
    """The text with something else in place of spans, which are in order."""
    parts: list[str] = []
    at = 0
    for span, instead in pieces:
        parts += (text[at : span.start], instead)
        at = span.end
    return "".join((*parts, text[at:]))
