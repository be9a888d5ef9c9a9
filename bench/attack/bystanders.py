"""Attacks through side effects: changes of hidden documents must not change what a caller sees."""

import json
import random
from typing import Any

import numpy as np

from bench.attack.estate import Paper, make_canary, make_gate_document
from bench.attack.target import Observation, Target, question_about, random_asker
from core.principal import Principal
from core.types import Block, Chunk, Document, Location, Span
from ingest.runs.pipeline_version import compute_pipeline_hash
from ingest.runs.repair import repair_tenant
from ingest.store import documents
from retrieval.retriever import retrieve
from serving.api.schemas import SearchOut

ADDED_DOCUMENTS = 5  # for the others
STATISTICS_QUERIES = (
    "select document_count, chunk_count, term_count, epoch from reader_set order by 1, 2, 3, 4",
    "select term, sum(chunk_count) from lexicon group by term order by term",
    "select count(*) from posting",
)


def observe_unrelated_changes(target: Target, chance: random.Random) -> Observation:
    """Search before, during and after others hold documents on the subject of the question."""
    asker = random_asker(target.estate, chance)
    papers = chance.sample(target.estate.papers, 3)
    before = _read_observable_state(target, asker, papers)
    tenant, readers = _choose_others(target, asker, chance)
    uris = [f"attack:{make_canary(chance)}" for _ in range(ADDED_DOCUMENTS)]
    _add_documents(
        target,
        tenant,
        readers,
        {uri: f"{question_about(papers[0])} {make_gate_document(chance)}" for uri in uris},
    )
    during = _read_observable_state(target, asker, papers)
    _delete_documents(target, tenant, uris)
    after = _read_observable_state(target, asker, papers)
    violation = (
        "" if before == during == after else f"it depends on documents of {tenant} for {readers}"
    )
    questions = " ".join(" ".join(paper.canaries) for paper in papers)
    return Observation(asker, questions, before + during + after, violation)


def _choose_others(
    target: Target, asker: Principal, chance: random.Random
) -> tuple[str, tuple[str, ...]]:
    """Return another tenant, or a group of the caller's tenant without the caller."""
    closed_groups = (
        [group for group in target.estate.groups(asker.tenant) if group not in asker.groups]
        if (asker.tenant in target.estate.tenants)
        else []
    )
    if closed_groups and chance.random() < 0.5:
        return asker.tenant, (chance.choice(closed_groups),)
    return chance.choice([tenant for tenant in target.estate.tenants if tenant != asker.tenant]), ()


def _read_observable_state(target: Target, asker: Principal, papers: list[Paper]) -> str:
    """Return explained search results without times, and the readable statistics."""
    state: list[Any] = []
    for paper in papers:
        for question in (question_about(paper), " ".join(paper.canaries)):
            vector = target.vectors[paper.document_id]
            evidence = retrieve(target.services, asker, question, vector=vector, explain=True)
            shown = SearchOut.model_validate(evidence).model_dump(
                mode="json", exclude={"milliseconds": True, "question": True}
            )
            shown["explanation"].pop("milliseconds")
            state.append(shown)
    with target.services.database.reading(asker) as connection:
        state += [connection.execute(statement).fetchall() for statement in STATISTICS_QUERIES]
    return json.dumps(state, default=str)


def _add_documents(
    target: Target, tenant: str, readers: tuple[str, ...], texts: dict[str, str]
) -> None:
    services, vector = target.services, next(iter(target.vectors.values()))
    vectors = np.array([vector], dtype=np.float32)
    items = []
    for uri, text in texts.items():
        whole = Span(0, len(text))
        document = Document(
            uri, uri, "Gate codes", "text/plain", text, (Block("paragraph", whole),), uri, readers
        )
        chunk = Chunk(0, whole, text, "Gate codes", Location(), (whole,), 50)
        items.append(documents.EmbeddedDocument(document, [chunk], vectors, vectors))
    recipe = compute_pipeline_hash(services)
    with services.database.writing(tenant) as connection:
        run_id = documents.compute_document_id(tenant, "attack")
        documents.store_documents(connection, tenant, run_id, items, recipe)


def _delete_documents(target: Target, tenant: str, uris: list[str]) -> None:
    with target.services.database.writing(tenant) as connection:
        documents.delete_documents(
            connection, tenant, uris, documents.compute_document_id(tenant, "attack")
        )
        connection.execute("delete from tombstone where uri = any (%s)", [uris])
    repair_tenant(target.services, tenant)  # removes the others' canaries from the lexicon
