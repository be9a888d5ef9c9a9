"""Services that a command, flow or request works with: settings, database, embedding models."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from core.db.database import Connection, Database
from core.db.index_version import check_model_revision, live_index
from core.db.migrate import migrate_database
from core.embedding import Embedder, describe_model, load_embedder
from core.errors import Unavailable
from core.local_postgres import DATABASE_NAME, EmbeddedPostgres
from core.settings import Settings


class LoadedEmbedders:
    """Embedding models that this process has loaded, by name. Any thread may use it."""

    def __init__(self, embedders: Mapping[str, Embedder] | None = None) -> None:
        self._embedders = dict(embedders or {})
        self._lock = threading.Lock()

    def live_embedder(self, connection: Connection, dtype: str) -> Embedder:
        """Return the model of the live index; load it on first use.

        Raises:
            Unavailable: the model can't be loaded, or has other weights than the index.
        """
        index = live_index(connection)
        with self._lock:
            if index.model not in self._embedders:
                embedder = load_embedder(index.model, dtype)
                check_model_revision(index, embedder.model)
                self._embedders[index.model] = embedder
            return self._embedders[index.model]


@dataclass(frozen=True, slots=True)
class Services:
    """Services, created once at start-up. `close` releases them."""

    settings: Settings
    database: Database
    embedded_postgres: EmbeddedPostgres | None = None
    embedders: LoadedEmbedders = field(default_factory=LoadedEmbedders)

    def embedder(self) -> Embedder:
        """Return the model of the live index, so that vectors of two models are never compared.

        Raises:
            Unavailable: see `LoadedEmbedders.live_embedder`.
        """
        with self.database.connection() as connection:
            return self.embedders.live_embedder(connection, self.settings.embedding_dtype)

    def close(self) -> None:
        """Close the connections, and leave the embedded PostgreSQL if it is used."""
        self.database.close()
        if self.embedded_postgres is not None:
            self.embedded_postgres.stop()

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_services(settings: Settings) -> Services:
    """Connect to the configured database; without one, start and migrate the embedded PostgreSQL.

    Raises:
        Unavailable: the database is not available, or its index has another embedding model.
        UnsafeDatabase: the database does not isolate tenants.
    """
    if settings.database_url:
        services = Services(settings, Database(settings.database_url).open())
    else:
        embedded, _ = start_embedded_postgres(settings)
        database = Database(embedded.conninfo("groundwork_app")).open()
        services = Services(settings, database, embedded)
    with services.database.connection() as connection:
        index = live_index(connection)
    if index.model != settings.embedding_model:
        services.close()
        raise Unavailable(
            f"The index was built with the model {index.model!r}. Set"
            f" GROUNDWORK_EMBEDDING_MODEL={index.model}, or ingest into another database."
        )
    return services


def start_embedded_postgres(settings: Settings) -> tuple[EmbeddedPostgres, list[str]]:
    """Start and migrate the embedded PostgreSQL of the home folder. Return the applied files."""
    embedded = EmbeddedPostgres(settings.home / "postgres")
    embedded.start()
    with psycopg.connect(embedded.conninfo(dbname="postgres"), autocommit=True) as connection:
        ensure_database(connection, DATABASE_NAME)
    applied = migrate_database(
        embedded.conninfo(), lambda: describe_model(settings.embedding_model)
    )
    return embedded, applied


def ensure_database(connection: Connection, name: str) -> None:
    """Create a database if it does not exist. Two processes may do so at the same time."""
    if connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
        return
    try:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return
