"""Is the answer in the evidence? A small model that a person can read decides; if not, the answer is a refusal.

The model is a logistic regression over the features below, with its weights and its threshold in
serving/answering/answerability.json (`python -m evaluation.train_sufficiency` makes it). docs/decisions/0006-refusal.md says how
it was chosen. Whatever is counted is counted over what the reader may see: to them, forbidden and absent are the same.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from core.text.terms import WORD, terms
from retrieval.types import Evidence
from serving.answering.evidence import Unit, answers_kind, coverage, pairs, share, units  # fmt: skip
from serving.answering.extractive import TEMPERATURE, Choice, choose, family, passage_terms, ranked
from serving.answering.question import AnswerKind, Asked, asked, mentions, rarest
from serving.answering.types import Refusal

BEST = 4  # sentences whose probabilities are added up
WORDS_NAMED = 3  # of those that no document has, in a refusal
MEASURED: Mapping[AnswerKind | None, str] = {"mass": "a weight", "age": "an age", "money": "a sum"}


@dataclass(frozen=True, slots=True)
class _Reading:
    """Evidence as it is judged, taken apart once: the question, all sentences, and how likely each is to answer."""

    evidence: Evidence
    wanted: Asked
    candidates: list[Unit]
    choices: list[Choice]

    @classmethod
    def of(cls, evidence: Evidence) -> "_Reading":
        return cls(evidence, asked(evidence), units(evidence), ranked(evidence))


@dataclass(frozen=True, slots=True)
class Judgement:
    """The probability, 0 to 1, that the evidence holds an answer, and the refusal where it is too low."""

    confidence: float
    refusal: Refusal | None


def judge(evidence: Evidence) -> Judgement:
    """How likely the evidence holds the answer, and what to say when that is too little."""
    reading = _Reading.of(evidence)
    probability, elsewhere = _probability(_features(reading)), _elsewhere(reading) if evidence.hits else ""
    if elsewhere:
        probability = min(probability, threshold() / 2)
    return Judgement(probability, None if probability >= threshold() else _refuse(reading, elsewhere))


def _probability(found: Mapping[str, float]) -> float:
    if not found:
        return 0.0
    score = model()["intercept"] + sum(weight * found[name] for name, weight in model()["weights"].items())
    return float(1 / (1 + math.exp(-score)))


def threshold() -> float:
    """The confidence below which an answer is refused."""
    return float(model()["threshold"])


@cache
def model() -> dict[str, Any]:
    """The weights, the intercept and the threshold."""
    stored: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return stored


def features(evidence: Evidence) -> dict[str, float]:
    """What the model sees: cosines and shares, which mean the same in ten documents and in a million. Empty without
    a sentence.
    """
    return _features(_Reading.of(evidence))


def _features(reading: _Reading) -> dict[str, float]:
    evidence, wanted, candidates, choices = reading.evidence, reading.wanted, reading.candidates, reading.choices
    if not candidates:
        return {}
    best = choices[0].unit
    asked_pairs = pairs(evidence.question)
    passages = passage_terms(evidence, candidates)
    everything, own = frozenset[str]().union(*passages), family(wanted, passages[best.hit])
    cosines = sorted((unit.cosine for unit in candidates), reverse=True)
    certain = [choice.probability**TEMPERATURE for choice in choices]  # as sure as the sentence model was at first
    absent = _absent(evidence, wanted) - own
    marked = wanted.names | wanted.numbers
    return {
        "cosine": cosines[0],
        "cosine_of_three": sum(cosines[:3]) / len(cosines[:3]),
        "passage_cosine": max(hit.dense.score or 0.0 for hit in evidence.hits),
        "own_passage_cosine": evidence.hits[best.hit].dense.score or 0.0,
        "lexical": max(hit.lexical.score or 0.0 for hit in evidence.hits) / (sum(evidence.idf.values()) or 1.0),
        "coverage": coverage(wanted.weights, best.around),
        "passage_coverage": coverage(wanted.weights, own),
        "first_coverage": evidence.hits[0].coverage,
        "pairs": share(asked_pairs, pairs(best.text)),
        "elsewhere": coverage(wanted.weights, everything) - coverage(wanted.weights, passages[best.hit]),
        "rarest_missing": _rarest_missing(wanted, own),
        "absent": coverage(wanted.weights, absent),
        "names_absent": 1 - share(marked, marked - absent),
        "names": share(marked, own),
        "kind": max(answers_kind(wanted, choice.unit.text) for choice in choose(choices)),
        "certainty": sum(certain[:BEST]) / sum(certain),
    }


def _absent(evidence: Evidence, wanted: Asked) -> frozenset[str]:
    """The terms that stand in nothing the reader may see: their idf is the highest there is."""
    return frozenset(term for term in wanted.weights if evidence.idf[term] >= rarest(evidence) - 1e-6)


def _rarest_missing(wanted: Asked, present: frozenset[str]) -> float:
    """The rarity of the rarest term that is missing, in units of the rarest that is asked for; 0 to 1."""
    whole = max(wanted.weights.values(), default=0.0)
    return max((w for term, w in wanted.weights.items() if term not in present), default=0.0) / whole if whole else 0.0


def _elsewhere(reading: _Reading) -> str:
    """What the question names or measures that the evidence doesn't, empty where there is no such thing: then the
    evidence is about something else, however near it comes.
    """
    evidence, wanted = reading.evidence, reading.wanted
    texts = [f"{hit.context} {hit.text}" for hit in evidence.hits]
    for designation in wanted.designations:
        if not any(mentions(text, designation) for text in texts):
            return _words(evidence.question, frozenset(designation), " ")
    if wanted.kind in MEASURED and all(
        answers_kind(wanted, choice.unit.text) < 0 for choice in choose(reading.choices)
    ):
        return MEASURED[wanted.kind]
    return ""


def _refuse(reading: _Reading, elsewhere: str) -> Refusal:
    evidence, wanted = reading.evidence, reading.wanted
    many = f"the {evidence.documents:,} documents" if evidence.documents != 1 else "the one document"
    those = "the documents that the filter lets pass" if evidence.where else f"{many} that you may read"
    absent = _absent(evidence, wanted)
    if elsewhere:
        return Refusal("partial_evidence", f"What comes closest in {those} lacks {elsewhere}.", ())
    if absent and coverage(wanted.weights, wanted.weights.keys() - absent) >= 0.5:
        missing = _words(evidence.question, absent, " or ")
        return Refusal("partial_evidence", f"None of {those} mentions {missing}.", ())
    return Refusal("no_evidence", f"Nothing in {those} says this.", ())


def _words(question: str, looked_for: frozenset[str], between: str) -> str:
    """The question's own words for some terms, as they stand in it."""
    found = dict.fromkeys(word for word in WORD.findall(question) if looked_for.intersection(terms(word)))
    if between == " ":
        return f'"{between.join(found)}"'
    return between.join(f'"{word}"' for word in list(found)[:WORDS_NAMED])
