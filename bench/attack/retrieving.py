"""Attacks on the functions of the read path, called directly: every mode, filters that name others, all explained."""

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
    """One search: by what others' documents say, with the vector of the question about one."""
    estate, asker = target.estate, random_asker(target.estate, chance)
    aim = choose_paper(estate, asker, chance)
    asked = [
        *chance.sample(aim.canaries, chance.randint(1, 2)),
        *chance.sample(estate.removed_marks, chance.randint(0, 1)),
    ]
    question = chance.choice(
        ["{}", "What is the code of the {} gate?", "gate codes {} porter Monday"]
    )
    question = question.format(" ".join(asked))
    wanted, narrow = filter_for_paper(aim, chance)
    sent = f"{question} {wanted}"
    try:
        evidence = retrieve(
            target.services,
            asker,
            question,
            limit=check_limit(chance.choice(LIMITS)),
            mode=chance.choice(MODES),
            where=parse_filter(wanted) if wanted else None,
            vector=target.vectors[aim.document_id],
            explain=chance.random() < 0.1,
        )
    except GroundworkError as error:
        return Observation(asker, sent, str(error))
    wrong = _check_numbers(target, asker, evidence, asked)
    if narrow and estate.find_leaks(asker, "", str(wanted)):
        wrong = wrong or _check_filter_effect(evidence)
    return Observation(asker, sent, repr(evidence), wrong)


def _check_numbers(
    target: Target, asker: Principal, evidence: SearchResult, asked: list[str]
) -> str:
    """What a search told by its numbers: how much there is, and whether a word is anywhere."""
    if (evidence.searched.documents, evidence.searched.passages) != target.estate.count_readable(
        asker
    ):
        return f"counts {evidence.searched.documents} documents, not {target.estate.count_readable(asker)[0]}"
    rarest = math.log(1 + (evidence.searched.passages + 0.5) / 0.5)
    for word in hidden_canaries(target.estate, asker, asked):
        if not math.isclose(evidence.idf[extract_terms(word)[0]], rarest):
            return f"the idf of {word} tells that it is somewhere"
    return ""


def _check_filter_effect(evidence: SearchResult) -> str:
    """Whether a filter let something pass though it names only what the asker may not see."""
    counted = evidence.explanation.passed if evidence.explanation else None
    if evidence.hits or (counted and (counted.documents or counted.passages)):
        return "a filter on what is hidden let something pass"
    return ""


def attack_answer(target: Target, chance: random.Random) -> Observation:
    """One question: the answer's sentences and citations, or what came closest."""
    asker = random_asker(target.estate, chance)
    aim = choose_paper(target.estate, asker, chance)
    wanted, _ = filter_for_paper(aim, chance)
    question = question_about(aim)
    where = parse_filter(wanted) if wanted else None
    given = answer_question(
        target.services, asker, question, mode=chance.choice(MODES), where=where
    )
    told = (given.searched.documents, given.searched.passages) != target.estate.count_readable(
        asker
    )
    return Observation(
        asker, f"{question} {wanted}", repr(given), "counts what is hidden" if told else ""
    )


def attack_document(target: Target, chance: random.Random) -> Observation:
    """One document by its id: another's, a deleted one's, one that never was."""
    asker = random_asker(target.estate, chance)
    aim = choose_paper(target.estate, asker, chance)
    wanted = chance.choice([aim.document_id] * 8 + [str(uuid.UUID(int=chance.getrandbits(128)))])
    try:
        found = repr(fetch_document(target.services.database, asker, uuid.UUID(wanted)))
    except GroundworkError as error:
        found = str(error)
    wrong = (
        ""
        if (aim.is_readable_by(asker) and wanted == aim.document_id) == found.startswith("Stored")
        else "wrongly found"
    )
    return Observation(asker, wanted, found, wrong)


def attack_llamaindex(target: Target, chance: random.Random) -> Observation:
    """One call of the doors to LlamaIndex: by question, by filter, by id; a delete of what another has."""
    asker = random_asker(target.estate, chance)
    aim = choose_paper(target.estate, asker, chance)
    store = GroundworkVectorStore(target.services, asker)
    operator = chance.choice([FilterOperator.EQ, FilterOperator.NE])
    filters = MetadataFilters(
        filters=[MetadataFilter(key="owner", value=aim.canaries[1], operator=operator)]
    )
    got: object = None
    match chance.randrange(4):
        case 0:
            bundle = QueryBundle(question_about(aim), embedding=target.vectors[aim.document_id])
            got = GroundworkRetriever(target.services, asker).retrieve(bundle)
        case 1:
            got = store.get_nodes(filters=filters)
        case 2:
            got = store.get_nodes(node_ids=[aim.document_id, f"groundwork:{aim.document_id}:0"])
        case _:
            stranger = Principal(f"tenant-0-{make_canary(chance)}")
            GroundworkVectorStore(target.services, stranger).delete_nodes(
                [f"groundwork:{aim.document_id}:0"]
            )
    return Observation(
        asker, f"{question_about(aim)} {aim.canaries[1]} {aim.document_id}", repr(got)
    )


@contextlib.contextmanager
def without_tenant_predicate(replacement: str = "true") -> Iterator[None]:
    """Have every statement run with something else in place of its tenant predicate, by the code that runs it."""
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
    """One of the above, to be called within `stripped`; nothing but its text counts, since statements are broken."""
    seen = chance.choice(
        [attack_search, attack_search, attack_search, attack_answer, attack_document]
    )(target, chance)
    return Observation(seen.asker, seen.sent, seen.received)
