"""Fit the weights of the sentence model, serving/answering/extractive.json.

    python -m evaluation.train_extractive FOLDER TENANT

FOLDER holds a questions.jsonl; TENANT has its corpus.jsonl ingested (`groundwork eval answers
--corpus ... --questions ...` does that and names the tenant). The model is a conditional logit
(McFadden, 1974): among the sentences of the evidence, those of the right passage with an accepted
answer should have all the probability. The figures come from held-out articles, the weights from
all articles.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.principal import Principal
from core.services import open_services
from core.settings import load_settings
from evaluation.answers import contains_any
from evaluation.datasets import CorpusQuestion, read_questions
from evaluation.training import (
    RIDGE_PENALTY,
    FloatArray,
    minimise_loss,
    round_weights,
    split_by_article,
    write_model,
)
from retrieval.context import CANDIDATE_HITS, build_context
from retrieval.retriever import retrieve
from retrieval.types import SearchResult
from serving.answering import extractive
from serving.answering.evidence import extract_sentences
from serving.answering.question import analyze_question

MEASURED_COUNTS = (1, 2, 3)  # first sentences in which an accepted answer is looked for


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """The sentences of a question's evidence, with features of shape (sentences, features)."""

    question: CorpusQuestion
    feature_names: tuple[str, ...]
    features: FloatArray
    is_correct: NDArray[np.bool_]
    holds_gold: NDArray[np.bool_]


def build_sample(question: CorpusQuestion, evidence: SearchResult) -> TrainingSample:
    """Return the features of a question's evidence."""
    sentences = extract_sentences(evidence)
    analysis = analyze_question(evidence)
    rows = extractive.extract_sentence_features(evidence, analysis, sentences)
    paths = [evidence.hits[sentence.hit_index].path for sentence in sentences]
    is_gold = [contains_any(question.answers, [sentence.text]) for sentence in sentences]
    is_own = [path == question.passage_id for path in paths]
    holds_gold = np.array(is_gold, dtype=bool)
    return TrainingSample(
        question,
        tuple(rows[0]) if rows else (),
        np.array([list(row.values()) for row in rows]),
        holds_gold & np.array(is_own, dtype=bool),
        holds_gold,
    )


def fit_weights(samples: Sequence[TrainingSample]) -> FloatArray:
    """Return the weights that make the correct sentences most probable; shape (features,)."""
    samples = [sample for sample in samples if sample.is_correct.any()]
    X = np.concatenate([sample.features for sample in samples])
    spread = X.std(axis=0) + 1e-9
    X = X / spread
    is_correct = np.concatenate([sample.is_correct for sample in samples]).astype(np.float64)
    sizes = [len(sample.is_correct) for sample in samples]
    owner = np.repeat(np.arange(len(samples)), sizes)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        scores = X @ weights
        odds = np.exp(scores - np.maximum.reduceat(scores, starts)[owner])
        total = np.add.reduceat(odds, starts)
        correct = np.add.reduceat(odds * is_correct, starts)
        value = -np.log(correct / total).sum() + RIDGE_PENALTY / 2 * weights @ weights
        gradient = X.T @ (odds / total[owner] - odds * is_correct / correct[owner])
        return float(value), gradient + RIDGE_PENALTY * weights

    weights: FloatArray = minimise_loss(loss, X.shape[1]) / spread
    return weights


def is_gold_among_first(sample: TrainingSample, weights: FloatArray, count: int) -> bool:
    """Return true if one of the `count` most probable sentences holds an accepted answer."""
    order = np.argsort(-(sample.features @ weights))
    return bool(sample.holds_gold[order[:count]].any())


def measure_held_out(samples: Sequence[TrainingSample]) -> dict[str, float]:
    """Return the fractions of questions with an answer in the first sentences, held out."""
    hits: dict[int, list[bool]] = {count: [] for count in MEASURED_COUNTS}
    for training, test in split_by_article(samples):
        weights = fit_weights(training)
        for count in MEASURED_COUNTS:
            hits[count] += [is_gold_among_first(sample, weights, count) for sample in test]
    return {
        f"gold_in_first_{count}": round(float(np.mean(found)), 4) for count, found in hits.items()
    }


def main(folder: Path, tenant: str) -> None:
    """Ask the questions, measure the model on held-out articles, fit it on all, write it."""
    samples = []
    with open_services(load_settings()) as services:
        for question in read_questions(folder / "questions.jsonl"):
            if question.answerable:
                result = retrieve(
                    services, Principal(tenant), question.question, limit=CANDIDATE_HITS
                )
                samples.append(build_sample(question, build_context(result)))
    model = {
        "made_by": "python -m evaluation.train_extractive",
        "questions": len(samples),
        "held_out_articles": measure_held_out(samples),
        "weights": round_weights(samples[0].feature_names, fit_weights(samples)),
    }
    write_model(extractive.__file__, model)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
