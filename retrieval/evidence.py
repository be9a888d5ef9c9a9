"""What a question asks for, and what each sentence of the evidence holds of it: the words, the names, the numbers.

Everything here is counted relative to the question, so that it means the same in ten documents and in a million.
"""

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, TypeVar

from knowledge.analysis import WORD, terms
from knowledge.types import Span
from retrieval.planted import overlaps, planted
from retrieval.types import Evidence, Hit

T = TypeVar("T")
AnswerKind = Literal["name", "date", "period", "money", "mass", "age", "number", "reason"]

# Words that ask, not words that are asked for. A small corpus has few of them, and would hold them for rare.
ASKING = frozenset(
    term
    for word in (
        "much many long often far fast quickly soon early late deep high large big old time times happen happens"
        " happened mean means meant call called name named type types kind kinds sort get gets got give gives given"
        " make makes made take takes took come comes came go goes went say says said tell know known use used become"
        " became also just still ever any some other another way did does one thing things might must shall up out off"
        " about please"
    ).split()
    for term in terms(word)
)
# Of the highest idf: in a dozen documents on one matter its very name is common, and is still what is asked for.
LEAST_WEIGHT = 0.4
NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen"
        " seventeen eighteen nineteen twenty".split()
    )
} | {"thirty": 30, "forty": 40, "fifty": 50, "sixty": 60, "eighty": 80, "ninety": 90, "hundred": 100}

NUMBER = re.compile(r"\d+(?:[.,]\d{3})*(?:\.\d+)?")
RANGE = re.compile(
    rf"(?P<low>{NUMBER.pattern})\s*(?:to|-|–|and)\s*[€$£]?(?P<high>{NUMBER.pattern})"
    rf"|\b(?:under|below|less than|up to)\s+[€$£]?(?P<under>{NUMBER.pattern})"
    rf"|\b(?:above|over|more than)\s+[€$£]?(?P<above>{NUMBER.pattern})"
    rf"|(?P<least>{NUMBER.pattern}) (?:and|or) (?:more|over|above)",
    re.IGNORECASE,
)
DATE = re.compile(
    r"\b(?:1[0-9]|20)\d\d\b|\b\d{1,2}:\d\d\b|\b(?:january|february|march|april|june|july|august|september|october"
    r"|november|december|monday|tuesday|wednesday|thursday|friday|saturday|sunday|century|daily|weekly|monthly"
    r"|yearly|annually)\b|\bMay \d|\d May\b|\b\d+(?:st|nd|rd|th)\b",
    re.IGNORECASE,
)
# An edition as people name it: 5.1, v2, PowerShell 7, version 3, 2024, 2024-05. A bare number is one after a name only.
EDITION = re.compile(
    r"(?<![\w.])v?(\d{1,9}(?:[.-]\d{1,9}){1,5})(?![\w-])|\bv(\d{1,9})\b"
    r"|(?:\b[A-Z]\w*|\b(?:version|release|edition|revision))\s(\d{1,9})(?![\w.-]*\w)|\b((?:19|20)\d\d)\b"
)
REASON = re.compile(
    r"\b(?:because|since|due to|so that|in order to|as a result|therefore|thus|owing to|reasons?|caused?|led to"
    r"|results?|resulted|to avoid|to prevent|thereby)\b",
    re.IGNORECASE,
)
CAPITALISED = re.compile(r"\b[^\W\d_a-z][\w'’.-]*")

PERIOD = re.compile(
    r"(?:\b(?:a|an|every|each|per|once|twice|half|[a-z]+teen|[a-z]+ty|one|two|three|four|five|six|seven|eight|nine|ten|eleven"
    r"|twelve|several|many)|\d)[\s-]+(?:working |calendar |business |full |consecutive )?"
    r"(?:milli)?(?:seconds?|minutes?|hours?|days?|weeks?|months?|years?|decades?|centuries|century|times|nights?|ms|min|[hs]"
    r"|[cmk]?m|feet|miles?|kilomet\w+|met(?:er|re)s?)\b|\b(?:daily|weekly|monthly|quarterly|yearly|annually)\b|\d:\d\d",
    re.IGNORECASE,
)

MONEY = re.compile(r"[€$£¥]|\b(?:euros?|dollars?|pounds?|francs?|yen|cents?|percent|free of charge)\b|%", re.IGNORECASE)
MASS = re.compile(r"\d\s?(?:kg|g|mg|t|lb|lbs|grams?|kilograms?|tons?|tonnes?|pounds?|ounces?)\b", re.IGNORECASE)
AGE = re.compile(r"\b(?:age[ds]?|years? old|born|founded|established|built|since)\b", re.IGNORECASE)

# What begins a question -> the kind of its answer; the first that fits.
_KINDS: tuple[tuple[AnswerKind, str], ...] = (
    ("date", r"\b(?:when|(?:what|which) (?:year|date|day|month|decade|century|time))\b"),
    ("age", r"\bhow old\b"),
    ("mass", r"\bhow (?:heavy|much\b.*\bweighs?)\b"),
    (
        "money",
        r"\bhow much\b.*\b(?:costs?|pays?|paid|charges?|charged|spen[dt]|offer(?:ed|ing)?|prices?|salary)\b"
        r"|\bwhat\b.*\b(?:price|sum|salary|fee)\b",
    ),
    ("period", r"\bhow (?:long|often|fast|quickly|soon|frequently|early|late|deep|far)\b"),
    ("number", r"\bhow (?:many|much|large|big|high|tall)\b"),
    ("number", r"\b(?:what|which) (?:percentage|percent|number|proportion|fraction|amount|distance)\b"),
    ("name", r"\b(?:who|whom|whose|where|(?:which|what) (?:country|city|state|person|company))\b"),
    ("reason", r"\bwhy\b"),
)
_PATTERNS: Mapping[AnswerKind | None, re.Pattern[str]] = {
    "reason": REASON, "period": PERIOD, "money": MONEY, "mass": MASS, "age": AGE,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A question taken apart. `weights` are its terms' idf without the words that only ask; `names` and `numbers`
    are the terms among them that are written with a capital or a digit, `values` the numbers as quantities.
    `designations` are what names one thing by a number, each as a run of terms: Heron 210, ERR-4711, B5.
    """

    weights: Mapping[str, float]
    names: frozenset[str]
    numbers: frozenset[str]
    designations: frozenset[tuple[str, ...]]
    values: frozenset[float]
    kind: AnswerKind | None
    present: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unit:
    """A sentence (or list item, or table row) of the evidence, with what stands around it.

    `header` is the row that names the columns where the unit is a row of a table. `own` are its terms, `around` its
    own with those of the headings, of the table's header and of the sentence before. `before` is the unit before it in
    the same paragraph.
    """

    hit: int
    span: Span
    text: str
    cosine: float
    header: str
    own: frozenset[str]
    around: frozenset[str]
    before: "Unit | None"


def rarest(evidence: Evidence) -> float:
    """The idf of a term that stands in nothing the reader may see: the highest there is."""
    return math.log(1 + (evidence.chunks + 0.5) / 0.5)


def asked(evidence: Evidence) -> Asked:
    """What the question of some evidence asks for."""
    question = evidence.question
    least = LEAST_WEIGHT * rarest(evidence)
    rarity = {term: max(idf, least) for term, idf in evidence.idf.items()}
    weights = {term: weight for term, weight in rarity.items() if term not in ASKING} or rarity
    words = WORD.findall(question)
    proper = {term for at, word in enumerate(words) if at and word[:1].isupper() for term in terms(word)}
    numbered = {term for word in words if any(character.isdigit() for character in word) for term in terms(word)}
    return Asked(
        weights=weights,
        names=frozenset(proper & weights.keys()),
        numbers=frozenset(numbered & weights.keys()),
        designations=frozenset(_designations(words)),
        values=frozenset(quantities(question)),
        kind=next((kind for kind, pattern in _KINDS if re.search(pattern, question, re.IGNORECASE)), None),
        present=frozenset(terms(question)),
    )


def editions(question: str) -> list[str]:
    """The editions that a question names, or may name: 5.1, 7, 2024."""
    found = [next(group for group in match.groups() if group) for match in EDITION.finditer(question)]
    return list(dict.fromkeys(found))


def _designations(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for at, word in enumerate(words):
        if not any(character.isdigit() for character in word):
            continue
        before = words[at - 1] if at else ""
        if re.search(r"[A-Z]", word):
            yield tuple(terms(word)[-2:])
        elif before[:1].isupper() and at > 1 and terms(before) and not DATE.search(f"{before} {word}"):
            yield (*terms(before)[-1:], *terms(word)[-1:])


def mentions(text: str, designation: Sequence[str]) -> bool:
    """Whether a text has the terms of a designation one after the other."""
    return f" {' '.join(designation)} " in f" {' '.join(terms(text))} "


def about_another(text: str, designations: Set[tuple[str, ...]]) -> bool:
    """Whether a text names a thing of the same kind as one of some designations, a Heron 200 where the Heron 210
    was asked for, and has the numbers of none of them.
    """
    kinds = {designation[0] for designation in designations if len(designation) > 1}
    found = terms(text) if kinds else []  # most questions name nothing, and this is asked of every sentence
    if any(designation[-1] in found for designation in designations):
        return False
    return any(kind in kinds and any(map(str.isdigit, number)) for kind, number in pairwise(found))


def coverage(weights: Mapping[str, float], present: Set[str]) -> float:
    """The share of the weight of some terms that are present, 0 to 1; 0 for no terms."""
    whole = sum(weights.values())
    return sum(weight for term, weight in weights.items() if term in present) / whole if whole else 0.0


def pairs(text: str) -> set[tuple[str, str]]:
    """The terms of a text that follow one another."""
    found = terms(text)
    return set(pairwise(found))


def share(wanted: Set[T], present: Set[T]) -> float:
    """The share of the wanted terms that are present, 0 to 1; 1 where nothing is wanted."""
    return len(wanted & present) / len(wanted) if wanted else 1.0


def units(evidence: Evidence) -> list[Unit]:
    """The sentences of the evidence in order, without rows that only name a table's columns, and without what
    speaks to a machine (retrieval/planted.py).
    """
    return [unit for number, hit in enumerate(evidence.hits) for unit in _units(number, hit)]


def _units(number: int, hit: Hit) -> Iterator[Unit]:
    path = words(f"{hit.title} {hit.context}")
    headers, machines = dict(table_rows(hit)), planted(hit)
    before, end = None, hit.span.start
    for place, sentence in enumerate(hit.sentences):
        text, header = hit.quote(sentence.span), headers.get(place)
        if "\n" in hit.text[end - hit.span.start : sentence.span.start - hit.span.start]:
            before = None
        end = sentence.span.end
        if overlaps(sentence.span, machines):
            before = None  # no quote goes across it
            continue
        if header == text:
            continue
        own = words(text)
        around = own | path | (before.own if before else frozenset()) | words(header or "")
        unit = Unit(number, sentence.span, text, sentence.cosine or 0.0, header or "", own, around, before)
        before = unit
        yield unit


@lru_cache(maxsize=8_192)
def words(text: str) -> frozenset[str]:
    """The distinct terms of a sentence or a heading. Kept, since one answer asks for them several times, and the next
    question often finds the same passages.
    """
    return frozenset(terms(text))


def table_rows(hit: Hit) -> Iterator[tuple[int, str]]:
    """The places of the sentences of a hit that are rows of a table, each with its header row (its own, for that).

    A table that began in an earlier chunk has its header as the last line of the hit's context.
    """
    carried = hit.context.rsplit("\n", 1)[-1]
    header = carried if is_row(carried) else None
    end = hit.span.start
    for place, sentence in enumerate(hit.sentences):
        text = hit.quote(sentence.span)
        apart = place and hit.text[end - hit.span.start : sentence.span.start - hit.span.start].count("\n") != 1
        if apart or not is_row(text):
            header = None
        if is_row(text):
            header = header or text
            yield place, header
        end = sentence.span.end


def is_row(text: str) -> bool:
    """Whether a line is a row of a table, as parsers write it: cells with bars between them."""
    return " | " in text


def answers_kind(wanted: Asked, text: str) -> float:
    """1 where a text holds something of the kind that is asked for and not in the question, -1 where it doesn't,
    0 where the question doesn't say of which kind the answer is.
    """
    if wanted.kind is None:
        return 0.0
    return 1.0 if _holds(wanted, text) else -1.0


def _holds(wanted: Asked, text: str) -> bool:
    if wanted.kind in _PATTERNS:
        return _PATTERNS[wanted.kind].search(text) is not None
    if wanted.kind == "date":
        return any(not set(terms(found[0])) <= wanted.present for found in DATE.finditer(text))
    if wanted.kind == "number":
        return bool(quantities(text) - wanted.values)
    return any(set(terms(found[0])) - wanted.present for found in CAPITALISED.finditer(text) if found.start())


def quantities(text: str) -> set[float]:
    """The numbers of a text, also those written as words up to a hundred."""
    written = {float(found[0].replace(",", "")) for found in NUMBER.finditer(text)}
    return written | {float(NUMBER_WORDS[word]) for word in re.findall(r"[a-z]+", text.lower()) if word in NUMBER_WORDS}


def in_range(values: Set[float], text: str) -> bool:
    """Whether one of some numbers lies in a range that a text writes: 10 to 14, under 5, above 75,000, 15 and more."""
    return any(low <= value <= high for low, high in ranges(text) for value in values)


def ranges(text: str) -> Iterator[tuple[float, float]]:
    """The ranges that a text writes, as lowest and highest number."""
    for found in RANGE.finditer(text):
        bound = {name: float(value.replace(",", "")) for name, value in found.groupdict().items() if value}
        yield bound.get("low", bound.get("above", bound.get("least", 0.0))), bound.get("high", bound.get("under", 1e18))
