"""What the program runs on, built once at start-up and passed in: settings, database, embedding model."""

import threading
from dataclasses import dataclass, field

import psycopg
from psycopg import sql

from core.db.database import Connection, Database
from core.db.index_version import check_model_revision, live_index
from core.db.migrate import migrate_database
from core.embedding import Embedder, SentenceTransformerEmbedder, describe_model
from core.errors import Unavailable
from core.local_postgres import DATABASE_NAME, EmbeddedPostgres
from core.settings import Settings


@dataclass(frozen=True, slots=True)
class Services:
    """Everything a flow, a request or a command needs; `close` gives it all back."""

    settings: Settings
    database: Database
    embedded_postgres: EmbeddedPostgres | None = None
    _embedders: dict[str, Embedder] = field(default_factory=dict)
    _load_lock: threading.Lock = field(default_factory=threading.Lock)

    def embedder(self) -> Embedder:
        """The model of the live index, loaded on first use, so that vectors of two models never meet.

        Raises:
            Unavailable: the model can't be loaded, or its weights are not those the index was built with.
        """
        with self.database.connection() as connection:
            index = live_index(connection)
        with self._load_lock:
            if index.model not in self._embedders:
                loaded = SentenceTransformerEmbedder(index.model, self.settings.embedding_dtype)
                check_model_revision(index, loaded.model)
                self._embedders[index.model] = loaded
            return self._embedders[index.model]

    def close(self) -> None:
        """Close the pool and leave the embedded server, if it is ours."""
        self.database.close()
        if self.embedded_postgres is not None:
            self.embedded_postgres.stop()

    def __enter__(self) -> "Services":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_services(settings: Settings) -> Services:
    """Connect to the configured database, or start the embedded one, migrated, where none is configured.

    Raises:
        Unavailable, UnsafeDatabase: see `Database.open`.
    """
    if settings.database_url:
        services = Services(settings, Database(settings.database_url).open())
    else:
        embedded, _ = start_embedded_postgres(settings)
        services = Services(
            settings, Database(embedded.conninfo("groundwork_app")).open(), embedded
        )
    with services.database.connection() as connection:
        index = live_index(connection)
    if index.model != settings.embedding_model:
        services.close()
        raise Unavailable(
            f"The index was built with {index.model!r}; set GROUNDWORK_EMBEDDING_MODEL={index.model},"
            " or ingest into another database."
        )
    return services


def start_embedded_postgres(settings: Settings) -> tuple[EmbeddedPostgres, list[str]]:
    """The embedded server of this home folder, running and migrated, and the names of the migrations just applied."""
    embedded = EmbeddedPostgres(settings.home / "postgres")
    embedded.start()
    with psycopg.connect(embedded.conninfo(dbname="postgres"), autocommit=True) as connection:
        ensure_database(connection, DATABASE_NAME)
    applied = migrate_database(
        embedded.conninfo(), lambda: describe_model(settings.embedding_model)
    )
    return embedded, applied


def ensure_database(connection: Connection, name: str) -> None:
    """Create a database unless it is there; two processes may ask at once."""
    if connection.execute("select 1 from pg_database where datname = %s", (name,)).fetchone():
        return
    try:
        connection.execute(sql.SQL("create database {}").format(sql.Identifier(name)))
    except (psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
        return
