"""A model that has to agree with what is said: really loaded and run, though its weights are made up here."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import BertForSequenceClassification

from core.principal import Principal
from core.services import Services
from evaluation.answers import evaluate_questions
from evaluation.datasets import CorpusQuestion
from serving.answering.generator.llm import LLMGenerator
from serving.answering.pipeline import answer_question
from serving.answering.types import Answer
from serving.gateway.types import Models
from tests.integration.retrieval.test_rerank import cross_encoder
from tests.support.scripted import ScriptedModels, sentences

ALDER = Principal("alder")
LABELS = ("contradiction", "entailment", "neutral")
QUESTION = "How many days of paid annual leave does a full-time employee receive?"
REWORDED = "A full-time employee receives 27 days of paid annual leave in a calendar year."


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


def held_to(services: Services, folder: Path) -> Services:
    """The services, with an entailment model."""
    settings = services.settings.model_copy(update={"entailment": str(folder)})
    return Services(settings, services.database, embedders=services.embedders)


def reworded() -> ScriptedModels:
    """A language model that says it in words of its own."""
    quoted = "Every full-time employee receives 27 days of paid annual leave in each calendar year."
    return ScriptedModels(json.dumps(sentences((REWORDED, [(1, quoted)]))))


def test_it_may_forbid_what_the_other_checks_let_pass_and_nothing_else(
    sample_services: Services, tmp_path: Path
) -> None:
    """One that agrees with everything changes nothing; one that agrees with nothing leaves only quotes."""
    yes, no = (
        judge(tmp_path / "yes", certain="entailment"),
        judge(tmp_path / "no", certain="neutral"),
    )

    def said(services: Services) -> Answer:
        return answer_question(services, ALDER, QUESTION, generator=LLMGenerator(reworded(), ALDER))

    plain, agreed = said(sample_services), said(held_to(sample_services, yes))
    assert (plain.text, plain.removed) == (REWORDED, ())
    assert (agreed.text, agreed.citations, agreed.removed) == (plain.text, plain.citations, ())
    forbidden = said(held_to(sample_services, no))
    assert (forbidden.status, forbidden.removed) == ("refused", ("entailment",))
    assert answer_question(held_to(sample_services, no), ALDER, QUESTION).status == "answered"


def test_an_evaluation_says_who_wrote_who_agreed_and_what_was_left_out(
    sample_services: Services, tmp_path: Path
) -> None:
    """So that two evaluations side by side show what a model adds."""
    asked = [
        CorpusQuestion(
            QUESTION, "people/annual-leave-policy.md", answerable=True, answers=("27 days",)
        )
    ]
    strict = held_to(sample_services, judge(tmp_path / "no", certain="contradiction"))

    def report(services: Services, models: Models | None = None) -> dict[str, Any]:
        return evaluate_questions(
            services, "alder", asked, {asked[0].passage_id}, lambda _: None, models
        )

    plain, written, held = (
        report(sample_services),
        report(sample_services, reworded()),
        report(strict, reworded()),
    )
    assert (plain["gold_in_quotes"], plain["generators"], plain["entailment"]) == (
        1.0,
        {"extractive": 1},
        None,
    )
    assert (written["gold_in_quotes"], written["generators"], written["left_out"]) == (
        1.0,
        {"model": 1},
        {},
    )
    assert (held["gold_in_quotes"], held["generators"], held["left_out"]) == (
        0.0,
        {},
        {"entailment": 1},
    )
    assert held["entailment"] == strict.settings.entailment
