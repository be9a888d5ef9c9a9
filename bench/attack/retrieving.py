"""Attacks on the functions of the read path: every mode, filters that name foreign documents."""

import contextlib
import math
import random
import re
import sys
import uuid
from collections.abc import Iterator
from types import MappingProxyType

from llama_index.core.schema import QueryBundle
from llama_index.core.vector_stores.types import FilterOperator, MetadataFilter, MetadataFilters

from bench.attack.estate import make_canary
from bench.attack.target import (
    Observation,
    Target,
    choose_paper,
    filter_for_paper,
    hidden_canaries,
    question_about,
    random_asker,
)
from core.errors import GroundworkError
from core.principal import Principal
from core.text.terms import extract_terms
from integrations.llamaindex.vector_store import GroundworkRetriever, GroundworkVectorStore
from retrieval.filters import parse_filter
from retrieval.retriever import check_limit, retrieve
from retrieval.types import SearchMode, SearchResult
from serving.answering.pipeline import answer_question
from serving.api.stored_document import fetch_document

MODES: tuple[SearchMode, ...] = ("hybrid", "dense", "lexical")
LIMITS = (1, 3, 10, 10, 10, 100, 0, 101, -1)
TENANT_PREDICATE = re.compile(r"((?:\b\w+\.)?\btenant_id) = %\(tenant\)s")
INVERTED_PREDICATE = r"\1 <> %(tenant)s"


def attack_search(target: Target, chance: random.Random) -> Observation:
    """Search for words of others' documents, with the vector of a question about one."""
    estate, asker = target.estate, random_asker(target.estate, chance)
    paper = choose_paper(estate, asker, chance)
    words = [
        *chance.sample(paper.canaries, chance.randint(1, 2)),
        *chance.sample(estate.removed_marks, chance.randint(0, 1)),
    ]
    question = chance.choice(
        ["{}", "What is the code of the {} gate?", "gate codes {} porter Monday"]
    )
    question = question.format(" ".join(words))
    condition, is_narrow = filter_for_paper(paper, chance)
    sent = f"{question} {condition}"
    try:
        evidence = retrieve(
            target.services,
            asker,
            question,
            limit=check_limit(chance.choice(LIMITS)),
            mode=chance.choice(MODES),
            where=parse_filter(condition) if condition else None,
            vector=target.vectors[paper.document_id],
            explain=chance.random() < 0.1,
        )
    except GroundworkError as error:
        return Observation(asker, sent, str(error))
    violation = _check_numbers(target, asker, evidence, words)
    if is_narrow and estate.find_leaks(asker, "", str(condition)):
        violation = violation or _check_filter_effect(evidence)
    return Observation(asker, sent, repr(evidence), violation)


def _check_numbers(
    target: Target, asker: Principal, evidence: SearchResult, words: list[str]
) -> str:
    """Return the hidden data that counts or idf reveal, or an empty text."""
    if (evidence.searched.documents, evidence.searched.passages) != target.estate.count_readable(
        asker
    ):
        return (
            f"counts {evidence.searched.documents} documents, not "
            f"{target.estate.count_readable(asker)[0]}"
        )
    rarest = math.log(1 + (evidence.searched.passages + 0.5) / 0.5)
    for word in hidden_canaries(target.estate, asker, words):
        if not math.isclose(evidence.idf[extract_terms(word)[0]], rarest):
            return f"the idf of {word} shows that it occurs"
    return ""


def _check_filter_effect(evidence: SearchResult) -> str:
    """Return an error if a filter on hidden data let anything pass."""
    counted = evidence.explanation.passed if evidence.explanation else None
    if evidence.hits or (counted and (counted.documents or counted.passages)):
        return "a filter on hidden data let something pass"
    return ""


def attack_answer(target: Target, chance: random.Random) -> Observation:
    """Ask one question; observe the sentences and citations, or the closest passages."""
    asker = random_asker(target.estate, chance)
    paper = choose_paper(target.estate, asker, chance)
    condition, _ = filter_for_paper(paper, chance)
    question = question_about(paper)
    where = parse_filter(condition) if condition else None
    answer = answer_question(
        target.services, asker, question, mode=chance.choice(MODES), where=where
    )
    reveals = (answer.searched.documents, answer.searched.passages) != target.estate.count_readable(
        asker
    )
    return Observation(
        asker, f"{question} {condition}", repr(answer), "counts hidden documents" if reveals else ""
    )


def attack_document(target: Target, chance: random.Random) -> Observation:
    """Fetch one document by id: a foreign one, a deleted one, or one that never existed."""
    asker = random_asker(target.estate, chance)
    paper = choose_paper(target.estate, asker, chance)
    document_id = chance.choice(
        [paper.document_id] * 8 + [str(uuid.UUID(int=chance.getrandbits(128)))]
    )
    try:
        output = repr(fetch_document(target.services.database, asker, uuid.UUID(document_id)))
    except GroundworkError as error:
        output = str(error)
    violation = (
        ""
        if (paper.is_readable_by(asker) and document_id == paper.document_id)
        == output.startswith("Stored")
        else "wrongly found"
    )
    return Observation(asker, document_id, output, violation)


def attack_llamaindex(target: Target, chance: random.Random) -> Observation:
    """Call a LlamaIndex adapter: by question, by filter, by id; delete a foreign node."""
    asker = random_asker(target.estate, chance)
    paper = choose_paper(target.estate, asker, chance)
    store = GroundworkVectorStore(target.services, asker)
    operator = chance.choice([FilterOperator.EQ, FilterOperator.NE])
    filters = MetadataFilters(
        filters=[MetadataFilter(key="owner", value=paper.canaries[1], operator=operator)]
    )
    result: object = None
    match chance.randrange(4):
        case 0:
            bundle = QueryBundle(question_about(paper), embedding=target.vectors[paper.document_id])
            result = GroundworkRetriever(target.services, asker).retrieve(bundle)
        case 1:
            result = store.get_nodes(filters=filters)
        case 2:
            result = store.get_nodes(
                node_ids=[paper.document_id, f"groundwork:{paper.document_id}:0"]
            )
        case _:
            stranger = Principal(f"tenant-0-{make_canary(chance)}")
            GroundworkVectorStore(target.services, stranger).delete_nodes(
                [f"groundwork:{paper.document_id}:0"]
            )
    return Observation(
        asker, f"{question_about(paper)} {paper.canaries[1]} {paper.document_id}", repr(result)
    )


@contextlib.contextmanager
def without_tenant_predicate(replacement: str = "true") -> Iterator[None]:
    """Replace the tenant predicate of every statement in all modules with `QUERIES`."""
    users = {
        module: module.QUERIES
        for module in list(sys.modules.values())
        if isinstance(getattr(module, "QUERIES", None), MappingProxyType)
    }
    for module, queries in users.items():
        changed = {name: TENANT_PREDICATE.sub(replacement, text) for name, text in queries.items()}
        module.__dict__["QUERIES"] = MappingProxyType(changed)
    try:
        yield
    finally:
        for module, queries in users.items():
            module.__dict__["QUERIES"] = queries


def read_without_predicate(target: Target, chance: random.Random) -> Observation:
    """Run an attack inside `without_tenant_predicate`; only the text counts, not the numbers."""
    observation = chance.choice(
        [attack_search, attack_search, attack_search, attack_answer, attack_document]
    )(target, chance)
    return Observation(observation.asker, observation.sent, observation.received)
