"""Status of a tenant: its counts, quarantined files, documents, and the progress of runs."""

import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from psycopg.rows import class_row, dict_row

from core.db.index_version import live_index
from core.db.queries import load_queries
from core.errors import InvalidInput, NotFound, Unavailable
from core.services import Services
from ingest.runs import queue
from ingest.runs.queue import RunHandle, RunProgress

QUERIES = load_queries(Path(__file__).with_name("status.sql"))


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """A quarantined file: the stage, the reason, and the number of attempts."""

    uri: str
    path: str
    stage: str
    reason: str
    message: str
    attempts: int
    run_id: uuid.UUID
    quarantined_at: datetime


def read_tenant_status(services: Services, tenant: str) -> dict[str, Any]:
    """Return the counts of a tenant, its last run, and the model of the live index."""
    with (
        services.database.writing(tenant) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        index = live_index(connection)
        row = cursor.execute(QUERIES["read_status"], {"tenant": tenant}).fetchone()
    assert row is not None
    return {
        "tenant": tenant,
        "database": "embedded" if services.embedded_postgres else "configured",
        "model": f"{index.model} {index.revision}",
    } | row


def list_quarantined_files(
    services: Services, tenant: str, name: str = ""
) -> list[QuarantineEntry]:
    """Return the quarantined files, by path; with `name`, only those with this path or uri.

    Raises:
        NotFound: no quarantined file has this name.
    """
    with (
        services.database.writing(tenant) as connection,
        connection.cursor(row_factory=class_row(QuarantineEntry)) as cursor,
    ):
        files = cursor.execute(QUERIES["list_quarantined"], {"tenant": tenant}).fetchall()
    if not name:
        return files
    named = [file for file in files if name in (file.path, file.uri)]
    if not named:
        raise NotFound(
            f"No quarantined file is called {name}. List them with `groundwork quarantine list`."
        )
    return named


def release_quarantined_files(
    services: Services, tenant: str, files: Sequence[QuarantineEntry]
) -> set[uuid.UUID]:
    """Let the next run of their source retry files; return the runs that quarantined them."""
    values = {"tenant": tenant, "uris": sorted(file.uri for file in files)}
    with services.database.writing(tenant) as connection:
        rows = connection.execute(QUERIES["release_quarantined"], values).fetchall()
    return {row[0] for row in rows}


def describe_document(services: Services, tenant: str, name: str) -> dict[str, Any]:
    """Return a document by uri, path or id, with its chunks, versions, and duplicates (`places`).

    Raises:
        NotFound: there is no such document.
        InvalidInput: several documents have this path.
    """
    with (
        services.database.writing(tenant) as connection,
        connection.cursor(row_factory=dict_row) as cursor,
    ):
        named = {"tenant": tenant, "name": name}
        documents = cursor.execute(QUERIES["find_documents"], named).fetchall()
        if not documents:
            raise NotFound(
                f"There is no document {name} in tenant {tenant}. Use its path, uri or id."
            )
        if len(documents) > 1:
            uris = ", ".join(row["uri"] for row in documents[:3])
            raise InvalidInput(f"Several documents are called {name}. Use a uri, such as {uris}.")
        document = documents[0]
        values = {"tenant": tenant} | {key: document[key] for key in ("document_id", "uri")}
        chunks = cursor.execute(QUERIES["list_chunks"], values).fetchall()
        places = cursor.execute(QUERIES["list_places"], values).fetchall()
        versions = cursor.execute(QUERIES["list_versions"], values).fetchall()
    return document | {"versions": versions, "places": places, "chunks": chunks}


def find_progress(services: Services, run: RunHandle) -> RunProgress | None:
    """Return the progress of a run; None if it is unknown or the database unavailable."""
    try:
        with services.database.writing(run.tenant) as connection:
            return queue.read_progress(connection, run)
    except (NotFound, Unavailable):
        return None


@contextmanager
def watch_progress(
    services: Services,
    run: RunHandle,
    on_progress: Callable[[RunProgress], object],
    interval_seconds: float,
) -> Iterator[None]:
    """Call `on_progress` from a thread until the end of the block, and once more after success."""
    stopped = threading.Event()

    def report_progress() -> None:
        progress = find_progress(services, run)
        if progress is not None:
            on_progress(progress)

    def report_until_stopped() -> None:
        while not stopped.wait(interval_seconds):
            report_progress()

    # The caller's context tells Prefect which server to use. Without it, Prefect starts another.
    thread = threading.Thread(
        target=copy_context().run, args=(report_until_stopped,), name="progress", daemon=True
    )
    thread.start()
    try:
        yield
        report_progress()
    finally:
        stopped.set()
        thread.join()
