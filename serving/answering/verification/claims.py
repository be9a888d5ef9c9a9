"""What a sentence states, taken apart so that it can be held to another: its terms, its numbers and what they count,
its names, and how firmly and how far it says what it says.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import permutations
from typing import Literal

from core.text.numbers import NUMBER_WORDS
from core.text.terms import WORD_PATTERN, extract_terms

LiteralFault = Literal["number", "unit", "name", "negation", "bound", "modality", "opposite"]

CLAUSE_BREAK = re.compile(
    r"\s*;\s*|,\s+(?:and|but|while|whereas|so|which|who|after which)\s+"
    r"|\s+(?:and|but|while|whereas)\s+(?=\S+(?:\s\S+){3})",
    re.IGNORECASE,
)
MAX_PAIRED_NUMBERS = (
    4  # numbers of one value in a clause, up to which it is looked at which counts what
)
MIN_COMMON_TERM_SHARE = (
    0.6  # share of the terms of the shorter of two sentences that tell that both speak of one thing
)
MAX_OMITTED_TERM_SHARE = (
    0.2  # share of a sentence's terms that a clause may lack and still repeat it as a whole
)
MIN_CLAUSE_TERMS = 3  # terms; less than that is a part of a list, not a clause

# What a writer says about the evidence, not from it.
REPORTING_TERMS = frozenset(
    term
    for word in (
        "according document documents documented passage passages evidence source sources text policy policies guide"
        " manual note notes page section state states stated say says said mention mentions mentioned specify specifies"
        " specified describe describes described indicate indicates following also additionally furthermore therefore"
        " however note namely in addition out up off"
    ).split()
    for term in extract_terms(word)
)

NEGATION_PATTERN = re.compile(
    r"(?:\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|unless|except|excluding|hardly|forbidden"
    r"|prohibited|forbids?|prohibits?|unable|impossible|ban(?:ned|s)?)|n['’]t)\b"
    r"(?! (?:more|less|later|fewer|longer|older) than)",
    re.IGNORECASE,
)
UNIT_WORDS = frozenset(
    "second minute hour day week month year night decade quarter percent euro dollar pound cent kg g mg gram kilogram"
    " tonne t km m cm mm nm metre meter kilometre l ml litre liter bar mbar pa kpa v mv volt a ma amp w kw watt kwh hz"
    " khz"
    " mhz c celsius degree f k ntu ms s min h kb mb gb tb byte ppm ppb ph piece time people person euros"
    " working calendar january february march april maymonth june july august september october november december"
    " monday tuesday wednesday thursday friday saturday sunday".split()
)
UNIT_SYNONYMS = {
    "kilogram": "kg",
    "gram": "g",
    "metre": "m",
    "meter": "m",
    "kilometre": "km",
    "hour": "hour",
    "h": "hour",
    "min": "minute",
    "s": "second",
    "euros": "euro",
    "litre": "l",
    "liter": "l",
    "volt": "v",
    "watt": "w",
    "celsius": "c",
    "centimetre": "cm",
    "millimetre": "mm",
    "person": "people",
}
DAY_COUNT_WORDS = frozenset({"working", "calendar"})
SYMBOL_WORDS = {"€": "euro", "$": "dollar", "£": "pound", "%": "percent", "°": "degree"}

# What a number is the end of. Two classes that differ say different things; none says the number itself.
BOUND_WORDS = (
    (
        "most",
        r"up to|at most|no more than|not more than|a maximum of|maximum of|at the most|not exceed"
        r"|n(?:o|ot) (?:longer|older|greater|larger|later|higher) than",
    ),
    (
        "least",
        r"at least|no less than|not less than|no fewer than|a minimum of|minimum of|or more|and more|and over",
    ),
    (
        "above",
        r"(?<!no )(?<!not )(?:more|older|longer|greater|larger|higher) than|over|above|exceeds?|exceeding|beyond",
    ),
    ("below", r"less than|fewer than|under|below|younger than|shorter than|smaller than"),
    ("about", r"about|around|roughly|approximately|nearly|almost|circa"),
    ("before", r"by|before|until|till"),
    ("after", r"after|from|since|starting"),
)
# Bounds that are bounds also where no number follows: rounded up to the next full day.
EXPLICIT_BOUND_PATTERNS = {
    name: re.compile(rf"(?<!no )(?<!not )\b(?:{pattern})\b", re.IGNORECASE)
    for name, pattern in {
        "most": r"up to|at (?:the )?most|no more than|not more than|a maximum of|or (?:less|fewer)",
        "least": r"at (?:the very )?least|no (?:less|fewer) than|not less than|a minimum of|(?:or|and) more",
        "above": r"(?:more|longer|older) than",
        "below": r"(?:less|fewer|shorter|younger) than",
    }.items()
}
# How firmly. More than the evidence says is exaggerated; each class with what is as firm or firmer.
POSSIBILITY_WORDS = r"may|might|can|could|possibl[ey]|optional(?:ly)?|perhaps|allowed to|permitted to|is allowed|are allowed"
TIME_PERIOD_WORDS = r"\w+day|day|night|week|month|quarter|year|hour|minute"  # every Friday: that is when, not of how much
MODALITY_WORDS = {
    "must": r"must|has to|have to|had to|shall|required?|requires|obliged|mandatory|obligatory|compulsory|needs?",
    "should": r"should|ought to|recommend(?:ed|s)?|advis(?:ed|able)|preferably",
    "may": POSSIBILITY_WORDS,
    "usually": r"usual(?:ly)?|typical(?:ly)?|normally|generally|mostly|often|frequently|likely"
    r"|(?<!at )(?<!at the )most",
    "sometimes": r"sometimes|occasionally|some|few|several|partly|in part|rarely|seldom",
    "always": r"always|invariably|in all cases|in every case|at all times|without exception|guarantee[ds]?|certainly",
    "only": r"only|solely|exclusively|nothing but|just",
    "all": rf"all|(?:every|each)(?! (?:{TIME_PERIOD_WORDS})\b)|any|everyone|everybody|anyone|everything|entire(?:ly)?|whole"
    r"|completely|fully|totally",
    "other": r"other|others|another|different|else",
    "at once": r"immediately|instantly|at once|right away|straight away",
}
# A hedge that must not be lost where its clause is repeated, and the firm words that must not be added.
HEDGE_MARKERS, FIRM_MARKERS = (
    ("may", "should", "usually", "sometimes"),
    ("must", "always", "only", "all", "at once", "other"),
)
EQUIVALENT_FIRM_MARKERS = {"always": ("always", "all"), "all": ("all", "always")}
PROHIBITION_TERMS = frozenset(extract_terms("never not"))

OPPOSITE_PAIRS = [
    frozenset(extract_terms(pair))
    for pair in (
        "before after;above below;over under;more less;more fewer;minimum maximum;least most;"
        "increase decrease;rise fall;raise lower;higher lower;high low;first last;start end;begin end;"
        "open close;allow forbid;accept reject;include exclude;buy sell;inside outside;"
        "indoors outdoors;left right;early late;earlier later;warm cold;hot cold;old new;"
        "internal external;with without;longer shorter;heavier lighter;fast slow;upper lower;on off;"
        "gain lose;enable disable;fail succeed;approve refuse;approve reject;always never;full empty;"
        "wet dry;public private;primary secondary;incoming outgoing;daily weekly;weekly monthly;"
        "monthly yearly;daily monthly;annual monthly;lock unlock;pass fail;red green;inbound outbound;"
        "import export;upload download;encrypt decrypt;credit debit;deposit withdraw;permit forbid;"
        "newer older;once twice;half quarter;half third;within before;within after;win lose;free paid;"
        "highest lowest;largest smallest;latest earliest;longest shortest;add deduct;rise drop;credited charged"
    ).split(";")
]
NEGATING_PREFIXES = ("un", "in", "im", "ir", "dis", "non")
VERB_PATTERN = re.compile(
    r" (?:(?:is|are|was|were|may|must|can|has|have|will|should|does|do|did)(?:n't)?|cannot|can't|receives?|gets?"
    r"|takes?|needs?)\b"
)
INTRODUCTORY_PHRASE = re.compile(
    r"(?:in|on|at|after|before|when|if|during|for|with|without|within|from|by|until|since|because|while|where|under"
    r"|above|up|according|as|once|unless|to)\b[^,]*, ",
    re.IGNORECASE,
)
NUMBER_PATTERN = re.compile(
    r"(?<![A-Za-z])(?<![A-Za-z]-)\d+(?:[.,:]\d+)*"
)  # that of RF-2 is a part of a name
PLAIN_WORD = re.compile(r"[^\W_]+")
CAPITALIZED_WORD = re.compile(r"(?<=[\w,;:)] )[A-Z][\w'’-]*")  # a capital inside a sentence
TRAILING_NAME = re.compile(r"\b[A-Z][\w'’-]* $")
MONTH_AND_DAY_NAMES = frozenset(
    "january february march april maymonth june july august september october november december monday tuesday"
    " wednesday thursday"
    " friday saturday sunday".split()
)


@dataclass(frozen=True, slots=True)
class Quantity:
    """A number of a sentence: its value as written, what it counts, what bounds it, the terms around it as far as the
    next number on either side, and those of a name right before it, as in Heron 210.
    """

    value: str
    units: frozenset[str]
    bound: str | None
    context_terms: frozenset[str]
    name_terms: frozenset[str]


@dataclass(frozen=True)
class Claim:
    """A sentence taken apart. Its parts are computed when they are asked for."""

    text: str

    @classmethod
    @lru_cache(maxsize=8_192)
    def parse(cls, text: str) -> "Claim":
        """From a sentence as a person reads it. Kept: the sentences of one answer are held to the same passages."""
        return cls(normalize_text(text))

    @property
    def is_question(self) -> bool:
        """Whether it is a question."""
        return self.text.rstrip("\"'”’) ").endswith("?")

    @cached_property
    def terms(self) -> frozenset[str]:
        """What it speaks of: its terms, without those that only say how firmly, and those about the evidence."""
        return frozenset(self._words_by_term) - REPORTING_TERMS - _MARKER_TERMS

    @cached_property
    def all_terms(self) -> frozenset[str]:
        """All of its terms."""
        return frozenset(extract_terms(self.text))

    @cached_property
    def ordered_terms(self) -> list[str]:
        """The terms of `terms` in order, repeats included."""
        return [term for term in extract_terms(self.text) if term in self.terms]

    @cached_property
    def subject(self) -> frozenset[str]:
        """The terms before its first verb, as far as verbs can be told; none where it begins with one or has none."""
        return (
            frozenset(extract_terms(self.text[: match.start()])) & self.terms
            if (match := self._first_verb)
            else frozenset()
        )

    @cached_property
    def predicate(self) -> frozenset[str]:
        """The terms after its first verb; all of them where none can be told."""
        return (
            frozenset(extract_terms(self.text[match.end() :])) & self.terms
            if (match := self._first_verb)
            else self.terms
        )

    @cached_property
    def topic(self) -> frozenset[str]:
        """The terms of the subject without those of a phrase before it: After an incident, ..."""
        if not self._first_verb or not (
            opening := INTRODUCTORY_PHRASE.match(self.text[: self._first_verb.start()])
        ):
            return self.subject
        return (
            frozenset(extract_terms(self.text[opening.end() : self._first_verb.start()]))
            & self.terms
        )

    @cached_property
    def _first_verb(self) -> re.Match[str] | None:
        return VERB_PATTERN.search(self.text)

    @cached_property
    def padded_words(self) -> str:
        """Its words in lower case, with a blank before and after each: what a run of words can be looked for in."""
        return f" {' '.join(PLAIN_WORD.findall(self.text.lower()))} "

    @cached_property
    def _words_by_term(self) -> dict[str, str]:
        return {
            term: word
            for word in reversed(WORD_PATTERN.findall(self.text))
            for term in extract_terms(word)
        }

    def original_word(self, term: str) -> str:
        """The word that a term of it was made from."""
        return self._words_by_term[term].lower()

    @cached_property
    def name_terms(self) -> frozenset[str]:
        """The terms that it writes with a capital, the first word apart, and all days and months."""
        capitals = CAPITALIZED_WORD.findall(self.text)
        written = (
            frozenset(term for name in capitals for term in extract_terms(name) or [name.lower()])
            - REPORTING_TERMS
            - {"i"}
        )
        return written | frozenset(
            term
            for word in MONTH_AND_DAY_NAMES & self._lowercase_words
            for term in extract_terms(word)
        )

    @cached_property
    def _lowercase_words(self) -> frozenset[str]:
        return frozenset(word.lower() for word in WORD_PATTERN.findall(self.text))

    @cached_property
    def number_terms(self) -> frozenset[str]:
        """The terms that hold a digit."""
        return frozenset(
            term for term in self.all_terms if any(letter.isdigit() for letter in term)
        )

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """Its numbers in order."""
        return tuple(_extract_quantities(self.text))

    @cached_property
    def modality_markers(self) -> dict[str, tuple[frozenset[str], ...]]:
        """How firmly and of how much it says what it says: for each class its places, each as the terms it is about."""
        found = {
            name: tuple(_extract_marked_terms(self.text, pattern, 2))
            for name, pattern in _MODALITY_PATTERNS.items()
        }
        return {name: places for name, places in found.items() if places}

    def has_explicit_bound(self, bound: str) -> bool:
        """Whether it has a bound in so many words, with a number or without."""
        return EXPLICIT_BOUND_PATTERNS[bound].search(self.text) is not None

    @cached_property
    def first_word_terms(self) -> frozenset[str]:
        """The terms of its first word, whose capital makes no name of it; the word itself where it has none."""
        first = self.text.split(" ", 1)[0]
        return frozenset(extract_terms(first) or [first.lower()])

    @cached_property
    def negated_terms(self) -> tuple[frozenset[str], ...]:
        """The term that each of its negations is about: the first after it, or the last before it."""
        return tuple(_extract_marked_terms(self.text, NEGATION_PATTERN, 1))


def normalize_text(text: str) -> str:
    """The text with numbers in digits and units in words: twelve is 12, 5% is 5 percent, €75,000 is 75000 euro."""
    text = text.replace("’", "'").replace("–", "-").replace("\u00a0", " ")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"([€$£])\s?(\d+(?:\.\d+)?)", lambda m: f"{m[2]} {SYMBOL_WORDS[m[1]]}", text)
    text = re.sub(r"(?<=\d)\s?([%°])", lambda m: f" {SYMBOL_WORDS[m[1]]} ", text)
    text = re.sub(
        r"(?<![\w.-])(\d+(?:\.\d+)?)(?=[a-zA-Zµ]{1,3}\b)(?!st\b|nd\b|rd\b|th\b)", r"\1 ", text
    )
    text = re.sub(r"\bper cent\b", "percent", text)
    text = re.sub(r"(?<=\w)'s\b", "", text)
    text = re.sub(r"\b([Nn])o one\b", r"\1obody", text)
    text = re.sub(r"(?<=\d)-(?=[a-z])", " ", text)  # a 30-minute test
    text = _MONTH_MAY.sub("Maymonth", text)
    return _NUMBER_WORD.sub(lambda m: str(NUMBER_WORDS[m[0].lower()]), " ".join(text.split()))


_MONTH_MAY = re.compile(
    r"(?<=[a-z] )May\b(?!-)|(?<=\d )May\b|\bMay(?= \d)"
)  # the month; the verb is a stop word
_NUMBER_WORD = re.compile(
    rf"\b(?:{'|'.join(word for word in NUMBER_WORDS if word not in ('zero', 'one'))})\b(?!-)",
    re.IGNORECASE,
)
_MODALITY_PATTERNS = {
    name: re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)
    for name, pattern in MODALITY_WORDS.items()
}
_BOUND_PATTERNS = [
    (name, re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)) for name, pattern in BOUND_WORDS
]
_MARKER_TERMS = frozenset(
    term
    for pattern in [
        *MODALITY_WORDS.values(),
        *(pattern for _, pattern in BOUND_WORDS),
        NEGATION_PATTERN.pattern,
    ]
    for term in extract_terms(re.sub(r"\(\?:|[\\()|\[\]?^:*]|\bb\b", " ", pattern))
    if len(term) > 1
)


def split_clauses(text: str) -> list[str]:
    """The clauses that a sentence joins; itself where it is one. A short piece stays with the one before."""
    pieces, found = CLAUSE_BREAK.split(text), list[str]()
    for piece in pieces:
        if found and (
            len(set(extract_terms(piece))) < MIN_CLAUSE_TERMS
            or len(set(extract_terms(found[-1]))) < MIN_CLAUSE_TERMS
        ):
            found[-1] += f" and {piece}"
        else:
            found.append(piece)
    return found


def find_literal_fault(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """What a clause says otherwise than a sentence, as far as that can be told from its letters."""
    if not claim.number_terms <= source.number_terms | context.number_terms:
        return "number"
    if _has_name_fault(claim, source, context):
        return "name"
    return (
        _find_number_fault(claim, source, context)
        or (
            "bound"
            if any(
                claim.has_explicit_bound(name) and not source.has_explicit_bound(name)
                for name in EXPLICIT_BOUND_PATTERNS
            )
            else None
        )
        or _find_negation_fault(claim, source)
        or _find_modality_fault(claim, source)
        or ("opposite" if has_opposite(claim, source) else None)
    )


def _has_name_fault(claim: Claim, source: Claim, context: Claim) -> bool:
    """A name that isn't there, or one in the place of another: as a name it is new, and one of the sentence's gone."""
    new = claim.name_terms - source.name_terms - source.first_word_terms
    return not new <= source.all_terms | context.all_terms or bool(
        new and not source.name_terms <= claim.all_terms
    )


def _find_number_fault(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    for value, units in _quantities_by_value(claim).items():
        theirs = _quantities_by_value(source).get(value, [])
        if len(units) > len(theirs) and theirs and value not in _quantities_by_value(context):
            return "number"
        if len(units) == len(theirs) > 1 and not _units_can_pair(units, theirs):
            return "unit"
    for quantity in claim.quantities:
        same = [
            other
            for other in source.quantities
            if other.value == quantity.value and _names_agree(quantity, other)
        ]
        if not same:
            if not quantity.name_terms or not quantity.name_terms <= context.all_terms:
                return "number"
            continue
        if not any(_units_agree(quantity, other) for other in same):
            return "unit"
        if not any(_bounds_agree(quantity, other) for other in same):
            return "bound"
        named = [
            other.value for other in source.quantities if other.name_terms == quantity.name_terms
        ]
        if quantity.name_terms and named and quantity.value not in named:
            return "number"
        rivals = [
            other
            for other in source.quantities
            if other.value != quantity.value and _are_comparable(quantity, other)
        ]
        own = max(len(quantity.context_terms & other.context_terms) for other in same)
        if any(len(quantity.context_terms & rival.context_terms) > own + 1 for rival in rivals):
            return "number"
    return None


def _quantities_by_value(claim: Claim) -> dict[str, list[Quantity]]:
    """Its numbers by their value."""
    found: dict[str, list[Quantity]] = {}
    for quantity in claim.quantities:
        found.setdefault(quantity.value, []).append(quantity)
    return found


def _units_can_pair(quantities: Sequence[Quantity], others: Sequence[Quantity]) -> bool:
    """Whether each of as many numbers of one value can count what one of the others counts, and another each."""
    return len(quantities) > MAX_PAIRED_NUMBERS or any(
        all(_units_agree(one, other) for one, other in zip(quantities, order, strict=True))
        for order in permutations(others)
    )


def _names_agree(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers may belong to one name: ISO 9001 is not ISO/IEC 9001, and a bare number is any."""
    return not one.name_terms or not other.name_terms or one.name_terms == other.name_terms


def _are_comparable(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers could be taken for one another: both times of day, or neither, and of one unit."""
    return one.units == other.units and (":" in one.value) == (":" in other.value)


def _units_agree(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers count the same: what either says of its unit, the other must not say otherwise."""
    if not one.units:
        return True
    return one.units <= other.units or (not other.units and not one.units & UNIT_WORDS)


def _bounds_agree(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers are the same kind of end; a date of a span may lose its "by" or "from", and gain none."""
    return one.bound == other.bound or (one.bound is None and other.bound in ("before", "after"))


def _find_negation_fault(claim: Claim, source: Claim) -> LiteralFault | None:
    """A negation dropped from what the clause repeats, or one more than the sentence has."""
    if any(
        about <= claim.all_terms and not _overlaps_any(about, claim.negated_terms)
        for about in source.negated_terms
        if about
    ):
        return "negation"
    new = [about for about in claim.negated_terms if not _overlaps_any(about, source.negated_terms)]
    gone = [
        about for about in source.negated_terms if not _overlaps_any(about, claim.negated_terms)
    ]
    whole = len(source.terms - claim.terms) <= MAX_OMITTED_TERM_SHARE * len(source.terms)
    bare = (
        whole
        and len(claim.negated_terms) < len(source.negated_terms)
        and frozenset() in source.negated_terms
    )  # if it does not
    return "negation" if len(new) > len(gone) or bare else None


def _find_modality_fault(claim: Claim, source: Claim) -> LiteralFault | None:
    """A firm word that the sentence doesn't have there, or a hedge lost from what the clause repeats."""
    for name in FIRM_MARKERS:
        together = EQUIVALENT_FIRM_MARKERS.get(name, (name,))
        known = [about for each in together for about in source.modality_markers.get(each, ())]
        new = [
            about
            for each in together
            for about in claim.modality_markers.get(each, ())
            if not _is_prohibition(name, about, source)
        ]
        if len(new) > len(known):
            return "modality"
        for about in (about for about in claim.modality_markers.get(name, ()) if about in new):
            if not known or (
                about and about <= source.all_terms and not _overlaps_any(about, known)
            ):
                return "modality"
    for name in HEDGE_MARKERS:
        for about in source.modality_markers.get(name, ()):
            if about and name not in claim.modality_markers and about & claim.all_terms:
                return "modality"
    return None


def _is_prohibition(marker: str, marked_terms: frozenset[str], source: Claim) -> bool:
    """Whether a "must" is that of "must never", for which a sentence that denies it needs none."""
    return (
        marker == "must"
        and bool(marked_terms & PROHIBITION_TERMS)
        and any(marked_terms & denied for denied in source.negated_terms)
    )


def _overlaps_any(marked_terms: frozenset[str], others: Sequence[frozenset[str]]) -> bool:
    return any(marked_terms & other or marked_terms == other for other in others)


def has_opposite(claim: Claim, source: Claim) -> bool:
    """Whether a word has given way to its opposite, or the two have changed places; where the sentence has both, and
    the clause one, the other may have another word.
    """
    new, gone = claim.all_terms - source.all_terms, source.all_terms - claim.all_terms
    both = frozenset().union(*(pair for pair in OPPOSITE_PAIRS if pair <= source.all_terms))
    if any(pair & new and (pair - new) & (gone - both) for pair in OPPOSITE_PAIRS):
        return True
    if any(
        f"{prefix}{one}" == other for prefix in NEGATING_PREFIXES for one in new for other in gone
    ):
        return True
    if any(
        f"{prefix}{other}" == one for prefix in NEGATING_PREFIXES for one in new for other in gone
    ):
        return True
    turned = [pair for pair in OPPOSITE_PAIRS if pair <= claim.all_terms & source.all_terms]
    return any(
        _first_pair_term(pair, claim) != _first_pair_term(pair, source)
        and _keeps_word_order(pair, claim, source)
        for pair in turned
    )


def _first_pair_term(pair: frozenset[str], claim: Claim) -> str:
    return next(term for term in extract_terms(claim.text) if term in pair)


def _keeps_word_order(pair: frozenset[str], claim: Claim, source: Claim) -> bool:
    """Whether all else stands in one order in both, so that only the pair was exchanged."""
    one, other = (
        [term for term in extract_terms(each.text) if term not in pair] for each in (claim, source)
    )
    shared = set(one) & set(other)
    return [term for term in one if term in shared] == [term for term in other if term in shared]


def _extract_quantities(text: str) -> Iterator[Quantity]:
    found = list(NUMBER_PATTERN.finditer(text))
    for place, match in enumerate(found):
        left = text[found[place - 1].end() if place else 0 : match.start()]
        right = text[
            match.end() : found[place + 1].start() if place + 1 < len(found) else len(text)
        ]
        yield Quantity(
            value=match[0].replace(",", "."),
            units=frozenset(_extract_units(left, right)),
            bound=_find_bound(left, right),
            context_terms=frozenset(extract_terms(left)) | frozenset(extract_terms(right)),
            name_terms=frozenset(extract_terms(left.split()[-1]))
            if TRAILING_NAME.search(left)
            else frozenset(),
        )


def _extract_units(left: str, right: str) -> Iterator[str]:
    """The units among the three words after a number, and a month before it."""
    for word in re.findall(r"[^\W\d_]+(?:'[a-z]+)?", right)[:3]:
        unit = _normalize_unit(word)
        if unit in UNIT_WORDS:
            yield unit
            if unit not in DAY_COUNT_WORDS:
                break
    for word in re.findall(r"[^\W\d_]+", left)[-1:]:
        if word.lower() in MONTH_AND_DAY_NAMES:
            yield word.lower()


def _normalize_unit(word: str) -> str:
    lowered = word.lower()
    singular = lowered[:-1] if lowered.endswith("s") and lowered[:-1] in UNIT_WORDS else lowered
    return UNIT_SYNONYMS.get(singular, singular)


def _find_bound(left: str, right: str) -> str | None:
    near = " ".join(left.split()[-4:])
    found = [
        (match.end(), name) for name, pattern in _BOUND_PATTERNS for match in pattern.finditer(near)
    ]
    after = " ".join(right.split()[:4])
    if not found and re.search(r"\b(?:or|and) (?:more|over)\b", after):
        return "least"
    if not found and re.search(r"\b(?:or less|or fewer|at most)\b", after):
        return "most"
    return max(found)[1] if found else None


def _extract_marked_terms(
    text: str, pattern: re.Pattern[str], max_terms: int
) -> Iterator[frozenset[str]]:
    """For each place of a pattern the first terms after it in its clause, or the last one before it."""
    for match in pattern.finditer(text):
        after = extract_terms(re.split(r"[,;.](?!\d)", text[match.end() :])[0])
        before = extract_terms(re.split(r"[,;.](?!\d)", text[: match.start()])[-1])
        yield frozenset(after[:max_terms] or before[-1:])


def are_contradictory(one: Claim, other: Claim) -> bool:
    """Whether two sentences count the same thing and count it differently, each without a number of the other's. What
    bears another number in its name, as Heron 200 and Heron 210, is another thing.
    """
    mine, theirs = one.quantities, other.quantities
    if {(each.name_terms, each.value) for each in mine if each.name_terms} != {
        (each.name_terms, each.value) for each in theirs if each.name_terms
    }:
        return False
    plain = [
        frozenset(term for term in each.terms if not term[0].isdigit()) for each in (one, other)
    ]
    alike = len(plain[0] & plain[1]) >= MIN_COMMON_TERM_SHARE * max(1, min(map(len, plain)))
    bare, others = ([each for each in some if not each.name_terms] for some in (mine, theirs))
    shared = {each.value for each in bare} & {each.value for each in others}
    return (
        alike and not shared and any(a.units and a.units == b.units for a in bare for b in others)
    )
