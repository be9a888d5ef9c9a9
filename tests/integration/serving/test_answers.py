"""Answers over the sample: exact quotes, correct refusals, and the selection of sentences."""

from dataclasses import replace

import pytest

from core.principal import Principal
from core.services import Services
from core.text.numbers import find_numbers, is_in_stated_range
from core.types import Span
from evaluation.answers import contains_any, evaluate_golden, find_failures
from evaluation.corpus import corpus_tenant, ingest_corpus, read_corpus
from evaluation.datasets import read_golden
from retrieval.retriever import retrieve
from retrieval.types import SearchResult
from serving.answering import extractive
from serving.answering.evidence import (
    extract_sentences,
    find_table_rows,
    format_quote,
    is_table_row,
)
from serving.answering.pipeline import answer_question
from serving.answering.question import analyze_question, mentions_other_designation
from serving.answering.types import DraftSentence, SupportingSpan
from serving.answering.verification.verifier import Verifier
from tests.conftest import ROOT

GOLDEN = ROOT / "sample" / "golden.yaml"
ALDER, BRIGHTWATER = Principal("alder"), Principal("brightwater")
FLOOR = 0.78
LEAVE = "How many days of paid annual leave does a full-time employee receive?"


@pytest.fixture(scope="session")
def leave(sample_services: Services) -> SearchResult:
    return retrieve(sample_services, ALDER, LEAVE, limit=8)


def test_the_golden_file_has_no_fewer_correct_answers(sample_services):
    """The bounds were measured when the model was last fitted (docs/decisions/0006-refusal.md)."""
    report = evaluate_golden(sample_services, read_golden(GOLDEN), lambda _: None)
    wrong = [
        f"{outcome.question_id}: {' '.join(outcome.failures)}"
        for outcome in report.outcomes
        if outcome.failures
    ]
    assert report.correct_share >= FLOOR, "\n".join(wrong)
    assert not [line for line in wrong if "It shows" in line]


def test_every_quote_is_the_text_of_its_document_at_its_offsets(sample_services):
    given = answer_question(sample_services, ALDER, LEAVE)
    assert given.status == "answered"
    with sample_services.database.reading(ALDER) as connection:
        for citation in given.citations:
            row = connection.execute(
                "select text from document where document_id = %s", (citation.document_id,)
            )
            (text,) = row.fetchone() or ("",)
            assert text[citation.span.start : citation.span.end] == citation.quote


def test_an_answer_is_short_and_every_sentence_is_cited(sample_services):
    given = answer_question(sample_services, ALDER, LEAVE)
    assert 1 <= len(given.sentences) <= extractive.MAX_SENTENCES
    assert all(sentence.citations for sentence in given.sentences)
    assert 0 <= given.confidence <= 1


def test_the_policy_in_force_precedes_the_superseded_one(sample_services):
    assert "27 days" in answer_question(sample_services, ALDER, LEAVE).sentences[0].text


def test_a_question_for_the_superseded_policy_gets_it(sample_services):
    given = answer_question(
        sample_services, ALDER, "How many days of leave did the old policy of 2023 give?"
    )
    assert given.citations[0].path == "people/annual-leave-policy-2023.md"


@pytest.mark.parametrize(
    ("text", "another"),
    [
        ("The Heron 200 goes down to 50 m.", True),
        ("The Heron 210 goes down to 200 m.", False),
        ("The Heron 210 is longer than the Heron 200.", False),
        ("The Heron 200 and 210 have a wiper.", False),
        ("It goes down to 200 m.", False),
        ("A Kestrel T5 lasts five years.", False),
    ],
)
def test_a_different_entity_of_the_same_kind_is_recognised(
    leave: SearchResult, text: str, another: bool
) -> None:
    wanted = analyze_question(replace(leave, question="How deep may the Heron 210 go?", idf={}))
    assert mentions_other_designation(text, wanted.designations) is another


def test_no_sentence_on_the_heron_200_joins_an_answer_on_the_210(sample_services: Services) -> None:
    evidence = retrieve(sample_services, ALDER, "How deep may a Heron 210 be lowered?", limit=8)
    choices = extractive.rank_sentences(evidence)
    assert [
        choice
        for choice in choices
        if choice.is_inapplicable and "Heron 200" in choice.sentence.text
    ]
    chosen = extractive.select_sentences(choices)
    assert chosen
    assert not [choice.sentence.text for choice in chosen if choice.is_inapplicable]


def test_a_table_row_is_read_with_its_columns_and_quoted_exactly(sample_services):
    given = answer_question(
        sample_services, ALDER, "How fast do we answer a P1 from a Gold customer?"
    )
    rows = [
        sentence
        for sentence in given.sentences
        if "Gold" in sentence.text and ": " in sentence.text
    ]
    assert rows
    quote = given.citations[rows[0].citations[0] - 1].quote
    assert is_table_row(quote)
    assert "P1" not in quote  # that is a column's name, which the row itself does not have


@pytest.mark.parametrize(
    ("asker", "question", "row", "others"),
    [
        (
            ALDER,
            "How many API requests a minute does the Silver plan allow?",
            "Plan: Silver",
            "Plan: ",
        ),
        (
            BRIGHTWATER,
            "What number do I call to reach the engineer on duty?",
            "Duty: Engineer on duty",
            "Duty: ",
        ),
    ],
)
def test_a_row_on_another_subject_does_not_join_the_answer(
    sample_services: Services, asker: Principal, question: str, row: str, others: str
) -> None:
    given = answer_question(sample_services, asker, question)
    assert [
        text[: len(row)]
        for text in (each.text for each in given.sentences)
        if text.startswith(others)
    ] == [row]


def test_rows_that_match_the_question_equally_all_join(sample_services: Services) -> None:
    question = (
        "How many requests per minute may each plan make, and how much history does a plan have?"
    )
    rows = [
        each.text
        for each in answer_question(sample_services, ALDER, question).sentences
        if "Plan: " in each.text
    ]
    assert len(rows) > 1


def test_an_injected_instruction_is_never_a_candidate(sample_services):
    evidence = retrieve(
        sample_services, ALDER, "Has invoice CS-90231 been approved for payment?", limit=8
    )
    assert any("TO AUTOMATED ASSISTANTS" in hit.text for hit in evidence.hits)
    assert not [
        unit
        for unit in extract_sentences(evidence)
        if "Sunniva Achterberg" in unit.text and "CS-90231" in unit.text
    ]


def test_a_header_row_is_never_a_candidate(sample_services):
    evidence = retrieve(
        sample_services, ALDER, "ERR-6020 first step severity code meaning", limit=8
    )
    headers = {header for hit in evidence.hits for _, header in find_table_rows(hit)}
    assert headers
    assert not headers.intersection(unit.text for unit in extract_sentences(evidence))


def test_probabilities_of_sentences_add_up(leave):
    choices = extractive.rank_sentences(leave)
    assert sum(choice.probability for choice in choices) == pytest.approx(1)
    assert choices == sorted(choices, key=lambda choice: -choice.probability)


def test_evidence_without_a_hit_gives_no_answer(leave):
    assert list(extractive.ExtractiveGenerator().generate(replace(leave, hits=()))) == []


@pytest.mark.parametrize(
    ("quote", "header", "text"),
    [
        ("Gold | 1 hour", "Plan | P1", "Plan: Gold; P1: 1 hour."),
        ("Gold | 1 hour", "Plan", "Gold | 1 hour"),
        ("- Take the\n  brush.", "", "Take the brush."),
        ("2. Rinse it.", "", "Rinse it."),
        ("-5 degrees is the limit.", "", "-5 degrees is the limit."),
    ],
)
def test_quotes_are_formatted_for_reading(quote, header, text):
    assert format_quote(quote, header) == text


def test_numbers_and_ranges_are_understood():
    assert find_numbers("From €40,000 or twelve to 3.5") == {40000, 12, 3.5}
    assert is_in_stated_range({12}, "10 to 14 | 3 | 30")
    assert is_in_stated_range({40000}, "€10,000 to €75,000 | Three")
    assert is_in_stated_range({16}, "15 and more | 4")
    assert not is_in_stated_range({16}, "10 to 14 | 3 | 30")


def unit_with(evidence: SearchResult, words: str) -> tuple[str, SupportingSpan]:
    unit = next(unit for unit in extract_sentences(evidence) if words in unit.text)
    return unit.text, SupportingSpan(unit.hit_index, unit.span)


@pytest.mark.parametrize(
    "lie",
    [
        ("27 days", "29 days"),
        ("Every full-time employee receives", "No full-time employee receives"),
        ("Every full-time employee", "Every employee of Brightwater"),
        (
            "Every full-time employee receives 27 days of paid annual leave",
            "Penguins swim gracefully below icebergs",
        ),
    ],
)
def test_a_sentence_that_its_quote_does_not_support_is_dropped(leave, lie):
    text, support = unit_with(leave, "27 days of paid annual leave")
    true = DraftSentence(text, (support,))
    false = DraftSentence(text.replace(*lie), (support,))
    assert false != true
    verifier = Verifier(leave)
    assert verifier.verify_sentence(true).sentence == true
    assert verifier.verify_sentence(false).sentence is None


@pytest.mark.parametrize(
    "support",
    [
        SupportingSpan(99, Span(0, 5)),
        SupportingSpan(-1, Span(0, 5)),
        SupportingSpan(0, Span(10**6, 10**6 + 5)),
    ],
)
def test_a_support_that_is_not_in_the_evidence_is_dropped(leave, support):
    """A true sentence gets the passage that supports it; a false one is dropped."""
    text, right = unit_with(leave, "27 days of paid annual leave")
    false = text.replace("27", "29")
    verifier = Verifier(leave)
    verdict = verifier.verify_sentence(DraftSentence(text, (support,)))
    assert verdict.sentence == DraftSentence(text, (right,))
    assert verifier.verify_sentence(DraftSentence(false, (support,))).sentence is None


def test_a_failed_sentence_has_a_readable_reason(sample_services):
    golden = read_golden(GOLDEN)
    wanted = next(entry for entry in golden if entry.question_id == "leave-days")
    given = answer_question(sample_services, ALDER, wanted.question)
    assert list(
        find_failures(
            replace(wanted, kind="forbidden", withheld=(given.citations[0].path,)), given, []
        )
    ) == ["It should have been refused.", f"It shows {given.citations[0].path}."]
    assert list(find_failures(replace(wanted, contains=("a unicorn",)), given, [])) == [
        "It lacks 'a unicorn'."
    ]


def test_strings_are_found_regardless_of_case_and_spaces():
    assert contains_any(["two  days"], ["in Two\ndays"])
    assert not contains_any([], ["anything"])


def test_questions_about_a_corpus_are_answered_from_the_right_passage(services, data):
    """The first passages of SQuAD are the corpus."""
    passages = read_corpus(data / "squad" / "corpus.jsonl")[:12]
    tenant = corpus_tenant(passages)
    assert sum(ingest_corpus(services, tenant, passages)) == 12
    given = answer_question(
        services,
        Principal(tenant),
        "From which countries did the Norse raiders who gave their name to Normandy come?",
    )
    assert given.status == "answered"
    assert given.citations[0].path == "Normans#0"
