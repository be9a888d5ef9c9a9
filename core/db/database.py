"""Access to PostgreSQL: a connection pool, and the two kinds of transactions of the application.

    with database.reading(principal) as connection: ...   # sees what the principal may see
    with database.writing("alder") as connection: ...     # writes for one tenant

Role, tenant and groups are set for the transaction only, so a pooled connection keeps nothing.
Outside such a transaction, a connection has no privileges on any table of a tenant.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType

import psycopg
from pgvector.psycopg import register_vector
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool, PoolTimeout

from core.db.checks import check_isolation, check_ready
from core.errors import Unavailable
from core.principal import GROUP_SEPARATOR, Principal, check_name

Connection = psycopg.Connection[TupleRow]

SCHEMA = "groundwork"
CONNECT_TIMEOUT_SECONDS = 10
# SQLSTATE classes: no connection, no login, no such database, connection ended by the server.
_CONNECTION_SQLSTATE_CLASSES = ("08", "28", "3D", "57")
_NO_SETTINGS: Mapping[str, str] = MappingProxyType({})


class Database:
    """A connection pool on one database. `close` it, or use it as a context manager."""

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
        """Connect and check the database.

        Raises:
            Unavailable: no server, no database, no pgvector, or no schema.
            UnsafeDatabase: the role can bypass row-level security, or a table is without it.
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
        """Close all connections."""
        self._pool.close()

    def __enter__(self) -> "Database":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_connection(self, connection: Connection) -> None:
        """Check a pooled connection. If it is dead, the server was restarted: drop all of them.

        The pool would test them one after the other, and wait longer after each.
        """
        try:
            ConnectionPool.check_connection(connection)
        except psycopg.OperationalError:
            self._pool.drain()
            raise

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """Lend a connection without privileges on tables of tenants.

        Raises:
            Unavailable: the database does not respond.
        """
        try:
            with self._pool.connection() as connection:
                yield connection
        except PoolTimeout as error:
            raise Unavailable(
                "The database did not respond. Check that it is running, then try again."
            ) from error
        except psycopg.OperationalError as error:
            raise Unavailable(
                f"The database connection was lost ({_summarise_database_error(error)})."
                " Check that the database is running, then try again."
            ) from error

    @contextmanager
    def reading(
        self, principal: Principal, settings: Mapping[str, str] = _NO_SETTINGS
    ) -> Iterator[Connection]:
        """Begin a read-only transaction with the access rights of a principal.

        All its statements see the same state. `settings` are PostgreSQL settings, such as work_mem.
        """
        with (
            self.connection() as connection,
            _read_only_snapshot(connection),
            connection.transaction(),
        ):
            _set_transaction_context(
                connection, "groundwork_reader", principal.tenant, principal.groups, settings
            )
            yield connection

    @contextmanager
    def writing(
        self, tenant: str, settings: Mapping[str, str] = _NO_SETTINGS
    ) -> Iterator[Connection]:
        """Begin a transaction that writes for one tenant. `settings` as in `reading`."""
        check_name("tenant", tenant)
        with self.connection() as connection, connection.transaction():
            _set_transaction_context(connection, "groundwork_writer", tenant, (), settings)
            yield connection


@contextmanager
def _read_only_snapshot(connection: Connection) -> Iterator[None]:
    """Make transactions read-only with one snapshot. psycopg sends this with BEGIN, at no cost."""
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
    settings: Mapping[str, str] = _NO_SETTINGS,
) -> None:
    values = {
        "role": role,
        "groundwork.tenant": tenant,
        "groundwork.groups": GROUP_SEPARATOR.join(groups),
        **settings,
    }
    connection.execute(
        "select set_config(name, value, true)"
        " from unnest(%s::text[], %s::text[]) as setting (name, value)",
        (list(values), list(values.values())),
    )


@contextmanager
def connect_as_owner(conninfo: str, purpose: str, *, autocommit: bool) -> Iterator[Connection]:
    """Connect as the role that owns the tables. `purpose` completes "The role may not ...".

    Raises:
        Unavailable: no connection, or missing privileges.
    """
    try:
        with psycopg.connect(application_conninfo(conninfo), autocommit=autocommit) as connection:
            yield connection
    except psycopg.errors.InsufficientPrivilege as error:
        raise Unavailable(
            f"The role may not {purpose} ({error.diag.message_primary})."
            " Set GROUNDWORK_ADMIN_DATABASE_URL to a role that owns, or may create, Groundwork's"
            " tables, roles and extensions."
        ) from error
    except psycopg.OperationalError as error:
        reason = str(error).strip().splitlines()[-1]
        raise Unavailable(
            f"The database did not respond ({reason}). Correct GROUNDWORK_ADMIN_DATABASE_URL."
        ) from error


@contextmanager
def owner_transaction(conninfo: str, tenant: str, purpose: str) -> Iterator[Connection]:
    """Begin a transaction for one tenant as the owner; see `connect_as_owner`.

    Raises:
        InvalidInput: the tenant's name is not valid.
    """
    check_name("tenant", tenant)
    with connect_as_owner(conninfo, purpose, autocommit=False) as connection:
        connection.execute("select set_config('groundwork.tenant', %s, true)", (tenant,))
        yield connection


def application_conninfo(conninfo: str) -> str:
    """Add the application's search path, name and time limit to a database address.

    Raises:
        Unavailable: the address is not valid.
    """
    try:
        parts = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError as error:
        raise Unavailable(
            f"The database address can't be read ({_summarise_database_error(error)})."
            " Write it as postgresql://USER@HOST:PORT/DATABASE."
        ) from error
    parts.setdefault("application_name", "groundwork")
    parts.setdefault("connect_timeout", str(CONNECT_TIMEOUT_SECONDS))
    return make_conninfo("", **{**parts, "options": f"-c search_path={SCHEMA},public"})


def _format_connection_error(conninfo: str, error: psycopg.OperationalError) -> str:
    parts = conninfo_to_dict(conninfo)
    host, port = parts.get("host") or "localhost", parts.get("port") or 5432
    address = f"{host}:{port}/{parts.get('dbname') or ''}"
    return (
        f"No connection to the database at {address} ({_summarise_database_error(error)})."
        " Correct GROUNDWORK_DATABASE_URL, or start the server."
    )


def _summarise_database_error(error: psycopg.Error) -> str:
    """Return libpq's reason for a failed connection.

    The message of a failed statement may hold values, so only its code is returned.
    """
    if error.sqlstate and not error.sqlstate.startswith(_CONNECTION_SQLSTATE_CLASSES):
        return f"error {error.sqlstate}"
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else "no answer"
