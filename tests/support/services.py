"""Services, servers and a caching model for tests that need a database."""

import atexit
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np
import psycopg
import uvicorn
from fastapi import FastAPI
from psycopg import sql

from core.db.database import Database
from core.embedders.sentence_transformer import SentenceTransformerEmbedder
from core.embedding import Embedder, Vectors
from core.local_postgres import EmbeddedPostgres
from core.services import LoadedEmbedders, Services
from core.settings import Settings
from ingest import pipeline
from ingest.sandbox.pool import ParserPool
from serving.api.server import claim_port


class CachingEmbedder(SentenceTransformerEmbedder):
    """The real model, which computes the vector of a text once per test run."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._vectors: dict[str, Vectors] = {}

    def encode_uncached(
        self, texts: Sequence[str], on_progress: Callable[[float], None] = lambda share: None
    ) -> Vectors:
        """Compute all vectors."""
        return super().encode(texts, on_progress)

    def encode(
        self, texts: Sequence[str], on_progress: Callable[[float], None] = lambda share: None
    ) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._vectors]
        if new:
            self._vectors |= zip(new, self.encode_uncached(new, on_progress), strict=True)
        else:
            on_progress(1.0)
        return np.array([self._vectors[text] for text in texts], np.float32).reshape(
            len(texts), self.model.dimension
        )


def connect_services(
    server: EmbeddedPostgres, name: str, home: Path, embedder: Embedder
) -> Services:
    """Return services on a database of the test server, with the shared model."""
    settings = Settings(
        _env_file=None, home=home, database_url=server.conninfo("groundwork_app", name)
    )
    loaded = LoadedEmbedders({embedder.model.name: embedder})
    return Services(settings, Database(settings.database_url).open(), embedders=loaded)


@contextmanager
def serve_api(api: FastAPI) -> Iterator[str]:
    """Serve an application over HTTP on a free port; yield its address."""
    listener = claim_port("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(api, log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()


def ingest_folder(
    services: Services, tenant: str, path: Path, readers: tuple[str, ...] = ()
) -> pipeline.IngestReport:
    """Ingest a file or folder the way the flow does, without Prefect."""
    return pipeline.ingest_sources(
        services, tenant, [pipeline.build_source_spec(str(path), readers)], shared_parser_pool()
    )


@cache
def shared_parser_pool() -> ParserPool:
    """Return the parser processes of the test run; they end with it."""
    reader = ParserPool()
    atexit.register(reader.close)
    return reader


def connect_superuser(
    server: EmbeddedPostgres, services: Services
) -> psycopg.Connection[tuple[object, ...]]:
    """Return a connection that sees everything, to check the stored rows."""
    name = services.settings.database_url.split("dbname=")[1].split()[0]
    return psycopg.connect(
        server.conninfo(dbname=name), autocommit=True, options="-c search_path=groundwork,public"
    )


def run_statement(server: EmbeddedPostgres, statement: sql.Composed) -> None:
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute(statement)
