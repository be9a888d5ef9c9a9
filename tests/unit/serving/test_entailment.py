"""A model that has to agree with what is said: really loaded and run, though its weights are made up here."""

import json
import math
from pathlib import Path

import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import BertForSequenceClassification

from core.errors import Unavailable
from serving.answering.verification.entailment import CrossEncoderEntailment
from tests.integration.retrieval.test_rerank import cross_encoder

LABELS = ("contradiction", "entailment", "neutral")
PAIR = ("Every employee receives 27 days of leave.", "There are 27 days of leave.")


def judge(folder: Path, labels: tuple[str, ...] = LABELS, certain: str = "") -> Path:
    """A small cross-encoder with these labels; `certain` is the one that it gives to everything."""
    cross_encoder(folder, len(labels))
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "id2label": dict(enumerate(labels)),
        "label2id": {label: place for place, label in enumerate(labels)},
    }
    (folder / "config.json").write_text(json.dumps(config))
    if certain:
        model = BertForSequenceClassification.from_pretrained(folder)
        with torch.no_grad():
            model.classifier.bias[labels.index(certain)] += 100
        model.save_pretrained(folder)
    return folder


def test_it_gives_the_probability_of_entailment(tmp_path: Path) -> None:
    """As the soft maximum of what sentence-transformers itself gives; of a single output its logistic function."""
    several, one = judge(tmp_path / "several"), judge(tmp_path / "one", ("says",))
    scores = CrossEncoder(str(several)).predict(
        [PAIR], activation_fn=torch.nn.Identity(), show_progress_bar=False
    )[0]
    odds = [math.exp(score) for score in scores]
    assert CrossEncoderEntailment(str(several)).probability(*PAIR) == pytest.approx(
        odds[1] / sum(odds), abs=1e-5
    )
    score = CrossEncoder(str(one)).predict(
        [PAIR], activation_fn=torch.nn.Identity(), show_progress_bar=False
    )[0]
    assert CrossEncoderEntailment(str(one)).probability(*PAIR) == pytest.approx(
        1 / (1 + math.exp(-score)), abs=1e-5
    )


def test_a_model_that_knows_no_entailment_or_is_not_there_is_named(tmp_path: Path) -> None:
    """In one sentence that says what to do."""
    with pytest.raises(
        Unavailable, match=r"No label of the entailment model .* set GROUNDWORK_ENTAILMENT to"
    ):
        CrossEncoderEntailment(str(judge(tmp_path / "sentiment", ("bad", "good"))))
    with pytest.raises(Unavailable, match="can't be loaded. Set GROUNDWORK_ENTAILMENT to"):
        CrossEncoderEntailment(str(tmp_path / "nowhere"))
