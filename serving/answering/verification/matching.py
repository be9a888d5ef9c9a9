"""Comparison of one claim with one premise: does the sentence say all of the clause?

The words may differ, since a writer may paraphrase. The literal checks come first
(literal_checks.py), then the share of the claim that the sentence covers, and last the entailment
model, if there is one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from core.embedding import Embedder
from serving.answering.types import FaultCode
from serving.answering.verification.claims import Claim
from serving.answering.verification.entailment import EntailmentModel
from serving.answering.verification.literal_checks import find_literal_fault, has_opposite
from serving.answering.verification.premises import Premise, PremiseIndex, shares_most_terms

# Shares of a claim's terms; synonyms count. Cosines are those of the default embedding model.
MIN_TERM_COVERAGE = 0.72  # in the sentence or in its context
MIN_OWN_TERM_SHARE = 0.5  # in the sentence itself
MIN_WORD_COSINE = 0.5  # of two words that mean the same
MIN_STRICT_WORD_COSINE = 0.62  # the same, for the topic and for words that other sentences have
MIN_CLAUSE_COSINE = 0.55  # of claim and sentence, if they are about the same thing
MIN_PARAPHRASE_COSINE = 0.8  # of claim and sentence, if one word may be the writer's own
MAX_PARAPHRASE_TERMS = 1  # words of the writer's own that this cosine allows
MIN_INVENTED_RUN_TERMS = 2  # missing terms in a row that count as an added phrase
MIN_ENTAILMENT_PROBABILITY = 0.5


class TextSimilarity:
    """Cosines of texts, each embedded once. Without an embedder only equal words are similar."""

    def __init__(self, embedder: Embedder | None) -> None:
        self._embedder = embedder
        self._vectors: dict[str, np.ndarray] = {}

    @property
    def is_available(self) -> bool:
        """True if there is an embedder."""
        return self._embedder is not None

    def embed(self, texts: Sequence[str]) -> None:
        """Embed the texts that are new, all at once, which is faster."""
        new = sorted(set(texts) - self._vectors.keys())
        if new and self._embedder:
            self._vectors.update(zip(new, self._embedder.encode(new), strict=True))

    def cosine(self, one: str, other: str) -> float:
        """Return the cosine of two texts, -1 to 1."""
        self.embed([one, other])
        return float(self._vectors[one] @ self._vectors[other])


@dataclass(frozen=True, slots=True)
class Match:
    """A claim and a premise, and how far the premise covers the claim."""

    claim: Claim
    premise: Premise
    matched_terms: frozenset[str]  # in the sentence itself, synonyms included
    missing_terms: frozenset[str]  # neither in the sentence nor in its context
    neighbor_terms: frozenset[str]  # missing terms that other sentences of the passage have
    cosine: float  # of the two texts


class ClaimMatcher:
    """Compares claims with the premises of some evidence."""

    def __init__(
        self, index: PremiseIndex, embedder: Embedder | None, entailment: EntailmentModel | None
    ) -> None:
        self._index = index
        self._similarity = TextSimilarity(embedder)
        self._entailment = entailment

    def find_fault(self, claim: Claim, premise: Premise) -> FaultCode | None:
        """Return the first fault, or None if the sentence says all of the claim."""
        fault = find_wording_fault(claim, premise)
        if fault:
            return fault
        match = self._match(claim, premise)
        if any(check(match) for check in COVERAGE_CHECKS):
            return "unsupported"
        return None if self._is_entailed(claim, premise) else "entailment"

    def _match(self, claim: Claim, premise: Premise) -> Match:
        matched = claim.terms & premise.source.terms
        matched |= self._find_synonyms(claim, premise, claim.terms - matched)
        missing = claim.terms - matched - premise.context.terms
        if self._similarity.is_available:
            cosine = self._similarity.cosine(claim.text, premise.source.text)
        else:
            cosine = float(matched == claim.terms)
        neighbor_terms = self._index.find_in_neighbors(premise, missing)
        return Match(claim, premise, matched, missing, neighbor_terms, cosine)

    def _find_synonyms(
        self, claim: Claim, premise: Premise, unmatched_terms: frozenset[str]
    ) -> frozenset[str]:
        """Return the terms for which the sentence has another word of about the same meaning."""
        free_terms = premise.source.terms - claim.terms
        if not self._similarity.is_available or not free_terms or not unmatched_terms:
            return frozenset()
        words = {term: claim.original_word(term) for term in unmatched_terms}
        source_words = [premise.source.original_word(term) for term in free_terms]
        self._similarity.embed([claim.text, premise.source.text, *words.values(), *source_words])
        strict_terms = self._index.find_in_neighbors(premise, unmatched_terms) | claim.topic
        synonyms = set()
        for term, word in words.items():
            threshold = MIN_STRICT_WORD_COSINE if term in strict_terms else MIN_WORD_COSINE
            if max(self._similarity.cosine(word, other) for other in source_words) >= threshold:
                synonyms.add(term)
        return frozenset(synonyms)

    def _is_entailed(self, claim: Claim, premise: Premise) -> bool:
        if not self._entailment:
            return True
        probability = self._entailment.probability(premise.passage, claim.text)
        return probability >= MIN_ENTAILMENT_PROBABILITY


def find_wording_fault(claim: Claim, premise: Premise) -> FaultCode | None:
    """Return the first fault that the words show without a model."""
    fault = find_literal_fault(claim, premise.matching_clause(claim), premise.context)
    if fault:
        return fault
    closest = premise.closest_clause(claim)
    if shares_most_terms(claim.terms, closest.terms) and has_opposite(claim, closest):
        return "opposite"
    has_own_words = not claim.terms <= premise.source.terms
    if closest.negated_terms and not claim.negated_terms and has_own_words:
        return "negation"  # the claim may affirm in other words what the sentence denies
    if not claim.terms or (premise.source.is_question and not claim.is_question):
        return "unsupported"
    return None


def borrows_from_neighbors(match: Match) -> bool:
    """Return true if a missing term is in another sentence of the passage.

    Example: "The T5 weighs 2 kg" for the passage "The T5 is new. The T7 weighs 2 kg".
    """
    return bool(match.neighbor_terms)


def covers_too_little_itself(match: Match) -> bool:
    """Return true if the sentence has too few terms of the claim without its headings."""
    return len(match.matched_terms) < MIN_OWN_TERM_SHARE * len(match.claim.terms)


def covers_too_little(match: Match) -> bool:
    """Return true if sentence and context have too few terms of the claim.

    One word that is not a name may be the writer's own in a close paraphrase.
    """
    total, missing = len(match.claim.terms), match.missing_terms
    is_close_paraphrase = (
        len(missing) == MAX_PARAPHRASE_TERMS
        and match.cosine >= MIN_PARAPHRASE_COSINE
        and not missing & match.claim.name_terms
    )
    return total - len(missing) < MIN_TERM_COVERAGE * total and not is_close_paraphrase


def has_other_meaning(match: Match) -> bool:
    """Return true if the two texts are about different things."""
    return match.cosine < MIN_CLAUSE_COSINE


def adds_phrase(match: Match) -> bool:
    """Return true if missing terms follow each other: "..., decided by a lottery"."""
    runs = groupby(match.claim.ordered_terms, key=match.missing_terms.__contains__)
    return any(is_missing and len(list(run)) >= MIN_INVENTED_RUN_TERMS for is_missing, run in runs)


def has_other_subject(match: Match) -> bool:
    """Return true if claim and sentence say the same of different things.

    Example: "Guests pay for the meal" for "The company pays for the meal".
    """
    claim, source = match.claim, match.premise.source
    context_terms = match.premise.subject_context_terms
    if not shares_most_terms(claim.subject, match.matched_terms | context_terms):
        return True
    if not source.topic or context_terms or not claim.predicate <= source.predicate:
        return False  # the predicates differ: the subject of one may be the object of the other
    synonyms = match.matched_terms - source.terms
    is_same_topic = shares_most_terms(claim.topic, source.subject | synonyms)
    return not is_same_topic and not shares_most_terms(source.topic, claim.subject)


COVERAGE_CHECKS: tuple[Callable[[Match], bool], ...] = (
    borrows_from_neighbors,
    covers_too_little_itself,
    covers_too_little,
    has_other_meaning,
    adds_phrase,
    has_other_subject,
)
