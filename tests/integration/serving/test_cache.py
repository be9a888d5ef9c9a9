"""Answer cache: equal answers, only for callers with the same permissions, never after a change."""

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from ingest import pipeline
from retrieval.filters import Filter, parse_filter
from retrieval.types import SearchResult
from serving.answering import answer_cache
from serving.answering.answer_cache import AnswerCache, compute_cache_keys
from serving.answering.extractive import ExtractiveGenerator
from serving.answering.generator.answer_generator import AnswerGenerator
from serving.answering.pipeline import extract_answer, stream_answer
from serving.answering.types import Answer, DraftSentence
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from serving.gateway.types import NoModelAvailable
from tests.support.services import connect_superuser, shared_parser_pool

CODE = "What is the code of the main gate?"
BUDGET = "How large is the budget for the new pier?"
NOWHERE = "Who won the football world cup in 1998?"
GATE = "# Gate\n\nThe code of the main gate is 4711. The porter changes it every Monday.\n"
PIER = "# Pier\n\nThe budget for the new pier is 250,000 euros. The board decided it in March.\n"
STAFF, FINANCE = Principal("harbour", ("staff",)), Principal("harbour", ("staff", "finance"))


@dataclass(frozen=True, slots=True)
class HarbourTenant:
    """A tenant with two documents: one for everyone, one for finance."""

    services: Services
    responses: AnswerCache
    folder: Path

    def ask(self, principal: Principal, question: str = CODE, **more: Any) -> Answer:
        options = {"answer_cache": self.responses} | more
        return extract_answer(stream_answer(self.services, principal, question, **options))

    def write(self, name: str, text: str, *readers: str) -> None:
        """Write a document into the folder for these readers and ingest the folder."""
        part = self.folder / ("-".join(readers) or "all")
        part.mkdir(exist_ok=True)
        (part / name).write_text(text)
        self.take_in(*readers)

    def delete(self, name: str, *readers: str) -> None:
        (self.folder / ("-".join(readers) or "all") / name).unlink()
        self.take_in(*readers)

    def take_in(self, *readers: str) -> None:
        part = self.folder / ("-".join(readers) or "all")
        pipeline.ingest_sources(
            self.services,
            "harbour",
            [pipeline.build_source_spec(str(part), readers)],
            shared_parser_pool(),
        )


@pytest.fixture
def harbour(services: Services, tmp_path: Path) -> HarbourTenant:
    made = HarbourTenant(services, AnswerCache(services), tmp_path)
    made.write("gate.md", GATE)
    made.write("beacon.md", "# Beacon\n\nThe beacon is lit at dusk.\n")
    made.write("pier.md", PIER, "finance")
    made.write("dues.md", "# Dues\n\nHarbour dues are raised in May.\n", "finance")
    return made


def rows(server: EmbeddedPostgres, services: Services) -> list[Any]:
    with connect_superuser(server, services) as connection:
        found: list[Any] = connection.execute("select * from response").fetchall()
    return found


def test_a_cached_answer_equals_the_first(harbour: HarbourTenant) -> None:
    """Event by event, refusals included. It is marked as cached."""
    for question, status in ((CODE, "answered"), (NOWHERE, "refused")):
        first = list(
            stream_answer(harbour.services, STAFF, question, answer_cache=harbour.responses)
        )
        spaced = question.replace(" ", "   ")
        again = list(stream_answer(harbour.services, STAFF, spaced, answer_cache=harbour.responses))
        assert again[:-1] == first[:-1]
        fresh, kept = first[-1], again[-1]
        assert isinstance(fresh, Answer)
        assert isinstance(kept, Answer)
        assert (fresh.status, fresh.cached, kept.cached) == (status, False, True)
        assert set(kept.milliseconds) == {"total"}
        assert kept == replace(fresh, question=spaced, milliseconds=kept.milliseconds, cached=True)


def test_each_set_of_groups_has_its_own_answers(harbour: HarbourTenant) -> None:
    """The order of groups makes no difference."""
    assert "250,000" in harbour.ask(FINANCE, BUDGET).text
    assert harbour.ask(Principal("harbour", ("finance", "staff", "finance")), BUDGET).cached
    for other in (STAFF, Principal("harbour"), Principal("harbour", ("finances",))):
        refused = harbour.ask(other, BUDGET)
        assert (refused.status, refused.cached) == ("refused", False)
        assert "250,000" not in repr(refused)
    assert not harbour.ask(Principal("another", FINANCE.groups), BUDGET).cached
    assert harbour.ask(FINANCE, BUDGET).cached


def test_a_deleted_document_leaves_answers_and_cache_at_once(
    server: EmbeddedPostgres, harbour: HarbourTenant
) -> None:
    assert "4711" in harbour.ask(STAFF).text
    assert harbour.ask(STAFF).cached
    harbour.delete("gate.md")
    assert rows(server, harbour.services) == []
    after = harbour.ask(STAFF)
    assert not after.cached
    assert "4711" not in repr(after)


def test_a_replaced_document_gets_new_answers(harbour: HarbourTenant) -> None:
    assert "4711" in harbour.ask(STAFF).text
    harbour.write("gate.md", GATE.replace("4711", "8832"))
    after = harbour.ask(STAFF)
    assert not after.cached
    assert "8832" in after.text
    assert "8832" in harbour.ask(STAFF).text


def test_a_change_of_readers_applies_at_once(harbour: HarbourTenant) -> None:
    """Also for callers with a cached answer from the document."""
    assert "4711" in harbour.ask(STAFF).text
    assert harbour.ask(FINANCE, BUDGET).status == "answered"
    (harbour.folder / "all" / "readers.yaml").write_text(
        'rules: [{pattern: "gate.md", readers: [guards]}]'
    )
    harbour.take_in()
    after = harbour.ask(STAFF)
    assert (after.status, after.cached) == ("refused", False)
    assert "4711" not in repr(after)
    guard = Principal("harbour", ("guards",))
    assert "4711" in harbour.ask(guard).text
    (harbour.folder / "all" / "readers.yaml").write_text("rules: []")
    harbour.take_in()
    assert "4711" in harbour.ask(STAFF).text


def test_a_change_to_an_unreadable_document_keeps_cached_answers(harbour: HarbourTenant) -> None:
    """Otherwise a cache miss would reveal the change."""
    harbour.ask(STAFF)
    harbour.ask(FINANCE)
    harbour.write("pier.md", PIER.replace("250", "300"), "finance")
    assert harbour.ask(STAFF).cached
    assert not harbour.ask(FINANCE).cached


def test_filter_legs_generator_prompt_settings_and_code_are_part_of_the_key(
    harbour: HarbourTenant,
) -> None:
    where = parse_filter({"field": "path", "prefix": "g"})
    services = harbour.services
    reranked = Services(
        services.settings.model_copy(update={"near_duplicates": "keep"}), services.database
    )
    ways: list[dict[str, Any]] = [
        {},
        {"where": where},
        {"mode": "dense"},
        {"generator": GeneratorWithKey("one")},
        {"generator": GeneratorWithKey("two")},
        {"answer_cache": AnswerCache(reranked)},
    ]
    assert [harbour.ask(STAFF, **way).cached for way in ways] == [False] * len(ways)
    assert [harbour.ask(STAFF, **way).cached for way in ways] == [True] * len(ways)
    assert not harbour.ask(STAFF, CODE.replace("code", "colour")).cached


class GeneratorWithKey(AnswerGenerator):
    """A generator that names the things its answers depend on."""

    name = "prompted"

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    @property
    def fingerprint(self) -> str:
        return self._fingerprint

    def generate(self, evidence: SearchResult) -> Generator[DraftSentence]:
        yield from ExtractiveGenerator().generate(evidence)


class GeneratorWithoutKey(AnswerGenerator):
    """A generator that does not name them."""

    name = "nameless"

    def generate(self, evidence: SearchResult) -> Generator[DraftSentence]:
        yield from ExtractiveGenerator().generate(evidence)


class FailingGenerator(GeneratorWithKey):
    """A generator whose model is not available."""

    def generate(self, evidence: SearchResult) -> Generator[DraftSentence]:
        raise NoModelAvailable("No model answers.")
        yield


class OvertakenGenerator(GeneratorWithKey):
    """A generator during whose work the document changes."""

    def __init__(self, change: Callable[[], None]) -> None:
        super().__init__("")
        self._change = change

    def generate(self, evidence: SearchResult) -> Generator[DraftSentence]:
        self._change()
        yield from ExtractiveGenerator().generate(evidence)


def test_degraded_unkeyed_and_outdated_answers_are_not_cached(
    server: EmbeddedPostgres, harbour: HarbourTenant
) -> None:
    overtaken = OvertakenGenerator(lambda: harbour.write("gate.md", GATE.replace("4711", "8832")))
    for generator in (FailingGenerator("x"), GeneratorWithoutKey(), overtaken):
        first = harbour.ask(STAFF, generator=generator)
        assert first.status == "answered"
        assert not harbour.ask(STAFF, generator=generator).cached
        assert bool(first.degraded) == isinstance(generator, FailingGenerator)
    overtaken._change = lambda: None
    assert "8832" in harbour.ask(STAFF, generator=overtaken).text
    assert len(rows(server, harbour.services)) == 1


def test_an_incomplete_answer_is_not_cached(
    server: EmbeddedPostgres, harbour: HarbourTenant
) -> None:
    events = stream_answer(harbour.services, STAFF, CODE, answer_cache=harbour.responses)
    next(events)
    next(events)
    events.close()
    assert rows(server, harbour.services) == []


def test_answers_expire_and_the_oldest_are_evicted(
    server: EmbeddedPostgres, harbour: HarbourTenant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An operator can delete all answers of a tenant."""
    harbour.ask(STAFF)
    with connect_superuser(server, harbour.services) as connection:
        connection.execute("update response set created_at = created_at - interval '1 day'")
    assert not harbour.ask(STAFF).cached
    monkeypatch.setattr(answer_cache, "MAX_ANSWERS_PER_TENANT", 2)
    for question in ("Who changes the code?", "When is the beacon lit?", "What is lit?"):
        harbour.ask(STAFF, question)
    assert not harbour.ask(STAFF).cached
    assert len(rows(server, harbour.services)) == 2
    assert harbour.ask(STAFF).cached
    assert answer_cache.clear_cache(harbour.services, "another") == 0
    assert answer_cache.clear_cache(harbour.services, "harbour") == 2
    assert not harbour.ask(STAFF).cached


def test_a_similar_question_reuses_an_answer_only_if_enabled(harbour: HarbourTenant) -> None:
    """Off by default. Only within the same groups and above the configured similarity."""
    like, unlike = "what is the code for the main gate", "When is the beacon lit?"
    harbour.ask(STAFF)
    assert not harbour.ask(STAFF, like).cached
    answer_cache.clear_cache(harbour.services, "harbour")
    settings = harbour.services.settings.model_copy(update={"cache_likeness": 0.9})
    services = replace(harbour.services, settings=settings)
    liberal = AnswerCache(services)
    harbour.ask(STAFF, answer_cache=liberal)
    kept = harbour.ask(STAFF, like, answer_cache=liberal)
    assert (kept.cached, kept.question) == (True, like)
    assert "4711" in kept.text
    assert not harbour.ask(STAFF, unlike, answer_cache=liberal).cached
    assert not harbour.ask(FINANCE, like, answer_cache=liberal).cached
    harbour.write("gate.md", GATE.replace("4711", "8832"))
    assert not harbour.ask(STAFF, like, answer_cache=liberal).cached


def test_row_level_security_limits_answers_to_the_same_groups_and_tenant(
    server: EmbeddedPostgres, harbour: HarbourTenant
) -> None:
    """A statement without a condition is limited too. The question is not stored."""
    harbour.ask(FINANCE, BUDGET)
    (row,) = rows(server, harbour.services)
    assert "large" not in repr(row)
    for other in (STAFF, Principal("harbour"), Principal("another", ("finance", "staff"))):
        with harbour.services.database.reading(other) as connection:
            assert connection.execute("select count(*) from response").fetchone() == (0,)
    same = Principal("harbour", ("finance", "staff"))
    with harbour.services.database.reading(same) as connection:
        assert connection.execute("select count(*) from response").fetchone() == (1,)
    with harbour.services.database.writing("another") as connection:
        assert connection.execute("delete from response").rowcount == 0
    for attack in ("update response set groups = '{}'", "insert into response default values"):
        refused = (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege)
        with pytest.raises(refused), harbour.services.database.reading(same) as connection:
            connection.execute(attack)


def test_over_http_a_hit_is_marked_and_the_cache_can_be_disabled(harbour: HarbourTenant) -> None:
    """Zero hours disable it."""
    body, headers = {"question": CODE}, {"X-Groundwork-Groups": "staff"}

    def marks(services: Services) -> list[bool]:
        client = TestClient(build_api(services, LocalIdentity(("harbour",))))
        return [
            client.post("/v1/ask", json=body, headers=headers).json()["cached"] for _ in range(2)
        ]

    assert marks(harbour.services) == [False, True]
    off = harbour.services.settings.model_copy(update={"cache_hours": 0})
    assert marks(replace(harbour.services, settings=off)) == [False, False]


WORDS = st.text("ab Ä,\"]'", min_size=1, max_size=4).filter(str.strip)
FILTERS = st.one_of(
    st.none(),
    WORDS.map(lambda word: parse_filter({"field": "path", "prefix": word})),
    WORDS.map(lambda word: parse_filter({"field": "path", "equals": word})),
    st.dates(date(2020, 1, 1), date(2021, 1, 1)).map(
        lambda day: parse_filter({"field": "metadata.day", "gte": {"date": day.isoformat()}})
    ),
)
ASKED = st.tuples(
    WORDS,
    st.frozensets(WORDS, max_size=3),
    WORDS,
    st.sampled_from(["hybrid", "dense"]),
    FILTERS,
    WORDS,
    WORDS,
)


@given(one=ASKED, other=ASKED)
def test_only_equal_requests_share_a_key(one: Any, other: Any) -> None:
    """For any names, groups, filters and questions."""

    def key(
        tenant: str,
        groups: frozenset[str],
        question: str,
        mode: Any,
        where: Filter | None,
        fingerprint: str,
        of: str,
    ) -> str:
        return compute_cache_keys(
            Principal(tenant, tuple(groups)),
            question,
            mode,
            where,
            GeneratorWithKey(fingerprint),
            of,
        )[1]

    def told(asked: Any) -> Any:
        return (*asked[:2], " ".join(asked[2].split()), *asked[3:])

    assert (key(*one) == key(*other)) == (told(one) == told(other))
