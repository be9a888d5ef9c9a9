"""Random SIGKILLs while documents change: search for lost, doubled, orphaned or mixed documents.

    .venv/bin/python -m bench.faults         300 kills, 500 documents, 1,000 deletes, 1,000 readers
    .venv/bin/python -m bench.faults --kills 30 --documents 100 --deletes 60 --readers 100

In each round a worker process ingests the folder twice: after a fifth of the documents was
rewritten and some were deleted, and again after further deletes. At random moments of its work, in
turn, kills hit that process, a backend of its database (which restarts the cluster), and the
PostgreSQL server itself, which is then started again. A crowd of readers comes repeatedly, all at
once, over as many connections as a service has; each must see a single edition of a document. The
service runs all the time. It is asked about documents before and after their deletion.
After each run the store must hold exactly the folder.
"""

import argparse
import contextlib
import logging
import math
import random
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.faults.looking import (
    ask_before_delete,
    check_deleted,
    check_store,
    retry_while_down,
    run_crowds,
)
from bench.faults.papers import Papers
from bench.faults.processes import Server, Service, Worker, spawn_workers
from bench.faults.tally import KINDS, Tally
from core.db.database import Database
from core.services import Services
from core.settings import Settings

READER_CONNECTIONS = 20  # shared by the readers
MAX_KILLS_PER_PART = 20, 10  # with rewrites, and with deletes only
MAX_PAUSE_SECONDS = (2.0, 0.6)  # about the time of a batch, and of all deletes


@dataclass(frozen=True, slots=True)
class Targets:
    """Number of kills, documents, deletes and readers."""

    kills: int
    documents: int
    deletes: int
    readers: int
    seed: int

    @property
    def deletes_a_round(self) -> int:
        """Return the deletes per round so that deletes and kills end together."""
        return min(
            self.documents // 4, math.ceil(self.deletes * sum(MAX_KILLS_PER_PART) / self.kills)
        )


@dataclass(frozen=True, slots=True)
class Experiment:
    """All participants."""

    server: Server
    papers: Papers
    worker: Worker
    service: Service
    services: Services
    tally: Tally


@contextlib.contextmanager
def start_experiment(home: Path, targets: Targets) -> Iterator[Experiment]:
    """Start everything and ingest the documents once, without faults."""
    tally, server = Tally(), Server(home)
    papers = Papers(home / "papers", targets.documents, random.Random(targets.seed))  # noqa: S311
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        worker = Worker(server, papers, tally)
        stack.callback(worker.stop)
        service = Service(server, home)
        stack.callback(service.stop)
        database = Database(server.url, max_connections=READER_CONNECTIONS).open()
        services = stack.enter_context(
            Services(Settings(home=home, database_url=server.url), database)
        )
        worker.run()
        yield Experiment(server, papers, worker, service, services, tally)


@contextlib.contextmanager
def kill_randomly(
    experiment: Experiment, max_kills: int, pause: float, chance: random.Random
) -> Iterator[None]:
    """Inside the block, kill each kind equally often at random moments of the worker's work."""
    ended = threading.Event()
    strikes = {
        "worker": experiment.worker.kill,
        "backend": lambda: experiment.server.kill_backend(chance),
        "server": experiment.server.kill,
    }

    def kill() -> None:
        remaining = max_kills
        while remaining and not ended.is_set():
            if not experiment.worker.at_work.wait(0.1) or ended.wait(chance.uniform(0, pause)):
                continue
            during_work = experiment.server.count_leased() > 0
            kind = min(KINDS, key=lambda kind: experiment.tally.kills[kind])
            if experiment.worker.at_work.is_set() and strikes[kind]():
                remaining -= 1
                experiment.tally.kills[kind] += 1
                experiment.tally.kills_during_work += during_work

    killer = threading.Thread(target=kill, name="killer")
    killer.start()
    try:
        yield
    finally:
        ended.set()
        killer.join()


def run_changes(
    experiment: Experiment,
    rewritten: int,
    deleted: Collection[str],
    kills: int,
    pause: float,
    chance: random.Random,
) -> None:
    """Change the documents, ingest them while kills happen, and check the store."""
    ask_before_delete(experiment.service, deleted, experiment.tally)
    experiment.papers.apply_changes(experiment.tally.rounds + 1, rewritten, deleted)
    with kill_randomly(experiment, kills, pause, chance):
        experiment.worker.run()
    retry_while_down(check_store, experiment.services, experiment.papers, experiment.tally)
    check_deleted(experiment.service, experiment.papers, deleted, experiment.tally)


def run_rounds(home: Path, targets: Targets) -> Tally:
    """Run rounds until there are enough kills, deletes and reads."""
    chance, began = random.Random(targets.seed + 1), time.perf_counter()  # noqa: S311
    with (
        start_experiment(home, targets) as experiment,
        run_crowds(experiment.services, experiment.papers, experiment.tally, targets.readers),
    ):
        tally = experiment.tally
        while (
            tally.kills.total() < targets.kills
            or tally.deletes < targets.deletes
            or tally.reads < targets.readers
        ):
            tally.rounds += 1
            deleted = experiment.papers.choose_names(targets.deletes_a_round)
            halves = deleted[::2], deleted[1::2]
            for part, names in enumerate(halves):
                rewritten = 0 if part else targets.documents // 5 + len(deleted)
                kills = min(MAX_KILLS_PER_PART[part], targets.kills - tally.kills.total())
                run_changes(experiment, rewritten, names, kills, MAX_PAUSE_SECONDS[part], chance)
            sys.stderr.write(f"{time.perf_counter() - began:.0f} s, {tally.format_progress()}")
            sys.stderr.flush()
    return tally


def main() -> int:
    """Print the table; return 1 if there is a violation."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--deletes", type=int, default=1000)
    parser.add_argument("--readers", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        spawn_workers(sys.stdin)
        return 0
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # a missing database is expected
    targets = Targets(
        arguments.kills, arguments.documents, arguments.deletes, arguments.readers, arguments.seed
    )
    with tempfile.TemporaryDirectory(prefix="faults-") as home:
        tally = run_rounds(Path(home), targets)
    sys.stdout.write(tally.format_table(targets.readers) + "\n")
    sys.stderr.write(
        "\n".join([*tally.examples[:20], f"ends of runs: {dict(tally.endings)}"]) + "\n"
    )
    return 1 if tally.violations else 0


if __name__ == "__main__":
    sys.exit(main())
