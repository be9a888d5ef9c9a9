"""Answer cache. A cached answer is only served to callers with the same permissions.

The key holds the tenant, groups, question, search mode, filter, generator and release. An answer
expires when a document that these groups may read changes: the same transaction raises the epoch of
their reader set. Refusals are cached too, degraded answers are not.
"""

import hashlib
import json
import unicodedata
from collections.abc import Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pgvector import HalfVector
from pydantic import TypeAdapter

from core.code_hash import hash_source_files
from core.db.queries import load_queries
from core.principal import Principal
from core.services import Services
from core.settings import Settings
from retrieval.filters import Filter, filter_json
from retrieval.types import SearchMode
from serving.answering.generator.answer_generator import AnswerGenerator
from serving.answering.types import Answer, AnswerEvent, SearchCompleted, SentenceVerified

QUERIES = load_queries(Path(__file__).with_name("answer_cache.sql"))
MAX_ANSWERS_PER_TENANT = 5_000  # about 4 KB each
HASHED_FOLDERS = ("core", "retrieval", "serving")  # a change in their files empties the cache
IRRELEVANT_SETTINGS = set(  # a change of these does not change any answer
    "home database_url admin_database_url tenant chunker sentence_vectors web_allowed_hosts"
    " host port identity jwt_key jwt_algorithm jwt_audience published_on_loopback"
    " cache_hours cache_likeness conversation_days".split()
)
ANSWER_ADAPTER = TypeAdapter(Answer)


class AnswerCache:
    """Cached answers in the database, shared by all processes that serve."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._release_hash = compute_release_hash(services.settings)

    def find_entry(
        self,
        principal: Principal,
        question: str,
        mode: SearchMode,
        where: Filter | None,
        generator: AnswerGenerator,
    ) -> "CacheEntry | None":
        """Return the entry of a question; None if its answer must not be cached."""
        if generator.fingerprint is None:
            return None
        groups = sorted(set(principal.groups))
        context, key = compute_cache_keys(
            principal, question, mode, where, generator, self._release_hash
        )
        settings = self._services.settings
        values: dict[str, Any] = {
            "tenant": principal.tenant,
            "groups": groups,
            "context": context,
            "key": key,
            "question_vector": None,
            "max_age_hours": settings.cache_hours,
            "min_similarity": settings.cache_likeness,
        }
        reader = Principal(principal.tenant, tuple(groups))
        with self._services.database.reading(reader) as connection:
            row = connection.execute(QUERIES["find_answer"], values).fetchone()
            assert row is not None
            values["epoch"], stored = row
            if stored is None and settings.cache_likeness < 1:
                vector = self._services.embedder().encode([question])[0]
                values["question_vector"] = HalfVector(vector.tolist())
                row = connection.execute(QUERIES["find_similar_answer"], values).fetchone()
                stored = row[0] if row else None
        answer = ANSWER_ADAPTER.validate_json(stored) if stored else None
        return CacheEntry(self._services, values, answer)


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """The cache entry of one question; `answer` is None until one is stored."""

    services: Services
    query_values: dict[str, Any]
    answer: Answer | None

    def store_answer(self, answer: Answer) -> None:
        """Store an answer, unless it is degraded: the next attempt may succeed."""
        if answer.degraded is not None:
            return
        stored = ANSWER_ADAPTER.dump_json(replace(answer, question="", milliseconds={})).decode()
        values = self.query_values | {"answer": stored, "max_answers": MAX_ANSWERS_PER_TENANT}
        with self.services.database.writing(values["tenant"]) as connection:
            connection.execute(QUERIES["store_answer"], values)
            connection.execute(QUERIES["evict_answers"], values)


def compute_cache_keys(
    principal: Principal,
    question: str,
    mode: SearchMode,
    where: Filter | None,
    generator: AnswerGenerator,
    release_hash: str,
) -> tuple[str, str]:
    """Return the keys of an answer without and with its question.

    Whitespace in the question is ignored.
    """
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
    """Return the cache, or None if the settings switch it off."""
    return AnswerCache(services) if services.settings.cache_hours else None


def replay_events(answer: Answer) -> Generator[AnswerEvent]:
    """Yield the events of a complete answer as if it were being written."""
    yield SearchCompleted(answer.searched.documents, answer.searched.passages)
    new_citations = {citation.number: citation for citation in answer.citations}
    for sentence in answer.sentences:
        cited = [number for number in sentence.citations if number in new_citations]
        yield SentenceVerified(sentence, tuple(new_citations.pop(number) for number in cited))
    yield answer


def clear_cache(services: Services, tenant: str) -> int:
    """Delete a tenant's cached answers and return their number."""
    with services.database.writing(tenant) as connection:
        return connection.execute(QUERIES["clear_answers"], {"tenant": tenant}).rowcount


def compute_release_hash(settings: Settings) -> str:
    """Return a hash of code, settings and models file. A change empties the cache."""
    models = Path(settings.models).read_text(encoding="utf-8") if settings.models else ""
    relevant = settings.model_dump(mode="json", exclude=IRRELEVANT_SETTINGS)
    return hash_values(hash_source_files(HASHED_FOLDERS), relevant, models)


def hash_values(*values: Any) -> str:
    """Return the SHA-256 of values that JSON can hold."""
    text = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
