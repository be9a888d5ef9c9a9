"""Output of `groundwork search --explain`: parts of each score, terms, index accesses."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from retrieval.types import (
        AccessPath,
        DocumentCounts,
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
RETRIEVER_STYLES: "dict[RetrieverName, str]" = {
    "lexical": "yellow",
    "dense": "cyan",
    "sentence": "magenta",
}
MAX_BAR_CHARACTERS = 24  # for the largest share


def print_explanation(result: "SearchResult") -> None:
    """Print the reasons of each hit's rank."""
    if (explanation := result.explanation) is None:
        return
    console = Console(highlight=False, markup=False)
    reasons = [hit.reasons for hit in result.hits if hit.reasons]
    largest_share = max((max(each.shares.values()) for each in reasons), default=0.0)
    for hit, hit_reasons in zip(result.hits, reasons, strict=True):
        table = build_hits_table([hit])
        table.add_row("", "", _build_reasons_table(hit, hit_reasons, largest_share))
        console.print(table)
        console.print()
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for name, fact in _explanation_facts(result, explanation):
        facts.add_row(name, fact)
    console.print(facts)


def build_hits_table(hits: "Sequence[Hit]") -> Table:
    """Return two lines per hit: rank, score, path and ranks; and the beginning of the text."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True, style="bold", min_width=2)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for hit in hits:
        parts = [hit.location.label]
        parts += [
            f"{RETRIEVER_LABELS[name]} {leg.rank}" for name, leg in hit.legs.items() if leg.rank
        ]
        details = Text(" · ".join(filter(None, parts)), style="dim")
        heading = Text(f"{hit.path} · ", style="bold").append(details)
        table.add_row(str(hit.rank), f"{hit.score:.3f}", heading)
        table.add_row("", "", _one_line(hit.text))
        if hit.also:
            table.add_row("", "", _one_line(format_duplicates(hit.also), style="dim"))
    return table


def _one_line(text: str, style: str = "") -> Text:
    return Text(" ".join(text.split()), style=style, no_wrap=True, overflow="ellipsis")


def format_duplicates(duplicates: "Sequence[DuplicateRef]") -> str:
    """Return the other documents of a hit in one line, those with the same file first."""
    same = ", ".join(other.path for other in duplicates if other.exact)
    similar = ", ".join(other.path for other in duplicates if not other.exact)
    parts = []
    if same:
        parts.append(f"same file: {same}")
    if similar:
        parts.append(f"much the same: {similar}")
    return " · ".join(parts)


def _build_reasons_table(hit: "Hit", reasons: "ScoreReasons", largest_share: float) -> Table:
    table = Table.grid(padding=(0, 1))
    for name, leg in hit.legs.items():
        share = reasons.shares[name]
        width = MAX_BAR_CHARACTERS * max(0.0, share) / largest_share if largest_share else 0.0
        bar = Text(f"{'█' * round(width):<{MAX_BAR_CHARACTERS}}", style=RETRIEVER_STYLES[name])
        measure = "BM25" if name == "lexical" else "cosine"
        score = "not computed" if leg.score is None else f"{measure} {leg.score:.3f}"
        table.add_row(RETRIEVER_LABELS[name], f"{share:.3f}", bar, score)
    if hit.reranked:
        change = f"score {hit.reranked.score:.3f}, was rank {hit.reranked.before}"
        table.add_row("reranker", "", "", change)
    terms = [f"{match.term} ×{match.frequency:g} +{match.score:.2f}" for match in reasons.terms]
    outer = Table.grid()
    outer.add_row(table)
    outer.add_row(Text(" · ".join(terms) or "no term of the question"))
    return outer


def _explanation_facts(
    result: "SearchResult", explanation: "SearchExplanation"
) -> Iterator[tuple[str, str]]:
    from retrieval.filters import filter_json

    rarest = sorted(result.idf.items(), key=lambda pair: -pair[1])
    yield "idf", " · ".join(f"{term} {idf:.2f}" for term, idf in rarest) or "no terms"
    if result.filter and explanation.passed:
        filter_text = json.dumps(filter_json(result.filter), ensure_ascii=False)
        yield "filter", f"{filter_text}: {_format_counts(explanation.passed)} pass"
    groups = ", ".join(explanation.groups) or "none"
    visible = f"{_format_counts(result.searched)} visible"
    yield "access", f"tenant {explanation.tenant}, groups {groups}: {visible}"
    yield "index", f"version {explanation.index_version}, {explanation.model}"
    for access in explanation.accesses:
        yield f"{access.step} by {RETRIEVER_LABELS[access.leg]}", _describe_access(access)
    if reranking := result.reranking:
        change = f"{reranking.scored} passages scored, {reranking.moved} of these moved"
        yield "reranker", f"{reranking.name}: {change}"
    stages = [f"{stage} {spent:.1f}" for stage, spent in result.milliseconds.items()]
    yield "milliseconds", " · ".join(stages)
    stages = [f"{stage} {spent:.1f} ms" for stage, spent in explanation.milliseconds.items()]
    yield "database", " · ".join(stages)


def _format_counts(counts: "DocumentCounts") -> str:
    return f"{counts.documents:,} documents and {counts.passages:,} passages"


def _describe_access(access: "AccessPath") -> str:
    methods = {
        "index only": f"index only, {access.index}",
        "index": f"index {access.index}",
        "HNSW": f"HNSW, {access.index}",
        "exact": f"exact, each vector compared ({access.index or 'the whole table'})",
        "table": "the whole table",
    }
    return f"{methods[access.method]}: {access.rows:,} rows"
