"""Answerability: the probability that the evidence holds an answer; a refusal if it is low.

A logistic regression over the features below; weights and threshold are in
serving/answering/answerability.json (fitted by `python -m evaluation.train_answerability`).
docs/decisions/0006-refusal.md explains the choice. All counts are over the documents that the
reader may see: to the reader, a forbidden document looks like an absent one.
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

TOP_SENTENCES = 4  # sentences whose probabilities the feature "certainty" adds up
TOP_COSINES = 3
MAX_QUOTED_WORDS = 3  # of the question, in a refusal
MIN_KNOWN_WEIGHT = 0.5  # share of known terms, by weight, from which a refusal names the rest
IDF_TOLERANCE = 1e-6  # idf values come from the database, rounded
MEASURE_LABELS: Mapping[AnswerKind | None, str] = {
    "mass": "a weight",
    "age": "an age",
    "money": "a sum",
}


@dataclass(frozen=True, slots=True)
class AnswerabilityResult:
    """The probability, 0 to 1, that the evidence holds an answer, and the refusal if it is low."""

    confidence: float
    refusal: Refusal | None


@dataclass(frozen=True, slots=True)
class _Inputs:
    """Evidence, its question, its sentences, and their probabilities, computed once."""

    evidence: SearchResult
    analysis: QuestionAnalysis
    sentences: list[EvidenceSentence]
    ranking: list[RankedSentence]

    @classmethod
    def from_evidence(cls, evidence: SearchResult) -> "_Inputs":
        analysis, sentences = analyze_question(evidence), extract_sentences(evidence)
        return cls(evidence, analysis, sentences, rank_sentences(evidence))


def assess_answerability(evidence: SearchResult) -> AnswerabilityResult:
    """Return the probability that the evidence holds an answer, and a refusal if it is too low."""
    inputs = _Inputs.from_evidence(evidence)
    probability = _compute_probability(_compute_features(inputs))
    missing_subject = _describe_missing_subject(inputs) if evidence.hits else ""
    if missing_subject:
        probability = min(probability, load_threshold() / 2)
    if probability >= load_threshold():
        return AnswerabilityResult(probability, None)
    return AnswerabilityResult(probability, _build_refusal(inputs, missing_subject))


def _compute_probability(features: Mapping[str, float]) -> float:
    """Return the logistic function of the weighted features; 0 if there are none."""
    if not features:
        return 0.0
    weights = load_coefficients()["weights"]
    weighted_sum = sum(weight * features[name] for name, weight in weights.items())
    return float(1 / (1 + math.exp(-(load_coefficients()["intercept"] + weighted_sum))))


def load_threshold() -> float:
    """Return the confidence below which an answer is refused."""
    return float(load_coefficients()["threshold"])


@cache
def load_coefficients() -> dict[str, Any]:
    """Return the weights, the intercept and the threshold."""
    file = Path(__file__).with_suffix(".json")
    coefficients: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return coefficients


def extract_answerability_features(evidence: SearchResult) -> dict[str, float]:
    """Return the features of some evidence: cosines and shares, comparable between corpora.

    Empty if the evidence has no sentence.
    """
    return _compute_features(_Inputs.from_evidence(evidence))


def _compute_features(inputs: _Inputs) -> dict[str, float]:
    if not inputs.sentences:
        return {}
    evidence, analysis = inputs.evidence, inputs.analysis
    weights = analysis.term_weights
    best = inputs.ranking[0].sentence
    cosines = sorted((sentence.cosine for sentence in inputs.sentences), reverse=True)
    cosines = cosines[:TOP_COSINES]
    # Undo the softmax temperature, which flattens the probabilities.
    certainties = [ranked.probability**SOFTMAX_TEMPERATURE for ranked in inputs.ranking]
    question_pairs = extract_term_pairs(evidence.question)
    passage_terms = collect_passage_terms(evidence, inputs.sentences)
    best_passage_terms = passage_terms[best.hit_index]
    all_terms = frozenset[str]().union(*passage_terms)
    related_terms = expand_terms_by_spelling(analysis, best_passage_terms)
    absent_terms = _find_unknown_terms(inputs) - related_terms
    marked_terms = analysis.name_terms | analysis.number_terms
    chosen = select_sentences(inputs.ranking)
    return {
        "cosine": cosines[0],
        "cosine_of_three": sum(cosines) / len(cosines),
        "passage_cosine": max(hit.dense.score or 0.0 for hit in evidence.hits),
        "own_passage_cosine": evidence.hits[best.hit_index].dense.score or 0.0,
        "lexical": max(hit.lexical.score or 0.0 for hit in evidence.hits)
        / (sum(evidence.idf.values()) or 1.0),
        "coverage": compute_coverage(weights, best.context_terms),
        "passage_coverage": compute_coverage(weights, related_terms),
        "first_coverage": evidence.hits[0].coverage,
        "pairs": compute_share(question_pairs, extract_term_pairs(best.text)),
        "elsewhere": compute_coverage(weights, all_terms)
        - compute_coverage(weights, best_passage_terms),
        "rarest_missing": _compute_rarest_missing(weights, related_terms),
        "absent": compute_coverage(weights, absent_terms),
        "names_absent": 1 - compute_share(marked_terms, marked_terms - absent_terms),
        "names": compute_share(marked_terms, related_terms),
        "kind": max(score_answer_kind(analysis, ranked.sentence.text) for ranked in chosen),
        "certainty": sum(certainties[:TOP_SENTENCES]) / sum(certainties),
    }


def _find_unknown_terms(inputs: _Inputs) -> frozenset[str]:
    """Return the question's terms that no passage has: their idf is the highest possible."""
    idf, max_idf = inputs.evidence.idf, compute_max_idf(inputs.evidence)
    weights = inputs.analysis.term_weights
    return frozenset(term for term in weights if idf[term] >= max_idf - IDF_TOLERANCE)


def _compute_rarest_missing(weights: Mapping[str, float], present: frozenset[str]) -> float:
    """Return the weight of the rarest missing term, as a share of the rarest term's; 0 to 1."""
    highest = max(weights.values(), default=0.0)
    if not highest:
        return 0.0
    missing = (weight for term, weight in weights.items() if term not in present)
    return max(missing, default=0.0) / highest


def _describe_missing_subject(inputs: _Inputs) -> str:
    """Return the thing or measure that the question names and the evidence lacks, or an empty text.

    Evidence without it is about something else, however similar it is.
    """
    evidence, analysis = inputs.evidence, inputs.analysis
    texts = [f"{hit.context} {hit.text}" for hit in evidence.hits]
    for designation in analysis.designations:
        if not any(mentions_designation(text, designation) for text in texts):
            return f'"{" ".join(_find_words(evidence.question, frozenset(designation)))}"'
    if analysis.answer_kind not in MEASURE_LABELS:
        return ""
    chosen = select_sentences(inputs.ranking)
    if any(score_answer_kind(analysis, ranked.sentence.text) > 0 for ranked in chosen):
        return ""
    return MEASURE_LABELS[analysis.answer_kind]


def _build_refusal(inputs: _Inputs, missing_subject: str) -> Refusal:
    documents = _describe_documents(inputs.evidence)
    if missing_subject:
        reason = f"The closest passages in {documents} lack {missing_subject}."
        return Refusal("partial_evidence", reason, ())
    unknown, weights = _find_unknown_terms(inputs), inputs.analysis.term_weights
    if unknown and compute_coverage(weights, weights.keys() - unknown) >= MIN_KNOWN_WEIGHT:
        words = _find_words(inputs.evidence.question, unknown)[:MAX_QUOTED_WORDS]
        missing_words = " or ".join(f'"{word}"' for word in words)
        return Refusal("partial_evidence", f"None of {documents} mentions {missing_words}.", ())
    return Refusal("no_evidence", f"No answer was found in {documents}.", ())


def _describe_documents(evidence: SearchResult) -> str:
    if evidence.filter:
        return "the documents that the filter lets pass"
    if evidence.searched.documents == 1:
        return "the one document that you may read"
    return f"the {evidence.searched.documents:,} documents that you may read"


def _find_words(question: str, terms: frozenset[str]) -> list[str]:
    """Return the distinct words of the question that have one of the terms, in order."""
    words = dict.fromkeys(WORD_PATTERN.findall(question))
    return [word for word in words if not terms.isdisjoint(extract_terms(word))]
