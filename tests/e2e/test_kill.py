"""An ingest that is killed again and again stores the same as an undisturbed one."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from core.embedding import Embedder
from core.local_postgres import EmbeddedPostgres
from core.services import Services
from flows.prefect_server import PrefectServer
from tests.integration.ingest.test_ingest import find_inconsistencies
from tests.support.services import connect_services, connect_superuser, ingest_folder

KILLS = 2  # 10 find more
LOCKED_TABLES = (
    "vector_1",
    "",
    "posting",
    "sentence_1",
    "",
    "chunk",
    "tombstone",
    "document",
)  # the kill comes as the ingest writes to this table; "": at any moment
SEED = 4711
DOCUMENTS = 40
TIMEOUT_SECONDS = 120  # for one process, on a busy machine
COMMAND = Path(sys.executable).parent / "groundwork"


def write_documents(folder: Path, edition: int) -> None:
    """Write files with two chapters each. Each edition omits some files and changes the others."""
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    generator = random.Random(f"{SEED} {edition}")
    for number in range(DOCUMENTS + 4):
        if number % 11 != edition:
            litres, valve = generator.randint(10, 99), generator.randint(100, 999)
            flow = f"Pump {number} moves {litres} litres a second. It runs at night."
            care = f"Close valve V-{valve} before the filter of pump {number} is opened. Then wait."
            text = f"# Pump {number}\n\n## Flow\n\n{flow}\n\n## Care\n\n{care}\n"
            (folder / f"pump-{number:02}.md").write_text(text)


def read_contents(server: EmbeddedPostgres, services: Services) -> list[tuple[Any, ...]]:
    """Return all documents without ids, versions and times, which differ between two ingests."""
    with connect_superuser(server, services) as connection:
        return connection.execute("""
            select d.path, d.content_hash, d.text, r.readers,
                array(
                    select (c.ordinal, c.text, c.start_char, c.tokens)::text from chunk c
                    where (c.tenant_id, c.document_id) = (d.tenant_id, d.document_id)
                    order by c.ordinal
                ),
                (select count(*) from chunk c join vector_1 using (chunk_id)
                    where c.document_id = d.document_id),
                (select count(*) from chunk c join sentence_1 using (chunk_id)
                    where c.document_id = d.document_id),
                (select count(*) from chunk c join posting using (chunk_id)
                    where c.document_id = d.document_id)
            from document d join reader_set r using (tenant_id, reader_set_id)
            order by d.path
            """).fetchall()


def start_ingest(
    services: Services, folder: Path, home: Path, prefect: str = ""
) -> subprocess.Popen[bytes]:
    """Start the command. Without the address of a Prefect server it starts its own."""
    settings = {
        "GROUNDWORK_HOME": str(home),
        "GROUNDWORK_DATABASE_URL": services.settings.database_url,
    }
    return subprocess.Popen(
        [COMMAND, "ingest", folder, "--tenant", "acme"],
        env={**os.environ, **settings, "PREFECT_API_URL": prefect},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def count_stored(connection: psycopg.Connection[Any], runs: int) -> int:
    """Return the number of documents of the newest run; -1 while there are only `runs` runs."""
    row = connection.execute(
        "select (select count(*) from run) - %s, count(*) from document"
        " where run_id = (select run_id from run order by started_at desc limit 1)",
        [runs],
    ).fetchone()
    assert row
    return int(row[1]) if row[0] else -1


def kill_when(
    process: subprocess.Popen[bytes],
    connection: psycopg.Connection[Any],
    runs: int,
    documents: int,
    table: str,
) -> list[int]:
    """Kill an ingest that has stored so many documents; return the processes that it had started.

    With a table, the kill comes when the ingest is about to write to it.
    """
    wait_until(process, lambda: count_stored(connection, runs) >= documents)
    started = list_children(process.pid)
    with connection.transaction():
        if table:
            connection.execute(sql.SQL("lock table {} in share mode").format(sql.Identifier(table)))
            wait_until(process, lambda: is_blocked(connection))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    return started


def wait_until(process: subprocess.Popen[bytes], condition: Callable[[], bool]) -> None:
    """Wait for a condition while a process runs."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition():
        assert process.poll() is None, "the ingest was over before it could be killed"
        assert time.monotonic() < deadline, "the ingest makes no progress"
        time.sleep(0.001)


def is_blocked(connection: psycopg.Connection[Any]) -> bool:
    """Return True if a process waits for a lock in this database."""
    waiting = connection.execute(
        "select from pg_locks l join pg_database d on d.oid = l.database"
        " where d.datname = current_database() and not l.granted"
    )
    return waiting.fetchone() is not None


def list_children(parent: int) -> list[int]:
    """Return the running child processes of a process, on systems with /proc."""
    children = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # the process has just ended
        if int(fields[1]) == parent and fields[0] != "Z":
            children.append(int(status.parent.name))
    return children


def has_ended(pid: int) -> bool:
    """Wait for the end of a process; return False after the timeout."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_an_ingest_can_be_killed_at_any_moment(
    server: EmbeddedPostgres,
    clone: Callable[[], str],
    home: Path,
    embedder: Embedder,
    engine: PrefectServer,
    tmp_path: Path,
) -> None:
    """One more run afterwards leaves no document missing, doubled or outdated.

    The first ingest starts a Prefect server, which must end with it. The others use the session's.
    """
    with engine.connect():
        from prefect.settings import PREFECT_API_URL

        shared = str(PREFECT_API_URL.value())
    generator = random.Random(SEED)
    folder = tmp_path / "docs"
    with (
        connect_services(server, clone(), home, embedder) as disturbed,
        connect_services(server, clone(), home, embedder) as undisturbed,
    ):
        write_documents(folder, edition=1)
        for file in sorted(folder.iterdir())[::3]:
            # A third of the files comes later, so that there is something to add.
            file.rename(tmp_path / file.name)
        ingest_folder(disturbed, "acme", folder)
        write_documents(folder, edition=2)
        ingest_folder(undisturbed, "acme", folder)
        with connect_superuser(server, disturbed) as connection:
            for runs in range(KILLS):
                stored: Any = connection.execute(
                    "select count(*) from document where run_id in (select run_id from run)"
                ).fetchone()
                target = generator.randint(0, (DOCUMENTS - stored[0]) // 2)
                address = shared if runs else ""
                process = start_ingest(disturbed, folder, tmp_path / "home", address)
                table = LOCKED_TABLES[runs % len(LOCKED_TABLES)]
                for pid in kill_when(process, connection, runs, target, table):
                    assert has_ended(pid), "a process of the killed ingest is left"
                assert find_inconsistencies(server, disturbed) == []
        ingest_folder(disturbed, "acme", folder)
        assert read_contents(server, disturbed) == read_contents(server, undisturbed)
        assert find_inconsistencies(server, disturbed) == []
        with connect_superuser(server, disturbed) as connection:
            newest = connection.execute(
                "select state from run order by started_at desc limit 1"
            ).fetchone()
            finished = connection.execute(
                "select count(*) from run where state = 'finished'"
            ).fetchone()
        assert newest == ("finished",)
        assert finished == (2,)  # the first run and the last one
