"""Explanations add up, report the work of the database, and count only what the reader may see."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from cli.search_explanation import print_explanation
from core.principal import Principal
from core.services import Services
from core.text.terms import count_query_terms
from retrieval.filter_expressions import parse_where
from retrieval.filters import Filter, Prefix
from retrieval.retriever import retrieve
from retrieval.types import (
    DocumentCounts,
    RetrieverName,
    SearchExplanation,
    SearchMode,
    SearchResult,
)
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from tests.support.services import ingest_folder

ALDER = Principal("alder")
QUESTION = "What does ERR-4711 mean on the Heron 210?"


def explained(
    services: Services, principal: Principal = ALDER, **options: Any
) -> tuple[SearchResult, SearchExplanation]:
    evidence = retrieve(services, principal, QUESTION, explain=True, **options)
    assert evidence.explanation
    return evidence, evidence.explanation


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize(
    "where", [None, Prefix("path", "products/")], ids=["everything", "filtered"]
)
def test_the_reasons_add_up(
    sample_services: Services, mode: SearchMode, where: Filter | None
) -> None:
    """The shares add up to the score, and the terms to BM25's; the hits stay the same."""
    evidence, explanation = explained(sample_services, mode=mode, where=where, limit=20)
    plain = retrieve(sample_services, ALDER, QUESTION, mode=mode, where=where, limit=20)
    assert [replace(hit, reasons=None) for hit in evidence.hits] == list(plain.hits)
    assert plain.explanation is None
    for hit in evidence.hits:
        why = hit.reasons
        assert why
        assert sum(why.shares.values()) == pytest.approx(hit.score, abs=1e-6)
        assert sum(match.score for match in why.terms) == pytest.approx(
            hit.lexical.score or 0.0, abs=1e-5
        )
        assert [match.score for match in why.terms] == sorted(
            (match.score for match in why.terms), reverse=True
        )
        assert all(match.idf == evidence.idf[match.term] for match in why.terms)
    assert any(hit.reasons.terms for hit in evidence.hits if hit.reasons)
    assert explanation.milliseconds["execution"] > 0
    assert {"search", "explain"} <= set(evidence.milliseconds)
    assert ("filter" in evidence.milliseconds) is (where is not None)


def test_an_explanation_reports_index_accesses(sample_services: Services) -> None:
    """In a small tenant all vectors are compared, and postings come from their index alone."""
    _, explanation = explained(sample_services)
    served = {(access.leg, access.step): access for access in explanation.accesses}
    assert set(served) == {
        ("lexical", "find"),
        ("dense", "find"),
        ("dense", "score"),
        ("sentence", "score"),
    }
    assert served["lexical", "find"].index == "posting_pkey"
    assert served["dense", "find"].method == "exact"
    with sample_services.database.reading(ALDER) as connection:
        counted = connection.execute(
            "select (select count(*) from posting where term = any (%s)),"
            " (select count(*) from chunk)",
            (list(count_query_terms(QUESTION)),),
        ).fetchone()
    assert counted == (served["lexical", "find"].rows, served["dense", "find"].rows)
    assert (explanation.tenant, explanation.groups) == ("alder", ())
    assert (explanation.model, explanation.index_version) == ("all-MiniLM-L6-v2", 1)


@pytest.mark.parametrize(("mode", "leg"), [("lexical", "dense"), ("dense", "lexical")])
def test_a_retriever_that_is_off_finds_nothing(
    sample_services: Services, mode: SearchMode, leg: RetrieverName
) -> None:
    """Mode dense still computes BM25 for each hit, but takes no candidate from it."""
    evidence, explanation = explained(sample_services, mode=mode)
    if mode == "lexical":
        assert (leg, "find") not in {(access.leg, access.step) for access in explanation.accesses}
    for hit in evidence.hits:
        assert hit.reasons
        assert hit.reasons.shares[leg] == 0.0
        assert hit.legs[leg].rank is None


def test_matches_of_a_filter_are_counted(sample_services: Services) -> None:
    """The counts are over what the reader may see: one more group sees more documents."""
    where = parse_where(["path^finance/", "version>=1"])
    evidence, explanation = explained(sample_services, where=where)
    assert (evidence.hits, explanation.passed, evidence.filter) == ((), DocumentCounts(0, 0), where)
    _, allowed = explained(sample_services, Principal("alder", ("finance",)), where=where)
    assert allowed.passed
    assert allowed.passed.documents == 5
    assert allowed.passed.passages > 5
    assert explained(sample_services)[1].passed is None


def test_an_explanation_discloses_nothing(services: Services, tmp_path: Path) -> None:
    """No number changes when other readers get documents with the same words."""

    def write(name: str) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for number in range(12):
            (folder / f"{name}{number}.md").write_text(
                f"# {name} {number}\n\nERR-4711 means Heron 210, {name}.\n"
            )
        return folder

    def seen() -> tuple[SearchResult, SearchExplanation]:
        evidence, explanation = explained(services, where=Prefix("path", "public"), limit=5)
        timeless = replace(explanation, milliseconds={})
        return replace(evidence, milliseconds={}, explanation=None), timeless

    ingest_folder(services, "alder", write("public"))
    before = seen()
    assert before[1].passed == DocumentCounts(12, 12)
    ingest_folder(services, "alder", write("secret"), readers=("finance",))
    ingest_folder(services, "brightwater", write("theirs"))
    assert seen() == before


def test_the_api_returns_an_explanation(sample_services: Services) -> None:
    """It has the filter and the reasons of each hit; without `explain` it has neither."""
    client = TestClient(build_api(sample_services, LocalIdentity(("alder",))))
    condition = {"field": "path", "prefix": "products/"}
    body = {"question": QUESTION, "filter": condition, "explain": True, "limit": 3}
    given = client.post("/v1/search", json=body).json()
    assert given["filter"] == condition
    assert given["explanation"]["passed"]["documents"] == 11
    assert {"leg", "step", "method", "index", "rows"} == set(given["explanation"]["accesses"][0])
    for hit in given["hits"]:
        assert hit["path"].startswith("products/")
        assert sum(hit["reasons"]["shares"].values()) == pytest.approx(hit["score"], abs=1e-6)
        assert {"term", "frequency", "idf", "score"} == set(hit["reasons"]["terms"][0])
    plain = client.post("/v1/search", json={"question": QUESTION}).json()
    assert (
        plain["explanation"]
        is plain["filter"]
        is plain["reranking"]
        is plain["hits"][0]["reasons"]
        is None
    )


@pytest.mark.parametrize("width", [80, 100])
def test_an_explanation_fits_the_terminal(
    sample_services: Services,
    width: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The main numbers are there, also without a terminal."""
    monkeypatch.setenv("COLUMNS", str(width))
    evidence, _ = explained(sample_services, where=Prefix("path", "products/"), limit=3)
    print_explanation(evidence)
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= width
    for expected in (
        "err-4711",
        "posting_pkey",
        "idf",
        "tenant alder",
        "all-MiniLM-L6-v2",
        "milliseconds",
        "products/",
    ):
        assert expected in text
    assert f"{evidence.hits[0].score:.3f}" in text
