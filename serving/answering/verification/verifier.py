"""Verification: a sentence reaches a reader only if its quotes say it.

Each clause of a sentence is compared with single sentences of the documents: a claim stitched from
two sentences is not supported by either. Words may differ. Numbers, units, names, dates, negations,
limits and modality may not. docs/reference/answers.md lists the rules,
docs/decisions/0014-verification.md explains them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from core.embedding import Embedder
from retrieval.types import SearchResult
from serving.answering.evidence import find_table_rows, format_quote
from serving.answering.guardrails.prompt_injection import find_injections, overlaps_injection
from serving.answering.types import DraftSentence, FaultCode, SupportingSpan
from serving.answering.verification.claims import Claim, split_clauses
from serving.answering.verification.entailment import EntailmentModel
from serving.answering.verification.matching import ClaimMatcher
from serving.answering.verification.premises import Premise, PremiseIndex

MAX_CLAUSES = 6  # a sentence with more clauses is supported as a whole or not at all
MAX_REPAIR_CANDIDATES = 6  # sentences that are compared with a clause
MIN_COPIED_RUN_WORDS = 2  # words in a row that identify the sentence they were copied from


@dataclass(frozen=True, slots=True)
class Verdict:
    """A sentence with the evidence that supports it, or the reason why none does.

    `repaired` is true if its evidence or its wording was replaced.
    """

    sentence: DraftSentence | None
    fault: FaultCode | None = None
    repaired: bool = False


class Verifier:
    """Checks the sentences of one answer against its evidence.

    The embedder finds synonyms. Without one only the documents' own words pass. An entailment model
    can only reject what the other checks accept.
    """

    def __init__(
        self,
        evidence: SearchResult,
        embedder: Embedder | None = None,
        entailment: EntailmentModel | None = None,
    ) -> None:
        self._evidence = evidence
        self._premises = PremiseIndex(evidence)
        self._matcher = ClaimMatcher(self._premises, embedder, entailment)

    def verify_sentence(self, sentence: DraftSentence) -> Verdict:
        """Return the sentence with the quotes that support it: its own, or else others."""
        if not sentence.text.strip():
            return Verdict(None, "no_evidence")
        support = tuple(s for s in sentence.support if is_valid_support(s, self._evidence))
        fault = self.find_fault(sentence.text, support) if support else "no_evidence"
        if fault is None:
            return Verdict(DraftSentence(sentence.text, support))
        other_support = self._find_other_support(sentence.text)
        if other_support:
            return Verdict(DraftSentence(sentence.text, other_support), repaired=True)
        return Verdict(None, fault)

    def find_fault(self, text: str, support: Sequence[SupportingSpan]) -> FaultCode | None:
        """Return the first fault of a sentence, or None if the quotes support it."""
        if any(self._is_quote(text, span) for span in support):
            return None
        premises = [premise for span in support for premise in self._premises.touched_by(span)]
        fault = self._find_sentence_fault(text, premises)
        if fault and not self._match_clauses(split_clauses(text), premises):
            return fault
        return "unsupported" if self._is_stitched(text) else None

    def _is_quote(self, text: str, support: SupportingSpan) -> bool:
        """Return true if a sentence is the quote itself, as a person reads it."""
        hit = self._evidence.hits[support.hit_index]
        headers = [""]
        for i, header in find_table_rows(hit):
            if hit.sentences[i].span == support.span:
                headers.append(header)
        quotes = (format_quote(hit.quote(support.span), header) for header in headers)
        return any(text.split() == quote.split() for quote in quotes)

    def _find_sentence_fault(self, text: str, premises: Sequence[Premise]) -> FaultCode | None:
        """Return None if one premise supports the whole sentence, or the fault of the closest."""
        if not premises:
            return "no_evidence"
        claim = Claim.parse(text)
        faults = [self._matcher.find_fault(claim, premise) for premise in premises]
        if None in faults:
            return None
        overlaps = [len(claim.terms & premise.source.terms) for premise in premises]
        return faults[overlaps.index(max(overlaps))]

    def _match_clauses(self, clauses: Sequence[str], premises: Sequence[Premise]) -> list[Premise]:
        """Return a premise for each clause, or for several clauses in a row.

        Empty if a clause has none. `chains` holds, by number of clauses, the premises that support
        the first clauses.
        """
        chains: dict[int, list[Premise]] = {0: []}
        for end in range(1, min(len(clauses), MAX_CLAUSES) + 1):
            for start in [start for start in chains if start < end]:
                if end in chains or (start, end) == (0, len(clauses)):
                    continue
                previous = chains[start][-1] if start else None
                premise = self._find_premise(" and ".join(clauses[start:end]), premises, previous)
                if premise:
                    chains[end] = [*chains[start], premise]
        return chains.get(len(clauses), [])

    def _find_premise(
        self, text: str, premises: Sequence[Premise], previous: Premise | None = None
    ) -> Premise | None:
        """Return the closest premise that supports a clause.

        A clause without a subject continues the clause before it, so the premises of both must have
        the same subject.
        """
        claim = Claim.parse(text)
        if previous and not claim.subject:
            premises = [premise for premise in premises if premise.shares_subject(previous)]
        by_overlap = sorted(premises, key=lambda p: -len(claim.terms & p.source.terms))
        for premise in by_overlap[:MAX_REPAIR_CANDIDATES]:
            if self._matcher.find_fault(claim, premise) is None:
                return premise
        return None

    def _find_other_support(self, text: str) -> tuple[SupportingSpan, ...]:
        """Return evidence that supports a sentence that does not cite it."""
        whole = self._find_premise(text, self._premises.all)
        found = [whole] if whole else self._match_clauses(split_clauses(text), self._premises.all)
        if found and self._is_stitched(text):
            return ()
        return tuple(dict.fromkeys(premise.support for premise in found))

    def _is_stitched(self, text: str) -> bool:
        """Return true if a text joins the beginning of one sentence to the end of another.

        A second sentence that continues the first is no fault.
        """
        words = Claim.parse(text).padded_words.split()
        if any(f" {' '.join(words)} " in p.source.padded_words for p in self._premises.all):
            return False
        cuts = range(MIN_COPIED_RUN_WORDS, len(words) - MIN_COPIED_RUN_WORDS + 1)
        return any(self._is_stitched_at(words[:cut], words[cut:]) for cut in cuts)

    def _is_stitched_at(self, head: Sequence[str], tail: Sequence[str]) -> bool:
        padded_head, padded_tail = f" {' '.join(head)} ", f" {' '.join(tail)} "
        with_head = [p for p in self._premises.all if padded_head in p.source.padded_words]
        with_tail = [p for p in self._premises.all if p.source.padded_words.find(padded_tail) > 0]
        if not with_head or not with_tail:
            return False
        return not any(
            second is first or second.is_continuation_of(first)
            for first in with_head
            for second in with_tail
        )


def is_valid_support(support: SupportingSpan, evidence: SearchResult) -> bool:
    """Return true if a span lies in its passage, is not blank, and touches no prompt injection."""
    if not 0 <= support.hit_index < len(evidence.hits):
        return False
    hit = evidence.hits[support.hit_index]
    is_inside = hit.span.start <= support.span.start < support.span.end <= hit.span.end
    if not is_inside or not hit.quote(support.span).strip():
        return False
    return not overlaps_injection(support.span, find_injections(hit))
