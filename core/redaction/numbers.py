"""Numbers that name a person or an account: cards, IBANs, national numbers, licences."""

import re
from collections.abc import Callable, Iterator

from core.redaction import checksums
from core.redaction.found import Detector, Found, Kind, by_pattern
from core.types import Span

NEAR = 48  # characters before a number in which the word that says what it is is looked for

_CARD_WORDS = re.compile(
    r"\b(?:cards?|cc|credit|debit|visa|mastercard|maestro|amex|american express|diners|discover|jcb|payment|pan)\b",
    re.IGNORECASE,
)
_CARD = re.compile(r"(?<![\w.-])(?<!\d )\d(?:[ -]?\d){11,18}+(?![\w-]|\.\d)")
_NINO = r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"  # United Kingdom, National Insurance
_IBAN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?=[ -]?[A-Z0-9])", re.IGNORECASE)


def _cards(text: str) -> Iterator[Found]:
    """Numbers whose check digit is right, of a network's range or beside a word for a card."""
    for match in _CARD.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        grouped = re.split(r"[ -]", match[0])
        if min(map(len, grouped)) < 3 or len(grouped) > 5 or len(set(digits)) < 2 or not checksums.luhn(digits):
            continue
        if checksums.issued(digits) or _CARD_WORDS.search(text, max(0, match.start() - NEAR), match.end() + NEAR):
            yield Found("CARD", Span(*match.span()), 0.95)


def _ibans(text: str) -> Iterator[Found]:
    """As many signs as the country's IBANs have, single spaces or hyphens between them let pass."""
    for match in _IBAN.finditer(text):
        length = checksums.IBAN_LENGTHS.get(match[0][:2].upper())
        end = _end_of(text, match.start(), length) if length else None
        if end and checksums.iban(re.sub(r"[ -]", "", text[match.start() : end]).upper()):
            yield Found("IBAN", Span(match.start(), end), 0.95)


def _end_of(text: str, start: int, length: int) -> int | None:
    """Where `length` letters and digits from `start` end, where the text is so long and the word ends there."""
    at = start
    for place in range(length):
        if place and text[at : at + 1] in {" ", "-"}:
            at += 1
        if not (text[at : at + 1].isascii() and text[at : at + 1].isalnum()):
            return None
        at += 1
    return None if text[at : at + 1].isalnum() else at


def _beside(
    kind: Kind, words: str, pattern: str, confidence: float, check: Callable[[str], bool] | None = None
) -> Detector:
    """A detector of what counts only where one of `words` stands shortly before it."""
    return by_pattern(
        kind,
        rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])[^\n\d]{{0,40}}?(?<![\w.-])(?P<value>{pattern})(?![\w-]|\.\d)",
        confidence, check, re.IGNORECASE,
    )  # fmt: skip


def _digits(check: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda text: check(re.sub(r"\D", "", text))


def _alone(pattern: str) -> str:
    return rf"(?<![\w.-])(?:{pattern})(?![\w-]|\.\d)"


DETECTORS: tuple[Detector, ...] = (
    _cards,
    _ibans,
    by_pattern("NATIONAL_ID", _alone(r"\d{3}-\d{2}-\d{4}"), 0.95, _digits(checksums.us_ssn)),
    _beside(
        "NATIONAL_ID", r"SSN|social security(?: (?:number|no\.?))?", r"\d{3}[ .]?\d{2}[ .]?\d{4}", 0.95,
        _digits(checksums.us_ssn),
    ),
    by_pattern("NATIONAL_ID", _alone(r"(?:[XYZ]|\d)\d{7}[A-Z]"), 0.8, checksums.spanish_id),
    by_pattern(
        "NATIONAL_ID", _alone(r"[A-Z]{6}[\dL-V]{2}[A-EHLMPRST][\dL-V]{2}[A-Z][\dL-V]{3}[A-Z]"), 0.95,
        checksums.italian_code,
    ),
    by_pattern(
        "NATIONAL_ID", _alone(r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}"), 0.95,
        lambda value: checksums.french_insee(value.replace(" ", "")),
    ),
    by_pattern("NATIONAL_ID", _alone(r"\d{3}\.\d{3}\.\d{3}-\d{2}"), 0.95, _digits(checksums.brazilian_cpf)),
    by_pattern("NATIONAL_ID", _alone(rf"{_NINO} \d{{2}} \d{{2}} \d{{2}} [A-D]"), 0.8),
    _beside(
        "NATIONAL_ID", r"NINO|national insurance(?: (?:number|no\.?))?",
        rf"{_NINO} ?\d{{2}} ?\d{{2}} ?\d{{2}} ?[A-D]", 0.95,
    ),
    _beside("NATIONAL_ID", r"CPF", r"\d{11}", 0.95, checksums.brazilian_cpf),
    _beside("NATIONAL_ID", r"PESEL", r"\d{11}", 0.95, checksums.polish_pesel),
    _beside("NATIONAL_ID", r"BSN|burgerservicenummer|sofinummer", r"\d{9}", 0.95, checksums.dutch_bsn),
    _beside("NATIONAL_ID", r"NHS(?: (?:number|no\.?))?", r"\d{3}[ -]?\d{3}[ -]?\d{4}", 0.95,
            _digits(checksums.british_nhs)),
    _beside("NATIONAL_ID", r"SIN|social insurance(?: (?:number|no\.?))?", r"\d{3}[ -]?\d{3}[ -]?\d{3}", 0.95,
            _digits(checksums.luhn)),
    _beside("NATIONAL_ID", r"IdNr\.?|Steuer-?(?:ID|identifikationsnummer)|tax (?:ID|number)",
            r"\d{2} ?\d{3} ?\d{3} ?\d{3}", 0.95, _digits(checksums.german_tax_id)),
    _beside("NATIONAL_ID", r"personnummer|personal identity number", r"(?:\d{2})?\d{6}[-+ ]?\d{4}", 0.95,
            lambda value: checksums.luhn(re.sub(r"\D", "", value)[-10:])),  # Sweden
    _beside("NATIONAL_ID", r"passport(?: (?:number|no\.?|#))?", r"(?=[A-Z]{0,3}\d)[A-Z0-9]{6,10}", 0.6,
            lambda value: sum(map(str.isdigit, value)) >= 5),
    _beside(
        "DRIVER_LICENSE",
        r"(?:driver['’]?s?|driving) licen[cs]e(?: (?:number|no\.?|#))?|licen[cs]e (?:number|no\.?|#)|DL(?: ?#| no\.?)",
        r"[A-Z]{0,3}[ -]?\d(?:[ *-]?[A-Z0-9]){3,17}+", 0.6,
    ),
)  # fmt: skip
