"""Evidence of an answer: merged neighbours, no copies, several documents, a token budget."""

from collections import Counter
from pathlib import Path

import pytest

from core.principal import Principal
from core.services import Services
from core.types import Span
from retrieval.context import (
    CANDIDATE_HITS,
    MAX_CONTEXT_TOKENS,
    MAX_PASSAGES,
    MAX_PASSAGES_PER_DOCUMENT,
    build_context,
    estimate_hit_tokens,
)
from retrieval.retriever import retrieve
from retrieval.types import SearchResult
from serving.answering.evidence import extract_sentences
from serving.answering.pipeline import answer_question
from tests.support.services import ingest_folder

ALDER = Principal("alder")
QUESTIONS = (
    "How is the membrane of the oxygen probe replaced?",
    "How many days of paid annual leave does a full-time employee receive?",
    "What does ERR-4711 mean on the Heron 210?",
)


@pytest.fixture(scope="module", params=QUESTIONS)
def found(request: pytest.FixtureRequest, sample_services: Services) -> SearchResult:
    return retrieve(sample_services, ALDER, request.param, limit=CANDIDATE_HITS)


@pytest.fixture
def long_document(services: Services, tmp_path: Path) -> Services:
    """Store a chapter of several chunks, and two similar letters with different numbers."""
    said = (
        "The {} turbine of the mill at Wending runs at {} revolutions a minute,"
        " and its bearings are oiled by hand."
    )
    names = (
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split()
    )
    chapter = "\n\n".join(
        said.format(name, 60 + place) + " " + said.format(f"spare {name}", 90 + place)
        for place, name in enumerate(names * 3)
    )
    letter = (
        "# A letter\n\nThe turbine of the mill at Wending was {} years old"
        " when its bearings were renewed in spring."
    )
    (tmp_path / "mill.md").write_text(f"# The mill\n\n{chapter}\n")
    (tmp_path / "letter.md").write_text(letter.format(40))
    (tmp_path / "answer.md").write_text(letter.format(41))
    assert ingest_folder(services, "miller", tmp_path).counts["added"] == 3
    return services


def test_the_evidence_keeps_its_limits(found):
    gathered = build_context(found)
    assert 0 < len(gathered.hits) <= MAX_PASSAGES
    assert sum(map(estimate_hit_tokens, gathered.hits)) <= MAX_CONTEXT_TOKENS
    assert [hit.rank for hit in gathered.hits] == list(range(1, len(gathered.hits) + 1))
    assert gathered.hits[0].chunk_id == found.hits[0].chunk_id


def test_sentences_keep_their_offsets(found):
    before = {
        (hit.document_id, unit.span): unit.text
        for unit in extract_sentences(found)
        for hit in [found.hits[unit.hit_index]]
    }
    after = build_context(found)
    for unit in extract_sentences(after):
        assert before[after.hits[unit.hit_index].document_id, unit.span] == unit.text


def test_a_merged_passage_is_text_of_its_document(long_document):
    """Neighbours are one passage; its characters, but for blanks, are in the document."""
    evidence = build_context(
        retrieve(
            long_document,
            Principal("miller"),
            "How fast do the turbines run?",
            limit=CANDIDATE_HITS,
        )
    )
    wide = [hit for hit in evidence.hits if hit.path == "mill.md"]
    single = retrieve(
        long_document, Principal("miller"), "How fast do the turbines run?", limit=CANDIDATE_HITS
    ).hits
    assert max(len(hit.text) for hit in wide) > 1.5 * max(len(hit.text) for hit in single)
    for hit in wide:
        assert len(hit.text) == hit.span.end - hit.span.start
        inside = [
            each
            for each in single
            if each.document_id == hit.document_id and within(each.span, hit.span)
        ]
        assert all(hit.quote(each.span) == each.text for each in inside)


def within(inner: Span, outer: Span) -> bool:
    return outer.start <= inner.start and inner.end <= outer.end


def test_no_document_fills_the_evidence_while_others_have_passages(found):
    given = Counter(hit.document_id for hit in build_context(found).hits)
    assert max(given.values()) <= MAX_PASSAGES_PER_DOCUMENT
    documents = len({hit.document_id for hit in found.hits})
    spread = {hit.document_id for hit in build_context(found, max_per_document=1).hits}
    assert len(spread) == min(documents, MAX_PASSAGES)


def test_one_document_may_fill_the_evidence_alone(long_document):
    evidence = retrieve(long_document, Principal("miller"), "turbine", limit=CANDIDATE_HITS)
    narrow = [hit for hit in evidence.hits if hit.path == "mill.md"]
    gathered = build_context(evidence, max_per_document=1)
    assert sum(hit.path == "mill.md" for hit in gathered.hits) > 1
    assert len(gathered.hits) <= len(narrow) + 2


def test_the_budget_leaves_at_least_the_best_passage(found):
    assert [hit.chunk_id for hit in build_context(found, max_tokens=1).hits] == [
        found.hits[0].chunk_id
    ]
    small = build_context(found, max_tokens=300)
    assert 1 <= len(small.hits) < len(build_context(found).hits)
    assert sum(map(estimate_hit_tokens, small.hits)) <= 300 or len(small.hits) == 1


def test_passages_with_different_numbers_both_stay(long_document):
    """They share all words but a number; the reader must see the conflict."""
    question = "How old was the turbine when its bearings were renewed?"
    evidence = build_context(
        retrieve(long_document, Principal("miller"), question, limit=CANDIDATE_HITS)
    )
    assert {"letter.md", "answer.md"} <= {
        path for hit in evidence.hits for path in (hit.path, *(other.path for other in hit.also))
    }


def test_an_answer_draws_on_the_evidence(sample_services):
    given = answer_question(sample_services, ALDER, QUESTIONS[1])
    gathered = build_context(retrieve(sample_services, ALDER, QUESTIONS[1], limit=CANDIDATE_HITS))
    assert {(c.document_id) for c in given.citations} <= {hit.document_id for hit in gathered.hits}
