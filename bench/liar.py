"""Verification of a lying generator: false sentences that reach a reader, true ones that are lost.

    .venv/bin/python -m bench.liar                 200 lies of ten kinds and 300 true sentences
    .venv/bin/python -m bench.liar --seed 7        other ones
    .venv/bin/python -m bench.liar --seed 7 8 9    several runs, with a line for each and their mean
    .venv/bin/python -m bench.liar --show          also print each sentence judged wrongly

Rules make both sets from sentences of the sample: the evidence that the search finds for the golden
questions. The rules are the functions below. A lie is a true sentence that a rule has made false; it
cites the passage of the true one, which is the hardest case for verification. A true sentence is a
paraphrase. bench/lies.json and bench/paraphrases.json hold sentences written by hand. A lie passes
if the verified answer has the sentence at all, under any citation.
"""

import argparse
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from core.principal import Principal
from core.services import Services, open_services
from core.settings import Settings
from core.text.numbers import NUMBER_WORDS
from core.types import Span
from evaluation.datasets import read_golden
from ingest import pipeline
from ingest.sandbox.pool import ParserPool
from retrieval.context import CANDIDATE_HITS, build_context
from retrieval.retriever import retrieve
from retrieval.types import SearchResult
from serving.answering.evidence import (
    EvidenceSentence,
    begins_with_pronoun,
    extract_sentences,
    format_quote,
    is_table_row,
)
from serving.answering.types import DraftSentence, SupportingSpan
from serving.answering.verification.entailment import load_entailment_model
from serving.answering.verification.verifier import Verifier

SAMPLE_FOLDER = Path(__file__).parent.parent / "sample"
PARAPHRASE_FILE, LIE_FILE = (
    Path(__file__).with_name(name) for name in ("paraphrases.json", "lies.json")
)
TENANTS = ("alder", "brightwater")
LIES_PER_KIND, TRUTHS_PER_KIND = 20, 30  # of each kind
SEED = 20261124
ABSENT_HIT_INDEX = 99  # a passage that no evidence has


@dataclass(frozen=True, slots=True)
class SourceSentence:
    """A sentence of some evidence, and another of the same passage where there is one."""

    evidence: SearchResult
    sentence: EvidenceSentence
    text: str
    neighbour: EvidenceSentence | None

    @property
    def support(self) -> SupportingSpan:
        """The sentence as evidence."""
        return SupportingSpan(self.sentence.hit_index, self.sentence.span)


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence that the generator writes, and its truth."""

    kind: str
    evidence: SearchResult
    sentence: DraftSentence
    is_true: bool
    original: str


Rule = Callable[[SourceSentence, random.Random], str | None]


# --- lies -------------------------------------------------------------------------------------------------------------

INVENTED_CLAUSES = (
    ", and the costs are covered by the city council",
    ", and every participant receives a bicycle",
    ", because the Romans already did so",
    ", which was decided by a lottery",
    " and is broadcast on local radio",
    ", and visitors are served coffee and cake",
    ", as the minister of agriculture had demanded",
    " and includes free tickets for the theatre",
    ", and a choir sings at the ceremony",
    ", since volcanoes disturb the satellites",
)
INVENTED_SENTENCES = (
    "Penguins are trained for this on the southern islands.",
    "The building was once a monastery of silent monks.",
    "All of this was sold to an orchestra last spring.",
    "The founders met on a sailing boat near Lisbon.",
    "A parrot in the entrance hall greets the visitors.",
)


def add_invented_fact(source: SourceSentence, chance: random.Random) -> str | None:
    """Adds to a sentence a fact that stands nowhere, or puts one in its place."""
    if chance.random() < 0.3:
        return chance.choice(INVENTED_SENTENCES)
    return source.text.rstrip(".") + chance.choice(INVENTED_CLAUSES) + "."


def swap_number(source: SourceSentence, chance: random.Random) -> str | None:
    """Puts another number in a number's place: one of the same passage, of the same sentence where it has two."""
    numbers = re.finditer(r"(?<![\w.,-])\d[\d,.]*\d|(?<![\w.,-])\d(?![\w,-])", source.text)
    found = [match for match in numbers if not _is_date(source.text, match)]
    if not found:
        return None
    values = {match[0] for match in found}
    if len(values) == 2 and len(found) == 2:
        first, second = found
        between = source.text[first.end() : second.start()]
        return f"{source.text[: first.start()]}{second[0]}{between}{first[0]}{source.text[second.end() :]}"
    passage: str = source.evidence.hits[source.sentence.hit_index].text
    others: list[str] = sorted(
        set(re.findall(r"(?<![\w.,-])\d+(?![\w.,-])", passage)) - values
    ) or ["17", "340"]
    match = chance.choice(found)
    return source.text[: match.start()] + str(chance.choice(others)) + source.text[match.end() :]


def toggle_negation(source: SourceSentence, chance: random.Random) -> str | None:
    """Drops a negation; where there is none, puts one in."""
    for pattern, put in (
        (r"\b(is|are|was|were|may|must|can|could|should|will|does|do|did|has|have) not\b", r"\1"),
        (r"\bcannot\b", "can"),
        (r"\bnever\b", "always"),
        (r"\bno other\b", "any other"),
        (r"^No\b", "Every"),
        (r"^Nobody\b", "Everybody"),
        (r"\bno\b", "a"),
        (r"\bwithout\b", "with"),
        (r"\bNever\b", "Always"),
    ):
        if re.search(pattern, source.text):
            return re.sub(pattern, put, source.text, count=1)
    if chance.random() < 0.25:
        return _substitute_once(r"\b(is|are|may|must|can)\b", r"\1 not", source.text)
    return None


def swap_name(source: SourceSentence, chance: random.Random) -> str | None:
    """Puts another name of the same documents in a name's place."""
    names = _find_names(source.text)
    if not names:
        return None
    everything = " ".join(hit.text for hit in source.evidence.hits)
    two = [
        name
        for name in _find_names(everything)
        if name.count(" ") == names[0].count(" ") and name not in source.text
    ]
    name = chance.choice(names)
    others = [other for other in two if not set(other.split()) & set(name.split())]
    return source.text.replace(name, chance.choice(others)) if others else None


MONTHS = (
    "January February March April May June July August September October November December".split()
)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def change_date(source: SourceSentence, chance: random.Random) -> str | None:
    """Changes a month, a day of the week, a year, or a time of day."""
    for words in (MONTHS, DAYS):
        present = [word for word in words if re.search(rf"\b{word}s?\b(?<!^May)", source.text)]
        if present:
            word = chance.choice(present)
            return re.sub(
                rf"\b{word}", chance.choice([w for w in words if w not in present]), source.text
            )
    for pattern in (r"\b(20[12]\d)\b", r"\b(\d\d:\d\d)\b"):
        match = re.search(pattern, source.text)
        if match:
            new = (
                str(int(match[0]) - chance.randint(1, 4))
                if len(match[0]) == 4
                else f"{chance.randint(6, 22):02}:45"
            )
            return source.text.replace(match[0], new)
    return None


UNIT_SWAPS = {
    "days": ("weeks", "hours"),
    "weeks": ("months", "days"),
    "hours": ("days", "minutes"),
    "minutes": ("hours", "seconds"),
    "months": ("years", "weeks"),
    "years": ("months",),
    "seconds": ("minutes",),
    "percent": ("euros",),
    "cm": ("m", "mm"),
    "euros": ("dollars", "percent"),
    "kg": ("g", "tonnes"),
    "km": ("m",),
    "mm": ("cm",),
    "bar": ("mbar",),
    "metres": ("kilometres",),
    "day": ("week",),
    "week": ("month",),
    "month": ("year",),
    "hour": ("day",),
    "GB": ("MB",),
    "mg": ("kg",),
    "m": ("km",),
}


def change_unit(source: SourceSentence, chance: random.Random) -> str | None:
    """Puts another unit behind a number."""
    found = [
        match
        for match in re.finditer(
            r"(?<=\d )(?:(?:working|consecutive|full) )?([A-Za-z]+)\b", source.text
        )
        if match[1] in UNIT_SWAPS
    ]
    if found:
        match = chance.choice(found)
        return (
            source.text[: match.start(1)]
            + chance.choice(UNIT_SWAPS[match[1]])
            + source.text[match.end(1) :]
        )
    euro = re.search(r"€(?=\d)", source.text)
    return source.text.replace("€", "$") if euro else None


EXAGGERATION_PATTERNS = (
    (r"\bmay be\b", "must be"),
    (r"\bmay\b", "must"),
    (r"\bup to \b", "at least "),
    (r"\bUp to \b", "At least "),
    (r"\bat most \b", "more than "),
    (r"\bat least \b", "at most "),
    (r"\busually\b", "always"),
    (r"\bmost\b", "all"),
    (r"\babout (?=\d)", "exactly "),
    (r"\bshould\b", "must"),
    (r"\bcan be\b", "is always"),
    (r"\bcan\b", "must"),
    (r"\bsome\b", "all"),
    (r"\bmore than \b", "less than "),
    (r"\bwithin \b", "only after "),
    (r"\b(is|are) (?!not\b)", r"\1 always "),
    (r"^(?:The|A|An) (\w+) ", r"Every \1 "),
    (r"\bby\b", "only by"),
)


def exaggerate(source: SourceSentence, chance: random.Random) -> str | None:
    """Says it more firmly or of more: may becomes must, most becomes all, a bound turns round, "always" is added."""
    fitting = [
        (pattern, put) for pattern, put in EXAGGERATION_PATTERNS if re.search(pattern, source.text)
    ]
    if not fitting:
        return None
    pattern, put = chance.choice(fitting)
    return re.sub(pattern, put, source.text, count=1)


BEFORE_VERB = re.compile(
    r" (?=(?:is|are|was|were|may|must|can|cannot|has|have|will|should|does|do|receives?|takes?|needs?)\b)"
)


def merge_halves(source: SourceSentence, chance: random.Random) -> str | None:
    """The subject of one sentence with the predicate of another of the same passage; it cites both."""
    if source.neighbour is None or begins_with_pronoun(
        source.neighbour.text
    ):  # "They ..." of the same subject: that would be true
        return None
    one, other = (
        BEFORE_VERB.split(source.text, maxsplit=1),
        BEFORE_VERB.split(source.neighbour.text, maxsplit=1),
    )
    if len(one) < 2 or len(other) < 2 or min(map(len, (one[0], other[1]))) < 12:
        return None
    return f"{one[0]} {other[1]}"


LIE_RULES: dict[str, Rule] = {
    "invented fact": add_invented_fact,
    "number": swap_number,
    "negation": toggle_negation,
    "name": swap_name,
    "date": change_date,
    "unit": change_unit,
    "exaggeration": exaggerate,
    "merged halves": merge_halves,
}
ABSENT_PASSAGE_KINDS = (
    "no such passage",
    "wrong passage",
)  # true sentences of a document that is not in the evidence


# --- truths -----------------------------------------------------------------------------------------------------------

SYNONYMS = dict(
    pair.split("=")
    for pair in (
        "receives=gets; receive=get; employee=staff member; employees=staff members; annual leave=annual holiday; "
        "begins=starts; customer=client; customers=clients; shows=displays; show=display; buy=purchase; "
        "repaired=fixed; sent=shipped; replaced=exchanged; finished=completed; each=every; yearly=annual; "
        "illness=sickness; error=fault; purchase=buy; costs=expenses; inform=notify; large=big; whole=entire; "
        "made=carried out; starts=begins; ends=finishes; answers=replies; answer=reply; keep=retain; kept=retained; "
        "is stored=is kept; supplier=vendor; suppliers=vendors; meeting=conference; error code=fault code; "
        "salary=pay; check=verify; checked=verified; holiday=vacation; journey=trip; journeys=trips; choose=select; "
        "agreed=settled; quick=fast; instrument=device; instruments=devices; delivered=supplied; "
        "mobile phone=cell phone; shop=store; colleague=co-worker; needs=requires; need=require; tells=informs; "
        "firm=company; approved=authorised; approves=authorises; is written=is recorded; throw away=discard"
    ).split("; ")
)
# Words that begin a sentence and are no names.
SENTENCE_STARTERS = frozenset(
    "The A An Each Every It This These They There No In If When On At Both Only We You Say Do Requests Days Faults"
    " Claims Confidential Customers Employees Write Ask Never Nobody All Some Most Up After Before Part-time Anyone"
    " Orders Keep Use Public Someone Shorter Production Other Repairs Reagents".split()
)
FRAMES = (
    "According to the documents, {}",
    "The policy says that {}",
    "The documents state that {}",
    "In addition, {}",
    "As the manual describes, {}",
)


def copy_verbatim(source: SourceSentence, _: random.Random) -> str | None:
    """The sentence itself."""
    return source.text


def add_frame(source: SourceSentence, chance: random.Random) -> str | None:
    """The sentence behind "According to the documents," and the like."""
    return chance.choice(FRAMES).format(_lowercase_first(source.text))


def replace_synonyms(source: SourceSentence, _: random.Random) -> str | None:
    """One to three of its words are exchanged for others of the same meaning."""
    text, count = source.text, 0
    for old, new in SYNONYMS.items():
        if count < 3 and re.search(rf"\b{old}\b", text) and not re.search(rf"\b{new}\b", text):
            text, count = re.sub(rf"\b{old}\b", new, text), count + 1
    return text if count else None


MOVABLE_CLAUSE = re.compile(
    r"^((?:The|A|An|Each|Every|We|[A-Z]\w+s) .{15,}?),? ((?:when|if|before|after|because|during) [^,;]{8,})\.$"
)


def move_clause_first(source: SourceSentence, _: random.Random) -> str | None:
    """Its last prepositional phrase or its clause of condition comes first."""
    match = MOVABLE_CLAUSE.match(source.text)
    if (
        not match
        or re.search(r" (?:that|who|which|only|not|it|they|that)(?: |$)", match[1])
        or not BEFORE_VERB.search(match[1])
    ):
        return None
    return f"{match[2][0].upper()}{match[2][1:]}, {_lowercase_first(match[1])}."


def rewrite_numbers(source: SourceSentence, _: random.Random) -> str | None:
    """Numbers in digits become words and the other way round; percent becomes %, €5 becomes 5 euros."""
    digits = {str(value): word for word, value in NUMBER_WORDS.items() if 1 < value <= 20}
    text = re.sub(
        r"(?<![\w.,:-])(\d{1,2})(?= (?:days?|weeks?|months?|years?|hours?|working|minutes?)\b)",
        lambda m: digits.get(m[1], m[1]),
        source.text,
    )
    if text == source.text:
        text = re.sub(
            r"\b(two|three|four|five|six|seven|eight|nine|ten|twelve|fifteen|twenty)\b",
            lambda m: str(NUMBER_WORDS[m[1]]),
            text,
        )
    text = re.sub(r"(\d) percent\b", r"\1%", text)
    text = re.sub(r"€(\d[\d,]*(?:\.\d+)?)", r"\1 euros", text)
    return text if text != source.text else None


def contract(source: SourceSentence, _: random.Random) -> str | None:
    """Contractions, and spellings out, of negations and modal verbs."""
    for pattern, put in (
        (r"\bcannot\b", "can't"),
        (r"\b(is|are|does|do|was|were) not\b", r"\1n't"),
        (r"\bmust not be\b", "may not be"),
        (r"\bmust be\b", "has to be"),
        (r"\bmust\b", "has to"),
        (r"\bmay be\b", "can be"),
        (r"\bmay\b", "can"),
        (r"\bat most (?=\d|t[a-z]+ )", "no more than "),
        (r"\bup to\b", "at most"),
        (r"\bat least\b", "a minimum of"),
        (r"\bmore than\b", "over"),
        (r"\bless than\b", "under"),
        (r"\babout (?=\d)", "approximately "),
        (r"\bdoesn't\b", "does not"),
        (r"\bcan\b", "may"),
    ):
        if re.search(pattern, source.text):
            return re.sub(pattern, put, source.text, count=1)
    return None


def drop_explanation(source: SourceSentence, _: random.Random) -> str | None:
    """Without a clause that only explains: ", because ...", ", so that ...", ", which ...", or after ", and"."""
    match = re.match(r"^(.{25,}?),? (?:because|so that|which) [^,;]+\.$", source.text)
    match = match or re.match(r"^([A-Z][^,;]{25,}), (?:and|but) [^,;]{10,}\.$", source.text)
    return f"{match[1].rstrip(',')}." if match else None


def join_sentences(source: SourceSentence, chance: random.Random) -> str | None:
    """Two whole sentences of one passage with "and" or "while" between them; it cites both."""
    if (
        source.neighbour is None
        or begins_with_pronoun(source.neighbour.text)
        or begins_with_pronoun(source.text)
    ):
        return None
    if not all(BEFORE_VERB.search(each.text) for each in (source.sentence, source.neighbour)):
        return None
    return f"{source.text.rstrip('.')}, {chance.choice(('and', 'while'))} {_lowercase_first(source.neighbour.text)}"


def use_possessive(source: SourceSentence, _: random.Random) -> str | None:
    """It says "the Y's X" for "the X of the Y"; "that is" and "that are" before a participle go."""
    text = re.sub(
        r"\b([Tt]he) ([a-z]+) of the ([a-z]+)(?=[.,]| (?:is|are|must|may|has|have|was|were)\b)",
        r"\1 \3's \2",
        source.text,
    )
    text = re.sub(r"\bthat (?:is|are) (?=\w+ed\b)", "", text)
    return text if text != source.text else None


TRUE_RULES: dict[str, Rule] = {
    "verbatim": copy_verbatim,
    "framed": add_frame,
    "reworded": replace_synonyms,
    "turned round": move_clause_first,
    "numbers rewritten": rewrite_numbers,
    "contracted": contract,
    "shortened": drop_explanation,
    "joined": join_sentences,
    "possessive": use_possessive,
}
WRONG_CITATION = "cited wrongly"  # verbatim or framed, with a citation of another passage: to be mended, not lost
BY_HAND = "by hand"


# --- making and judging -----------------------------------------------------------------------------------------------


def retrieve_evidence(services: Services) -> list[SearchResult]:
    """The evidence for each golden question, as its asker finds it."""
    golden = read_golden(SAMPLE_FOLDER / "golden.yaml")
    return [
        build_context(
            retrieve(
                services, Principal(each.tenant, each.groups), each.question, limit=CANDIDATE_HITS
            )
        )
        for each in golden
    ]


def list_prose_sentences(
    results: Sequence[SearchResult],
) -> list[tuple[SearchResult, EvidenceSentence, list[EvidenceSentence]]]:
    """Return the distinct sentences of all evidence, without headings, rows and short items."""
    seen, made = set[str](), []
    for evidence in results:
        usable = [each for each in extract_sentences(evidence) if _is_prose(each)]
        for each in usable:
            if each.text not in seen:
                seen.add(each.text)
                others = [
                    other
                    for other in usable
                    if other.hit_index == each.hit_index and other.span != each.span
                ]
                made.append((evidence, each, others))
    return made


def shuffle_sources(
    sentences: Sequence[tuple[SearchResult, EvidenceSentence, list[EvidenceSentence]]],
    chance: random.Random,
) -> list[SourceSentence]:
    """The sentences in random order, each with any other of its passage."""
    made = [
        SourceSentence(
            evidence, each, format_quote(each.text), chance.choice(others) if others else None
        )
        for evidence, each, others in sentences
    ]
    chance.shuffle(made)
    return made


def make_lies(results: Sequence[SearchResult], chance: random.Random, per_kind: int) -> list[Case]:
    """`many` of each kind, the kinds in the order of `LIE_RULES` and `ABSENT`, and all that were written by hand."""
    real, written = (
        {
            _normalize_spaces(each.text)
            for evidence in results
            for each in extract_sentences(evidence)
        },
        list_prose_sentences(results),
    )
    cases = []
    for kind, rule in LIE_RULES.items():
        fresh = (
            _make_case(kind, source, text, false_of=source.text)
            for source in shuffle_sources(written, chance)
            if (text := rule(source, chance)) and _normalize_spaces(text) not in real
        )
        cases += _take_cases(fresh, per_kind)
    for kind in ABSENT_PASSAGE_KINDS:
        cases += _take_cases(
            _cite_absent_passage(kind, shuffle_sources(written, chance), results, chance), per_kind
        )
    return cases + list(_read_manual_cases(results, LIE_FILE, "lie", true=False))


def make_truths(
    results: Sequence[SearchResult], chance: random.Random, per_kind: int
) -> list[Case]:
    """`many` of each kind, and all that were written by hand."""
    cases, written = [], list_prose_sentences(results)
    for kind, rule in TRUE_RULES.items():
        made = ((source, rule(source, chance)) for source in shuffle_sources(written, chance))
        cases += _take_cases(
            (_make_case(kind, source, text) for source, text in made if text), per_kind
        )
    wrongly = (
        (source, (copy_verbatim, add_frame)[place % 2](source, chance))
        for place, source in enumerate(shuffle_sources(written, chance))
    )
    cases += _take_cases(
        (_cite_wrong_passage(source, text) for source, text in wrongly if text), per_kind
    )
    return cases + list(_read_manual_cases(results, PARAPHRASE_FILE, "paraphrase", true=True))


def find_misjudged(cases: Sequence[Case], services: Services) -> list[tuple[Case, str]]:
    """Return the lies that pass and the true sentences that are lost, with the verdict."""
    wrong: list[tuple[Case, str]] = []
    embedder, entailment = services.embedder(), load_entailment_model(services.settings)
    for case in cases:
        verdict = Verifier(case.evidence, embedder, entailment).verify_sentence(case.sentence)
        if (verdict.sentence is not None) != case.is_true:
            wrong.append((case, verdict.fault or "passed"))
    return wrong


def format_table(cases: Sequence[Case], wrong: Sequence[tuple[Case, str]]) -> str:
    """The result, in Markdown."""
    many = Counter((case.is_true, case.kind) for case in cases)
    failed = Counter((case.is_true, case.kind) for case, _ in wrong)
    lines = ["| generator writes | cases | reached the reader |", "|---|---|---|"]
    for (true, kind), count in many.items():
        reached = count - failed[true, kind] if true else failed[true, kind]
        lines.append(f"| {'true' if true else 'false'}: {kind} | {count} | {reached} |")
    for true, said, share in (
        (False, "false sentences kept back", _rejected_share),
        (True, "true sentences lost", _lost_share),
    ):
        whole = sum(count for (each, _), count in many.items() if each is true)
        lines.append(f"| **{said}** | {whole} | {100 * share(cases, wrong):.1f} % |")
    return "\n".join(lines)


def _make_case(kind: str, source: SourceSentence, text: str, false_of: str = "") -> Case:
    both = kind in ("merged halves", "joined") and source.neighbour is not None
    other = (
        (SupportingSpan(source.neighbour.hit_index, source.neighbour.span),)
        if both and source.neighbour
        else ()
    )
    return Case(
        kind,
        source.evidence,
        DraftSentence(text, (source.support, *other)),
        not false_of,
        source.text,
    )


def _cite_absent_passage(
    kind: str, some: Sequence[SourceSentence], found: Sequence[SearchResult], chance: random.Random
) -> Iterator[Case]:
    for source in some:
        path = source.evidence.hits[source.sentence.hit_index].path
        elsewhere = chance.choice(found)
        words = set(source.text.split())
        hits = tuple(
            hit
            for hit in elsewhere.hits
            if hit.path != path and len(words & set(hit.text.split())) < 0.7 * len(words)
        )
        if not hits or len(words) < 6:
            continue
        named = (
            SupportingSpan(ABSENT_HIT_INDEX, Span(0, 10))
            if kind == ABSENT_PASSAGE_KINDS[0]
            else SupportingSpan(0, hits[0].sentences[0].span)
        )
        yield Case(
            kind,
            replace(elsewhere, hits=hits),
            DraftSentence(source.text, (named,)),
            False,
            source.text,
        )


def _cite_wrong_passage(source: SourceSentence, text: str) -> Case | None:
    others = [
        place
        for place, hit in enumerate(source.evidence.hits)
        if place != source.sentence.hit_index and hit.sentences
    ]
    if not others or begins_with_pronoun(source.text):
        return None
    named = SupportingSpan(others[0], source.evidence.hits[others[0]].sentences[0].span)
    return Case(WRONG_CITATION, source.evidence, DraftSentence(text, (named,)), True, source.text)


def _read_manual_cases(
    found: Sequence[SearchResult], file: Path, key: str, true: bool
) -> Iterator[Case]:
    known = {
        _normalize_spaces(each.text): (evidence, each)
        for evidence in reversed(found)
        for each in extract_sentences(evidence)
    }
    for entry in json.loads(file.read_text(encoding="utf-8")):
        if _normalize_spaces(entry["sentence"]) in known:
            evidence, match = known[_normalize_spaces(entry["sentence"])]
            sentence = DraftSentence(entry[key], (SupportingSpan(match.hit_index, match.span),))
            yield Case(BY_HAND, evidence, sentence, true, match.text)


def _take_cases(cases: Iterator[Case | None], many: int) -> list[Case]:
    chosen: list[Case] = []
    while len(chosen) < many and (case := next(cases, StopIteration)) is not StopIteration:
        if case is not None:
            chosen.append(case)  # type: ignore[arg-type]
    return chosen


def _is_prose(each: EvidenceSentence) -> bool:
    return (
        not each.header
        and not is_table_row(each.text)
        and each.text.endswith(".")
        and len(each.text.split()) >= 6
        and "\n" not in each.text
        and each.text[:1].isupper()
    )


def _find_names(text: str) -> list[str]:
    found = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*", text)
    return [name for name in dict.fromkeys(found) if name not in MONTHS and name not in DAYS]


def _is_date(text: str, match: re.Match[str]) -> bool:
    after = text[match.end() :].lstrip().split(" ", 1)[0].strip(".,")
    return after in MONTHS or bool(re.fullmatch(r"20[12]\d", match[0]))


def _substitute_once(pattern: str, put: str, text: str) -> str | None:
    return re.sub(pattern, put, text, count=1) if re.search(pattern, text) else None


def _lowercase_first(text: str) -> str:
    return text if text.split(" ", 1)[0] not in SENTENCE_STARTERS else text[0].lower() + text[1:]


def _normalize_spaces(text: str) -> str:
    return " ".join(text.split())


def main() -> int:
    """Print the table. Return 1 if a limit of `kept` is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[SEED])
    parser.add_argument("--show", action="store_true", help="print each case that went wrong")
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="liar-") as home,
        open_services(Settings(home=Path(home), database_url="")) as services,
    ):
        ingest_sample(services)
        found = retrieve_evidence(services)
        runs = [_run_seed(services, found, seed) for seed in given.seed]
    cases, wrong = (
        [each for run in runs for each in run[0]],
        [each for run in runs for each in run[1]],
    )
    if given.show:
        for case, fault in wrong:
            sys.stderr.write(f"{case.kind} ({fault})\n  {case.original}\n  {case.sentence.text}\n")
    if len(runs) > 1:
        for seed, run in zip(given.seed, runs, strict=True):
            sys.stdout.write(
                f"seed {seed}: {100 * _rejected_share(*run):.1f} % of the lies kept back, {100 * _lost_share(*run):.1f} % lost\n"
            )
    sys.stdout.write(format_table(cases, wrong) + "\n")
    return int(not meets_targets(cases, wrong))


def _run_seed(
    services: Services, found: Sequence[SearchResult], seed: int
) -> tuple[list[Case], list[tuple[Case, str]]]:
    chance = random.Random(seed)
    cases = make_lies(found, chance, LIES_PER_KIND) + make_truths(found, chance, TRUTHS_PER_KIND)
    return cases, find_misjudged(cases, services)


def meets_targets(cases: Sequence[Case], wrong: Sequence[tuple[Case, str]]) -> bool:
    """Whether at least 98 % of the lies are kept back and at most 3 % of the truths are lost."""
    return _rejected_share(cases, wrong) >= 0.98 and _lost_share(cases, wrong) <= 0.03


def _rejected_share(cases: Sequence[Case], wrong: Sequence[tuple[Case, str]]) -> float:
    lying = sum(not case.is_true for case in cases)
    return 1 - sum(not case.is_true for case, _ in wrong) / lying


def _lost_share(cases: Sequence[Case], wrong: Sequence[tuple[Case, str]]) -> float:
    return sum(case.is_true for case, _ in wrong) / sum(case.is_true for case in cases)


def ingest_sample(services: Services) -> None:
    """Ingest the documents of both companies of the sample."""
    reader = ParserPool()
    try:
        for tenant in TENANTS:
            pipeline.ingest_sources(
                services,
                tenant,
                [pipeline.build_source_spec(str(SAMPLE_FOLDER / tenant), ())],
                reader,
            )
    finally:
        reader.close()


if __name__ == "__main__":
    sys.exit(main())
