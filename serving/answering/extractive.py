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

from core.text.numbers import is_in_stated_range
from core.text.terms import extract_terms
from core.types import Span
from retrieval.types import Hit, SearchResult
from serving.answering.evidence import (
    EvidenceSentence,
    compute_coverage,
    extract_sentences,
    extract_term_pairs,
    score_answer_kind,
)
from serving.answering.question import (
    QuestionAnalysis,
    analyze_question,
    mentions_other_designation,
)
from serving.answering.types import DraftAnswer, DraftSentence, SupportingSpan
from serving.answering.verification.claims import Claim, are_contradictory

MAX_SENTENCES, MAX_WORDS = 4, 80  # more than two sentences only as long as they stay short together
STOP_PROBABILITY = (
    0.9  # probability that the answer is among the sentences, at which no more are added
)
MIN_PROBABILITY = 0.03  # probability below which a sentence is not worth reading
SOFTMAX_TEMPERATURE = (
    2.0  # staff don't ask in the words of the page, as the questions learnt from do: doubt more
)
MAX_SCORE_GAP = 0.4  # below the best passage's score, from where on a passage is just one of many
MIN_SPELLING_SIMILARITY = (
    0.82  # share of letters, in order, that a misspelled word has in common with the right one
)
MIN_PREFIX_LETTERS = 5  # letters in which two words must agree to be likely of one family

# What no benchmark of running text teaches; in the units of the model's score, where 1 multiplies the odds by 2.7.
RANGE_BONUS = 1.5  # the question's number lies in a range that a row of a table writes
SUPERSEDED_BONUS = (
    4.0  # for a superseded document where the question asks for an old one, against it otherwise
)

DATE_KEYS = (
    "effective",
    "updated",
    "date",
    "published",
)  # of a document's metadata, the first that it has
LEADING_PRONOUN = re.compile(
    r"(?:It|They|He|She|This|These|Those|That|Its|Their|His|Her|Such|Both|The (?:former|latter))\b"
)
LIST_BULLET = re.compile(r"^(?:[-*•·]|\(?\d{1,2}[.)])\s+")
OUTDATED_TERMS = frozenset(
    term
    for word in "old former previous earlier superseded outdated past".split()
    for term in extract_terms(word)
)


@dataclass(frozen=True, slots=True)
class RankedSentence:
    """A sentence of the evidence and the probability, 0 to 1, that it is the one that answers.

    `aside` says that it is not what was asked for, however near it comes: of a document that another has replaced, or
    about another thing of that kind. `holds` are the question's terms that stand in it.
    """

    sentence: EvidenceSentence
    probability: float
    is_inapplicable: bool = False
    matched_terms: frozenset[str] = frozenset()

    def is_weaker_row_than(self, other: "RankedSentence") -> bool:
        """Whether it is a row of the same table as another, and has fewer of the question's terms and no others: the
        row of Bronze, where that of Silver was asked for.
        """
        table = (self.sentence.hit_index, self.sentence.header)
        return (
            bool(self.sentence.header)
            and table == (other.sentence.hit_index, other.sentence.header)
            and self.matched_terms < other.matched_terms
        )


class ExtractiveGenerator:
    """A generator that quotes."""

    name = "extractive"
    fingerprint = ""  # nothing but its code

    def generate(self, evidence: SearchResult) -> DraftAnswer:
        """The sentences that answer, best first; neighbours are one quote."""
        chosen = _put_newer_first(select_sentences(rank_sentences(evidence)), evidence)
        return DraftAnswer(
            tuple(_draft_sentence(evidence, group) for group in _group_adjacent(chosen))
        )


def rank_sentences(evidence: SearchResult) -> list[RankedSentence]:
    """All sentences of the evidence with their probabilities, which add up to 1, best first."""
    wanted, candidates = analyze_question(evidence), extract_sentences(evidence)
    scores = [
        (_score_features(found) + _compute_rule_score(wanted, unit, evidence.hits[unit.hit_index]))
        / SOFTMAX_TEMPERATURE
        for unit, found in zip(
            candidates, extract_sentence_features(evidence, wanted, candidates), strict=True
        )
    ]
    highest = max(scores, default=0.0)
    odds = [math.exp(score - highest) for score in scores]
    choices = [
        RankedSentence(
            unit,
            each / sum(odds),
            _is_inapplicable(wanted, unit, evidence.hits[unit.hit_index]),
            unit.own_terms.intersection(wanted.term_weights),
        )
        for unit, each in zip(candidates, odds, strict=True)
    ]
    return sorted(choices, key=lambda choice: -choice.probability)


def select_sentences(ranking: Sequence[RankedSentence]) -> list[RankedSentence]:
    """The first sentences until the answer is probably among them; one that says the same again is left out, so is a
    lesser row of a table, and one that stands aside unless it is the best there is.
    """
    chosen: list[RankedSentence] = []
    for choice in ranking:
        certain = sum(other.probability for other in chosen)
        if len(chosen) == MAX_SENTENCES or (
            chosen and (certain >= STOP_PROBABILITY or choice.probability < MIN_PROBABILITY)
        ):
            break
        again = any(
            choice.sentence.own_terms == other.sentence.own_terms
            or choice.is_inapplicable
            or choice.is_weaker_row_than(other)
            for other in chosen
        )
        words = sum(len(other.sentence.text.split()) for other in [*chosen, choice])
        if not again and (len(chosen) < 2 or words <= MAX_WORDS):
            chosen.append(choice)
    return chosen


def _put_newer_first(chosen: list[RankedSentence], evidence: SearchResult) -> list[RankedSentence]:
    """The chosen sentences; of two that contradict each other, and whose documents both say of when they are, the newer
    one in the older one's place.
    """
    for at, later in combinations(range(len(chosen)), 2):
        hits = [evidence.hits[chosen[place].sentence.hit_index] for place in (at, later)]
        said = [
            Claim.parse(format_quote(chosen[place].sentence.text, chosen[place].sentence.header))
            for place in (at, later)
        ]
        older, newer = map(_get_document_date, hits)
        if (
            hits[0].document_id != hits[1].document_id
            and older
            and newer > older
            and are_contradictory(*said)
        ):
            chosen[at], chosen[later] = chosen[later], chosen[at]
    return chosen


def _get_document_date(hit: Hit) -> str:
    """The day that a document says it is of, as 2026-02-05; empty where it says none."""
    return next((str(hit.metadata[key])[:10] for key in DATE_KEYS if hit.metadata.get(key)), "")


def extract_sentence_features(
    evidence: SearchResult, analysis: QuestionAnalysis, candidates: Sequence[EvidenceSentence]
) -> list[dict[str, float]]:
    """What the model sees of each sentence; shares and cosines, so that they mean the same in any corpus."""
    passages = collect_passage_terms(evidence, candidates)
    covered = [compute_coverage(analysis.term_weights, passage) for passage in passages]
    highest = max((hit.lexical.score or 0.0 for hit in evidence.hits), default=0.0) or 1.0
    asked_pairs = extract_term_pairs(evidence.question)
    telling = _weigh_distinctive_terms(analysis, candidates)
    top = max(
        (hit.score for hit in evidence.hits), default=0.0
    )  # not the first hit's: a reranker may have a say
    return [
        {
            "cosine": unit.cosine,
            "cosine_before": unit.previous.cosine if unit.previous else 0.0,
            "coverage": compute_coverage(analysis.term_weights, unit.context_terms),
            "telling_coverage": compute_coverage(
                telling, expand_terms_by_prefix(analysis, unit.own_terms)
            ),
            "passage_coverage": covered[unit.hit_index],
            "passage_score": max(evidence.hits[unit.hit_index].score - top, -MAX_SCORE_GAP),
            "passage_lexical": (evidence.hits[unit.hit_index].lexical.score or 0.0) / highest,
            "kind": score_answer_kind(analysis, unit.text),
            "pairs": len(asked_pairs & extract_term_pairs(unit.text)) / len(asked_pairs)
            if asked_pairs
            else 0.0,
            "length": math.log1p(len(unit.text.split()) + len(unit.header.split())),
            "opens": float(unit.previous is None),
            "pronoun": float(bool(LEADING_PRONOUN.match(unit.text))),
            "asks": float(unit.text.endswith("?")),
        }
        for unit in candidates
    ]


def collect_passage_terms(
    evidence: SearchResult, candidates: Sequence[EvidenceSentence]
) -> list[frozenset[str]]:
    """The terms of each hit's quotable sentences and of the headings above them."""
    return [
        frozenset().union(*(unit.context_terms for unit in candidates if unit.hit_index == number))
        for number in range(len(evidence.hits))
    ]


def _weigh_distinctive_terms(
    analysis: QuestionAnalysis, candidates: Sequence[EvidenceSentence]
) -> dict[str, float]:
    """The question's terms by how few sentences of the evidence have them: what is on every page tells none apart."""
    holding = {
        term: sum(term in unit.own_terms for unit in candidates) for term in analysis.term_weights
    }
    return {
        term: math.log1p(len(candidates) / (count + 0.5))
        for term, count in holding.items()
        if count
    }


def expand_terms_by_prefix(analysis: QuestionAnalysis, present: frozenset[str]) -> frozenset[str]:
    """The terms that are present, and those of the question that begin like one that is: invent, invention."""
    stems = {term[:MIN_PREFIX_LETTERS] for term in present if len(term) >= MIN_PREFIX_LETTERS}
    return present | {term for term in analysis.term_weights if term[:MIN_PREFIX_LETTERS] in stems}


def expand_terms_by_spelling(analysis: QuestionAnalysis, present: frozenset[str]) -> frozenset[str]:
    """The relatives, and what is spelled nearly like a term that is present: Shirly, Shirley."""
    found = expand_terms_by_prefix(analysis, present)
    missing = [
        term
        for term in analysis.term_weights
        if term not in found and term.isalpha() and len(term) >= MIN_PREFIX_LETTERS
    ]
    words = (
        [term for term in present if term.isalpha() and len(term) >= MIN_PREFIX_LETTERS]
        if missing
        else []
    )
    return found | {
        term for term in missing if get_close_matches(term, words, 1, MIN_SPELLING_SIMILARITY)
    }


def _score_features(features: Mapping[str, float]) -> float:
    return sum(weight * features[name] for name, weight in load_weights().items())


@cache
def load_weights() -> dict[str, float]:
    """The model's weight for each feature."""
    stored: dict[str, float] = json.loads(
        Path(__file__).with_suffix(".json").read_text(encoding="utf-8")
    )["weights"]
    return stored


def _is_inapplicable(analysis: QuestionAnalysis, sentence: EvidenceSentence, hit: Hit) -> bool:
    """Whether a sentence is of a document that another replaced, which nobody asked for, or about another thing of the
    kind asked for, by its own words or by the headings above it.
    """
    if is_superseded(hit) and not _asks_for_outdated(analysis, hit):
        return True
    return mentions_other_designation(
        f"{hit.title} {hit.context} {sentence.text}", analysis.designations
    )


def _compute_rule_score(analysis: QuestionAnalysis, sentence: EvidenceSentence, hit: Hit) -> float:
    score = (
        RANGE_BONUS
        if sentence.header and is_in_stated_range(analysis.quantities, sentence.text)
        else 0.0
    )
    if is_superseded(hit):
        score += SUPERSEDED_BONUS if _asks_for_outdated(analysis, hit) else -SUPERSEDED_BONUS
    return score


def _asks_for_outdated(analysis: QuestionAnalysis, hit: Hit) -> bool:
    """Whether a question asks for what was before, or names the year that a document has in its name."""
    return bool(
        OUTDATED_TERMS & analysis.all_terms
        or analysis.number_terms & set(extract_terms(f"{hit.title} {hit.path}"))
    )


def is_superseded(hit: Hit) -> bool:
    """Whether a document says of itself that another has taken its place."""
    return str(hit.metadata.get("status", "")).lower() == "superseded"


def _group_adjacent(chosen: Sequence[RankedSentence]) -> Iterator[list[EvidenceSentence]]:
    """The chosen sentences, those together that follow one another; a group stands where its best member stood."""
    left = [choice.sentence for choice in chosen]
    while left:
        group = [left.pop(0)]
        while joined := next((unit for unit in left if _is_adjacent_to_group(unit, group)), None):
            left.remove(joined)
            group.append(joined)
        yield sorted(group, key=lambda unit: unit.span)


def _is_adjacent_to_group(sentence: EvidenceSentence, group: Sequence[EvidenceSentence]) -> bool:
    return (
        any(sentence.previous is other or other.previous is sentence for other in group)
        and not sentence.header
    )


def _draft_sentence(evidence: SearchResult, group: Sequence[EvidenceSentence]) -> DraftSentence:
    first, last = group[0], group[-1]
    if first.previous and LEADING_PRONOUN.match(first.text) and not first.header:
        first = first.previous
    span = Span(first.span.start, last.span.end)
    quote = evidence.hits[first.hit_index].quote(span)
    return DraftSentence(
        format_quote(quote, first.header), (SupportingSpan(first.hit_index, span),)
    )


def format_quote(quote: str, header: str = "") -> str:
    """A quote as a person reads it: a row with the names of its columns, an item without its bullet, one line."""
    if header:
        names, cells = header.split(" | "), quote.split(" | ")
        if len(names) == len(cells):
            return (
                "; ".join(
                    f"{name.strip()}: {cell.strip()}"
                    for name, cell in zip(names, cells, strict=True)
                )
                + "."
            )
    return LIST_BULLET.sub("", " ".join(quote.split()))
