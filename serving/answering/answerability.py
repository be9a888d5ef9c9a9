"""Is the answer in the evidence? A small model that a person can read decides; if not, the answer is a refusal.

The model is a logistic regression over the features below, with its weights and its threshold in
serving/answering/answerability.json (`python -m evaluation.train_answerability` makes it). docs/decisions/0006-refusal.md says how
it was chosen. Whatever is counted is counted over what the reader may see: to them, forbidden and absent are the same.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.text.terms import WORD_PATTERN, extract_terms
from retrieval.types import SearchResult
from serving.answering.evidence import (
    EvidenceSentence,
    compute_coverage,
    compute_share,
    extract_sentences,
    extract_term_pairs,
    score_answer_kind,
)
from serving.answering.extractive import (
    SOFTMAX_TEMPERATURE,
    RankedSentence,
    collect_passage_terms,
    expand_terms_by_spelling,
    rank_sentences,
    select_sentences,
)
from serving.answering.question import (
    AnswerKind,
    QuestionAnalysis,
    analyze_question,
    compute_max_idf,
    mentions_designation,
)
from serving.answering.types import Refusal

TOP_SENTENCES = 4  # sentences whose probabilities are added up
MAX_QUOTED_WORDS = 3  # of those that no document has, in a refusal
MEASURE_LABELS: Mapping[AnswerKind | None, str] = {
    "mass": "a weight",
    "age": "an age",
    "money": "a sum",
}


@dataclass(frozen=True, slots=True)
class _AnswerabilityInputs:
    """Evidence as it is judged, taken apart once: the question, all sentences, and how likely each is to answer."""

    evidence: SearchResult
    analysis: QuestionAnalysis
    candidates: list[EvidenceSentence]
    ranking: list[RankedSentence]

    @classmethod
    def from_evidence(cls, evidence: SearchResult) -> "_AnswerabilityInputs":
        return cls(
            evidence,
            analyze_question(evidence),
            extract_sentences(evidence),
            rank_sentences(evidence),
        )


@dataclass(frozen=True, slots=True)
class AnswerabilityResult:
    """The probability, 0 to 1, that the evidence holds an answer, and the refusal where it is too low."""

    confidence: float
    refusal: Refusal | None


def assess_answerability(evidence: SearchResult) -> AnswerabilityResult:
    """How likely the evidence holds the answer, and what to say when that is too little."""
    reading = _AnswerabilityInputs.from_evidence(evidence)
    probability, elsewhere = (
        _compute_probability(_compute_features(reading)),
        _describe_missing_subject(reading) if evidence.hits else "",
    )
    if elsewhere:
        probability = min(probability, load_threshold() / 2)
    return AnswerabilityResult(
        probability, None if probability >= load_threshold() else _build_refusal(reading, elsewhere)
    )


def _compute_probability(features: Mapping[str, float]) -> float:
    if not features:
        return 0.0
    score = load_coefficients()["intercept"] + sum(
        weight * features[name] for name, weight in load_coefficients()["weights"].items()
    )
    return float(1 / (1 + math.exp(-score)))


def load_threshold() -> float:
    """The confidence below which an answer is refused."""
    return float(load_coefficients()["threshold"])


@cache
def load_coefficients() -> dict[str, Any]:
    """The weights, the intercept and the threshold."""
    stored: dict[str, Any] = json.loads(
        Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    )
    return stored


def extract_answerability_features(evidence: SearchResult) -> dict[str, float]:
    """What the model sees: cosines and shares, which mean the same in ten documents and in a million. Empty without
    a sentence.
    """
    return _compute_features(_AnswerabilityInputs.from_evidence(evidence))


def _compute_features(inputs: _AnswerabilityInputs) -> dict[str, float]:
    evidence, wanted, candidates, choices = (
        inputs.evidence,
        inputs.analysis,
        inputs.candidates,
        inputs.ranking,
    )
    if not candidates:
        return {}
    best = choices[0].sentence
    asked_pairs = extract_term_pairs(evidence.question)
    passages = collect_passage_terms(evidence, candidates)
    everything, own = (
        frozenset[str]().union(*passages),
        expand_terms_by_spelling(wanted, passages[best.hit_index]),
    )
    cosines = sorted((unit.cosine for unit in candidates), reverse=True)
    certain = [
        choice.probability**SOFTMAX_TEMPERATURE for choice in choices
    ]  # as sure as the sentence model was at first
    absent = _find_unknown_terms(evidence, wanted) - own
    marked = wanted.name_terms | wanted.number_terms
    return {
        "cosine": cosines[0],
        "cosine_of_three": sum(cosines[:3]) / len(cosines[:3]),
        "passage_cosine": max(hit.dense.score or 0.0 for hit in evidence.hits),
        "own_passage_cosine": evidence.hits[best.hit_index].dense.score or 0.0,
        "lexical": max(hit.lexical.score or 0.0 for hit in evidence.hits)
        / (sum(evidence.idf.values()) or 1.0),
        "coverage": compute_coverage(wanted.term_weights, best.context_terms),
        "passage_coverage": compute_coverage(wanted.term_weights, own),
        "first_coverage": evidence.hits[0].coverage,
        "pairs": compute_share(asked_pairs, extract_term_pairs(best.text)),
        "elsewhere": compute_coverage(wanted.term_weights, everything)
        - compute_coverage(wanted.term_weights, passages[best.hit_index]),
        "rarest_missing": _compute_rarest_missing(wanted, own),
        "absent": compute_coverage(wanted.term_weights, absent),
        "names_absent": 1 - compute_share(marked, marked - absent),
        "names": compute_share(marked, own),
        "kind": max(
            score_answer_kind(wanted, choice.sentence.text) for choice in select_sentences(choices)
        ),
        "certainty": sum(certain[:TOP_SENTENCES]) / sum(certain),
    }


def _find_unknown_terms(evidence: SearchResult, analysis: QuestionAnalysis) -> frozenset[str]:
    """The terms that stand in nothing the reader may see: their idf is the highest there is."""
    return frozenset(
        term
        for term in analysis.term_weights
        if evidence.idf[term] >= compute_max_idf(evidence) - 1e-6
    )


def _compute_rarest_missing(analysis: QuestionAnalysis, present: frozenset[str]) -> float:
    """The rarity of the rarest term that is missing, in units of the rarest that is asked for; 0 to 1."""
    whole = max(analysis.term_weights.values(), default=0.0)
    return (
        max((w for term, w in analysis.term_weights.items() if term not in present), default=0.0)
        / whole
        if whole
        else 0.0
    )


def _describe_missing_subject(inputs: _AnswerabilityInputs) -> str:
    """What the question names or measures that the evidence doesn't, empty where there is no such thing: then the
    evidence is about something else, however near it comes.
    """
    evidence, wanted = inputs.evidence, inputs.analysis
    texts = [f"{hit.context} {hit.text}" for hit in evidence.hits]
    for designation in wanted.designations:
        if not any(mentions_designation(text, designation) for text in texts):
            return _quote_question_words(evidence.question, frozenset(designation), " ")
    if wanted.answer_kind in MEASURE_LABELS and all(
        score_answer_kind(wanted, choice.sentence.text) < 0
        for choice in select_sentences(inputs.ranking)
    ):
        return MEASURE_LABELS[wanted.answer_kind]
    return ""


def _build_refusal(inputs: _AnswerabilityInputs, missing_subject: str) -> Refusal:
    evidence, wanted = inputs.evidence, inputs.analysis
    many = (
        f"the {evidence.searched.documents:,} documents"
        if evidence.searched.documents != 1
        else "the one document"
    )
    those = (
        "the documents that the filter lets pass"
        if evidence.filter
        else f"{many} that you may read"
    )
    absent = _find_unknown_terms(evidence, wanted)
    if missing_subject:
        return Refusal(
            "partial_evidence", f"What comes closest in {those} lacks {missing_subject}.", ()
        )
    if absent and compute_coverage(wanted.term_weights, wanted.term_weights.keys() - absent) >= 0.5:
        missing = _quote_question_words(evidence.question, absent, " or ")
        return Refusal("partial_evidence", f"None of {those} mentions {missing}.", ())
    return Refusal("no_evidence", f"Nothing in {those} says this.", ())


def _quote_question_words(question: str, missing_terms: frozenset[str], separator: str) -> str:
    """The question's own words for some terms, as they stand in it."""
    found = dict.fromkeys(
        word
        for word in WORD_PATTERN.findall(question)
        if missing_terms.intersection(extract_terms(word))
    )
    if separator == " ":
        return f'"{separator.join(found)}"'
    return separator.join(f'"{word}"' for word in list(found)[:MAX_QUOTED_WORDS])
