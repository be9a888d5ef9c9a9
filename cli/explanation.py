"""What `groundwork search --explain` prints: each hit's score by leg with its terms, then how the search came about."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from retrieval.types import Access, Also, Evidence, Explanation, Hit, Leg, LegName, Reasons

LEGS: "dict[LegName, str]" = {"lexical": "words", "dense": "passage", "sentence": "best sentence"}
BAR = 24  # characters for the largest share
STYLES: "dict[LegName, str]" = {"lexical": "yellow", "dense": "cyan", "sentence": "magenta"}


def print_explanation(evidence: "Evidence") -> None:
    """Print why the hits of some evidence are where they are."""
    if (explanation := evidence.explanation) is None:
        return
    console = Console(highlight=False, markup=False)
    longest = max((max(why.shares.values()) for why in explanation.reasons.values()), default=0.0)
    for hit in evidence.hits:
        table = entries([hit])
        table.add_row("", "", _reasons(hit, explanation.reasons[hit.chunk_id], longest))
        console.print(table)
        console.print()
    console.print(_facts(evidence, explanation))


def entries(hits: "Sequence[Hit]") -> Table:
    """Two lines a hit: rank, score, place and the ranks that the legs gave it; and the beginning of its text."""
    table = Table.grid(padding=(0, 2))
    table.add_column(justify="right", no_wrap=True, style="bold", min_width=2)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for hit in hits:
        ranks = [f"{LEGS[name]} {leg.rank}" for name, leg in _legs(hit).items() if leg.rank]
        place = Text(" · ".join(part for part in (hit.location.label(), *ranks) if part), style="dim")
        table.add_row(str(hit.rank), f"{hit.score:.3f}", Text(f"{hit.path} · ", style="bold").append(place))
        table.add_row("", "", Text(" ".join(hit.text.split()), no_wrap=True, overflow="ellipsis"))
        if hit.also:
            table.add_row("", "", Text(also(hit.also), style="dim", no_wrap=True, overflow="ellipsis"))
    return table


def also(others: "Sequence[Also]") -> str:
    """The other documents that a passage stands for, in one line: those with the very same first."""
    same = ", ".join(other.path for other in others if other.exact)
    alike = ", ".join(other.path for other in others if not other.exact)
    return " · ".join(
        part for part in (f"same file: {same}" * bool(same), f"much the same: {alike}" * bool(alike)) if part
    )


def _legs(hit: "Hit") -> "dict[LegName, Leg]":
    return {"lexical": hit.lexical, "dense": hit.dense, "sentence": hit.sentence}


def _reasons(hit: "Hit", why: "Reasons", longest: float) -> Table:
    table = Table.grid(padding=(0, 1))
    for name, leg in _legs(hit).items():
        share = why.shares[name]
        bar = "█" * round(BAR * max(0.0, share) / longest) if longest else ""
        measure = "BM25" if name == "lexical" else "cosine"
        said = f"{measure} {leg.score:.3f}" if leg.score is not None else "not asked"
        table.add_row(LEGS[name], f"{share:.3f}", Text(f"{bar:<{BAR}}", style=STYLES[name]), said)
    if hit.reranked:
        table.add_row("reranker", "", "", f"score {hit.reranked.score:.3f}, was rank {hit.reranked.before}")
    words = Text(
        " · ".join(f"{m.term} ×{m.frequency:g} +{m.score:.2f}" for m in why.terms) or "no term of the question"
    )
    outer = Table.grid()
    outer.add_row(table)
    outer.add_row(words)
    return outer


def _facts(evidence: "Evidence", explanation: "Explanation") -> Table:
    facts = Table.grid(padding=(0, 2))
    facts.add_column(no_wrap=True, style="bold")
    facts.add_column(overflow="fold")
    for name, said in _lines(evidence, explanation):
        facts.add_row(name, said)
    return facts


def _lines(evidence: "Evidence", explanation: "Explanation") -> Iterator[tuple[str, str]]:
    from retrieval.filters import filter_json

    rarest = sorted(evidence.idf.items(), key=lambda pair: -pair[1])
    yield "idf", " · ".join(f"{term} {idf:.2f}" for term, idf in rarest) or "no terms"
    if evidence.where and explanation.passed:
        passed = f"{explanation.passed.documents:,} documents and {explanation.passed.passages:,} passages pass"
        yield "filter", f"{json.dumps(filter_json(evidence.where), ensure_ascii=False)}: {passed}"
    groups = ", ".join(explanation.groups) or "none"
    visible = f"{evidence.documents:,} documents and {evidence.chunks:,} passages visible"
    yield "access", f"tenant {explanation.tenant}, groups {groups}: {visible}"
    yield "index", f"version {explanation.index_version}, {explanation.model}"
    for access in explanation.accesses:
        yield f"{access.step} by {LEGS[access.leg]}", _access(access)
    if evidence.reranking:
        moved = f"{evidence.reranking.scored} passages scored, {evidence.reranking.moved} of these moved"
        yield "reranker", f"{evidence.reranking.name}: {moved}"
    yield "milliseconds", " · ".join(f"{stage} {spent:.1f}" for stage, spent in evidence.milliseconds.items())
    yield "database", f"planning {explanation.planning:.1f} ms · execution {explanation.execution:.1f} ms"


def _access(access: "Access") -> str:
    how = {
        "index only": f"index only, {access.index}",
        "index": f"index {access.index}",
        "HNSW": f"HNSW, {access.index}",
        "exact": f"exact, each vector compared ({access.index or 'the whole table'})",
        "table": "the whole table",
    }[access.method]
    return f"{how}: {access.rows:,} rows"
