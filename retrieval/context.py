"""From the hits of a search to the evidence of an answer: fewer passages, each whole, from several documents.

merge      neighbouring chunks of one document become one passage
thin out   a passage that says what an earlier one says is left out, unless it gives other numbers: two documents that
           disagree must both be seen
spread     no document gives more than its share while others have something to say
fit        what an answer may draw on has a budget, so that a language model can read all of it
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from core.text.numbers import find_numbers
from core.text.terms import extract_terms
from core.types import Span
from retrieval.types import Hit, SearchResult

MAX_PASSAGES = 8  # of an answer's evidence: the sentence model was fitted on as many
CANDIDATE_HITS = (
    24  # hits to choose from: three times as many, so that merging and spreading leave enough
)
MAX_CONTEXT_TOKENS = (
    3_000  # of all passages together: with the prompt and the answer they fit a window of 4,096
)
MAX_PASSAGES_PER_DOCUMENT = 4  # half of the passages
CHARACTERS_PER_TOKEN = 4  # of English prose, by the common tokenizers
MAX_GAP_CHARACTERS = (
    2  # characters between neighbours: a blank or an empty line. More would hide a heading
)
MAX_MERGED_CHUNKS = 3  # chunks in a passage: a citation should still point at a place
MIN_TERM_OVERLAP = 0.9  # of the terms of two passages together that both have, from where on one says what the other says


def build_context(
    result: SearchResult,
    *,
    max_passages: int = MAX_PASSAGES,
    max_tokens: int = MAX_CONTEXT_TOKENS,
    max_per_document: int = MAX_PASSAGES_PER_DOCUMENT,
) -> SearchResult:
    """The evidence with at most so many passages of so many tokens in all, best first; at least one, if it had any.

    A document gives `of_one_document` passages, and more only where the others don't fill the rest. A passage stands
    where its best chunk stood, with that chunk's id, score and legs. All offsets stay those of the document, and the
    characters between two merged chunks, which are blank, are there as line breaks; no sentence lies across them.
    """
    whole = _drop_near_copies(_merge_adjacent(result.hits))
    counted, first, later = Counter[UUID](), list[Hit](), list[Hit]()
    for hit in whole:
        counted[hit.document_id] += 1
        (first if counted[hit.document_id] <= max_per_document else later).append(hit)
    chosen, left = list[Hit](), max_tokens
    for hit in [*first, *later]:
        if len(chosen) < max_passages and (estimate_hit_tokens(hit) <= left or not chosen):
            chosen.append(hit)
            left -= estimate_hit_tokens(hit)
    chosen.sort(key=lambda hit: hit.rank)
    return replace(
        result, hits=tuple(replace(hit, rank=rank) for rank, hit in enumerate(chosen, start=1))
    )


def estimate_hit_tokens(hit: Hit) -> int:
    """About how many tokens a language model reads a passage and its headings as; rounded up."""
    return -(-(len(hit.context) + len(hit.text)) // CHARACTERS_PER_TOKEN)


def _merge_adjacent(hits: Sequence[Hit]) -> list[Hit]:
    """The hits with neighbours in one, in the order of the best of each."""
    passages: list[list[Hit]] = []
    for hit in hits:
        beside = [passage for passage in passages if _is_adjacent_to_passage(hit, passage)]
        if beside and sum(map(len, beside)) < MAX_MERGED_CHUNKS:
            beside[0][:] = [each for passage in beside for each in passage] + [hit]
            passages = [passage for passage in passages if passage not in beside[1:]]
        else:
            passages.append([hit])
    return [_join_chunks(passage) for passage in passages]


def _is_adjacent_to_passage(hit: Hit, passage: Sequence[Hit]) -> bool:
    return any(_is_next_chunk(hit, other) or _is_next_chunk(other, hit) for other in passage)


def _is_next_chunk(before: Hit, after: Hit) -> bool:
    """Whether one is the next chunk after the other, under the same headings and with nothing but a blank between."""
    same = (before.document_id, before.version, before.context, before.location) == (
        after.document_id,
        after.version,
        after.context,
        after.location,
    )
    return (
        same
        and after.ordinal == before.ordinal + 1
        and 0 <= after.span.start - before.span.end <= MAX_GAP_CHARACTERS
    )


def _join_chunks(chunks: Sequence[Hit]) -> Hit:
    """One passage of neighbours; what ranks it is the first chunk's, which was found best."""
    in_order = sorted(chunks, key=lambda chunk: chunk.span)
    text, end = "", in_order[0].span.start
    for chunk in in_order:
        text += "\n" * (chunk.span.start - end) + chunk.text
        end = chunk.span.end
    return replace(
        chunks[0],
        span=Span(in_order[0].span.start, end),
        text=text,
        sentences=tuple(sentence for chunk in in_order for sentence in chunk.sentences),
        also=tuple(
            other for other in chunks[0].also if all(other in chunk.also for chunk in chunks)
        ),
    )


def _drop_near_copies(hits: Sequence[Hit]) -> list[Hit]:
    """The hits without those that say what an earlier one says in nearly the same words, and the same numbers."""
    kept: list[tuple[Hit, frozenset[str], set[float]]] = []
    for hit in hits:
        said, numbers = frozenset(extract_terms(hit.text)), find_numbers(hit.text)
        if not any(
            numbers == others and _have_same_terms(said, known) for _, known, others in kept
        ):
            kept.append((hit, said, numbers))
    return [hit for hit, _, _ in kept]


def _have_same_terms(one: frozenset[str], other: frozenset[str]) -> bool:
    return len(one & other) >= MIN_TERM_OVERLAP * len(one | other)
