"""Checks of the store: readers while documents change, and a full check after each run."""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psycopg.rows import dict_row

from bench.faults.papers import Papers, make_question, read_editions
from bench.faults.processes import DATABASE_ERRORS, TENANT, Service
from bench.faults.tally import Tally
from core.db.database import Connection
from core.db.index_version import live_index
from core.db.queries import compose_query, load_queries
from core.principal import Principal
from core.services import Services
from ingest.runs.repair import repair_tenant
from ingest.store.documents import compute_document_id
from retrieval.retriever import retrieve

QUERIES = load_queries(Path(__file__).with_name("looking.sql"))
READER = Principal(TENANT)
CROWD_PAUSE_SECONDS = 8.0  # each crowd takes about 3 s of a processor
READERS_PER_SEARCH = 8  # one reader of 8 searches, the others open a document


@contextmanager
def run_crowds(services: Services, papers: Papers, tally: Tally, readers: int) -> Iterator[None]:
    """Run all readers at once, repeatedly, until the end of the block."""
    ended = threading.Event()

    def run_until_ended() -> None:
        chance = random.Random(readers)  # noqa: S311
        with ThreadPoolExecutor(readers) as threads:
            while not ended.wait(CROWD_PAUSE_SECONDS):
                together = threading.Barrier(readers)
                looks = [
                    _search_document if number % READERS_PER_SEARCH == 0 else _read_document
                    for number in range(readers)
                ]
                names = chance.choices(papers.names, k=readers)
                wait(
                    threads.submit(_run_reader, together, look, services, name, tally)
                    for look, name in zip(looks, names, strict=True)
                )

    crowd = threading.Thread(target=run_until_ended, name="crowds")
    crowd.start()
    try:
        yield
    finally:
        ended.set()
        crowd.join()


def _run_reader(
    together: threading.Barrier,
    look: Callable[..., None],
    services: Services,
    name: str,
    tally: Tally,
) -> None:
    together.wait()
    try:
        look(services, name, tally)
        tally.add_read(failed=False)
    except DATABASE_ERRORS:
        tally.add_read(failed=True)
    except Exception as error:
        tally.add_violation("mixed", f"{name} made a reader fail: {type(error).__name__}: {error}")


def _read_document(services: Services, name: str, tally: Tally) -> None:
    """Read text and chunks of a document in one snapshot: both must be of one edition."""
    with services.database.reading(READER) as connection:
        for row in _rows(connection, "read_document", {"path": name}):
            chunks = _chunks(connection, row)
            expected, editions = read_editions(row["text"]), read_editions("".join(chunks))
            if len(set(expected)) != 1 or editions != expected:
                tally.add_violation(
                    "mixed", f"{name}: the text is of {expected}, its chunks of {editions}"
                )


def _search_document(services: Services, name: str, tally: Tally) -> None:
    """Search for a document: its passages must be of one edition."""
    editions_by_path: dict[str, set[str]] = {}
    for hit in retrieve(services, READER, make_question(name), limit=20, mode="lexical").hits:
        editions_by_path.setdefault(hit.path, set()).update(read_editions(hit.text))
    if mixed := {
        path: editions for path, editions in editions_by_path.items() if len(editions) > 1
    }:
        tally.add_violation("mixed", f"a search finds {mixed}")


def check_store(services: Services, papers: Papers, tally: Tally) -> None:
    """Compare the store with the folder; find orphans, doubles and incomplete indexes."""
    for name in papers.names:
        with services.database.reading(READER) as connection:
            rows = _rows(connection, "read_document", {"path": name})
            chunks = [_chunks(connection, row) for row in rows]
        _compare_document(papers.editions.get(name), name, rows, chunks, tally)
    with services.database.reading(READER) as connection:
        vectors = live_index(connection).vector_table_name
        row = connection.execute(
            compose_query(QUERIES["count_incomplete_chunks"], vectors=vectors)
        ).fetchone()
    if row and row[0]:
        tally.add_violation("lost", f"{row[0]} chunks lack their vector or a posting")
    for finding in repair_tenant(services, TENANT, dry_run=True):
        if finding.found and "without a" in finding.check and "worker" not in finding.check:
            tally.add_violation("orphaned", f"{finding.found} {finding.check}")
        if finding.found and "statistics" in finding.check:
            tally.add_violation("miscounted", finding.check)


def _compare_document(
    edition: int | None,
    name: str,
    rows: Sequence[dict[str, Any]],
    chunks: Sequence[list[str]],
    tally: Tally,
) -> None:
    """Compare the stored rows of a document; `edition` is None if it was deleted."""
    if edition is None:
        if rows:
            tally.add_violation("found deleted", f"{name} is stored")
        return
    if len(rows) > 1:
        tally.add_violation("doubled", f"{name} is stored {len(rows)} times")
    if not rows or set(read_editions(rows[0]["text"])) != {str(edition)}:
        tally.add_violation(
            "lost",
            f"{name} should be of edition {edition}: {rows[0]['text'][:60] if rows else 'absent'}",
        )
    elif len(chunks[0]) != len(set(chunks[0])):
        tally.add_violation("doubled", f"{name}: {chunks[0]}")


def ask_before_delete(service: Service, names: Collection[str], tally: Tally) -> None:
    """Ask about documents before their deletion, so that any cache contains them."""
    tally.cited_before += sum(name in service.ask(make_question(name)) for name in names)


def check_deleted(service: Service, papers: Papers, names: Collection[str], tally: Tally) -> None:
    """Ask again: no search, answer or id may return a deleted document."""
    for name in names:
        if name in service.search(make_question(name)):
            tally.add_violation("found deleted", f"a search finds {name}")
        if name in service.ask(make_question(name)):
            tally.add_violation("found deleted", f"an answer names {name}")
        if service.has_document(compute_document_id(TENANT, (papers.folder / name).as_uri())):
            tally.add_violation("found deleted", f"the id of {name} is found")
        tally.deletes += 1


def retry_while_down(look: Callable[..., None], *arguments: Any) -> None:
    """Retry a check while the database is down."""
    while True:
        try:
            look(*arguments)
            return
        except DATABASE_ERRORS:
            time.sleep(0.3)


def _chunks(connection: Connection, row: dict[str, Any]) -> list[str]:
    return [chunk["text"] for chunk in _rows(connection, "read_chunks", row)]


def _rows(connection: Connection, name: str, values: dict[str, Any]) -> list[dict[str, Any]]:
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(QUERIES[name], values).fetchall()
