"""Numbers that name a person or an account: cards, IBANs, national numbers, licences."""

import re
from collections.abc import Callable, Iterator

from core.redaction import checksums
from core.redaction.detector import DetectedEntity, Detector, EntityKind, build_pattern_detector
from core.types import Span

MAX_KEYWORD_DISTANCE_CHARACTERS = (
    48  # characters before a number in which the word that says what it is is looked for
)

_CARD_WORD_PATTERN = re.compile(
    r"\b(?:cards?|cc|credit|debit|visa|mastercard|maestro|amex|american express|diners|discover|jcb|payment|pan)\b",
    re.IGNORECASE,
)
_CARD_PATTERN = re.compile(r"(?<![\w.-])(?<!\d )\d(?:[ -]?\d){11,18}+(?![\w-]|\.\d)")
_NINO_PREFIX = r"(?!BG|GB|NK|KN|TN|NT|ZZ)[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z]"  # United Kingdom, National Insurance
_IBAN_PREFIX_PATTERN = re.compile(r"(?<![A-Za-z0-9])[A-Z]{2}\d{2}(?=[ -]?[A-Z0-9])", re.IGNORECASE)


def _find_cards(text: str) -> Iterator[DetectedEntity]:
    """Numbers whose check digit is right, of a network's range or beside a word for a card."""
    for match in _CARD_PATTERN.finditer(text):
        digits = re.sub(r"\D", "", match[0])
        grouped = re.split(r"[ -]", match[0])
        if (
            min(map(len, grouped)) < 3
            or len(grouped) > 5
            or len(set(digits)) < 2
            or not checksums.is_valid_luhn(digits)
        ):
            continue
        if checksums.has_card_issuer_prefix(digits) or _CARD_WORD_PATTERN.search(
            text,
            max(0, match.start() - MAX_KEYWORD_DISTANCE_CHARACTERS),
            match.end() + MAX_KEYWORD_DISTANCE_CHARACTERS,
        ):
            yield DetectedEntity("CARD", Span(*match.span()), 0.95)


def _find_ibans(text: str) -> Iterator[DetectedEntity]:
    """As many signs as the country's IBANs have, single spaces or hyphens between them let pass."""
    for match in _IBAN_PREFIX_PATTERN.finditer(text):
        length = checksums.IBAN_LENGTHS.get(match[0][:2].upper())
        end = _find_token_end(text, match.start(), length) if length else None
        if end and checksums.is_valid_iban(re.sub(r"[ -]", "", text[match.start() : end]).upper()):
            yield DetectedEntity("IBAN", Span(match.start(), end), 0.95)


def _find_token_end(text: str, start: int, length: int) -> int | None:
    """Where `length` letters and digits from `start` end, where the text is so long and the word ends there."""
    at = start
    for place in range(length):
        if place and text[at : at + 1] in {" ", "-"}:
            at += 1
        if not (text[at : at + 1].isascii() and text[at : at + 1].isalnum()):
            return None
        at += 1
    return None if text[at : at + 1].isalnum() else at


def _build_keyword_detector(
    kind: EntityKind,
    words: str,
    pattern: str,
    confidence: float,
    check: Callable[[str], bool] | None = None,
) -> Detector:
    """A detector of what counts only where one of `words` stands shortly before it."""
    return build_pattern_detector(
        kind,
        rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])[^\n\d]{{0,40}}?(?<![\w.-])(?P<value>{pattern})(?![\w-]|\.\d)",
        confidence,
        check,
        re.IGNORECASE,
    )


def _check_digits_only(check: Callable[[str], bool]) -> Callable[[str], bool]:
    return lambda text: check(re.sub(r"\D", "", text))


def _standalone_pattern(pattern: str) -> str:
    return rf"(?<![\w.-])(?:{pattern})(?![\w-]|\.\d)"


DETECTORS: tuple[Detector, ...] = (
    _find_cards,
    _find_ibans,
    build_pattern_detector(
        "NATIONAL_ID",
        _standalone_pattern(r"\d{3}-\d{2}-\d{4}"),
        0.95,
        _check_digits_only(checksums.is_us_ssn),
    ),
    _build_keyword_detector(
        "NATIONAL_ID",
        r"SSN|social security(?: (?:number|no\.?))?",
        r"\d{3}[ .]?\d{2}[ .]?\d{4}",
        0.95,
        _check_digits_only(checksums.is_us_ssn),
    ),
    build_pattern_detector(
        "NATIONAL_ID", _standalone_pattern(r"(?:[XYZ]|\d)\d{7}[A-Z]"), 0.8, checksums.is_spanish_id
    ),
    build_pattern_detector(
        "NATIONAL_ID",
        _standalone_pattern(r"[A-Z]{6}[\dL-V]{2}[A-EHLMPRST][\dL-V]{2}[A-Z][\dL-V]{3}[A-Z]"),
        0.95,
        checksums.is_italian_tax_code,
    ),
    build_pattern_detector(
        "NATIONAL_ID",
        _standalone_pattern(
            r"[12] ?\d{2} ?(?:0[1-9]|1[0-2]|[2-9]\d) ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}"
        ),
        0.95,
        lambda value: checksums.is_french_insee(value.replace(" ", "")),
    ),
    build_pattern_detector(
        "NATIONAL_ID",
        _standalone_pattern(r"\d{3}\.\d{3}\.\d{3}-\d{2}"),
        0.95,
        _check_digits_only(checksums.is_brazilian_cpf),
    ),
    build_pattern_detector(
        "NATIONAL_ID", _standalone_pattern(rf"{_NINO_PREFIX} \d{{2}} \d{{2}} \d{{2}} [A-D]"), 0.8
    ),
    _build_keyword_detector(
        "NATIONAL_ID",
        r"NINO|national insurance(?: (?:number|no\.?))?",
        rf"{_NINO_PREFIX} ?\d{{2}} ?\d{{2}} ?\d{{2}} ?[A-D]",
        0.95,
    ),
    _build_keyword_detector("NATIONAL_ID", r"CPF", r"\d{11}", 0.95, checksums.is_brazilian_cpf),
    _build_keyword_detector("NATIONAL_ID", r"PESEL", r"\d{11}", 0.95, checksums.is_polish_pesel),
    _build_keyword_detector(
        "NATIONAL_ID", r"BSN|burgerservicenummer|sofinummer", r"\d{9}", 0.95, checksums.is_dutch_bsn
    ),
    _build_keyword_detector(
        "NATIONAL_ID",
        r"NHS(?: (?:number|no\.?))?",
        r"\d{3}[ -]?\d{3}[ -]?\d{4}",
        0.95,
        _check_digits_only(checksums.is_british_nhs_number),
    ),
    _build_keyword_detector(
        "NATIONAL_ID",
        r"SIN|social insurance(?: (?:number|no\.?))?",
        r"\d{3}[ -]?\d{3}[ -]?\d{3}",
        0.95,
        _check_digits_only(checksums.is_valid_luhn),
    ),
    _build_keyword_detector(
        "NATIONAL_ID",
        r"IdNr\.?|Steuer-?(?:ID|identifikationsnummer)|tax (?:ID|number)",
        r"\d{2} ?\d{3} ?\d{3} ?\d{3}",
        0.95,
        _check_digits_only(checksums.is_german_tax_id),
    ),
    _build_keyword_detector(
        "NATIONAL_ID",
        r"personnummer|personal identity number",
        r"(?:\d{2})?\d{6}[-+ ]?\d{4}",
        0.95,
        lambda value: checksums.is_valid_luhn(re.sub(r"\D", "", value)[-10:]),
    ),  # Sweden
    _build_keyword_detector(
        "NATIONAL_ID",
        r"passport(?: (?:number|no\.?|#))?",
        r"(?=[A-Z]{0,3}\d)[A-Z0-9]{6,10}",
        0.6,
        lambda value: sum(map(str.isdigit, value)) >= 5,
    ),
    _build_keyword_detector(
        "DRIVER_LICENSE",
        r"(?:driver['’]?s?|driving) licen[cs]e(?: (?:number|no\.?|#))?|licen[cs]e (?:number|no\.?|#)|DL(?: ?#| no\.?)",
        r"[A-Z]{0,3}[ -]?\d(?:[ *-]?[A-Z0-9]){3,17}+",
        0.6,
    ),
)
