"""Why these hits, in this order: how their scores came about, and how the database found them.

The database is asked for the plan of the very statement that searched, in the same snapshot, with the counts of what
was really read (EXPLAIN ANALYZE: it runs once more, planned for its values, while a connection may keep one plan for
all questions; which index serves a leg is in the statement and its settings). Only what is counted after row-level
security is handed on; the planner's own estimates are drawn from everybody's rows, and stay inside.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from psycopg import sql

from core.db.database import Connection
from core.db.index_version import IndexVersion
from core.db.queries import load_queries
from core.principal import Principal
from retrieval.filter_plan import count_matches
from retrieval.filters import Filter
from retrieval.types import (
    AccessMethod,
    AccessPath,
    Hit,
    RetrieverName,
    ScoreReasons,
    SearchExplanation,
    TermMatch,
)

QUERIES = load_queries(Path(__file__).with_name("explain.sql"))
EXPLAIN_PREFIX = sql.SQL("explain (analyze, format json, timing off, buffers off) ")
CANDIDATE_ALIAS = "p"  # what the dense leg calls the rows among which it looks for candidates; see retrieval/filter_plan.py


def explain_search(
    connection: Connection,
    principal: Principal,
    index: IndexVersion,
    where: Filter | None,
    statement: tuple[sql.Composed, Mapping[str, Any]],
    hits: Sequence[Hit],
    idf: Mapping[str, float],
) -> tuple[SearchExplanation, tuple[Hit, ...]]:
    """Explain a search that just ran on the connection; return the explanation, and the hits with their reasons.

    `statement` is the search's statement with its values.
    """
    query, values = statement
    row = connection.execute(EXPLAIN_PREFIX + query, values).fetchone()
    assert row is not None
    [plan] = row[0]
    legs: dict[str, RetrieverName] = {
        "posting": "lexical",
        index.vector_table_name: "dense",
        index.sentence_table_name: "sentence",
    }
    matches = _match_terms(connection, values, hits, idf)
    most = sum(
        weight * idf[term] for term, weight in zip(values["terms"], values["weights"], strict=True)
    )
    explanation = SearchExplanation(
        tenant=principal.tenant,
        groups=principal.groups,
        model=index.model,
        index_version=index.index_version_id,
        passed=count_matches(connection, principal.tenant, where) if where else None,
        accesses=_merge_access_paths(_find_access_paths(plan["Plan"], legs)),
        milliseconds={"planning": plan["Planning Time"], "execution": plan["Execution Time"]},
    )
    explained_hits = []
    for hit in hits:
        shares = _compute_shares(hit, values, most)
        reasons = ScoreReasons(shares, matches.get(hit.chunk_id, ()))
        explained_hits.append(replace(hit, reasons=reasons))
    return explanation, tuple(explained_hits)


def _compute_shares(
    hit: Hit, values: Mapping[str, Any], max_bm25: float
) -> dict[RetrieverName, float]:
    """What each leg adds to a hit's score, by the formula at the head of retrieval/retriever.py; a sentence adds by its
    meaning and by its words.
    """
    passage, lexical = hit.dense.score or 0.0, hit.lexical.score or 0.0
    sentence = passage if hit.sentence.score is None else hit.sentence.score
    return {
        "lexical": values["bm25_weight"] * lexical / max_bm25 if max_bm25 else 0.0,
        "dense": values["passage_weight"] * passage,
        "sentence": values["sentence_weight"] * sentence + values["coverage_weight"] * hit.coverage,
    }


def _match_terms(
    connection: Connection, values: Mapping[str, Any], hits: Sequence[Hit], idf: Mapping[str, float]
) -> dict[int, tuple[TermMatch, ...]]:
    """The terms that matched in each hit, by its chunk_id; those that add most to its BM25 score first."""
    weights = dict(zip(values["terms"], values["weights"], strict=True))
    found = connection.execute(
        QUERIES["matched_terms"],
        {
            "tenant": values["tenant"],
            "terms": list(weights),
            "chunks": [hit.chunk_id for hit in hits],
        },
    ).fetchall()
    matches: dict[int, list[TermMatch]] = {}
    for chunk_id, term, frequency, length in found:
        score = (
            weights[term]
            * idf[term]
            * frequency
            / (frequency + values["base"] + values["slope"] * length)
        )
        matches.setdefault(chunk_id, []).append(TermMatch(term, frequency, idf[term], score))
    return {
        chunk_id: tuple(sorted(each, key=lambda match: -match.score))
        for chunk_id, each in matches.items()
    }


def _find_access_paths(
    node: Mapping[str, Any], retrievers_by_table: Mapping[str, RetrieverName]
) -> Iterator[AccessPath]:
    """The scans of a plan that served a leg and were carried out, from the top."""
    leg = next(
        (
            leg
            for table, leg in retrievers_by_table.items()
            if node.get("Relation Name", "").startswith(table)
        ),
        None,
    )
    if leg and node["Actual Loops"]:
        finds = _is_candidate_scan(node, leg)
        rows = round(node["Actual Rows"] * node["Actual Loops"])
        yield AccessPath(
            leg,
            "find" if finds else "score",
            _classify_access(node, finds, leg),
            _find_index_name(node),
            rows,
        )
    for inner in node.get("Plans", ()):
        yield from _find_access_paths(inner, retrievers_by_table)


def _is_candidate_scan(node: Mapping[str, Any], retriever: RetrieverName) -> bool:
    """Whether a scan looks for candidates, or looks up those that there are: the postings of common terms, vectors."""
    if retriever == "lexical":
        return "chunk_id" not in node.get("Index Cond", "")
    return str(node["Alias"]).split("_")[0] == CANDIDATE_ALIAS


def _merge_access_paths(accesses: Iterator[AccessPath]) -> tuple[AccessPath, ...]:
    """One access for all scans of a kind, with their rows added up."""
    together: dict[AccessPath, int] = {}
    for access in accesses:
        kind = replace(access, rows=0)
        together[kind] = together.get(kind, 0) + access.rows
    return tuple(replace(kind, rows=rows) for kind, rows in together.items())


def _classify_access(
    node: Mapping[str, Any], is_candidate_scan: bool, retriever: RetrieverName
) -> AccessMethod:
    if "Order By" in node:
        return "HNSW"
    if is_candidate_scan and retriever == "dense":
        return "exact"  # whatever brought the rows, all of them are compared
    return {"Index Only Scan": "index only", "Seq Scan": "table"}.get(node["Node Type"], "index")  # type: ignore[return-value]


def _find_index_name(node: Mapping[str, Any]) -> str | None:
    """The index a scan reads; a bitmap scan has it below."""
    name: str | None = node.get("Index Name")
    return name or next(
        (
            _find_index_name(inner)
            for inner in node.get("Plans", ())
            if "Bitmap" in inner["Node Type"]
        ),
        None,
    )
