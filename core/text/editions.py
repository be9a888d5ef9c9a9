"""Editions, periods, reasons and capitalised names in English text."""

import re

# An edition as people name it: 5.1, v2, PowerShell 7, version 3, 2024, 2024-05. A bare number is one after a name only.
EDITION_PATTERN = re.compile(
    r"(?<![\w.])v?(\d{1,9}(?:[.-]\d{1,9}){1,5})(?![\w-])|\bv(\d{1,9})\b"
    r"|(?:\b[A-Z]\w*|\b(?:version|release|edition|revision))\s(\d{1,9})(?![\w.-]*\w)|\b((?:19|20)\d\d)\b"
)
REASON_PATTERN = re.compile(
    r"\b(?:because|since|due to|so that|in order to|as a result|therefore|thus|owing to|reasons?|caused?|led to"
    r"|results?|resulted|to avoid|to prevent|thereby)\b",
    re.IGNORECASE,
)
CAPITALISED_WORD_PATTERN = re.compile(r"\b[^\W\d_a-z][\w'’.-]*")
PERIOD_PATTERN = re.compile(
    r"(?:\b(?:a|an|every|each|per|once|twice|half|[a-z]+teen|[a-z]+ty|one|two|three|four|five|six|seven|eight|nine|ten|eleven"
    r"|twelve|several|many)|\d)[\s-]+(?:working |calendar |business |full |consecutive )?"
    r"(?:milli)?(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|decades?|centuries|century|times|nights?|ms|min|[hs]"
    r"|[cmk]?m|feet|miles?|kilomet\w+|met(?:er|re)s?)\b|\b(?:daily|weekly|monthly|quarterly|yearly|annually)\b|\d:\d\d",
    re.IGNORECASE,
)


def find_editions(question: str) -> list[str]:
    """The editions that a question names, or may name: 5.1, 7, 2024."""
    found = [
        next(group for group in match.groups() if group)
        for match in EDITION_PATTERN.finditer(question)
    ]
    return list(dict.fromkeys(found))
