"""Attacks on the database with the application's role: transactions, settings, tables."""

import asyncio
import contextlib
import random
import uuid
from collections.abc import Callable, Generator
from typing import Any, LiteralString

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from bench.attack.estate import Estate
from bench.attack.target import Observation, Target, random_asker
from core.db.database import Connection, Database
from core.errors import GroundworkError, UnsafeDatabase
from core.principal import Principal

POOL_CONNECTIONS = 3  # fewer than threads, so that tenants share each
VISIBLE_DOCUMENTS = sql.SQL(
    "select tenant_id, title, path, text, metadata from groundwork.document"
)
TABLES_QUERY = (
    "select c.relname::text from pg_class c join pg_namespace n on n.oid = c.relnamespace"
    " where n.nspname = 'groundwork' and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')"
)
EXPECTED_ERRORS = (
    psycopg.Error,
    GroundworkError,
    KeyError,
    GeneratorExit,
    asyncio.CancelledError,
    TimeoutError,
)


class Hangup(Exception):
    """Error of an application in the middle of a transaction."""


# --- interrupted connections ----------------------------------------------------------------------


def reuse_after_error(database: Database) -> Callable[[Target, random.Random], Observation]:
    """Break the transaction of one tenant; the connection's next user is another tenant."""

    def attack(target: Target, chance: random.Random) -> Observation:
        first, second = random_asker(target.estate, chance), random_asker(target.estate, chance)
        spoiler = chance.choice(SPOILERS)
        with contextlib.suppress(*EXPECTED_ERRORS, Hangup):
            spoiler(database, first)
        with database.connection() as connection:
            session_state = connection.execute(
                "select current_user::text, current_setting('groundwork.tenant', true),"
                " current_setting('groundwork.groups', true)"
            ).fetchone()
        clean = (
            session_state is not None
            and session_state[0] == "groundwork_app"
            and not session_state[1]
            and not session_state[2]
        )
        observation = _read_visible_documents(
            target, database, second, f"after {spoiler.__name__.strip('_')} by {first.tenant}"
        )
        return (
            observation
            if clean or observation.violation
            else Observation(
                second,
                observation.sent,
                observation.received,
                f"{session_state} stayed on a connection",
            )
        )

    return attack


def _read_visible_documents(
    target: Target, database: Database, asker: Principal, sent: str
) -> Observation:
    """Read every visible document: they must be all of the caller's and no others."""
    with database.reading(asker) as connection:
        rows = connection.execute(VISIBLE_DOCUMENTS).fetchall()
    wrong = (
        "" if len(rows) == target.estate.count_readable(asker)[0] else f"sees {len(rows)} documents"
    )
    return Observation(asker, sent, repr(rows), wrong)


Spoiler = Callable[[Database, Principal], None]


def _read_then_execute(database: Database, asker: Principal, *statements: sql.SQL) -> None:
    with database.reading(asker) as connection:
        connection.execute(VISIBLE_DOCUMENTS).fetchall()
        for statement in statements:
            connection.execute(statement)


def _error(database: Database, asker: Principal) -> None:
    _read_then_execute(database, asker, sql.SQL("select 1 / 0"))


def _parse_error(database: Database, asker: Principal) -> None:
    _read_then_execute(database, asker, sql.SQL("select nonsense frm document"))


def _timeout(database: Database, asker: Principal) -> None:
    _read_then_execute(
        database, asker, sql.SQL("set local statement_timeout = 1"), sql.SQL("select pg_sleep(60)")
    )


def _cancelled(database: Database, asker: Principal) -> None:
    _read_then_execute(
        database,
        asker,
        sql.SQL("select pg_cancel_backend(pg_backend_pid())"),
        sql.SQL("select pg_sleep(60)"),
    )


def _terminated(database: Database, asker: Principal) -> None:
    _read_then_execute(database, asker, sql.SQL("select pg_terminate_backend(pg_backend_pid())"))


def _raised(database: Database, asker: Principal) -> None:
    with database.reading(asker) as connection:
        connection.execute(VISIBLE_DOCUMENTS)
        raise Hangup


def _raised_while_writing(database: Database, asker: Principal) -> None:
    with database.writing(asker.tenant) as connection:
        connection.execute("update document set title = title")
        raise Hangup


def _closed(database: Database, asker: Principal) -> None:
    with database.reading(asker) as connection:
        connection.close()


def _abandoned(database: Database, asker: Principal) -> None:
    """Drop a generator half way."""

    def rows() -> Generator[Any, None, None]:
        with database.reading(asker) as connection:
            yield from connection.execute(VISIBLE_DOCUMENTS).fetchall()

    generator = rows()
    next(generator, None)
    generator.close()


def _cancelled_task(database: Database, asker: Principal) -> None:
    """Cancel a task while its thread still works, as when a client hangs up."""

    async def hurried() -> None:
        work = asyncio.to_thread(
            _read_then_execute, database, asker, sql.SQL("select pg_sleep(0.02)")
        )
        await asyncio.wait_for(work, 0.001)

    asyncio.run(hurried())


def _cancelled_in_task(database: Database, asker: Principal) -> None:
    """Cancel the task inside the transaction."""

    async def cancelled() -> None:
        with database.reading(asker) as connection:
            connection.execute(VISIBLE_DOCUMENTS)
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(0)

    asyncio.run(cancelled())


def _half_rolled_back(database: Database, asker: Principal) -> None:
    with database.reading(asker) as connection:
        with contextlib.suppress(psycopg.Error), connection.transaction():
            connection.execute("select 1 / 0")
        raise psycopg.Rollback


def _broken_pipeline(database: Database, asker: Principal) -> None:
    with database.reading(asker) as connection, connection.pipeline():
        connection.execute(VISIBLE_DOCUMENTS)
        connection.execute("select 1 / 0")
        connection.execute(VISIBLE_DOCUMENTS)


def _prepared(database: Database, asker: Principal) -> None:
    """Leave a plan of one tenant on the connection; psycopg reuses it by the statement's text."""
    with database.reading(asker) as connection:
        for _ in range(2):
            connection.execute(VISIBLE_DOCUMENTS, prepare=True)


SPOILERS: tuple[Spoiler, ...] = (
    _error,
    _parse_error,
    _timeout,
    _cancelled,
    _terminated,
    _raised,
    _raised_while_writing,
    _closed,
    _abandoned,
    _cancelled_task,
    _cancelled_in_task,
    _half_rolled_back,
    _broken_pipeline,
    _prepared,
)


def kill_connections(database: Database) -> Callable[[Target, random.Random], Observation]:
    """End every connection of the application from outside; then read as another tenant."""

    def attack(target: Target, chance: random.Random) -> Observation:
        with target.admin() as connection:
            connection.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity"
                " where usename = 'groundwork_app' and datname = current_database()"
            )
        asker = random_asker(target.estate, chance)
        for _ in range(POOL_CONNECTIONS):
            with contextlib.suppress(psycopg.Error, GroundworkError):
                return _read_visible_documents(
                    target, database, asker, "after the backends were ended"
                )
        return Observation(asker, "", "no connection")

    return attack


# --- roles, settings and tables -------------------------------------------------------------------

# Statements of code inside the application's transaction, except a change of the tenant, which the
# application itself must be able to make; see docs/reference/threat-model.md.
ATTEMPTS: list[LiteralString] = [
    "reset role; select * from groundwork.document",
    "reset role; select * from groundwork.chunk",
    "set local role none; select * from groundwork.posting",
    "set local role postgres; select * from groundwork.document",
    "set session authorization postgres; select * from groundwork.document",
    "select set_config('role', 'postgres', true); select * from groundwork.document",
    "set local row_security = off; select * from groundwork.document",
    "select set_config('row_security', 'off', false); select * from groundwork.chunk",
    "set local groundwork.tenant = ''; select * from groundwork.document",
    "set local groundwork.tenant = '%'; select * from groundwork.document",
    "reset groundwork.tenant; select * from groundwork.document",
    "set local groundwork.tenant to default; select * from groundwork.lexicon",
    "set local groundwork.groups = '%'; select * from groundwork.document",
    "set local groundwork.groups = E'{}\\x1f*\\x1fNULL'; select * from groundwork.document",
    "set local session_replication_role = replica; select * from groundwork.document",
    "set local search_path = pg_catalog; select * from groundwork.document",
    "alter table groundwork.document disable row level security",
    "alter table groundwork.document no force row level security; select * from "
    "groundwork.document",
    "drop policy reader_sees on groundwork.document; select * from groundwork.document",
    "create policy mine on groundwork.document using (true)",
    "alter role groundwork_app bypassrls",
    "grant postgres to groundwork_app",
    "create or replace function groundwork.current_tenant() returns text language sql return 'x'",
    "create function public.peep() returns setof text language sql security definer as "
    "'select text from document'",
    "select text::int from groundwork.document",
    "select 1 / (length(text) - length(text)) from groundwork.document",
    "select query_to_xml('select * from groundwork.document', true, true, '')",
    "select database_to_xml(true, true, '')",
    "do $$ begin perform 1 / length(max(text)) from groundwork.document group by text::int; end $$",
    "do $$ begin raise exception '%', (select string_agg(d::text, ' ') from "
    "groundwork.document d); end $$",
    "copy groundwork.document to '/tmp/groundwork_document'",
    "copy (select text from groundwork.document) to program 'cat'",
    "select pg_read_file('postgresql.conf')",
    "select pg_ls_dir('.')",
    "select * from pg_statistic",
    "select * from pg_stats where schemaname = 'groundwork'",
    "select query from pg_stat_activity",
    "select * from pg_prepared_statements",
    "select * from pg_cursors",
    "select * from pg_stat_user_tables",
    "select * from information_schema.columns where table_schema = 'groundwork'",
    "select * from pg_largeobject",
    "select * from pg_authid",
    "select * from groundwork.document where text ilike '%qz%' or true",
    "select d.*, c.* from groundwork.document d, groundwork.chunk c limit 500",
    "select * from groundwork.chunk c full join groundwork.document d using (document_id)",
    "explain (analyze, verbose) select * from groundwork.document where text like 'qz%'",
    "explain (generic_plan, verbose) select * from groundwork.document where title = $1",
    "select max(text), min(title), string_agg(path, ' ') from groundwork.document",
    "declare c no scroll cursor for select * from groundwork.document; fetch all from c",
    "select * from only groundwork.document tablesample system (100)",
    "lock table groundwork.document in access share mode; table groundwork.document",
    "select * from groundwork.document for update",
    "notify a, 'b'; select * from groundwork.run",
]


def attempt_statements(database: Database) -> Callable[[Target, random.Random], Observation]:
    """Run an attacker's statements: bare, or inside a reader's or writer's transaction."""

    def attack(target: Target, chance: random.Random) -> Observation:
        asker = random_asker(target.estate, chance)
        attempt = chance.choice(ATTEMPTS)
        part = chance.choice(("bare", "reading", "writing"))
        entered = _open_connection(database, asker, part)
        output = _execute_all(
            entered, [sql.SQL(statement) for statement in _split_statements(attempt)]
        )
        return Observation(
            asker if part != "bare" else None, attempt, output, operator=part == "writing"
        )

    return attack


def read_every_table(database: Database) -> Callable[[Target, random.Random], Observation]:
    """Read every table, view, sequence and partition of the catalogue by its name."""

    def attack(target: Target, chance: random.Random) -> Observation:
        asker = random_asker(target.estate, chance)
        with target.admin() as connection:
            names: list[Any] = connection.execute(TABLES_QUERY).fetchall()
        name = sql.Identifier("groundwork", chance.choice(names)[0])
        command = chance.choice(
            ["table {}", "select count(*), max(t::text) from {} t", "select * from {} where true"]
        )
        query = sql.SQL(command).format(name)
        part = chance.choice(("bare", "reading", "reading", "writing"))
        entered = _open_connection(database, asker, part)
        output = _execute_all(entered, [query])
        return Observation(
            asker if part != "bare" else None, query.as_string(), output, operator=part == "writing"
        )

    return attack


def _open_connection(
    database: Database, asker: Principal, part: str
) -> contextlib.AbstractContextManager[Connection]:
    """Return a bare connection of the application, or a transaction of the caller."""
    if part == "bare":
        return database.connection()
    return database.reading(asker) if part == "reading" else database.writing(asker.tenant)


def _split_statements(attempt: LiteralString) -> list[LiteralString]:
    """Return the statements of an attempt; a block in $$ is one."""
    return [attempt] if "$$" in attempt else attempt.split("; ")


def _execute_all(
    entered: contextlib.AbstractContextManager[Connection], statements: list[Any]
) -> str:
    """Return rows, errors and notices of statements; roll back their changes."""
    output: list[object] = []
    try:
        with entered as connection, connection.transaction(force_rollback=True):
            connection.add_notice_handler(
                lambda notice: output.append((notice.message_primary, notice.message_detail))
            )
            try:
                for statement in statements:
                    cursor = connection.execute(statement)
                    output.append(cursor.fetchall() if cursor.description else cursor.statusmessage)
            finally:
                connection._notice_handlers.clear()
    except psycopg.Error as error:
        output += [str(error), error.diag.message_detail, error.diag.context]
    except GroundworkError as error:
        output += [str(error), str(error.__cause__)]
    return repr(output)


# --- roles with too much power --------------------------------------------------------------------

POWERS = (
    ("superuser", "alter role {role} superuser"),
    ("bypasses policies", "alter role {role} bypassrls"),
    ("may become a superuser", "grant postgres to {role}"),
    ("owns a table", "alter table groundwork.document owner to {role}"),
    ("owns a partition or a vector table", "alter table groundwork.vector_1 owner to {role}"),
    ("may read a table", "grant select on groundwork.chunk to {role}"),
    ("may read a column", "grant select (text) on groundwork.document to {role}"),
    ("may read a vector table", "grant select on groundwork.sentence_1 to {role}"),
)


def start_with_other_role(target: Target, chance: random.Random) -> Observation:
    """Start with a role of more power than the application's; the start must be refused."""
    address = target.services.settings.database_url
    parts = conninfo_to_dict(address)
    name = f"intruder_{uuid.UUID(int=chance.getrandbits(128)).hex[:12]}"
    role = sql.Identifier(name)
    title, power = chance.choice((("the owner", ""), *POWERS))
    with target.admin() as connection:
        if not power:
            owner = connection.execute("select current_user::text").fetchone()
            assert owner is not None
            return _check_refused(make_conninfo("", **{**parts, "user": str(owner[0])}), title)
        connection.execute(sql.SQL("create role {} login noinherit").format(role))
        connection.execute(sql.SQL("grant usage on schema groundwork to {}").format(role))
        connection.execute(sql.SQL("grant select on groundwork.index_version to {}").format(role))
        try:
            connection.execute(sql.SQL(power).format(role=role))
            return _check_refused(make_conninfo("", **{**parts, "user": name}), title)
        finally:
            connection.execute(sql.SQL("reassign owned by {} to current_user").format(role))
            connection.execute(sql.SQL("drop owned by {}").format(role))
            connection.execute(sql.SQL("drop role {}").format(role))


def _check_refused(address: str, title: str) -> Observation:
    try:
        with Database(address).open():
            return Observation(None, title, "", f"a role ({title}) could connect")
    except UnsafeDatabase as error:
        return Observation(None, title, str(error))


def find_damage(estate: Estate, connection: Connection) -> str:
    """Return the changes that the attack made; there should be none."""
    documents: list[Any] = connection.execute("select document_id::text from document").fetchall()
    changed_documents = {paper.document_id for paper in estate.papers} ^ {
        row[0] for row in documents
    }
    turns: list[Any] = connection.execute("select conversation_id::text from turn").fetchall()
    deleted = {talk.conversation_id for talk in estate.conversations} - {row[0] for row in turns}
    changes = {
        "documents were deleted or added": changed_documents,
        "conversations were deleted": deleted,
    }
    return "; ".join(f"{len(changed)} {change}" for change, changed in changes.items() if changed)
