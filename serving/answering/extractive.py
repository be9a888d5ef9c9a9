"""Extractive generator, the default: it quotes sentences and needs no language model.

A log-linear model scores the sentences of the evidence: features times the weights in
serving/answering/extractive.json (fitted by `python -m evaluation.train_extractive`). A softmax
over all sentences gives the probability that a sentence is the one that answers. The answer is the
most probable sentence, and further ones until the answer is probably among them.
"""

import json
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from itertools import combinations
from pathlib import Path

from core.text.lexicon import load_lexicon
from core.text.numbers import is_in_stated_range
from core.text.terms import extract_terms, extract_word_terms
from core.types import Span
from retrieval.types import Hit, SearchResult
from serving.answering.evidence import (
    EvidenceSentence,
    begins_with_pronoun,
    compute_coverage,
    extract_sentences,
    extract_term_pairs,
    format_quote,
    score_answer_kind,
)
from serving.answering.generator.answer_generator import AnswerGenerator
from serving.answering.question import (
    QuestionAnalysis,
    analyze_question,
    mentions_other_designation,
)
from serving.answering.types import DraftSentence, SupportingSpan
from serving.answering.verification.claims import Claim
from serving.answering.verification.literal_checks import are_contradictory

MAX_SENTENCES = 4
MAX_WORDS = 80  # of all sentences together, if there are more than two
STOP_PROBABILITY = 0.9  # add no sentence if the answer is among the chosen with this probability
MIN_PROBABILITY = 0.03  # a less probable sentence is not worth reading
# Above 1 lowers confidence: users share fewer words with a page than training questions do.
SOFTMAX_TEMPERATURE = 2.0
MAX_SCORE_GAP = 0.4  # to the best passage; a larger gap counts as this one
MIN_SPELLING_SIMILARITY = 0.82  # ratio of difflib, 0 to 1, of a misspelled word and the right one
MIN_PREFIX_LETTERS = 5  # equal first letters of related words: invent, invention

# Bonuses in logits for cases that the training text lacks: 1 multiplies the odds by 2.7.
RANGE_BONUS = 1.5  # for a table row with a range that includes a number of the question
SUPERSEDED_BONUS = 4.0  # for superseded documents if the question asks for them, else against them

DATE_KEYS = ("effective", "updated", "date", "published")  # in metadata; the first present counts
_OUTDATED_TERMS = extract_word_terms(load_lexicon("questions").words("outdated_words"))


@dataclass(frozen=True, slots=True)
class RankedSentence:
    """A sentence of the evidence and the probability, 0 to 1, that it is the one that answers.

    `is_inapplicable` is true for a sentence of a superseded document, or about the Heron 200 if the
    question names the Heron 210. `matched_terms` are the question's terms in the sentence.
    """

    sentence: EvidenceSentence
    probability: float
    is_inapplicable: bool = False
    matched_terms: frozenset[str] = frozenset()

    def is_weaker_row_than(self, other: "RankedSentence") -> bool:
        """Return true for a row of the same table that matches only some of the other's terms.

        Example: the row of Bronze, if the question asks for Silver.
        """
        table = (self.sentence.hit_index, self.sentence.header)
        other_table = (other.sentence.hit_index, other.sentence.header)
        is_same_table = bool(self.sentence.header) and table == other_table
        return is_same_table and self.matched_terms < other.matched_terms


class ExtractiveGenerator(AnswerGenerator):
    """A generator that quotes."""

    name = "extractive"
    fingerprint = ""  # depends on nothing but its code

    def generate(self, evidence: SearchResult) -> Generator[DraftSentence]:
        """Yield the sentences that answer, best first; neighboring sentences are one quote."""
        chosen = _put_newer_first(select_sentences(rank_sentences(evidence)), evidence)
        for group in _group_adjacent(chosen):
            yield _draft_sentence(evidence, group)


def rank_sentences(evidence: SearchResult) -> list[RankedSentence]:
    """Return all sentences of the evidence with probabilities that add up to 1, best first."""
    analysis, sentences = analyze_question(evidence), extract_sentences(evidence)
    logits = []
    for sentence, features in zip(
        sentences, extract_sentence_features(evidence, analysis, sentences), strict=True
    ):
        score = sum(weight * features[name] for name, weight in load_weights().items())
        score += _compute_rule_score(analysis, sentence, evidence.hits[sentence.hit_index])
        logits.append(score / SOFTMAX_TEMPERATURE)
    ranking = [
        RankedSentence(
            sentence,
            probability,
            _is_inapplicable(analysis, sentence, evidence.hits[sentence.hit_index]),
            sentence.own_terms.intersection(analysis.term_weights),
        )
        for sentence, probability in zip(sentences, _softmax(logits), strict=True)
    ]
    return sorted(ranking, key=lambda ranked: -ranked.probability)


def _softmax(logits: Sequence[float]) -> list[float]:
    highest = max(logits, default=0.0)
    odds = [math.exp(logit - highest) for logit in logits]
    total = sum(odds)
    return [value / total for value in odds]


@cache
def load_weights() -> dict[str, float]:
    """Return the weight of each feature."""
    file = Path(__file__).with_suffix(".json")
    weights: dict[str, float] = json.loads(file.read_text(encoding="utf-8"))["weights"]
    return weights


def extract_sentence_features(
    evidence: SearchResult, analysis: QuestionAnalysis, candidates: Sequence[EvidenceSentence]
) -> list[dict[str, float]]:
    """Return the features of each sentence: shares and cosines, comparable between corpora."""
    passage_coverage = [
        compute_coverage(analysis.term_weights, terms)
        for terms in collect_passage_terms(evidence, candidates)
    ]
    max_lexical = max((hit.lexical.score or 0.0 for hit in evidence.hits), default=0.0) or 1.0
    # A reranker may have moved the hits: the first is not always the one with the highest score.
    max_score = max((hit.score for hit in evidence.hits), default=0.0)
    question_pairs = extract_term_pairs(evidence.question)
    distinctive_weights = _weigh_distinctive_terms(analysis, candidates)

    def extract_features(sentence: EvidenceSentence) -> dict[str, float]:
        hit = evidence.hits[sentence.hit_index]
        related_terms = expand_terms_by_prefix(analysis, sentence.own_terms)
        common_pairs = question_pairs & extract_term_pairs(sentence.text)
        return {
            "cosine": sentence.cosine,
            "cosine_before": sentence.previous.cosine if sentence.previous else 0.0,
            "coverage": compute_coverage(analysis.term_weights, sentence.context_terms),
            "telling_coverage": compute_coverage(distinctive_weights, related_terms),
            "passage_coverage": passage_coverage[sentence.hit_index],
            "passage_score": max(hit.score - max_score, -MAX_SCORE_GAP),
            "passage_lexical": (hit.lexical.score or 0.0) / max_lexical,
            "kind": score_answer_kind(analysis, sentence.text),
            "pairs": len(common_pairs) / len(question_pairs) if question_pairs else 0.0,
            "length": math.log1p(len(sentence.text.split()) + len(sentence.header.split())),
            "opens": float(sentence.previous is None),
            "pronoun": float(begins_with_pronoun(sentence.text)),
            "asks": float(sentence.text.endswith("?")),
        }

    return [extract_features(sentence) for sentence in candidates]


def collect_passage_terms(
    evidence: SearchResult, candidates: Sequence[EvidenceSentence]
) -> list[frozenset[str]]:
    """Return the terms of each hit's quotable sentences and of the headings above them."""
    terms: list[frozenset[str]] = [frozenset() for _ in evidence.hits]
    for sentence in candidates:
        terms[sentence.hit_index] |= sentence.context_terms
    return terms


def _weigh_distinctive_terms(
    analysis: QuestionAnalysis, candidates: Sequence[EvidenceSentence]
) -> dict[str, float]:
    """Return the question's terms weighted by rarity in the evidence: ln(1 + N / (n + 0.5)).

    N is the number of sentences, n the number of those with the term. A term of every sentence
    does not tell sentences apart.
    """
    weights = {}
    for term in analysis.term_weights:
        count = sum(term in sentence.own_terms for sentence in candidates)
        if count:
            weights[term] = math.log1p(len(candidates) / (count + 0.5))
    return weights


def expand_terms_by_prefix(analysis: QuestionAnalysis, present: frozenset[str]) -> frozenset[str]:
    """Return the terms, and the question's terms with the same prefix: invent, invention."""
    prefixes = {term[:MIN_PREFIX_LETTERS] for term in present if len(term) >= MIN_PREFIX_LETTERS}
    return present | {
        term for term in analysis.term_weights if term[:MIN_PREFIX_LETTERS] in prefixes
    }


def expand_terms_by_spelling(analysis: QuestionAnalysis, present: frozenset[str]) -> frozenset[str]:
    """Return the terms, and the question's terms with the same prefix or a similar spelling."""
    related = expand_terms_by_prefix(analysis, present)
    missing = [term for term in analysis.term_weights if term not in related and _is_word(term)]
    if not missing:
        return related
    words = [term for term in present if _is_word(term)]
    return related | {
        term for term in missing if get_close_matches(term, words, 1, MIN_SPELLING_SIMILARITY)
    }


def _is_word(term: str) -> bool:
    return term.isalpha() and len(term) >= MIN_PREFIX_LETTERS


def _compute_rule_score(analysis: QuestionAnalysis, sentence: EvidenceSentence, hit: Hit) -> float:
    score = 0.0
    if sentence.header and is_in_stated_range(analysis.quantities, sentence.text):
        score += RANGE_BONUS
    if is_superseded(hit):
        score += SUPERSEDED_BONUS if _asks_for_outdated(analysis, hit) else -SUPERSEDED_BONUS
    return score


def _is_inapplicable(analysis: QuestionAnalysis, sentence: EvidenceSentence, hit: Hit) -> bool:
    if is_superseded(hit) and not _asks_for_outdated(analysis, hit):
        return True
    text = f"{hit.title} {hit.context} {sentence.text}"
    return mentions_other_designation(text, analysis.designations)


def _asks_for_outdated(analysis: QuestionAnalysis, hit: Hit) -> bool:
    """Return true if a question asks for an old document, or names the document's number."""
    if _OUTDATED_TERMS & analysis.all_terms:
        return True
    return not analysis.number_terms.isdisjoint(extract_terms(f"{hit.title} {hit.path}"))


def is_superseded(hit: Hit) -> bool:
    """Return true if the metadata of a document says that another replaces it."""
    return str(hit.metadata.get("status", "")).lower() == "superseded"


def select_sentences(ranking: Sequence[RankedSentence]) -> list[RankedSentence]:
    """Return the first sentences, until the answer is probably among them.

    Leave out repetitions, weaker rows of a table, and inapplicable sentences unless first.
    """
    chosen: list[RankedSentence] = []
    for candidate in ranking:
        if _is_complete(chosen, candidate):
            break
        words = sum(len(ranked.sentence.text.split()) for ranked in [*chosen, candidate])
        fits = len(chosen) < 2 or words <= MAX_WORDS
        if fits and not _is_redundant(chosen, candidate):
            chosen.append(candidate)
    return chosen


def _is_complete(chosen: Sequence[RankedSentence], candidate: RankedSentence) -> bool:
    if not chosen:
        return False
    certainty = sum(ranked.probability for ranked in chosen)
    return (
        len(chosen) == MAX_SENTENCES
        or certainty >= STOP_PROBABILITY
        or candidate.probability < MIN_PROBABILITY
    )


def _is_redundant(chosen: Sequence[RankedSentence], candidate: RankedSentence) -> bool:
    return any(
        candidate.is_inapplicable
        or candidate.sentence.own_terms == ranked.sentence.own_terms
        or candidate.is_weaker_row_than(ranked)
        for ranked in chosen
    )


def _put_newer_first(chosen: list[RankedSentence], evidence: SearchResult) -> list[RankedSentence]:
    """Exchange two sentences if they contradict each other and the older document is first."""
    for i, j in combinations(range(len(chosen)), 2):
        first, second = (evidence.hits[chosen[k].sentence.hit_index] for k in (i, j))
        first_date, second_date = _get_document_date(first), _get_document_date(second)
        is_older_first = first_date and second_date > first_date
        if first.document_id == second.document_id or not is_older_first:
            continue
        if are_contradictory(_parse_claim(chosen[i]), _parse_claim(chosen[j])):
            chosen[i], chosen[j] = chosen[j], chosen[i]
    return chosen


def _parse_claim(ranked: RankedSentence) -> Claim:
    return Claim.parse(format_quote(ranked.sentence.text, ranked.sentence.header))


def _get_document_date(hit: Hit) -> str:
    """Return the date in a document's metadata as 2026-02-05, or an empty text."""
    dates = (str(hit.metadata[key])[:10] for key in DATE_KEYS if hit.metadata.get(key))
    return next(dates, "")


def _group_adjacent(chosen: Sequence[RankedSentence]) -> Iterator[list[EvidenceSentence]]:
    """Yield groups of neighboring sentences, each at the place of its most probable member."""
    remaining = [ranked.sentence for ranked in chosen]
    while remaining:
        group = [remaining.pop(0)]
        while neighbor := next((s for s in remaining if _is_adjacent_to_group(s, group)), None):
            remaining.remove(neighbor)
            group.append(neighbor)
        yield sorted(group, key=lambda sentence: sentence.span)


def _is_adjacent_to_group(sentence: EvidenceSentence, group: Sequence[EvidenceSentence]) -> bool:
    if sentence.header:
        return False
    return any(sentence.previous is other or other.previous is sentence for other in group)


def _draft_sentence(evidence: SearchResult, group: Sequence[EvidenceSentence]) -> DraftSentence:
    first, last = group[0], group[-1]
    if first.previous and begins_with_pronoun(first.text) and not first.header:
        first = first.previous
    span = Span(first.span.start, last.span.end)
    quote = evidence.hits[first.hit_index].quote(span)
    text = format_quote(quote, first.header)
    return DraftSentence(text, (SupportingSpan(first.hit_index, span),))
