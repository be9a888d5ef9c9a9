"""Answerability: refusals, their confidence and text; forbidden and absent look the same."""

import math
from dataclasses import replace

import pytest

from core.principal import Principal
from core.services import Services
from retrieval.retriever import retrieve
from retrieval.types import DocumentCounts, SearchResult
from serving.answering import answerability
from serving.answering.pipeline import answer_question
from serving.answering.question import analyze_question
from tests.support.services import ingest_folder

ALDER = Principal("alder")


def evidence(services: Services, question: str, principal: Principal = ALDER) -> SearchResult:
    return retrieve(services, principal, question, limit=8)


def test_the_model_has_a_weight_for_every_feature(sample_services):
    found = answerability.extract_answerability_features(
        evidence(sample_services, "How deep can I lower a Heron 200?")
    )
    assert set(found) == set(answerability.load_coefficients()["weights"])
    assert all(math.isfinite(value) for value in found.values())
    assert 0 < answerability.load_threshold() < 1


@pytest.mark.parametrize(
    "question",
    [
        "How long should sourdough rise before baking?",
        "What is the capital of Mongolia?",
        "?a?",
        "the",
    ],
)
def test_a_question_outside_the_documents_is_refused_with_a_reason(sample_services, question):
    refusal = answer_question(sample_services, ALDER, question).refusal
    assert refusal is not None
    assert refusal.reason.endswith(".")
    assert "\n" not in refusal.reason


def test_a_tenant_without_documents_gets_a_refusal(services):
    given = answer_question(services, Principal("nobody"), "Is anybody there?")
    assert given.status == "refused"
    assert given.confidence == 0
    assert given.refusal.closest == ()


@pytest.mark.parametrize(
    ("question", "named"),
    [
        ("What does ERR-4718 mean?", '"ERR-4718"'),
        ("How much does a Heron 300 cost?", '"Heron 300"'),
    ],
)
def test_a_refusal_names_the_designation_that_no_passage_has(sample_services, question, named):
    refusal = answer_question(sample_services, ALDER, question).refusal
    assert refusal is not None
    assert refusal.code == "partial_evidence"
    assert named in refusal.reason


def test_a_question_for_a_weight_is_refused_without_a_weight(sample_services):
    refusal = answer_question(sample_services, ALDER, "How much does the Otter C2 weigh?").refusal
    assert refusal is not None
    assert "a weight" in refusal.reason


def test_a_forbidden_document_looks_like_an_absent_one(services, tmp_path):
    (tmp_path / "canteen.md").write_text(
        "# Canteen\n\nLunch is served from noon. The canteen has a garden.\n"
    )
    (tmp_path / "salaries.md").write_text(
        "# Salaries\n\nThe highest salary in band B5 is 94,000 euros a year.\n"
    )
    (tmp_path / "readers.yaml").write_text("rules: [{pattern: 'salaries.md', readers: [finance]}]")
    question = "What is the highest salary in band B5?"
    ingest_folder(services, "acme", tmp_path)
    assert answer_question(services, Principal("acme", ("finance",)), question).refusal is None
    forbidden = answer_question(services, Principal("acme"), question)
    (tmp_path / "salaries.md").unlink()
    ingest_folder(services, "acme", tmp_path)
    absent = answer_question(services, Principal("acme"), question)
    assert forbidden.refusal is not None
    assert replace(forbidden, milliseconds={}) == replace(absent, milliseconds={})


def test_a_reader_with_permission_gets_the_answer(sample_services):
    given = answer_question(
        sample_services, Principal("alder", ("finance",)), "How large is the bonus pool for 2025?"
    )
    assert "€742,000" in given.text
    assert given.confidence >= answerability.load_threshold()


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How old is the bridge?", "age"),
        ("How much does it weigh?", "mass"),
        ("How much do we pay for it?", "money"),
        ("How often is it cleaned?", "period"),
        ("How many are there?", "number"),
        ("Who cleans it?", "name"),
        ("When was it built?", "date"),
        ("Why was it built?", "reason"),
        ("Is it clean?", None),
    ],
)
def test_a_question_tells_the_kind_of_its_answer(question, kind):
    assert (
        analyze_question(SearchResult(question, "hybrid", (), {}, DocumentCounts(0, 0))).answer_kind
        == kind
    )
