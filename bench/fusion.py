"""Formulas to fuse BM25 and vectors, compared on the same candidates: the reasons for the ranking.

    python -m bench.fusion [DATA]

DATA holds scifact/ and squad/ (docs/reference/benchmarks.md); a run takes some minutes. The scores
come from the product's statement, retrieval/search.sql, with 100 candidates of each search; only
the formula differs. Each difference has a paired bootstrap interval over the queries. The weights
of the last row are cross-validated: they come from other articles (SQuAD) or claims (SciFact).
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from psycopg.rows import dict_row
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import build_parser
from bench.retrieval import Benchmark, bootstrap_interval, read_scifact, read_squad
from core.principal import Principal
from core.services import Services, open_services
from core.settings import load_settings
from core.text.terms import count_query_terms, extract_terms
from evaluation.corpus import corpus_tenant, ingest_corpus
from evaluation.metrics import mean, ndcg
from retrieval.search_plan import UNFILTERED_SETTINGS, read_corpus_stats
from retrieval.search_statement import (
    BM25_B,
    BM25_K1,
    WEIGHTS,
    SearchRequest,
    build_search_statement,
)

Array = NDArray[np.float64]

DEPTH = 100
FOLDS = 5
_, COVERAGE_WEIGHT, PASSAGE_WEIGHT, SENTENCE_WEIGHT = WEIGHTS["hybrid"]
DENSE_WEIGHT = PASSAGE_WEIGHT + SENTENCE_WEIGHT
SENTENCE_SHARE = SENTENCE_WEIGHT / DENSE_WEIGHT
CLASSIC = (1.2, 0.75)  # k1 and b as most libraries have them
BM25S = (CLASSIC, (BM25_K1, BM25_B), (0.6, 0.6))
GRID = [
    (weight, share) for weight in (0.3, 0.4, 0.5, 0.6, 0.7) for share in (0.0, 0.25, 0.5, 0.75, 1.0)
]


@dataclass(frozen=True, slots=True)
class Pool:
    """The candidates of one query: names and signals, each of shape (n,). A missing rank is inf.

    `most` is the sum of the question's idf, which BM25 can't exceed. `coverage` is the part of it
    that the best sentence covers together with the title, and `pairs` the part in neighbouring
    words of the question that are neighbours in the candidate.
    """

    names: list[str]
    lexical: Array
    passage: Array
    best: Array
    second: Array
    lexical_rank: Array
    dense_rank: Array
    coverage: Array
    pairs: Array
    most: float


Fusion = Callable[[Pool], Array]
"""Scores the candidates of a query."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A benchmark with the candidates of its queries, for each k1 and b."""

    benchmark: Benchmark
    groups: list[str]
    pools: Mapping[tuple[float, float], list[Pool]]

    def quality(self, fusion: Fusion, bm25: tuple[float, float]) -> Array:
        """Return nDCG@10 of every query."""
        return np.array(
            [
                ndcg(_ranking(pool, fusion(pool)), self.benchmark.qrels[query.query_id])
                for query, pool in zip(self.benchmark.queries, self.pools[bm25], strict=True)
            ]
        )


def main() -> None:
    """Search for all queries, fuse by each formula, and print the table."""
    data = build_parser("bench.fusion", __doc__).parse_args().data
    with open_services(load_settings()) as services:
        asked = [
            ask(services, benchmark)
            for benchmark in (read_scifact(data / "scifact"), read_squad(data / "squad"))
        ]
    report(asked)


def report(asked: Sequence[Asked]) -> None:
    """Print each formula with its difference from the default and the 95 % interval."""
    table = Table("fusion", box=None, pad_edge=False)
    for one in asked:
        table.add_column(f"{one.benchmark.name}", justify="right")
        table.add_column("against the default", justify="right")
    reference = [one.quality(product(), (BM25_K1, BM25_B)) for one in asked]
    for name, fusion, bm25 in ways():
        table.add_row(*_cells(name, [one.quality(fusion, bm25) for one in asked], reference))
    table.add_row(*_cells("weights by cross-validation", cross_validated(asked), reference))
    Console(highlight=False, width=140).print(table)


def ways() -> Iterator[tuple[str, Fusion, tuple[float, float]]]:
    """Yield the formulas to compare: a name, the fusion, and BM25's k1 and b."""
    ours = (BM25_K1, BM25_B)
    yield "default", product(), ours
    for weight in (0.0, 0.05, 0.15, 0.2):
        yield f"coverage by one sentence, {weight}", product(coverage=weight), ours
    yield "BM25 alone", lambda pool: pool.lexical, ours
    yield "BM25 alone, k1 1.2, b 0.75", lambda pool: pool.lexical, CLASSIC
    yield "passages alone", lambda pool: pool.passage, ours
    yield "best sentences alone", lambda pool: pool.best, ours
    yield "passages and sentences", lambda pool: dense(pool, SENTENCE_SHARE), ours
    yield "reciprocal ranks, BM25 and passages", reciprocal_ranks, ours
    yield "reciprocal ranks, BM25, passages, sentences", reciprocal_ranks_of_three, ours
    for share in (0.0, 0.7):
        yield f"min-max, sentences {share}", min_max(0.6, share), ours
    yield "min-max, sentences 0.7, k1 1.2, b 0.75", min_max(0.6, 0.7), CLASSIC
    yield "z-scores", z_scores(0.6), ours
    for weight in (0.3, 0.4, 0.45, 0.55, 0.6, 0.7):
        yield f"dense weight {weight}", product(weight), ours
    for share in (0.0, 0.25, 0.4, 0.6, 0.7, 1.0):
        yield f"sentence share {share}", product(share=share), ours
    yield "k1 1.2, b 0.75", product(), CLASSIC
    yield "k1 0.6, b 0.6", product(), (0.6, 0.6)
    yield "mean of the two best sentences", of_two_sentences, ours
    yield "surer of a question's cosines, heavier", by_confidence, ours
    whole = product()
    yield "and neighbouring words, 0.1", lambda pool: whole(pool) + 0.1 * pool.pairs, ours


def product(
    weight: float = DENSE_WEIGHT, share: float = SENTENCE_SHARE, coverage: float = COVERAGE_WEIGHT
) -> Fusion:
    """Return the product's formula: `weight` of meaning, `share` of that the best sentence's.

    The rest is words, `coverage` of it what one sentence covers.
    """
    return lambda pool: (
        weight * dense(pool, share)
        + (1 - weight - coverage) * pool.lexical / pool.most
        + coverage * pool.coverage
    )


def dense(pool: Pool, share: float) -> Array:
    """Return the weighted mean of the cosines of the passage and of its best sentence."""
    return (1 - share) * pool.passage + share * pool.best


def min_max(weight: float, share: float) -> Fusion:
    """Return a convex sum of scores that are scaled to 0..1 over the candidates."""
    return lambda pool: (
        weight * _stretched(dense(pool, share)) + (1 - weight) * _stretched(pool.lexical)
    )


def z_scores(weight: float) -> Fusion:
    """Return a convex sum of scores in standard deviations from the mean."""
    return lambda pool: (
        weight * _standardised(dense(pool, SENTENCE_SHARE))
        + (1 - weight) * _standardised(pool.lexical)
    )


def reciprocal_ranks(pool: Pool) -> Array:
    """Return reciprocal rank fusion: Cormack, Clarke and Büttcher (2009), k 60."""
    return 1 / (60 + pool.lexical_rank) + 1 / (60 + pool.dense_rank)


def reciprocal_ranks_of_three(pool: Pool) -> Array:
    """Return reciprocal rank fusion with the best sentences as a third ranking."""
    return reciprocal_ranks(pool) + 1 / (61 + np.argsort(np.argsort(-pool.best)))


def of_two_sentences(pool: Pool) -> Array:
    """Use the mean of the two best sentences in place of the best."""
    cosine = (1 - SENTENCE_SHARE) * pool.passage + SENTENCE_SHARE * (pool.best + pool.second) / 2
    return product()(replace(pool, passage=cosine, best=cosine))


def by_confidence(pool: Pool) -> Array:
    """Use a dense weight that rises with the best cosine of the question."""
    weight = min(max(0.5 + 0.4 * (float(pool.passage.max()) - 0.65), 0.25), 0.75)
    return product(weight)(pool)


def cross_validated(asked: Sequence[Asked]) -> list[Array]:
    """Return the default formula with weights fitted on the other folds of both benchmarks."""
    folds = [_folds(one.groups) for one in asked]
    quality = [
        np.array([one.quality(product(*weights), (BM25_K1, BM25_B)) for weights in GRID])
        for one in asked
    ]
    result = [np.zeros(len(one.groups)) for one in asked]
    for fold in range(FOLDS):
        others = sum(
            scores[:, places != fold].mean(axis=1)
            for scores, places in zip(quality, folds, strict=True)
        )
        best = int(np.argmax(others))
        for scores, places, into in zip(quality, folds, result, strict=True):
            into[places == fold] = scores[best, places == fold]
    return result


def ask(services: Services, benchmark: Benchmark) -> Asked:
    """Return every query's candidates from the database, for each k1 and b."""
    tenant = corpus_tenant(benchmark.passages)
    for _ in ingest_corpus(services, tenant, benchmark.passages):
        pass
    vectors = services.embedder().encode([query.text for query in benchmark.queries])
    shown = Console(stderr=True)
    pools = {
        bm25: [
            _pool(services, tenant, query.text, vector.tolist(), bm25)
            for query, vector in track(
                list(zip(benchmark.queries, vectors, strict=True)),
                f"{benchmark.name}, k1 {bm25[0]}",
                console=shown,
            )
        ]
        for bm25 in BM25S
    }
    groups = [
        next(iter(benchmark.qrels[query.query_id])).rpartition("#")[0]
        for query in benchmark.queries
    ]
    groups = [
        group or query.query_id for group, query in zip(groups, benchmark.queries, strict=True)
    ]
    return Asked(benchmark, groups, pools)


def _pool(
    services: Services,
    tenant: str,
    question: str,
    vector: Sequence[float],
    bm25: tuple[float, float],
) -> Pool:
    term_counts, (k1, b) = count_query_terms(question), bm25
    with services.database.reading(Principal(tenant), UNFILTERED_SETTINGS) as connection:
        stats = read_corpus_stats(connection, tenant)
        request = SearchRequest(question, limit=DEPTH, vector=vector)
        query, values = build_search_statement(tenant, stats, request)
        values |= {
            "bm25_base": k1 * (1 - b),
            "bm25_slope": k1 * b * stats.chunks / stats.terms,
            "max_postings": sys.maxsize,
            "limit": 2 * DEPTH,
        }
        with connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(query, values).fetchall()
    idf: dict[str, float] = rows[0]["idf"]
    cosines = [
        sorted(row["sentence_cosines"] or [row["dense_score"]], reverse=True) for row in rows
    ]
    following = [
        (one, other)
        for one, other in pairwise(extract_terms(question))
        if one in idf and other in idf
    ]
    return Pool(
        names=[row["path"] for row in rows],
        lexical=np.array([row["lexical_score"] for row in rows], dtype=float),
        passage=np.array([row["dense_score"] for row in rows], dtype=float),
        best=np.array([best[0] for best in cosines]),
        second=np.array([sum(best[:2]) / len(best[:2]) * 2 - best[0] for best in cosines]),
        lexical_rank=np.array([row["lexical_rank"] or np.inf for row in rows]),
        dense_rank=np.array([row["dense_rank"] or np.inf for row in rows]),
        coverage=np.array([_coverage(idf, row) for row in rows]),
        pairs=np.array([_pairs(idf, following, row) for row in rows]),
        most=sum(idf[term] * count for term, count in term_counts.items()) or 1.0,
    )


def _coverage(idf: Mapping[str, float], row: Mapping[str, object]) -> float:
    text, start, title = (
        str(row["text"]),
        int(str(row["start_char"])),
        _terms_of(str(row["context"])),
    )
    spans: Sequence[Sequence[int]] = row["sentence_spans"] or []  # type: ignore[assignment]
    held = [title | _terms_of(text[first - start : last - start]) for first, last in spans] or [
        title
    ]
    return max(sum(idf[term] for term in idf.keys() & found) for found in held) / (
        sum(idf.values()) or 1.0
    )


@lru_cache(maxsize=100_000)
def _terms_of(text: str) -> frozenset[str]:
    return frozenset(extract_terms(text))


@lru_cache(maxsize=10_000)
def _pairs_of(text: str) -> frozenset[tuple[str, str]]:
    return frozenset(pairwise(extract_terms(text)))


def _pairs(
    idf: Mapping[str, float], following: Sequence[tuple[str, str]], row: Mapping[str, object]
) -> float:
    there = _pairs_of(f"{row['context']}\n{row['text']}")
    return sum(min(idf[one], idf[other]) for one, other in there.intersection(following)) / (
        sum(idf.values()) or 1.0
    )


def _ranking(pool: Pool, scores: Array) -> list[str]:
    return [pool.names[place] for place in np.argsort(-scores, kind="stable")[:10]]


def _cells(name: str, qualities: Sequence[Array], reference: Sequence[Array]) -> Iterator[str]:
    yield name
    for quality, other in zip(qualities, reference, strict=True):
        low, high = bootstrap_interval((quality - other).tolist())
        yield f"{mean(quality.tolist()):.4f}"
        yield f"{(quality - other).mean():+.4f} ({low:+.4f} to {high:+.4f})"


def _folds(groups: Sequence[str]) -> NDArray[np.int64]:
    order = {group: place for place, group in enumerate(dict.fromkeys(groups))}
    return np.array([order[group] % FOLDS for group in groups])


def _stretched(scores: Array) -> Array:
    low, high = float(scores.min()), float(scores.max())
    return (scores - low) / ((high - low) or 1.0)


def _standardised(scores: Array) -> Array:
    return (scores - float(scores.mean())) / (float(scores.std()) or 1.0)


if __name__ == "__main__":
    main()
