"""Quality and time of retrieval compared with reference systems, in one run on one machine.

    make bench-retrieval     or: python -m bench.retrieval [DATA]     DATA holds scifact/ and squad/

The reference for BM25 is the library bm25s: with our terms, k1 and b, which must give our figure to
0.003, and with its own tokenizer, stemmer, stop words, k1 1.2 and b 0.75. With the dependency group
`bench`, which `make` installs, and the embedded server, LlamaIndex's PGVectorStore and
QueryFusionRetriever run too, on the same vectors. nDCG@10 has a 95 % interval, by resampling the
queries. Times are of the whole question, with its embedding.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import bm25s
import numpy as np
import Stemmer
from pgvector import HalfVector
from psycopg import sql
from rich.console import Console
from rich.table import Table

from bench import build_parser, llamaindex
from core.principal import Principal
from core.services import Services, open_services
from core.settings import load_settings
from core.text.terms import extract_terms
from evaluation.corpus import CorpusPassage, corpus_tenant, ingest_corpus, read_corpus
from evaluation.datasets import Qrels, Query, read_qrels, read_queries
from evaluation.metrics import mean, ndcg, percentile, recall, success_at_k
from retrieval.retriever import retrieve
from retrieval.search_plan import UNFILTERED_SETTINGS, read_corpus_stats
from retrieval.search_statement import BM25_B, BM25_K1, MIN_SEARCH_DEPTH, QUERIES
from retrieval.types import SearchMode

Search = Callable[[str], Sequence[str]]
"""Returns at most 100 passage ids for a question, best first."""


@dataclass(frozen=True, slots=True)
class Benchmark:
    """Passages, queries, and relevance judgements."""

    name: str
    passages: Sequence[CorpusPassage]
    queries: Sequence[Query]
    qrels: Qrels


def main() -> None:
    """Measure every system on every benchmark and print a table for each."""
    data = build_parser("bench.retrieval", __doc__).parse_args().data
    with open_services(load_settings()) as services:
        for benchmark in (read_scifact(data / "scifact"), read_squad(data / "squad")):
            _take_in(services, benchmark)
            systems: dict[str, Search] = {
                "bm25s": _reference(benchmark.passages),
                "bm25s, our terms": _reference_of_terms(benchmark.passages),
                **{f"groundwork, {mode}": _groundwork(services, benchmark, mode) for mode in MODES},
            }
            with _llamaindex(services, benchmark) as others:
                report(benchmark, {**systems, **others})
            report_time(services, benchmark)


MODES: tuple[SearchMode, ...] = ("lexical", "dense", "hybrid")


def read_scifact(folder: Path) -> Benchmark:
    """Return SciFact's claims and abstracts."""
    qrels = read_qrels(folder / "qrels.tsv")
    queries = [query for query in read_queries(folder / "queries.jsonl") if query.query_id in qrels]
    return Benchmark("SciFact", read_corpus(folder / "corpus.jsonl"), queries, qrels)


def read_squad(folder: Path) -> Benchmark:
    """Return SQuAD's answerable questions; the relevant passage is the question's own."""
    lines = (folder / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [row for row in map(json.loads, lines) if row["answerable"]]
    qrels = {row["id"]: {row["passage_id"]: 1} for row in rows}
    queries = [Query(row["id"], row["question"]) for row in rows]
    return Benchmark("SQuAD", read_corpus(folder / "corpus.jsonl"), queries, qrels)


def report(benchmark: Benchmark, systems: dict[str, Search]) -> None:
    """Run every query in every system and print quality and time."""
    table = Table(
        "system",
        "nDCG@10",
        "95 %",
        "recall@100",
        "hit@1",
        "hit@5",
        "p50 ms",
        "p95 ms",
        box=None,
        pad_edge=False,
    )
    table.title = (
        f"{benchmark.name}: {len(benchmark.passages)} passages, {len(benchmark.queries)} queries"
    )
    for name, search in systems.items():
        search("a first question, so that nothing is loaded while we measure")
        found, milliseconds = [], []
        for query in benchmark.queries:
            began = time.perf_counter()
            ranking = search(query.text)
            milliseconds.append((time.perf_counter() - began) * 1000)
            found.append((ranking, benchmark.qrels[query.query_id]))
        gains = [ndcg(ranking, relevant) for ranking, relevant in found]
        quality = [
            mean([recall(ranking, relevant) for ranking, relevant in found]),
            mean([success_at_k(ranking, relevant, 1) for ranking, relevant in found]),
            mean([success_at_k(ranking, relevant, 5) for ranking, relevant in found]),
        ]
        times = [percentile(milliseconds, 50), percentile(milliseconds, 95)]
        table.add_row(
            name,
            f"{mean(gains):.4f}",
            "{:.3f}-{:.3f}".format(*bootstrap_interval(gains)),
            *(f"{value:.4f}" for value in quality),
            *(f"{value:.1f}" for value in times),
        )
    Console(highlight=False, width=120).print(table)


def report_time(services: Services, benchmark: Benchmark) -> None:
    """Print the time of a search for ten hits in the database, and of the embedding."""
    principal = Principal(corpus_tenant(benchmark.passages))
    times = [
        retrieve(services, principal, query.text, limit=10).milliseconds
        for query in benchmark.queries
    ]
    parts = {
        part: [time[part] for time in times[10:]] for part in ("search", "embed")
    }  # the first ones warm up
    said = (
        f"{part} p50 {percentile(ms, 50):.1f}, p95 {percentile(ms, 95):.1f}"
        for part, ms in parts.items()
    )
    Console(highlight=False).print(f"Ten hits, hybrid, ms: {'; '.join(said)}")
    Console(highlight=False).print(
        "Recall@10 of the vector index against every vector:"
        f" {index_recall(services, benchmark):.4f}"
    )


def index_recall(services: Services, benchmark: Benchmark) -> float:
    """Return the fraction of the ten nearest passages that the vector index finds."""
    tenant = corpus_tenant(benchmark.passages)
    vectors = services.embedder().encode([query.text for query in benchmark.queries])
    shares = []
    with services.database.reading(Principal(tenant), UNFILTERED_SETTINGS) as connection:
        table = sql.Identifier(read_corpus_stats(connection, tenant).index.vector_table_name)
        by_index, exact = (
            sql.SQL(QUERIES[name]).format(vectors=table, chunk_condition=sql.SQL("true"))
            for name in ("nearest_index", "nearest_exact")
        )
        for vector in vectors:
            values = {
                "tenant": tenant,
                "vector": HalfVector(vector),
                "dense_depth": MIN_SEARCH_DEPTH,
            }
            near = [row[0] for row in connection.execute(by_index, values).fetchall()][:10]
            nearest = [row[0] for row in connection.execute(exact, values).fetchall()][:10]
            shares.append(len(set(near) & set(nearest)) / len(nearest))
    return mean(shares)


def bootstrap_interval(values: Sequence[float], resamples: int = 5_000) -> tuple[float, float]:
    """Return the 95 % interval of a mean, by Efron's percentile bootstrap (1979)."""
    drawn = (
        np.random.default_rng(0).choice(np.asarray(values), (resamples, len(values))).mean(axis=1)
    )
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def _take_in(services: Services, benchmark: Benchmark) -> None:
    for _ in ingest_corpus(services, corpus_tenant(benchmark.passages), benchmark.passages):
        pass


def _groundwork(services: Services, benchmark: Benchmark, mode: SearchMode) -> Search:
    principal = Principal(corpus_tenant(benchmark.passages))
    return lambda question: [
        hit.path for hit in retrieve(services, principal, question, limit=100, mode=mode).hits
    ]


def _llamaindex(
    services: Services, benchmark: Benchmark
) -> AbstractContextManager[dict[str, Search]]:
    if not llamaindex.is_available(services):
        Console(stderr=True).print(
            "LlamaIndex is left out: it needs the group bench and the embedded server."
        )
        return nullcontext({})
    return llamaindex.open_systems(services, corpus_tenant(benchmark.passages), benchmark.passages)


def _reference_of_terms(passages: Sequence[CorpusPassage]) -> Search:
    index = bm25s.BM25(k1=BM25_K1, b=BM25_B)
    index.index(
        [extract_terms(f"{passage.title}\n{passage.text}") for passage in passages],
        show_progress=False,
    )

    def search(question: str) -> Sequence[str]:
        places, scores = index.retrieve([extract_terms(question)], k=100, show_progress=False)
        return [
            passages[int(place)].passage_id
            for place, score in zip(places[0], scores[0], strict=True)
            if score > 0
        ]

    return search


def _reference(passages: Sequence[CorpusPassage]) -> Search:
    stemmer = Stemmer.Stemmer("english")
    texts = [f"{passage.title} {passage.text}" for passage in passages]
    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index(
        bm25s.tokenize(texts, stopwords="en", stemmer=stemmer, show_progress=False),
        show_progress=False,
    )

    def search(question: str) -> Sequence[str]:
        tokens = bm25s.tokenize([question], stopwords="en", stemmer=stemmer, show_progress=False)
        places, _ = index.retrieve(tokens, k=100, show_progress=False)
        return [passages[int(place)].passage_id for place in places[0]]

    return search


if __name__ == "__main__":
    main()
