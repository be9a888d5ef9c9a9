"""Tenants and groups, attacked: by guessing, broken queries, leftovers on a connection, a careless operator."""

import json
import random
import re
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from fastapi.testclient import TestClient
from psycopg import sql

import core.db.database
from bench.attack.retrieving import TENANT_PREDICATE, without_tenant_predicate
from core.db.database import Database
from core.db.index_version import create_index_version
from core.embedding import Embedder
from core.errors import NotFound, Unavailable, UnsafeDatabase
from core.local_postgres import EmbeddedPostgres
from core.principal import Principal
from core.services import Services
from core.text.terms import extract_terms
from core.types import EmbeddingModel
from ingest import pipeline
from retrieval.retriever import retrieve
from serving.answering.answer_cache import AnswerCache
from serving.answering.conversation.history import ConversationHistory
from serving.answering.pipeline import answer_question, extract_answer, stream_answer
from serving.api.app import build_api
from serving.api.identity import LocalIdentity
from serving.api.stored_document import fetch_document
from serving.gateway.types import Message, ModelRequest, Usage
from serving.usage.meter import PostgresMeter
from tests.conftest import ROOT
from tests.support.services import connect_services, superuser, take_in_folder

TENANTS = ("north", "south", "east", "west", "centre")
GROUPS = ("finance", "legal", "guards")
REQUESTS = 300
SEED = 20261122
UNCHANGEABLE = {
    "budget",
    "reservation",
    "usage",
    "turn",
}  # the application may not change a row of these
WITHOUT_TENANT = {
    "schema_migration",
    "index_version",
}  # the only tables that hold nothing of a tenant's

# A policy as the catalogue writes it: nothing but the tenant, or the tenant and something more.
OWN_TENANT_ONLY = re.compile(
    r"^\(\(?tenant_id = \( SELECT current_tenant\(\) AS current_tenant\)\)($| AND )"
)


@dataclass(frozen=True, slots=True)
class Estate:
    """Five tenants with the same kind of papers. Each paper holds one word that stands nowhere else."""

    services: Services
    canaries: dict[
        tuple[str, str], str
    ]  # by tenant and group, "" for what the whole tenant may read
    documents: dict[tuple[str, str], uuid.UUID]

    def allowed(self, principal: Principal) -> set[tuple[str, str]]:
        """The papers that a principal may read."""
        return {
            (principal.tenant, group) for group in ("", *principal.groups)
        } & self.canaries.keys()

    def leaks(self, principal: Principal, text: str) -> list[str]:
        """The canaries in a text that the principal may not know."""
        own = self.allowed(principal)
        return [
            canary for place, canary in self.canaries.items() if place not in own and canary in text
        ]


def paper(canary: str) -> str:
    return f"# Gate codes\n\nThe code of the main gate is {canary}. It is changed every Monday by the porter.\n"


@pytest.fixture(scope="module")
def estate(
    server: EmbeddedPostgres,
    clone: Callable[[], str],
    home: Path,
    embedder: Embedder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Estate]:
    chance = random.Random(SEED)
    canaries = {
        (tenant, group): "qz" + "".join(chance.choices("bcdfghjklmnpqrtvwxz", k=12))
        for tenant in TENANTS
        for group in ("", *GROUPS)
    }
    with connect_services(server, clone(), home, embedder) as services:
        for tenant in TENANTS:
            folder = tmp_path_factory.mktemp(tenant)
            rules = []
            for group in ("", *GROUPS):
                name = f"{group or 'all'}.md"
                (folder / name).write_text(paper(canaries[tenant, group]))
                if group:
                    rules.append({"pattern": name, "readers": [group]})
            (folder / "readers.yaml").write_text(json.dumps({"rules": rules}))
            # So that every table has a row of every tenant: one file that can't be read, one that is deleted, a run.
            (folder / "broken.docx").write_bytes(b"PK\x03\x04 no archive")
            (folder / "gone.md").write_text("# Gone\n\nSoon deleted.\n")
            take_in_folder(services, tenant, folder)
            (folder / "gone.md").unlink()
            take_in_folder(services, tenant, folder)
            (folder / "later.md").write_text("# Later\n\nNot yet taken in.\n")
            pipeline.plan_run(services, tenant, [pipeline.build_source_spec(str(folder))])
        with superuser(server, services) as connection:
            connection.execute(
                "set session_replication_role = replica"
            )  # else what is noted here is counted at once
            connection.execute(
                "insert into statistics_change (tenant_id, reader_set_id) select t, 1 from unnest(%s::text[]) t",
                [list(TENANTS)],
            )
            spent(services, connection)
            spoken(services)
            rows: list[Any] = connection.execute(
                "select d.tenant_id, coalesce(r.readers[1], ''), d.document_id"
                " from document d join reader_set r using (tenant_id, reader_set_id)"
            ).fetchall()
        yield Estate(
            services,
            canaries,
            {(tenant, group): document_id for tenant, group, document_id in rows},
        )


def spent(services: Services, connection: psycopg.Connection[Any]) -> None:
    """A budget of every tenant, a call that is paid for and one that is under way, and an answer that is kept."""
    meter, responses = PostgresMeter(services.database), AnswerCache(services)
    for tenant in TENANTS:
        extract_answer(
            stream_answer(
                services,
                Principal(tenant),
                "What is the code of the main gate?",
                answer_cache=responses,
            )
        )
        connection.execute(
            "insert into budget (tenant_id, scope, name, per, measure, hard)"
            " values (%s, 'tenant', '', 'day', 'requests', 1000)",
            [tenant],
        )
        request = ModelRequest([Message("user", "")], Principal(tenant), "answer")
        paid, _ = (meter.reserve(request, "model", 1, Decimal(0)) for _ in range(2))
        meter.commit_usage(paid, Usage("model", 1, 0, Decimal(0)))


def spoken(services: Services) -> None:
    """A conversation in every tenant."""
    for tenant in TENANTS:
        history = ConversationHistory(services, Principal(tenant))
        history.add_turn(
            history.create_conversation(),
            "Which gate?",
            "Which gate?",
            [],
            answered=False,
            leans_on=None,
        )


@pytest.fixture
def database(estate: Estate) -> Iterator[Database]:
    """One connection only, so that whatever stays on it meets the next who borrows it."""
    with Database(estate.services.settings.database_url, max_connections=1).open() as opened:
        yield opened


@pytest.fixture
def tables(server: EmbeddedPostgres, estate: Estate) -> list[str]:
    """Every table that holds something of a tenant's, from the catalogue."""
    with superuser(server, estate.services) as connection:
        return tenant_tables(connection)


def tenant_tables(connection: psycopg.Connection[Any], *, partitions: bool = False) -> list[str]:
    """The tables that may be asked; with `partitions` also those that they are made of."""
    rows = connection.execute(
        "select c.relname::text from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'"
        " where c.relnamespace = 'groundwork'::regnamespace and c.relkind in ('r', 'p')"
        " and (%s or not c.relispartition) order by 1",
        (partitions,),
    ).fetchall()
    return [row[0] for row in rows]


# --- what a reader gets ---------------------------------------------------------------------------------------------


def everything_seen(estate: Estate, principal: Principal) -> str:
    """All that the functions of the read path hand to a principal, asked for every canary and every document id."""
    services = estate.services
    questions = [
        "What is the code of the main gate?",
        *(f"gate code {canary}" for canary in estate.canaries.values()),
    ]
    seen: list[object] = []
    for question in questions:
        for mode in ("hybrid", "dense", "lexical"):
            seen.append(retrieve(services, principal, question, mode=mode).hits)
        given = answer_question(services, principal, question)
        seen += [given.sentences, given.citations, given.refusal]
    for document_id in estate.documents.values():
        try:
            seen.append(fetch_document(services.database, principal, document_id))
        except NotFound:
            continue
    return repr(seen)


@pytest.mark.parametrize(
    "groups", [(), ("finance",), GROUPS], ids=["no group", "finance", "all groups"]
)
def test_a_principal_sees_their_own_papers_and_no_others(
    estate: Estate, groups: tuple[str, ...]
) -> None:
    """By search, by question and by id; with groups, those of the same name in other tenants stay closed."""
    principal = Principal("south", groups)
    seen = everything_seen(estate, principal)
    assert estate.leaks(principal, seen) == []
    assert all(estate.canaries[place] in seen for place in estate.allowed(principal))


def test_an_unknown_tenant_and_an_unknown_group_see_nothing_more(estate: Estate) -> None:
    """A name that nobody has is no key."""
    assert (
        estate.leaks(
            Principal("nobody", GROUPS), everything_seen(estate, Principal("nobody", GROUPS))
        )
        == []
    )
    for group in ("", "Finance", "finance ", "{finance}", "finance,legal"):
        principal = Principal("south", (group,) if group else ())
        assert (
            estate.leaks(
                principal, repr(retrieve(estate.services, principal, "code of the main gate").hits)
            )
            == []
        )


def test_every_statement_names_the_tenant_and_can_be_stripped_of_it() -> None:
    """Else the tests below would strip nothing and prove nothing."""
    files = [*(ROOT / "retrieval").glob("*.sql"), *(ROOT / "serving").rglob("*.sql")]
    assert len(files) >= 4
    for file in files:
        stripped, replaced = TENANT_PREDICATE.subn("true", file.read_text())
        assert replaced or " from " not in stripped.split("\n\n")[-1], (
            f"{file.name} does not name the tenant"
        )
        assert "%(tenant)s" not in stripped, f"{file.name} names the tenant in another way"


@pytest.mark.parametrize("groups", [(), ("finance",)], ids=["no group", "finance"])
def test_without_the_tenant_in_any_statement_only_own_rows_come_back(
    estate: Estate, groups: tuple[str, ...]
) -> None:
    """Row-level security alone keeps tenants and groups apart."""
    principal = Principal("east", groups)
    with without_tenant_predicate():
        seen = everything_seen(estate, principal)
    assert estate.leaks(principal, seen) == []
    assert all(estate.canaries[place] in seen for place in estate.allowed(principal))


def test_the_attack_works_where_the_database_does_not_defend(
    estate: Estate, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: the same stripped statements as a superuser, without taking on a role, find everything."""
    monkeypatch.setattr(core.db.database, "_set_transaction_context", lambda *_: None)
    name = psycopg.conninfo.conninfo_to_dict(estate.services.settings.database_url)["dbname"]
    unsafe = Database(server.conninfo(dbname=str(name)))
    unsafe._pool.open()  # `open` would refuse it
    with unsafe, without_tenant_predicate():
        services = Services(estate.services.settings, unsafe, embedders=estate.services.embedders)
        principal = Principal("east")
        seen = everything_seen(Estate(services, estate.canaries, estate.documents), principal)
    assert len(estate.leaks(principal, seen)) == len(estate.canaries) - 1


def test_random_requests_never_leak_a_canary(estate: Estate) -> None:
    """Some hundred requests over HTTP by random identities: hits, answers, what came closest, documents, idf."""
    chance = random.Random(SEED)
    client = TestClient(build_api(estate.services, LocalIdentity(TENANTS)))
    absent = client.get(f"/v1/documents/{uuid.uuid4()}").json()
    reached = {"hits": 0, "answered": 0, "closest": 0, "documents": 0, "hidden": 0}
    for _ in range(REQUESTS):
        principal = Principal(
            chance.choice(TENANTS), tuple(chance.sample(GROUPS, chance.randint(0, 3)))
        )
        headers = {
            "X-Groundwork-Tenant": principal.tenant,
            "X-Groundwork-Groups": ",".join(principal.groups),
        }
        own = estate.allowed(principal)
        place = chance.choice(list(estate.canaries))
        kind = chance.choice(("ask", "search", "document"))
        if kind == "document":
            response = client.get(f"/v1/documents/{estate.documents[place]}", headers=headers)
            assert response.status_code == (200 if place in own else 404)
            assert place in own or response.json() == absent
            reached["documents" if place in own else "hidden"] += 1
            assert estate.leaks(principal, response.text) == []
            continue
        canary = estate.canaries[place]
        asked = chance.choice(
            [
                "What is the code of the main gate?",
                f"Is {canary} the code, or nobodyhasthis?",
                canary,
            ]
        )
        body = {"question": asked, "mode": chance.choice(("hybrid", "dense", "lexical"))}
        response = client.post(f"/v1/{kind}", json=body, headers=headers)
        assert response.status_code == 200
        given = response.json()
        assert given.pop("question") == asked
        assert given["searched"] == {"documents": len(own), "passages": len(own)}
        idf = given.pop("idf", {})
        if "nobodyhasthis" in asked and idf:
            hidden = place not in own
            assert (
                idf[extract_terms(canary)[0]] == idf[extract_terms("nobodyhasthis")[0]]
            ) is hidden
        assert estate.leaks(principal, json.dumps(given)) == []
        reached["hits"] += len(given.get("hits", ()))
        reached["answered"] += given.get("status") == "answered"
        reached["closest"] += len((given.get("refusal") or {}).get("closest", ()))
    assert all(reached.values()), reached  # each way out was tried


# --- what stays on a connection -------------------------------------------------------------------------------------


def nothing_left(database: Database, tables: list[str]) -> None:
    with database.connection() as connection:
        left = connection.execute(
            "select current_user::text, coalesce(current_setting('groundwork.tenant', true), ''),"
            " coalesce(current_setting('groundwork.groups', true), '')"
        ).fetchone()
        assert left == ("groundwork_app", "", "")
        for table in tables:
            for query in ("select from {} limit 1", "delete from {}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(sql.SQL(query).format(sql.Identifier(table)))


def test_outside_a_transaction_no_table_can_be_read(database: Database, tables: list[str]) -> None:
    """The application's own role has no right to any of them, before and after."""
    nothing_left(database, tables)
    with database.reading(Principal("north", GROUPS)) as connection:
        connection.execute("select from document")
    nothing_left(database, tables)
    with database.writing("north") as connection:
        connection.execute("select from document")
    nothing_left(database, tables)


@pytest.mark.parametrize(
    ("breaking", "error"),
    [
        ("select 1 / 0", psycopg.errors.DivisionByZero),
        ("select nonsense from document", psycopg.errors.UndefinedColumn),
        ("set local statement_timeout = 1; select pg_sleep(60)", psycopg.Error),
        ("select pg_cancel_backend(pg_backend_pid()); select pg_sleep(60)", psycopg.Error),
        ("select pg_terminate_backend(pg_backend_pid())", psycopg.Error),
    ],
    ids=["error", "parse error", "timeout", "cancelled", "terminated"],
)
@pytest.mark.parametrize("kind", ["reading", "writing"])
def test_nothing_stays_after_a_failed_statement(
    database: Database, tables: list[str], kind: str, breaking: str, error: type[Exception]
) -> None:
    """Neither role nor tenant nor groups meet the next borrower of the connection."""
    with pytest.raises((error, Unavailable)):
        enter(database, kind, breaking)
    nothing_left(database, tables)


def enter(database: Database, kind: str, statement: str) -> None:
    entered = (
        database.reading(Principal("north", GROUPS))
        if kind == "reading"
        else database.writing("north")
    )
    with entered as connection:
        for part in statement.split(";"):
            connection.execute(part)


def test_when_every_connection_has_died_the_next_request_is_answered(
    estate: Estate, server: EmbeddedPostgres
) -> None:
    """As after a restart of PostgreSQL: the pool drops all that it holds, not one at a time."""
    with Database(estate.services.settings.database_url, max_connections=6).open() as database:
        with ExitStack() as held:
            for _ in range(6):
                held.enter_context(database.reading(Principal("north")))
        with superuser(server, estate.services) as connection:
            ended = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where usename = 'groundwork_app' and datname = current_database()"
            ).fetchall()
        assert len(ended) >= 6
        for _ in range(6):
            with database.reading(Principal("north")) as reading:
                assert reading.execute("select count(*) from document").fetchone() == (1,)


def test_nothing_stays_after_an_exception_or_a_rollback(
    database: Database, tables: list[str]
) -> None:
    """What the application raises inside, and a rollback by hand."""
    with pytest.raises(KeyError), database.reading(Principal("north", GROUPS)):
        raise KeyError("some bug")
    nothing_left(database, tables)
    with database.writing("north") as connection:
        connection.execute("delete from document")
        raise psycopg.Rollback
    nothing_left(database, tables)
    with database.reading(Principal("north")) as connection:
        assert connection.execute("select count(*) from document").fetchone() == (1,)


# --- what a role may do ---------------------------------------------------------------------------------------------


AS_READER = sql.SQL("set local role groundwork_reader; set local groundwork.tenant = 'north'; ")


def test_a_reader_can_not_write(database: Database, tables: list[str]) -> None:
    """Not in its read-only transaction, and not in any other either."""
    commands = (
        "insert into {} default values",
        "update {} set tenant_id = tenant_id",
        "delete from {}",
        "truncate {}",
    )
    for table in tables:
        for command in commands:
            with (
                pytest.raises(psycopg.errors.ReadOnlySqlTransaction),
                database.reading(Principal("north")) as reading,
            ):
                reading.execute(sql.SQL(command).format(sql.Identifier(table)))
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                database.connection() as connection,
                connection.transaction(),
            ):
                connection.execute(AS_READER + sql.SQL(command).format(sql.Identifier(table)))


@pytest.mark.parametrize(
    "command", ["select from {}", "insert into {} default values", "delete from {}"]
)
def test_a_partition_itself_is_closed_to_everybody(
    database: Database, server: EmbeddedPostgres, estate: Estate, command: str
) -> None:
    """A right to a partition would go round its parent's policies: nobody has one, and row-level security holds too."""
    with superuser(server, estate.services) as connection:
        rows = connection.execute(
            "select relname::text, relrowsecurity and relforcerowsecurity from pg_class"
            " where relispartition and relkind = 'r'"
        ).fetchall()
    assert rows
    for name, guarded in rows:
        assert guarded
        attack = sql.SQL(command).format(sql.Identifier(str(name)))
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege),
            database.writing("north") as writing,
        ):
            writing.execute(attack)
        refused = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction)
        with pytest.raises(refused), database.reading(Principal("north")) as reading:
            reading.execute(attack)


def test_a_writer_can_not_write_for_another_tenant(
    database: Database, tables: list[str], server: EmbeddedPostgres, estate: Estate
) -> None:
    """It neither moves a row, nor inserts one, nor touches what is there."""
    before = contents(server, estate, tables)
    assert all(before[table, tenant] for table in tables for tenant in TENANTS), (
        "every table is to be attacked"
    )
    # With its owner, since a conversation is closed to north itself without.
    north = partial(database.writing, "north", {"groundwork.owner": Principal("north").usage_key})
    for name in tables:
        table = sql.Identifier(name)
        moved = sql.SQL("update {} set tenant_id = 'south'").format(table)
        others = sql.SQL("update {} set tenant_id = 'north' where tenant_id <> 'north'").format(
            table
        )
        deleted = sql.SQL("delete from {} where tenant_id <> 'north'").format(table)
        refused = "permission denied" if name in UNCHANGEABLE else "row-level"
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=refused), north() as mine:
            mine.execute(moved)
        for change in (others, deleted):
            with suppress(psycopg.errors.InsufficientPrivilege), north() as mine:
                assert mine.execute(change).rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege), north() as mine:
            mine.execute(sql.SQL("truncate {} cascade").format(table))
    inserts = (
        "insert into reader_set (tenant_id, readers) values ('south', '{thieves}')",
        "insert into run (tenant_id, run_id, kind, source, state)"
        " values ('south', gen_random_uuid(), '', '', 'failed')",
        "insert into posting (tenant_id, term, chunk_id, reader_set_id, frequency, length)"
        " values ('south', 'gate', 1, 1, 1, 1)",
        "insert into chunk (tenant_id, document_id, reader_set_id, ordinal, start_char, end_char, text, context,"
        " location, tokens, term_count, terms)"
        " values ('south', gen_random_uuid(), 1, 1, 1, 1, '', '', '{}', 1, 1, '{}')",
    )
    for insert in inserts:
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level"),
            database.writing("north") as mine,
        ):
            mine.execute(insert)
    assert contents(server, estate, tables) == before


def contents(
    server: EmbeddedPostgres, estate: Estate, tables: list[str]
) -> dict[tuple[str, str], int]:
    counted: dict[tuple[str, str], int] = {}
    with superuser(server, estate.services) as connection:
        for table in tables:
            count = sql.SQL("select tenant_id, count(*) from {} group by 1").format(
                sql.Identifier(table)
            )
            rows: list[Any] = connection.execute(count).fetchall()
            counted |= {(table, tenant): number for tenant, number in rows}
    return counted


UNGUARDED = sql.SQL("set local row_security = off; select from {}")


def test_row_level_security_can_not_be_switched_off(database: Database, tables: list[str]) -> None:
    """Asking for it makes every table refuse rather than open."""
    for table in tables:
        with (
            pytest.raises(
                psycopg.errors.InsufficientPrivilege, match=r"row-level|permission denied"
            ),
            database.reading(Principal("north", GROUPS)) as connection,
        ):
            connection.execute(UNGUARDED.format(sql.Identifier(table)))
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level"),
            database.writing("north") as connection,
        ):
            connection.execute(UNGUARDED.format(sql.Identifier(table)))


def test_the_application_can_change_nothing_about_its_own_limits(database: Database) -> None:
    """In no role may it alter, drop or add policies, tables or members."""
    for role in ("groundwork_app", "groundwork_reader", "groundwork_writer"):
        for command in (
            "alter table document disable row level security",
            "alter table document no force row level security",
            "drop policy reader_sees on document",
            "create policy mine on document using (true)",
            "create table groundwork.mine ()",
            "create table public.mine ()",
            "grant groundwork_writer to groundwork_reader",
            "set local role postgres",
            "update index_version set live = false",
            "create or replace function groundwork.current_tenant() returns text language sql return 'south'",
        ):
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                database.connection() as connection,
                connection.transaction(),
            ):
                connection.execute(
                    sql.SQL("set local role {}; ").format(sql.Identifier(role)) + sql.SQL(command)
                )


# --- what a start refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ("alter table chunk no force row level security", "chunk lacks forced row-level security"),
        (
            "alter table vector_1 disable row level security",
            "vector_1 lacks forced row-level security",
        ),
        ("create table groundwork.added (tenant_id text)", "added lacks forced row-level security"),
        (
            "create view groundwork.added as select * from groundwork.document",
            "added lacks forced row-level security",
        ),
        (
            "create materialized view groundwork.added as select tenant_id from groundwork.run",
            "added lacks forced",
        ),
        ("grant select on document to groundwork_app", "may read document directly"),
        ("grant select on posting to public", "may read posting directly"),
        ("grant select (text) on document to groundwork_app", "may read document directly"),
    ],
    ids=lambda value: value.partition(" on ")[0],
)
def test_a_start_refuses_a_database_that_has_a_hole(
    services: Services, server: EmbeddedPostgres, change: str, says: str
) -> None:
    """Whoever made it, and however."""
    with superuser(server, services) as connection:
        connection.execute(change)
    with pytest.raises(UnsafeDatabase, match=says):
        Database(services.settings.database_url).open()


@pytest.mark.parametrize(
    ("granted", "says"),
    [
        ("alter role {} superuser", "past row-level security"),
        ("alter role {} bypassrls", "past row-level security"),
        ("grant postgres to {}", "past row-level security"),
        ("alter table groundwork.document owner to {}", "owns document"),
        ("grant select on groundwork.document to {}", "may read document directly"),
    ],
)
def test_a_start_refuses_a_role_that_may_do_more(
    services: Services, server: EmbeddedPostgres, granted: str, says: str
) -> None:
    """A superuser, one that bypasses policies, one that could become either, an owner, one with rights of its own."""
    role = sql.Identifier(f"intruder_{uuid.uuid4().hex[:8]}")
    name = str(psycopg.conninfo.conninfo_to_dict(services.settings.database_url)["dbname"])
    with superuser(server, services) as connection:
        connection.execute(sql.SQL("create role {} login noinherit").format(role))
        connection.execute(sql.SQL("grant usage on schema groundwork to {}").format(role))
        connection.execute(sql.SQL("grant select on groundwork.index_version to {}").format(role))
        try:
            connection.execute(sql.SQL(granted).format(role))
            with pytest.raises(UnsafeDatabase, match=says):
                Database(server.conninfo(role.as_string().strip('"'), name)).open()
        finally:
            connection.execute(sql.SQL("reassign owned by {} to postgres").format(role))
            connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))


def test_a_start_refuses_the_superuser(services: Services, server: EmbeddedPostgres) -> None:
    """The commonest mistake of all."""
    name = str(psycopg.conninfo.conninfo_to_dict(services.settings.database_url)["dbname"])
    with pytest.raises(UnsafeDatabase, match="never as a superuser"):
        Database(server.conninfo("postgres", name)).open()


# --- what a future table may not forget -----------------------------------------------------------------------------


def test_every_table_carries_the_tenant_first_and_is_guarded(
    services: Services, server: EmbeddedPostgres
) -> None:
    """From the catalogue, with the tables of a further index version: a new table can't be forgotten."""
    with superuser(server, services) as connection:
        create_index_version(connection, EmbeddingModel("another", "0", 16), live=False)
        tables = tenant_tables(connection, partitions=True)
        named: list[Any] = connection.execute(
            "select relname::text from pg_class"
            " where relnamespace = 'groundwork'::regnamespace and relkind in ('r', 'p')"
        ).fetchall()
        open_tables = connection.execute(
            "select relname from pg_class where relnamespace = 'groundwork'::regnamespace"
            " and relname::text = any (%s) and not (relrowsecurity and relforcerowsecurity)",
            [tables],
        ).fetchall()
        keys: list[Any] = connection.execute(
            "select c.relname::text, i.indisprimary from pg_index i join pg_class c on c.oid = i.indrelid"
            " join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]"
            " where c.relname::text = any (%s) and i.indisunique and a.attname <> 'tenant_id'",
            [tables],
        ).fetchall()
        keyed: list[Any] = connection.execute(
            "select c.relname::text from pg_index i join pg_class c on c.oid = i.indrelid"
            " where c.relname::text = any (%s) and i.indisprimary",
            [tables],
        ).fetchall()
        foreign: list[Any] = connection.execute(
            "select conrelid::regclass::text, conname from pg_constraint k"
            " join pg_attribute a on a.attrelid = k.conrelid and a.attnum = k.conkey[1]"
            " join pg_attribute b on b.attrelid = k.confrelid and b.attnum = k.confkey[1]"
            " where k.contype = 'f' and k.connamespace = 'groundwork'::regnamespace"
            " and not (a.attname = 'tenant_id' and b.attname = 'tenant_id')"
        ).fetchall()
        policies: list[Any] = connection.execute(
            "select tablename, policyname, qual from pg_policies where schemaname = 'groundwork'"
        ).fetchall()
    assert {"vector_2", "sentence_2", "document", "chunk", "posting", "reader_set"} <= set(tables)
    assert {row[0] for row in named} - set(tables) == WITHOUT_TENANT
    assert open_tables == []
    assert keys == []
    assert sorted(row[0] for row in keyed) == tables
    assert foreign == []
    assert [row[:2] for row in policies if not OWN_TENANT_ONLY.match(row[2])] == []


def test_no_function_runs_with_its_owners_rights(
    services: Services, server: EmbeddedPostgres
) -> None:
    """A security definer function would be a way around every policy."""
    with superuser(server, services) as connection:
        found = connection.execute(
            "select proname from pg_proc where pronamespace = 'groundwork'::regnamespace and prosecdef"
        ).fetchall()
    assert found == []
