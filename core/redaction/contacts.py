"""How a person is reached, where they live, when they were born. Names and addresses by light rules only."""

import ipaddress
import re
from collections.abc import Iterator

from core.redaction.detector import DetectedEntity, Detector, EntityKind, build_pattern_detector
from core.types import Span

# --- addresses of the network -----------------------------------------------------------------------------------------

_URL_CHARACTERS = r"[^\s<>\"'`|\\^{}]{3,2048}"
_URL_PATTERN = re.compile(
    rf"(?<![\w.])(?:https?|ftp)://{_URL_CHARACTERS}|(?<![\w./-])www\.{_URL_CHARACTERS}",
    re.IGNORECASE,
)
_IPV4_PATTERN = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?!\w|\.\d)")
_IPV6_PATTERN = re.compile(
    r"(?<![\w:.])(?=[0-9A-Fa-f]{0,4}:[0-9A-Fa-f]{0,4}:)[0-9A-Fa-f:]{3,39}+(?:\.\d{1,3}){0,3}(?![\w:])"
)
_VERSION_PREFIX_PATTERN = re.compile(
    r"(?:version|release|firmware|section|chapter|\bv|[§#])[ .:=>\"']{0,6}$", re.IGNORECASE
)


def _find_urls(text: str) -> Iterator[DetectedEntity]:
    """Without the punctuation of the sentence around it."""
    for match in _URL_PATTERN.finditer(text):
        address = match[0].rstrip(".,;:!?*_~")
        if "(" not in address:
            address = address.rstrip(").,;:!?*_~")
        yield DetectedEntity("URL", Span(match.start(), match.start() + len(address)), 0.8)


def _find_ip_addresses(text: str) -> Iterator[DetectedEntity]:
    """Addresses that say where somebody is: not loopback, and not the version of a program."""
    for match in (*_IPV4_PATTERN.finditer(text), *_IPV6_PATTERN.finditer(text)):
        written = match[0] if match[0].endswith("::") else match[0].rstrip(":")
        try:
            address = ipaddress.ip_address(written)
        except ValueError:
            continue
        nowhere = address.is_loopback or address.is_unspecified or written.endswith(".0.0")
        if not nowhere and not _VERSION_PREFIX_PATTERN.search(
            text, max(0, match.start() - 16), match.start()
        ):
            yield DetectedEntity("IP", Span(match.start(), match.start() + len(written)), 0.8)


# --- telephones -------------------------------------------------------------------------------------------------------

_DIGIT_SEPARATOR = r"(?:[ ./-]|\) ?| \(| ?\()"
_PHONE_EXTENSION = r" ?(?:x|ext\.?|#) ?\d{1,6}"
_PHONE_CANDIDATE_PATTERN = re.compile(
    rf"(?<![\w./@#-])(?<!\d[ ,:])(?P<number>(?:\+|00)?\(?\d{{1,5}}(?:{_DIGIT_SEPARATOR}?\d{{1,11}}){{0,6}}+)(?:{_PHONE_EXTENSION})?"
    r"(?![\w@]|[.,:/-]\d)"
)
_PHONE_WORD_PATTERN = re.compile(
    r"(?<![A-Za-z])(?:(?:tele)?phones?|telefon|tel|call(?:ed|ing|s)?|mobile|cell(?:ular)?|handy|fax|desk|office|landline"
    r"|hotline|helpline|sms|text(?:ed)?|messages?|whatsapp|voicemail|dial|ring|reach(?:ed)?|contact|answer(?:ing)?"
    r"|registered|extension)(?![A-Za-z])",
    re.IGNORECASE,
)
_OTHER_NUMBER_WORD_PATTERN = re.compile(  # what a number after these words is instead
    r"(?<![A-Za-z])(?:zip|post ?code|postal|order|invoice|ticket|part|serial|article|model|version|isbn|issn|box|suite"
    r"|apt|unit|reference|ref|licen[cs]e|ssn|iban|card|account|pages?|lines?|rows?|chapter|section|figure)"
    r"[ .:#]{0,3}(?:number|no|nr|is)?[ .:#]{0,3}$",
    re.IGNORECASE,
)
# Forms that hardly anything else has. Leading zeros and plus signs are of ITU-T E.123, the rest are national habits.
_PHONE_FORMAT_PATTERN = re.compile(
    r"\+\d{1,3}[ ./(-]?.{5,20}"
    r"|00[1-9]\d{0,2}[ .-]\d.{6,18}"
    r"|\(?[2-9]\d{2}\)?[ .-]?[2-9]\d{2}[.-]\d{4}"  # North America
    r"|\(?0\d{1,4}\)?[ -]\d{3,4}[ -]\d{2,4}(?:[ -]\d{2,4})?"
    r"|\(0\d{1,4}\)[ -]?\d{3,8}"
    r"|0\d(?:[ .]\d{2}){4}"  # France
    r"|0\d{3}(?: \d{2}){3}"  # Belgium
    r"|\(?0\d{2,4}\)?[ /-]\d{6,8}"
)
_DIGIT_GROUPS_PATTERN = re.compile(
    r"\(?\d{2,4}\)?(?:[ .-]\d{2,8}){1,4}|\d{9,12}"
)  # a telephone's where a word says so


def _find_phone_numbers(text: str) -> Iterator[DetectedEntity]:
    """Numbers of a telephone's form, and other groups of digits near a word for a telephone."""
    for match in _PHONE_CANDIDATE_PATTERN.finditer(text):
        number, start, end = match["number"], match.start(), match.end()
        if not 7 <= sum(map(str.isdigit, number)) <= 15 or _OTHER_NUMBER_WORD_PATTERN.search(
            text, max(0, start - 32), start
        ):
            continue
        if _PHONE_FORMAT_PATTERN.fullmatch(number):
            yield DetectedEntity("PHONE", Span(start, end), 0.8)
        elif _DIGIT_GROUPS_PATTERN.fullmatch(number) and _PHONE_WORD_PATTERN.search(
            text, max(0, start - 40), end + 12
        ):
            yield DetectedEntity("PHONE", Span(start, end), 0.6)


# --- dates and ages ---------------------------------------------------------------------------------------------------

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sep(?:t(?:ember)?)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\.?"
)
_DAY_NUMBER, _MONTH_NUMBER = r"(?:0?[1-9]|[12]\d|3[01])", r"(?:0?[1-9]|1[0-2])"
_YEAR = r"(?:19|20)\d{2}"
_TIME_OF_DAY = r"(?:[T ,]{1,2}(?:at )?\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?: ?[ap]\.?m\b\.?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
_DATE = (
    rf"(?:(?:{_YEAR}[-/.]{_MONTH_NUMBER}[-/.]{_DAY_NUMBER}"
    rf"|{_DAY_NUMBER}[/.-]{_DAY_NUMBER}[/.-](?:{_YEAR}|\d{{2}})"
    rf"|{_DAY_NUMBER}(?:st|nd|rd|th)?(?: of)? {_MONTH},? {_YEAR}"
    rf"|{_MONTH} {_DAY_NUMBER}(?:st|nd|rd|th)?,? {_YEAR}){_TIME_OF_DAY})"
)
_BIRTH_WORDS = r"(?:born(?: on)?|birth ?da(?:y|te)|date of birth|d\.?o\.?b\.?)"
_AFTER_YEAR_WORD = r"(?:in|of|since|during|from|until|by|before|after|around|a)"
_YEARS_OLD = r"(?:[ -]{1,2}(?:years?|yrs?)[ -]{1,2}olds?|[ -]{0,2}y[/. ]{0,2}o\b|[ -]?yo\b)"
_AGE_WORDS = (
    r"(?:aged?(?: of| is)?|turn(?:ed|s|ing)?|when (?:he|she|they|I|we|you)(?: was| were|['’]s))"
)
_TIME_UNITS = r"(?:percent|days?|weeks?|months?|hours?|minutes?|seconds?)\b"

# --- places and names: light rules ------------------------------------------------------------------------------------

_STREET_TYPE = (
    r"(?:Street|St|Avenue|Ave|Road|Rd|Boulevard|Blvd|Lane|Ln|Drive|Dr|Court|Ct|Place|Pl|Square|Sq|Way|Terrace|Highway"
    r"|Hwy|Parkway|Pkwy|Crescent|Close|Gardens|Grove)\b\.?"
)
_APARTMENT = r"(?:Apt|Apartment|Suite|Ste|Flat)\.? #?\d{1,5}[A-Za-z]?"
_STREET_NAME_WORD = r"[^\W\d_][\w'’.-]{0,30}"
_UK_POSTCODE = r"[A-Z]{1,2}\d[A-Z\d]? ?\d[ABD-HJLNP-UW-Z]{2}"
_POSTAL_CODE = r"(?:\d{5}-\d{3,4}|\d{2}-\d{3}|\d{4}-\d{3}|\d{3} \d{2}|\d{4} ?(?-i:[A-Z]{2})|[A-Z]\d[A-Z] ?\d[A-Z]\d|\d{3,6})"
_POSTAL_WORDS = r"(?:zip(?: ?code)?|post(?:al)? ?code|PLZ|CAP)(?: (?:number|is|was))?"
_CAPITALISED_WORD = r"(?-i:[A-ZÀ-ÖØ-ÞĀ-ŽΑ-ΩА-Я])[\w'’-]{1,30}"
_FULL_NAME = rf"{_CAPITALISED_WORD}(?: (?-i:[A-Z])\.?(?= ))?(?: {_CAPITALISED_WORD}){{0,3}}"
_HONORIFIC = r"(?:Mr|Mrs|Ms|Miss|Mx|Dr|Prof|Professor|Sir|Madam|Herr|Frau)"
_NAME_CUES = r"(?:(?:first |last |full |maiden )?name(?: is|:)|regards,|sincerely,|attn:?|dear)"


def _build_caseless_detector(kind: EntityKind, pattern: str, confidence: float) -> Detector:
    """A detector that does not mind capitals."""
    return build_pattern_detector(kind, pattern, confidence, flags=re.IGNORECASE)


DETECTORS: tuple[Detector, ...] = (
    build_pattern_detector(
        "EMAIL",
        r"(?<![\w.+%-])[\w.+%-]{1,64}+@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}"
        r"(?:xn--[\w-]{2,58}|[^\W\d_]{2,24})(?![\w-])",
        0.95,
    ),
    _find_urls,
    _find_ip_addresses,
    build_pattern_detector(
        "MAC",
        r"(?<![\w:-])[0-9A-Fa-f]{2}([:-])[0-9A-Fa-f]{2}(?:\1[0-9A-Fa-f]{2}){4}(?![\w:-])",
        0.95,
    ),
    _find_phone_numbers,
    _build_caseless_detector(
        "BIRTH_DATE", rf"\b{_BIRTH_WORDS}\b[^\n\d]{{0,24}}?\b(?P<value>{_DATE})(?![\w/])", 0.8
    ),
    _build_caseless_detector("DATE", rf"(?<![\w./-]){_DATE}(?![\w/]|[.-]\d)", 0.8),
    _build_caseless_detector(
        "DATE", rf"\b{_AFTER_YEAR_WORD} (?P<value>{_YEAR})(?![\w%]|[.,:/-]\d)", 0.6
    ),
    _build_caseless_detector("DATE", r"\b(?:Mon|Tues|Wednes|Thurs|Fri|Satur|Sun)day\b", 0.6),
    _build_caseless_detector("AGE", rf"(?<![\w.,-])(?P<value>1?\d{{1,2}}){_YEARS_OLD}", 0.8),
    _build_caseless_detector(
        "AGE", rf"\b{_AGE_WORDS} (?P<value>1?\d{{1,2}})(?![\w%:/-]|[.,]\d| {_TIME_UNITS})", 0.6
    ),
    _build_caseless_detector(
        "POSTAL_CODE", rf"\b{_POSTAL_WORDS}[ :#]{{1,4}}(?P<value>{_POSTAL_CODE})(?![\w-])", 0.8
    ),
    build_pattern_detector("POSTAL_CODE", rf"(?<![\w-]){_UK_POSTCODE}(?![\w-])", 0.6),
    build_pattern_detector(
        "ADDRESS",
        rf"(?<![\w.,/-])\d{{1,6}}[A-Za-z]?,? (?:{_STREET_NAME_WORD} ){{1,4}}?{_STREET_TYPE}(?:,? {_APARTMENT})?",
        0.6,
    ),
    _build_caseless_detector("ADDRESS", rf"\b{_APARTMENT}\b", 0.6),
    _build_caseless_detector(
        "ADDRESS", r"\b(?:P\.? ?O\.? Box|Post(?:box| Office Box)) \d{1,6}\b", 0.8
    ),
    _build_caseless_detector(
        "ADDRESS",
        r"\b(?:PSC|Unit|CMR) \d{1,5},? Box \d{1,5}(?:\s{1,3}[AFD]PO A[AEP] \d{5})?\b",
        0.95,
    ),
    _build_caseless_detector("PERSON", rf"\b{_HONORIFIC}\.? (?P<value>{_FULL_NAME})", 0.6),
    _build_caseless_detector("PERSON", rf"\b{_NAME_CUES}\s{{1,4}}(?P<value>{_FULL_NAME})", 0.6),
)
