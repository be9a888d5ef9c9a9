"""Random SIGKILLs while documents change: is anything lost, doubled, orphaned, mixed, or found after it was deleted?

    .venv/bin/python -m bench.faults                           300 kills, 500 documents, 1,000 deletes, 1,000 readers
    .venv/bin/python -m bench.faults --kills 30 --documents 100 --deletes 60 --readers 100

Each round has a worker process take the folder in twice: after a fifth of the documents was rewritten and some were
deleted, and once more after others were. Meanwhile kills hit, in turn and at random moments of its work, that process,
one of its database's backends (which restarts the cluster) and the PostgreSQL server itself, which is then started
again. A crowd of readers comes again and again, all at once, over as many connections as a service has: everything that
one of them sees of a document must be of one edition. The service runs all the time, is asked about documents before
they are deleted and once more afterwards. When a run is over, the store must hold exactly the folder.
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

READER_CONNECTIONS = 20  # that the readers share
MAX_KILLS_PER_PART = 20, 10  # at most, while papers are rewritten and while they are only deleted
MAX_PAUSE_SECONDS = (
    2.0,
    0.6,
)  # seconds before each, at most: about what the worker needs for a batch, and for all deletes


@dataclass(frozen=True, slots=True)
class Targets:
    """How much of everything."""

    kills: int
    documents: int
    deletes: int
    readers: int
    seed: int

    @property
    def deletes_a_round(self) -> int:
        """So many that deletes and kills come to an end together."""
        return min(
            self.documents // 4, math.ceil(self.deletes * sum(MAX_KILLS_PER_PART) / self.kills)
        )


@dataclass(frozen=True, slots=True)
class Experiment:
    """All that takes part."""

    server: Server
    papers: Papers
    worker: Worker
    service: Service
    services: Services
    tally: Tally


@contextlib.contextmanager
def start_experiment(home: Path, targets: Targets) -> Iterator[Experiment]:
    """Everything started, the papers taken in once, undisturbed."""
    tally, server = Tally(), Server(home)
    papers = Papers(home / "papers", targets.documents, random.Random(targets.seed))
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
    """Inside, kill so often at most, each kind as often as the others, at random moments of the worker's work."""
    ended = threading.Event()
    strikes = {
        "worker": experiment.worker.kill,
        "backend": lambda: experiment.server.kill_backend(chance),
        "server": experiment.server.kill,
    }

    def kill() -> None:
        left = max_kills
        while left and not ended.is_set():
            if not experiment.worker.at_work.wait(0.1) or ended.wait(chance.uniform(0, pause)):
                continue
            amid = experiment.server.count_leased() > 0
            kind = min(KINDS, key=lambda kind: experiment.tally.kills[kind])
            if experiment.worker.at_work.is_set() and strikes[kind]():
                left -= 1
                experiment.tally.kills[kind] += 1
                experiment.tally.kills_during_work += amid

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
    """Change the papers, have them taken in under fire, and look."""
    ask_before_delete(experiment.service, deleted, experiment.tally)
    experiment.papers.apply_changes(experiment.tally.rounds + 1, rewritten, deleted)
    with kill_randomly(experiment, kills, pause, chance):
        experiment.worker.run()
    retry_while_down(check_store, experiment.services, experiment.papers, experiment.tally)
    check_deleted(experiment.service, experiment.papers, deleted, experiment.tally)


def run_rounds(home: Path, targets: Targets) -> Tally:
    """Rounds until there were enough kills, deletes and reads."""
    chance, began = random.Random(targets.seed + 1), time.perf_counter()
    with (
        start_experiment(home, targets) as on,
        run_crowds(on.services, on.papers, on.tally, targets.readers),
    ):
        tally = on.tally
        while (
            tally.kills.total() < targets.kills
            or tally.deletes < targets.deletes
            or tally.reads < targets.readers
        ):
            tally.rounds += 1
            gone = on.papers.choose_names(targets.deletes_a_round)
            halves = gone[::2], gone[1::2]
            for part, names in enumerate(halves):
                rewritten = 0 if part else targets.documents // 5 + len(gone)
                kills = min(MAX_KILLS_PER_PART[part], targets.kills - tally.kills.total())
                run_changes(on, rewritten, names, kills, MAX_PAUSE_SECONDS[part], chance)
            sys.stderr.write(f"{time.perf_counter() - began:.0f} s, {tally.format_progress()}")
            sys.stderr.flush()
    return tally


def main() -> int:
    """Print the table; 1 where anything was wrong."""
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
    given = parser.parse_args()
    if given.work:
        spawn_workers(sys.stdin)
        return 0
    logging.getLogger("psycopg.pool").setLevel(
        logging.CRITICAL
    )  # that the database is away is the point
    wanted = Targets(given.kills, given.documents, given.deletes, given.readers, given.seed)
    with tempfile.TemporaryDirectory(prefix="faults-") as home:
        tally = run_rounds(Path(home), wanted)
    sys.stdout.write(tally.format_table(wanted.readers) + "\n")
    sys.stderr.write(
        "\n".join([*tally.examples[:20], f"how runs ended: {dict(tally.endings)}"]) + "\n"
    )
    return 1 if tally.violations else 0


if __name__ == "__main__":
    sys.exit(main())
