"""Random SIGKILLs while documents change: is anything lost, doubled, orphaned, mixed, or found after it was deleted?

    .venv/bin/python -m bench.faults                           300 kills, 500 documents, 1,000 deletes, 1,000 reads
    .venv/bin/python -m bench.faults --kills 30 --documents 100 --deletes 50 --reads 100

Each round rewrites a third of the documents, deletes some and brings others back, and has a worker process take the
folder in. Meanwhile a third of the kills each hits that process, one of its database's backends (which restarts the
cluster) and the PostgreSQL server itself, which is then started again. Readers look at documents all the time: every
chunk of one must be of the same edition as its text. When a round is in, the store must hold exactly the folder, and
what was deleted must be found by no search, no question and no id.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psycopg
from psycopg.rows import dict_row

from ingest import pipeline
from ingest.store import document_id
from ingest.sweeping import sweep
from knowledge.database import Database, Principal, statement
from knowledge.embedded import EmbeddedPostgres
from knowledge.errors import GroundworkError
from knowledge.services import Services, open_services, start_embedded
from knowledge.settings import Settings, load_settings
from retrieval.retriever import retrieve
from serving.answering import answer

TENANT = "faults"
READER = Principal(TENANT)
KINDS = ("worker", "backend", "server")
LONGEST_PAUSE = 2.0  # seconds between two kills, at random
READ_DOCUMENT = Path(__file__).parent / "read_document.sql"
AWAY = (GroundworkError, psycopg.OperationalError, psycopg.InterfaceError)


@dataclass(slots=True)
class Tally:
    """What was done and what was seen; all of `wrong` should stay at nought."""

    kills: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    runs: int = 0
    deletes: int = 0
    reads: int = 0
    away: int = 0
    wrong: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def fault(self, kind: str, example: str) -> None:
        """Count something that should not be."""
        self.wrong[kind] += 1
        self.examples.append(f"{kind}: {example}")


class Folder:
    """The documents on disk, and what each should say."""

    def __init__(self, folder: Path, count: int, chance: random.Random) -> None:
        self.folder = folder
        self.editions: dict[str, int] = {}
        self._count = count
        self._chance = chance
        folder.mkdir(parents=True)
        for number in range(count):
            self._write(f"paper-{number:04}.md", 1)

    def turn(self, edition: int, deletes: int) -> set[str]:
        """Rewrite a third, delete some, bring the rest of the missing back; returns the paths that were deleted."""
        names = [f"paper-{number:04}.md" for number in range(self._count)]
        missing = [name for name in names if name not in self.editions]
        gone = set(self._chance.sample(sorted(self.editions), min(deletes, len(self.editions) // 2)))
        for name in self._chance.sample(sorted(self.editions), len(self.editions) // 3):
            self._write(name, edition)
        for name in missing:
            self._write(name, edition)
        for name in gone:
            (self.folder / name).unlink()
            del self.editions[name]
        return gone

    def _write(self, name: str, edition: int) -> None:
        number = subject(name)
        sections = "\n\n".join(
            f"## Part {part}\n\nPart {part} of paper {number} is of edition{edition}x. Its word is {codeword(name)}."
            for part in "ABC"
        )
        unfinished = self.folder / f".{name}"
        unfinished.write_text(f"# Paper {number}\n\nThis is edition{edition}x of paper {number}.\n\n{sections}\n")
        unfinished.rename(self.folder / name)
        self.editions[name] = edition


def subject(name: str) -> str:
    """The number of the paper that a file holds. Each fifth file holds the one before it once more: while both are of
    one edition they are duplicates, and share what is stored.
    """
    number = int(name[6:10])
    return f"{number - (number % 5 == 4):04}"


def codeword(name: str) -> str:
    """A word that stands in one paper only."""
    return "zq" + "".join("bcdfghjklm"[int(digit)] for digit in subject(name))


class Server:
    """The embedded PostgreSQL, which may be killed and started again."""

    def __init__(self, home: Path) -> None:
        self.settings = Settings(home=home, database_url="")
        self._handles = [start_embedded(self.settings)[0]]
        self.url = self._handles[0].conninfo("groundwork_app")

    def kill_backend(self, chance: random.Random) -> bool:
        """Kill one connection of the application; False where there is none just now."""
        try:
            with psycopg.connect(self._handles[0].conninfo(), autocommit=True, connect_timeout=5) as connection:
                pids = connection.execute(
                    "select pid from pg_stat_activity where usename = 'groundwork_app'"
                ).fetchall()
        except psycopg.OperationalError:
            return False
        if not pids:
            return False
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(pids)[0], signal.SIGKILL)
        return True

    def kill(self) -> bool:
        """Kill the server, then start it again; its backends end by themselves."""
        try:
            pid = int((self._handles[0].data / "postmaster.pid").read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError, IndexError):
            return False
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.01)
        while True:
            embedded = EmbeddedPostgres(self._handles[0].folder)
            try:
                embedded.start()
            except GroundworkError:  # the old one's backends are not all gone yet
                time.sleep(0.2)
                continue
            self._handles.append(embedded)
            return True

    def stop(self) -> None:
        """Stop it for good."""
        for handle in self._handles:
            handle.stop()


class Worker:
    """The process that takes the folder in; started anew whenever it was killed."""

    def __init__(self, server: Server, folder: Folder, tally: Tally) -> None:
        self._server = server
        self._folder = folder
        self._tally = tally
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def run(self) -> None:
        """Have the folder taken in; again after each death or failure, until it is."""
        while True:
            process = self._alive()
            assert process.stdin is not None
            assert process.stdout is not None
            self._tally.runs += 1
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(f"{self._folder.folder}\n")
                process.stdin.flush()
                said = process.stdout.readline()
                if said and json.loads(said)["ok"]:
                    return

    def kill(self) -> bool:
        """Kill the process, if it is at work."""
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                return False
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            return True

    def stop(self) -> None:
        """Let it end."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()
            self._process.wait()

    def _alive(self) -> subprocess.Popen[str]:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                environment = {**os.environ, "GROUNDWORK_DATABASE_URL": self._server.url}
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "bench.faults", "--work"],
                    env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )  # fmt: skip
                assert self._process.stdout is not None
                self._process.stdout.readline()  # it is ready
            return self._process


def work(commands: IO[str]) -> None:
    """The worker process: a folder a line on standard input, what became of it a line on standard output."""
    settings = load_settings()
    services = _patiently_opened(settings)
    services.embedder()
    _say({"ready": True})
    for line in commands:
        try:
            report = pipeline.ingest(services, TENANT, [pipeline.origin(line.strip())])
            _say({"ok": report.state == "finished", "counts": report.counts})
        except AWAY as error:
            _say({"ok": False, "error": str(error)})


def _patiently_opened(settings: Settings) -> Services:
    while True:
        try:
            return open_services(settings)
        except GroundworkError:
            time.sleep(0.3)


def _say(value: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def read_all_the_time(database: Database, folder: Folder, tally: Tally, ended: threading.Event, seed: int) -> None:
    """A reader: one document after the other, each whole and of one edition."""
    chance = random.Random(seed)  # noqa: S311
    while not ended.wait(0.02):
        name = f"paper-{chance.randrange(len(folder.editions) or 1):04}.md"
        try:
            with database.reading(READER) as connection, connection.cursor(row_factory=dict_row) as cursor:
                row = cursor.execute(statement(READ_DOCUMENT), {"path": name}).fetchone()
        except AWAY:
            tally.away += 1
            continue
        tally.reads += 1
        if row is not None:
            edition = row["text"].split("edition", 1)[1].split("x", 1)[0]
            said = "".join(row["texts"])
            if said.count(f"edition{edition}x") != said.count("edition") or said.count("edition") != row["text"].count(
                "edition"
            ):
                tally.fault("mixed", f"{name}, edition {edition}: {said[:200]}")


def kill_at_random(
    server: Server, worker: Worker, tally: Tally, wanted: int, at_work: threading.Event, chance: random.Random
) -> None:
    """Kill until it was often enough, each kind as often as the others, only while a round goes on."""
    while sum(tally.kills.values()) < wanted:
        at_work.wait()
        time.sleep(chance.uniform(0, LONGEST_PAUSE))
        kind = min(KINDS, key=lambda kind: tally.kills[kind])
        hit = {"worker": worker.kill, "backend": lambda: server.kill_backend(chance), "server": server.kill}[kind]()
        tally.kills[kind] += hit


def check(services: Services, folder: Folder, tally: Tally) -> None:
    """Compare the store with the folder; look for orphans, doubles and wrong counts."""
    for name, edition in folder.editions.items():
        with services.database.reading(READER) as connection, connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(statement(READ_DOCUMENT), {"path": name}).fetchall()
        if len(rows) > 1:
            tally.fault("doubled", name)
        if not rows or f"edition{edition}x" not in rows[0]["text"]:
            tally.fault("lost", f"{name} should be of edition {edition}: {rows[0]['text'][:60] if rows else 'absent'}")
        elif rows[0]["chunks"] != len(set(rows[0]["texts"])):
            tally.fault("doubled", f"{name}: {rows[0]['texts']}")
    for finding in sweep(services, TENANT, dry_run=True):
        if finding.found and ("without" in finding.check and "worker" not in finding.check):
            tally.fault("orphaned", f"{finding.found} {finding.check}")
        if finding.found and "statistics" in finding.check:
            tally.fault("miscounted", finding.check)


def check_deleted(services: Services, folder: Folder, gone: set[str], tally: Tally) -> None:
    """What was deleted is found by no search, no question, no id."""
    for name in sorted(gone):
        uri = (folder.folder / name).as_uri()
        question = f"What is the word {codeword(name)} of paper {subject(name)}?"
        hits = retrieve(services, READER, question, limit=100).hits
        if any(name in (hit.path, *(other.path for other in hit.also)) for hit in hits):
            tally.fault("found deleted", f"search finds {name}")
        if any(citation.path == name for citation in answer(services, READER, question).citations):
            tally.fault("found deleted", f"an answer cites {name}")
        with services.database.reading(READER) as connection:
            found = connection.execute(
                "select from document where document_id = %s", [document_id(TENANT, uri)]
            ).fetchone()
        if found is not None:
            tally.fault("found deleted", f"the id of {name} leads somewhere")
        tally.deletes += 1


@contextlib.contextmanager
def readers(database: Database, folder: Folder, tally: Tally) -> Iterator[None]:
    """Two readers, at it all the time."""
    ended = threading.Event()
    threads = [
        threading.Thread(target=read_all_the_time, args=(database, folder, tally, ended, seed), daemon=True)
        for seed in range(2)
    ]
    for thread in threads:
        thread.start()
    yield
    ended.set()
    for thread in threads:
        thread.join()


def _until(holds: Any, *arguments: Any) -> None:
    """Look again when the database was killed under us."""
    while True:
        try:
            holds(*arguments)
            return
        except AWAY:
            time.sleep(0.3)


def measure(home: Path, kills: int, documents: int, deletes: int, reads: int, seed: int) -> Tally:
    """Rounds until there were enough kills, deletes and reads."""
    chance, killing = random.Random(seed), random.Random(seed + 1)  # noqa: S311
    tally = Tally()
    server = Server(home)
    folder = Folder(home / "papers", documents, chance)
    worker = Worker(server, folder, tally)
    settings = Settings(home=home, database_url=server.url)
    at_work = threading.Event()
    with Services(settings, Database(server.url).open()) as services:
        services.embedder()
        worker.run()
        killer = threading.Thread(
            target=kill_at_random, args=(server, worker, tally, kills, at_work, killing), daemon=True
        )
        killer.start()
        with readers(services.database, folder, tally):
            while killer.is_alive() or tally.deletes < deletes or tally.reads < reads:
                tally.rounds += 1
                gone = folder.turn(tally.rounds + 1, max(1, documents // 8))
                at_work.set()
                worker.run()
                at_work.clear()
                _until(_settled, services)
                before = Counter(tally.wrong)
                _until(check, services, folder, tally)
                _until(check_deleted, services, folder, gone, tally)
                _print_round(tally, tally.wrong - before)
    worker.stop()
    server.stop()
    return tally


def _settled(services: Services) -> None:
    """The killer may still have had one in hand."""
    with services.database.connection() as connection:
        connection.execute("select 1")


def _print_round(tally: Tally, wrong: Counter[str]) -> None:
    kills = ", ".join(f"{tally.kills[kind]} {kind}" for kind in KINDS)
    sys.stderr.write(
        f"round {tally.rounds}: {kills} killed; {tally.reads} reads, {tally.deletes} deletes; wrong: {dict(wrong)}\n"
    )


def table(tally: Tally) -> str:
    """The result, in Markdown."""
    rows: list[tuple[str, object]] = [(f"{kind} killed", tally.kills[kind]) for kind in KINDS]
    rows += [("rounds", tally.rounds), ("runs", tally.runs), ("reads meanwhile", tally.reads)]
    rows += [("reads that found the database away", tally.away), ("deletes looked for", tally.deletes)]
    kinds = ("lost", "doubled", "orphaned", "mixed", "miscounted", "found deleted")
    rows += [(f"**{kind}**", tally.wrong[kind]) for kind in kinds]
    return "\n".join(["| what | how many |", "|---|---|", *(f"| {name} | {value:,} |" for name, value in rows)])


def main() -> int:
    """Print the table; 1 where anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--documents", type=int, default=500)
    parser.add_argument("--deletes", type=int, default=1000)
    parser.add_argument("--reads", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=4711)
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.work:
        work(sys.stdin)
        return 0
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)  # that the database is away is the point
    with tempfile.TemporaryDirectory(prefix="faults-") as home:
        tally = measure(Path(home), given.kills, given.documents, given.deletes, given.reads, given.seed)
    sys.stdout.write(table(tally) + "\n")
    sys.stderr.write("\n".join(tally.examples[:20]) + "\n")
    return 1 if tally.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
