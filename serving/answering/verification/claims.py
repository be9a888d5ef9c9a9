"""Claims: what a sentence states, split into parts that can be compared with another sentence.

The parts are its terms, subject and names, its numbers with units and limits, its negations, and
its modal and quantifier words (must, usually, all). literal_checks.py compares them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

from core.text.lexicon import load_lexicon
from core.text.numbers import NUMBER_WORDS
from core.text.terms import WORD_PATTERN, extract_terms, extract_word_terms
from serving.answering.verification.quantities import Quantity, extract_quantities

MIN_CLAUSE_TERMS = 3  # a shorter piece is an item of a list, not a clause

_LEXICON = load_lexicon("claims")
_CLAUSE_BREAK = _LEXICON.pattern("clause_break")
_VERB_PATTERN = _LEXICON.pattern("verb", flags=0)
_INTRODUCTORY_PHRASE = _LEXICON.pattern("introductory_phrase")
_NEGATION_PATTERN = _LEXICON.pattern("negation")
_MODALITY_PATTERNS = _LEXICON.word_patterns("modality")
EXPLICIT_BOUND_PATTERNS = {
    name: _LEXICON.compile(expression) for name, expression in _LEXICON["explicit_bounds"].items()
}
_REPORTING_TERMS = extract_word_terms(_LEXICON.words("reporting_words"))
_MONTHS_AND_DAYS = _LEXICON.words("months_and_days")
_SYMBOL_WORDS: dict[str, str] = _LEXICON["symbol_words"]
_MONTH_MAY = _LEXICON.pattern("month_may", flags=0)
_WRITTEN_NUMBERS = "|".join(word for word in NUMBER_WORDS if word not in ("zero", "one"))
_NUMBER_WORD = re.compile(rf"\b(?:{_WRITTEN_NUMBERS})\b(?!-)", re.IGNORECASE)
_PLAIN_WORD = re.compile(r"[^\W_]+")
_CAPITALIZED_WORD = re.compile(r"(?<=[\w,;:)] )[A-Z][\w'’-]*")  # not at the start of a sentence
_PHRASE_BREAK = re.compile(r"[,;.](?!\d)")


def _extract_marker_terms() -> frozenset[str]:
    """Return the terms that only mark modality, quantity, limits or negation."""
    expressions = [*_LEXICON["modality"].values(), *_LEXICON["bounds"].values()]
    sources = [*map(_LEXICON.expand, expressions), _NEGATION_PATTERN.pattern]
    words = re.sub(r"\(\?:|[\\()|\[\]?^:*]|\bb\b", " ", " ".join(sources))
    return frozenset(term for term in extract_terms(words) if len(term) > 1)


_MARKER_TERMS = _extract_marker_terms()


@dataclass(frozen=True)
class Claim:
    """The parts of a sentence, each computed when it is first needed."""

    text: str  # normalized

    @classmethod
    @lru_cache(maxsize=8_192)  # the sentences of one answer are compared with the same passages
    def parse(cls, text: str) -> "Claim":
        """Return the claim of a sentence."""
        return cls(normalize_text(text))

    @property
    def is_question(self) -> bool:
        """True for a question, which states nothing."""
        return self.text.rstrip("\"'”’) ").endswith("?")

    @cached_property
    def terms(self) -> frozenset[str]:
        """Content terms: without markers of modality and limits, and without reporting words."""
        return frozenset(self._words_by_term) - _REPORTING_TERMS - _MARKER_TERMS

    @cached_property
    def all_terms(self) -> frozenset[str]:
        """All terms."""
        return frozenset(extract_terms(self.text))

    @cached_property
    def ordered_terms(self) -> list[str]:
        """Content terms in order, with repeats."""
        return [term for term in extract_terms(self.text) if term in self.terms]

    @cached_property
    def subject(self) -> frozenset[str]:
        """Content terms before the first verb; empty if no verb is recognized."""
        if not self._first_verb:
            return frozenset()
        return self._content_terms(self.text[: self._first_verb.start()])

    @cached_property
    def predicate(self) -> frozenset[str]:
        """Content terms after the first verb; all if no verb is recognized."""
        if not self._first_verb:
            return self.terms
        return self._content_terms(self.text[self._first_verb.end() :])

    @cached_property
    def topic(self) -> frozenset[str]:
        """Terms of the subject, without an introductory phrase: "After an incident, ..."."""
        if not self._first_verb:
            return self.subject
        before_verb = self.text[: self._first_verb.start()]
        opening = _INTRODUCTORY_PHRASE.match(before_verb)
        return self._content_terms(before_verb[opening.end() :]) if opening else self.subject

    @cached_property
    def _first_verb(self) -> re.Match[str] | None:
        return _VERB_PATTERN.search(self.text)

    def _content_terms(self, text: str) -> frozenset[str]:
        return self.terms.intersection(extract_terms(text))

    @cached_property
    def padded_words(self) -> str:
        """Lowercase words, each between two blanks, to search for runs of words."""
        return f" {' '.join(_PLAIN_WORD.findall(self.text.lower()))} "

    @cached_property
    def _words_by_term(self) -> dict[str, str]:
        words = reversed(WORD_PATTERN.findall(self.text))  # the first word of a term wins
        return {term: word for word in words for term in extract_terms(word)}

    def original_word(self, term: str) -> str:
        """Return the word that a term was made from."""
        return self._words_by_term[term].lower()

    @cached_property
    def name_terms(self) -> frozenset[str]:
        """Terms with a capital, except those of the first word, and all months and days."""
        terms = set(self._month_and_day_terms)
        for name in _CAPITALIZED_WORD.findall(self.text):
            terms |= set(extract_terms(name) or [name.lower()]) - _REPORTING_TERMS - {"i"}
        return frozenset(terms)

    @property
    def _month_and_day_terms(self) -> frozenset[str]:
        words = {word.lower() for word in WORD_PATTERN.findall(self.text)}
        return extract_word_terms(_MONTHS_AND_DAYS & words)

    @cached_property
    def number_terms(self) -> frozenset[str]:
        """Terms with a digit."""
        return frozenset(term for term in self.all_terms if any(map(str.isdigit, term)))

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """Numbers in order."""
        return tuple(extract_quantities(self.text))

    @cached_property
    def modality_markers(self) -> dict[str, tuple[frozenset[str], ...]]:
        """Modal and quantifier markers by class, each as the terms it modifies."""
        markers = {}
        for name, pattern in _MODALITY_PATTERNS.items():
            if marked_terms := tuple(_extract_marked_terms(self.text, pattern, max_terms=2)):
                markers[name] = marked_terms
        return markers

    def has_explicit_bound(self, bound: str) -> bool:
        """Return true if the text states a limit of a class, with or without a number."""
        return EXPLICIT_BOUND_PATTERNS[bound].search(self.text) is not None

    @cached_property
    def first_word_terms(self) -> frozenset[str]:
        """Terms of the first word, or the word itself: its capital does not make it a name."""
        first = self.text.split(" ", 1)[0]
        return frozenset(extract_terms(first) or [first.lower()])

    @cached_property
    def negated_terms(self) -> tuple[frozenset[str], ...]:
        """For each negation, the term it negates: the next one, or the last before it."""
        return tuple(_extract_marked_terms(self.text, _NEGATION_PATTERN, max_terms=1))


def _extract_marked_terms(
    text: str, pattern: re.Pattern[str], max_terms: int
) -> Iterator[frozenset[str]]:
    """Yield, per match, the next terms of its phrase, or else the last one before it."""
    for match in pattern.finditer(text):
        after = extract_terms(_PHRASE_BREAK.split(text[match.end() :])[0])
        before = extract_terms(_PHRASE_BREAK.split(text[: match.start()])[-1])
        yield frozenset(after[:max_terms] or before[-1:])


def normalize_text(text: str) -> str:
    """Return a text with numbers in digits and units in words.

    Twelve becomes 12, 5% becomes 5 percent, €75,000 becomes 75000 euro.
    """
    text = text.replace("’", "'").replace("–", "-").replace("\u00a0", " ")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"([€$£])\s?(\d+(?:\.\d+)?)", lambda m: f"{m[2]} {_SYMBOL_WORDS[m[1]]}", text)
    text = re.sub(r"(?<=\d)\s?([%°])", lambda m: f" {_SYMBOL_WORDS[m[1]]} ", text)
    number_with_unit = r"(?<![\w.-])(\d+(?:\.\d+)?)(?=[a-zA-Zµ]{1,3}\b)(?!st\b|nd\b|rd\b|th\b)"
    text = re.sub(number_with_unit, r"\1 ", text)
    text = re.sub(r"\bper cent\b", "percent", text)
    text = re.sub(r"(?<=\w)'s\b", "", text)
    text = re.sub(r"\b([Nn])o one\b", r"\1obody", text)
    text = re.sub(r"(?<=\d)-(?=[a-z])", " ", text)  # a 30-minute test
    text = _MONTH_MAY.sub("Maymonth", text)
    return _NUMBER_WORD.sub(lambda m: str(NUMBER_WORDS[m[0].lower()]), " ".join(text.split()))


def split_clauses(text: str) -> list[str]:
    """Return the clauses that a sentence joins. A short piece stays with the one before it."""
    clauses: list[str] = []
    for piece in _CLAUSE_BREAK.split(text):
        if clauses and (_is_fragment(piece) or _is_fragment(clauses[-1])):
            clauses[-1] += f" and {piece}"
        else:
            clauses.append(piece)
    return clauses


def _is_fragment(text: str) -> bool:
    return len(set(extract_terms(text))) < MIN_CLAUSE_TERMS
