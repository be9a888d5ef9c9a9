"""Question analysis: the kind of answer a question asks for, its terms, names and numbers."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal

from core.text.lexicon import load_lexicon
from core.text.numbers import DATE_PATTERN, find_numbers
from core.text.terms import WORD_PATTERN, extract_terms, extract_word_terms
from retrieval.types import SearchResult

AnswerKind = Literal["name", "date", "period", "money", "mass", "age", "number", "reason"]

_LEXICON = load_lexicon("questions")
_QUESTION_STOP_TERMS = extract_word_terms(_LEXICON.words("stop_words"))
_QUESTION_PATTERNS: Mapping[AnswerKind, re.Pattern[str]] = {
    kind: _LEXICON.compile(expression) for kind, expression in _LEXICON["question_kinds"].items()
}
# Minimum weight of a term, as a share of the highest possible idf. In a few documents on one
# subject the name of the subject is common, but still important.
MIN_IDF_SHARE = 0.4


@dataclass(frozen=True, slots=True)
class QuestionAnalysis:
    """Parts of a question."""

    term_weights: Mapping[str, float]  # idf by term, without terms that only ask
    name_terms: frozenset[str]  # weighted terms written with a capital
    number_terms: frozenset[str]  # weighted terms written with a digit
    designations: frozenset[tuple[str, ...]]  # terms of Heron 210, ERR-4711 or B5, in order
    quantities: frozenset[float]
    answer_kind: AnswerKind | None
    all_terms: frozenset[str]


def analyze_question(evidence: SearchResult) -> QuestionAnalysis:
    """Return the parts of the question that the evidence was retrieved for."""
    question = evidence.question
    words = WORD_PATTERN.findall(question)
    weights = _weigh_terms(evidence)
    names = _collect_terms(word for word in words[1:] if word[:1].isupper())
    numbers = _collect_terms(word for word in words if _has_digit(word))
    return QuestionAnalysis(
        term_weights=weights,
        name_terms=names.intersection(weights),
        number_terms=numbers.intersection(weights),
        designations=frozenset(_find_designations(words)),
        quantities=frozenset(find_numbers(question)),
        answer_kind=_find_answer_kind(question),
        all_terms=frozenset(extract_terms(question)),
    )


def compute_max_idf(evidence: SearchResult) -> float:
    """Return the idf of a term that is in no passage the reader may see; no idf is higher."""
    return math.log(1 + (evidence.searched.passages + 0.5) / 0.5)


def _weigh_terms(evidence: SearchResult) -> Mapping[str, float]:
    """Return the question's terms with their idf, without stop words if there are others."""
    least = MIN_IDF_SHARE * compute_max_idf(evidence)
    weights = {term: max(idf, least) for term, idf in evidence.idf.items()}
    content = {term: w for term, w in weights.items() if term not in _QUESTION_STOP_TERMS}
    return content or weights


def _find_answer_kind(question: str) -> AnswerKind | None:
    matching = (kind for kind, pattern in _QUESTION_PATTERNS.items() if pattern.search(question))
    return next(matching, None)


def _collect_terms(words: Iterator[str]) -> frozenset[str]:
    return frozenset(term for word in words for term in extract_terms(word))


def _has_digit(word: str) -> bool:
    return any(map(str.isdigit, word))


def _find_designations(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    for i, word in enumerate(words):
        if not _has_digit(word):
            continue
        if re.search(r"[A-Z]", word):
            yield tuple(extract_terms(word)[-2:])
        elif i > 1 and _is_name_before_number(words[i - 1], word):
            yield (*extract_terms(words[i - 1])[-1:], *extract_terms(word)[-1:])


def _is_name_before_number(name: str, number: str) -> bool:
    """Return true for Heron 210, but not for May 12."""
    if not name[:1].isupper() or not extract_terms(name):
        return False
    return not DATE_PATTERN.search(f"{name} {number}")


def mentions_designation(text: str, designation: Sequence[str]) -> bool:
    """Return true if a text has the terms of a designation, one after the other."""
    return f" {' '.join(designation)} " in f" {' '.join(extract_terms(text))} "


def mentions_other_designation(text: str, designations: Set[tuple[str, ...]]) -> bool:
    """Return true if a text names only other things of the kind that the designations name.

    Example: a text about the Heron 200, if the question asks for the Heron 210.
    """
    kinds = {designation[0] for designation in designations if len(designation) > 1}
    if not kinds:
        return False  # most questions: do not extract the terms of every sentence
    terms = extract_terms(text)
    if any(designation[-1] in terms for designation in designations):
        return False
    return any(kind in kinds and _has_digit(number) for kind, number in pairwise(terms))


@lru_cache(maxsize=8_192)
def collect_terms(text: str) -> frozenset[str]:
    """Return the distinct terms of a sentence or a heading.

    Cached, since one answer needs them several times, and often the next one too.
    """
    return frozenset(extract_terms(text))
