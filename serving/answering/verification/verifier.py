"""Does a sentence say what its quotes say? Whoever wrote it, it reaches a reader only if it does.

A sentence is held to single sentences of the documents, one for each of its clauses: what is half from here and half
from there is nobody's statement. Words may differ, since an honest writer has words of their own (the embedding model
tells likeness); numbers with their units, names, dates, negations, bounds and how firmly something is said may not.
docs/reference/answers.md has the list, docs/decisions/0014-verification.md why it is as it is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.embedding import Embedder
from retrieval.types import Hit, SearchResult
from serving.answering.evidence import EvidenceSentence, extract_sentences, find_table_rows
from serving.answering.extractive import LEADING_PRONOUN, format_quote
from serving.answering.guardrails.prompt_injection import find_injections, overlaps_injection
from serving.answering.types import DraftAnswer, DraftSentence, FaultCode, SupportingSpan
from serving.answering.verification.claims import (
    Claim,
    find_literal_fault,
    has_opposite,
    split_clauses,
)
from serving.answering.verification.entailment import EntailmentModel

MIN_TERM_COVERAGE = (
    0.72  # share of a clause's terms that one sentence must hold, headings and likeness counted
)
MIN_OWN_TERM_SHARE = 0.5  # share of them that must stand in the sentence itself, likeness counted
MIN_WORD_COSINE = 0.5  # cosine from which two words count as two words for one thing
MIN_STRICT_WORD_COSINE = 0.62  # the same, for what is spoken of, and for a word that another sentence has: it may be from there
MIN_CLAUSE_COSINE = 0.55  # cosine of clause and sentence below which they speak of different things
MIN_ENTAILMENT_PROBABILITY = (
    0.5  # probability, of the entailment model where there is one, below which a clause is not said
)
MIN_PARAPHRASE_COSINE = 0.8  # cosine from which one word of the writer's own is no matter
MIN_INVENTED_RUN_TERMS = 2  # terms one after the other that the sentence doesn't have: that is something of the writer's own
MIN_SUBJECT_SHARE = 0.75  # share of the terms before the verb that the sentence itself must hold
MAX_CLAUSES = 6  # of one sentence; what has more is carried as a whole or not at all
MAX_REPAIR_CANDIDATES = 6  # sentences that a repair looks at
MIN_COPIED_RUN_WORDS = 2  # words in a row, at least, that tell from which sentence a half was taken


@dataclass(frozen=True, slots=True)
class Verdict:
    """A sentence with the evidence that carries it, or why none does. `repaired`: not the evidence that it named."""

    sentence: DraftSentence | None
    fault: FaultCode | None = None
    repaired: bool = False


class Verifier:
    """Checks the sentences of one answer against its evidence.

    `embedder` tells whether different words are alike; without one only the documents' own words pass.
    """

    def __init__(
        self,
        evidence: SearchResult,
        embedder: Embedder | None = None,
        entailment: EntailmentModel | None = None,
    ) -> None:
        self._evidence, self._embedder, self._entailment = evidence, embedder, entailment
        self._vectors: dict[str, np.ndarray] = {}

    def verify_sentence(self, sentence: DraftSentence) -> Verdict:
        """The sentence as its quotes carry it; else with the quote that does; else why not."""
        support = tuple(
            support for support in sentence.support if is_valid_support(support, self._evidence)
        )
        if not sentence.text.strip():
            return Verdict(None, "no_evidence")
        fault: FaultCode | None = "no_evidence"
        if support:
            fault = self.find_fault(sentence.text, support)
            if fault is None:
                return Verdict(DraftSentence(sentence.text, support))
        found = self._find_other_support(sentence.text)
        return (
            Verdict(DraftSentence(sentence.text, found), None, repaired=True)
            if found
            else Verdict(None, fault)
        )

    def find_fault(self, text: str, support: Sequence[SupportingSpan]) -> FaultCode | None:
        """What a sentence says that its quotes don't; None where they carry it."""
        if any(self._is_quote(text, each) for each in support):
            return None
        premises = [premise for each in support for premise in self._touched_premises(each)]
        whole = self._find_text_fault(text, premises)
        if whole is None or self._match_clauses(split_clauses(text), premises):
            return "unsupported" if self._is_stitched(text) else None
        return whole

    def _match_clauses(
        self, clauses: Sequence[str], premises: Sequence["Premise"]
    ) -> list["Premise"]:
        """The sentences that carry the clauses, each one or several in a row; empty where a clause has none."""
        reached: dict[int, list[Premise]] = {0: []}
        for end in range(1, min(len(clauses), MAX_CLAUSES) + 1):
            for start in [
                start for start in reached if start < end and (start, end) != (0, len(clauses))
            ]:
                before = reached[start][-1] if start else None
                found = self._find_premise(" and ".join(clauses[start:end]), premises, before)
                if found and end not in reached:
                    reached[end] = [*reached[start], found]
        return reached.get(len(clauses), [])

    def _is_stitched(self, text: str) -> bool:
        """Whether a sentence is the beginning of one sentence and the end of another, word for word, without what the
        other one is about.
        """
        words = Claim.parse(text).padded_words.split()
        everything = self._all_premises
        if any(f" {' '.join(words)} " in premise.source.padded_words for premise in everything):
            return False
        for cut in range(MIN_COPIED_RUN_WORDS, len(words) - MIN_COPIED_RUN_WORDS + 1):
            head, tail = f" {' '.join(words[:cut])} ", f" {' '.join(words[cut:])} "
            begun = [
                place
                for place, premise in enumerate(everything)
                if head in premise.source.padded_words
            ]
            ended = [
                place
                for place, premise in enumerate(everything)
                if premise.source.padded_words.find(tail) > 0
            ]
            if (
                ended
                and begun
                and not any(
                    one == other or everything[other].is_continuation_of(everything[one])
                    for one in begun
                    for other in ended
                )
            ):
                return True
        return False

    def _is_quote(self, text: str, support: SupportingSpan) -> bool:
        """Whether a sentence is the quote itself, as a person reads it."""
        hit = self._evidence.hits[support.hit_index]
        quote = hit.quote(support.span)
        headers = [
            header
            for place, header in find_table_rows(hit)
            if hit.sentences[place].span == support.span
        ]
        return any(
            _collapse_whitespace(text) == _collapse_whitespace(format_quote(quote, header))
            for header in ["", *headers]
        )

    def _touched_premises(self, support: SupportingSpan) -> list["Premise"]:
        """The whole sentences that a quote touches: one that begins after a "not" is read with it."""
        hit = self._evidence.hits[support.hit_index]
        touched = [
            premise
            for premise in self._premises_by_hit[support.hit_index]
            if premise.evidence_sentence.span.overlaps(support.span)
        ]
        return touched or [
            Premise.from_evidence(
                EvidenceSentence(
                    support.hit_index,
                    support.span,
                    hit.quote(support.span),
                    0.0,
                    "",
                    frozenset(),
                    frozenset(),
                    None,
                ),
                hit,
            )
        ]

    @cached_property
    def _premises_by_hit(self) -> list[list["Premise"]]:
        found: list[list[Premise]] = [[] for _ in self._evidence.hits]
        for unit in extract_sentences(self._evidence):
            found[unit.hit_index].append(
                Premise.from_evidence(unit, self._evidence.hits[unit.hit_index])
            )
        return found

    @cached_property
    def _all_premises(self) -> list["Premise"]:
        return [premise for premises in self._premises_by_hit for premise in premises]

    def _find_other_support(self, text: str) -> tuple[SupportingSpan, ...]:
        """The evidence that carries a sentence though it did not name it; nothing where there is none."""
        everything = self._all_premises
        whole = self._find_premise(text, everything)
        found = [whole] if whole else self._match_clauses(split_clauses(text), everything)
        if found and self._is_stitched(text):
            return ()
        return tuple(dict.fromkeys(premise.support for premise in found))

    def _find_premise(
        self, text: str, premises: Sequence["Premise"], previous: "Premise | None" = None
    ) -> "Premise | None":
        """The sentence that carries a clause best. A clause without a subject of its own speaks of what the clause
        before it does, and so must the sentence.
        """
        claim = Claim.parse(text)
        if previous and not claim.subject:
            premises = [premise for premise in premises if premise.shares_subject(previous)]
        near = sorted(premises, key=lambda premise: -len(claim.terms & premise.source.terms))[
            :MAX_REPAIR_CANDIDATES
        ]
        return next(
            (premise for premise in near if self._find_claim_fault(claim, premise) is None), None
        )

    def _find_text_fault(self, text: str, premises: Sequence["Premise"]) -> FaultCode | None:
        claim = Claim.parse(text)
        faults = [self._find_claim_fault(claim, premise) for premise in premises]
        if not faults or None in faults:
            return None if faults else "no_evidence"
        closest = max(
            range(len(premises)), key=lambda place: len(claim.terms & premises[place].source.terms)
        )
        return faults[closest]

    def _find_claim_fault(self, claim: Claim, premise: "Premise") -> FaultCode | None:
        """None where one sentence says all of one clause."""
        fault = find_literal_fault(claim, premise.matching_clause(claim), premise.context)
        closest = max(premise.clauses, key=lambda part: len(claim.terms & part.terms))
        if (
            not fault
            and _shares_most_terms(claim.terms, closest.terms)
            and has_opposite(claim, closest)
        ):
            fault = "opposite"
        if (
            not fault
            and closest.negated_terms
            and not claim.negated_terms
            and not claim.terms <= premise.source.terms
        ):
            fault = "negation"  # what is denied there has other words here, and is not denied
        if fault:
            return fault
        if not claim.terms or (premise.is_question and not claim.is_question):
            return "unsupported"
        own = claim.terms & premise.source.terms
        own |= self._terms_with_synonym(claim, premise, claim.terms - own)
        around = claim.terms & premise.context.terms
        near = (
            self._cosine(claim.text, premise.source.text)
            if self._embedder
            else float(own == claim.terms)
        )
        missing = claim.terms - own - around
        if self._terms_in_neighbors(premise, missing):
            return "unsupported"
        few = len(missing) == 1 and near >= MIN_PARAPHRASE_COSINE and not missing & claim.name_terms
        if len(own) < MIN_OWN_TERM_SHARE * len(claim.terms) or (
            len(claim.terms) - len(missing) < MIN_TERM_COVERAGE * len(claim.terms) and not few
        ):
            return "unsupported"
        if (
            near < MIN_CLAUSE_COSINE
            or _longest_missing_run(claim.ordered_terms, missing) >= MIN_INVENTED_RUN_TERMS
            or not self._subjects_match(claim, premise, own)
        ):
            return "unsupported"
        if (
            self._entailment
            and self._entailment.probability(premise.passage, claim.text)
            < MIN_ENTAILMENT_PROBABILITY
        ):
            return "entailment"
        return None

    def _subjects_match(
        self, claim: Claim, premise: "Premise", matched_terms: frozenset[str]
    ) -> bool:
        """Whether what the clause speaks of is what the sentence speaks of; headings say it for a pronoun or a row."""
        elsewhere = (
            premise.context.terms
            if premise.evidence_sentence.header
            or LEADING_PRONOUN.match(premise.evidence_sentence.text)
            else frozenset()
        )
        if len(claim.subject & (matched_terms | elsewhere)) < MIN_SUBJECT_SHARE * len(
            claim.subject
        ):
            return False
        if not premise.source.topic or elsewhere or not claim.predicate <= premise.source.predicate:
            return True  # other words are said of it: then the subject may have become the object
        mine, theirs, alike = (
            claim.topic,
            premise.source.topic,
            matched_terms - premise.source.terms,
        )
        return _shares_most_terms(mine, premise.source.subject | alike) or _shares_most_terms(
            theirs, claim.subject
        )

    def _terms_in_neighbors(
        self, premise: "Premise", missing_terms: frozenset[str]
    ) -> frozenset[str]:
        """Which terms other sentences of the passage have: a word of theirs in this one's place may be from there."""
        counts = self._term_counts[premise.evidence_sentence.hit_index]
        return frozenset(
            term for term in missing_terms if counts[term] > (term in premise.source.terms)
        )

    @cached_property
    def _term_counts(self) -> list[Counter[str]]:
        """For each passage, how many of its sentences have each term."""
        return [
            Counter(term for premise in premises for term in premise.source.terms)
            for premises in self._premises_by_hit
        ]

    def _terms_with_synonym(
        self, claim: Claim, premise: "Premise", unmatched_terms: frozenset[str]
    ) -> frozenset[str]:
        """The terms for which the sentence has another word that means about the same."""
        free = premise.source.terms - claim.terms
        if not self._embedder or not free or not unmatched_terms:
            return frozenset()
        words, careful = (
            {term: claim.original_word(term) for term in unmatched_terms},
            self._terms_in_neighbors(premise, unmatched_terms) | claim.topic,
        )
        theirs = [premise.source.original_word(term) for term in free]
        self._embed_missing([claim.text, premise.source.text, *words.values(), *theirs])
        return frozenset(
            term
            for term, word in words.items()
            if max(self._cosine(word, other) for other in theirs)
            >= (MIN_STRICT_WORD_COSINE if term in careful else MIN_WORD_COSINE)
        )

    def _cosine(self, one: str, other: str) -> float:
        self._embed_missing([one, other])
        return float(self._vectors[one] @ self._vectors[other])

    def _embed_missing(self, texts: Sequence[str]) -> None:
        """Embed what has not been, together: a model is much quicker with many texts than with one after the other."""
        new = sorted(set(texts) - self._vectors.keys())
        if new and self._embedder:
            self._vectors.update(zip(new, self._embedder.encode(new), strict=True))


@dataclass(frozen=True, slots=True)
class Premise:
    """A sentence of a document, what it says, and the frame that it is read in: title, headings, a table's columns,
    and the sentence before where it begins with a pronoun.
    """

    evidence_sentence: EvidenceSentence
    source: Claim
    clauses: tuple[Claim, ...]
    context: Claim
    passage: str

    @classmethod
    def from_evidence(cls, unit: EvidenceSentence, hit: Hit) -> "Premise":
        """From a unit of the evidence."""
        before = unit.previous.text if unit.previous and LEADING_PRONOUN.match(unit.text) else ""
        text = format_quote(unit.text, unit.header)
        frame = Claim.parse(" . ".join(filter(None, (hit.title, hit.context, unit.header, before))))
        said = Claim.parse(text)
        parts = tuple(Claim.parse(clause) for clause in split_clauses(text))
        return cls(unit, said, parts, frame, f"{hit.context}\n{before} {text}")

    @property
    def support(self) -> SupportingSpan:
        """The sentence as evidence."""
        return SupportingSpan(self.evidence_sentence.hit_index, self.evidence_sentence.span)

    @property
    def is_question(self) -> bool:
        """Whether it is a question, which states nothing."""
        return self.source.is_question

    def shares_subject(self, other: "Premise") -> bool:
        """Whether both have one subject; a sentence without one goes on with that of the sentence before it."""
        if self is other or self.is_continuation_of(other):
            return True
        mine, theirs = self.source.topic, other.source.topic or other.source.terms
        return len(mine & theirs) >= MIN_SUBJECT_SHARE * min(len(mine), len(theirs)) > 0

    def matching_clause(self, claim: Claim) -> Claim:
        """The clause of it that has all the terms of a claim, where there is one; else the whole."""
        return next((clause for clause in self.clauses if claim.terms <= clause.terms), self.source)

    def is_continuation_of(self, other: "Premise") -> bool:
        """Whether it goes on about what the sentence before it is about."""
        return self.evidence_sentence.previous is other.evidence_sentence and (
            LEADING_PRONOUN.match(self.evidence_sentence.text) is not None
            or not self.source.subject
        )


def verify_draft(
    draft: DraftAnswer, evidence: SearchResult, embedder: Embedder | None = None
) -> DraftAnswer:
    """The sentences of a draft that evidence carries, each with that evidence."""
    verifier = Verifier(evidence, embedder)
    verdicts = [verifier.verify_sentence(sentence) for sentence in draft.sentences]
    return DraftAnswer(tuple(verdict.sentence for verdict in verdicts if verdict.sentence))


def is_valid_support(support: SupportingSpan, evidence: SearchResult) -> bool:
    """Whether a support names a passage of the evidence and a place inside it that speaks to readers."""
    if not 0 <= support.hit_index < len(evidence.hits):
        return False
    hit = evidence.hits[support.hit_index]
    inside = hit.span.start <= support.span.start < support.span.end <= hit.span.end
    return (
        inside
        and bool(hit.quote(support.span).strip())
        and not overlaps_injection(support.span, find_injections(hit))
    )


def _longest_missing_run(ordered_terms: Sequence[str], missing: frozenset[str]) -> int:
    longest = current = 0
    for term in ordered_terms:
        current = current + 1 if term in missing else 0
        longest = max(longest, current)
    return longest


def _shares_most_terms(terms: frozenset[str], others: frozenset[str]) -> bool:
    return len(terms & others) >= MIN_SUBJECT_SHARE * len(terms)


def _collapse_whitespace(text: str) -> str:
    return " ".join(text.split())
