"""Explanation of a search: the parts of each score, and the indexes that the database used.

EXPLAIN ANALYZE runs the same statement again in the same snapshot and counts the rows that it
really reads. It gets a plan of its own, while a connection may keep one plan for all questions;
both plans use the same indexes, since statement and settings decide them. Only counts after
row-level security are returned; the planner's estimates cover the rows of all tenants.
"""

from collections.abc import Iterator, Mapping
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
from retrieval.search_statement import ExecutedSearch
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
CANDIDATE_ALIAS = "p"  # of the vectors among which the dense search finds candidates, in search.sql
ACCESS_METHODS: Mapping[str, AccessMethod] = {"Index Only Scan": "index only", "Seq Scan": "table"}

PlanNode = Mapping[str, Any]


def explain_search(
    connection: Connection,
    principal: Principal,
    index: IndexVersion,
    where: Filter | None,
    search: ExecutedSearch,
) -> tuple[SearchExplanation, tuple[Hit, ...]]:
    """Explain a search that just ran on the connection; return also its hits with their reasons."""
    row = connection.execute(EXPLAIN_PREFIX + search.statement, search.values).fetchone()
    assert row is not None
    [plan] = row[0]
    retrievers_by_table: dict[str, RetrieverName] = {
        "posting": "lexical",
        index.vector_table_name: "dense",
        index.sentence_table_name: "sentence",
    }
    explanation = SearchExplanation(
        tenant=principal.tenant,
        groups=principal.groups,
        model=index.model,
        index_version=index.index_version_id,
        passed=count_matches(connection, principal.tenant, where) if where else None,
        accesses=_merge_access_paths(_find_access_paths(plan["Plan"], retrievers_by_table)),
        milliseconds={"planning": plan["Planning Time"], "execution": plan["Execution Time"]},
    )
    return explanation, _add_reasons(connection, search)


# --- scores


def _add_reasons(connection: Connection, search: ExecutedSearch) -> tuple[Hit, ...]:
    counts = dict(zip(search.values["terms"], search.values["term_counts"], strict=True))
    max_bm25 = sum(count * search.idf[term] for term, count in counts.items())
    matches = _match_terms(connection, search, counts)
    hits = []
    for hit in search.hits:
        terms = sorted(matches.get(hit.chunk_id, ()), key=lambda match: -match.score)
        shares = _compute_shares(hit, search.values, max_bm25)
        hits.append(replace(hit, reasons=ScoreReasons(shares, tuple(terms))))
    return tuple(hits)


def _compute_shares(
    hit: Hit, values: Mapping[str, Any], max_bm25: float
) -> dict[RetrieverName, float]:
    """Return what each retriever adds to a hit's score, by the formula of search_statement.py.

    A sentence adds by its meaning and by its words.
    """
    passage, lexical = hit.dense.score or 0.0, hit.lexical.score or 0.0
    sentence = passage if hit.sentence.score is None else hit.sentence.score
    return {
        "lexical": values["bm25_weight"] * lexical / max_bm25 if max_bm25 else 0.0,
        "dense": values["passage_weight"] * passage,
        "sentence": values["sentence_weight"] * sentence + values["coverage_weight"] * hit.coverage,
    }


def _match_terms(
    connection: Connection, search: ExecutedSearch, counts: Mapping[str, float]
) -> dict[int, list[TermMatch]]:
    """Return the terms that matched in each hit, by chunk_id."""
    values = search.values
    rows = connection.execute(
        QUERIES["matched_terms"],
        {
            "tenant": values["tenant"],
            "terms": list(counts),
            "chunks": [hit.chunk_id for hit in search.hits],
        },
    ).fetchall()
    matches: dict[int, list[TermMatch]] = {}
    for chunk_id, term, frequency, length in rows:
        saturation = frequency + values["bm25_base"] + values["bm25_slope"] * length
        score = counts[term] * search.idf[term] * frequency / saturation
        match = TermMatch(term, frequency, search.idf[term], score)
        matches.setdefault(chunk_id, []).append(match)
    return matches


# --- access paths


def _find_access_paths(
    node: PlanNode, retrievers_by_table: Mapping[str, RetrieverName]
) -> Iterator[AccessPath]:
    """Yield the scans of a plan that ran for a retriever, outermost first."""
    retriever = _find_retriever(node, retrievers_by_table)
    if retriever and node["Actual Loops"]:
        is_candidate_scan = _is_candidate_scan(node, retriever)
        yield AccessPath(
            retriever,
            "find" if is_candidate_scan else "score",
            _classify_access(node, is_candidate_scan, retriever),
            _find_index_name(node),
            rows=round(node["Actual Rows"] * node["Actual Loops"]),
        )
    for child in node.get("Plans", ()):
        yield from _find_access_paths(child, retrievers_by_table)


def _find_retriever(
    node: PlanNode, retrievers_by_table: Mapping[str, RetrieverName]
) -> RetrieverName | None:
    scanned_table = node.get("Relation Name", "")
    for table, retriever in retrievers_by_table.items():
        if scanned_table.startswith(table):  # a partition's name begins with its table's
            return retriever
    return None


def _is_candidate_scan(node: PlanNode, retriever: RetrieverName) -> bool:
    """Return true for a scan that finds candidates; others read rows of known candidates."""
    if retriever == "lexical":
        return "chunk_id" not in node.get("Index Cond", "")
    return str(node["Alias"]).split("_")[0] == CANDIDATE_ALIAS


def _classify_access(
    node: PlanNode, is_candidate_scan: bool, retriever: RetrieverName
) -> AccessMethod:
    if "Order By" in node:
        return "HNSW"
    if is_candidate_scan and retriever == "dense":
        return "exact"  # all vectors are compared, whichever index reads them
    return ACCESS_METHODS.get(node["Node Type"], "index")


def _find_index_name(node: PlanNode) -> str | None:
    """Return the index that a scan reads; a bitmap scan has it in a child node."""
    if "Index Name" in node:
        return str(node["Index Name"])
    for child in node.get("Plans", ()):
        if "Bitmap" in child["Node Type"]:
            return _find_index_name(child)
    return None


def _merge_access_paths(accesses: Iterator[AccessPath]) -> tuple[AccessPath, ...]:
    """Add up the rows of scans of one kind."""
    rows_by_kind: dict[AccessPath, int] = {}
    for access in accesses:
        kind = replace(access, rows=0)
        rows_by_kind[kind] = rows_by_kind.get(kind, 0) + access.rows
    return tuple(replace(kind, rows=rows) for kind, rows in rows_by_kind.items())
