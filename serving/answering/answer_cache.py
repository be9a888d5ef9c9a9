"""Answers given before, given again: at once, at no cost, and only to who would be given the same.

An answer is found again under its tenant, groups, question, filter, legs of the search, writer and release, and while
nothing has changed in the documents that these groups may read: their epoch moves in the transaction of every change,
and takes the answers with it (core/db/schema/08_responses.sql). Refusals are kept like answers; what was
degraded is not, since the next try may do better.
"""

import hashlib
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from pgvector import HalfVector
from pydantic import TypeAdapter

from core.db.queries import load_queries
from core.principal import Principal
from core.services import Services
from core.settings import Settings
from retrieval.filters import Filter, filter_json
from retrieval.types import SearchMode
from serving.answering.types import Answer, AnswerEvent, SearchCompleted, SentenceVerified

QUERIES = load_queries(Path(__file__).with_name("answer_cache.sql"))
REPOSITORY_ROOT = Path(__file__).parents[2]
MAX_ANSWERS_PER_TENANT = 5_000  # answers kept for a tenant, some 4 KB each
HASHED_FOLDERS = ("core", "retrieval", "serving")  # what answers are made by
IRRELEVANT_SETTINGS = {  # the settings that no answer depends on
    "home",
    "database_url",
    "admin_database_url",
    "tenant",
    "chunker",
    "sentence_vectors",
    "web_allowed_hosts",
    "host",
    "port",
    "identity",
    "jwt_key",
    "jwt_algorithm",
    "jwt_audience",
    "published_on_loopback",
    "cache_hours",
    "cache_likeness",
    "conversation_days",
}

ANSWER_ADAPTER = TypeAdapter(Answer)


@runtime_checkable
class CacheableGenerator(Protocol):
    """A generator whose answers may be kept. `fingerprint` stands for all that they depend on beside the evidence, the
    settings and the code: prompts, models, parameters.
    """

    name: str
    fingerprint: str


class AnswerCache:
    """The answers that are kept, in the database, for every process that serves."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._release_hash = compute_release_hash(services.settings)

    def find_entry(
        self,
        principal: Principal,
        question: str,
        mode: SearchMode,
        where: Filter | None,
        generator: CacheableGenerator,
    ) -> "CacheEntry":
        """The place for an answer, and the answer if there is one that holds."""
        groups = sorted(set(principal.groups))
        context, key = compute_cache_keys(
            principal, question, mode, where, generator, self._release_hash
        )
        asked: dict[str, Any] = {
            "tenant": principal.tenant,
            "groups": groups,
            "context": context,
            "key": key,
            "hours": self._services.settings.cache_hours,
            "likeness": self._services.settings.cache_likeness,
        }
        with self._services.database.reading(
            Principal(principal.tenant, tuple(groups))
        ) as connection:
            row = connection.execute(QUERIES["response"], asked).fetchone()
            assert row is not None
            asked |= {"epoch": row[0], "question": None}
            if row[1] is None and asked["likeness"] < 1:
                asked["question"] = self._embed_question(question)
                row = connection.execute(QUERIES["like_response"], asked).fetchone()
        found = row[-1] if row else None
        return CacheEntry(
            self._services, asked, ANSWER_ADAPTER.validate_json(found) if found else None
        )

    def _embed_question(self, question: str) -> HalfVector:
        return HalfVector(self._services.embedder().encode([question])[0].tolist())


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The place of one question's answer; `answer` is what was kept there, if anything."""

    services: Services
    query_values: dict[str, Any]
    answer: Answer | None

    def store_answer(self, answer: Answer) -> None:
        """Keep an answer for the next who asks; not one that is less than was asked for."""
        if answer.degraded is not None:
            return
        kept = ANSWER_ADAPTER.dump_json(replace(answer, question="", milliseconds={})).decode()
        with self.services.database.writing(self.query_values["tenant"]) as connection:
            connection.execute(QUERIES["keep_response"], {**self.query_values, "answer": kept})
            connection.execute(
                QUERIES["evict_responses"], {**self.query_values, "most": MAX_ANSWERS_PER_TENANT}
            )


def compute_cache_keys(
    principal: Principal,
    question: str,
    mode: SearchMode,
    where: Filter | None,
    generator: CacheableGenerator,
    release_hash: str,
) -> tuple[str, str]:
    """What an answer is found by, without the question and with it. Only the space in a question does not count."""
    context = hash_values(
        principal.tenant,
        sorted(set(principal.groups)),
        mode,
        filter_json(where) if where else None,
        [generator.name, generator.fingerprint],
        release_hash,
    )
    return context, hash_values(context, " ".join(unicodedata.normalize("NFC", question).split()))


def create_answer_cache(services: Services) -> AnswerCache | None:
    """The cache, unless the settings keep answers for no hour."""
    return AnswerCache(services) if services.settings.cache_hours else None


def replay_events(answer: Answer) -> Iterator[AnswerEvent]:
    """The events of an answer that is already whole, as if it were on its way."""
    yield SearchCompleted(answer.documents, answer.passages)
    cited = {citation.number: citation for citation in answer.citations}
    for sentence in answer.sentences:
        yield SentenceVerified(
            sentence, tuple(cited.pop(number) for number in sentence.citations if number in cited)
        )
    yield answer


def clear_cache(services: Services, tenant: str) -> int:
    """Forget a tenant's answers; returns how many there were."""
    with services.database.writing(tenant) as connection:
        return connection.execute(QUERIES["clear_responses"], {"tenant": tenant}).rowcount


def compute_release_hash(settings: Settings) -> str:
    """What stands for the code, the settings and the models that make answers: change one, and all starts anew."""
    models = Path(settings.models).read_text(encoding="utf-8") if settings.models else ""
    return hash_values(
        hash_code(), settings.model_dump(mode="json", exclude=IRRELEVANT_SETTINGS), models
    )


@cache
def hash_code() -> str:
    """The SHA-256 of the code that makes answers, and of the coefficients and prompts beside it."""
    whole = hashlib.sha256()
    for folder in HASHED_FOLDERS:
        for file in sorted((REPOSITORY_ROOT / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                whole.update(
                    str(file.relative_to(REPOSITORY_ROOT)).encode()
                    + b"\0"
                    + file.read_bytes()
                    + b"\0"
                )
    return whole.hexdigest()


def hash_values(*parts: Any) -> str:
    """The SHA-256 of some values."""
    return hashlib.sha256(
        json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()
    ).hexdigest()
