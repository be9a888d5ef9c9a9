"""Verification: unsupported sentences are removed, supported ones are kept, for any generator."""

import json
import random
import threading
from collections import Counter
from dataclasses import replace

import anyio
import pytest
from fastapi.testclient import TestClient

from bench import liar
from core.errors import Unavailable
from core.principal import Principal
from core.services import Services
from core.types import Span
from retrieval.retriever import retrieve
from retrieval.types import SearchResult, SentenceHit
from serving.answering.evidence import extract_sentences
from serving.answering.generator.answer_generator import AnswerGenerator
from serving.answering.pipeline import answer_question, stream_answer
from serving.answering.types import (
    Answer,
    DraftSentence,
    SearchCompleted,
    SentenceVerified,
    SupportingSpan,
)
from serving.answering.verification.claims import Claim
from serving.answering.verification.literal_checks import are_contradictory
from serving.answering.verification.verifier import Verifier
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from serving.api.streaming import stream_response
from serving.gateway.types import NoModelAvailable

ALDER = Principal("alder")
LEAVE = "How many days of paid annual leave does a full-time employee receive?"


@pytest.fixture(scope="module")
def leave(sample_services: Services) -> SearchResult:
    return retrieve(sample_services, ALDER, LEAVE, limit=8)


def find_quote(evidence: SearchResult, words: str) -> tuple[str, SupportingSpan]:
    unit = next(unit for unit in extract_sentences(evidence) if words in unit.text)
    return unit.text, SupportingSpan(unit.hit_index, unit.span)


# True sentences that verification loses today: it does not accept "staff member" for "employee".
KNOWN_LOST = [
    "Part-time staff members get a share in proportion to their contracted hours, rounded up to the"
    " next full day.",
    "An staff member may buy up to 3 additional days a year.",
]


def test_lies_of_every_kind_are_removed_and_true_sentences_are_kept(sample_services, leave):
    """The short form of `python -m bench.liar`."""
    chance = random.Random(5)
    cases = liar.make_lies([leave], chance, 2) + liar.make_truths([leave], chance, 2)
    assert Counter(case.is_true for case in cases) == {False: 25, True: 22}
    misjudged = [case for case, _ in liar.find_misjudged(cases, sample_services)]
    assert [case.sentence.text for case in misjudged if not case.is_true] == []
    assert [case.sentence.text for case in misjudged if case.is_true] == KNOWN_LOST


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("A full-time employee gets 27 days of paid annual leave a year.", None),
        ("A full-time employee gets 27 weeks of paid annual leave a year.", "unit"),
        ("A full-time employee never receives 27 days of paid annual leave.", "negation"),
        ("A full-time employee receives at least 27 days of paid annual leave.", "bound"),
        ("A full-time employee must receive 27 days of paid annual leave.", "modality"),
    ],
)
def test_words_may_differ_but_numbers_units_and_modality_may_not(
    sample_services, leave, text, fault
):
    _, support = find_quote(leave, "27 days of paid annual leave")
    assert Verifier(leave, sample_services.embedder()).find_fault(text, (support,)) == fault


def evidence_of(
    evidence: SearchResult, *sentences: str
) -> tuple[SearchResult, list[SupportingSpan]]:
    """Return the evidence with these sentences as its only passage."""
    hit, text = evidence.hits[0], " ".join(sentences)
    starts = [text.index(sentence) for sentence in sentences]
    spans = [
        Span(start, start + len(sentence))
        for start, sentence in zip(starts, sentences, strict=True)
    ]
    only = replace(
        hit,
        title="",
        context="",
        text=text,
        span=Span(0, len(text)),
        sentences=tuple(SentenceHit(span, 0.5) for span in spans),
    )
    return replace(evidence, hits=(only,)), [SupportingSpan(0, span) for span in spans]


@pytest.mark.parametrize(
    ("sentences", "lie", "fault"),
    [
        # The beginning of one sentence with the end of another.
        (
            ("Gold customers pay in advance.", "Paper is not taken home."),
            "Gold customers is not taken home.",
            None,
        ),
        (
            ("The engineer keeps the keys.", "The pump may be stopped by two people."),
            "The engineer may be stopped by two people.",
            None,
        ),
        # The statement about one thing, said about another thing of the passage.
        (
            (
                "The bank account is confirmed by telephone.",
                "A supplier is entered after a check of its bank account.",
            ),
            "The bank account is entered after a check of its bank account.",
            None,
        ),
        # Names, numbers and units exchanged.
        (
            ("The Calder portal takes requests, and a plan is made.",),
            "The Plan portal takes requests, and a plan is made.",
            "name",
        ),
        (
            ("Version 1 is switched off on 30 June.",),
            "Version 30 is switched off on 30 June.",
            "number",
        ),
        (
            ("It is full pay for 12 weeks in any twelve months.",),
            "It is full pay for 12 months in any twelve months.",
            "unit",
        ),
        # Opposites.
        (
            ("Go from the lowest standard to the highest.",),
            "Go from the highest standard to the lowest.",
            "opposite",
        ),
        (("Unopened goods are taken back.",), "Opened goods are taken back.", "opposite"),
        (
            (
                "The incident commander may raise the level at any time, but only Ada Byron "
                "may lower it.",
            ),
            "The incident commander may lower the level at any time.",
            "opposite",
        ),
        # Limits without a number, and negations without a term.
        (
            ("The share is rounded up to the next day.",),
            "The share is rounded at least the next day.",
            "bound",
        ),
        (
            ("If it does not, clean the window once.",),
            "If it does, clean the window once.",
            "negation",
        ),
        (
            ("The certificate is not older than 60 days.",),
            "The certificate is older than 60 days.",
            "bound",
        ),
        (
            ("Each party is liable for each event.",),
            "Each party is always liable for each event.",
            "modality",
        ),
    ],
)
def test_a_lie_in_the_words_of_the_documents_is_removed(
    sample_services, leave, sentences, lie, fault
):
    """If the expected fault is None, any fault is right."""
    evidence, supports = evidence_of(leave, *sentences)
    verifier = Verifier(evidence, sample_services.embedder())
    found = verifier.verify_sentence(DraftSentence(lie, tuple(supports))).fault
    assert found == fault if fault else found is not None
    assert all(
        verifier.find_fault(sentence, (support,)) is None
        for sentence, support in zip(sentences, supports, strict=True)
    )


@pytest.mark.parametrize(
    ("sentence", "true"),
    [
        (
            "A device that is registered within 60 days receives six more months.",
            "A device registered within 60 days receives six more months.",
        ),
        (
            "Each lot is released by Ada Byron after a test.",
            "Ada Byron releases each lot after a test.",
        ),
        ("The report is sent after an incident.", "After an incident, the report is sent."),
        (
            "The cover is taken off, and a request that nobody answers counts as approved.",
            "The cover is taken off.",
        ),
        ("Acids are never kept in this room.", "Acids must never be kept in this room."),
        (
            "To reset it, hold the button for 15 seconds.",
            "The manual says that To reset it, hold the button for 15 seconds.",
        ),
    ],
)
def test_an_honest_rewording_is_kept(sample_services, leave, sentence, true):
    evidence, supports = evidence_of(leave, sentence)
    assert Verifier(evidence, sample_services.embedder()).find_fault(true, supports) is None


def test_a_true_sentence_with_a_wrong_citation_gets_the_right_one(sample_services, leave):
    text, right = find_quote(leave, "27 days of paid annual leave")
    other = next(unit for unit in extract_sentences(leave) if unit.hit_index != right.hit_index)
    verdict = Verifier(leave, sample_services.embedder()).verify_sentence(
        DraftSentence(text, (SupportingSpan(other.hit_index, other.span),))
    )
    assert verdict.repaired
    assert verdict.sentence == DraftSentence(text, (right,))


class Scripted(AnswerGenerator):
    """A generator that writes what a test gives it, and records when it is closed."""

    name = "scripted"

    def __init__(self, make) -> None:
        self._make, self.closed = make, False

    def generate(self, evidence):
        try:
            yield from self._make(evidence)
        finally:
            self.closed = True


def test_only_verified_sentences_are_streamed_and_removed_ones_are_counted(sample_services):
    def true_then_false(evidence):
        text, support = find_quote(evidence, "27 days of paid annual leave")
        yield DraftSentence(text.replace("27", "29"), (support,))
        yield DraftSentence(text, (support,))

    events = list(stream_answer(sample_services, ALDER, LEAVE, generator=Scripted(true_then_false)))
    assert [type(event) for event in events] == [SearchCompleted, SentenceVerified, Answer]
    given = events[-1]
    assert "27 days" in given.text
    assert len(given.removed) == 1
    assert given.citations == events[1].citations


def test_an_answer_without_any_verified_sentence_is_a_refusal(sample_services):
    def false(evidence):
        text, support = find_quote(evidence, "27 days of paid annual leave")
        yield DraftSentence(text.replace("27", "29"), (support,))

    given = answer_question(sample_services, ALDER, LEAVE, generator=Scripted(false))
    assert given.status == "refused"
    assert len(given.removed) == 1


def test_over_http_the_sentences_come_before_the_whole_answer(sample_services):
    """Server-sent events: the search, each sentence with its new citations, the whole answer."""
    api = TestClient(build_api(sample_services, LocalIdentity(("alder",))))
    body = {"question": LEAVE}
    with api.stream(
        "POST", "/v1/ask", json=body, headers={"Accept": "text/event-stream"}
    ) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        blocks = [block.splitlines() for block in response.read().decode().strip().split("\n\n")]
    events = [
        (name.removeprefix("event: "), json.loads(data.removeprefix("data: ")))
        for name, data in blocks
    ]
    assert [name for name, _ in events] == ["searched", *["sentence"] * (len(events) - 2), "answer"]
    said, given = [event for name, event in events if name == "sentence"], events[-1][1]
    assert said
    assert [each["sentence"] for each in said] == given["sentences"]
    assert [citation for each in said for citation in each["citations"]] == given["citations"]
    own = {"milliseconds": 0, "cached": False}
    assert api.post("/v1/ask", json=body).json() | own == given | own


def test_an_invalid_question_is_a_problem_also_for_a_stream(sample_services):
    api = TestClient(build_api(sample_services, LocalIdentity(("alder",))))
    response = api.post("/v1/ask", json={"question": " "}, headers={"Accept": "text/event-stream"})
    assert response.status_code == 422
    assert response.headers["content-type"] == "application/problem+json"


def test_an_error_during_a_stream_is_its_last_event(sample_services):
    closed = []

    def events():
        try:
            yield SearchCompleted(1, 1)
            raise Unavailable("The database went away; ask again.")
        finally:
            closed.append(True)

    async def everything():
        stream = stream_response(events(), threading.Event())
        return [part async for part in stream.body_iterator]

    first, last = anyio.run(everything)
    assert first.startswith(b"event: searched")
    assert last.startswith(b"event: problem")
    assert b"The database went away; ask again." in last
    assert closed


def test_a_reader_who_leaves_closes_the_generator(sample_services):
    def endless(evidence):
        while True:
            text, support = find_quote(evidence, "27 days of paid annual leave")
            yield DraftSentence(text, (support,))

    generator = Scripted(endless)
    events = stream_answer(sample_services, ALDER, LEAVE, generator=generator)
    assert [type(next(events)), type(next(events))] == [SearchCompleted, SentenceVerified]
    events.close()
    assert generator.closed


def test_without_a_model_the_answer_quotes_documents_and_is_marked_degraded(sample_services):
    def unavailable(evidence):
        raise NoModelAvailable("No model of the models file answers; look at their addresses.")
        yield

    given = answer_question(sample_services, ALDER, LEAVE, generator=Scripted(unavailable))
    assert given.status == "answered"
    assert given.generator == "extractive"
    assert given.degraded == "No model of the models file answers; look at their addresses."


@pytest.mark.parametrize(
    ("one", "other", "contradict"),
    [
        (
            "The wiper should run every 30 minutes.",
            "In salt water the wiper should run every 10 minutes.",
            True,
        ),
        (
            "The wiper should run every 30 minutes.",
            "The wiper should run every thirty minutes.",
            False,
        ),
        ("The Heron 210 is repaired in 7 days.", "The Heron 200 is repaired in 10 days.", False),
        ("The probation period is 5 months.", "Sick pay is full for 12 months.", False),
    ],
)
def test_different_numbers_for_the_same_thing_are_a_contradiction(one, other, contradict):
    assert are_contradictory(Claim.parse(one), Claim.parse(other)) is contradict


def test_two_documents_that_disagree_are_both_cited_as_a_conflict(sample_services):
    given = answer_question(
        sample_services, ALDER, "How often should the Heron 210 wiper run in the sea?"
    )
    quotes = [citation.quote for citation in given.citations if citation.number in given.conflict]
    assert any("every 10 minutes" in quote for quote in quotes)
    assert any("every 30 minutes" in quote for quote in quotes)
    assert answer_question(sample_services, ALDER, LEAVE).conflict == ()
