"""Indexes of the search plans at each size; a change of a plan must be intended."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
import pytest
from pgvector import HalfVector
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from bench.growth import build_corpus, connect_as_superuser
from core.db.index_version import live_index, tenant_partition
from core.db.partitions import create_tenant_partition
from core.db.queries import number_placeholders
from core.embedding import Embedder
from core.errors import InvalidInput
from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from evaluation.metrics import mean
from retrieval.filter_plan import plan_filter
from retrieval.filters import Filter, Range
from retrieval.retriever import retrieve
from retrieval.search_plan import (
    FILTERED_SETTINGS,
    MAX_EXACT_VECTORS,
    UNFILTERED_SETTINGS,
    read_corpus_stats,
)
from retrieval.search_statement import SearchRequest, build_search_statement
from tests.support.services import connect_services

LARGE = MAX_EXACT_VECTORS + 2_000
SMALL = 300
QUESTION = "word7 of part3 and common"

BY_KEY = {
    "lexicon": {"lexicon_pkey"},
    "posting": {"posting_pkey"},
    "sentence_1": {"sentence_1_pkey"},
    "chunk": {"chunk_pkey"},
    "document": {"document_holder_idx"},
    "reader_set": {"reader_set_tenant_id_readers_key"},
}


@pytest.fixture(scope="module")
def grown(
    server: EmbeddedPostgres, clone: Callable[[], str], home: Path, embedder: Embedder
) -> Iterator[tuple[Services, list[list[float]]]]:
    """Store a large and a small tenant; return query vectors too."""
    chance = np.random.default_rng(3)
    pool = chance.standard_normal((500, embedder.model.dimension), dtype=np.float32)
    pool /= np.linalg.norm(pool, axis=1, keepdims=True)

    def texts(count: int) -> list[str]:
        return [
            f"common word{number % 97} part{number % 13} only{number}" for number in range(count)
        ]

    name = clone()
    with connect_as_superuser(server, name) as connection:
        index = live_index(connection)
        build_corpus(
            connection,
            index.vector_table_name,
            index.sentence_table_name,
            [("large", texts(LARGE)), ("small", texts(SMALL))],
            pool,
        )
    with connect_services(server, name, home, embedder) as services:
        yield services, pool[:20].tolist()


def plan(
    services: Services, tenant: str, vector: list[float], where: Filter | None = None
) -> dict[str, set[str]]:
    """Return the index scans (and other scans, in brackets) of the service's plan, by table."""
    with services.database.reading(
        Principal(tenant), FILTERED_SETTINGS if where else UNFILTERED_SETTINGS
    ) as connection:
        stats = read_corpus_stats(connection, tenant)
        filter_plan = plan_filter(connection, tenant, where, stats.chunks)
        request = SearchRequest(QUESTION, vector=vector, where=where)
        query, values = build_search_statement(tenant, stats, request, filter_plan)
        # Prepared and then explained, it is the plan for any values (`force_generic_plan`).
        text, names = number_placeholders(query.as_string(connection))
        connection.execute(sql.SQL("prepare asked as {}").format(sql.SQL(text)))
        literals = sql.SQL(", ").join(sql.Literal(values[name]) for name in names)
        row = connection.execute(
            sql.SQL("explain (format json) execute asked ({})").format(literals)
        ).fetchone()
        connection.execute("deallocate asked")
    assert row is not None
    scans: dict[str, set[str]] = {}
    for node in _nodes(row[0][0]["Plan"]):
        if "Relation Name" in node:
            how = node.get("Index Name") or f"({node['Node Type']})"
            scans.setdefault(node["Relation Name"], set()).add(how)
    return scans


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for inner in node.get("Plans", ()):
        yield from _nodes(inner)


def test_a_small_tenant_is_compared_vector_by_vector(
    grown: tuple[Services, list[list[float]]],
) -> None:
    """The scan uses the tenant's key, so that it reads no other rows."""
    services, vectors = grown
    assert plan(services, "small", vectors[0]) == BY_KEY | {
        "vector_1_shared": {"vector_1_shared_pkey"}
    }


def test_a_large_tenant_uses_the_vector_index(grown: tuple[Services, list[list[float]]]) -> None:
    """Everything else is read by key, and no table from end to end."""
    services, vectors = grown
    assert plan(services, "large", vectors[0]) == BY_KEY | {
        "vector_1_shared": {"vector_1_shared_embedding_idx", "vector_1_shared_pkey"}
    }


def test_a_new_database_has_the_same_plan(sample_services: Services) -> None:
    """Without statistics the plan must be right too, since a connection keeps it."""
    dimension = sample_services.embedder().model.dimension
    scans = plan(sample_services, "alder", [1.0] * dimension)
    assert scans == BY_KEY | {"vector_1_shared": {"vector_1_shared_pkey"}}


@pytest.mark.parametrize(
    ("share", "served"),
    [
        (0.02, {"vector_1_shared_pkey"}),
        (0.9, {"vector_1_shared_embedding_idx", "vector_1_shared_pkey"}),
    ],
    ids=["few", "many"],
)
def test_the_number_of_matches_decides_the_plan_of_a_filter(
    grown: tuple[Services, list[list[float]]], share: float, served: set[str]
) -> None:
    """Few matches are listed and compared; with many, the neighbours are tested."""
    services, vectors = grown
    scans = plan(services, "large", vectors[0], Range("metadata.part", lt=share * 601))
    assert scans["vector_1_shared"] == served
    assert scans["posting"] == {"posting_pkey"}


def test_the_vector_index_finds_the_nearest(grown: tuple[Services, list[list[float]]]) -> None:
    """Among rows of another tenant, 0.99 of the first ten are those of an exact comparison."""
    services, vectors = grown
    principal = Principal("large")
    shares = []
    for vector in vectors:
        found = retrieve(services, principal, "", mode="dense", vector=vector, limit=50).hits
        with services.database.reading(principal) as connection:
            rows = connection.execute(
                "select chunk_id"
                " from (select chunk_id, embedding <=> %s as distance from vector_1 offset 0) p"
                " order by distance limit 10",
                (HalfVector(vector),),
            ).fetchall()
        nearest = {
            hit.chunk_id for hit in sorted(found, key=lambda hit: -(hit.dense.score or 0))[:10]
        }
        shares.append(len(nearest & {row[0] for row in rows}) / 10)
    assert mean(shares) >= 0.99


def test_an_own_partition_serves_only_its_tenant(
    server: EmbeddedPostgres, grown: tuple[Services, list[list[float]]]
) -> None:
    """Hits and the plans of other tenants stay; no role reads the partition directly."""
    services, vectors = grown
    large, own = Principal("large"), tenant_partition(1, "large")
    before = [ids(services, large, vector) for vector in vectors]
    assert create_tenant_partition(server.conninfo(dbname=database_of(services)), "large") == [own]
    with connect_as_superuser(server, database_of(services)) as connection:
        connection.execute("analyze")
    assert plan(services, "large", vectors[0])[own] == {f"{own}_embedding_idx", f"{own}_pkey"}
    assert plan(services, "small", vectors[0])["vector_1_shared"] == {"vector_1_shared_pkey"}
    after = [ids(services, large, vector) for vector in vectors]
    assert (
        mean([len(set(one) & set(other)) / 10 for one, other in zip(before, after, strict=True)])
        >= 0.99
    )
    assert create_tenant_partition(server.conninfo(dbname=database_of(services)), "large") == []
    with (
        pytest.raises(psycopg.errors.InsufficientPrivilege),
        services.database.reading(large) as connection,
    ):
        connection.execute(sql.SQL("select from {}").format(sql.Identifier(own)))
    with services.database.writing("large") as connection:
        connection.execute(
            "delete from chunk where tenant_id = 'large' and chunk_id = %s", (after[0][0],)
        )
    assert after[0][0] not in ids(services, large, vectors[0])
    with pytest.raises(InvalidInput, match="tenant 'nobody' has no documents"):
        create_tenant_partition(server.conninfo(dbname=database_of(services)), "nobody")


def ids(services: Services, principal: Principal, vector: list[float]) -> list[int]:
    """Return the ten nearest chunks."""
    return [
        hit.chunk_id for hit in retrieve(services, principal, "", mode="dense", vector=vector).hits
    ]


def database_of(services: Services) -> str:
    """Return the name of the services' database."""
    return str(conninfo_to_dict(services.settings.database_url)["dbname"])


@pytest.mark.parametrize("budget", [50, 500])
def test_a_small_postings_budget_changes_no_score_and_not_the_best_hit(
    sample_services: Services, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rare terms find the candidates, but each hit has the BM25 score of all terms."""
    questions = (
        "What does ERR-4711 mean on the Heron 210?",
        "How many days of annual leave can I carry over into next year?",
        "How often must the Kestrel T5 be calibrated in waste water?",
    )
    for question in questions:
        monkeypatch.setattr("retrieval.search_statement.MAX_POSTINGS_READ", 10**9)
        whole = retrieve(sample_services, Principal("alder"), question, mode="lexical", limit=100)
        scores = {hit.chunk_id: hit.lexical.score for hit in whole.hits}
        monkeypatch.setattr("retrieval.search_statement.MAX_POSTINGS_READ", budget)
        some = retrieve(sample_services, Principal("alder"), question, mode="lexical", limit=5)
        assert some.hits[0].chunk_id == whole.hits[0].chunk_id
        assert some.idf == whole.idf
        for hit in some.hits:
            assert hit.lexical.score == pytest.approx(scores[hit.chunk_id])
