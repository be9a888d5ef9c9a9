"""`kill -9` of an ingest, again and again: what is stored afterwards is what an undisturbed one stores."""

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
from tests.integration.ingest.test_ingest import consistency
from tests.support.services import connect_services, superuser, take_in_folder

KILLS = 2  # ten, when one has the time
PLACES = (
    "vector_1",
    "",
    "posting",
    "sentence_1",
    "",
    "chunk",
    "tombstone",
    "document",
)  # "": wherever it is just then
SEED = 4711
DOCUMENTS = 40
PATIENCE = 120  # seconds for one process, on a busy machine
COMMAND = Path(sys.executable).parent / "groundwork"


def write_documents(folder: Path, edition: int) -> None:
    """Forty files with two chapters each; each edition leaves a few out and words the others differently."""
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        file.unlink()
    chance = random.Random(f"{SEED} {edition}")
    for number in range(DOCUMENTS + 4):
        if number % 11 != edition:
            litres, valve = chance.randint(10, 99), chance.randint(100, 999)
            (folder / f"pump-{number:02}.md").write_text(
                f"# Pump {number}\n\n## Flow\n\nPump {number} moves {litres} litres a second. It runs at night.\n\n"
                f"## Care\n\nClose valve V-{valve} before the filter of pump {number} is opened. Then wait.\n"
            )


def contents(server: EmbeddedPostgres, services: Services) -> list[tuple[Any, ...]]:
    """What is stored, without what differs between two ingests of the same files: ids, versions, times."""
    with superuser(server, services) as connection:
        return connection.execute(
            "select d.path, d.content_hash, d.text, r.readers,"
            " array(select (c.ordinal, c.text, c.start_char, c.tokens)::text from chunk c"
            "  where (c.tenant_id, c.document_id) = (d.tenant_id, d.document_id) order by c.ordinal),"
            " (select count(*) from chunk c join vector_1 using (chunk_id) where c.document_id = d.document_id),"
            " (select count(*) from chunk c join sentence_1 using (chunk_id) where c.document_id = d.document_id),"
            " (select count(*) from chunk c join posting using (chunk_id) where c.document_id = d.document_id)"
            " from document d join reader_set r using (tenant_id, reader_set_id) order by d.path"
        ).fetchall()


def start(
    services: Services, folder: Path, home: Path, prefect: str = ""
) -> subprocess.Popen[bytes]:
    """The command, with a Prefect server of its own where no address of another is given."""
    own = {"GROUNDWORK_HOME": str(home), "GROUNDWORK_DATABASE_URL": services.settings.database_url}
    return subprocess.Popen(
        [COMMAND, "ingest", folder, "--tenant", "acme"],
        env={**os.environ, **own, "PREFECT_API_URL": prefect},
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def done(connection: psycopg.Connection[Any], runs: int) -> int:
    """How many documents the newest run has stored, -1 before there is one; `runs` are older."""
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
    """Kill an ingest when it has stored so many documents: at once, or as it is about to write the next one's rows of
    a table. Returns the processes that it had started.
    """
    until(process, lambda: done(connection, runs) >= documents)
    started = children(process.pid)
    with connection.transaction():
        if table:
            connection.execute(sql.SQL("lock table {} in share mode").format(sql.Identifier(table)))
            until(process, lambda: blocked(connection))
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
    return started


def until(process: subprocess.Popen[bytes], holds: Callable[[], bool]) -> None:
    """Wait for something to hold while a process runs."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert process.poll() is None, "the ingest was over before it could be killed"
        assert time.monotonic() < deadline, "the ingest does not come on"
        time.sleep(0.001)


def blocked(connection: psycopg.Connection[Any]) -> bool:
    """Whether somebody in this database waits for a lock."""
    waiting = connection.execute(
        "select from pg_locks l join pg_database d on d.oid = l.database"
        " where d.datname = current_database() and not l.granted"
    )
    return waiting.fetchone() is not None


def children(parent: int) -> list[int]:
    """The processes that a process has started and that still run, where the system tells."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended meanwhile
        if int(fields[1]) == parent and fields[0] != "Z":
            found.append(int(status.parent.name))
    return found


def ends(pid: int) -> bool:
    """Whether a process is gone before patience ends."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.01)
    return False


def test_an_ingest_may_be_killed_anywhere(
    server: EmbeddedPostgres,
    clone: Callable[[], str],
    home: Path,
    embedder: Embedder,
    engine: PrefectServer,
    tmp_path: Path,
) -> None:
    """While it adds, replaces and deletes. After one more run nothing is missing, nothing double, nothing left over.

    The first one starts a Prefect server, which must end with it; the others have the session's, which is there sooner.
    """
    with engine.connect():
        from prefect.settings import PREFECT_API_URL

        shared = str(PREFECT_API_URL.value())
    chance = random.Random(SEED)
    folder = tmp_path / "docs"
    with (
        connect_services(server, clone(), home, embedder) as disturbed,
        connect_services(server, clone(), home, embedder) as undisturbed,
    ):
        write_documents(folder, edition=1)
        for file in sorted(folder.iterdir())[::3]:
            file.rename(
                tmp_path / file.name
            )  # a third comes later, so that there is something to add
        take_in_folder(disturbed, "acme", folder)
        write_documents(folder, edition=2)
        take_in_folder(undisturbed, "acme", folder)
        with superuser(server, disturbed) as connection:
            for runs in range(KILLS):
                stored: Any = connection.execute(
                    "select count(*) from document where run_id in (select run_id from run)"
                ).fetchone()
                target = chance.randint(0, (DOCUMENTS - stored[0]) // 2)
                process = start(disturbed, folder, tmp_path / "home", shared if runs else "")
                for pid in kill_when(process, connection, runs, target, PLACES[runs % len(PLACES)]):
                    assert ends(pid), "a process of the killed ingest is left"
                assert consistency(server, disturbed) == []
        take_in_folder(disturbed, "acme", folder)
        assert contents(server, disturbed) == contents(server, undisturbed)
        assert consistency(server, disturbed) == []
        with superuser(server, disturbed) as connection:
            newest = connection.execute(
                "select state from run order by started_at desc limit 1"
            ).fetchone()
            others = connection.execute(
                "select count(*) from run where state = 'finished'"
            ).fetchone()
        assert (newest, others) == (("finished",), (2,))  # the first one and the last
