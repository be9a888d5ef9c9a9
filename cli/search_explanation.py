"""What `groundwork search --explain` prints: each hit's score by leg with its terms, then how the search came about."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from retrieval.types import (
        AccessPath,
        DuplicateRef,
        Hit,
        RetrieverName,
        ScoreReasons,
        SearchExplanation,
        SearchResult,
    )

RETRIEVER_LABELS: "dict[RetrieverName, str]" = {
    "lexical": "words",
    "dense": "passage",
    "sentence": "best sentence",
}
MAX_BAR_CHARACTERS = 24  # characters for the largest share
RETRIEVER_STYLES: "dict[RetrieverName, str]" = {
    "lexical": "yellow",
    "dense": "cyan",
    "sentence": "magenta",
}


def print_explanation(evidence: "SearchResult") -> None:
    """Print why the hits of some evidence are where they are."""
    if (explanation := evidence.explanation) is None:
        return
    console = Console(highlight=False, markup=False)
    reasons = [hit.reasons for hit in evidence.hits if hit.reasons]
    largest_share = max((max(each.shares.values()) for each in reasons), default=0.0)
    for hit, hit_reasons in zip(evidence.hits, reasons, strict=True):
        table = build_hits_table([hit])
        table.add_row("", "", _build_reasons_table(hit, hit_reasons, largest_share))
        console.print(table)
        console.print()
    console.print(_build_facts_table(evidence, explanation))


def build_hits_table(hits: "Sequence[Hit]") -> Table:
    """Two lines a hit: rank, score, place and the ranks that the legs gave it; and the beginning of its text."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True, style="bold", min_width=2)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for hit in hits:
        ranks = [
            f"{RETRIEVER_LABELS[name]} {leg.rank}" for name, leg in hit.legs.items() if leg.rank
        ]
        place = Text(
            " · ".join(part for part in (hit.location.label(), *ranks) if part), style="dim"
        )
        table.add_row(
            str(hit.rank), f"{hit.score:.3f}", Text(f"{hit.path} · ", style="bold").append(place)
        )
        table.add_row("", "", Text(" ".join(hit.text.split()), no_wrap=True, overflow="ellipsis"))
        if hit.also:
            table.add_row(
                "",
                "",
                Text(format_duplicates(hit.also), style="dim", no_wrap=True, overflow="ellipsis"),
            )
    return table


def format_duplicates(duplicates: "Sequence[DuplicateRef]") -> str:
    """The other documents that a passage stands for, in one line: those with the very same first."""
    same = ", ".join(other.path for other in duplicates if other.exact)
    alike = ", ".join(other.path for other in duplicates if not other.exact)
    return " · ".join(
        part
        for part in (f"same file: {same}" * bool(same), f"much the same: {alike}" * bool(alike))
        if part
    )


def _build_reasons_table(hit: "Hit", reasons: "ScoreReasons", longest: float) -> Table:
    table = Table.grid(padding=(0, 1))
    for name, leg in hit.legs.items():
        share = reasons.shares[name]
        bar = "█" * round(MAX_BAR_CHARACTERS * max(0.0, share) / longest) if longest else ""
        measure = "BM25" if name == "lexical" else "cosine"
        said = f"{measure} {leg.score:.3f}" if leg.score is not None else "not asked"
        table.add_row(
            RETRIEVER_LABELS[name],
            f"{share:.3f}",
            Text(f"{bar:<{MAX_BAR_CHARACTERS}}", style=RETRIEVER_STYLES[name]),
            said,
        )
    if hit.reranked:
        table.add_row(
            "reranker", "", "", f"score {hit.reranked.score:.3f}, was rank {hit.reranked.before}"
        )
    words = Text(
        " · ".join(f"{m.term} ×{m.frequency:g} +{m.score:.2f}" for m in reasons.terms)
        or "no term of the question"
    )
    outer = Table.grid()
    outer.add_row(table)
    outer.add_row(words)
    return outer


def _build_facts_table(evidence: "SearchResult", explanation: "SearchExplanation") -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for name, said in _explanation_facts(evidence, explanation):
        facts.add_row(name, said)
    return facts


def _explanation_facts(
    evidence: "SearchResult", explanation: "SearchExplanation"
) -> Iterator[tuple[str, str]]:
    from retrieval.filters import filter_json

    rarest = sorted(evidence.idf.items(), key=lambda pair: -pair[1])
    yield "idf", " · ".join(f"{term} {idf:.2f}" for term, idf in rarest) or "no terms"
    if evidence.filter and explanation.passed:
        passed = f"{explanation.passed.documents:,} documents and {explanation.passed.passages:,} passages pass"
        yield "filter", f"{json.dumps(filter_json(evidence.filter), ensure_ascii=False)}: {passed}"
    groups = ", ".join(explanation.groups) or "none"
    searched = evidence.searched
    visible = f"{searched.documents:,} documents and {searched.passages:,} passages visible"
    yield "access", f"tenant {explanation.tenant}, groups {groups}: {visible}"
    yield "index", f"version {explanation.index_version}, {explanation.model}"
    for access in explanation.accesses:
        yield f"{access.step} by {RETRIEVER_LABELS[access.leg]}", _describe_access(access)
    if evidence.reranking:
        moved = f"{evidence.reranking.scored} passages scored, {evidence.reranking.moved} of these moved"
        yield "reranker", f"{evidence.reranking.name}: {moved}"
    yield (
        "milliseconds",
        " · ".join(f"{stage} {spent:.1f}" for stage, spent in evidence.milliseconds.items()),
    )
    yield (
        "database",
        " · ".join(f"{stage} {spent:.1f} ms" for stage, spent in explanation.milliseconds.items()),
    )


def _describe_access(access: "AccessPath") -> str:
    how = {
        "index only": f"index only, {access.index}",
        "index": f"index {access.index}",
        "HNSW": f"HNSW, {access.index}",
        "exact": f"exact, each vector compared ({access.index or 'the whole table'})",
        "table": "the whole table",
    }[access.method]
    return f"{how}: {access.rows:,} rows"
