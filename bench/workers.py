"""Several worker processes on a Prefect server share one ingest; some of them are killed.

    .venv/bin/python -m bench.workers FOLDER                     four workers, two killed
    .venv/bin/python -m bench.workers FOLDER --workers 2 --kills 1

It starts an embedded PostgreSQL, a Prefect server and the workers (`groundwork flows serve
--limit 1`, each a process with its own model), requests the ingest with `groundwork flows ingest`,
kills workers when a share of the files is done, and compares the database with the folder: every
document is stored once, and nothing is left over.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import psycopg
from psycopg.rows import TupleRow

from core.db.database import Database
from core.services import Services, start_embedded_postgres
from core.settings import Settings
from flows.prefect_server import PrefectServer
from ingest.runs.repair import repair_tenant

TENANT = "workers"
COMMAND = Path(sys.executable).parent / "groundwork"
DONE_QUERY = "select count(*) filter (where state = 'done'), count(*) from groundwork.item"
LEASED_QUERY = "select worker, count(*) from groundwork.item where state = 'leased' group by worker"
STORED_QUERY = (
    "select count(*), count(distinct uri), coalesce(max(version), 0), (select count(*) from "
    "groundwork.chunk),"
    " (select count(*) from groundwork.quarantine), (select count(distinct worker) from "
    "groundwork.item),"
    " (select state from groundwork.run order by number desc limit 1) from groundwork.document"
)


def measure(home: Path, folder: Path, workers: int, kills: int) -> dict[str, object]:
    """Run the ingest and return the counts of the report."""
    embedded, _ = start_embedded_postgres(Settings(home=home, database_url=""))
    with ExitStack() as stack:
        stack.callback(embedded.stop)
        engine = stack.enter_context(PrefectServer(home / "prefect")).start()
        with engine.connect():
            from prefect.settings import PREFECT_API_URL

            environment = {
                **os.environ,
                "GROUNDWORK_DATABASE_URL": embedded.conninfo("groundwork_app"),
                "GROUNDWORK_HOME": str(home),
                "PREFECT_API_URL": str(PREFECT_API_URL.value()),
            }
            workers_started = [
                _start_worker(environment, home, number) for number in range(workers)
            ]
            for process in workers_started:
                stack.callback(_kill_group, process)
            connection = stack.enter_context(psycopg.connect(embedded.conninfo(), autocommit=True))
            began = time.perf_counter()
            killer = threading.Thread(
                target=_kill_workers, args=(connection, workers_started, kills), daemon=True
            )
            killer.start()
            code = _run_ingest(environment, folder, workers)
            seconds = time.perf_counter() - began
            killed = sum(process.poll() is not None for process in workers_started)
            done = {
                "exit code": code,
                "seconds": round(seconds, 1),
                "workers": workers,
                "killed": killed,
            }
            return (
                done
                | _read_stored_counts(connection, folder)
                | {"leftovers": _count_leftovers(home, environment)}
            )


def _start_worker(environment: dict[str, str], home: Path, number: int) -> subprocess.Popen[bytes]:
    with (home / f"worker-{number}.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603
            [str(COMMAND), "flows", "serve", "--limit", "1", "--tenant", TENANT],
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _run_ingest(environment: dict[str, str], folder: Path, workers: int) -> int:
    """Request the ingest until the deployments are registered, then wait for the run."""
    command = [
        str(COMMAND),
        "flows",
        "ingest",
        str(folder),
        "--workers",
        str(workers),
        "--tenant",
        TENANT,
    ]
    while True:
        completed = subprocess.run(  # noqa: S603
            command, env=environment, stderr=subprocess.PIPE, text=True, check=False
        )
        if "could not be started" not in completed.stderr:
            sys.stderr.write(completed.stderr)
            return completed.returncode
        time.sleep(1)


def _kill_workers(
    connection: psycopg.Connection[TupleRow], serving: list[subprocess.Popen[bytes]], kills: int
) -> None:
    """Kill busy workers one after the other, each after a further share of the files is done."""
    for number in range(1, kills + 1):
        while True:
            row = connection.execute(DONE_QUERY).fetchone()
            process = _find_busy_worker(connection, serving)
            if row and row[1] and row[0] >= row[1] * number / (kills + 2) and process:
                break
            time.sleep(0.1)
        _kill_group(process)
        leased = connection.execute(LEASED_QUERY).fetchall()
        sys.stderr.write(
            f"killed a worker with {row[0]} of {row[1]} files done; leased by worker: "
            f"{dict(leased)}\n"
        )


def _find_busy_worker(
    connection: psycopg.Connection[TupleRow], serving: list[subprocess.Popen[bytes]]
) -> subprocess.Popen[bytes] | None:
    """Return a worker that has leased files; its process leads the group of the lease's process."""
    groups = set()
    for worker, _ in connection.execute(LEASED_QUERY).fetchall():
        with contextlib.suppress(ProcessLookupError):
            groups.add(os.getpgid(int(worker.split(":")[1])))
    return next(
        (process for process in serving if process.pid in groups and process.poll() is None), None
    )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill the serving process and the process in which it runs a flow."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read_stored_counts(
    connection: psycopg.Connection[TupleRow], folder: Path
) -> dict[str, object]:
    paths = (file.relative_to(folder) for file in folder.rglob("*") if file.is_file())
    files = sum(
        not any(part.startswith(".") for part in file.parts) for file in paths
    )  # hidden files are not ingested
    row = connection.execute(STORED_QUERY).fetchone()
    assert row is not None
    names = (
        "documents",
        "distinct",
        "highest version",
        "chunks",
        "quarantined",
        "workers that stored",
        "run",
    )
    return {"files": files} | dict(zip(names, row, strict=True))


def _count_leftovers(home: Path, environment: dict[str, str]) -> int:
    """Count repair findings except leases and runs of killed workers, which are expected."""
    url = environment["GROUNDWORK_DATABASE_URL"]
    with Services(Settings(home=home, database_url=url), Database(url).open()) as services:
        return sum(finding.found for finding in repair_tenant(services, TENANT, dry_run=True)[2:])


def main() -> int:
    """Print the report; return 1 if a document is missing or stored twice."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--kills", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="workers-") as home:
        report = measure(Path(home), arguments.folder.resolve(), arguments.workers, arguments.kills)
        if report["exit code"]:
            for log in sorted(Path(home).glob("*.log")):
                sys.stderr.write(f"{log.name}: {log.read_text(errors='replace')[-2000:]}\n")
    sys.stdout.write(json.dumps(report, indent=2) + "\n")
    is_complete = (
        report["files"] == report["documents"] == report["distinct"]
        and report["highest version"] == 1
    )
    return 0 if is_complete and report["run"] == "finished" and not report["leftovers"] else 1


if __name__ == "__main__":
    sys.exit(main())
