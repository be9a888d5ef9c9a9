"""Cross-validation over articles, optimisation and output of both training scripts."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from evaluation.datasets import CorpusQuestion

CROSS_VALIDATION_FOLDS = 4
RIDGE_PENALTY = 1.0  # of the squared length of the weights, over features of variance 1

FloatArray = NDArray[np.float64]


class Sample(Protocol):
    """Training data of one question."""

    @property
    def question(self) -> CorpusQuestion:
        """The question."""


AnySample = TypeVar("AnySample", bound=Sample)


def split_by_article(
    samples: Sequence[AnySample],
) -> Iterator[tuple[list[AnySample], list[AnySample]]]:
    """Yield training and test samples, a quarter of the articles as test samples in turn.

    No article is in both, since its questions resemble each other.
    """
    articles = sorted({_article_of(sample) for sample in samples})
    for fold in range(CROSS_VALIDATION_FOLDS):
        test_articles = set(articles[fold::CROSS_VALIDATION_FOLDS])
        training = [sample for sample in samples if _article_of(sample) not in test_articles]
        test = [sample for sample in samples if _article_of(sample) in test_articles]
        yield training, test


def _article_of(sample: Sample) -> str:
    return sample.question.passage_id.split("#", 1)[0]


def minimise_loss(
    loss: Callable[[FloatArray], tuple[float, FloatArray]], weight_count: int
) -> FloatArray:
    """Return the weights with the lowest loss; `loss` returns its value and its gradient."""
    weights: FloatArray = minimize(loss, np.zeros(weight_count), jac=True, method="L-BFGS-B").x
    return weights


def round_weights(names: Sequence[str], weights: FloatArray) -> dict[str, float]:
    """Return the weights by name, as the file has them."""
    return {name: round(float(weight), 4) for name, weight in zip(names, weights, strict=True)}


def write_model(code_file: str | None, model: Mapping[str, Any]) -> None:
    """Write a fitted model next to the module that uses it, and print it."""
    assert code_file
    text = json.dumps(model, indent=2) + "\n"
    Path(code_file).with_suffix(".json").write_text(text, encoding="utf-8")
    sys.stdout.write(text)
