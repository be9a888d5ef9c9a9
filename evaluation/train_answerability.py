"""Fit serving/answering/answerability.json, and draw the curve behind its threshold.

    python -m evaluation.train_answerability FOLDER TENANT TENANT_WITHOUT [PICTURE.svg]

FOLDER holds a questions.jsonl. TENANT has the whole corpus.jsonl ingested; TENANT_WITHOUT has
the same corpus without the articles of the questions. An answerable question to TENANT is a
positive; each question to TENANT_WITHOUT is a negative. Unanswerable questions whose article is
there are measured, but not trained on: only reading tells them apart, and training on them costs
more of the other questions than it gains. The threshold and the figures come from held-out
articles, the weights from all articles. The picture needs matplotlib.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.principal import Principal
from core.services import Services, open_services
from core.settings import load_settings
from evaluation.datasets import CorpusQuestion, read_questions
from evaluation.metrics import auroc
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
from serving.answering import answerability

MAX_WRONG_REFUSAL_SHARE = 0.045  # of held-out answerable questions, by the threshold


@dataclass(frozen=True, slots=True)
class TrainingSample:
    """The features of a question whose article is in the corpus (present), and is not (absent)."""

    question: CorpusQuestion
    present: dict[str, float]
    absent: dict[str, float]


def fit_classifier(samples: Sequence[TrainingSample]) -> tuple[FloatArray, float]:
    """Return weights, shape (features,), and intercept; positives and negatives count alike."""
    positive = [list(sample.present.values()) for sample in samples if sample.question.answerable]
    negative = [list(sample.absent.values()) for sample in samples]
    X, y = np.array(positive + negative), np.array([1.0] * len(positive) + [0.0] * len(negative))
    importance = np.where(y == 1, 1.0, len(positive) / len(negative))
    middle, spread = X.mean(axis=0), X.std(axis=0) + 1e-9
    X = np.column_stack([(X - middle) / spread, np.ones(len(X))])

    def loss(weights: FloatArray) -> tuple[float, FloatArray]:
        score = X @ weights
        penalised = np.append(weights[:-1], 0.0)  # all but the intercept
        likelihood = (importance * (np.logaddexp(0, score) - y * score)).sum()
        value = likelihood + RIDGE_PENALTY / 2 * penalised @ penalised
        gradient = X.T @ (importance * (1 / (1 + np.exp(-score)) - y))
        return float(value), gradient + RIDGE_PENALTY * penalised

    scaled = minimise_loss(loss, X.shape[1])
    weights = scaled[:-1] / spread
    return weights, float(scaled[-1] - weights @ middle)


def predict_probabilities(
    rows: Sequence[dict[str, float]], model: tuple[FloatArray, float]
) -> FloatArray:
    """Return the probability for each row of features, shape (rows,)."""
    weights, intercept = model
    features = np.array([list(row.values()) for row in rows])
    return np.asarray(1 / (1 + np.exp(-(features @ weights + intercept))))


def predict_held_out(samples: Sequence[TrainingSample]) -> dict[str, FloatArray]:
    """Return probabilities by kind of question, of models that did not see the article."""
    probabilities: dict[str, list[FloatArray]] = {"answerable": [], "absent": [], "adversarial": []}
    for training, test in split_by_article(samples):
        model = fit_classifier(training)
        rows = {
            "answerable": [sample.present for sample in test if sample.question.answerable],
            "absent": [sample.absent for sample in test],
            "adversarial": [sample.present for sample in test if not sample.question.answerable],
        }
        for kind, parts in probabilities.items():
            parts.append(predict_probabilities(rows[kind], model))
    return {kind: np.concatenate(parts) for kind, parts in probabilities.items()}


def build_model(
    samples: Sequence[TrainingSample], held_out: dict[str, FloatArray]
) -> dict[str, object]:
    """Return the content of answerability.json."""
    threshold = float(np.quantile(held_out["answerable"], MAX_WRONG_REFUSAL_SHARE))
    positive = held_out["answerable"].tolist()
    figures = {"answerable_refused": _refused_share(held_out["answerable"], threshold)}
    for kind in ("absent", "adversarial"):
        figures[f"{kind}_refused"] = _refused_share(held_out[kind], threshold)
        figures[f"{kind}_auroc"] = round(auroc(positive, held_out[kind].tolist()), 4)
    weights, intercept = fit_classifier(samples)
    return {
        "made_by": "python -m evaluation.train_answerability",
        "questions": len(samples),
        "held_out_articles": figures,
        "threshold": round(threshold, 4),
        "intercept": round(intercept, 4),
        "weights": round_weights(list(samples[0].present), weights),
    }


def _refused_share(probabilities: FloatArray, threshold: float) -> float:
    return round(float(np.mean(probabilities < threshold)), 4)


def draw_refusal_curve(held_out: dict[str, FloatArray], threshold: float, file: Path) -> None:
    """Draw the fraction that each threshold refuses of each kind of question."""
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    thresholds = np.linspace(0, 1, 501)
    labels = {"absent": "article not in the corpus", "adversarial": "article there, answer not"}
    for kind, scores in held_out.items():
        refused = [float(np.mean(scores < each)) for each in thresholds]
        axes.plot(thresholds, refused, label=labels.get(kind, kind))
    axes.axvline(threshold, color="grey", linestyle=":", label=f"threshold {threshold:.2f}")
    axes.set(
        xlabel="refused below this confidence", ylabel="share refused", xlim=(0, 1), ylim=(0, 1)
    )
    axes.legend()
    figure.savefig(file)


def main(folder: Path, tenant: str, tenant_without: str, picture: Path | None) -> None:
    """Ask the questions, fit the model, measure it on held-out articles, and write it."""
    with open_services(load_settings()) as services:
        samples = [
            TrainingSample(
                question,
                _extract_features(services, tenant, question),
                _extract_features(services, tenant_without, question),
            )
            for question in read_questions(folder / "questions.jsonl")
        ]
    held_out = predict_held_out(samples)
    model = build_model(samples, held_out)
    write_model(answerability.__file__, model)
    if picture:
        draw_refusal_curve(held_out, float(str(model["threshold"])), picture)


def _extract_features(
    services: Services, tenant: str, question: CorpusQuestion
) -> dict[str, float]:
    result = retrieve(services, Principal(tenant), question.question, limit=CANDIDATE_HITS)
    return answerability.extract_answerability_features(build_context(result))


if __name__ == "__main__":
    folder, tenant, tenant_without, *picture = sys.argv[1:]
    main(Path(folder), tenant, tenant_without, Path(picture[0]) if picture else None)
