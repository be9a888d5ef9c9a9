"""From verified sentences to an answer: citations get their numbers, and a refusal its closest passages."""

from collections.abc import Iterable, Sequence
from itertools import combinations

from retrieval.types import Evidence, Hit
from serving.answering.guardrails.prompt_injection import overlaps, planted
from serving.answering.types import AnswerSentence, Citation, DraftSentence, Said, Support
from serving.answering.verification.claims import Statement, disagree

CLOSEST = 3  # passages shown with a refusal


class Numbering:
    """The citations of one answer, one for each distinct quote, numbered in the order of reading."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._numbers: dict[Support, int] = {}
        self.sentences: list[AnswerSentence] = []
        self.citations: list[Citation] = []

    def has(self, sentence: DraftSentence) -> bool:
        """Whether the same has been said."""
        return any(said.text == sentence.text for said in self.sentences)

    def say(self, sentence: DraftSentence) -> Said:
        """The sentence with the numbers of its citations, and the citations that are new with it."""
        new = [support for support in dict.fromkeys(sentence.support) if support not in self._numbers]
        for support in new:
            self._numbers[support] = len(self._numbers) + 1
        cited = [self._citation(support) for support in new]
        said = AnswerSentence(sentence.text, tuple(dict.fromkeys(self._numbers[each] for each in sentence.support)))
        self.sentences.append(said)
        self.citations += cited
        return Said(said, tuple(cited))

    def _citation(self, support: Support) -> Citation:
        return _citation(self._numbers[support], self._evidence.hits[support.hit], support)


def conflicting(citations: Sequence[Citation]) -> tuple[int, ...]:
    """The numbers of the citations that count one thing differently, in different documents."""
    numbers = set[int]()
    for one, other in combinations(citations, 2):
        if one.document_id != other.document_id and disagree(Statement.of(one.quote), Statement.of(other.quote)):
            numbers |= {one.number, other.number}
    return tuple(sorted(numbers))


def closest(hits: Iterable[Hit]) -> list[Citation]:
    """The passages that came closest, one a document, each shown by its best sentence."""
    chosen: dict[object, Citation] = {}
    for place, hit in enumerate(hits):
        sentences = [each for each in hit.sentences if not overlaps(each.span, planted(hit))]
        if hit.document_id not in chosen and len(chosen) < CLOSEST and sentences:
            best = max(sentences, key=lambda sentence: sentence.cosine or 0.0)
            chosen[hit.document_id] = _citation(len(chosen) + 1, hit, Support(place, best.span))
    return list(chosen.values())


def _citation(number: int, hit: Hit, support: Support) -> Citation:
    return Citation(
        number=number, document_id=hit.document_id, title=hit.title, path=hit.path, version=hit.version,
        location=hit.location, quote=hit.quote(support.span), span=support.span,
        also=tuple(other for other in hit.also if other.exact),
    )  # fmt: skip
