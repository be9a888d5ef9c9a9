"""Secrets: keys with a vendor's prefix, tokens, private keys, passwords beside their names."""

import math
import re
from collections import Counter
from collections.abc import Iterator

from core.redaction.detector import DetectedEntity, Detector, build_pattern_detector
from core.types import Span

# Prefixes as their vendors publish them for secret scanners.
_PREFIXED_KEYS = "|".join(
    (
        r"(?:AKIA|ASIA|ABIA|ACCA|AGPA|AIDA|AIPA|ANPA|ANVA|AROA)[A-Z2-7]{16}",  # AWS
        r"gh[oprsu]_[A-Za-z0-9]{30,255}",
        r"github_pat_[A-Za-z0-9_]{22,255}",
        r"gl(?:pat|dt|rt|cbt|ptt|soat)-[\w-]{20,64}",  # GitLab
        r"AIza[\w-]{35}",
        r"ya29\.[\w.-]{20,512}",
        r"GOCSPX-[\w-]{20,64}",  # Google
        r"xox[abceoprs]-[A-Za-z0-9-]{10,255}",
        r"xapp-[A-Za-z0-9-]{10,255}",  # Slack
        r"sk-[\w-]{20,255}",  # OpenAI, Anthropic (sk-ant-) and others
        r"[rsp]k_(?:live|test)_[A-Za-z0-9]{10,255}",
        r"whsec_[A-Za-z0-9+/=]{20,128}",  # Stripe
        r"hf_[A-Za-z0-9]{30,64}",
        r"npm_[A-Za-z0-9]{36}",
        r"pypi-[\w-]{16,512}",
        r"SG\.[\w-]{16,32}\.[\w-]{16,64}",
        r"do[opr]_v1_[a-f0-9]{64}",
        r"hv[bs]\.[\w-]{20,255}",
        r"dapi[a-f0-9]{32}",
        r"key-[a-f0-9]{32}",
        r"(?:AC|SK)[a-f0-9]{32}",
        r"sq0[a-z]{3}-[\w-]{22,64}",
        r"\d{8,10}:AA[\w-]{33}",  # Telegram
        r"eyJ[\w-]{8,4096}\.[\w-]{4,8192}(?:\.[\w-]{4,4096})?",  # JWT
    )
)

_SECRET_NAME = (
    r"(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|credentials?"
    r"|(?:api|access|account|auth|client|encryption|master|private|secret|shared|signing)[ _-]?(?:key|secret|token)"
    r"(?:[ _-]?id)?)"
)
_NOT_AFTER_LETTER = r"(?<![A-Za-z])"
_QUOTE_CHARACTERS = r"[\"'`“”‘’]"


def _find_private_keys(text: str) -> Iterator[DetectedEntity]:
    """From BEGIN to END, or to the end of the text where a log or a chunk cut it."""
    begin = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
    finish = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
    match = begin.search(text)
    while match:
        closing = finish.search(text, match.end())
        yield DetectedEntity(
            "SECRET", Span(match.start(), closing.end() if closing else len(text)), 0.95
        )
        match = begin.search(text, closing.end()) if closing else None


def shannon_entropy(text: str) -> float:
    """Shannon's, in bits for each character."""
    return -sum(
        count / len(text) * math.log2(count / len(text)) for count in Counter(text).values()
    )


def _is_random(text: str) -> bool:
    """Letters and digits in no order: a word with a digit to it stays below 3 bits a character."""
    return (
        any(map(str.isdigit, text)) and any(map(str.isalpha, text)) and shannon_entropy(text) > 3.0
    )


def _looks_like_password(text: str) -> bool:
    """What people choose as a password, rather than a word of the sentence that speaks of one."""
    inner = text.strip(".,;:!?")
    return any(not sign.isalpha() for sign in inner) and not re.fullmatch(
        r"[a-z]+(?:[-'/][a-z]+)+|\d{1,3}", inner
    )


def _is_literal_value(text: str) -> bool:
    """Not a place for a value that is filled in elsewhere."""
    return not re.match(r"[$({<\[*%]|None\b|null\b|true\b|false\b|\.\.\.", text)


DETECTORS: tuple[Detector, ...] = (
    _find_private_keys,
    build_pattern_detector("SECRET", rf"(?<![\w-])(?:{_PREFIXED_KEYS})(?![\w-])", 0.95),
    build_pattern_detector(
        "SECRET", r"https://hooks\.slack\.com/(?:services|workflows)/[\w/-]{10,200}", 0.95
    ),
    # user:password@ in an address
    build_pattern_detector(
        "SECRET",
        r"(?<![\w+.-])[A-Za-z][\w+.-]{1,20}://(?P<value>[^\s/:@]{0,128}:[^\s/@]{1,256})@",
        1.0,
    ),
    build_pattern_detector(
        "SECRET",
        r"\bauthorization[\"']?\s{0,3}[:=]\s{0,3}[\"']?(?P<value>(?:(?:basic|bearer|digest|token)\s{1,3})?+"
        r"(?!(?:basic|bearer|digest)\b)[^\s\"',;`]{4,4096}+)",
        0.95,
        flags=re.IGNORECASE,
    ),
    build_pattern_detector(
        "SECRET",
        r"\b(?:bearer|basic)\s{1,3}(?P<value>[\w.~+/-]{16,4096}={0,2})",
        0.8,
        _is_random,
        re.IGNORECASE,
    ),
    # password=..., "api_key": "...", the password is ...
    build_pattern_detector(
        "SECRET",
        rf"{_NOT_AFTER_LETTER}{_SECRET_NAME}{_QUOTE_CHARACTERS}?\s{{0,3}}(?:=|:=|=>)\s{{0,3}}{_QUOTE_CHARACTERS}?(?P<value>[^\s\"'`,;&)]{{3,512}}+)",
        0.8,
        _is_literal_value,
        re.IGNORECASE,
    ),
    build_pattern_detector(
        "SECRET",
        rf"{_NOT_AFTER_LETTER}{_SECRET_NAME}{_QUOTE_CHARACTERS}?\s{{0,3}}:\s{{0,3}}{_QUOTE_CHARACTERS}(?P<value>[^\s\"'`]{{3,512}}+){_QUOTE_CHARACTERS}",
        0.8,
        _is_literal_value,
        re.IGNORECASE,
    ),
    build_pattern_detector(
        "SECRET",
        rf"{_NOT_AFTER_LETTER}{_SECRET_NAME}\s{{0,3}}(?::|is(?: now)?:?|was)\s{{1,3}}{_QUOTE_CHARACTERS}?(?P<value>[^\s\"'`]{{4,512}}?)"
        r"(?=[.,;:!?]?(?:[\s\"'`”]|$))",
        0.6,
        lambda value: _is_literal_value(value) and _looks_like_password(value),
        re.IGNORECASE,
    ),
    # a key by its look, where its name stands shortly before it
    build_pattern_detector(
        "SECRET",
        rf"{_NOT_AFTER_LETTER}(?:{_SECRET_NAME}|key)\b[^\n]{{0,40}}?(?<![\w/+.-])"
        r"(?P<value>[\w/+-]{20,512}+={0,2})(?![\w/+-])",
        0.6,
        _is_random,
        re.IGNORECASE,
    ),
)
