"""Counts of the fault benchmark, and their table."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["worker", "backend", "server"]
KINDS: tuple[Kind, ...] = ("worker", "backend", "server")
VIOLATION_KINDS = ("lost", "doubled", "orphaned", "mixed", "miscounted", "found deleted")


@dataclass(slots=True)
class Tally:
    """Counts; all of `violations` should stay 0. Threads may share it."""

    kills: Counter[str] = field(default_factory=Counter)
    kills_during_work: int = 0
    rounds: int = 0
    runs: int = 0
    endings: Counter[str] = field(default_factory=Counter)
    deletes: int = 0
    cited_before: int = 0
    reads: int = 0
    failed_reads: int = 0
    violations: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_read(self, *, failed: bool) -> None:
        """Count a read, successful or without a database."""
        with self._lock:
            self.reads += not failed
            self.failed_reads += failed

    def add_violation(self, kind: str, example: str) -> None:
        """Count a violation, with an example."""
        with self._lock:
            self.violations[kind] += 1
            self.examples.append(f"{kind}: {example}")

    def format_progress(self) -> str:
        """Return a line with the progress."""
        kills = ", ".join(f"{self.kills[kind]} {kind}" for kind in KINDS)
        return (
            f"round {self.rounds}: {kills} killed; {self.reads} reads, {self.deletes} "
            f"deletes; {dict(self.violations)}\n"
        )

    def format_table(self, readers: int) -> str:
        """Return the result in Markdown."""
        rows: list[tuple[str, int]] = [(f"{kind} killed", self.kills[kind]) for kind in KINDS]
        rows += [("of these while a worker held files", self.kills_during_work)]
        rows += [("rounds", self.rounds), ("runs of the worker", self.runs)]
        rows += [
            (f"reads, by {readers:,} readers at once", self.reads),
            ("reads without a database", self.failed_reads),
        ]
        rows += [
            ("deletes checked", self.deletes),
            ("of these cited by an answer before the delete", self.cited_before),
        ]
        rows += [(f"**{kind}**", self.violations[kind]) for kind in VIOLATION_KINDS]
        return "\n".join(
            [
                "| measure | count |",
                "|---|---|",
                *(f"| {name} | {value:,} |" for name, value in rows),
            ]
        )
