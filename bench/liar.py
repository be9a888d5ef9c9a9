"""Verification against a lying generator: share of false sentences rejected, of true ones lost.

    .venv/bin/python -m bench.liar                 200 lies of ten kinds and 300 true sentences
    .venv/bin/python -m bench.liar --seed 7        other cases
    .venv/bin/python -m bench.liar --seed 7 8 9    several runs, with a line for each and their mean
    .venv/bin/python -m bench.liar --show          also prints each misjudged case

Both sets are made by rule from sentences of the sample, taken from the evidence that the search
returns for the golden questions. The rules are the functions below; the docstring of each describes
it. A lie is a true sentence that a rule has made false; it cites the passage of the true sentence,
which is the hardest case for verification. A true sentence is a paraphrase. The cases in
bench/lies.json and bench/paraphrases.json were written by hand. A lie counts as passed if the
verified answer contains its sentence, with any citation.
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
ABSENT_HIT_INDEX = 99  # no evidence has so many hits


@dataclass(frozen=True, slots=True)
class SourceSentence:
    """Sentence of some evidence, and another one of the same passage if there is one."""

    evidence: SearchResult
    sentence: EvidenceSentence
    text: str
    neighbour: EvidenceSentence | None

    @property
    def support(self) -> SupportingSpan:
        """Return the sentence as supporting evidence."""
        return SupportingSpan(self.sentence.hit_index, self.sentence.span)


@dataclass(frozen=True, slots=True)
class Case:
    """Sentence of the generator, and whether it is true."""

    kind: str
    evidence: SearchResult
    sentence: DraftSentence
    is_true: bool
    original: str


Rule = Callable[[SourceSentence, random.Random], str | None]


# --- lies -----------------------------------------------------------------------------------------

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
    """Add an invented fact, or replace the sentence with one."""
    if chance.random() < 0.3:
        return chance.choice(INVENTED_SENTENCES)
    return source.text.rstrip(".") + chance.choice(INVENTED_CLAUSES) + "."


def swap_number(source: SourceSentence, chance: random.Random) -> str | None:
    """Replace a number with another one of the passage, or exchange the two of a sentence."""
    numbers = re.finditer(r"(?<![\w.,-])\d[\d,.]*\d|(?<![\w.,-])\d(?![\w,-])", source.text)
    matches = [match for match in numbers if not _is_date(source.text, match)]
    if not matches:
        return None
    values = {match[0] for match in matches}
    if len(values) == 2 and len(matches) == 2:
        first, second = matches
        between = source.text[first.end() : second.start()]
        before, after = source.text[: first.start()], source.text[second.end() :]
        return f"{before}{second[0]}{between}{first[0]}{after}"
    passage: str = source.evidence.hits[source.sentence.hit_index].text
    others: list[str] = sorted(
        set(re.findall(r"(?<![\w.,-])\d+(?![\w.,-])", passage)) - values
    ) or ["17", "340"]
    match = chance.choice(matches)
    return source.text[: match.start()] + str(chance.choice(others)) + source.text[match.end() :]


def toggle_negation(source: SourceSentence, chance: random.Random) -> str | None:
    """Remove a negation; sometimes add one if there is none."""
    for pattern, replacement in (
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
            return re.sub(pattern, replacement, source.text, count=1)
    if chance.random() < 0.25:
        return _substitute_once(r"\b(is|are|may|must|can)\b", r"\1 not", source.text)
    return None


def swap_name(source: SourceSentence, chance: random.Random) -> str | None:
    """Replace a name with another one of the same documents."""
    names = _find_names(source.text)
    if not names:
        return None
    everything = " ".join(hit.text for hit in source.evidence.hits)
    candidates = [
        name
        for name in _find_names(everything)
        if name.count(" ") == names[0].count(" ") and name not in source.text
    ]
    name = chance.choice(names)
    others = [other for other in candidates if not set(other.split()) & set(name.split())]
    return source.text.replace(name, chance.choice(others)) if others else None


MONTHS = (
    "January February March April May June July August September October November December".split()
)
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()


def change_date(source: SourceSentence, chance: random.Random) -> str | None:
    """Change a month, a day of the week, a year, or a time of day."""
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
    """Replace the unit of a number."""
    matches = [
        match
        for match in re.finditer(
            r"(?<=\d )(?:(?:working|consecutive|full) )?([A-Za-z]+)\b", source.text
        )
        if match[1] in UNIT_SWAPS
    ]
    if matches:
        match = chance.choice(matches)
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
    """Strengthen or generalize: may to must, most to all, a bound reversed, "always" added."""
    fitting = [
        (pattern, replacement)
        for pattern, replacement in EXAGGERATION_PATTERNS
        if re.search(pattern, source.text)
    ]
    if not fitting:
        return None
    pattern, replacement = chance.choice(fitting)
    return re.sub(pattern, replacement, source.text, count=1)


BEFORE_VERB = re.compile(
    r" "
    r"(?=(?:is|are|was|were|may|must|can|cannot|has|have|will|should|does|do|receives?|takes?|needs?)\b)"
)


def merge_halves(source: SourceSentence, chance: random.Random) -> str | None:
    """Join the subject of one sentence to the predicate of another of the passage; cite both."""
    if source.neighbour is None or begins_with_pronoun(
        source.neighbour.text
    ):  # "They ..." could have the same subject, so the result could be true
        return None
    first_half, second_half = (
        BEFORE_VERB.split(source.text, maxsplit=1),
        BEFORE_VERB.split(source.neighbour.text, maxsplit=1),
    )
    if (
        len(first_half) < 2
        or len(second_half) < 2
        or min(map(len, (first_half[0], second_half[1]))) < 12
    ):
        return None
    return f"{first_half[0]} {second_half[1]}"


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
)  # true sentences of a document outside the evidence


# --- true sentences -------------------------------------------------------------------------------

SYNONYMS = dict(
    pair.split("=")
    for pair in (
        "receives=gets; receive=get; employee=staff member; employees=staff members; annual "
        "leave=annual holiday; "
        "begins=starts; customer=client; customers=clients; shows=displays; show=display; "
        "buy=purchase; "
        "repaired=fixed; sent=shipped; replaced=exchanged; finished=completed; each=every; "
        "yearly=annual; "
        "illness=sickness; error=fault; purchase=buy; costs=expenses; inform=notify; "
        "large=big; whole=entire; "
        "made=carried out; starts=begins; ends=finishes; answers=replies; answer=reply; "
        "keep=retain; kept=retained; "
        "is stored=is kept; supplier=vendor; suppliers=vendors; meeting=conference; error "
        "code=fault code; "
        "salary=pay; check=verify; checked=verified; holiday=vacation; journey=trip; "
        "journeys=trips; choose=select; "
        "agreed=settled; quick=fast; instrument=device; instruments=devices; delivered=supplied; "
        "mobile phone=cell phone; shop=store; colleague=co-worker; needs=requires; "
        "need=require; tells=informs; "
        "firm=company; approved=authorised; approves=authorises; is written=is recorded; "
        "throw away=discard"
    ).split("; ")
)
# Words at the start of a sentence that are not names.
SENTENCE_STARTERS = frozenset(
    "The A An Each Every It This These They There No In If When On At Both Only We You Say "
    "Do Requests Days Faults"
    " Claims Confidential Customers Employees Write Ask Never Nobody All Some Most Up After "
    "Before Part-time Anyone"
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
    """Return the sentence itself."""
    return source.text


def add_frame(source: SourceSentence, chance: random.Random) -> str | None:
    """Put "According to the documents," or similar in front."""
    return chance.choice(FRAMES).format(_lowercase_first(source.text))


def replace_synonyms(source: SourceSentence, _: random.Random) -> str | None:
    """Replace one to three words with synonyms."""
    text, count = source.text, 0
    for old, new in SYNONYMS.items():
        if count < 3 and re.search(rf"\b{old}\b", text) and not re.search(rf"\b{new}\b", text):
            text, count = re.sub(rf"\b{old}\b", new, text), count + 1
    return text if count else None


MOVABLE_CLAUSE = re.compile(
    r"^((?:The|A|An|Each|Every|We|[A-Z]\w+s) .{15,}?),? "
    r"((?:when|if|before|after|because|during) [^,;]{8,})\.$"
)


def move_clause_first(source: SourceSentence, _: random.Random) -> str | None:
    """Move the last prepositional phrase or conditional clause to the front."""
    match = MOVABLE_CLAUSE.match(source.text)
    if (
        not match
        or re.search(r" (?:that|who|which|only|not|it|they|that)(?: |$)", match[1])
        or not BEFORE_VERB.search(match[1])
    ):
        return None
    return f"{match[2][0].upper()}{match[2][1:]}, {_lowercase_first(match[1])}."


def rewrite_numbers(source: SourceSentence, _: random.Random) -> str | None:
    """Write numbers as words or digits, percent as %, and €5 as 5 euros."""
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
    """Contract, or spell out, negations and modal verbs."""
    for pattern, replacement in (
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
            return re.sub(pattern, replacement, source.text, count=1)
    return None


def drop_explanation(source: SourceSentence, _: random.Random) -> str | None:
    """Remove an explaining clause: ", because ...", ", so that ...", ", which ...", ", and ..."."""
    match = re.match(r"^(.{25,}?),? (?:because|so that|which) [^,;]+\.$", source.text)
    match = match or re.match(r"^([A-Z][^,;]{25,}), (?:and|but) [^,;]{10,}\.$", source.text)
    return f"{match[1].rstrip(',')}." if match else None


def join_sentences(source: SourceSentence, chance: random.Random) -> str | None:
    """Join two sentences of a passage with "and" or "while"; cite both."""
    if (
        source.neighbour is None
        or begins_with_pronoun(source.neighbour.text)
        or begins_with_pronoun(source.text)
    ):
        return None
    if not all(
        BEFORE_VERB.search(sentence.text) for sentence in (source.sentence, source.neighbour)
    ):
        return None
    return (
        f"{source.text.rstrip('.')}, {chance.choice(('and', 'while'))} "
        f"{_lowercase_first(source.neighbour.text)}"
    )


def use_possessive(source: SourceSentence, _: random.Random) -> str | None:
    """Write "the Y's X" for "the X of the Y"; drop "that is" before a participle."""
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
WRONG_CITATION = "cited wrongly"  # verbatim or framed; the citation should be corrected
BY_HAND = "by hand"


# --- cases and verdicts ---------------------------------------------------------------------------


def retrieve_evidence(services: Services) -> list[SearchResult]:
    """Return the evidence for each golden question, with the permissions of its caller."""
    golden = read_golden(SAMPLE_FOLDER / "golden.yaml")
    return [
        build_context(
            retrieve(
                services,
                Principal(question.tenant, question.groups),
                question.question,
                limit=CANDIDATE_HITS,
            )
        )
        for question in golden
    ]


def list_prose_sentences(
    results: Sequence[SearchResult],
) -> list[tuple[SearchResult, EvidenceSentence, list[EvidenceSentence]]]:
    """Return each prose sentence once, with its evidence and the others of its passage."""
    seen, sentences = set[str](), []
    for evidence in results:
        usable = [sentence for sentence in extract_sentences(evidence) if _is_prose(sentence)]
        for sentence in usable:
            if sentence.text not in seen:
                seen.add(sentence.text)
                others = [
                    other
                    for other in usable
                    if other.hit_index == sentence.hit_index and other.span != sentence.span
                ]
                sentences.append((evidence, sentence, others))
    return sentences


def shuffle_sources(
    sentences: Sequence[tuple[SearchResult, EvidenceSentence, list[EvidenceSentence]]],
    chance: random.Random,
) -> list[SourceSentence]:
    """Return the sentences in random order, each with a random neighbour."""
    sources = [
        SourceSentence(
            evidence,
            sentence,
            format_quote(sentence.text),
            chance.choice(others) if others else None,
        )
        for evidence, sentence, others in sentences
    ]
    chance.shuffle(sources)
    return sources


def make_lies(results: Sequence[SearchResult], chance: random.Random, per_kind: int) -> list[Case]:
    """Return lies of each kind, in the order of `LIE_RULES`, and all that were written by hand."""
    existing_sentences, prose_sentences = (
        {
            _normalize_spaces(sentence.text)
            for evidence in results
            for sentence in extract_sentences(evidence)
        },
        list_prose_sentences(results),
    )
    cases = []
    for kind, rule in LIE_RULES.items():
        lies = (
            _make_case(kind, source, text, false_of=source.text)
            for source in shuffle_sources(prose_sentences, chance)
            if (text := rule(source, chance)) and _normalize_spaces(text) not in existing_sentences
        )
        cases += _take_cases(lies, per_kind)
    for kind in ABSENT_PASSAGE_KINDS:
        cases += _take_cases(
            _cite_absent_passage(kind, shuffle_sources(prose_sentences, chance), results, chance),
            per_kind,
        )
    return cases + list(_read_manual_cases(results, LIE_FILE, "lie", true=False))


def make_truths(
    results: Sequence[SearchResult], chance: random.Random, per_kind: int
) -> list[Case]:
    """Return true sentences of each kind, and all that were written by hand."""
    cases, prose_sentences = [], list_prose_sentences(results)
    for kind, rule in TRUE_RULES.items():
        paraphrases = (
            (source, rule(source, chance)) for source in shuffle_sources(prose_sentences, chance)
        )
        cases += _take_cases(
            (_make_case(kind, source, text) for source, text in paraphrases if text), per_kind
        )
    miscited = (
        (source, (copy_verbatim, add_frame)[index % 2](source, chance))
        for index, source in enumerate(shuffle_sources(prose_sentences, chance))
    )
    cases += _take_cases(
        (_cite_wrong_passage(source, text) for source, text in miscited if text), per_kind
    )
    return cases + list(_read_manual_cases(results, PARAPHRASE_FILE, "paraphrase", true=True))


def find_misjudged(cases: Sequence[Case], services: Services) -> list[tuple[Case, str]]:
    """Return passed lies and lost truths, each with the verdict."""
    wrong: list[tuple[Case, str]] = []
    embedder, entailment = services.embedder(), load_entailment_model(services.settings)
    for case in cases:
        verdict = Verifier(case.evidence, embedder, entailment).verify_sentence(case.sentence)
        if (verdict.sentence is not None) != case.is_true:
            wrong.append((case, verdict.fault or "passed"))
    return wrong


def format_table(cases: Sequence[Case], wrong: Sequence[tuple[Case, str]]) -> str:
    """Return the result in Markdown."""
    totals = Counter((case.is_true, case.kind) for case in cases)
    failed = Counter((case.is_true, case.kind) for case, _ in wrong)
    lines = ["| generator writes | cases | reached the reader |", "|---|---|---|"]
    for (true, kind), count in totals.items():
        reached = count - failed[true, kind] if true else failed[true, kind]
        lines.append(f"| {'true' if true else 'false'}: {kind} | {count} | {reached} |")
    for true, label, share in (
        (False, "false sentences rejected", _rejected_share),
        (True, "true sentences lost", _lost_share),
    ):
        total = sum(count for (is_true, _), count in totals.items() if is_true is true)
        lines.append(f"| **{label}** | {total} | {100 * share(cases, wrong):.1f} % |")
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
    kind: str,
    sources: Sequence[SourceSentence],
    results: Sequence[SearchResult],
    chance: random.Random,
) -> Iterator[Case]:
    for source in sources:
        path = source.evidence.hits[source.sentence.hit_index].path
        other_result = chance.choice(results)
        words = set(source.text.split())
        hits = tuple(
            hit
            for hit in other_result.hits
            if hit.path != path and len(words & set(hit.text.split())) < 0.7 * len(words)
        )
        if not hits or len(words) < 6:
            continue
        cited_span = (
            SupportingSpan(ABSENT_HIT_INDEX, Span(0, 10))
            if kind == ABSENT_PASSAGE_KINDS[0]
            else SupportingSpan(0, hits[0].sentences[0].span)
        )
        yield Case(
            kind,
            replace(other_result, hits=hits),
            DraftSentence(source.text, (cited_span,)),
            False,
            source.text,
        )


def _cite_wrong_passage(source: SourceSentence, text: str) -> Case | None:
    others = [
        index
        for index, hit in enumerate(source.evidence.hits)
        if index != source.sentence.hit_index and hit.sentences
    ]
    if not others or begins_with_pronoun(source.text):
        return None
    cited_span = SupportingSpan(others[0], source.evidence.hits[others[0]].sentences[0].span)
    return Case(
        WRONG_CITATION, source.evidence, DraftSentence(text, (cited_span,)), True, source.text
    )


def _read_manual_cases(
    results: Sequence[SearchResult], file: Path, key: str, true: bool
) -> Iterator[Case]:
    known_sentences = {
        _normalize_spaces(sentence.text): (evidence, sentence)
        for evidence in reversed(results)
        for sentence in extract_sentences(evidence)
    }
    for entry in json.loads(file.read_text(encoding="utf-8")):
        if _normalize_spaces(entry["sentence"]) in known_sentences:
            evidence, match = known_sentences[_normalize_spaces(entry["sentence"])]
            draft = DraftSentence(entry[key], (SupportingSpan(match.hit_index, match.span),))
            yield Case(BY_HAND, evidence, draft, true, match.text)


def _take_cases(cases: Iterator[Case | None], count: int) -> list[Case]:
    chosen: list[Case] = []
    while len(chosen) < count and (case := next(cases, StopIteration)) is not StopIteration:
        if case is not None:
            chosen.append(case)  # type: ignore[arg-type]
    return chosen


def _is_prose(sentence: EvidenceSentence) -> bool:
    return (
        not sentence.header
        and not is_table_row(sentence.text)
        and sentence.text.endswith(".")
        and len(sentence.text.split()) >= 6
        and "\n" not in sentence.text
        and sentence.text[:1].isupper()
    )


def _find_names(text: str) -> list[str]:
    names = re.findall(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*", text)
    return [name for name in dict.fromkeys(names) if name not in MONTHS and name not in DAYS]


def _is_date(text: str, match: re.Match[str]) -> bool:
    after = text[match.end() :].lstrip().split(" ", 1)[0].strip(".,")
    return after in MONTHS or bool(re.fullmatch(r"20[12]\d", match[0]))


def _substitute_once(pattern: str, replacement: str, text: str) -> str | None:
    return re.sub(pattern, replacement, text, count=1) if re.search(pattern, text) else None


def _lowercase_first(text: str) -> str:
    return text if text.split(" ", 1)[0] not in SENTENCE_STARTERS else text[0].lower() + text[1:]


def _normalize_spaces(text: str) -> str:
    return " ".join(text.split())


def main() -> int:
    """Print the table; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, nargs="+", default=[SEED])
    parser.add_argument("--show", action="store_true", help="print each misjudged case")
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="liar-") as home,
        open_services(Settings(home=Path(home), database_url="")) as services,
    ):
        ingest_sample(services)
        evidence = retrieve_evidence(services)
        runs = [_run_seed(services, evidence, seed) for seed in arguments.seed]
    cases, wrong = (
        [each for run in runs for each in run[0]],
        [each for run in runs for each in run[1]],
    )
    if arguments.show:
        for case, fault in wrong:
            sys.stderr.write(f"{case.kind} ({fault})\n  {case.original}\n  {case.sentence.text}\n")
    if len(runs) > 1:
        for seed, run in zip(arguments.seed, runs, strict=True):
            sys.stdout.write(
                f"seed {seed}: {100 * _rejected_share(*run):.1f} % of the lies rejected,"
                f" {100 * _lost_share(*run):.1f} % of the truths lost\n"
            )
    sys.stdout.write(format_table(cases, wrong) + "\n")
    return int(not meets_targets(cases, wrong))


def _run_seed(
    services: Services, evidence: Sequence[SearchResult], seed: int
) -> tuple[list[Case], list[tuple[Case, str]]]:
    chance = random.Random(seed)  # noqa: S311
    cases = make_lies(evidence, chance, LIES_PER_KIND) + make_truths(
        evidence, chance, TRUTHS_PER_KIND
    )
    return cases, find_misjudged(cases, services)


def meets_targets(cases: Sequence[Case], wrong: Sequence[tuple[Case, str]]) -> bool:
    """Return whether at least 98 % of the lies are rejected and at most 3 % of the truths lost."""
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
