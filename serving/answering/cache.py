"""Answers given before, given again: at once, at no cost, and only to who would be given the same.

An answer is found again under its tenant, groups, question, filter, legs of the search, writer and release, and while
nothing has changed in the documents that these groups may read: their epoch moves in the transaction of every change,
and takes the answers with it (core/db/migrations/0015_responses.sql). Refusals are kept like answers; what was
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
from retrieval.types import Mode
from serving.answering.types import Answer, Event, Said, Searched

QUERIES = load_queries(Path(__file__).with_name("cache.sql"))
ROOT = Path(__file__).parents[2]
MOST = 5_000  # answers kept for a tenant, some 4 KB each
CODE = ("core", "retrieval", "serving")  # what answers are made by
ELSEWHERE = {  # the settings that no answer depends on
    "home", "database_url", "admin_database_url", "tenant", "chunker", "sentence_vectors", "web_allowed_hosts", "host",
    "port", "identity", "jwt_key", "jwt_algorithm", "jwt_audience", "published_on_loopback", "cache_hours",
    "cache_likeness", "conversation_days",
}  # fmt: skip

ANSWER = TypeAdapter(Answer)


@runtime_checkable
class Repeatable(Protocol):
    """A generator whose answers may be kept. `fingerprint` stands for all that they depend on beside the evidence, the
    settings and the code: prompts, models, parameters.
    """

    name: str
    fingerprint: str


class Responses:
    """The answers that are kept, in the database, for every process that serves."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._release = release(services.settings)

    def look(
        self, principal: Principal, question: str, mode: Mode, where: Filter | None, generator: Repeatable
    ) -> "Entry":
        """The place for an answer, and the answer if there is one that holds."""
        groups = sorted(set(principal.groups))
        context, key = keys(principal, question, mode, where, generator, self._release)
        asked: dict[str, Any] = {
            "tenant": principal.tenant, "groups": groups, "context": context, "key": key,
            "hours": self._services.settings.cache_hours, "likeness": self._services.settings.cache_likeness,
        }  # fmt: skip
        with self._services.database.reading(Principal(principal.tenant, tuple(groups))) as connection:
            row = connection.execute(QUERIES["response"], asked).fetchone()
            assert row is not None
            asked |= {"epoch": row[0], "question": None}
            if row[1] is None and asked["likeness"] < 1:
                asked["question"] = self._vector(question)
                row = connection.execute(QUERIES["like_response"], asked).fetchone()
        found = row[-1] if row else None
        return Entry(self._services, asked, ANSWER.validate_json(found) if found else None)

    def _vector(self, question: str) -> HalfVector:
        return HalfVector(self._services.embedder().encode([question])[0].tolist())


@dataclass(frozen=True, slots=True)
class Entry:
    """The place of one question's answer; `answer` is what was kept there, if anything."""

    services: Services
    asked: dict[str, Any]
    answer: Answer | None

    def keep(self, answer: Answer) -> None:
        """Keep an answer for the next who asks; not one that is less than was asked for."""
        if answer.degraded is not None:
            return
        kept = ANSWER.dump_json(replace(answer, question="", milliseconds={})).decode()
        with self.services.database.writing(self.asked["tenant"]) as connection:
            connection.execute(QUERIES["keep_response"], {**self.asked, "answer": kept})
            connection.execute(QUERIES["evict_responses"], {**self.asked, "most": MOST})


def keys(
    principal: Principal, question: str, mode: Mode, where: Filter | None, generator: Repeatable, release: str
) -> tuple[str, str]:
    """What an answer is found by, without the question and with it. Only the space in a question does not count."""
    context = digest(
        principal.tenant, sorted(set(principal.groups)), mode, filter_json(where) if where else None,
        [generator.name, generator.fingerprint], release,
    )  # fmt: skip
    return context, digest(context, " ".join(unicodedata.normalize("NFC", question).split()))


def configured(services: Services) -> Responses | None:
    """The cache, unless the settings keep answers for no hour."""
    return Responses(services) if services.settings.cache_hours else None


def replayed(answer: Answer) -> Iterator[Event]:
    """The events of an answer that is already whole, as if it were on its way."""
    yield Searched(answer.documents, answer.passages)
    cited = {citation.number: citation for citation in answer.citations}
    for sentence in answer.sentences:
        yield Said(sentence, tuple(cited.pop(number) for number in sentence.citations if number in cited))
    yield answer


def clear(services: Services, tenant: str) -> int:
    """Forget a tenant's answers; returns how many there were."""
    with services.database.writing(tenant) as connection:
        return connection.execute(QUERIES["clear_responses"], {"tenant": tenant}).rowcount


def release(settings: Settings) -> str:
    """What stands for the code, the settings and the models that make answers: change one, and all starts anew."""
    models = Path(settings.models).read_text(encoding="utf-8") if settings.models else ""
    return digest(code(), settings.model_dump(mode="json", exclude=ELSEWHERE), models)


@cache
def code() -> str:
    """The SHA-256 of the code that makes answers, and of the coefficients and prompts beside it."""
    whole = hashlib.sha256()
    for folder in CODE:
        for file in sorted((ROOT / folder).rglob("*")):
            if file.is_file() and "__pycache__" not in file.parts:
                whole.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes() + b"\0")
    return whole.hexdigest()


def digest(*parts: Any) -> str:
    """The SHA-256 of some values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
