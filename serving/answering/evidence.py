"""What a question asks for, and what each sentence of the evidence holds of it: the words, the names, the numbers.

Everything here is counted relative to the question, so that it means the same in ten documents and in a million.
"""

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

from core.text.editions import CAPITALISED_WORD_PATTERN
from core.text.numbers import DATE_PATTERN, find_numbers
from core.text.terms import extract_terms
from core.types import Span
from retrieval.types import Hit, SearchResult
from serving.answering.guardrails.prompt_injection import find_injections, overlaps_injection
from serving.answering.question import ANSWER_PATTERNS, QuestionAnalysis, collect_terms

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EvidenceSentence:
    """A sentence (or list item, or table row) of the evidence, with what stands around it.

    `header` is the row that names the columns where the unit is a row of a table. `own` are its terms, `around` its
    own with those of the headings, of the table's header and of the sentence before. `before` is the unit before it in
    the same paragraph.
    """

    hit_index: int
    span: Span
    text: str
    cosine: float
    header: str
    own_terms: frozenset[str]
    context_terms: frozenset[str]
    previous: "EvidenceSentence | None"


def compute_coverage(weights: Mapping[str, float], present: Set[str]) -> float:
    """The share of the weight of some terms that are present, 0 to 1; 0 for no terms."""
    whole = sum(weights.values())
    return (
        sum(weight for term, weight in weights.items() if term in present) / whole if whole else 0.0
    )


def extract_term_pairs(text: str) -> set[tuple[str, str]]:
    """The terms of a text that follow one another."""
    found = extract_terms(text)
    return set(pairwise(found))


def compute_share(wanted: Set[T], present: Set[T]) -> float:
    """The share of the wanted terms that are present, 0 to 1; 1 where nothing is wanted."""
    return len(wanted & present) / len(wanted) if wanted else 1.0


def extract_sentences(evidence: SearchResult) -> list[EvidenceSentence]:
    """The sentences of the evidence in order, without rows that only name a table's columns, and without what
    speaks to a machine (serving/answering/guardrails/prompt_injection.py).
    """
    return [
        unit
        for number, hit in enumerate(evidence.hits)
        for unit in _extract_hit_sentences(number, hit)
    ]


def _extract_hit_sentences(hit_index: int, hit: Hit) -> Iterator[EvidenceSentence]:
    path = collect_terms(f"{hit.title} {hit.context}")
    headers, machines = dict(find_table_rows(hit)), find_injections(hit)
    before, end = None, hit.span.start
    for place, sentence in enumerate(hit.sentences):
        text, header = hit.quote(sentence.span), headers.get(place)
        if "\n" in hit.text[end - hit.span.start : sentence.span.start - hit.span.start]:
            before = None
        end = sentence.span.end
        if overlaps_injection(sentence.span, machines):
            before = None  # no quote goes across it
            continue
        if header == text:
            continue
        own = collect_terms(text)
        around = (
            own | path | (before.own_terms if before else frozenset()) | collect_terms(header or "")
        )
        unit = EvidenceSentence(
            hit_index,
            sentence.span,
            text,
            sentence.cosine or 0.0,
            header or "",
            own,
            around,
            before,
        )
        before = unit
        yield unit


def find_table_rows(hit: Hit) -> Iterator[tuple[int, str]]:
    """The places of the sentences of a hit that are rows of a table, each with its header row (its own, for that).

    A table that began in an earlier chunk has its header as the last line of the hit's context.
    """
    carried = hit.context.rsplit("\n", 1)[-1]
    header = carried if is_table_row(carried) else None
    end = hit.span.start
    for place, sentence in enumerate(hit.sentences):
        text = hit.quote(sentence.span)
        apart = (
            place
            and hit.text[end - hit.span.start : sentence.span.start - hit.span.start].count("\n")
            != 1
        )
        if apart or not is_table_row(text):
            header = None
        if is_table_row(text):
            header = header or text
            yield place, header
        end = sentence.span.end


def is_table_row(text: str) -> bool:
    """Whether a line is a row of a table, as parsers write it: cells with bars between them."""
    return " | " in text


def score_answer_kind(analysis: QuestionAnalysis, text: str) -> float:
    """1 where a text holds something of the kind that is asked for and not in the question, -1 where it doesn't,
    0 where the question doesn't say of which kind the answer is.
    """
    if analysis.answer_kind is None:
        return 0.0
    return 1.0 if _contains_answer_kind(analysis, text) else -1.0


def _contains_answer_kind(analysis: QuestionAnalysis, text: str) -> bool:
    if analysis.answer_kind in ANSWER_PATTERNS:
        return ANSWER_PATTERNS[analysis.answer_kind].search(text) is not None
    if analysis.answer_kind == "date":
        return any(
            not set(extract_terms(found[0])) <= analysis.all_terms
            for found in DATE_PATTERN.finditer(text)
        )
    if analysis.answer_kind == "number":
        return bool(find_numbers(text) - analysis.quantities)
    return any(
        set(extract_terms(found[0])) - analysis.all_terms
        for found in CAPITALISED_WORD_PATTERN.finditer(text)
        if found.start()
    )
