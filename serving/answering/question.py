"""Question analysis: the kind of answer a question asks for, its terms, names and numbers."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from core.text.editions import PERIOD, REASON
from core.text.numbers import AGE, DATE, MASS, MONEY, quantities
from core.text.terms import WORD, terms
from retrieval.types import Evidence

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


@lru_cache(maxsize=8_192)
def words(text: str) -> frozenset[str]:
    """The distinct terms of a sentence or a heading. Kept, since one answer asks for them several times, and the next
    question often finds the same passages.
    """
    return frozenset(terms(text))
