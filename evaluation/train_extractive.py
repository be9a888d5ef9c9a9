"""Fit the weights of the sentence model, serving/answering/extractive.json.

    python -m evaluation.train_extractive ../shared/data/squad TENANT

The folder holds a questions.jsonl; TENANT has its corpus.jsonl ingested (`groundwork eval answers --corpus ...
--questions ...` does that and names the tenant). The model is a conditional logit (McFadden, 1974): of the
sentences of the evidence, those that hold a gold string of the right passage shall have all the probability. A quarter
of the articles is held out in turn to say how good it is on others; the committed weights are of all of them.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from core.principal import Principal
from core.services import open_services
from core.settings import load_settings
from evaluation.answers import contains_any
from evaluation.cross_validation import CROSS_VALIDATION_FOLDS, question_article
from evaluation.datasets import CorpusQuestion, read_questions
from retrieval.context import CANDIDATE_HITS, build_context
from retrieval.retriever import retrieve
from retrieval.types import SearchResult
from serving.answering import extractive
from serving.answering.evidence import extract_sentences
from serving.answering.question import analyze_question

FloatArray = NDArray[np.float64]
RIDGE_PENALTY = 1.0  # weight of the squared length of the weights, over features of variance 1


@dataclass(frozen=True, slots=True)
class TrainingCase:
    """A question's sentences: features, shape (sentences, features), and which of them are right, and hold gold."""

    question: CorpusQuestion
    features: FloatArray
    is_correct: NDArray[np.bool_]
    holds_gold: NDArray[np.bool_]


def build_case(question: CorpusQuestion, evidence: SearchResult) -> TrainingCase:
    """A question with its evidence, as the model learns from it."""
    candidates = extract_sentences(evidence)
    found = extractive.extract_sentence_features(evidence, analyze_question(evidence), candidates)
    gold = np.array(
        [contains_any(question.answers, [unit.text]) for unit in candidates], dtype=bool
    )
    own = np.array(
        [evidence.hits[unit.hit_index].path == question.passage_id for unit in candidates],
        dtype=bool,
    )
    return TrainingCase(question, np.array([list(row.values()) for row in found]), gold & own, gold)


def fit_weights(cases: Sequence[TrainingCase]) -> FloatArray:
    """The weights that make the right sentences most probable; shape (features,)."""
    cases = [each for each in cases if each.is_correct.any()]
    X = np.concatenate([each.features for each in cases])
    spread = X.std(axis=0) + 1e-9
    X = X / spread
    right = np.concatenate([each.is_correct for each in cases]).astype(np.float64)
    sizes = [len(each.is_correct) for each in cases]
    owner, starts = (
        np.repeat(np.arange(len(cases)), sizes),
        np.concatenate([[0], np.cumsum(sizes)[:-1]]),
    )

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        scores = X @ weights
        odds = np.exp(scores - np.maximum.reduceat(scores, starts)[owner])
        every, correct = np.add.reduceat(odds, starts), np.add.reduceat(odds * right, starts)
        gradient = X.T @ (odds / every[owner] - odds * right / correct[owner])
        return float(
            -np.log(correct / every).sum() + RIDGE_PENALTY / 2 * weights @ weights
        ), gradient + RIDGE_PENALTY * weights

    found: FloatArray = minimize(loss, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B").x
    weights: FloatArray = found / spread
    return weights


def is_gold_among_first(
    cases: Sequence[TrainingCase], weights: FloatArray, count: int
) -> list[bool]:
    """For each question, whether a gold string stands in one of the `count` most probable sentences."""
    return [
        bool(each.holds_gold[np.argsort(-(each.features @ weights))[:count]].any())
        for each in cases
    ]


def main(folder: Path, tenant: str) -> None:
    """Fit on all articles, say how it does on held-out ones, and write the weights."""
    questions = [
        question for question in read_questions(folder / "questions.jsonl") if question.answerable
    ]
    with open_services(load_settings()) as services:
        evidence = [
            build_context(
                retrieve(services, Principal(tenant), each.question, limit=CANDIDATE_HITS)
            )
            for each in questions
        ]
    cases = [
        build_case(question, found) for question, found in zip(questions, evidence, strict=True)
    ]
    articles = sorted({question_article(question) for question in questions})
    held_out: dict[int, list[bool]] = {1: [], 2: [], 3: []}
    for number in range(CROSS_VALIDATION_FOLDS):
        left_out = set(articles[number::CROSS_VALIDATION_FOLDS])
        weights = fit_weights(
            [each for each in cases if question_article(each.question) not in left_out]
        )
        tested = [each for each in cases if question_article(each.question) in left_out]
        for count in held_out:
            held_out[count] += is_gold_among_first(tested, weights, count)
    measured = {
        f"gold_in_first_{count}": round(float(np.mean(found)), 4)
        for count, found in held_out.items()
    }
    names = list(_feature_names(evidence[0]))
    written = {
        "made_by": "python -m evaluation.train_extractive",
        "questions": len(cases),
        "held_out_articles": measured,
        "weights": {
            name: round(float(weight), 4)
            for name, weight in zip(names, fit_weights(cases), strict=True)
        },
    }
    Path(extractive.__file__).with_suffix(".json").write_text(
        json.dumps(written, indent=2) + "\n", encoding="utf-8"
    )
    sys.stdout.write(json.dumps(written, indent=2) + "\n")


def _feature_names(evidence: SearchResult) -> list[str]:
    return list(
        extractive.extract_sentence_features(
            evidence, analyze_question(evidence), extract_sentences(evidence)
        )[0]
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
