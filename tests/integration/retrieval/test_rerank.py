"""Reranking by a real cross-encoder and by an own reranker, its reports and its errors."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from sentence_transformers import CrossEncoder
from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

from core.cross_encoder import load_cross_encoder
from core.errors import Unavailable
from core.principal import Principal
from core.services import Services
from core.settings import Settings
from evaluation.datasets import Query
from evaluation.retrieval import evaluate_retrieval
from retrieval.reranker import RERANK_DEPTH, CrossEncoderReranker, load_reranker
from retrieval.retriever import retrieve

ALDER = Principal("alder")
QUESTION = "How many days of annual leave can I carry over?"


def cross_encoder(folder: Path, outputs: int = 1) -> Path:
    """Save a small BERT with random weights, whose scores are meaningless but real."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz0123456789"]
    words += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz0123456789"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(words))
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        num_labels=outputs,
        initializer_range=0.2,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=512).save_pretrained(
        folder
    )
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return cross_encoder(tmp_path_factory.mktemp("rerank") / "small")


class Backwards:
    """An own reranker that reverses the order."""

    name = "backwards"

    def score(self, question: str, passages: Sequence[str]) -> Sequence[float]:
        self.seen = (question, list(passages))
        return [float(place) for place in range(len(passages))]


def with_setting(services: Services, name: str) -> Services:
    settings = services.settings.model_copy(update={"reranker": name})
    return Services(settings, services.database, embedders=services.embedders)


def test_a_cross_encoder_from_a_folder_decides_the_order(
    sample_services: Services, model: Path
) -> None:
    """The order follows sentence-transformers' scores of question and passage."""
    plain = retrieve(sample_services, ALDER, QUESTION, limit=RERANK_DEPTH)
    evidence = retrieve(
        with_setting(sample_services, str(model)), ALDER, QUESTION, limit=RERANK_DEPTH
    )
    pairs = [(QUESTION, f"{hit.context}\n{hit.text}") for hit in plain.hits]
    scores = CrossEncoder(str(model)).predict(pairs, show_progress_bar=False)
    for hit in evidence.hits:
        assert hit.reranked
        before = plain.hits[hit.reranked.before - 1]
        assert (before.chunk_id, before.score) == (hit.chunk_id, pytest.approx(hit.score))
        assert hit.reranked.score == pytest.approx(float(scores[before.rank - 1]), abs=1e-5)
    judged = [hit.reranked.score for hit in evidence.hits if hit.reranked]
    assert judged == sorted(judged, reverse=True)
    assert judged[0] > judged[-1] + 0.01
    assert {hit.chunk_id for hit in evidence.hits} == {hit.chunk_id for hit in plain.hits}
    assert [hit.chunk_id for hit in evidence.hits] != [hit.chunk_id for hit in plain.hits]
    assert evidence.milliseconds["rerank"] > 0
    assert evidence.reranking
    assert (evidence.reranking.name, evidence.reranking.scored) == (str(model), RERANK_DEPTH)
    moved = sum(
        hit.reranked is not None and hit.reranked.before != hit.rank for hit in evidence.hits
    )
    assert evidence.reranking.moved == moved


def test_a_model_is_loaded_once(model: Path) -> None:
    """Each later call returns the loaded model."""
    loaded = load_cross_encoder(str(model), "GROUNDWORK_RERANKER")
    assert load_cross_encoder(str(model), "GROUNDWORK_RERANKER") is loaded


def test_without_a_setting_there_is_no_reranker() -> None:
    assert load_reranker(Settings(_env_file=None)) is None


def test_without_a_reranker_nothing_is_reranked(sample_services: Services) -> None:
    """This is the default."""
    evidence = retrieve(sample_services, ALDER, QUESTION)
    assert evidence.reranking is None
    assert "rerank" not in evidence.milliseconds
    assert all(hit.reranked is None for hit in evidence.hits)


def test_a_caller_can_pass_a_reranker(sample_services: Services) -> None:
    """Only the best hits change places, and ranks count from 1."""
    plain = retrieve(sample_services, ALDER, QUESTION, limit=RERANK_DEPTH + 5)
    backwards = Backwards()
    evidence = retrieve(
        sample_services, ALDER, QUESTION, limit=RERANK_DEPTH + 5, reranker=backwards
    )
    order = [hit.chunk_id for hit in plain.hits]
    assert [hit.chunk_id for hit in evidence.hits] == [
        *reversed(order[:RERANK_DEPTH]),
        *order[RERANK_DEPTH:],
    ]
    assert [hit.rank for hit in evidence.hits] == list(range(1, RERANK_DEPTH + 6))
    assert [hit.reranked is None for hit in evidence.hits] == [False] * RERANK_DEPTH + [True] * 5
    assert backwards.seen[0] == QUESTION
    assert all(
        hit.text in passage for hit, passage in zip(plain.hits, backwards.seen[1], strict=False)
    )


def test_a_hit_below_the_limit_can_rise(sample_services: Services) -> None:
    """A small limit still reranks all the best hits."""
    plain = retrieve(sample_services, ALDER, QUESTION, limit=RERANK_DEPTH)
    evidence = retrieve(sample_services, ALDER, QUESTION, limit=2, reranker=Backwards())
    assert [hit.chunk_id for hit in evidence.hits] == [hit.chunk_id for hit in plain.hits[:-3:-1]]
    assert [hit.reranked and hit.reranked.before for hit in evidence.hits] == [
        RERANK_DEPTH,
        RERANK_DEPTH - 1,
    ]


def test_an_empty_result_needs_no_reranking(services: Services) -> None:
    """The corpus is empty."""
    evidence = retrieve(services, ALDER, QUESTION, reranker=Backwards())
    assert evidence.hits == ()
    assert evidence.reranking
    assert evidence.reranking.scored == 0


@pytest.mark.parametrize("kind", ["no folder", "no model", "two numbers a passage"])
def test_an_unusable_reranker_is_refused_with_the_fix(kind: str, tmp_path: Path) -> None:
    """The error names the setting."""
    folder = tmp_path / "model"
    if kind == "no model":
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps({"hello": "there"}))
    elif kind == "two numbers a passage":
        cross_encoder(folder, outputs=2)
    with pytest.raises(Unavailable, match=r"[Ss]et GROUNDWORK_RERANKER to .*[.]$"):
        CrossEncoderReranker(str(folder))


def test_evaluation_reports_gain_and_cost_of_a_reranker(sample_services: Services) -> None:
    """The reversed order costs nDCG."""
    [best, *_] = retrieve(sample_services, ALDER, QUESTION).hits
    queries, judgements = [Query("1", QUESTION)], {"1": {best.path: 1}}
    steps: list[int] = []
    lexical, hybrid, reranked = evaluate_retrieval(
        sample_services,
        ALDER,
        queries,
        judgements,
        ("lexical", "hybrid"),
        steps.append,
        Backwards(),
    )
    assert [report.name for report in (lexical, hybrid, reranked)] == [
        "lexical",
        "hybrid",
        "hybrid, reranked",
    ]
    assert hybrid.ndcg_at_10 > reranked.ndcg_at_10
    assert hybrid.as_dict()["rerank_ms"] == {"p50": 0.0, "p95": 0.0}
    assert reranked.as_dict()["rerank_ms"]["p50"] >= 0
    assert sum(steps) == 3
