"""From verified sentences to an answer: citations get their numbers, and a refusal its closest passages."""

from collections.abc import Iterable, Sequence
from itertools import combinations

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

MAX_CLOSEST_PASSAGES = 3  # passages shown with a refusal


class CitationNumbering:
    """The citations of one answer, one for each distinct quote, numbered in the order of reading."""

    def __init__(self, evidence: SearchResult) -> None:
        self._evidence = evidence
        self._numbers: dict[SupportingSpan, int] = {}
        self.sentences: list[AnswerSentence] = []
        self.citations: list[Citation] = []

    def contains_sentence(self, sentence: DraftSentence) -> bool:
        """Whether the same has been said."""
        return any(said.text == sentence.text for said in self.sentences)

    def add_sentence(self, sentence: DraftSentence) -> SentenceVerified:
        """The sentence with the numbers of its citations, and the citations that are new with it."""
        new = [
            support for support in dict.fromkeys(sentence.support) if support not in self._numbers
        ]
        for support in new:
            self._numbers[support] = len(self._numbers) + 1
        cited = [self._create_citation(support) for support in new]
        said = AnswerSentence(
            sentence.text, tuple(dict.fromkeys(self._numbers[each] for each in sentence.support))
        )
        self.sentences.append(said)
        self.citations += cited
        return SentenceVerified(said, tuple(cited))

    def _create_citation(self, support: SupportingSpan) -> Citation:
        return _build_citation(
            self._numbers[support], self._evidence.hits[support.hit_index], support
        )


def find_conflicts(citations: Sequence[Citation]) -> tuple[int, ...]:
    """The numbers of the citations that count one thing differently, in different documents."""
    numbers = set[int]()
    for one, other in combinations(citations, 2):
        if one.document_id != other.document_id and are_contradictory(
            Claim.parse(one.quote), Claim.parse(other.quote)
        ):
            numbers |= {one.number, other.number}
    return tuple(sorted(numbers))


def find_closest_passages(hits: Iterable[Hit]) -> list[Citation]:
    """The passages that came closest, one a document, each shown by its best sentence."""
    chosen: dict[object, Citation] = {}
    for place, hit in enumerate(hits):
        sentences = [
            each
            for each in hit.sentences
            if not overlaps_injection(each.span, find_injections(hit))
        ]
        if hit.document_id not in chosen and len(chosen) < MAX_CLOSEST_PASSAGES and sentences:
            best = max(sentences, key=lambda sentence: sentence.cosine or 0.0)
            chosen[hit.document_id] = _build_citation(
                len(chosen) + 1, hit, SupportingSpan(place, best.span)
            )
    return list(chosen.values())


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
