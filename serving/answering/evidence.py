"""Sentences of the retrieved passages, and the parts of the question that they hold.

All measures are relative to the question, so that they mean the same in ten documents and in a
million.
"""

import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from core.text.lexicon import load_lexicon
from core.text.numbers import DATE_PATTERN, find_numbers
from core.text.terms import extract_terms
from core.types import Span
from retrieval.types import Hit, SearchResult
from serving.answering.guardrails.prompt_injection import find_injections, overlaps_injection
from serving.answering.question import AnswerKind, QuestionAnalysis, collect_terms

T = TypeVar("T")

_LEXICON = load_lexicon("questions")
_ANSWER_PATTERNS: Mapping[AnswerKind | None, re.Pattern[str]] = {
    kind: _LEXICON.compile(expression) for kind, expression in _LEXICON["answer_kinds"].items()
}
_LEADING_PRONOUN = _LEXICON.pattern("leading_pronoun", flags=0)
_CAPITALIZED_WORD = re.compile(r"\b[^\W\d_a-z][\w'’.-]*")
_LIST_BULLET = re.compile(r"^(?:[-*•·]|\(?\d{1,2}[.)])\s+")
_CELL_SEPARATOR = " | "  # between the cells of a table row, as parsers write it


@dataclass(frozen=True, slots=True)
class EvidenceSentence:
    """A sentence, list item or table row of a passage, with its surroundings."""

    hit_index: int
    span: Span
    text: str
    cosine: float  # to the question
    header: str  # row with the column names, if this is a row of a table
    own_terms: frozenset[str]
    context_terms: frozenset[str]  # own, and those of headings, header and the sentence before
    previous: "EvidenceSentence | None"  # in the same paragraph


def extract_sentences(evidence: SearchResult) -> list[EvidenceSentence]:
    """Return the sentences of the evidence in order, without header rows and prompt injections."""
    sentences: list[EvidenceSentence] = []
    for hit_index, hit in enumerate(evidence.hits):
        sentences.extend(_extract_hit_sentences(hit_index, hit))
    return sentences


def _extract_hit_sentences(hit_index: int, hit: Hit) -> Iterator[EvidenceSentence]:
    heading_terms = collect_terms(f"{hit.title} {hit.context}")
    headers = dict(find_table_rows(hit))
    injections = find_injections(hit)
    previous, previous_end = None, hit.span.start
    for i, sentence in enumerate(hit.sentences):
        text, header = hit.quote(sentence.span), headers.get(i, "")
        if "\n" in _text_between(hit, previous_end, sentence.span.start):
            previous = None
        previous_end = sentence.span.end
        if overlaps_injection(sentence.span, injections):
            previous = None  # no quote may include the injection
            continue
        if header == text:
            continue
        own_terms = collect_terms(text)
        context_terms = own_terms | heading_terms | collect_terms(header)
        if previous:
            context_terms |= previous.own_terms
        previous = EvidenceSentence(
            hit_index,
            sentence.span,
            text,
            sentence.cosine or 0.0,
            header,
            own_terms,
            context_terms,
            previous,
        )
        yield previous


def find_table_rows(hit: Hit) -> Iterator[tuple[int, str]]:
    """Yield the sentence index and the header row of each table row; a header is its own header.

    The header of a table that began in an earlier chunk is the last line of the hit's context.
    """
    last_context_line = hit.context.rsplit("\n", 1)[-1]
    header = last_context_line if is_table_row(last_context_line) else None
    previous_end = hit.span.start
    for i, sentence in enumerate(hit.sentences):
        text = hit.quote(sentence.span)
        line_breaks = _text_between(hit, previous_end, sentence.span.start).count("\n")
        previous_end = sentence.span.end
        if not is_table_row(text):
            header = None
            continue
        if i and line_breaks != 1:
            header = None
        header = header or text
        yield i, header


def _text_between(hit: Hit, start: int, end: int) -> str:
    return hit.text[start - hit.span.start : end - hit.span.start]


def is_table_row(text: str) -> bool:
    """Return true if a line is a row of a table."""
    return _CELL_SEPARATOR in text


def begins_with_pronoun(text: str) -> bool:
    """Return true if a sentence continues the one before it: "It is ...", "The latter is ..."."""
    return _LEADING_PRONOUN.match(text) is not None


def format_quote(quote: str, header: str = "") -> str:
    """Return a quote on one line as a person reads it.

    A table row gets the names of its columns; a list item loses its bullet.
    """
    names, cells = header.split(_CELL_SEPARATOR), quote.split(_CELL_SEPARATOR)
    if header and len(names) == len(cells):
        named = zip(names, cells, strict=True)
        return "; ".join(f"{name.strip()}: {cell.strip()}" for name, cell in named) + "."
    return _LIST_BULLET.sub("", " ".join(quote.split()))


def compute_coverage(weights: Mapping[str, float], present: Set[str]) -> float:
    """Return the share, 0 to 1, of the terms' weight that is present; 0 if there are no terms."""
    total = sum(weights.values())
    if not total:
        return 0.0
    return sum(weight for term, weight in weights.items() if term in present) / total


def compute_share(wanted: Set[T], present: Set[T]) -> float:
    """Return the share, 0 to 1, of the wanted items that are present; 1 if none is wanted."""
    return len(wanted & present) / len(wanted) if wanted else 1.0


def extract_term_pairs(text: str) -> set[tuple[str, str]]:
    """Return the pairs of neighboring terms of a text."""
    return set(pairwise(extract_terms(text)))


def score_answer_kind(analysis: QuestionAnalysis, text: str) -> float:
    """Return 1 if a text adds something of the kind asked for, -1 if not; 0 if no kind is known."""
    if analysis.answer_kind is None:
        return 0.0
    return 1.0 if _contains_answer_kind(analysis, text) else -1.0


def _contains_answer_kind(analysis: QuestionAnalysis, text: str) -> bool:
    if analysis.answer_kind in _ANSWER_PATTERNS:
        return _ANSWER_PATTERNS[analysis.answer_kind].search(text) is not None
    if analysis.answer_kind == "number":
        return bool(find_numbers(text) - analysis.quantities)
    if analysis.answer_kind == "date":
        candidates = [match[0] for match in DATE_PATTERN.finditer(text)]
    else:
        candidates = [match[0] for match in _CAPITALIZED_WORD.finditer(text) if match.start()]
    return any(_has_new_term(candidate, analysis.all_terms) for candidate in candidates)


def _has_new_term(text: str, known_terms: frozenset[str]) -> bool:
    return not known_terms.issuperset(extract_terms(text))
