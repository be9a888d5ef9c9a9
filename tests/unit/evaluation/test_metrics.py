"""Metrics compared with a reference library, and the readers of benchmark files."""

import math
from pathlib import Path

import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ir_measures import RR, R, Success, nDCG

from core.errors import InvalidInput
from evaluation import datasets, metrics
from evaluation.datasets import CorpusQuestion, GoldenQuestion

names = st.sampled_from([f"d{number}" for number in range(12)])
rankings = st.lists(names, unique=True, min_size=1, max_size=12)
judgements = st.dictionaries(names, st.integers(0, 3), min_size=1, max_size=8)
scores = st.lists(st.floats(0, 1, allow_nan=False), min_size=1, max_size=20)


@settings(deadline=None)
@given(rankings, judgements, st.integers(1, 12))
def test_ranking_metrics_agree_with_ir_measures(ranking, judged, cutoff):
    qrels = [ir_measures.Qrel("q", name, grade) for name, grade in judged.items()]
    run = [ir_measures.ScoredDoc("q", name, -place) for place, name in enumerate(ranking)]
    reference = ir_measures.calc_aggregate(
        [nDCG @ cutoff, R @ cutoff, RR @ cutoff, Success @ cutoff], qrels, run
    )
    if not any(judged.values()):
        assert metrics.ndcg(ranking, judged, cutoff) == metrics.recall(ranking, judged, cutoff) == 0
        return
    assert metrics.ndcg(ranking, judged, cutoff) == pytest.approx(reference[nDCG @ cutoff])
    assert metrics.recall(ranking, judged, cutoff) == pytest.approx(reference[R @ cutoff])
    assert metrics.reciprocal_rank(ranking, judged, cutoff) == pytest.approx(reference[RR @ cutoff])
    assert metrics.success_at_k(ranking, judged, cutoff) == pytest.approx(
        reference[Success @ cutoff]
    )


@given(rankings, judgements)
def test_the_ideal_ranking_has_the_highest_ndcg(ranking, judged):
    ideal = sorted(judged, key=lambda name: -judged[name])
    if any(judged.values()):
        assert metrics.ndcg(ideal, judged) == pytest.approx(1)
    assert 0 <= metrics.ndcg(ranking, judged) <= 1 + 1e-12


@given(scores, scores)
def test_auroc_is_the_share_of_pairs_in_order(positive, negative):
    pairs = [(p > n) + (p == n) / 2 for p in positive for n in negative]
    assert metrics.auroc(positive, negative) == pytest.approx(sum(pairs) / len(pairs))


@given(scores, scores)
def test_auroc_of_exchanged_classes_adds_up_to_one(positive, negative):
    assert metrics.auroc(positive, negative) + metrics.auroc(negative, positive) == pytest.approx(1)


@given(scores, scores)
def test_the_best_balanced_accuracy_is_that_of_the_best_threshold(positive, negative):
    thresholds = [*positive, *negative, math.inf]
    best = max(metrics.balanced_accuracy(positive, negative, threshold) for threshold in thresholds)
    assert metrics.best_balanced_accuracy(positive, negative) == pytest.approx(max(best, 0.5))


def test_auroc_without_data_is_guessing():
    assert metrics.auroc([], [0.1]) == metrics.auroc([0.1], []) == 0.5


def test_precision_and_recall_of_a_class():
    assert metrics.precision(3, 1) == 0.75
    assert metrics.recall_of_class(3, 3) == 0.5
    assert metrics.precision(0, 0) == metrics.recall_of_class(0, 0) == 0


def test_balanced_accuracy_weights_both_classes_equally():
    assert metrics.balanced_accuracy([0.9], [0.1, 0.2, 0.8, 0.1], 0.5) == (1 + 0.75) / 2


@given(st.lists(st.floats(0, 1e6), min_size=1), st.floats(0, 100))
def test_a_percentile_is_one_of_the_values_and_enough_do_not_exceed_it(values, percent):
    found = metrics.percentile(values, percent)
    assert found in values
    assert sum(value <= found for value in values) >= percent / 100 * len(values) - 1e-9


def test_percentiles_of_a_hundred():
    hundred = [float(number) for number in range(1, 101)]
    assert [metrics.percentile(hundred, percent) for percent in (0, 50, 95, 100)] == [
        1,
        50,
        95,
        100,
    ]
    assert metrics.percentile([], 50) == 0
    with pytest.raises(InvalidInput):
        metrics.percentile(hundred, 101)


def write(folder: Path, text: str) -> Path:
    file = folder / "file"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize("header", ["", "query-id\tcorpus-id\tscore\n"])
def test_qrels_are_read_with_and_without_a_header(tmp_path, header):
    assert datasets.read_qrels(write(tmp_path, f"{header}1\ta\t1\n1\tb\t0\n2\ta\t2\n")) == {
        "1": {"a": 1, "b": 0},
        "2": {"a": 2},
    }


def test_queries_and_questions_are_read(tmp_path):
    assert datasets.read_queries(write(tmp_path, '{"_id": 7, "text": "why?"}\n\n')) == [
        datasets.Query("7", "why?")
    ]
    line = '{"question": "Who?", "passage_id": "a#1", "answerable": true, "answers": ["Ann"]}\n'
    assert datasets.read_questions(write(tmp_path, line)) == [
        CorpusQuestion("Who?", "a#1", True, ("Ann",))
    ]


def test_the_golden_file_is_read(tmp_path):
    entry = (
        "- {id: a, question: Who, tenant: t, groups: [g], kind: forbidden, withheld: [secret.md]}\n"
    )
    assert datasets.read_golden(write(tmp_path, entry)) == [
        GoldenQuestion("a", "Who", "t", ("g",), "forbidden", (), (), ("secret.md",))
    ]


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (datasets.read_queries, ""),
        (datasets.read_queries, "{}"),
        (datasets.read_queries, "not json"),
        (datasets.read_queries, "[1]"),
        (datasets.read_queries, "5"),
        (datasets.read_questions, '{"question": "Who?"}'),
        (datasets.read_qrels, "query-id\tcorpus-id\tscore\n"),
        (datasets.read_qrels, "1\ta\tgood\n"),
        (datasets.read_qrels, "1\ta\n"),
        (datasets.read_golden, "just: a mapping"),
        (datasets.read_golden, "- id: a\n"),
        (datasets.read_golden, "- [1]\n"),
        (datasets.read_golden, "- {id: a, question: q, tenant: t, kind: odd}\n"),
        (datasets.read_golden, "- {id: [\n"),
    ],
)
def test_an_invalid_file_is_refused_in_one_sentence(tmp_path, read, text):
    with pytest.raises(InvalidInput) as caught:
        read(write(tmp_path, text))
    assert str(caught.value).endswith(".")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "read",
    [datasets.read_queries, datasets.read_questions, datasets.read_qrels, datasets.read_golden],
)
def test_a_missing_file_is_refused_in_one_sentence(tmp_path, read):
    with pytest.raises(InvalidInput, match="There is no"):
        read(tmp_path / "nothing")
