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
from core.text.terms import WORD, terms

Literally = Literal["number", "unit", "name", "negation", "bound", "modality", "opposite"]

CLAUSE = re.compile(
    r"\s*;\s*|,\s+(?:and|but|while|whereas|so|which|who|after which)\s+"
    r"|\s+(?:and|but|while|whereas)\s+(?=\S+(?:\s\S+){3})",
    re.IGNORECASE,
)
MOST_PAIRED = 4  # numbers of one value in a clause, up to which it is looked at which counts what
IN_COMMON = 0.6  # share of the terms of the shorter of two sentences that tell that both speak of one thing
REPEATED = 0.2  # share of a sentence's terms that a clause may lack and still repeat it as a whole
SHORTEST_CLAUSE = 3  # terms; less than that is a part of a list, not a clause

# What a writer says about the evidence, not from it.
SAYING = frozenset(
    term
    for word in (
        "according document documents documented passage passages evidence source sources text policy policies guide"
        " manual note notes page section state states stated say says said mention mentions mentioned specify specifies"
        " specified describe describes described indicate indicates following also additionally furthermore therefore"
        " however note namely in addition out up off"
    ).split()
    for term in terms(word)
)

NEGATIVE = re.compile(
    r"(?:\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|unless|except|excluding|hardly|forbidden"
    r"|prohibited|forbids?|prohibits?|unable|impossible|ban(?:ned|s)?)|n['’]t)\b"
    r"(?! (?:more|less|later|fewer|longer|older) than)",
    re.IGNORECASE,
)
UNITS = frozenset(
    "second minute hour day week month year night decade quarter percent euro dollar pound cent kg g mg gram kilogram"
    " tonne t km m cm mm nm metre meter kilometre l ml litre liter bar mbar pa kpa v mv volt a ma amp w kw watt kwh hz"
    " khz"
    " mhz c celsius degree f k ntu ms s min h kb mb gb tb byte ppm ppb ph piece time people person euros"
    " working calendar january february march april maymonth june july august september october november december"
    " monday tuesday wednesday thursday friday saturday sunday".split()
)
LONG_UNITS = {
    "kilogram": "kg", "gram": "g", "metre": "m", "meter": "m", "kilometre": "km", "hour": "hour", "h": "hour",
    "min": "minute", "s": "second", "euros": "euro", "litre": "l", "liter": "l", "volt": "v", "watt": "w",
    "celsius": "c", "centimetre": "cm", "millimetre": "mm", "person": "people",
}  # fmt: skip
CALENDAR = frozenset({"working", "calendar"})
CURRENCIES = {"€": "euro", "$": "dollar", "£": "pound", "%": "percent", "°": "degree"}

# What a number is the end of. Two classes that differ say different things; none says the number itself.
BOUNDS = (
    (
        "most",
        r"up to|at most|no more than|not more than|a maximum of|maximum of|at the most|not exceed"
        r"|n(?:o|ot) (?:longer|older|greater|larger|later|higher) than",
    ),
    ("least", r"at least|no less than|not less than|no fewer than|a minimum of|minimum of|or more|and more|and over"),
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
SPELLED = {
    name: re.compile(rf"(?<!no )(?<!not )\b(?:{pattern})\b", re.IGNORECASE)
    for name, pattern in {
        "most": r"up to|at (?:the )?most|no more than|not more than|a maximum of|or (?:less|fewer)",
        "least": r"at (?:the very )?least|no (?:less|fewer) than|not less than|a minimum of|(?:or|and) more",
        "above": r"(?:more|longer|older) than",
        "below": r"(?:less|fewer|shorter|younger) than",
    }.items()
}
# How firmly. More than the evidence says is exaggerated; each class with what is as firm or firmer.
POSSIBLE = r"may|might|can|could|possibl[ey]|optional(?:ly)?|perhaps|allowed to|permitted to|is allowed|are allowed"
EACH_TIME = r"\w+day|day|night|week|month|quarter|year|hour|minute"  # every Friday: that is when, not of how much
MODALITIES = {
    "must": r"must|has to|have to|had to|shall|required?|requires|obliged|mandatory|obligatory|compulsory|needs?",
    "should": r"should|ought to|recommend(?:ed|s)?|advis(?:ed|able)|preferably",
    "may": POSSIBLE,
    "usually": r"usual(?:ly)?|typical(?:ly)?|normally|generally|mostly|often|frequently|likely"
    r"|(?<!at )(?<!at the )most",
    "sometimes": r"sometimes|occasionally|some|few|several|partly|in part|rarely|seldom",
    "always": r"always|invariably|in all cases|in every case|at all times|without exception|guarantee[ds]?|certainly",
    "only": r"only|solely|exclusively|nothing but|just",
    "all": rf"all|(?:every|each)(?! (?:{EACH_TIME})\b)|any|everyone|everybody|anyone|everything|entire(?:ly)?|whole"
    r"|completely|fully|totally",
    "other": r"other|others|another|different|else",
    "at once": r"immediately|instantly|at once|right away|straight away",
}
# A hedge that must not be lost where its clause is repeated, and the firm words that must not be added.
HEDGES, FIRM = ("may", "should", "usually", "sometimes"), ("must", "always", "only", "all", "at once", "other")
FIRM_TOGETHER = {"always": ("always", "all"), "all": ("all", "always")}
FORBIDDING = frozenset(terms("never not"))

OPPOSITES = [
    frozenset(terms(pair))
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
DENYING = ("un", "in", "im", "ir", "dis", "non")
VERB = re.compile(
    r" (?:(?:is|are|was|were|may|must|can|has|have|will|should|does|do|did)(?:n't)?|cannot|can't|receives?|gets?"
    r"|takes?|needs?)\b"
)
OPENING = re.compile(
    r"(?:in|on|at|after|before|when|if|during|for|with|without|within|from|by|until|since|because|while|where|under"
    r"|above|up|according|as|once|unless|to)\b[^,]*, ",
    re.IGNORECASE,
)
NUMBER = re.compile(r"(?<![A-Za-z])(?<![A-Za-z]-)\d+(?:[.,:]\d+)*")  # that of RF-2 is a part of a name
FLAT = re.compile(r"[^\W_]+")
NAME = re.compile(r"(?<=[\w,;:)] )[A-Z][\w'’-]*")  # a capital inside a sentence
NAMED = re.compile(r"\b[A-Z][\w'’-]* $")
MONTHS = frozenset(
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
    around: frozenset[str]
    named: frozenset[str]


@dataclass(frozen=True)
class Statement:
    """A sentence taken apart. Its parts are computed when they are asked for."""

    text: str

    @classmethod
    @lru_cache(maxsize=8_192)
    def of(cls, text: str) -> "Statement":
        """From a sentence as a person reads it. Kept: the sentences of one answer are held to the same passages."""
        return cls(normal(text))

    @property
    def asks(self) -> bool:
        """Whether it is a question."""
        return self.text.rstrip("\"'”’) ").endswith("?")

    @cached_property
    def terms(self) -> frozenset[str]:
        """What it speaks of: its terms, without those that only say how firmly, and those about the evidence."""
        return frozenset(self._words) - SAYING - _MARKERS

    @cached_property
    def all_terms(self) -> frozenset[str]:
        """All of its terms."""
        return frozenset(terms(self.text))

    @cached_property
    def order(self) -> list[str]:
        """The terms of `terms` in order, repeats included."""
        return [term for term in terms(self.text) if term in self.terms]

    @cached_property
    def subject(self) -> frozenset[str]:
        """The terms before its first verb, as far as verbs can be told; none where it begins with one or has none."""
        return frozenset(terms(self.text[: match.start()])) & self.terms if (match := self._verb) else frozenset()

    @cached_property
    def predicate(self) -> frozenset[str]:
        """The terms after its first verb; all of them where none can be told."""
        return frozenset(terms(self.text[match.end() :])) & self.terms if (match := self._verb) else self.terms

    @cached_property
    def topic(self) -> frozenset[str]:
        """The terms of the subject without those of a phrase before it: After an incident, ..."""
        if not self._verb or not (opening := OPENING.match(self.text[: self._verb.start()])):
            return self.subject
        return frozenset(terms(self.text[opening.end() : self._verb.start()])) & self.terms

    @cached_property
    def _verb(self) -> re.Match[str] | None:
        return VERB.search(self.text)

    @cached_property
    def flat(self) -> str:
        """Its words in lower case, with a blank before and after each: what a run of words can be looked for in."""
        return f" {' '.join(FLAT.findall(self.text.lower()))} "

    @cached_property
    def _words(self) -> dict[str, str]:
        return {term: word for word in reversed(WORD.findall(self.text)) for term in terms(word)}

    def word(self, term: str) -> str:
        """The word that a term of it was made from."""
        return self._words[term].lower()

    @cached_property
    def names(self) -> frozenset[str]:
        """The terms that it writes with a capital, the first word apart, and all days and months."""
        capitals = NAME.findall(self.text)
        written = frozenset(term for name in capitals for term in terms(name) or [name.lower()]) - SAYING - {"i"}
        return written | frozenset(term for word in MONTHS & self._lowered for term in terms(word))

    @cached_property
    def _lowered(self) -> frozenset[str]:
        return frozenset(word.lower() for word in WORD.findall(self.text))

    @cached_property
    def numbers(self) -> frozenset[str]:
        """The terms that hold a digit."""
        return frozenset(term for term in self.all_terms if any(letter.isdigit() for letter in term))

    @cached_property
    def quantities(self) -> tuple[Quantity, ...]:
        """Its numbers in order."""
        return tuple(_quantities(self.text))

    @cached_property
    def markers(self) -> dict[str, tuple[frozenset[str], ...]]:
        """How firmly and of how much it says what it says: for each class its places, each as the terms it is about."""
        found = {name: tuple(_about(self.text, pattern, 2)) for name, pattern in _MODALITIES.items()}
        return {name: places for name, places in found.items() if places}

    def spells(self, bound: str) -> bool:
        """Whether it has a bound in so many words, with a number or without."""
        return SPELLED[bound].search(self.text) is not None

    @cached_property
    def opening(self) -> frozenset[str]:
        """The terms of its first word, whose capital makes no name of it; the word itself where it has none."""
        first = self.text.split(" ", 1)[0]
        return frozenset(terms(first) or [first.lower()])

    @cached_property
    def negations(self) -> tuple[frozenset[str], ...]:
        """The term that each of its negations is about: the first after it, or the last before it."""
        return tuple(_about(self.text, NEGATIVE, 1))


def normal(text: str) -> str:
    """The text with numbers in digits and units in words: twelve is 12, 5% is 5 percent, €75,000 is 75000 euro."""
    text = text.replace("’", "'").replace("–", "-").replace("\u00a0", " ")
    text = re.sub(r"(?<=\d),(?=\d{3}\b)", "", text)
    text = re.sub(r"([€$£])\s?(\d+(?:\.\d+)?)", lambda m: f"{m[2]} {CURRENCIES[m[1]]}", text)
    text = re.sub(r"(?<=\d)\s?([%°])", lambda m: f" {CURRENCIES[m[1]]} ", text)
    text = re.sub(r"(?<![\w.-])(\d+(?:\.\d+)?)(?=[a-zA-Zµ]{1,3}\b)(?!st\b|nd\b|rd\b|th\b)", r"\1 ", text)
    text = re.sub(r"\bper cent\b", "percent", text)
    text = re.sub(r"(?<=\w)'s\b", "", text)
    text = re.sub(r"\b([Nn])o one\b", r"\1obody", text)
    text = re.sub(r"(?<=\d)-(?=[a-z])", " ", text)  # a 30-minute test
    text = _MAY.sub("Maymonth", text)
    return _NUMBER_WORD.sub(lambda m: str(NUMBER_WORDS[m[0].lower()]), " ".join(text.split()))


_MAY = re.compile(r"(?<=[a-z] )May\b(?!-)|(?<=\d )May\b|\bMay(?= \d)")  # the month; the verb is a stop word
_NUMBER_WORD = re.compile(
    rf"\b(?:{'|'.join(word for word in NUMBER_WORDS if word not in ('zero', 'one'))})\b(?!-)", re.IGNORECASE
)
_MODALITIES = {name: re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE) for name, pattern in MODALITIES.items()}
_BOUNDS = [(name, re.compile(rf"\b(?:{pattern})\b", re.IGNORECASE)) for name, pattern in BOUNDS]
_MARKERS = frozenset(
    term
    for pattern in [*MODALITIES.values(), *(pattern for _, pattern in BOUNDS), NEGATIVE.pattern]
    for term in terms(re.sub(r"\(\?:|[\\()|\[\]?^:*]|\bb\b", " ", pattern))
    if len(term) > 1
)


def clauses(text: str) -> list[str]:
    """The clauses that a sentence joins; itself where it is one. A short piece stays with the one before."""
    pieces, found = CLAUSE.split(text), list[str]()
    for piece in pieces:
        if found and (len(set(terms(piece))) < SHORTEST_CLAUSE or len(set(terms(found[-1]))) < SHORTEST_CLAUSE):
            found[-1] += f" and {piece}"
        else:
            found.append(piece)
    return found


def literal_fault(claim: Statement, said: Statement, frame: Statement) -> Literally | None:
    """What a clause says otherwise than a sentence, as far as that can be told from its letters."""
    if not claim.numbers <= said.numbers | frame.numbers:
        return "number"
    if _name_fault(claim, said, frame):
        return "name"
    return (
        _number_fault(claim, said, frame)
        or ("bound" if any(claim.spells(name) and not said.spells(name) for name in SPELLED) else None)
        or _negation_fault(claim, said)
        or _modality_fault(claim, said)
        or ("opposite" if opposite(claim, said) else None)
    )


def _name_fault(claim: Statement, said: Statement, frame: Statement) -> bool:
    """A name that isn't there, or one in the place of another: as a name it is new, and one of the sentence's gone."""
    new = claim.names - said.names - said.opening
    return not new <= said.all_terms | frame.all_terms or bool(new and not said.names <= claim.all_terms)


def _number_fault(claim: Statement, said: Statement, frame: Statement) -> Literally | None:
    for value, units in _counted(claim).items():
        theirs = _counted(said).get(value, [])
        if len(units) > len(theirs) and theirs and value not in _counted(frame):
            return "number"
        if len(units) == len(theirs) > 1 and not _pairable(units, theirs):
            return "unit"
    for quantity in claim.quantities:
        same = [other for other in said.quantities if other.value == quantity.value and _named_alike(quantity, other)]
        if not same:
            if not quantity.named or not quantity.named <= frame.all_terms:
                return "number"
            continue
        if not any(_units_agree(quantity, other) for other in same):
            return "unit"
        if not any(_bounds_agree(quantity, other) for other in same):
            return "bound"
        named = [other.value for other in said.quantities if other.named == quantity.named]
        if quantity.named and named and quantity.value not in named:
            return "number"
        rivals = [other for other in said.quantities if other.value != quantity.value and _alike(quantity, other)]
        own = max(len(quantity.around & other.around) for other in same)
        if any(len(quantity.around & rival.around) > own + 1 for rival in rivals):
            return "number"
    return None


def _counted(statement: Statement) -> dict[str, list[Quantity]]:
    """Its numbers by their value."""
    found: dict[str, list[Quantity]] = {}
    for quantity in statement.quantities:
        found.setdefault(quantity.value, []).append(quantity)
    return found


def _pairable(some: Sequence[Quantity], others: Sequence[Quantity]) -> bool:
    """Whether each of as many numbers of one value can count what one of the others counts, and another each."""
    return len(some) > MOST_PAIRED or any(
        all(_units_agree(one, other) for one, other in zip(some, order, strict=True)) for order in permutations(others)
    )


def _named_alike(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers may belong to one name: ISO 9001 is not ISO/IEC 9001, and a bare number is any."""
    return not one.named or not other.named or one.named == other.named


def _alike(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers could be taken for one another: both times of day, or neither, and of one unit."""
    return one.units == other.units and (":" in one.value) == (":" in other.value)


def _units_agree(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers count the same: what either says of its unit, the other must not say otherwise."""
    if not one.units:
        return True
    return one.units <= other.units or (not other.units and not one.units & UNITS)


def _bounds_agree(one: Quantity, other: Quantity) -> bool:
    """Whether two numbers are the same kind of end; a date of a span may lose its "by" or "from", and gain none."""
    return one.bound == other.bound or (one.bound is None and other.bound in ("before", "after"))


def _negation_fault(claim: Statement, said: Statement) -> Literally | None:
    """A negation dropped from what the clause repeats, or one more than the sentence has."""
    if any(about <= claim.all_terms and not _shared(about, claim.negations) for about in said.negations if about):
        return "negation"
    new = [about for about in claim.negations if not _shared(about, said.negations)]
    gone = [about for about in said.negations if not _shared(about, claim.negations)]
    whole = len(said.terms - claim.terms) <= REPEATED * len(said.terms)
    bare = whole and len(claim.negations) < len(said.negations) and frozenset() in said.negations  # if it does not
    return "negation" if len(new) > len(gone) or bare else None


def _modality_fault(claim: Statement, said: Statement) -> Literally | None:
    """A firm word that the sentence doesn't have there, or a hedge lost from what the clause repeats."""
    for name in FIRM:
        together = FIRM_TOGETHER.get(name, (name,))
        known = [about for each in together for about in said.markers.get(each, ())]
        new = [about for each in together for about in claim.markers.get(each, ()) if not _forbids(name, about, said)]
        if len(new) > len(known):
            return "modality"
        for about in (about for about in claim.markers.get(name, ()) if about in new):
            if not known or (about and about <= said.all_terms and not _shared(about, known)):
                return "modality"
    for name in HEDGES:
        for about in said.markers.get(name, ()):
            if about and name not in claim.markers and about & claim.all_terms:
                return "modality"
    return None


def _forbids(name: str, about: frozenset[str], said: Statement) -> bool:
    """Whether a "must" is that of "must never", for which a sentence that denies it needs none."""
    return name == "must" and bool(about & FORBIDDING) and any(about & denied for denied in said.negations)


def _shared(about: frozenset[str], others: Sequence[frozenset[str]]) -> bool:
    return any(about & other or about == other for other in others)


def opposite(claim: Statement, said: Statement) -> bool:
    """Whether a word has given way to its opposite, or the two have changed places; where the sentence has both, and
    the clause one, the other may have another word.
    """
    new, gone = claim.all_terms - said.all_terms, said.all_terms - claim.all_terms
    both = frozenset().union(*(pair for pair in OPPOSITES if pair <= said.all_terms))
    if any(pair & new and (pair - new) & (gone - both) for pair in OPPOSITES):
        return True
    if any(f"{prefix}{one}" == other for prefix in DENYING for one in new for other in gone):
        return True
    if any(f"{prefix}{other}" == one for prefix in DENYING for one in new for other in gone):
        return True
    turned = [pair for pair in OPPOSITES if pair <= claim.all_terms & said.all_terms]
    return any(_first_of(pair, claim) != _first_of(pair, said) and _in_place(pair, claim, said) for pair in turned)


def _first_of(pair: frozenset[str], statement: Statement) -> str:
    return next(term for term in terms(statement.text) if term in pair)


def _in_place(pair: frozenset[str], claim: Statement, said: Statement) -> bool:
    """Whether all else stands in one order in both, so that only the pair was exchanged."""
    one, other = ([term for term in terms(each.text) if term not in pair] for each in (claim, said))
    shared = set(one) & set(other)
    return [term for term in one if term in shared] == [term for term in other if term in shared]


def _quantities(text: str) -> Iterator[Quantity]:
    found = list(NUMBER.finditer(text))
    for place, match in enumerate(found):
        left = text[found[place - 1].end() if place else 0 : match.start()]
        right = text[match.end() : found[place + 1].start() if place + 1 < len(found) else len(text)]
        yield Quantity(
            value=match[0].replace(",", "."),
            units=frozenset(_units(left, right)),
            bound=_bound(left, right),
            around=frozenset(terms(left)) | frozenset(terms(right)),
            named=frozenset(terms(left.split()[-1])) if NAMED.search(left) else frozenset(),
        )


def _units(left: str, right: str) -> Iterator[str]:
    """The units among the three words after a number, and a month before it."""
    for word in re.findall(r"[^\W\d_]+(?:'[a-z]+)?", right)[:3]:
        unit = _unit(word)
        if unit in UNITS:
            yield unit
            if unit not in CALENDAR:
                break
    for word in re.findall(r"[^\W\d_]+", left)[-1:]:
        if word.lower() in MONTHS:
            yield word.lower()


def _unit(word: str) -> str:
    lowered = word.lower()
    singular = lowered[:-1] if lowered.endswith("s") and lowered[:-1] in UNITS else lowered
    return LONG_UNITS.get(singular, singular)


def _bound(left: str, right: str) -> str | None:
    near = " ".join(left.split()[-4:])
    found = [(match.end(), name) for name, pattern in _BOUNDS for match in pattern.finditer(near)]
    after = " ".join(right.split()[:4])
    if not found and re.search(r"\b(?:or|and) (?:more|over)\b", after):
        return "least"
    if not found and re.search(r"\b(?:or less|or fewer|at most)\b", after):
        return "most"
    return max(found)[1] if found else None


def _about(text: str, pattern: re.Pattern[str], many: int) -> Iterator[frozenset[str]]:
    """For each place of a pattern the first terms after it in its clause, or the last one before it."""
    for match in pattern.finditer(text):
        after = terms(re.split(r"[,;.](?!\d)", text[match.end() :])[0])
        before = terms(re.split(r"[,;.](?!\d)", text[: match.start()])[-1])
        yield frozenset(after[:many] or before[-1:])


def disagree(one: Statement, other: Statement) -> bool:
    """Whether two sentences count the same thing and count it differently, each without a number of the other's. What
    bears another number in its name, as Heron 200 and Heron 210, is another thing.
    """
    mine, theirs = one.quantities, other.quantities
    if {(each.named, each.value) for each in mine if each.named} != {
        (each.named, each.value) for each in theirs if each.named
    }:
        return False
    plain = [frozenset(term for term in each.terms if not term[0].isdigit()) for each in (one, other)]
    alike = len(plain[0] & plain[1]) >= IN_COMMON * max(1, min(map(len, plain)))
    bare, others = ([each for each in some if not each.named] for some in (mine, theirs))
    shared = {each.value for each in bare} & {each.value for each in others}
    return alike and not shared and any(a.units and a.units == b.units for a in bare for b in others)
