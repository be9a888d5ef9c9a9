"""Filters in PostgreSQL match the same filters in Python, and return k hits if k exist."""

import itertools
import json
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from core.types import Chunk, Document, Location, Span
from ingest.store import documents as document_store
from retrieval.filter_sql import compile_filter
from retrieval.filters import (
    FIELDS,
    METADATA_PREFIX,
    And,
    Contains,
    Equals,
    Exists,
    Filter,
    HoldsAll,
    HoldsAny,
    In,
    Not,
    Or,
    Prefix,
    Range,
    filter_json,
    parse_filter,
)
from retrieval.retriever import retrieve
from tests.support.filter_values import (
    DATES,
    HOSTILE,
    KEYS,
    NOT_DATES,
    NUMBERS,
    TEXTS,
    any_field,
    metadata_fields,
    scalars,
    texts,
)
from tests.support.services import connect_services, connect_superuser

TREES = int(os.environ.get("FILTER_TREES", "600"))
ALDER = Principal("alder")


@dataclass(frozen=True)
class Row:
    """A document in Python."""

    fields: dict[str, Any]
    metadata: dict[str, Any]


def holds(tree: Filter, row: Row) -> bool:
    match tree:
        case And(parts):
            return all(holds(part, row) for part in parts)
        case Or(parts):
            return any(holds(part, row) for part in parts)
        case Not(part):
            return not holds(part, row)
    value = found(tree.field, row)
    match tree:
        case Equals(_, wanted):
            return same(value, wanted)
        case In(_, values):
            return any(same(value, wanted) for wanted in values)
        case Range():
            return all(within(value, name, bound) for name, bound in tree.bounds.items())
        case Prefix(_, text):
            return isinstance(value, str) and value.startswith(text)
        case Contains(_, text, ignore_case):
            change = lower if ignore_case else str
            return isinstance(value, str) and change(text) in change(value)
        case HoldsAny(_, values):
            return isinstance(value, list) and any(contains_scalar(value, one) for one in values)
        case HoldsAll(_, values):
            return isinstance(value, list) and all(contains_scalar(value, one) for one in values)
        case Exists(_, exists):
            return (value is not None and value not in ("", [])) == exists
    raise AssertionError(tree)


def found(field: str, row: Row) -> Any:
    if field in row.fields:
        return row.fields[field]
    return row.metadata.get(field.removeprefix(METADATA_PREFIX))


def same(value: Any, wanted: Any) -> bool:
    return (
        within(value, "gte", wanted) and within(value, "lte", wanted)
        if isinstance(wanted, date)
        else same_scalar(value, wanted)
    )


def contains_scalar(values: list[Any], wanted: Any) -> bool:
    return any(same_scalar(value, wanted) for value in values)


def same_scalar(value: Any, wanted: Any) -> bool:
    if (
        isinstance(value, str)
        or isinstance(wanted, str)
        or isinstance(value, bool)
        or isinstance(wanted, bool)
    ):
        return type(value) is type(wanted) and value == wanted
    if isinstance(value, int | float) and isinstance(wanted, int | float):
        return Decimal(repr(value)) == Decimal(repr(wanted))
    return False


def within(value: Any, name: str, bound: Any) -> bool:
    if isinstance(bound, date):
        at = moment(value)
        if at is None:
            return False
        first, last = instants(bound)
        return {"gte": at >= first, "gt": at > last, "lte": at <= last, "lt": at < first}[name]
    if isinstance(bound, str):
        return isinstance(value, str) and compare(value, name, bound)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return compare(Decimal(repr(value)), name, Decimal(repr(bound)))


def compare(value: Any, name: str, bound: Any) -> bool:
    return bool(
        {"gte": value >= bound, "gt": value > bound, "lte": value <= bound, "lt": value < bound}[
            name
        ]
    )


def moment(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not re.fullmatch(
        r"[1-9][0-9]{3}-[0-9]{2}-[0-9]{2}([T ].{5,})?", value
    ):
        return None
    try:
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def instants(bound: date) -> tuple[datetime, datetime]:
    if isinstance(bound, datetime):
        at = bound if bound.tzinfo else bound.replace(tzinfo=UTC)
        return at, at
    return datetime.combine(bound, time.min, UTC), datetime.combine(bound, time.max, UTC)


def lower(text: str) -> str:
    return "".join(character.lower() for character in text)


def documents() -> Iterator[Document]:
    """Yield documents with every text as title and path, and all kinds of metadata."""
    everything = [*TEXTS, *NUMBERS, *DATES, *NOT_DATES, True, False, None, [], {}, [[]], {"a": 1}]
    lists: list[Any] = [
        ["a"],
        ["a", "b", "b"],
        [1, 5.0, 0.1],
        [True],
        [["a"]],
        [None],
        ["1", 5],
        list(HOSTILE),
    ]
    for number, value in enumerate([*everything, *lists]):
        keys = itertools.islice(itertools.cycle(KEYS), number, number + 4)
        metadata = {
            key: (value, everything[(number * 7) % len(everything)])[at % 2]
            for at, key in enumerate(keys)
        }
        if number % 3 == 0:
            metadata["language"] = TEXTS[number % 8] if number % 2 else value
        title = TEXTS[number % len(TEXTS)]
        yield Document(
            uri=f"test:/{number}",
            path=f"{title}/{number % 5}",
            title=title,
            text="x",
            blocks=(),
            content_hash="",
            media_type=("text/plain", "text/html")[number % 2],
            metadata=metadata,
        )


@pytest.fixture(scope="module")
def filtered(
    server: EmbeddedPostgres, clone: Any, home: Any, embedder: Any
) -> Iterator[tuple[Services, dict[str, Row]]]:
    """Store documents of every kind, and those of a second tenant; return the first too."""
    dimension = embedder.model.dimension
    none = np.empty((0, dimension), dtype=np.float32)
    with connect_services(server, clone(), home, embedder) as services:
        for tenant in ("alder", "brightwater"):
            with services.database.writing(tenant) as connection:
                for document in documents():
                    item = document_store.EmbeddedDocument(document, [], none, none)
                    for _ in range(1 + len(document.uri) % 2):  # some have a second version
                        document_store.store_documents(connection, tenant, uuid.uuid4(), [item], "")
        with connect_superuser(server, services) as connection:
            connection.execute(
                "update document set ingested_at = timestamptz '2024-03-01 00:00Z'"
                " + interval '7 hours' * substring(uri from '[0-9]+')::int"
            )
            columns = (
                "uri, path, title, document_id::text, media_type, version, ingested_at, metadata"
            )
            rows = connection.execute(
                f"select {columns} from document where tenant_id = 'alder'"
            ).fetchall()  # type: ignore[call-overload]
        names = columns.replace("::text", "").split(", ")
        seen = {}
        for row in rows:
            values = dict(zip(names, row, strict=True))
            metadata = values.pop("metadata")
            seen[values["uri"]] = Row(values, metadata)
        yield services, seen


def passing(services: Services, tree: Filter) -> set[str]:
    """Return the URIs that match a filter in PostgreSQL."""
    made = compile_filter(tree)
    statement = sql.SQL(
        "select d.uri from document d where d.tenant_id = %(tenant)s and {}"
    ).format(made.condition)
    with services.database.reading(ALDER) as connection:
        return {
            row[0]
            for row in connection.execute(statement, {"tenant": "alder", **made.values}).fetchall()
        }


moments = st.sampled_from(
    [
        *(
            date.fromisoformat(day)
            for day in ("2024-02-29", "2024-03-01", "2024-03-02", "9998-12-31")
        ),
        *(datetime.fromisoformat(at) for at in DATES),
        datetime(2024, 3, 1, 7, tzinfo=UTC),
        datetime(2024, 3, 4, 12, tzinfo=timezone(timedelta(hours=5))),
    ]
)
numbers = (
    st.sampled_from(NUMBERS)
    | st.integers(-10, 100)
    | st.floats(allow_nan=False, allow_infinity=False)
)
text_fields = st.sampled_from([name for name, kind in FIELDS.items() if kind == "text"])


@st.composite
def typed(draw: st.DrawFn) -> tuple[str, st.SearchStrategy[Any]]:
    """Draw a field, and a strategy for values of one type that it may be compared with."""
    field = draw(any_field)
    kinds: Mapping[str, st.SearchStrategy[Any]] = {
        "text": texts,
        "number": numbers,
        "date": moments,
    }
    return field, kinds[FIELDS[field]] if field in FIELDS else draw(
        st.sampled_from([texts, numbers, moments])
    )


@st.composite
def conditions(draw: st.DrawFn) -> Filter:
    field, values = draw(typed())
    some = st.lists(values, min_size=1, max_size=4).map(tuple)
    match draw(st.integers(0, 7)):
        case 0:
            return Equals(field, draw(values))
        case 1:
            extra = draw(st.lists(scalars, max_size=3)) if field.startswith(METADATA_PREFIX) else []
            return In(field, (*draw(some), *extra))
        case 2 | 3:
            names = draw(
                st.lists(
                    st.sampled_from(("gte", "gt", "lte", "lt")), min_size=1, max_size=2, unique=True
                )
            )
            return Range(field, **{name: draw(values) for name in names})
        case 4:
            return Prefix(draw(text_fields | metadata_fields), draw(texts))
        case 5:
            return Contains(draw(text_fields | metadata_fields), draw(texts), draw(st.booleans()))
        case 6:
            held = st.lists(scalars, min_size=1, max_size=3).map(tuple)
            return draw(st.sampled_from((HoldsAny, HoldsAll)))(draw(metadata_fields), draw(held))
    return Exists(field, draw(st.booleans()))


trees = st.recursive(
    conditions(),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(lambda parts: And(tuple(parts)))
        | st.lists(inner, min_size=1, max_size=3).map(lambda parts: Or(tuple(parts)))
        | inner.map(Not)
    ),
    max_leaves=8,
)


@settings(max_examples=TREES, deadline=None, suppress_health_check=list(HealthCheck))
@given(tree=trees)
def test_a_filter_matches_the_same_documents_in_sql_and_in_python(
    filtered: tuple[Services, dict[str, Row]], tree: Filter
) -> None:
    """The filter also survives a round trip through JSON."""
    services, rows = filtered
    assert parse_filter(json.loads(json.dumps(filter_json(tree)))) == tree
    assert passing(services, tree) == {uri for uri, row in rows.items() if holds(tree, row)}


DOCUMENTS, CHUNKS = 1_000, 4
QUESTION = "common rare17"


@dataclass(frozen=True)
class Corpus:
    """Synthetic documents of a tenant: vectors in clusters, and a random order."""

    services: Services
    ids: list[int]
    order: list[int]
    clusters: list[int]
    vectors: np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def corpus(server: EmbeddedPostgres, clone: Any, home: Any, embedder: Any) -> Iterator[Corpus]:
    chance = np.random.default_rng(7)
    dimension = embedder.model.dimension
    centres = chance.normal(size=(20, dimension))
    order = chance.permutation(DOCUMENTS)
    with connect_services(server, clone(), home, embedder) as services:
        with services.database.writing("alder") as connection:
            for number in range(DOCUMENTS):
                texts = [
                    f"common rare{number % 50} word{number} part{part}" for part in range(CHUNKS)
                ]
                chunks = [
                    Chunk(
                        part, Span(part * 100, part * 100 + len(text)), text, "", Location(), (), 4
                    )
                    for part, text in enumerate(texts)
                ]
                vectors = (
                    centres[number % 20] + 0.8 * chance.normal(size=(CHUNKS, dimension))
                ).astype(np.float32)
                document = Document(
                    uri=f"test:/{number}",
                    path=str(number),
                    title=str(number),
                    media_type="text/plain",
                    text="x",
                    blocks=(),
                    content_hash="",
                    metadata={"order": int(order[number]), "cluster": number % 20},
                )
                none = np.empty((0, dimension), dtype=np.float32)
                item = document_store.EmbeddedDocument(document, chunks, vectors, none)
                document_store.store_documents(connection, "alder", uuid.uuid4(), [item], "")
        with connect_superuser(server, services) as connection:
            connection.execute("analyze")
            rows: list[Any] = connection.execute(
                "select c.chunk_id, (d.metadata ->> 'order')::int,"
                " (d.metadata ->> 'cluster')::int, v.embedding::text"
                " from document d join chunk c using (tenant_id, document_id) join vector_1 v"
                " using (tenant_id, chunk_id)"
            ).fetchall()
        ids, orders, clusters, stored = (list(column) for column in zip(*rows, strict=True))
        yield Corpus(
            services, ids, orders, clusters, np.array([json.loads(vector) for vector in stored])
        )


@pytest.mark.parametrize("few", [10_000, 0], ids=["listed", "tested along the index"])
@pytest.mark.parametrize("share", [0.5, 0.1, 0.01, 0.001])
def test_k_rows_come_back_where_k_exist(
    corpus: Corpus, share: float, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In both plans, at every selectivity; nearest first, as in an exact search."""
    monkeypatch.setattr("retrieval.filter_plan.compute_exact_limit", lambda _: few)
    chance = np.random.default_rng(8)
    only = Range("metadata.order", lt=int(share * DOCUMENTS))
    allowed = [place for place, order in enumerate(corpus.order) if order < share * DOCUMENTS]
    wanted = min(10, len(allowed))
    found, shared = 0, 0
    for place in chance.choice(len(corpus.ids), 10):
        vector = corpus.vectors[place] + 0.02 * chance.normal(size=corpus.vectors.shape[1])
        cosines = corpus.vectors[allowed] @ vector / np.linalg.norm(corpus.vectors[allowed], axis=1)
        exact = {corpus.ids[allowed[at]] for at in np.argsort(-cosines)[:10]}
        hits = retrieve(
            corpus.services, ALDER, "", mode="dense", where=only, vector=list(vector)
        ).hits
        assert len(hits) == wanted
        assert all(hit.metadata["order"] < share * DOCUMENTS for hit in hits)
        shared += len(exact & {hit.chunk_id for hit in hits})
        found += wanted
        for mode in ("hybrid", "lexical"):
            hits = retrieve(
                corpus.services, ALDER, "common", mode=mode, where=only, vector=list(vector)
            ).hits
            assert len(hits) == wanted
            assert all(hit.metadata["order"] < share * DOCUMENTS for hit in hits)
    assert shared / found >= 0.95


@pytest.mark.parametrize("few", [10_000, 0])
def test_a_filter_far_from_the_question_still_returns_k_hits(
    corpus: Corpus, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No near neighbour matches the filter; all matches are far away."""
    monkeypatch.setattr("retrieval.filter_plan.compute_exact_limit", lambda _: few)
    place = corpus.clusters.index(3)
    hits = retrieve(
        corpus.services,
        ALDER,
        "",
        limit=100,
        mode="dense",
        where=Equals("metadata.cluster", 11),
        vector=list(corpus.vectors[place]),
    ).hits
    assert len(hits) == 100
    assert {hit.metadata["cluster"] for hit in hits} == {11}
    allowed = [at for at, cluster in enumerate(corpus.clusters) if cluster == 11]
    cosines = (
        corpus.vectors[allowed]
        @ corpus.vectors[place]
        / np.linalg.norm(corpus.vectors[allowed], axis=1)
    )
    exact = {corpus.ids[allowed[at]] for at in np.argsort(-cosines)[:100]}
    assert len(exact & {hit.chunk_id for hit in hits}) >= (99 if few else 90)


@pytest.mark.parametrize("few", [10_000, 0])
def test_a_filter_changes_no_score(
    corpus: Corpus, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """BM25, idf and counts are over all that the reader sees, and the order of matches stays."""
    monkeypatch.setattr("retrieval.filter_plan.compute_exact_limit", lambda _: few)
    all_found = retrieve(corpus.services, ALDER, QUESTION, limit=100, mode="lexical")
    half = Range("metadata.order", lt=500)
    some = retrieve(corpus.services, ALDER, QUESTION, limit=100, mode="lexical", where=half)
    expected = [
        (hit.chunk_id, hit.lexical.score) for hit in all_found.hits if hit.metadata["order"] < 500
    ]
    assert [(hit.chunk_id, hit.lexical.score) for hit in some.hits][: len(expected)] == expected
    assert len(expected) > 10
    assert (some.idf, some.searched) == (all_found.idf, all_found.searched)


@pytest.mark.parametrize("few", [10_000, 0])
def test_a_filter_without_matches_finds_nothing(
    corpus: Corpus, few: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not an error, in any mode."""
    monkeypatch.setattr("retrieval.filter_plan.compute_exact_limit", lambda _: few)
    for mode in ("hybrid", "lexical", "dense"):
        assert (
            retrieve(
                corpus.services, ALDER, QUESTION, mode=mode, where=Equals("title", "none such")
            ).hits
            == ()
        )


@pytest.mark.parametrize(
    ("where", "few", "method"),
    [
        (Range("metadata.order", lt=10), 10_000, "exact"),
        (Range("metadata.order", lt=900), 0, "HNSW"),
    ],
    ids=["a filter for few", "a filter for many"],
)
def test_the_explanation_names_the_method_of_the_dense_search(
    corpus: Corpus, where: Filter, few: int, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The vector index for a filter with many matches; exact comparison for few."""
    monkeypatch.setattr("retrieval.filter_plan.compute_exact_limit", lambda _: few)
    vector = list(corpus.vectors[0])
    explanation = retrieve(
        corpus.services, ALDER, QUESTION, where=where, vector=vector, explain=True
    ).explanation
    assert explanation
    [found] = [one for one in explanation.accesses if (one.leg, one.step) == ("dense", "find")]
    assert (found.method, found.index is not None and "embedding" in found.index) == (
        method,
        method == "HNSW",
    )
    [postings] = [one for one in explanation.accesses if (one.leg, one.step) == ("lexical", "find")]
    assert postings.index == "posting_pkey"
    assert explanation.passed
    passing = sum(holds(where, Row({}, {"order": order})) for order in corpus.order)
    assert explanation.passed.passages == passing


def test_a_filter_gives_no_access(sample_services: Services) -> None:
    """Documents of other tenants and groups stay hidden."""
    for where in (
        Exists("title"),
        Not(Equals("title", "")),
        Or((Exists("metadata.x"), Not(Exists("metadata.x")))),
    ):
        for groups in ((), ("finance",)):
            reader = Principal("alder", groups)
            question = "What is the purchase limit without a second signature?"
            every = retrieve(sample_services, reader, question, limit=100)
            narrowed = retrieve(sample_services, reader, question, limit=100, where=where)
            assert [hit.chunk_id for hit in narrowed.hits] == [hit.chunk_id for hit in every.hits]
    assert retrieve(sample_services, ALDER, "water", where=Prefix("uri", "")).hits
    theirs = retrieve(sample_services, Principal("brightwater"), "water", limit=1).hits[0]
    assert (
        retrieve(
            sample_services, ALDER, "water", where=Equals("document_id", str(theirs.document_id))
        ).hits
        == ()
    )
