"""Isolation of tenants and groups under attack: guesses, broken queries, reused connections."""

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
from tests.support.services import connect_services, connect_superuser, ingest_folder

TENANTS = ("north", "south", "east", "west", "centre")
GROUPS = ("finance", "legal", "guards")
REQUESTS = 300
SEED = 20261122
# The application may not update a row of these tables.
UNCHANGEABLE = {"budget", "reservation", "usage", "turn"}
# The only tables without data of a tenant.
WITHOUT_TENANT = {"schema_migration", "index_version"}

# A policy in the catalogue: the tenant, alone or with further conditions.
OWN_TENANT_ONLY = re.compile(
    r"^\(\(?tenant_id = \( SELECT current_tenant\(\) AS current_tenant\)\)($| AND )"
)


@dataclass(frozen=True, slots=True)
class Estate:
    """Five tenants with the same kinds of documents. Each document has a canary: a unique word."""

    services: Services
    canaries: dict[tuple[str, str], str]
    """Canaries by tenant and group; group "" means that the whole tenant may read it."""

    documents: dict[tuple[str, str], uuid.UUID]

    def allowed(self, principal: Principal) -> set[tuple[str, str]]:
        """Return the keys of the documents that a principal may read."""
        return {
            (principal.tenant, group) for group in ("", *principal.groups)
        } & self.canaries.keys()

    def leaks(self, principal: Principal, text: str) -> list[str]:
        """Return the canaries in a text that the principal may not see."""
        allowed = self.allowed(principal)
        hidden = [canary for key, canary in self.canaries.items() if key not in allowed]
        return [canary for canary in hidden if canary in text]


def document_text(canary: str) -> str:
    return (
        f"# Gate codes\n\nThe code of the main gate is {canary}."
        " It is changed every Monday by the porter.\n"
    )


@pytest.fixture(scope="module")
def estate(
    server: EmbeddedPostgres,
    clone: Callable[[], str],
    home: Path,
    embedder: Embedder,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Estate]:
    rng = random.Random(SEED)
    canaries = {
        (tenant, group): "qz" + "".join(rng.choices("bcdfghjklmnpqrtvwxz", k=12))
        for tenant in TENANTS
        for group in ("", *GROUPS)
    }
    with connect_services(server, clone(), home, embedder) as services:
        for tenant in TENANTS:
            folder = tmp_path_factory.mktemp(tenant)
            rules = []
            for group in ("", *GROUPS):
                name = f"{group or 'all'}.md"
                (folder / name).write_text(document_text(canaries[tenant, group]))
                if group:
                    rules.append({"pattern": name, "readers": [group]})
            (folder / "readers.yaml").write_text(json.dumps({"rules": rules}))
            # An unreadable file, a deleted file and a planned run fill the remaining tables.
            (folder / "broken.docx").write_bytes(b"PK\x03\x04 no archive")
            (folder / "gone.md").write_text("# Gone\n\nSoon deleted.\n")
            ingest_folder(services, tenant, folder)
            (folder / "gone.md").unlink()
            ingest_folder(services, tenant, folder)
            (folder / "later.md").write_text("# Later\n\nNot yet ingested.\n")
            pipeline.plan_run(services, tenant, [pipeline.build_source_spec(str(folder))])
        with connect_superuser(server, services) as connection:
            # Without triggers, the row of statistics_change stays.
            connection.execute("set session_replication_role = replica")
            connection.execute(
                "insert into statistics_change (tenant_id, reader_set_id)"
                " select t, 1 from unnest(%s::text[]) t",
                [list(TENANTS)],
            )
            add_usage(services, connection)
            add_conversations(services)
            rows: list[Any] = connection.execute(
                "select d.tenant_id, coalesce(r.readers[1], ''), d.document_id"
                " from document d join reader_set r using (tenant_id, reader_set_id)"
            ).fetchall()
        yield Estate(
            services,
            canaries,
            {(tenant, group): document_id for tenant, group, document_id in rows},
        )


def add_usage(services: Services, connection: psycopg.Connection[Any]) -> None:
    """Add a budget, a finished call, a running call and a cached answer for each tenant."""
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
        finished_call, _ = (meter.reserve(request, "model", 1, Decimal(0)) for _ in range(2))
        meter.commit_usage(finished_call, Usage("model", 1, 0, Decimal(0)))


def add_conversations(services: Services) -> None:
    """Add a conversation for each tenant."""
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
    """A pool with one connection, so that anything left on it meets the next borrower."""
    with Database(estate.services.settings.database_url, max_connections=1).open() as opened:
        yield opened


@pytest.fixture
def tables(server: EmbeddedPostgres, estate: Estate) -> list[str]:
    """All tables with data of tenants, from the catalogue."""
    with connect_superuser(server, estate.services) as connection:
        return tenant_tables(connection)


def tenant_tables(connection: psycopg.Connection[Any], *, partitions: bool = False) -> list[str]:
    """Return the tables with a tenant_id; `partitions` adds their partitions."""
    rows = connection.execute(
        "select c.relname::text from pg_class c"
        " join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant_id'"
        " where c.relnamespace = 'groundwork'::regnamespace and c.relkind in ('r', 'p')"
        " and (%s or not c.relispartition) order by 1",
        (partitions,),
    ).fetchall()
    return [row[0] for row in rows]


# --- results of a reader ---


def collect_results(estate: Estate, principal: Principal) -> str:
    """Return everything that a principal gets when it asks for every canary and every document."""
    services = estate.services
    questions = [
        "What is the code of the main gate?",
        *(f"gate code {canary}" for canary in estate.canaries.values()),
    ]
    results: list[object] = []
    for question in questions:
        for mode in ("hybrid", "dense", "lexical"):
            results.append(retrieve(services, principal, question, mode=mode).hits)
        answer = answer_question(services, principal, question)
        results += [answer.sentences, answer.citations, answer.refusal]
    for document_id in estate.documents.values():
        try:
            results.append(fetch_document(services.database, principal, document_id))
        except NotFound:
            continue
    return repr(results)


@pytest.mark.parametrize(
    "groups", [(), ("finance",), GROUPS], ids=["no group", "finance", "all groups"]
)
def test_a_principal_sees_only_its_own_documents(estate: Estate, groups: tuple[str, ...]) -> None:
    """By search, question and id. A group of the same name in another tenant opens nothing."""
    principal = Principal("south", groups)
    results = collect_results(estate, principal)
    assert estate.leaks(principal, results) == []
    assert all(estate.canaries[key] in results for key in estate.allowed(principal))


def test_an_unknown_tenant_and_an_unknown_group_see_nothing_more(estate: Estate) -> None:
    """An unknown name has no access."""
    unknown = Principal("nobody", GROUPS)
    assert estate.leaks(unknown, collect_results(estate, unknown)) == []
    for group in ("", "Finance", "finance ", "{finance}", "finance,legal"):
        principal = Principal("south", (group,) if group else ())
        hits = retrieve(estate.services, principal, "code of the main gate").hits
        assert estate.leaks(principal, repr(hits)) == []


def test_the_tenant_condition_can_be_removed_from_every_statement() -> None:
    """Otherwise the tests below would remove nothing and prove nothing."""
    files = [*(ROOT / "retrieval").glob("*.sql"), *(ROOT / "serving").rglob("*.sql")]
    assert len(files) >= 4
    for file in files:
        stripped, replaced = TENANT_PREDICATE.subn("true", file.read_text())
        assert replaced or " from " not in stripped.split("\n\n")[-1], (
            f"{file.name} does not name the tenant"
        )
        assert "%(tenant)s" not in stripped, f"{file.name} names the tenant in another way"


@pytest.mark.parametrize("groups", [(), ("finance",)], ids=["no group", "finance"])
def test_without_tenant_conditions_only_own_rows_are_returned(
    estate: Estate, groups: tuple[str, ...]
) -> None:
    """Row-level security alone keeps tenants and groups apart."""
    principal = Principal("east", groups)
    with without_tenant_predicate():
        results = collect_results(estate, principal)
    assert estate.leaks(principal, results) == []
    assert all(estate.canaries[key] in results for key in estate.allowed(principal))


def test_the_attack_succeeds_without_the_policies_of_the_database(
    estate: Estate, server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Control: as a superuser without a role, the same statements return everything."""
    monkeypatch.setattr(core.db.database, "_set_transaction_context", lambda *_: None)
    name = psycopg.conninfo.conninfo_to_dict(estate.services.settings.database_url)["dbname"]
    unsafe = Database(server.conninfo(dbname=str(name)))
    unsafe._pool.open()  # `open` refuses a superuser
    with unsafe, without_tenant_predicate():
        services = Services(estate.services.settings, unsafe, embedders=estate.services.embedders)
        principal = Principal("east")
        results = collect_results(Estate(services, estate.canaries, estate.documents), principal)
    assert len(estate.leaks(principal, results)) == len(estate.canaries) - 1


def test_random_requests_never_leak_a_canary(estate: Estate) -> None:
    """HTTP requests by random principals: hits, answers, closest passages, documents, idf."""
    rng = random.Random(SEED)
    client = TestClient(build_api(estate.services, LocalIdentity(TENANTS)))
    absent = client.get(f"/v1/documents/{uuid.uuid4()}").json()
    counts = {"hits": 0, "answered": 0, "closest": 0, "documents": 0, "hidden": 0}
    for _ in range(REQUESTS):
        principal = Principal(rng.choice(TENANTS), tuple(rng.sample(GROUPS, rng.randint(0, 3))))
        headers = {
            "X-Groundwork-Tenant": principal.tenant,
            "X-Groundwork-Groups": ",".join(principal.groups),
        }
        allowed = estate.allowed(principal)
        key = rng.choice(list(estate.canaries))
        kind = rng.choice(("ask", "search", "document"))
        if kind == "document":
            response = client.get(f"/v1/documents/{estate.documents[key]}", headers=headers)
            assert response.status_code == (200 if key in allowed else 404)
            assert key in allowed or response.json() == absent
            counts["documents" if key in allowed else "hidden"] += 1
            assert estate.leaks(principal, response.text) == []
            continue
        canary = estate.canaries[key]
        question = rng.choice(
            [
                "What is the code of the main gate?",
                f"Is {canary} the code, or nobodyhasthis?",
                canary,
            ]
        )
        request = {"question": question, "mode": rng.choice(("hybrid", "dense", "lexical"))}
        response = client.post(f"/v1/{kind}", json=request, headers=headers)
        assert response.status_code == 200
        body = response.json()
        assert body.pop("question") == question
        assert body["searched"] == {"documents": len(allowed), "passages": len(allowed)}
        idf = body.pop("idf", {})
        if "nobodyhasthis" in question and idf:
            hidden = key not in allowed
            assert (
                idf[extract_terms(canary)[0]] == idf[extract_terms("nobodyhasthis")[0]]
            ) is hidden
        assert estate.leaks(principal, json.dumps(body)) == []
        counts["hits"] += len(body.get("hits", ()))
        counts["answered"] += body.get("status") == "answered"
        counts["closest"] += len((body.get("refusal") or {}).get("closest", ()))
    assert all(counts.values()), counts  # each kind of result occurred


# --- state of a connection ---


def assert_connection_is_clean(database: Database, tables: list[str]) -> None:
    with database.connection() as connection:
        state = connection.execute(
            "select current_user::text, coalesce(current_setting('groundwork.tenant', true), ''),"
            " coalesce(current_setting('groundwork.groups', true), '')"
        ).fetchone()
        assert state == ("groundwork_app", "", "")
        for table in tables:
            for query in ("select from {} limit 1", "delete from {}"):
                with pytest.raises(psycopg.errors.InsufficientPrivilege):
                    connection.execute(sql.SQL(query).format(sql.Identifier(table)))


def test_outside_a_transaction_no_table_can_be_read(database: Database, tables: list[str]) -> None:
    """The application's role has no privileges on them, before and after a transaction."""
    assert_connection_is_clean(database, tables)
    with database.reading(Principal("north", GROUPS)) as connection:
        connection.execute("select from document")
    assert_connection_is_clean(database, tables)
    with database.writing("north") as connection:
        connection.execute("select from document")
    assert_connection_is_clean(database, tables)


@pytest.mark.parametrize(
    ("statement", "error"),
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
def test_a_failed_statement_leaves_no_state(
    database: Database, tables: list[str], kind: str, statement: str, error: type[Exception]
) -> None:
    """The next borrower of the connection has no role, tenant or groups."""
    with pytest.raises((error, Unavailable)):
        execute_statement(database, kind, statement)
    assert_connection_is_clean(database, tables)


def execute_statement(database: Database, kind: str, statement: str) -> None:
    transaction = (
        database.reading(Principal("north", GROUPS))
        if kind == "reading"
        else database.writing("north")
    )
    with transaction as connection:
        for part in statement.split(";"):
            connection.execute(part)


def test_the_next_request_succeeds_after_all_connections_have_died(
    estate: Estate, server: EmbeddedPostgres
) -> None:
    """As after a restart of PostgreSQL: the pool drops all connections together."""
    with Database(estate.services.settings.database_url, max_connections=6).open() as database:
        with ExitStack() as held:
            for _ in range(6):
                held.enter_context(database.reading(Principal("north")))
        with connect_superuser(server, estate.services) as connection:
            ended = connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where usename = 'groundwork_app' and datname = current_database()"
            ).fetchall()
        assert len(ended) >= 6
        for _ in range(6):
            with database.reading(Principal("north")) as reading:
                assert reading.execute("select count(*) from document").fetchone() == (1,)


def test_an_exception_or_a_rollback_leaves_no_state(database: Database, tables: list[str]) -> None:
    """An exception of the application, and an explicit rollback."""
    with pytest.raises(KeyError), database.reading(Principal("north", GROUPS)):
        raise KeyError("some bug")
    assert_connection_is_clean(database, tables)
    with database.writing("north") as connection:
        connection.execute("delete from document")
        raise psycopg.Rollback
    assert_connection_is_clean(database, tables)
    with database.reading(Principal("north")) as connection:
        assert connection.execute("select count(*) from document").fetchone() == (1,)


# --- privileges of a role ---


AS_READER = sql.SQL("set local role groundwork_reader; set local groundwork.tenant = 'north'; ")


def test_a_reader_can_not_write(database: Database, tables: list[str]) -> None:
    """Neither in its read-only transaction nor in any other."""
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
def test_no_role_has_privileges_on_a_partition(
    database: Database, server: EmbeddedPostgres, estate: Estate, command: str
) -> None:
    """Such a privilege would bypass the policies of the parent table."""
    with connect_superuser(server, estate.services) as connection:
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
    """It can't move, insert, change or delete rows."""
    before = count_rows(server, estate, tables)
    assert all(before[table, tenant] for table in tables for tenant in TENANTS), (
        "every table needs a row of every tenant"
    )
    # With an owner, because without one even north's own conversations are hidden.
    north = partial(database.writing, "north", {"groundwork.owner": Principal("north").usage_key})
    for name in tables:
        table = sql.Identifier(name)
        moved = sql.SQL("update {} set tenant_id = 'south'").format(table)
        others = sql.SQL("update {} set tenant_id = 'north' where tenant_id <> 'north'").format(
            table
        )
        deleted = sql.SQL("delete from {} where tenant_id <> 'north'").format(table)
        refused = "permission denied" if name in UNCHANGEABLE else "row-level"
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match=refused), north() as writing:
            writing.execute(moved)
        for change in (others, deleted):
            with suppress(psycopg.errors.InsufficientPrivilege), north() as writing:
                assert writing.execute(change).rowcount == 0
        with pytest.raises(psycopg.errors.InsufficientPrivilege), north() as writing:
            writing.execute(sql.SQL("truncate {} cascade").format(table))
    inserts = (
        "insert into reader_set (tenant_id, readers) values ('south', '{thieves}')",
        "insert into run (tenant_id, run_id, kind, source, state)"
        " values ('south', gen_random_uuid(), '', '', 'failed')",
        "insert into posting (tenant_id, term, chunk_id, reader_set_id, frequency, length)"
        " values ('south', 'gate', 1, 1, 1, 1)",
        "insert into chunk (tenant_id, document_id, reader_set_id, ordinal, start_char, end_char,"
        " text, context, location, tokens, term_count, terms)"
        " values ('south', gen_random_uuid(), 1, 1, 1, 1, '', '', '{}', 1, 1, '{}')",
    )
    for insert in inserts:
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level"),
            database.writing("north") as writing,
        ):
            writing.execute(insert)
    assert count_rows(server, estate, tables) == before


def count_rows(
    server: EmbeddedPostgres, estate: Estate, tables: list[str]
) -> dict[tuple[str, str], int]:
    counts: dict[tuple[str, str], int] = {}
    with connect_superuser(server, estate.services) as connection:
        for table in tables:
            count = sql.SQL("select tenant_id, count(*) from {} group by 1").format(
                sql.Identifier(table)
            )
            rows: list[Any] = connection.execute(count).fetchall()
            counts |= {(table, tenant): number for tenant, number in rows}
    return counts


SELECT_WITHOUT_ROW_SECURITY = sql.SQL("set local row_security = off; select from {}")


def test_row_level_security_can_not_be_switched_off(database: Database, tables: list[str]) -> None:
    """The attempt makes every statement fail."""
    for table in tables:
        with (
            pytest.raises(
                psycopg.errors.InsufficientPrivilege, match=r"row-level|permission denied"
            ),
            database.reading(Principal("north", GROUPS)) as connection,
        ):
            connection.execute(SELECT_WITHOUT_ROW_SECURITY.format(sql.Identifier(table)))
        with (
            pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level"),
            database.writing("north") as connection,
        ):
            connection.execute(SELECT_WITHOUT_ROW_SECURITY.format(sql.Identifier(table)))


def test_the_application_can_not_change_its_own_limits(database: Database) -> None:
    """No role may change policies, tables or memberships."""
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
            "create or replace function groundwork.current_tenant() returns text"
            " language sql return 'south'",
        ):
            with (
                pytest.raises(psycopg.errors.InsufficientPrivilege),
                database.connection() as connection,
                connection.transaction(),
            ):
                connection.execute(
                    sql.SQL("set local role {}; ").format(sql.Identifier(role)) + sql.SQL(command)
                )


# --- checks at start-up ---


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_an_unsafe_database_is_refused(
    services: Services, server: EmbeddedPostgres, change: str, message: str
) -> None:
    """A table, view or privilege without protection."""
    with connect_superuser(server, services) as connection:
        connection.execute(change)
    with pytest.raises(UnsafeDatabase, match=message):
        Database(services.settings.database_url).open()


@pytest.mark.parametrize(
    ("granted", "message"),
    [
        ("alter role {} superuser", "past row-level security"),
        ("alter role {} bypassrls", "past row-level security"),
        ("grant postgres to {}", "past row-level security"),
        ("alter table groundwork.document owner to {}", "owns document"),
        ("grant select on groundwork.document to {}", "may read document directly"),
    ],
)
def test_a_role_with_too_many_privileges_is_refused(
    services: Services, server: EmbeddedPostgres, granted: str, message: str
) -> None:
    """A superuser, a role that bypasses policies or may switch to such a role, an owner."""
    role = sql.Identifier(f"intruder_{uuid.uuid4().hex[:8]}")
    name = str(psycopg.conninfo.conninfo_to_dict(services.settings.database_url)["dbname"])
    with connect_superuser(server, services) as connection:
        connection.execute(sql.SQL("create role {} login noinherit").format(role))
        connection.execute(sql.SQL("grant usage on schema groundwork to {}").format(role))
        connection.execute(sql.SQL("grant select on groundwork.index_version to {}").format(role))
        try:
            connection.execute(sql.SQL(granted).format(role))
            with pytest.raises(UnsafeDatabase, match=message):
                Database(server.conninfo(role.as_string().strip('"'), name)).open()
        finally:
            connection.execute(sql.SQL("reassign owned by {} to postgres").format(role))
            connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))


def test_a_superuser_is_refused(services: Services, server: EmbeddedPostgres) -> None:
    """The most common mistake."""
    name = str(psycopg.conninfo.conninfo_to_dict(services.settings.database_url)["dbname"])
    with pytest.raises(UnsafeDatabase, match="never as a superuser"):
        Database(server.conninfo("postgres", name)).open()


# --- rules for every table ---


def test_every_table_has_the_tenant_first_and_forced_row_level_security(
    services: Services, server: EmbeddedPostgres
) -> None:
    """From the catalogue, with the tables of a second index version, so no table is missed."""
    with connect_superuser(server, services) as connection:
        create_index_version(connection, EmbeddingModel("another", "0", 16), live=False)
        tables = tenant_tables(connection, partitions=True)
        all_tables: list[Any] = connection.execute(
            "select relname::text from pg_class"
            " where relnamespace = 'groundwork'::regnamespace and relkind in ('r', 'p')"
        ).fetchall()
        open_tables = connection.execute(
            "select relname from pg_class where relnamespace = 'groundwork'::regnamespace"
            " and relname::text = any (%s) and not (relrowsecurity and relforcerowsecurity)",
            [tables],
        ).fetchall()
        keys: list[Any] = connection.execute(
            "select c.relname::text, i.indisprimary"
            " from pg_index i join pg_class c on c.oid = i.indrelid"
            " join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]"
            " where c.relname::text = any (%s) and i.indisunique and a.attname <> 'tenant_id'",
            [tables],
        ).fetchall()
        primary_keys: list[Any] = connection.execute(
            "select c.relname::text from pg_index i join pg_class c on c.oid = i.indrelid"
            " where c.relname::text = any (%s) and i.indisprimary",
            [tables],
        ).fetchall()
        foreign_keys: list[Any] = connection.execute(
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
    assert {row[0] for row in all_tables} - set(tables) == WITHOUT_TENANT
    assert open_tables == []
    assert keys == []
    assert sorted(row[0] for row in primary_keys) == tables
    assert foreign_keys == []
    assert [row[:2] for row in policies if not OWN_TENANT_ONLY.match(row[2])] == []


def test_no_function_runs_with_the_privileges_of_its_owner(
    services: Services, server: EmbeddedPostgres
) -> None:
    """A security definer function would bypass every policy."""
    with connect_superuser(server, services) as connection:
        functions = connection.execute(
            "select proname from pg_proc"
            " where pronamespace = 'groundwork'::regnamespace and prosecdef"
        ).fetchall()
    assert functions == []
