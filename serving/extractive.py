"""The default generator: it composes an answer of sentences that stand in the documents, and needs no further model.

A sentence is worth its cosine to the question, the rare words of the question that it holds, and the rank of its
passage. The best one is given; others join it only when they are nearly as good and say something else.
"""

from dataclasses import dataclass

from knowledge.analysis import terms
from retrieval.types import Evidence, Hit, SentenceHit
from serving.types import Draft, DraftSentence, Support

PASSAGES = 5  # hits whose sentences are considered
MOST_SENTENCES = 3
COSINE_WEIGHT, COVERAGE_WEIGHT, PASSAGE_WEIGHT = 0.45, 0.35, 0.20
NEARLY = 0.80  # of the best sentence's worth, for another to join it


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence of the evidence and what it is worth as an answer (about 0 to 1)."""

    hit: int
    sentence: SentenceHit
    text: str
    worth: float


class Extractive:
    """A generator that quotes."""

    name = "extractive"

    def generate(self, evidence: Evidence) -> Draft:
        """The best sentences of the evidence, each its own quote."""
        candidates = sorted(_candidates(evidence), key=lambda candidate: -candidate.worth)
        chosen: list[Candidate] = []
        for candidate in candidates:
            if len(chosen) == MOST_SENTENCES or candidate.worth < NEARLY * candidates[0].worth:
                break
            if all(candidate.text != other.text for other in chosen):
                chosen.append(candidate)
        return Draft(tuple(DraftSentence(c.text, (Support(c.hit, c.sentence.span),)) for c in chosen))


def _candidates(evidence: Evidence) -> list[Candidate]:
    return [
        Candidate(place, sentence, hit.quote(sentence.span), _worth(evidence, hit, sentence))
        for place, hit in enumerate(evidence.hits[:PASSAGES])
        for sentence in hit.sentences
    ]


def _worth(evidence: Evidence, hit: Hit, sentence: SentenceHit) -> float:
    return (
        COSINE_WEIGHT * (sentence.cosine or 0.0)
        + COVERAGE_WEIGHT * coverage(evidence.idf, f"{hit.context} {hit.quote(sentence.span)}")
        + PASSAGE_WEIGHT * hit.score
    )


def coverage(idf: dict[str, float], text: str) -> float:
    """The share of the question's terms, weighted by rarity, that a text holds; 0 to 1."""
    whole = sum(idf.values())
    present = set(terms(text))
    return sum(weight for term, weight in idf.items() if term in present) / whole if whole else 0.0
