"""Fit the model that refuses, serving/answering/answerability.json, and draw the curve its threshold was chosen on.

    python -m evaluation.train_answerability ../shared/data/squad TENANT TENANT_WITHOUT [picture.svg]

The folder holds a questions.jsonl. TENANT has its whole corpus.jsonl ingested, TENANT_WITHOUT the same corpus without
the articles that the questions are about. An answerable question asked of the first is a positive; every question
asked of the second is a negative. Questions that are unanswerable though their article is there are measured, not
learnt from: what tells them apart is reading, and learning from them costs more of the rest than it gains. A quarter
of the articles is held out in turn; threshold and figures are of held-out articles, the weights of all. The picture
needs matplotlib.
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
from evaluation.cross_validation import CROSS_VALIDATION_FOLDS, question_article
from evaluation.datasets import CorpusQuestion, read_questions
from evaluation.metrics import auroc
from retrieval.context import CANDIDATE_HITS, build_context
from retrieval.retriever import retrieve
from retrieval.types import SearchResult
from serving.answering import answerability

FloatArray = NDArray[np.float64]
RIDGE_PENALTY = 1.0  # weight of the squared length of the weights, over features of variance 1
MAX_WRONG_REFUSAL_SHARE = (
    0.045  # share of held-out answerable questions that the threshold may refuse
)


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """A question's features with its article there, and without."""

    question: CorpusQuestion
    present: dict[str, float]
    absent: dict[str, float]


def build_sample(
    question: CorpusQuestion, present: SearchResult, absent: SearchResult
) -> TrainingSample:
    """What the model learns of a question."""
    return TrainingSample(
        question,
        answerability.extract_answerability_features(present),
        answerability.extract_answerability_features(absent),
    )


def fit_classifier(samples: Sequence[TrainingSample]) -> tuple[FloatArray, float]:
    """Weights, shape (features,), and intercept; positives and negatives weigh alike."""
    positive = [list(each.present.values()) for each in samples if each.question.answerable]
    negative = [list(each.absent.values()) for each in samples]
    X, y = np.array(positive + negative), np.array([1.0] * len(positive) + [0.0] * len(negative))
    importance = np.where(y == 1, 1.0, len(positive) / len(negative))
    middle, spread = X.mean(axis=0), X.std(axis=0) + 1e-9
    X = np.column_stack([(X - middle) / spread, np.ones(len(X))])

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        score = X @ weights
        shrunk = np.append(weights[:-1], 0.0)
        value = (
            importance * (np.logaddexp(0, score) - y * score)
        ).sum() + RIDGE_PENALTY / 2 * shrunk @ shrunk
        return float(value), X.T @ (
            importance * (1 / (1 + np.exp(-score)) - y)
        ) + RIDGE_PENALTY * shrunk

    found: FloatArray = minimize(loss, np.zeros(X.shape[1]), jac=True, method="L-BFGS-B").x
    weights = found[:-1] / spread
    return weights, float(found[-1] - weights @ middle)


def predict_probabilities(
    rows: Sequence[dict[str, float]], model: tuple[FloatArray, float]
) -> FloatArray:
    """The probability for each row of features, shape (rows,)."""
    weights, intercept = model
    return np.asarray(
        1 / (1 + np.exp(-(np.array([list(row.values()) for row in rows]) @ weights + intercept)))
    )


def predict_held_out(samples: Sequence[TrainingSample]) -> dict[str, FloatArray]:
    """The probabilities of questions by models that never saw their articles: answerable, absent, adversarial."""
    parts: dict[str, list[FloatArray]] = {"answerable": [], "absent": [], "adversarial": []}
    articles = sorted({question_article(each.question) for each in samples})
    for number in range(CROSS_VALIDATION_FOLDS):
        tested_articles = set(articles[number::CROSS_VALIDATION_FOLDS])
        model = fit_classifier(
            [each for each in samples if question_article(each.question) not in tested_articles]
        )
        tested = [each for each in samples if question_article(each.question) in tested_articles]
        parts["answerable"].append(
            predict_probabilities(
                [each.present for each in tested if each.question.answerable], model
            )
        )
        parts["adversarial"].append(
            predict_probabilities(
                [each.present for each in tested if not each.question.answerable], model
            )
        )
        parts["absent"].append(predict_probabilities([each.absent for each in tested], model))
    return {name: np.concatenate(scores) for name, scores in parts.items()}


def build_model_file(
    samples: Sequence[TrainingSample],
) -> tuple[dict[str, object], dict[str, FloatArray]]:
    """What is written to the file, and the held-out probabilities behind it."""
    tested = predict_held_out(samples)
    threshold = float(np.quantile(tested["answerable"], MAX_WRONG_REFUSAL_SHARE))
    weights, intercept = fit_classifier(samples)
    positive = tested["answerable"].tolist()
    measured = {
        "answerable_refused": round(float(np.mean(tested["answerable"] < threshold)), 4),
        "absent_refused": round(float(np.mean(tested["absent"] < threshold)), 4),
        "absent_auroc": round(auroc(positive, tested["absent"].tolist()), 4),
        "adversarial_refused": round(float(np.mean(tested["adversarial"] < threshold)), 4),
        "adversarial_auroc": round(auroc(positive, tested["adversarial"].tolist()), 4),
    }
    return {
        "made_by": "python -m evaluation.train_answerability",
        "questions": len(samples),
        "held_out_articles": measured,
        "threshold": round(threshold, 4),
        "intercept": round(intercept, 4),
        "weights": {
            name: round(float(w), 4) for name, w in zip(samples[0].present, weights, strict=True)
        },
    }, tested


def draw_refusal_curve(tested: dict[str, FloatArray], threshold: float, file: Path) -> None:
    """The share refused of each kind of question at every threshold."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    cuts = np.linspace(0, 1, 501)
    labels = {"absent": "article not in the corpus", "adversarial": "article there, answer not"}
    for name, scores in tested.items():
        axes.plot(
            cuts, [float(np.mean(scores < cut)) for cut in cuts], label=labels.get(name, name)
        )
    axes.axvline(threshold, color="grey", linestyle=":", label=f"threshold {threshold:.2f}")
    axes.set(
        xlabel="refused below this confidence", ylabel="share refused", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend()
    figure.savefig(file)


def main(folder: Path, tenant: str, tenant_without: str, picture: Path | None) -> None:
    """Ask, fit, measure on held-out articles, write."""
    samples = []
    with open_services(load_settings()) as services:
        for question in read_questions(folder / "questions.jsonl"):
            present, absent = (
                build_context(
                    retrieve(services, Principal(name), question.question, limit=CANDIDATE_HITS)
                )
                for name in (tenant, tenant_without)
            )
            samples.append(build_sample(question, present, absent))
    written, tested = build_model_file(samples)
    text = json.dumps(written, indent=2) + "\n"
    Path(answerability.__file__).with_suffix(".json").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
    if picture:
        draw_refusal_curve(tested, float(str(written["threshold"])), picture)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        sys.argv[2],
        sys.argv[3],
        Path(sys.argv[4]) if len(sys.argv) > 4 else None,
    )
