"""Citations of an answer and their numbers, and the closest passages of a refusal."""

from collections.abc import Iterable, Sequence
from itertools import combinations
from uuid import UUID

from retrieval.types import Hit, SearchResult
from serving.answering.guardrails.prompt_injection import find_injections, overlaps_injection
from serving.answering.types import (
    AnswerSentence,
    Citation,
    DraftSentence,
    SentenceVerified,
    SupportingSpan,
)
from serving.answering.verification.claims import Claim
from serving.answering.verification.literal_checks import are_contradictory

MAX_CLOSEST_PASSAGES = 3  # shown with a refusal


class CitationNumbering:
    """The citations of one answer: one for each distinct quote, numbered in reading order."""

    def __init__(self, evidence: SearchResult) -> None:
        self._evidence = evidence
        self._numbers: dict[SupportingSpan, int] = {}
        self.sentences: list[AnswerSentence] = []
        self.citations: list[Citation] = []

    def contains_sentence(self, sentence: DraftSentence) -> bool:
        """Return true if the answer has the same sentence already."""
        return any(known.text == sentence.text for known in self.sentences)

    def add_sentence(self, sentence: DraftSentence) -> SentenceVerified:
        """Number the citations of a sentence; return it with the citations that are new."""
        new_citations = []
        for support in sentence.support:
            if support not in self._numbers:
                number = self._numbers[support] = len(self._numbers) + 1
                hit = self._evidence.hits[support.hit_index]
                new_citations.append(_build_citation(number, hit, support))
        numbers = dict.fromkeys(self._numbers[support] for support in sentence.support)
        cited_sentence = AnswerSentence(sentence.text, tuple(numbers))
        self.sentences.append(cited_sentence)
        self.citations += new_citations
        return SentenceVerified(cited_sentence, tuple(new_citations))


def find_conflicts(citations: Sequence[Citation]) -> tuple[int, ...]:
    """Return the numbers of citations from different documents that contradict each other."""
    numbers = set[int]()
    for first, second in combinations(citations, 2):
        if first.document_id == second.document_id:
            continue
        if are_contradictory(Claim.parse(first.quote), Claim.parse(second.quote)):
            numbers |= {first.number, second.number}
    return tuple(sorted(numbers))


def find_closest_passages(hits: Iterable[Hit]) -> list[Citation]:
    """Return the closest passages, one a document, each as its best sentence."""
    closest: dict[UUID, Citation] = {}
    for hit_index, hit in enumerate(hits):
        if len(closest) == MAX_CLOSEST_PASSAGES:
            break
        injections = find_injections(hit)
        sentences = [
            sentence
            for sentence in hit.sentences
            if not overlaps_injection(sentence.span, injections)
        ]
        if hit.document_id not in closest and sentences:
            best = max(sentences, key=lambda sentence: sentence.cosine or 0.0)
            support = SupportingSpan(hit_index, best.span)
            closest[hit.document_id] = _build_citation(len(closest) + 1, hit, support)
    return list(closest.values())


def _build_citation(number: int, hit: Hit, support: SupportingSpan) -> Citation:
    return Citation(
        number=number,
        document_id=hit.document_id,
        title=hit.title,
        path=hit.path,
        version=hit.version,
        location=hit.location,
        quote=hit.quote(support.span),
        span=support.span,
        also=tuple(other for other in hit.also if other.exact),
    )
