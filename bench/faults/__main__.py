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

CONNECTIONS = 20  # that the readers share
KILLS = 20, 10  # at most, while papers are rewritten and while they are only deleted
PAUSES = (
    2.0,
    0.6,
)  # seconds before each, at most: about what the worker needs for a batch, and for all deletes


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of everything."""

    kills: int
    documents: int
    deletes: int
    readers: int
    seed: int

    @property
    def deletes_a_round(self) -> int:
        """So many that deletes and kills come to an end together."""
        return min(self.documents // 4, math.ceil(self.deletes * sum(KILLS) / self.kills))


@dataclass(frozen=True, slots=True)
class Stage:
    """All that takes part."""

    server: Server
    papers: Papers
    worker: Worker
    service: Service
    services: Services
    tally: Tally


@contextlib.contextmanager
def stage(home: Path, wanted: Wanted) -> Iterator[Stage]:
    """Everything started, the papers taken in once, undisturbed."""
    tally, server = Tally(), Server(home)
    papers = Papers(home / "papers", wanted.documents, random.Random(wanted.seed))
    with contextlib.ExitStack() as stack:
        stack.callback(server.stop)
        worker = Worker(server, papers, tally)
        stack.callback(worker.stop)
        service = Service(server, home)
        stack.callback(service.stop)
        database = Database(server.url, max_connections=CONNECTIONS).open()
        services = stack.enter_context(
            Services(Settings(home=home, database_url=server.url), database)
        )
        worker.run()
        yield Stage(server, papers, worker, service, services, tally)


@contextlib.contextmanager
def killing(on: Stage, wanted: int, pause: float, chance: random.Random) -> Iterator[None]:
    """Inside, kill so often at most, each kind as often as the others, at random moments of the worker's work."""
    ended = threading.Event()
    strikes = {
        "worker": on.worker.kill,
        "backend": lambda: on.server.kill_backend(chance),
        "server": on.server.kill,
    }

    def kill() -> None:
        left = wanted
        while left and not ended.is_set():
            if not on.worker.at_work.wait(0.1) or ended.wait(chance.uniform(0, pause)):
                continue
            amid = on.server.leased() > 0
            kind = min(KINDS, key=lambda kind: on.tally.kills[kind])
            if on.worker.at_work.is_set() and strikes[kind]():
                left -= 1
                on.tally.kills[kind] += 1
                on.tally.amid += amid

    killer = threading.Thread(target=kill, name="killer")
    killer.start()
    try:
        yield
    finally:
        ended.set()
        killer.join()


def change(
    on: Stage,
    rewritten: int,
    gone: Collection[str],
    kills: int,
    pause: float,
    chance: random.Random,
) -> None:
    """Change the papers, have them taken in under fire, and look."""
    ask_before_delete(on.service, gone, on.tally)
    on.papers.turn(on.tally.rounds + 1, rewritten, gone)
    with killing(on, kills, pause, chance):
        on.worker.run()
    retry_while_down(check_store, on.services, on.papers, on.tally)
    check_deleted(on.service, on.papers, gone, on.tally)


def measure(home: Path, wanted: Wanted) -> Tally:
    """Rounds until there were enough kills, deletes and reads."""
    chance, began = random.Random(wanted.seed + 1), time.perf_counter()
    with stage(home, wanted) as on, run_crowds(on.services, on.papers, on.tally, wanted.readers):
        tally = on.tally
        while (
            tally.kills.total() < wanted.kills
            or tally.deletes < wanted.deletes
            or tally.reads < wanted.readers
        ):
            tally.rounds += 1
            gone = on.papers.choose(wanted.deletes_a_round)
            halves = gone[::2], gone[1::2]
            for part, names in enumerate(halves):
                rewritten = 0 if part else wanted.documents // 5 + len(gone)
                kills = min(KILLS[part], wanted.kills - tally.kills.total())
                change(on, rewritten, names, kills, PAUSES[part], chance)
            sys.stderr.write(f"{time.perf_counter() - began:.0f} s, {tally.line()}")
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
    wanted = Wanted(given.kills, given.documents, given.deletes, given.readers, given.seed)
    with tempfile.TemporaryDirectory(prefix="faults-") as home:
        tally = measure(Path(home), wanted)
    sys.stdout.write(tally.table(wanted.readers) + "\n")
    sys.stderr.write(
        "\n".join([*tally.examples[:20], f"how runs ended: {dict(tally.endings)}"]) + "\n"
    )
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
