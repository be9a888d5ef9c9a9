"""The default generator: it composes an answer of sentences that stand in the documents, and needs no further model.

Every sentence of the evidence gets a few plain features, and a small model (serving/answering/extractive.json, made by
`python -m evaluation.train_extractive`) turns them into the probability that it is the one that answers. The most
probable is given first; others join it until the answer is probably among them.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import combinations
from pathlib import Path

from core.text.numbers import in_range
from core.text.terms import terms
from core.types import Span
from retrieval.types import Evidence, Hit
from serving.answering.evidence import Unit, answers_kind, coverage, pairs, units
from serving.answering.question import Asked, about_another, asked
from serving.answering.types import Draft, DraftSentence, Support
from serving.answering.verification.claims import Statement, disagree

MOST_SENTENCES, MOST_WORDS = 4, 80  # more than two sentences only as long as they stay short together
ENOUGH = 0.9  # probability that the answer is among the sentences, at which no more are added
LEAST = 0.03  # probability below which a sentence is not worth reading
TEMPERATURE = 2.0  # staff don't ask in the words of the page, as the questions learnt from do: doubt more
FAR = 0.4  # below the best passage's score, from where on a passage is just one of many
ALIKE = 0.82  # share of letters, in order, that a misspelled word has in common with the right one
PREFIX = 5  # letters in which two words must agree to be likely of one family

# What no benchmark of running text teaches; in the units of the model's score, where 1 multiplies the odds by 2.7.
RANGE = 1.5  # the question's number lies in a range that a row of a table writes
SUPERSEDED = 4.0  # for a superseded document where the question asks for an old one, against it otherwise

DATES = ("effective", "updated", "date", "published")  # of a document's metadata, the first that it has
PRONOUN = re.compile(r"(?:It|They|He|She|This|These|Those|That|Its|Their|His|Her|Such|Both|The (?:former|latter))\b")
BULLET = re.compile(r"^(?:[-*•·]|\(?\d{1,2}[.)])\s+")
OLD = frozenset(term for word in "old former previous earlier superseded outdated past".split() for term in terms(word))


@dataclass(frozen=True, slots=True)
class Choice:
    """A sentence of the evidence and the probability, 0 to 1, that it is the one that answers.

    `aside` says that it is not what was asked for, however near it comes: of a document that another has replaced, or
    about another thing of that kind. `holds` are the question's terms that stand in it.
    """

    unit: Unit
    probability: float
    aside: bool = False
    holds: frozenset[str] = frozenset()

    def lesser(self, other: "Choice") -> bool:
        """Whether it is a row of the same table as another, and has fewer of the question's terms and no others: the
        row of Bronze, where that of Silver was asked for.
        """
        table = (self.unit.hit, self.unit.header)
        return bool(self.unit.header) and table == (other.unit.hit, other.unit.header) and self.holds < other.holds


class Extractive:
    """A generator that quotes."""

    name = "extractive"
    fingerprint = ""  # nothing but its code

    def generate(self, evidence: Evidence) -> Draft:
        """The sentences that answer, best first; neighbours are one quote."""
        chosen = _newest_first(choose(ranked(evidence)), evidence)
        return Draft(tuple(_sentence(evidence, group) for group in _neighbours(chosen)))


def ranked(evidence: Evidence) -> list[Choice]:
    """All sentences of the evidence with their probabilities, which add up to 1, best first."""
    wanted, candidates = asked(evidence), units(evidence)
    scores = [
        (_linear(found) + _beyond(wanted, unit, evidence.hits[unit.hit])) / TEMPERATURE
        for unit, found in zip(candidates, features(evidence, wanted, candidates), strict=True)
    ]
    highest = max(scores, default=0.0)
    odds = [math.exp(score - highest) for score in scores]
    choices = [
        Choice(
            unit,
            each / sum(odds),
            _aside(wanted, unit, evidence.hits[unit.hit]),
            unit.own.intersection(wanted.weights),
        )
        for unit, each in zip(candidates, odds, strict=True)
    ]
    return sorted(choices, key=lambda choice: -choice.probability)


def choose(choices: Sequence[Choice]) -> list[Choice]:
    """The first sentences until the answer is probably among them; one that says the same again is left out, so is a
    lesser row of a table, and one that stands aside unless it is the best there is.
    """
    chosen: list[Choice] = []
    for choice in choices:
        certain = sum(other.probability for other in chosen)
        if len(chosen) == MOST_SENTENCES or (chosen and (certain >= ENOUGH or choice.probability < LEAST)):
            break
        again = any(choice.unit.own == other.unit.own or choice.aside or choice.lesser(other) for other in chosen)
        words = sum(len(other.unit.text.split()) for other in [*chosen, choice])
        if not again and (len(chosen) < 2 or words <= MOST_WORDS):
            chosen.append(choice)
    return chosen


def _newest_first(chosen: list[Choice], evidence: Evidence) -> list[Choice]:
    """The chosen sentences; of two that contradict each other, and whose documents both say of when they are, the newer
    one in the older one's place.
    """
    for at, later in combinations(range(len(chosen)), 2):
        hits = [evidence.hits[chosen[place].unit.hit] for place in (at, later)]
        said = [Statement.of(readable(chosen[place].unit.text, chosen[place].unit.header)) for place in (at, later)]
        older, newer = map(_dated, hits)
        if hits[0].document_id != hits[1].document_id and older and newer > older and disagree(*said):
            chosen[at], chosen[later] = chosen[later], chosen[at]
    return chosen


def _dated(hit: Hit) -> str:
    """The day that a document says it is of, as 2026-02-05; empty where it says none."""
    return next((str(hit.metadata[key])[:10] for key in DATES if hit.metadata.get(key)), "")


def features(evidence: Evidence, wanted: Asked, candidates: Sequence[Unit]) -> list[dict[str, float]]:
    """What the model sees of each sentence; shares and cosines, so that they mean the same in any corpus."""
    passages = passage_terms(evidence, candidates)
    covered = [coverage(wanted.weights, passage) for passage in passages]
    highest = max((hit.lexical.score or 0.0 for hit in evidence.hits), default=0.0) or 1.0
    asked_pairs = pairs(evidence.question)
    telling = _telling(wanted, candidates)
    top = max((hit.score for hit in evidence.hits), default=0.0)  # not the first hit's: a reranker may have a say
    return [
        {
            "cosine": unit.cosine,
            "cosine_before": unit.before.cosine if unit.before else 0.0,
            "coverage": coverage(wanted.weights, unit.around),
            "telling_coverage": coverage(telling, relatives(wanted, unit.own)),
            "passage_coverage": covered[unit.hit],
            "passage_score": max(evidence.hits[unit.hit].score - top, -FAR),
            "passage_lexical": (evidence.hits[unit.hit].lexical.score or 0.0) / highest,
            "kind": answers_kind(wanted, unit.text),
            "pairs": len(asked_pairs & pairs(unit.text)) / len(asked_pairs) if asked_pairs else 0.0,
            "length": math.log1p(len(unit.text.split()) + len(unit.header.split())),
            "opens": float(unit.before is None),
            "pronoun": float(bool(PRONOUN.match(unit.text))),
            "asks": float(unit.text.endswith("?")),
        }
        for unit in candidates
    ]


def passage_terms(evidence: Evidence, candidates: Sequence[Unit]) -> list[frozenset[str]]:
    """The terms of each hit's quotable sentences and of the headings above them."""
    return [
        frozenset().union(*(unit.around for unit in candidates if unit.hit == number))
        for number in range(len(evidence.hits))
    ]


def _telling(wanted: Asked, candidates: Sequence[Unit]) -> dict[str, float]:
    """The question's terms by how few sentences of the evidence have them: what is on every page tells none apart."""
    holding = {term: sum(term in unit.own for unit in candidates) for term in wanted.weights}
    return {term: math.log1p(len(candidates) / (count + 0.5)) for term, count in holding.items() if count}


def relatives(wanted: Asked, present: frozenset[str]) -> frozenset[str]:
    """The terms that are present, and those of the question that begin like one that is: invent, invention."""
    stems = {term[:PREFIX] for term in present if len(term) >= PREFIX}
    return present | {term for term in wanted.weights if term[:PREFIX] in stems}


def family(wanted: Asked, present: frozenset[str]) -> frozenset[str]:
    """The relatives, and what is spelled nearly like a term that is present: Shirly, Shirley."""
    found = relatives(wanted, present)
    missing = [term for term in wanted.weights if term not in found and term.isalpha() and len(term) >= PREFIX]
    words = [term for term in present if term.isalpha() and len(term) >= PREFIX] if missing else []
    return found | {term for term in missing if get_close_matches(term, words, 1, ALIKE)}


def _linear(found: Mapping[str, float]) -> float:
    return sum(weight * found[name] for name, weight in weights().items())


@cache
def weights() -> dict[str, float]:
    """The model's weight for each feature."""
    stored: dict[str, float] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))["weights"]
    return stored


def _aside(wanted: Asked, unit: Unit, hit: Hit) -> bool:
    """Whether a sentence is of a document that another replaced, which nobody asked for, or about another thing of the
    kind asked for, by its own words or by the headings above it.
    """
    if superseded(hit) and not _wants_old(wanted, hit):
        return True
    return about_another(f"{hit.title} {hit.context} {unit.text}", wanted.designations)


def _beyond(wanted: Asked, unit: Unit, hit: Hit) -> float:
    score = RANGE if unit.header and in_range(wanted.values, unit.text) else 0.0
    if superseded(hit):
        score += SUPERSEDED if _wants_old(wanted, hit) else -SUPERSEDED
    return score


def _wants_old(wanted: Asked, hit: Hit) -> bool:
    """Whether a question asks for what was before, or names the year that a document has in its name."""
    return bool(OLD & wanted.present or wanted.numbers & set(terms(f"{hit.title} {hit.path}")))


def superseded(hit: Hit) -> bool:
    """Whether a document says of itself that another has taken its place."""
    return str(hit.metadata.get("status", "")).lower() == "superseded"


def _neighbours(chosen: Sequence[Choice]) -> Iterator[list[Unit]]:
    """The chosen sentences, those together that follow one another; a group stands where its best member stood."""
    left = [choice.unit for choice in chosen]
    while left:
        group = [left.pop(0)]
        while joined := next((unit for unit in left if _touches(unit, group)), None):
            left.remove(joined)
            group.append(joined)
        yield sorted(group, key=lambda unit: unit.span)


def _touches(unit: Unit, group: Sequence[Unit]) -> bool:
    return any(unit.before is other or other.before is unit for other in group) and not unit.header


def _sentence(evidence: Evidence, group: Sequence[Unit]) -> DraftSentence:
    first, last = group[0], group[-1]
    if first.before and PRONOUN.match(first.text) and not first.header:
        first = first.before
    span = Span(first.span.start, last.span.end)
    quote = evidence.hits[first.hit].quote(span)
    return DraftSentence(readable(quote, first.header), (Support(first.hit, span),))


def readable(quote: str, header: str = "") -> str:
    """A quote as a person reads it: a row with the names of its columns, an item without its bullet, one line."""
    if header:
        names, cells = header.split(" | "), quote.split(" | ")
        if len(names) == len(cells):
            return "; ".join(f"{name.strip()}: {cell.strip()}" for name, cell in zip(names, cells, strict=True)) + "."
    return BULLET.sub("", " ".join(quote.split()))
