"""From hits to the evidence of an answer: fewer, complete passages of several documents.

merge    neighbouring chunks of one document become one passage
drop     a passage that repeats an earlier one is left out, unless its numbers differ: two
         documents that disagree must both be seen
spread   no document fills the evidence while others have passages
fit      the evidence has a token budget, so that a language model can read all of it
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from core.text.numbers import find_numbers
from core.text.terms import extract_terms
from core.token_estimate import CHARACTERS_PER_TOKEN
from core.types import Span
from retrieval.types import Hit, SearchResult

MAX_PASSAGES = 8  # of an answer's evidence; the sentence model was fitted on this number
CANDIDATE_HITS = 24  # hits to choose from: merging and spreading must leave enough
MAX_CONTEXT_TOKENS = 3_000  # with the prompt and the answer this fits a window of 4,096
MAX_PASSAGES_PER_DOCUMENT = 4  # half of the passages
MAX_GAP_CHARACTERS = 2  # between neighbours: a blank or an empty line. More would hide a heading
MAX_MERGED_CHUNKS = 3  # a citation should still point at one place
MIN_TERM_OVERLAP = 0.9  # Jaccard index of the terms of two passages that repeat each other


def build_context(
    result: SearchResult,
    *,
    max_passages: int = MAX_PASSAGES,
    max_tokens: int = MAX_CONTEXT_TOKENS,
    max_per_document: int = MAX_PASSAGES_PER_DOCUMENT,
) -> SearchResult:
    """Return the result, cut to `max_passages` and `max_tokens`. The first passage always stays.

    A document gets more than `max_per_document` passages only if the other documents leave room. A
    merged passage has the rank, id and scores of its best chunk. All offsets stay those of the
    document; the blanks between merged chunks become line breaks, and no sentence crosses them.
    """
    passages = _drop_near_copies(_merge_adjacent(result.hits))
    passages = _put_excess_last(passages, max_per_document)
    chosen = _fit_budget(passages, max_passages, max_tokens)
    chosen.sort(key=lambda hit: hit.rank)
    hits = tuple(replace(hit, rank=rank) for rank, hit in enumerate(chosen, start=1))
    return replace(result, hits=hits)


def _put_excess_last(hits: Sequence[Hit], max_per_document: int) -> list[Hit]:
    counts, first, excess = Counter[UUID](), list[Hit](), list[Hit]()
    for hit in hits:
        counts[hit.document_id] += 1
        (first if counts[hit.document_id] <= max_per_document else excess).append(hit)
    return first + excess


def _fit_budget(hits: Sequence[Hit], max_passages: int, max_tokens: int) -> list[Hit]:
    chosen = list[Hit]()
    for hit in hits:
        tokens = estimate_hit_tokens(hit)
        if len(chosen) < max_passages and (tokens <= max_tokens or not chosen):
            chosen.append(hit)
            max_tokens -= tokens
    return chosen


def estimate_hit_tokens(hit: Hit) -> int:
    """Estimate the tokens of a passage with its headings; rounded up."""
    return -(-(len(hit.context) + len(hit.text)) // CHARACTERS_PER_TOKEN)


def _merge_adjacent(hits: Sequence[Hit]) -> list[Hit]:
    """Merge neighbours, in the order of the best chunk of each passage."""
    passages: list[list[Hit]] = []
    for hit in hits:
        adjacent = [passage for passage in passages if _is_adjacent_to_passage(hit, passage)]
        if adjacent and sum(map(len, adjacent)) < MAX_MERGED_CHUNKS:
            merged = [chunk for passage in adjacent for chunk in passage] + [hit]
            adjacent[0][:] = merged
            passages = [passage for passage in passages if passage not in adjacent[1:]]
        else:
            passages.append([hit])
    return [_join_chunks(passage) for passage in passages]


def _is_adjacent_to_passage(hit: Hit, passage: Sequence[Hit]) -> bool:
    return any(_is_next_chunk(hit, other) or _is_next_chunk(other, hit) for other in passage)


def _is_next_chunk(before: Hit, after: Hit) -> bool:
    """Return true if one chunk follows the other in a section, with only a blank between."""
    gap = after.span.start - before.span.end
    return (
        after.ordinal == before.ordinal + 1
        and 0 <= gap <= MAX_GAP_CHARACTERS
        and _section_of(before) == _section_of(after)
    )


def _section_of(hit: Hit) -> tuple[object, ...]:
    return hit.document_id, hit.version, hit.context, hit.location


def _join_chunks(chunks: Sequence[Hit]) -> Hit:
    """Join neighbours into one passage, with the scores of the first chunk, which ranked best."""
    in_order = sorted(chunks, key=lambda chunk: chunk.span)
    text, end = "", in_order[0].span.start
    for chunk in in_order:
        text += "\n" * (chunk.span.start - end) + chunk.text
        end = chunk.span.end
    shared = [other for other in chunks[0].also if all(other in chunk.also for chunk in chunks)]
    return replace(
        chunks[0],
        span=Span(in_order[0].span.start, end),
        text=text,
        sentences=tuple(sentence for chunk in in_order for sentence in chunk.sentences),
        also=tuple(shared),
    )


def _drop_near_copies(hits: Sequence[Hit]) -> list[Hit]:
    """Drop hits with nearly the same words, and the same numbers, as an earlier hit."""
    kept: list[Hit] = []
    contents: list[tuple[frozenset[str], set[float]]] = []
    for hit in hits:
        terms, numbers = frozenset(extract_terms(hit.text)), find_numbers(hit.text)
        if not any(
            numbers == other_numbers and _have_same_terms(terms, other_terms)
            for other_terms, other_numbers in contents
        ):
            kept.append(hit)
            contents.append((terms, numbers))
    return kept


def _have_same_terms(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= MIN_TERM_OVERLAP * len(one | other)
