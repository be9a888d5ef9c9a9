"""Does a sentence say what its quotes say? Whoever wrote it, it reaches a reader only if it does.

A sentence is held to single sentences of the documents, one for each of its clauses: what is half from here and half
from there is nobody's statement. Words may differ, since an honest writer has words of their own (the embedding model
tells likeness); numbers with their units, names, dates, negations, bounds and how firmly something is said may not.
docs/answers.md has the list, docs/decisions/0014-verification.md why it is as it is.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from core.embedding import Embedder
from retrieval.types import Evidence, Hit
from serving.answering.evidence import Unit, table_rows, units
from serving.answering.extractive import PRONOUN, readable
from serving.answering.guardrails.prompt_injection import overlaps, planted
from serving.answering.types import Draft, DraftSentence, Fault, Support
from serving.answering.verification.claims import Statement, clauses, literal_fault, opposite
from serving.answering.verification.entailment import Entailment

COVERED = 0.72  # share of a clause's terms that one sentence must hold, headings and likeness counted
OWN = 0.5  # share of them that must stand in the sentence itself, likeness counted
ALIKE = 0.5  # cosine from which two words count as two words for one thing
ALIKE_MORE = 0.62  # the same, for what is spoken of, and for a word that another sentence has: it may be from there
NEAR = 0.55  # cosine of clause and sentence below which they speak of different things
ENTAILED = 0.5  # probability, of the entailment model where there is one, below which a clause is not said
SAME = 0.8  # cosine from which one word of the writer's own is no matter
INVENTED = 2  # terms one after the other that the sentence doesn't have: that is something of the writer's own
SUBJECT = 0.75  # share of the terms before the verb that the sentence itself must hold
MOST_CLAUSES = 6  # of one sentence; what has more is carried as a whole or not at all
CANDIDATES = 6  # sentences that a repair looks at
RUN = 2  # words in a row, at least, that tell from which sentence a half was taken


@dataclass(frozen=True, slots=True)
class Verdict:
    """A sentence with the evidence that carries it, or why none does. `repaired`: not the evidence that it named."""

    sentence: DraftSentence | None
    fault: Fault | None = None
    repaired: bool = False


class Verifier:
    """Checks the sentences of one answer against its evidence.

    `embedder` tells whether different words are alike; without one only the documents' own words pass.
    """

    def __init__(
        self, evidence: Evidence, embedder: Embedder | None = None, entailment: Entailment | None = None
    ) -> None:
        self._evidence, self._embedder, self._entailment = evidence, embedder, entailment
        self._vectors: dict[str, np.ndarray] = {}

    def verdict(self, sentence: DraftSentence) -> Verdict:
        """The sentence as its quotes carry it; else with the quote that does; else why not."""
        support = tuple(support for support in sentence.support if stands(support, self._evidence))
        if not sentence.text.strip():
            return Verdict(None, "no_evidence")
        fault: Fault | None = "no_evidence"
        if support:
            fault = self.fault(sentence.text, support)
            if fault is None:
                return Verdict(DraftSentence(sentence.text, support))
        found = self._elsewhere(sentence.text)
        return Verdict(DraftSentence(sentence.text, found), None, repaired=True) if found else Verdict(None, fault)

    def fault(self, text: str, support: Sequence[Support]) -> Fault | None:
        """What a sentence says that its quotes don't; None where they carry it."""
        if any(self._quoted(text, each) for each in support):
            return None
        premises = [premise for each in support for premise in self._premises(each)]
        whole = self._carried(text, premises)
        if whole is None or self._divided(clauses(text), premises):
            return "unsupported" if self._merged(text) else None
        return whole

    def _divided(self, pieces: Sequence[str], premises: Sequence["Premise"]) -> list["Premise"]:
        """The sentences that carry the clauses, each one or several in a row; empty where a clause has none."""
        reached: dict[int, list[Premise]] = {0: []}
        for end in range(1, min(len(pieces), MOST_CLAUSES) + 1):
            for start in [start for start in reached if start < end and (start, end) != (0, len(pieces))]:
                before = reached[start][-1] if start else None
                found = self._best(" and ".join(pieces[start:end]), premises, before)
                if found and end not in reached:
                    reached[end] = [*reached[start], found]
        return reached.get(len(pieces), [])

    def _merged(self, text: str) -> bool:
        """Whether a sentence is the beginning of one sentence and the end of another, word for word, without what the
        other one is about.
        """
        words = Statement.of(text).flat.split()
        everything = self._everything
        if any(f" {' '.join(words)} " in premise.said.flat for premise in everything):
            return False
        for cut in range(RUN, len(words) - RUN + 1):
            head, tail = f" {' '.join(words[:cut])} ", f" {' '.join(words[cut:])} "
            begun = [place for place, premise in enumerate(everything) if head in premise.said.flat]
            ended = [place for place, premise in enumerate(everything) if premise.said.flat.find(tail) > 0]
            if (
                ended
                and begun
                and not any(
                    one == other or everything[other].continues(everything[one]) for one in begun for other in ended
                )
            ):
                return True
        return False

    def _quoted(self, text: str, support: Support) -> bool:
        """Whether a sentence is the quote itself, as a person reads it."""
        hit = self._evidence.hits[support.hit]
        quote = hit.quote(support.span)
        headers = [header for place, header in table_rows(hit) if hit.sentences[place].span == support.span]
        return any(_flat(text) == _flat(readable(quote, header)) for header in ["", *headers])

    def _premises(self, support: Support) -> list["Premise"]:
        """The whole sentences that a quote touches: one that begins after a "not" is read with it."""
        hit = self._evidence.hits[support.hit]
        touched = [premise for premise in self._all[support.hit] if premise.unit.span.overlaps(support.span)]
        return touched or [
            Premise.of(
                Unit(support.hit, support.span, hit.quote(support.span), 0.0, "", frozenset(), frozenset(), None), hit
            )
        ]

    @cached_property
    def _all(self) -> list[list["Premise"]]:
        found: list[list[Premise]] = [[] for _ in self._evidence.hits]
        for unit in units(self._evidence):
            found[unit.hit].append(Premise.of(unit, self._evidence.hits[unit.hit]))
        return found

    @cached_property
    def _everything(self) -> list["Premise"]:
        return [premise for premises in self._all for premise in premises]

    def _elsewhere(self, text: str) -> tuple[Support, ...]:
        """The evidence that carries a sentence though it did not name it; nothing where there is none."""
        everything = self._everything
        whole = self._best(text, everything)
        found = [whole] if whole else self._divided(clauses(text), everything)
        if found and self._merged(text):
            return ()
        return tuple(dict.fromkeys(premise.support for premise in found))

    def _best(self, text: str, premises: Sequence["Premise"], before: "Premise | None" = None) -> "Premise | None":
        """The sentence that carries a clause best. A clause without a subject of its own speaks of what the clause
        before it does, and so must the sentence.
        """
        claim = Statement.of(text)
        if before and not claim.subject:
            premises = [premise for premise in premises if premise.speaks_of(before)]
        near = sorted(premises, key=lambda premise: -len(claim.terms & premise.said.terms))[:CANDIDATES]
        return next((premise for premise in near if self._holds(claim, premise) is None), None)

    def _carried(self, text: str, premises: Sequence["Premise"]) -> Fault | None:
        claim = Statement.of(text)
        faults = [self._holds(claim, premise) for premise in premises]
        if not faults or None in faults:
            return None if faults else "no_evidence"
        closest = max(range(len(premises)), key=lambda place: len(claim.terms & premises[place].said.terms))
        return faults[closest]

    def _holds(self, claim: Statement, premise: "Premise") -> Fault | None:
        """None where one sentence says all of one clause."""
        fault = literal_fault(claim, premise.part(claim), premise.frame)
        closest = max(premise.parts, key=lambda part: len(claim.terms & part.terms))
        if not fault and _mostly(claim.terms, closest.terms) and opposite(claim, closest):
            fault = "opposite"
        if not fault and closest.negations and not claim.negations and not claim.terms <= premise.said.terms:
            fault = "negation"  # what is denied there has other words here, and is not denied
        if fault:
            return fault
        if not claim.terms or (premise.asks and not claim.asks):
            return "unsupported"
        own = claim.terms & premise.said.terms
        own |= self._alike(claim, premise, claim.terms - own)
        around = claim.terms & premise.frame.terms
        near = self._cosine(claim.text, premise.said.text) if self._embedder else float(own == claim.terms)
        missing = claim.terms - own - around
        if self._beside(premise, missing):
            return "unsupported"
        few = len(missing) == 1 and near >= SAME and not missing & claim.names
        if len(own) < OWN * len(claim.terms) or (
            len(claim.terms) - len(missing) < COVERED * len(claim.terms) and not few
        ):
            return "unsupported"
        if (
            near < NEAR
            or _longest_run(claim.order, missing) >= INVENTED
            or not self._subject_stands(claim, premise, own)
        ):
            return "unsupported"
        if self._entailment and self._entailment.probability(premise.passage, claim.text) < ENTAILED:
            return "entailment"
        return None

    def _subject_stands(self, claim: Statement, premise: "Premise", own: frozenset[str]) -> bool:
        """Whether what the clause speaks of is what the sentence speaks of; headings say it for a pronoun or a row."""
        elsewhere = premise.frame.terms if premise.unit.header or PRONOUN.match(premise.unit.text) else frozenset()
        if len(claim.subject & (own | elsewhere)) < SUBJECT * len(claim.subject):
            return False
        if not premise.said.topic or elsewhere or not claim.predicate <= premise.said.predicate:
            return True  # other words are said of it: then the subject may have become the object
        mine, theirs, alike = claim.topic, premise.said.topic, own - premise.said.terms
        return _mostly(mine, premise.said.subject | alike) or _mostly(theirs, claim.subject)

    def _beside(self, premise: "Premise", looked_for: frozenset[str]) -> frozenset[str]:
        """Which terms other sentences of the passage have: a word of theirs in this one's place may be from there."""
        counts = self._counts[premise.unit.hit]
        return frozenset(term for term in looked_for if counts[term] > (term in premise.said.terms))

    @cached_property
    def _counts(self) -> list[Counter[str]]:
        """For each passage, how many of its sentences have each term."""
        return [Counter(term for premise in premises for term in premise.said.terms) for premises in self._all]

    def _alike(self, claim: Statement, premise: "Premise", others: frozenset[str]) -> frozenset[str]:
        """The terms for which the sentence has another word that means about the same."""
        free = premise.said.terms - claim.terms
        if not self._embedder or not free or not others:
            return frozenset()
        words, careful = {term: claim.word(term) for term in others}, self._beside(premise, others) | claim.topic
        theirs = [premise.said.word(term) for term in free]
        self._embed([claim.text, premise.said.text, *words.values(), *theirs])
        return frozenset(
            term
            for term, word in words.items()
            if max(self._cosine(word, other) for other in theirs) >= (ALIKE_MORE if term in careful else ALIKE)
        )

    def _cosine(self, one: str, other: str) -> float:
        self._embed([one, other])
        return float(self._vectors[one] @ self._vectors[other])

    def _embed(self, texts: Sequence[str]) -> None:
        """Embed what has not been, together: a model is much quicker with many texts than with one after the other."""
        new = sorted(set(texts) - self._vectors.keys())
        if new and self._embedder:
            self._vectors.update(zip(new, self._embedder.encode(new), strict=True))


@dataclass(frozen=True, slots=True)
class Premise:
    """A sentence of a document, what it says, and the frame that it is read in: title, headings, a table's columns,
    and the sentence before where it begins with a pronoun.
    """

    unit: Unit
    said: Statement
    parts: tuple[Statement, ...]
    frame: Statement
    passage: str

    @classmethod
    def of(cls, unit: Unit, hit: Hit) -> "Premise":
        """From a unit of the evidence."""
        before = unit.before.text if unit.before and PRONOUN.match(unit.text) else ""
        text = readable(unit.text, unit.header)
        frame = Statement.of(" . ".join(filter(None, (hit.title, hit.context, unit.header, before))))
        said = Statement.of(text)
        parts = tuple(Statement.of(clause) for clause in clauses(text))
        return cls(unit, said, parts, frame, f"{hit.context}\n{before} {text}")

    @property
    def support(self) -> Support:
        """The sentence as evidence."""
        return Support(self.unit.hit, self.unit.span)

    @property
    def asks(self) -> bool:
        """Whether it is a question, which states nothing."""
        return self.said.asks

    def speaks_of(self, other: "Premise") -> bool:
        """Whether both have one subject; a sentence without one goes on with that of the sentence before it."""
        if self is other or self.continues(other):
            return True
        mine, theirs = self.said.topic, other.said.topic or other.said.terms
        return len(mine & theirs) >= SUBJECT * min(len(mine), len(theirs)) > 0

    def part(self, claim: Statement) -> Statement:
        """The clause of it that has all the terms of a claim, where there is one; else the whole."""
        return next((clause for clause in self.parts if claim.terms <= clause.terms), self.said)

    def continues(self, other: "Premise") -> bool:
        """Whether it goes on about what the sentence before it is about."""
        return self.unit.before is other.unit and (PRONOUN.match(self.unit.text) is not None or not self.said.subject)


def verify(draft: Draft, evidence: Evidence, embedder: Embedder | None = None) -> Draft:
    """The sentences of a draft that evidence carries, each with that evidence."""
    verifier = Verifier(evidence, embedder)
    verdicts = [verifier.verdict(sentence) for sentence in draft.sentences]
    return Draft(tuple(verdict.sentence for verdict in verdicts if verdict.sentence))


def stands(support: Support, evidence: Evidence) -> bool:
    """Whether a support names a passage of the evidence and a place inside it that speaks to readers."""
    if not 0 <= support.hit < len(evidence.hits):
        return False
    hit = evidence.hits[support.hit]
    inside = hit.span.start <= support.span.start < support.span.end <= hit.span.end
    return inside and bool(hit.quote(support.span).strip()) and not overlaps(support.span, planted(hit))


def _longest_run(order: Sequence[str], missing: frozenset[str]) -> int:
    longest = current = 0
    for term in order:
        current = current + 1 if term in missing else 0
        longest = max(longest, current)
    return longest


def _mostly(some: frozenset[str], others: frozenset[str]) -> bool:
    return len(some & others) >= SUBJECT * len(some)


def _flat(text: str) -> str:
    return " ".join(text.split())
