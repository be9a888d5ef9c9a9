"""Literal checks: differences between a claim and its source that need no model to find.

LITERAL_CHECKS lists them in the order in which they are made; the first fault found is reported.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from core.text.lexicon import load_lexicon
from core.text.terms import extract_terms, extract_word_terms
from serving.answering.verification.claims import EXPLICIT_BOUND_PATTERNS, Claim
from serving.answering.verification.quantities import Quantity, can_pair_units

LiteralFault = Literal["number", "unit", "name", "negation", "bound", "modality", "opposite"]
LiteralCheck = Callable[[Claim, Claim, Claim], LiteralFault | None]

MIN_COMMON_TERM_SHARE = 0.6  # of the shorter of two sentences, if both are about the same thing
MAX_OMITTED_TERM_SHARE = 0.2  # of a source's terms, if a claim still repeats it as a whole

_LEXICON = load_lexicon("claims")
_HEDGES: list[str] = _LEXICON["hedges"]
_FIRM_WORDS: list[str] = _LEXICON["firm_words"]
_EQUIVALENT_FIRM_WORDS: dict[str, list[str]] = _LEXICON["equivalent_firm_words"]
_PROHIBITION_TERMS = extract_word_terms(_LEXICON.words("prohibition_words"))
_NEGATING_PREFIXES = _LEXICON.words("negating_prefixes")
_OPPOSITES = [frozenset(extract_terms(pair)) for pair in _LEXICON["opposites"].split(";")]


def find_literal_fault(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Return the first literal difference between a claim and its source sentence.

    `context` is the text around the source: title, headings, names of columns.
    """
    faults = (check(claim, source, context) for check in LITERAL_CHECKS)
    return next(filter(None, faults), None)


def check_number_terms(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Report a term with a digit that the source lacks: ERR-4718 for ERR-4711."""
    known = source.number_terms | context.number_terms
    return None if claim.number_terms <= known else "number"


def check_names(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Report a name that the source lacks, or one in the place of another: Leeds for York."""
    new_names = claim.name_terms - source.name_terms - source.first_word_terms
    if not new_names <= source.all_terms | context.all_terms:
        return "name"
    is_name_lost = not source.name_terms <= claim.all_terms
    return "name" if new_names and is_name_lost else None


def check_repeated_numbers(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Report a number used more often, or for other units: "5 days and 5 weeks" for "5 days"."""
    source_quantities = _group_by_value(source)
    context_quantities = _group_by_value(context)
    for value, quantities in _group_by_value(claim).items():
        others = source_quantities.get(value, [])
        if others and len(quantities) > len(others) and value not in context_quantities:
            return "number"
        if len(quantities) == len(others) > 1 and not can_pair_units(quantities, others):
            return "unit"
    return None


def _group_by_value(claim: Claim) -> dict[str, list[Quantity]]:
    groups: dict[str, list[Quantity]] = {}
    for quantity in claim.quantities:
        groups.setdefault(quantity.value, []).append(quantity)
    return groups


def check_quantities(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Report the first fault of a number; see QUANTITY_CHECKS."""
    for quantity in claim.quantities:
        equals = [
            other
            for other in source.quantities
            if other.value == quantity.value and quantity.may_share_name(other)
        ]
        if not equals:
            if quantity.name_terms and quantity.name_terms <= context.all_terms:
                continue  # the name and number of a heading
            return "number"
        for fault, differs in QUANTITY_CHECKS:
            if differs(quantity, equals, source):
                return fault
    return None


def has_other_units(quantity: Quantity, equals: Sequence[Quantity], source: Claim) -> bool:
    """Return true for 5 weeks, if the source says 5 days."""
    return not any(quantity.has_units_of(other) for other in equals)


def has_other_bound(quantity: Quantity, equals: Sequence[Quantity], source: Claim) -> bool:
    """Return true for "at most 5", if the source says "at least 5"."""
    return not any(quantity.has_bound_of(other) for other in equals)


def has_number_of_other_name(quantity: Quantity, equals: Sequence[Quantity], source: Claim) -> bool:
    """Return true for Heron 210, if the source has only Heron 200 and a plain 210."""
    if not quantity.name_terms:
        return False
    values = [other.value for other in source.quantities if other.name_terms == quantity.name_terms]
    return bool(values) and quantity.value not in values


def is_swapped_number(quantity: Quantity, equals: Sequence[Quantity], source: Claim) -> bool:
    """Return true if another number of the source has more of the words around this one.

    Example: "The deposit is 30 euros" for "The rent is 30 euros, the deposit 50 euros".
    """
    own_overlap = max(_count_common_context(quantity, other) for other in equals)
    return any(
        _count_common_context(quantity, other) > own_overlap + 1
        for other in source.quantities
        if other.value != quantity.value and quantity.is_comparable(other)
    )


def _count_common_context(one: Quantity, other: Quantity) -> int:
    return len(one.context_terms & other.context_terms)


QuantityCheck = Callable[[Quantity, Sequence[Quantity], Claim], bool]
# Checks of a number against the equal numbers of the source, in the order in which they are made.
QUANTITY_CHECKS: tuple[tuple[LiteralFault, QuantityCheck], ...] = (
    ("unit", has_other_units),
    ("bound", has_other_bound),
    ("number", has_number_of_other_name),
    ("number", is_swapped_number),
)


def check_explicit_bounds(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Report a limit that the source does not state: "a day or more" for "a day"."""
    for bound in EXPLICIT_BOUND_PATTERNS:
        if claim.has_explicit_bound(bound) and not source.has_explicit_bound(bound):
            return "bound"
    return None


def check_negations(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Report a negation lost or added: "may be opened" for "may not be opened"."""
    for negated in source.negated_terms:
        is_repeated = bool(negated) and negated <= claim.all_terms
        if is_repeated and not _overlaps_any(negated, claim.negated_terms):
            return "negation"
    added = _count_unmatched(claim.negated_terms, source.negated_terms)
    lost = _count_unmatched(source.negated_terms, claim.negated_terms)
    return "negation" if added > lost or _loses_bare_negation(claim, source) else None


def _loses_bare_negation(claim: Claim, source: Claim) -> bool:
    """Return true if a claim repeats a source as a whole, without its "if it does not"."""
    omitted = source.terms - claim.terms
    return (
        len(omitted) <= MAX_OMITTED_TERM_SHARE * len(source.terms)
        and len(claim.negated_terms) < len(source.negated_terms)
        and frozenset() in source.negated_terms
    )


def check_firm_words(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Report a firm word added: "always", "must" or "all" for "usually" or nothing."""
    for name in _FIRM_WORDS:
        class_names = _EQUIVALENT_FIRM_WORDS.get(name, [name])
        known = _collect_markers(source, class_names)
        new = [
            marked
            for marked in _collect_markers(claim, class_names)
            if not _is_prohibition(name, marked, source)
        ]
        if len(new) > len(known):
            return "modality"
        for marked in claim.modality_markers.get(name, ()):
            if marked in new and _is_firmer(marked, known, source):
                return "modality"
    return None


def _collect_markers(claim: Claim, class_names: Sequence[str]) -> list[frozenset[str]]:
    return [marked for name in class_names for marked in claim.modality_markers.get(name, ())]


def _is_prohibition(marker: str, marked_terms: frozenset[str], source: Claim) -> bool:
    """Return true for the "must" of "must never": a source that denies it needs no "must"."""
    if marker != "must" or not marked_terms & _PROHIBITION_TERMS:
        return False
    return any(marked_terms & negated for negated in source.negated_terms)


def _is_firmer(marked: frozenset[str], known: Sequence[frozenset[str]], source: Claim) -> bool:
    if not known:
        return True
    return bool(marked) and marked <= source.all_terms and not _overlaps_any(marked, known)


def check_hedges(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Report a hedge lost: "takes a day" for "usually takes a day"."""
    for name in _HEDGES:
        if name in claim.modality_markers:
            continue
        for marked in source.modality_markers.get(name, ()):
            if marked & claim.all_terms:
                return "modality"
    return None


def check_opposites(claim: Claim, source: Claim, context: Claim) -> LiteralFault | None:
    """Report a word replaced by its opposite: "before" for "after"."""
    return "opposite" if has_opposite(claim, source) else None


LITERAL_CHECKS: tuple[LiteralCheck, ...] = (
    check_number_terms,
    check_names,
    check_repeated_numbers,
    check_quantities,
    check_explicit_bounds,
    check_negations,
    check_firm_words,
    check_hedges,
    check_opposites,
)


def has_opposite(claim: Claim, source: Claim) -> bool:
    """Return true if a word is replaced by its opposite, or if the two are exchanged."""
    new = claim.all_terms - source.all_terms
    lost = source.all_terms - claim.all_terms
    # If the source has both words of a pair, the claim may paraphrase one of them.
    in_source = frozenset[str]().union(*(pair for pair in _OPPOSITES if pair <= source.all_terms))
    for pair in _OPPOSITES:
        if pair & new and (pair - new) & (lost - in_source):
            return True
    if any(_is_negated_form(one, other) for one in new for other in lost):
        return True
    in_both = claim.all_terms & source.all_terms
    return any(pair <= in_both and _is_exchanged(pair, claim, source) for pair in _OPPOSITES)


def _is_negated_form(one: str, other: str) -> bool:
    """Return true for "safe" and "unsafe"."""
    return any(
        f"{prefix}{one}" == other or f"{prefix}{other}" == one for prefix in _NEGATING_PREFIXES
    )


def _is_exchanged(pair: frozenset[str], claim: Claim, source: Claim) -> bool:
    """Return true if the words of a pair change places and all else keeps its order."""
    terms, source_terms = extract_terms(claim.text), extract_terms(source.text)
    first = next(term for term in terms if term in pair)
    source_first = next(term for term in source_terms if term in pair)
    shared = (set(terms) & set(source_terms)) - pair
    return first != source_first and (
        [term for term in terms if term in shared]
        == [term for term in source_terms if term in shared]
    )


def _overlaps_any(marked_terms: frozenset[str], others: Sequence[frozenset[str]]) -> bool:
    return any(marked_terms & other or marked_terms == other for other in others)


def _count_unmatched(
    marked_terms: Sequence[frozenset[str]], others: Sequence[frozenset[str]]
) -> int:
    return sum(not _overlaps_any(marked, others) for marked in marked_terms)


def are_contradictory(one: Claim, other: Claim) -> bool:
    """Return true if two sentences state different numbers for the same thing.

    Heron 200 and Heron 210 are different things: the numbers in their names differ.
    """
    if _named_values(one) != _named_values(other) or not _share_most_words(one, other):
        return False
    numbers = [quantity for quantity in one.quantities if not quantity.name_terms]
    others = [quantity for quantity in other.quantities if not quantity.name_terms]
    if {quantity.value for quantity in numbers} & {quantity.value for quantity in others}:
        return False
    return any(a.units and a.units == b.units for a in numbers for b in others)


def _named_values(claim: Claim) -> set[tuple[frozenset[str], str]]:
    return {(q.name_terms, q.value) for q in claim.quantities if q.name_terms}


def _share_most_words(one: Claim, other: Claim) -> bool:
    words, other_words = (
        {term for term in claim.terms if not term[0].isdigit()} for claim in (one, other)
    )
    shorter = max(1, min(len(words), len(other_words)))
    return len(words & other_words) >= MIN_COMMON_TERM_SHARE * shorter
