"""Detectors of patterns.yaml: one regular expression each, some with a check of what it finds."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.redaction import checksums
from core.redaction.detector import DetectedEntity, EntityKind
from core.text.lexicon import load_lexicon, read_lexicon
from core.types import Span

MIN_KEY_ENTROPY_BITS = 3.0  # per character; a word with a digit has less


@dataclass(frozen=True, slots=True)
class PatternDetector:
    """Detector of one expression. The entity is its group `value`, else the whole match."""

    kind: EntityKind
    confidence: float
    pattern: re.Pattern[str]
    check: Callable[[str], bool] | None = None

    def __call__(self, text: str) -> Iterator[DetectedEntity]:
        """Yield what the expression finds and the check accepts."""
        group = "value" if "value" in self.pattern.groupindex else 0
        for match in self.pattern.finditer(text):
            if self.check is None or self.check(match[group]):
                yield DetectedEntity(self.kind, Span(*match.span(group)), self.confidence)


_LEXICON = read_lexicon(Path(__file__).with_suffix(".yaml")).extended_by(load_lexicon("redaction"))


def load_pattern_detectors(section: str) -> tuple[PatternDetector, ...]:
    """Return the detectors of a section of patterns.yaml."""
    return tuple(map(_build_detector, _LEXICON[section]))


def _build_detector(entry: dict[str, Any]) -> PatternDetector:
    source = _LEXICON.expand(entry["pattern"])
    if keyword := entry.get("keyword"):
        words = rf"(?<![A-Za-z])(?:{_LEXICON.expand(keyword)})(?![A-Za-z])"
        source = rf"{words}[^\n\d]{{0,40}}?(?<![\w.-])(?P<value>{source})(?![\w-]|\.\d)"
    ignore_case = keyword or entry.get("ignore_case", False)
    return PatternDetector(
        entry["kind"],
        entry["confidence"],
        re.compile(source, re.IGNORECASE if ignore_case else 0),
        CHECKS[entry["check"]] if "check" in entry else None,
    )


def shannon_entropy(text: str) -> float:
    """Return the entropy of a text in bits per character: -Σ p·log2(p) (Shannon, 1948)."""
    shares = [count / len(text) for count in Counter(text).values()]
    return -sum(share * math.log2(share) for share in shares)


def _is_random(text: str) -> bool:
    has_both = any(map(str.isdigit, text)) and any(map(str.isalpha, text))
    return has_both and shannon_entropy(text) > MIN_KEY_ENTROPY_BITS


def _is_literal(text: str) -> bool:
    """Return false for a placeholder or an expression that gives the value elsewhere."""
    return not re.match(r"[$({<\[*%]|None\b|null\b|true\b|false\b|\.\.\.", text)


def _is_password(text: str) -> bool:
    """Return false for a plain word of a sentence about passwords."""
    inner = text.strip(".,;:!?")
    is_word = inner.isalpha() or re.fullmatch(r"[a-z]+(?:[-'/][a-z]+)+|\d{1,3}", inner)
    return _is_literal(text) and inner != "" and not is_word


def _on_digits(check: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda text: check(re.sub(r"\D", "", text))


# Checks by the name that patterns.yaml uses.
CHECKS: dict[str, Callable[[str], bool]] = {
    "random": _is_random,
    "literal": _is_literal,
    "password": _is_password,
    "us_ssn": _on_digits(checksums.is_us_ssn),
    "spanish_id": checksums.is_spanish_id,
    "italian_tax_code": checksums.is_italian_tax_code,
    "french_insee": lambda text: checksums.is_french_insee(text.replace(" ", "")),
    "brazilian_cpf": _on_digits(checksums.is_brazilian_cpf),
    "polish_pesel": checksums.is_polish_pesel,
    "dutch_bsn": checksums.is_dutch_bsn,
    "british_nhs_number": _on_digits(checksums.is_british_nhs_number),
    "luhn": _on_digits(checksums.is_valid_luhn),
    "german_tax_id": _on_digits(checksums.is_german_tax_id),
    "swedish_personnummer": _on_digits(lambda digits: checksums.is_valid_luhn(digits[-10:])),
    "five_digits": lambda text: sum(map(str.isdigit, text)) >= 5,
}
