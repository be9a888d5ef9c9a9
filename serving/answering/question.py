"""Question analysis: the kind of answer a question asks for, its terms, names and numbers."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from core.text.editions import PERIOD_PATTERN, REASON_PATTERN
from core.text.numbers import AGE_PATTERN, DATE_PATTERN, MASS_PATTERN, MONEY_PATTERN, find_numbers
from core.text.terms import WORD_PATTERN, extract_terms
from retrieval.types import SearchResult

AnswerKind = Literal["name", "date", "period", "money", "mass", "age", "number", "reason"]
# Words that ask, not words that are asked for. A small corpus has few of them, and would hold them for rare.
QUESTION_STOPWORDS = frozenset(
    term
    for word in (
        "much many long often far fast quickly soon early late deep high large big old time times happen happens"
        " happened mean means meant call called name named type types kind kinds sort get gets got give gives given"
        " make makes made take takes took come comes came go goes went say says said tell know known use used become"
        " became also just still ever any some other another way did does one thing things might must shall up out off"
        " about please"
    ).split()
    for term in extract_terms(word)
)
# Of the highest idf: in a dozen documents on one matter its very name is common, and is still what is asked for.
MIN_IDF_SHARE = 0.4
# What begins a question -> the kind of its answer; the first that fits.
_QUESTION_PATTERNS: tuple[tuple[AnswerKind, str], ...] = (
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
    (
        "number",
        r"\b(?:what|which) (?:percentage|percent|number|proportion|fraction|amount|distance)\b",
    ),
    ("name", r"\b(?:who|whom|whose|where|(?:which|what) (?:country|city|state|person|company))\b"),
    ("reason", r"\bwhy\b"),
)
ANSWER_PATTERNS: Mapping[AnswerKind | None, re.Pattern[str]] = {
    "reason": REASON_PATTERN,
    "period": PERIOD_PATTERN,
    "money": MONEY_PATTERN,
    "mass": MASS_PATTERN,
    "age": AGE_PATTERN,
}


@dataclass(frozen=True, slots=True)
class QuestionAnalysis:
    """A question taken apart. `weights` are its terms' idf without the words that only ask; `names` and `numbers`
    are the terms among them that are written with a capital or a digit, `values` the numbers as quantities.
    `designations` are what names one thing by a number, each as a run of terms: Heron 210, ERR-4711, B5.
    """

    term_weights: Mapping[str, float]
    name_terms: frozenset[str]
    number_terms: frozenset[str]
    designations: frozenset[tuple[str, ...]]
    quantities: frozenset[float]
    answer_kind: AnswerKind | None
    all_terms: frozenset[str]


def compute_max_idf(evidence: SearchResult) -> float:
    """The idf of a term that stands in nothing the reader may see: the highest there is."""
    return math.log(1 + (evidence.searched.passages + 0.5) / 0.5)


def analyze_question(evidence: SearchResult) -> QuestionAnalysis:
    """What the question of some evidence asks for."""
    question = evidence.question
    least = MIN_IDF_SHARE * compute_max_idf(evidence)
    rarity = {term: max(idf, least) for term, idf in evidence.idf.items()}
    weights = {
        term: weight for term, weight in rarity.items() if term not in QUESTION_STOPWORDS
    } or rarity
    words = WORD_PATTERN.findall(question)
    proper = {
        term
        for at, word in enumerate(words)
        if at and word[:1].isupper()
        for term in extract_terms(word)
    }
    numbered = {
        term
        for word in words
        if any(character.isdigit() for character in word)
        for term in extract_terms(word)
    }
    return QuestionAnalysis(
        term_weights=weights,
        name_terms=frozenset(proper & weights.keys()),
        number_terms=frozenset(numbered & weights.keys()),
        designations=frozenset(_find_designations(words)),
        quantities=frozenset(find_numbers(question)),
        answer_kind=next(
            (
                kind
                for kind, pattern in _QUESTION_PATTERNS
                if re.search(pattern, question, re.IGNORECASE)
            ),
            None,
        ),
        all_terms=frozenset(extract_terms(question)),
    )


def _find_designations(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for at, word in enumerate(words):
        if not any(character.isdigit() for character in word):
            continue
        before = words[at - 1] if at else ""
        if re.search(r"[A-Z]", word):
            yield tuple(extract_terms(word)[-2:])
        elif (
            before[:1].isupper()
            and at > 1
            and extract_terms(before)
            and not DATE_PATTERN.search(f"{before} {word}")
        ):
            yield (*extract_terms(before)[-1:], *extract_terms(word)[-1:])


def mentions_designation(text: str, designation: Sequence[str]) -> bool:
    """Whether a text has the terms of a designation one after the other."""
    return f" {' '.join(designation)} " in f" {' '.join(extract_terms(text))} "


def mentions_other_designation(text: str, designations: Set[tuple[str, ...]]) -> bool:
    """Whether a text names a thing of the same kind as one of some designations, a Heron 200 where the Heron 210
    was asked for, and has the numbers of none of them.
    """
    kinds = {designation[0] for designation in designations if len(designation) > 1}
    found = (
        extract_terms(text) if kinds else []
    )  # most questions name nothing, and this is asked of every sentence
    if any(designation[-1] in found for designation in designations):
        return False
    return any(kind in kinds and any(map(str.isdigit, number)) for kind, number in pairwise(found))


@lru_cache(maxsize=8_192)
def collect_terms(text: str) -> frozenset[str]:
    """The distinct terms of a sentence or a heading. Kept, since one answer asks for them several times, and the next
    question often finds the same passages.
    """
    return frozenset(extract_terms(text))
