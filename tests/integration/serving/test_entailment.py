"""Entailment models, loaded from disk and run; their weights are random."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import BertForSequenceClassification

from core.errors import Unavailable
from core.principal import Principal
from core.services import Services
from evaluation.answers import evaluate_questions
from evaluation.datasets import CorpusQuestion
from serving.answering.generator.llm import LLMGenerator
from serving.answering.pipeline import answer_question
from serving.answering.types import Answer
from serving.answering.verification.entailment import CrossEncoderEntailment
from serving.gateway.types import Models
from tests.integration.retrieval.test_rerank import cross_encoder
from tests.support.scripted import ScriptedModels, reply_with

ALDER = Principal("alder")
LABELS = ("contradiction", "entailment", "neutral")
PAIR = ("Every employee receives 27 days of leave.", "There are 27 days of leave.")
QUESTION = "How many days of paid annual leave does a full-time employee receive?"
REWORDED = "A full-time employee receives 27 days of paid annual leave in a calendar year."


def create_model(folder: Path, labels: tuple[str, ...] = LABELS, favorite_label: str = "") -> Path:
    """Write a small cross-encoder; it gives the favorite label to every pair, if there is one."""
    cross_encoder(folder, len(labels))
    config = json.loads((folder / "config.json").read_text())
    config["id2label"] = dict(enumerate(labels))
    config["label2id"] = {label: i for i, label in enumerate(labels)}
    (folder / "config.json").write_text(json.dumps(config))
    if favorite_label:
        model = BertForSequenceClassification.from_pretrained(folder)
        with torch.no_grad():
            model.classifier.bias[labels.index(favorite_label)] += 100
        model.save_pretrained(folder)
    return folder


def predict_logits(folder: Path) -> Any:
    model = CrossEncoder(str(folder))
    return model.predict([PAIR], activation_fn=torch.nn.Identity(), show_progress_bar=False)[0]


def with_entailment(services: Services, folder: Path) -> Services:
    settings = services.settings.model_copy(update={"entailment": str(folder)})
    return Services(settings, services.database, embedders=services.embedders)


def rewording_model() -> ScriptedModels:
    """A language model that answers in its own words."""
    quote = "Every full-time employee receives 27 days of paid annual leave in each calendar year."
    return ScriptedModels(json.dumps(reply_with((REWORDED, [(1, quote)]))))


def test_several_labels_give_the_softmax_of_entailment(tmp_path: Path) -> None:
    folder = create_model(tmp_path / "model")
    odds = [math.exp(logit) for logit in predict_logits(folder)]
    probability = CrossEncoderEntailment(str(folder)).probability(*PAIR)
    assert probability == pytest.approx(odds[1] / sum(odds), abs=1e-5)


def test_a_single_label_gives_the_logistic_function(tmp_path: Path) -> None:
    folder = create_model(tmp_path / "model", ("says",))
    expected = 1 / (1 + math.exp(-predict_logits(folder)))
    probability = CrossEncoderEntailment(str(folder)).probability(*PAIR)
    assert probability == pytest.approx(expected, abs=1e-5)


def test_a_model_without_an_entailment_label_is_an_error(tmp_path: Path) -> None:
    folder = create_model(tmp_path / "model", ("bad", "good"))
    with pytest.raises(Unavailable, match=r"No label of .* Set GROUNDWORK_ENTAILMENT to"):
        CrossEncoderEntailment(str(folder))


def test_a_missing_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"can't be loaded\. Set GROUNDWORK_ENTAILMENT to"):
        CrossEncoderEntailment(str(tmp_path / "missing"))


def test_the_model_can_only_reject_what_the_other_checks_accept(
    sample_services: Services, tmp_path: Path
) -> None:
    agreeing = with_entailment(
        sample_services, create_model(tmp_path / "yes", favorite_label="entailment")
    )
    rejecting = with_entailment(
        sample_services, create_model(tmp_path / "no", favorite_label="neutral")
    )

    def answer(services: Services) -> Answer:
        generator = LLMGenerator(rewording_model(), ALDER)
        return answer_question(services, ALDER, QUESTION, generator=generator)

    plain, agreed, rejected = map(answer, (sample_services, agreeing, rejecting))
    assert (plain.text, plain.removed) == (REWORDED, ())
    assert (agreed.text, agreed.citations, agreed.removed) == (plain.text, plain.citations, ())
    assert (rejected.status, rejected.removed) == ("refused", ("entailment",))
    quoted = answer_question(rejecting, ALDER, QUESTION)
    assert quoted.status == "answered"


def test_an_evaluation_reports_the_models_and_the_removed_sentences(
    sample_services: Services, tmp_path: Path
) -> None:
    question = CorpusQuestion(
        QUESTION, "people/annual-leave-policy.md", answerable=True, answers=("27 days",)
    )
    folder = create_model(tmp_path / "model", favorite_label="contradiction")
    strict = with_entailment(sample_services, folder)

    def report(services: Services, models: Models | None = None) -> dict[str, Any]:
        passages = {question.passage_id}
        return evaluate_questions(services, "alder", [question], passages, lambda _: None, models)

    plain = report(sample_services)
    assert (plain["gold_in_quotes"], plain["entailment"]) == (1.0, None)
    assert plain["generators"] == {"extractive": 1}
    written = report(sample_services, rewording_model())
    assert (written["gold_in_quotes"], written["left_out"]) == (1.0, {})
    assert written["generators"] == {"model": 1}
    rejected = report(strict, rewording_model())
    assert (rejected["gold_in_quotes"], rejected["left_out"]) == (0.0, {"entailment": 1})
    assert rejected["generators"] == {}
    assert rejected["entailment"] == strict.settings.entailment
