"""Time, size and recall of search at 5,000, 125,000 and 500,000 chunks, and with filters.

    make bench-growth
    python -m bench.growth [DATA] [--sizes 5000,125000,500000] [--json FILE]

Chunks are windows of three sentences, then of two, one sentence apart, over the real texts in DATA
(docs/reference/benchmarks.md). Their vectors are partly synthetic: 30,000 windows are embedded, and
every chunk gets the vector of one of them, moved towards another's, so that the noise has the shape
of the data; its sentences get the same vector. A superuser copies the rows, and the vector index is
built at the end, so "rows/s" is the database's limit; `make bench-ingest` measures real ingestion.
Questions are SQuAD's and SciFact's. Times are of the whole search for ten hits in the database,
with the round trips of the connection; the embedding is listed apart. Recall compares the vector
index with an exact search for the same questions; "first ten kept" compares the search with one
that reads all postings (MAX_POSTINGS_READ).

The database is in a temporary folder, needs about 15 kB a chunk, and is deleted at the end.
"""

import argparse
import json
import sys
import tarfile
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, LiteralString
from unittest.mock import patch

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector
from psycopg import sql
from psycopg.types.json import Jsonb
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import build_parser
from core.db.database import SCHEMA, Connection, Database
from core.db.index_version import live_index
from core.local_postgres import DATABASE_NAME, EmbeddedPostgres
from core.principal import Principal
from core.services import Services, start_embedded_postgres
from core.settings import load_settings
from core.text.sentences import split_sentences
from core.text.terms import extract_terms
from core.types import Span
from evaluation.metrics import percentile
from retrieval import search_statement
from retrieval.filters import Filter, Range
from retrieval.retriever import retrieve
from retrieval.types import SearchMode

Array = NDArray[np.float32]

WINDOWS = (3, 2)  # sentences in a chunk; those of two only when there are no more of three
SENTENCES = 3  # sentence vectors a chunk
EMBEDDED = 30_000  # windows with vectors of their own
LEANING = 0.7  # the most of a second vector that is added: the cosine stays above 0.85
QUESTIONS = 400
PARTS = 1_000  # a document's number modulo this is what filters go by
SELECTIVITIES = (0.5, 0.1, 0.01, 0.001)
SHARES = {
    "half": 0.5,
    "three hundredths": 0.03,
    "three thousandths": 0.003,
}  # of the rows, by tenant
COLUMNS = {
    "chunk": (
        "tenant_id, chunk_id, document_id, reader_set_id, ordinal, start_char, end_char, text,"
        " context, location,"
        " tokens, term_count, terms",
        "text int8 uuid int4 int4 int4 int4 text text jsonb int4 int4 text[]",
    ),
    "posting": (
        "tenant_id, term, chunk_id, reader_set_id, frequency, length",
        "text text int8 int4 float4 float4",
    ),
    "vectors": ("tenant_id, chunk_id, reader_set_id, embedding", "text int8 int4 halfvec"),
}
EMPTY: Sequence[LiteralString] = (
    "set session_replication_role = replica",  # no triggers: statistics are counted at the end
    "truncate document, chunk, posting, lexicon, reader_set, {vectors}, {sentences}",
    "drop index if exists {index}",
)
COPY_SENTENCES: LiteralString = """
insert into {sentences}
    (tenant_id, chunk_id, ordinal, reader_set_id, start_char, end_char, embedding, words)
select
    tenant_id, chunk_id, n, reader_set_id, 0, 1, embedding,
    array(
        select hashtext(t.term)
        from unnest(c.terms) with ordinality as t (term, place)
        where t.place % {window} = n - 1
    )
from {vectors}
join chunk c using (tenant_id, chunk_id, reader_set_id)
cross join generate_series(1, {window}) as n
"""
CREATE_INDEX: LiteralString = (
    "create index {index} on {vectors} using hnsw (embedding halfvec_cosine_ops)"
    " with (m = 24, ef_construction = 128)"
)
COUNT: Sequence[LiteralString] = (
    "insert into lexicon"
    " select tenant_id, term, reader_set_id, count(*) from posting group by 1, 2, 3",
    """
    insert into reader_set
        (tenant_id, reader_set_id, readers, document_count, chunk_count, term_count)
    overriding system value
    select tenant_id, reader_set_id, '{}', count(distinct document_id), count(*), sum(term_count)
    from chunk group by 1, 2
    """,
)
EXACT: LiteralString = """
select chunk_id
from (
    select v.chunk_id, v.embedding <=> %(vector)s as distance
    from {vectors} v
    join chunk c using (tenant_id, chunk_id)
    join document d using (tenant_id, document_id)
    where v.tenant_id = %(tenant)s and (d.metadata ->> 'part')::int < %(part)s
    offset 0
) p
order by distance
limit 10
"""
err = Console(stderr=True, highlight=False)


@dataclass(frozen=True, slots=True)
class Question:
    """A question with its vector."""

    text: str
    vector: list[float]


def main() -> None:
    """Measure one size after the other; then filters and tenants at the largest."""
    asked = _arguments()
    texts = list(islice(windows(asked.data), max(asked.sizes)))
    if len(texts) < max(asked.sizes):
        err.print(f"The texts give {len(texts):,} windows; the largest size is cut to that.")
    sizes = sorted({min(size, len(texts)) for size in asked.sizes})
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-")))
        folder.chmod(0o755)
        settings = load_settings().model_copy(update={"home": folder})
        embedded, _ = start_embedded_postgres(settings)
        stack.callback(embedded.stop)
        database = stack.enter_context(Database(embedded.conninfo("groundwork_app")).open())
        services = Services(settings, database, embedded)
        pool, questions = _embed(services, asked.data, texts)
        curve, narrow = [], []
        for size in sizes:
            curve.append(_measure(embedded, services, texts[:size], pool, questions))
        narrow = _narrowed(embedded, services, texts[: sizes[-1]], pool, questions)
    _print("Growth", curve)
    _print(f"Filters and tenants, {sizes[-1]:,} chunks", narrow)
    if asked.json:
        asked.json.write_text(json.dumps({"growth": curve, "narrowed": narrow}, indent=2))


def windows(data: Path) -> Iterator[str]:
    """Yield windows of a few sentences over every text in the data, one sentence apart."""
    for width in WINDOWS:
        for text in _texts(data):
            spans = split_sentences(text, Span(0, len(text)))
            for first in range(max(1, len(spans) - width + 1)):
                some = spans[first : first + width]
                if some and 60 <= some[-1].end - some[0].start <= 900:
                    yield text[some[0].start : some[-1].end]


def _texts(data: Path) -> Iterator[str]:
    for name in ("squad", "scifact"):
        with (data / name / "corpus.jsonl").open(encoding="utf-8") as lines:
            yield from (json.loads(line)["text"] for line in lines)
    for archive in (data / "handbook" / "handbook.tar.gz", data / "powershell-docs.tar.gz"):
        with tarfile.open(archive) as members:
            for member in members:
                file = members.extractfile(member) if member.name.endswith(".md") else None
                if file:
                    yield " ".join(file.read().decode("utf-8", "replace").replace("#", " ").split())


def _embed(services: Services, data: Path, texts: Sequence[str]) -> tuple[Array, list[Question]]:
    asked = [
        json.loads(line)["question"]
        for line in (data / "squad" / "questions.jsonl").open(encoding="utf-8")
    ]
    claims = [
        json.loads(line)["text"]
        for line in (data / "scifact" / "queries.jsonl").open(encoding="utf-8")
    ]
    half = QUESTIONS // 2
    some = asked[:: len(asked) // half][:half] + claims[:: len(claims) // half][:half]
    chosen = [texts[place] for place in np.random.default_rng(0).permutation(len(texts))[:EMBEDDED]]
    err.print(f"Embedding {len(chosen):,} windows and {len(some)} questions")
    vectors = services.embedder().encode(chosen)
    return vectors, [
        Question(text, vector)
        for text, vector in zip(some, services.embedder().encode(some).tolist(), strict=True)
    ]


# --- building


def build_corpus(
    connection: Connection,
    vectors: str,
    sentence_table: str,
    tenants: Sequence[tuple[str, Sequence[str]]],
    pool: Array,
) -> dict[str, float]:
    """Replace all rows by these tenants' texts; return rows a second for each kind of row."""
    names = {
        "vectors": sql.Identifier(vectors),
        "sentences": sql.Identifier(sentence_table),
        "index": sql.Identifier(f"{vectors}_embedding_idx"),
        "window": sql.Literal(SENTENCES),
    }
    for statement in EMPTY:
        connection.execute(sql.SQL(statement).format(**names))
    rates: dict[str, float] = {}
    first = 1
    for tenant, texts in tenants:
        counted = [
            Counter(extract_terms(text))
            for text in track(texts, f"{tenant}: terms", console=err, transient=True)
        ]
        _documents(connection, tenant, len(texts))
        made = {
            "chunk": _chunks(tenant, first, texts, counted),
            "posting": _postings(tenant, first, counted),
            "vectors": _vectors(tenant, first, len(texts), pool),
        }
        for kind, rows in made.items():
            rates[kind] = _copy(
                connection, vectors if kind == "vectors" else kind, *COLUMNS[kind], rows
            )
        first += len(texts)
    began = time.perf_counter()
    written = connection.execute(sql.SQL(COPY_SENTENCES).format(**names)).rowcount
    rates["sentence"] = written / (time.perf_counter() - began)
    began = time.perf_counter()
    connection.execute("set maintenance_work_mem = '2GB'")
    connection.execute(sql.SQL(CREATE_INDEX).format(**names))
    rates["vector index"] = (first - 1) / (time.perf_counter() - began)
    for statement in COUNT:
        connection.execute(statement)
    connection.execute("vacuum analyze")
    return rates


def _documents(connection: Connection, tenant: str, chunks: int) -> None:
    """Make documents of ten chunks; the number modulo a thousand is in the metadata."""
    rows = (
        (
            tenant,
            _document_id(tenant, number),
            1,
            f"file:///{number}",
            f"{number}.txt",
            str(number),
            "text/plain",
            1,
            "",
            "",
            "",
            Jsonb([]),
            Jsonb({"part": number % PARTS}),
            uuid.UUID(int=0),
        )
        for number in range(chunks // 10 + 1)
    )
    columns = (
        "tenant_id, document_id, reader_set_id, uri, path, title, media_type, version,"
        " content_hash, pipeline_hash,"
        " text, blocks, metadata, run_id"
    )
    types = "text uuid int4 text text text text int4 text text text jsonb jsonb uuid"
    _copy(connection, "document", columns, types, rows)


def _document_id(tenant: str, number: int) -> uuid.UUID:
    return uuid.uuid5(uuid.NAMESPACE_URL, f"{tenant}/{number}")


def _chunks(
    tenant: str, first: int, texts: Sequence[str], counted: Sequence[Counter[str]]
) -> Iterator[tuple[Any, ...]]:
    nowhere = Jsonb({})
    for place, (text, count) in enumerate(zip(texts, counted, strict=True)):
        document = _document_id(tenant, place // 10)
        yield (
            tenant,
            first + place,
            document,
            1,
            place % 10,
            0,
            len(text),
            text,
            "",
            nowhere,
            len(text) // 4,
            count.total(),
            list(count),
        )


def _postings(
    tenant: str, first: int, counted: Sequence[Counter[str]]
) -> Iterator[tuple[Any, ...]]:
    for place, count in enumerate(counted):
        length = float(count.total())
        for term, frequency in count.items():
            yield tenant, term, first + place, 1, float(frequency), length


def _vectors(tenant: str, first: int, chunks: int, pool: Array) -> Iterator[tuple[Any, ...]]:
    random = np.random.default_rng(first)
    for start in range(0, chunks, 10_000):
        size = min(10_000, chunks - start)
        one, other = pool[random.integers(0, len(pool), (2, size))]
        mixed = one + LEANING * random.random((size, 1), dtype=np.float32) * other
        mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
        for place, vector in enumerate(mixed):
            yield tenant, first + start + place, 1, HalfVector(vector)


def _copy(
    connection: Connection, table: str, columns: str, types: str, rows: Iterator[tuple[Any, ...]]
) -> float:
    """Copy rows into a table; return the rows a second."""
    began, count = time.perf_counter(), 0
    query = sql.SQL("copy {} ({}) from stdin (format binary)").format(
        sql.Identifier(table), sql.SQL(", ").join(map(sql.Identifier, columns.split(", ")))
    )
    with connection.cursor() as cursor, cursor.copy(query) as copy:
        copy.set_types(types.split())
        for row in rows:
            copy.write_row(row)
            count += 1
    return count / (time.perf_counter() - began)


# --- measuring


def _measure(
    embedded: EmbeddedPostgres,
    services: Services,
    texts: Sequence[str],
    pool: Array,
    questions: Sequence[Question],
) -> dict[str, Any]:
    with connect_as_superuser(embedded) as connection:
        index = live_index(connection)
        rates = build_corpus(
            connection,
            index.vector_table_name,
            index.sentence_table_name,
            [("growth", texts)],
            pool,
        )
        sizes = _sizes(connection, len(texts))
    principal = Principal("growth")
    times = {
        mode: _times(services, principal, questions, mode=mode)
        for mode in ("lexical", "dense", "hybrid")
    }
    row: dict[str, Any] = {
        "chunks": len(texts),
        "recall@10": _recall(services, principal, questions),
    }
    for mode, (p50, p95) in times.items():
        row |= {f"{mode} p50 ms": p50, f"{mode} p95 ms": p95}
    row |= {
        f"{mode}: first ten kept": _kept(services, principal, questions, mode)
        for mode in ("lexical", "hybrid")
    }
    row["embed ms"] = percentile(
        [retrieve(services, principal, q.text).milliseconds["embed"] for q in questions[:50]], 50
    )
    return row | {f"{kind} rows/s": round(rate) for kind, rate in rates.items()} | sizes


def _narrowed(
    embedded: EmbeddedPostgres,
    services: Services,
    texts: Sequence[str],
    pool: Array,
    questions: Sequence[Question],
) -> list[dict[str, Any]]:
    rows = []
    for share in SELECTIVITIES:
        where = Range("metadata.part", lt=share * PARTS)
        rows.append(
            _narrow(services, f"filter, {share:.1%}", Principal("growth"), questions, where)
        )
    with connect_as_superuser(embedded) as connection:
        index = live_index(connection)
        tenants, start = [], 0
        for name, share in SHARES.items():
            tenants.append((name, texts[start : start + round(share * len(texts))]))
            start += round(share * len(texts))
        build_corpus(
            connection,
            index.vector_table_name,
            index.sentence_table_name,
            [*tenants, ("the rest", texts[start:])],
            pool,
        )
    rows += [
        _narrow(services, f"tenant, {share:.1%}", Principal(name), questions)
        for name, share in SHARES.items()
    ]
    return rows


def _narrow(
    services: Services,
    what: str,
    principal: Principal,
    questions: Sequence[Question],
    where: Filter | None = None,
) -> dict[str, Any]:
    p50, p95 = _times(services, principal, questions, where=where)
    hits = [
        retrieve(services, principal, q.text, vector=q.vector, where=where).hits
        for q in questions[:100]
    ]
    return {
        "narrowed by": what,
        "fewest hits of 10": min(map(len, hits)),
        "recall@10": _recall(services, principal, questions, where),
        "hybrid p50 ms": p50,
        "hybrid p95 ms": p95,
    }


def _times(
    services: Services, principal: Principal, questions: Sequence[Question], **how: Any
) -> tuple[float, float]:
    """Return p50 and p95 in milliseconds of a search for ten hits, after a warm-up round."""
    for question in questions[::4]:
        retrieve(services, principal, question.text, vector=question.vector, **how)
    times = []
    for question in questions:
        spent = retrieve(
            services, principal, question.text, vector=question.vector, **how
        ).milliseconds
        times.append(spent["search"] + spent.get("filter", 0.0))
    return percentile(times, 50), percentile(times, 95)


def _recall(
    services: Services,
    principal: Principal,
    questions: Sequence[Question],
    where: Filter | None = None,
) -> float:
    """Return the fraction of the ten nearest chunks that the dense search finds."""
    found = 0
    some = questions[:100]
    for question in some:
        hits = retrieve(
            services,
            principal,
            question.text,
            vector=question.vector,
            mode="dense",
            where=where,
            limit=50,
        ).hits
        mine = sorted(hits, key=lambda hit: -(hit.dense.score or 0.0))[:10]
        found += len({hit.chunk_id for hit in mine} & _exact(services, principal, question, where))
    return found / (10 * len(some))


def _kept(
    services: Services, principal: Principal, questions: Sequence[Question], mode: SearchMode
) -> float:
    """Return the fraction of the first ten hits that stay when all postings are read."""

    def first_ten() -> list[set[int]]:
        found = (
            retrieve(services, principal, q.text, vector=q.vector, mode=mode)
            for q in questions[::2]
        )
        return [{hit.chunk_id for hit in evidence.hits} for evidence in found]

    some = first_ten()
    with patch.object(search_statement, "MAX_POSTINGS_READ", sys.maxsize):
        whole = first_ten()
    return sum(len(one & other) for one, other in zip(some, whole, strict=True)) / max(
        1, sum(map(len, whole))
    )


def _exact(
    services: Services, principal: Principal, question: Question, where: Filter | None
) -> set[int]:
    """Return the ten nearest chunks, by comparing every vector."""
    with services.database.reading(principal) as connection:
        part = where.lt if isinstance(where, Range) else PARTS
        query = sql.SQL(EXACT).format(
            vectors=sql.Identifier(live_index(connection).vector_table_name)
        )
        values = {"vector": HalfVector(question.vector), "tenant": principal.tenant, "part": part}
        rows = connection.execute(query, values).fetchall()
    return {row[0] for row in rows}


def _sizes(connection: Connection, chunks: int) -> dict[str, int]:
    """Return bytes a chunk by purpose, with indexes and toasted values."""
    rows = connection.execute(
        "select c.relname, pg_total_relation_size(c.oid) from pg_class c"
        " where c.relnamespace = 'groundwork'::regnamespace and c.relkind = 'r'"
    ).fetchall()
    kinds = {"chunk": "text", "document": "text", "posting": "postings", "lexicon": "postings"}
    total: Counter[str] = Counter()
    for name, size in rows:
        kind = (
            "vectors"
            if name.startswith("vector_")
            else "sentences"
            if name.startswith("sentence_")
            else kinds.get(name)
        )
        if kind:
            total[f"{kind} B/chunk"] += size
    return {kind: round(size / chunks) for kind, size in total.items()}


def connect_as_superuser(embedded: EmbeddedPostgres, name: str = DATABASE_NAME) -> Connection:
    """Open a superuser's connection, to build a corpus and to measure tables."""
    connection = psycopg.connect(
        embedded.conninfo(dbname=name), autocommit=True, options=f"-c search_path={SCHEMA},public"
    )
    register_vector(connection)
    return connection


def _print(title: str, rows: Sequence[dict[str, Any]]) -> None:
    """Print a line for each figure and a column for each row."""
    table = Table(title=title, box=None, pad_edge=False)
    heads = list(rows[0])
    table.add_column(heads[0])
    for row in rows:
        table.add_column(
            f"{row[heads[0]]:,}" if isinstance(row[heads[0]], int) else row[heads[0]],
            justify="right",
        )
    for head in heads[1:]:
        table.add_row(
            head,
            *(
                f"{row[head]:,}" if isinstance(row[head], int) else f"{row[head]:.2f}"
                for row in rows
            ),
        )
    Console(highlight=False, width=120).print(table)


def _arguments() -> argparse.Namespace:
    arguments = build_parser("bench.growth", __doc__)
    arguments.add_argument(
        "--sizes",
        type=lambda text: [int(size) for size in text.split(",")],
        default=[5_000, 125_000, 500_000],
        help="chunks, separated by commas",
    )
    arguments.add_argument("--json", type=Path, help="also write the figures to this file")
    return arguments.parse_args()


if __name__ == "__main__":
    main()
