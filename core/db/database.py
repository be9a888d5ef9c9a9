"""The way into PostgreSQL: a pool of connections, and the one kind of transaction the application has.

    with database.reading(principal) as connection: ...   # sees what the principal's tenant and groups allow
    with database.writing("alder") as connection: ...     # writes for one tenant

The role, the tenant and the groups are set for the transaction only, so nothing stays on a pooled connection. Outside
such a transaction the connection has no right to any table.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, LiteralString

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from core.db.queries import load_queries
from core.errors import Unavailable, UnsafeDatabase
from core.principal import GROUP_SEPARATOR, Principal, check_name

Connection = psycopg.Connection[TupleRow]

SCHEMA = "groundwork"
APPLICATION_ROLE = "groundwork_app"
CONNECT_TIMEOUT_SECONDS = 10


@lru_cache(maxsize=128)
def number_placeholders(query: str) -> tuple[LiteralString, tuple[str, ...]]:
    """A query for `psycopg.RawCursor`: $1, $2, ... in place of its %(names)s, and the names in that order.

    psycopg does the same, but anew each time for a query of more than 4,096 characters.
    """
    places: dict[str, str] = {}

    def place(found: re.Match[str]) -> str:
        name = found["name"]
        return "%" if name is None else places.setdefault(name, f"${len(places) + 1}")

    text: Any = re.sub(r"%(?:\((?P<name>\w+)\)s|%)", place, query)
    return text, tuple(places)


class Database:
    """A pool on one database. `close` it, or use it as a context manager."""

    def __init__(self, conninfo: str, *, max_connections: int = 10) -> None:
        self.conninfo = application_conninfo(conninfo)
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            self.conninfo,
            min_size=0,
            max_size=max_connections,
            open=False,
            timeout=CONNECT_TIMEOUT_SECONDS,
            kwargs={"autocommit": True},
            configure=register_vector,
            check=self._check_connection,
            name="groundwork",
        )

    def open(self) -> "Database":
        """Connect, and refuse a database that is not there, not ready or not safe.

        Raises:
            Unavailable: no server, no database, no pgvector, or no Groundwork schema in it.
            UnsafeDatabase: the role could see past row-level security, or a table is without it.
        """
        try:
            with psycopg.connect(
                self.conninfo, autocommit=True, connect_timeout=CONNECT_TIMEOUT_SECONDS
            ) as connection:
                check_ready(connection)
                check_isolation(connection)
        except psycopg.OperationalError as error:
            raise Unavailable(_format_connection_error(self.conninfo, error)) from error
        self._pool.open()
        return self

    def close(self) -> None:
        """Give back every connection."""
        self._pool.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_connection(self, connection: Connection) -> None:
        """See that a pooled connection lives. If one does not, the server was restarted: none is kept, since the pool
        would try them one by one, and wait longer after each.
        """
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            self._pool.drain()
            raise

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A connection without rights to any tenant's table; for what concerns no tenant."""
        try:
            with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise Unavailable(
                "The database did not answer; see that it runs, then try again."
            ) from error
        except psycopg.OperationalError as error:
            raise Unavailable(
                f"The database broke off ({_summarise_database_error(error)}); see that it runs, then retry."
            ) from error

    @contextmanager
    def reading(
        self, principal: Principal, settings: Mapping[str, str] | None = None
    ) -> Iterator[Connection]:
        """A read-only snapshot of what the principal may see: every statement in it sees the same state.

        `settings` of the server, such as the planner's, hold in it as well.
        """
        with (
            self.connection() as connection,
            _read_only_snapshot(connection),
            connection.transaction(),
        ):
            _set_transaction_context(
                connection, "groundwork_reader", principal.tenant, principal.groups, settings or {}
            )
            yield connection

    @contextmanager
    def writing(
        self, tenant: str, settings: Mapping[str, str] | None = None
    ) -> Iterator[Connection]:
        """A transaction that writes for one tenant: all of it or nothing. `settings` as in `reading`."""
        with self.connection() as connection, connection.transaction():
            _set_transaction_context(
                connection, "groundwork_writer", check_name("tenant", tenant), (), settings or {}
            )
            yield connection


@contextmanager
def _read_only_snapshot(connection: Connection) -> Iterator[None]:
    """Transactions begun inside are read-only and see one state throughout; said as they begin, at no extra cost."""
    connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
    try:
        yield
    finally:
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            connection.isolation_level, connection.read_only = None, None


def _set_transaction_context(
    connection: Connection,
    role: str,
    tenant: str,
    groups: tuple[str, ...],
    settings: Mapping[str, str] = MappingProxyType({}),
) -> None:
    taken_on = {
        "role": role,
        "groundwork.tenant": tenant,
        "groundwork.groups": GROUP_SEPARATOR.join(groups),
        **settings,
    }
    connection.execute(
        "select set_config(name, value, true) from unnest(%s::text[], %s::text[]) as setting (name, value)",
        (list(taken_on), list(taken_on.values())),
    )


@contextmanager
def owner_transaction(conninfo: str, tenant: str, purpose: str) -> Iterator[Connection]:
    """A transaction of the role that owns Groundwork's tables, for one tenant; `deed` says what it is for.

    Raises:
        InvalidInput: no usable tenant's name.
        Unavailable: no database, or too few rights.
    """
    check_name("tenant", tenant)
    try:
        with psycopg.connect(application_conninfo(conninfo)) as connection:
            connection.execute("select set_config('groundwork.tenant', %s, true)", (tenant,))
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unavailable(
            f"The role may not {purpose} ({error.diag.message_primary}); name one in GROUNDWORK_ADMIN_DATABASE_URL that"
            " owns Groundwork's tables."
        ) from error
    except psycopg.OperationalError as error:
        why = str(error).strip().splitlines()[-1]
        raise Unavailable(
            f"The database did not answer ({why}); correct GROUNDWORK_ADMIN_DATABASE_URL."
        ) from error


def application_conninfo(conninfo: str) -> str:
    """The address as the application uses it: our schema first, and a name that shows in pg_stat_activity."""
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        raise Unavailable(
            f"The database address can't be read ({_summarise_database_error(error)}); write it as postgresql://... ."
        ) from error
    parts.setdefault("application_name", "groundwork")
    parts.setdefault("connect_timeout", str(CONNECT_TIMEOUT_SECONDS))
    return make_conninfo("", **{**parts, "options": f"-c search_path={SCHEMA},public"})


QUERIES = load_queries(Path(__file__).with_name("checks.sql"))


def check_ready(connection: Connection) -> None:
    """See that the schema and the extension are there.

    Raises:
        Unavailable: the sentence says which is missing and what makes it.
    """
    facts = _fetch_one_row(connection, QUERIES["readiness"])
    if not facts["extension"]:
        raise Unavailable(
            "The database has no pgvector extension; install pgvector 0.8.4 or newer and migrate."
        )
    if not facts["schema"]:
        raise Unavailable(
            "The database has no Groundwork tables yet; run `groundwork migrate` against it first."
        )


def check_isolation(connection: Connection) -> None:
    """See that the database keeps tenants apart whatever the application does.

    Raises:
        UnsafeDatabase: the sentence names the first thing that does not hold.
    """
    facts = _fetch_one_row(connection, QUERIES["isolation"])
    role = facts["role"]
    if facts["superuser"] or facts["bypasses"]:
        raise UnsafeDatabase(
            f"The role {role} can see past row-level security; connect as {APPLICATION_ROLE}, never as a superuser."
        )
    if facts["owned"]:
        raise UnsafeDatabase(
            f"The role {role} owns {facts['owned'][0]}; connect as {APPLICATION_ROLE} instead."
        )
    if facts["open_tables"]:
        raise UnsafeDatabase(
            f"Table {facts['open_tables'][0]} lacks forced row-level security; run the migrations."
        )
    if facts["direct"]:
        raise UnsafeDatabase(
            f"The role {role} may read {facts['direct'][0]} directly; revoke that grant."
        )


def _fetch_one_row(connection: Connection, query: LiteralString) -> dict[str, Any]:
    with connection.cursor(row_factory=psycopg.rows.dict_row) as cursor:
        row = cursor.execute(query).fetchone()
    assert row is not None
    return row


def _format_connection_error(conninfo: str, error: psycopg.OperationalError) -> str:
    parts = conninfo_to_dict(conninfo)
    where = f"{parts.get('host') or 'localhost'}:{parts.get('port') or 5432}/{parts.get('dbname') or ''}"
    why = _summarise_database_error(error)
    return f"No connection to the database at {where} ({why}); correct GROUNDWORK_DATABASE_URL or start the server."


def _summarise_database_error(error: psycopg.Error) -> str:
    """Why there is no connection, in libpq's words; of a statement only the code, since the words may hold values."""
    lines = str(error).strip().splitlines()
    if error.sqlstate and not error.sqlstate.startswith(_CONNECTION_SQLSTATE_CLASSES):
        return f"error {error.sqlstate}"
    return lines[-1].strip() if lines else "no answer"


_CONNECTION_SQLSTATE_CLASSES = (
    "08",
    "28",
    "3D",
    "57",
)  # classes: no connection, no login, no such database, told to end
