"""Shared parts of all attacks: the target, random callers, observations and their verdict."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI

from bench.attack.estate import GROUPS, OPERATOR, Estate, Paper, make_canary
from core.db.database import Connection
from core.embedding import Embedder, Vectors
from core.principal import Principal
from core.services import Services
from core.types import EmbeddingModel


@dataclass(frozen=True, slots=True)
class Target:
    """Filled estate and its interfaces. `admin` opens a connection that sees everything."""

    estate: Estate
    services: Services
    admin: Callable[[], Connection]
    api: FastAPI
    port: int
    vectors: Mapping[str, list[float]]  # of a question about each document, by its id


@dataclass(frozen=True, slots=True)
class Observation:
    """Request and reply of a caller (None: anonymous); `violation` names a further fault."""

    asker: Principal | None
    sent: str
    received: str
    violation: str = ""
    operator: bool = False


Attack = Callable[[Target, random.Random], Observation]


@dataclass(slots=True)
class AttackCount:
    """Counts of one kind of attack. `own` counts replies with data of the caller."""

    requests: int = 0
    own: int = 0
    leaks: int = 0
    examples: list[str] = field(default_factory=list)

    def add(self, estate: Estate, observation: Observation) -> None:
        """Count a request, and judge its reply."""
        leaked = estate.find_leaks(
            observation.asker, observation.sent, observation.received, operator=observation.operator
        )
        self.requests += 1
        self.own += estate.shows_own_data(observation.asker, observation.sent, observation.received)
        if leaked or observation.violation:
            self.leaks += 1
            self.examples.append(
                f"{observation.asker} sent {observation.sent[:300]!r}: "
                f"{observation.violation or leaked}; got {observation.received[:600]!r}"
            )


class CachingEmbedder:
    """The real model, which computes the vector of a single text once."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._vectors: dict[str, Any] = {}
        self.max_input_tokens = embedder.max_input_tokens

    @property
    def model(self) -> EmbeddingModel:
        """See `Embedder`."""
        return self._embedder.model

    def token_starts(self, text: str) -> Sequence[int]:
        """See `Embedder`."""
        return self._embedder.token_starts(text)

    def encode(
        self, texts: Sequence[str], on_progress: Callable[[float], None] = lambda share: None
    ) -> Vectors:
        """See `Embedder`."""
        import numpy as np

        if missing := [text for text in dict.fromkeys(texts) if text not in self._vectors]:
            vectors = self._embedder.encode(missing, on_progress)
            if len(texts) > 1:
                return vectors if len(missing) == len(texts) else self._embedder.encode(texts)
            self._vectors[missing[0]] = vectors[0]
        return np.stack([self._vectors[text] for text in texts])

    def encode_ahead(self, texts: Sequence[str]) -> Vectors:
        """Compute and keep the vectors of texts."""
        vectors = self._embedder.encode(texts)
        self._vectors |= dict(zip(texts, vectors, strict=True))
        return vectors


def question_about(paper: Paper) -> str:
    """Return a question about a gate by an attacker who knows the gate but not its code."""
    return f"What is the code of the {paper.canaries[4]} gate?"


def random_asker(estate: Estate, chance: random.Random) -> Principal:
    """Return a caller: mostly of a tenant with some groups, sometimes with misleading names."""
    tenant = chance.choice(estate.tenants)
    own = chance.sample(estate.groups(tenant), chance.randint(0, 4))
    if chance.random() < 0.2:
        own.append(chance.choice(false_groups(estate, tenant, chance)))
    if chance.random() < 0.1:
        tenant = chance.choice(false_tenants(tenant, chance))
    estate.record_owners(
        " ".join(own), (tenant, OPERATOR)
    )  # an operator may see the claimed groups
    return Principal(tenant, tuple(own))


def false_groups(estate: Estate, tenant: str, chance: random.Random) -> tuple[str, ...]:
    """Return group names unknown in the tenant: foreign ones, patterns, lists and quotes."""
    other = chance.choice([name for name in estate.tenants if name != tenant])
    group = chance.choice(GROUPS)
    return (
        estate.own_groups[other],
        f"{group.upper()}x",
        f"{group} ",
        f"{{{group}}}",
        "finance,legal",
        "%",
        "*",
        "{}",
        "NULL",
        f"{group}' or '1'='1",
        f'"{group}"',
        "postgres",
        "groundwork_writer",
        f"{group}\u200b".replace("\u200b", "."),
    )


def false_tenants(tenant: str, chance: random.Random) -> tuple[str, ...]:
    """Return names that resemble a tenant's name but belong to none."""
    return (
        tenant.upper(),
        f"{tenant} ",
        f" {tenant}",
        f"{tenant}' or true --",
        f"{tenant}%",
        "%",
        "*",
        tenant[:-1],
        f"tenant-0-{make_canary(chance)}",
        "postgres",
        "default",
        "{" + tenant + "}",
        f"{tenant},{tenant}",
        "NULL",
    )


def choose_paper(estate: Estate, asker: Principal, chance: random.Random) -> Paper:
    """Return a document to ask for, usually hidden, often of the caller's own tenant."""
    if chance.random() < 0.4:
        near = [paper for paper in estate.papers if paper.tenant == asker.tenant]
        if near:
            return chance.choice(near)
    return chance.choice(estate.papers)


def hidden_canaries(estate: Estate, asker: Principal, words: Sequence[str]) -> list[str]:
    """Return the canaries among `words` that no readable document contains."""
    return [word for word in words if word in estate.owners and estate.find_leaks(asker, "", word)]


def filter_for_paper(paper: Paper, chance: random.Random) -> tuple[dict[str, Any] | None, bool]:
    """Return a filter as JSON that names a document, and whether only that document can pass it."""
    title, owner, tag = paper.canaries[:3]
    narrow: list[dict[str, Any]] = [
        {"field": "document_id", "equals": paper.document_id},
        {"field": "document_id", "in": [paper.document_id, "00000000-0000-0000-0000-000000000000"]},
        {"field": "path", "equals": paper.path},
        {"field": "path", "contains": paper.canaries[-1]},
        {"field": "uri", "equals": paper.uri},
        {"field": "title", "contains": title.upper(), "ignore_case": True},
        {"field": "metadata.owner", "equals": owner},
        {"field": "metadata.tags", "holds_any": [tag]},
        {"field": "metadata.owner", "gte": owner, "lte": owner},
        {"not": {"not": {"field": "metadata.owner", "prefix": owner}}},
    ]
    wide: list[dict[str, Any]] = [
        {"field": "path", "prefix": ""},
        {"field": "uri", "contains": "file:"},
        {"field": "uri", "prefix": paper.uri.rsplit("/", 2)[0]},
        {"field": "metadata.year", "gte": 1000},
        {"field": "metadata.owner", "exists": True},
        {"field": "ingested_at", "gt": "2000-01-01"},
        {"or": [{"field": "metadata.owner", "exists": False}, {"field": "version", "gte": 0}]},
        {"not": {"field": "path", "equals": f"x' or '1'='1' -- {paper.path}"}},
        {
            "or": [
                {"field": "document_id", "equals": paper.document_id},
                {"field": "version", "gte": 1},
            ]
        },
    ]
    kind = chance.random()
    if kind < 0.4:
        return None, False
    # Titles and metadata may occur in documents of two tenants; paths, ids and URIs may not.
    return (chance.choice(narrow), True) if kind < 0.75 else (chance.choice(wide), False)
