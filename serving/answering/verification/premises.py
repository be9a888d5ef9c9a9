"""Premises: sentences of documents that a claim is compared with."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from retrieval.types import Hit, SearchResult
from serving.answering.evidence import (
    EvidenceSentence,
    begins_with_pronoun,
    extract_sentences,
    format_quote,
)
from serving.answering.types import SupportingSpan
from serving.answering.verification.claims import Claim, split_clauses

MIN_SUBJECT_SHARE = 0.75  # of the terms of a subject that another sentence must share


@dataclass(frozen=True, slots=True)
class Premise:
    """A sentence of a document, what it states, and the context in which a person reads it.

    The context is the title, the headings, the columns of a table, and the sentence before if the
    sentence begins with a pronoun.
    """

    sentence: EvidenceSentence
    source: Claim
    clauses: tuple[Claim, ...]
    context: Claim
    passage: str  # headings and sentence, for the entailment model

    @classmethod
    def from_evidence(cls, sentence: EvidenceSentence, hit: Hit) -> "Premise":
        """Return the premise of a sentence of a hit."""
        text = format_quote(sentence.text, sentence.header)
        previous = sentence.previous if begins_with_pronoun(sentence.text) else None
        before = previous.text if previous else ""
        context = filter(None, (hit.title, hit.context, sentence.header, before))
        return cls(
            sentence,
            source=Claim.parse(text),
            clauses=tuple(Claim.parse(clause) for clause in split_clauses(text)),
            context=Claim.parse(" . ".join(context)),
            passage=f"{hit.context}\n{before} {text}",
        )

    @property
    def support(self) -> SupportingSpan:
        """The span of the sentence."""
        return SupportingSpan(self.sentence.hit_index, self.sentence.span)

    @property
    def subject_context_terms(self) -> frozenset[str]:
        """Terms that may name the subject of a table row or of a sentence with a pronoun."""
        if self.sentence.header or begins_with_pronoun(self.sentence.text):
            return self.context.terms
        return frozenset()

    def shares_subject(self, other: "Premise") -> bool:
        """Return true if both sentences have the same subject, or this one continues the other."""
        if self is other or self.is_continuation_of(other):
            return True
        topic, other_topic = self.source.topic, other.source.topic or other.source.terms
        shorter = min(len(topic), len(other_topic))
        return len(topic & other_topic) >= MIN_SUBJECT_SHARE * shorter > 0

    def is_continuation_of(self, other: "Premise") -> bool:
        """Return true if the sentence follows the other one and has no subject of its own."""
        if self.sentence.previous is not other.sentence:
            return False
        return begins_with_pronoun(self.sentence.text) or not self.source.subject

    def matching_clause(self, claim: Claim) -> Claim:
        """Return the first clause that has all terms of a claim, or the whole sentence."""
        return next((clause for clause in self.clauses if claim.terms <= clause.terms), self.source)

    def closest_clause(self, claim: Claim) -> Claim:
        """Return the clause with most terms of a claim."""
        return max(self.clauses, key=lambda clause: len(claim.terms & clause.terms))


def shares_most_terms(terms: frozenset[str], others: frozenset[str]) -> bool:
    """Return true if enough of the terms are among the others to be about the same thing."""
    return len(terms & others) >= MIN_SUBJECT_SHARE * len(terms)


class PremiseIndex:
    """The sentences of some evidence as premises, built when they are first needed."""

    def __init__(self, evidence: SearchResult) -> None:
        self._evidence = evidence

    @cached_property
    def by_hit(self) -> list[list[Premise]]:
        """Premises of each hit."""
        premises: list[list[Premise]] = [[] for _ in self._evidence.hits]
        for sentence in extract_sentences(self._evidence):
            hit = self._evidence.hits[sentence.hit_index]
            premises[sentence.hit_index].append(Premise.from_evidence(sentence, hit))
        return premises

    @cached_property
    def all(self) -> list[Premise]:
        """Premises of all hits."""
        return [premise for premises in self.by_hit for premise in premises]

    @cached_property
    def _term_counts(self) -> list[Counter[str]]:
        """For each hit, the number of its sentences that have each term."""
        return [_count_terms(premises) for premises in self.by_hit]

    def touched_by(self, support: SupportingSpan) -> list[Premise]:
        """Return the whole sentences that a quote touches: a quote must not cut off a "not"."""
        touched = [
            premise
            for premise in self.by_hit[support.hit_index]
            if premise.sentence.span.overlaps(support.span)
        ]
        return touched or [self._build_premise(support)]

    def _build_premise(self, support: SupportingSpan) -> Premise:
        """Return a premise of a quote that touches no sentence, such as a header of a table."""
        hit = self._evidence.hits[support.hit_index]
        nothing = frozenset[str]()
        quote = hit.quote(support.span)
        sentence = EvidenceSentence(
            support.hit_index, support.span, quote, 0.0, "", nothing, nothing, None
        )
        return Premise.from_evidence(sentence, hit)

    def find_in_neighbors(self, premise: Premise, terms: frozenset[str]) -> frozenset[str]:
        """Return those terms that other sentences of the premise's passage have."""
        counts = self._term_counts[premise.sentence.hit_index]
        return frozenset(term for term in terms if counts[term] > (term in premise.source.terms))


def _count_terms(premises: Sequence[Premise]) -> Counter[str]:
    return Counter(term for premise in premises for term in premise.source.terms)
