"""Ranking: textbook BM25, the model's vectors, and a fusion that beats both."""

import math
from collections import Counter
from pathlib import Path

import bm25s
import numpy as np
import pytest

from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from core.text.terms import extract_terms
from evaluation.corpus import CorpusPassage, corpus_tenant, ingest_corpus, read_corpus
from evaluation.datasets import read_questions
from evaluation.metrics import mean, ndcg
from retrieval.retriever import retrieve
from retrieval.search_statement import BM25_B, BM25_K1
from retrieval.types import DocumentCounts
from tests.support.services import connect_superuser

ALDER = Principal("alder")
Benchmark = tuple[list[CorpusPassage], dict[str, str], dict[str, dict[str, int]]]
PASSAGES = 250


@pytest.fixture(scope="module")
def bench(data: Path) -> Benchmark:
    """Store the first passages of SQuAD, and return their questions."""
    passages = read_corpus(data / "squad" / "corpus.jsonl")[:PASSAGES]
    here = {passage.passage_id for passage in passages}
    rows = [
        question
        for question in read_questions(data / "squad" / "questions.jsonl")
        if question.answerable
    ]
    rows = [question for question in rows if question.passage_id in here]
    queries = {str(number): question.question for number, question in enumerate(rows)}
    return (
        passages,
        queries,
        {str(number): {question.passage_id: 1} for number, question in enumerate(rows)},
    )


def test_bm25_is_exact(sample_services: Services, server: EmbeddedPostgres) -> None:
    """Every score equals the formula in Python over all public chunks of the tenant."""
    with connect_superuser(server, sample_services) as connection:
        rows = connection.execute(
            "select c.chunk_id, c.context || E'\\n' || c.text from chunk c join reader_set r"
            " using (tenant_id, reader_set_id) where c.tenant_id = 'alder' and r.readers = '{}'"
        ).fetchall()
    counts = {int(str(chunk_id)): Counter(extract_terms(str(text))) for chunk_id, text in rows}
    lengths = {chunk_id: count.total() for chunk_id, count in counts.items()}
    average = sum(lengths.values()) / len(lengths)
    question = "What does ERR-4711 mean on the Heron 210?"
    idf = {}
    for term in set(extract_terms(question)):
        holding = sum(term in count for count in counts.values())
        idf[term] = math.log(1 + (len(counts) - holding + 0.5) / (holding + 0.5))
    evidence = retrieve(sample_services, ALDER, question, limit=20, mode="lexical")
    assert evidence.idf == pytest.approx(idf)
    assert len(evidence.hits) == 20
    for hit in evidence.hits:
        frequency = counts[hit.chunk_id]
        norm = BM25_K1 * (1 - BM25_B + BM25_B * lengths[hit.chunk_id] / average)
        expected = sum(
            weight * frequency[term] / (frequency[term] + norm)
            for term, weight in idf.items()
            if frequency[term]
        )
        assert hit.lexical.score == pytest.approx(expected, rel=1e-5)
    scores = [hit.lexical.score or 0.0 for hit in evidence.hits]
    assert scores == sorted(scores, reverse=True)


def test_each_retriever_matches_its_reference_and_hybrid_beats_both(
    services: Services, bench: Benchmark
) -> None:
    """On real questions: BM25 like bm25s, vectors like NumPy, and the fusion above both."""
    passages, queries, qrels = bench
    tenant = corpus_tenant(passages)
    assert sum(ingest_corpus(services, tenant, passages)) == len(passages)
    ours: dict[str, float] = {}
    rankings: dict[str, dict[str, list[str]]] = {}
    vectors = dict(
        zip(queries, services.embedder().encode(list(queries.values())).tolist(), strict=True)
    )
    for mode in ("lexical", "dense", "hybrid"):
        rankings[mode] = {
            query_id: [
                hit.path
                for hit in retrieve(
                    services, Principal(tenant), text, limit=50, mode=mode, vector=vectors[query_id]
                ).hits  # type: ignore[arg-type]
            ]
            for query_id, text in queries.items()
        }
        ours[mode] = mean(
            [ndcg(ranking, qrels[query_id]) for query_id, ranking in rankings[mode].items()]
        )

    index = bm25s.BM25(k1=BM25_K1, b=BM25_B)
    index.index([extract_terms(f"{p.title}\n{p.text}") for p in passages], show_progress=False)
    reference = {}
    for query_id, text in queries.items():
        places, _ = index.retrieve([extract_terms(text)], k=50, show_progress=False)
        reference[query_id] = [passages[int(place)].passage_id for place in places[0]]
    theirs = mean([ndcg(ranking, qrels[query_id]) for query_id, ranking in reference.items()])
    assert ours["lexical"] == pytest.approx(theirs, abs=0.003)

    assert ours["hybrid"] > max(ours["lexical"], ours["dense"]) + 0.01


def test_the_score_follows_the_documented_formula(sample_services: Services) -> None:
    """The weights are those of docs/decisions/0004-ranking.md."""
    evidence = retrieve(sample_services, ALDER, "What does ERR-4711 mean on the Heron 210?")
    most = sum(evidence.idf.values())
    for hit in evidence.hits:
        best = max(sentence.cosine or -1.0 for sentence in hit.sentences)
        assert hit.sentence.score == pytest.approx(best)
        meaning, bm25 = (hit.dense.score or 0.0) / 4 + best / 4, (hit.lexical.score or 0.0) / most
        coverage = max(
            sum(
                idf
                for term, idf in evidence.idf.items()
                if term in extract_terms(f"{hit.context} {hit.quote(sentence.span)}")
            )
            for sentence in hit.sentences
        )
        assert hit.coverage == pytest.approx(coverage / most)
        assert hit.score == pytest.approx(0.4 * bm25 + 0.1 * hit.coverage + meaning)


def test_a_score_does_not_depend_on_the_limit(sample_services: Services) -> None:
    """Scores are not scaled to the candidates."""
    question = "how long is the warranty of a sonde"
    few = retrieve(sample_services, ALDER, question, limit=5).hits
    many = {
        hit.chunk_id: hit.score
        for hit in retrieve(sample_services, ALDER, question, limit=100).hits
    }
    assert all(many[hit.chunk_id] == pytest.approx(hit.score) for hit in few)


def test_the_dense_search_finds_the_nearest_by_cosine(
    sample_services: Services, server: EmbeddedPostgres
) -> None:
    """Compared with an exact search in NumPy over the stored vectors."""
    question = "Who approves travel to a customer's site?"
    vector = sample_services.embedder().encode([question])[0]
    with connect_superuser(server, sample_services) as connection:
        rows = connection.execute(
            "select v.chunk_id, v.embedding::text"
            " from vector_1 v join reader_set r using (tenant_id, reader_set_id)"
            " where v.tenant_id = 'alder' and r.readers = '{}'"
        ).fetchall()
    ids = [int(str(chunk_id)) for chunk_id, _ in rows]
    matrix = np.array([np.fromstring(str(text)[1:-1], sep=",") for _, text in rows])
    cosines = matrix @ vector / (np.linalg.norm(matrix, axis=1) * np.linalg.norm(vector))
    expected = [ids[place] for place in np.argsort(-cosines)[:10]]
    hits = retrieve(sample_services, ALDER, question, limit=10, mode="dense").hits
    assert [hit.chunk_id for hit in hits] == expected
    assert [hit.dense.rank for hit in hits] == list(range(1, 11))


@pytest.mark.parametrize("question", ["ERR-4711", "err-4711", "the code ERR-4711?", "4711"])
def test_an_identifier_is_found_whole_and_by_part(sample_services: Services, question: str) -> None:
    """The first hits are about the code, in any spelling."""
    hits = retrieve(sample_services, ALDER, question, limit=3, mode="lexical").hits
    assert all("ERR-4711" in f"{hit.context} {hit.text}" for hit in hits)


def test_a_mode_uses_only_its_retriever(sample_services: Services) -> None:
    """Lexical needs no vector; dense ranks by no terms; hybrid gives every hit all scores."""
    question = "how long is the warranty of a sonde"
    lexical = retrieve(sample_services, ALDER, question, mode="lexical").hits
    assert lexical
    assert all(hit.dense.rank is None and hit.dense.score is None for hit in lexical)
    dense = retrieve(sample_services, ALDER, question, mode="dense").hits
    assert dense
    assert all(hit.lexical.rank is None for hit in dense)
    for hit in retrieve(sample_services, ALDER, question).hits:
        assert hit.dense.score is not None
        assert hit.lexical.score is not None
        assert hit.sentence.score is not None
        assert 0 <= hit.score <= 1


def test_unknown_words_are_not_an_error(sample_services: Services) -> None:
    """Mode lexical finds nothing; hybrid still returns the nearest passages."""
    nothing = retrieve(sample_services, ALDER, "xylophonquartz", mode="lexical")
    assert nothing.hits == ()
    assert nothing.idf == {
        "xylophonquartz": pytest.approx(math.log(1 + (nothing.searched.passages + 0.5) / 0.5))
    }
    assert retrieve(sample_services, ALDER, "xylophonquartz").hits


def test_an_empty_tenant_is_not_an_error(sample_services: Services) -> None:
    """The search finds nothing."""
    evidence = retrieve(sample_services, Principal("nobody"), "anything at all")
    assert (evidence.hits, evidence.searched) == ((), DocumentCounts(0, 0))


def test_a_question_cannot_smuggle_sql_or_wildcards(sample_services: Services) -> None:
    """SQL in a question counts as words."""
    for question in ("'; drop table chunk; --", "a' OR '1'='1", "%' _ \\ $1 %(tenant)s {vectors}"):
        retrieve(sample_services, ALDER, question)
    assert retrieve(sample_services, ALDER, "annual leave").hits
