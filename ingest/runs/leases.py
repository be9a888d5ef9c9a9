"""Lease renewal: a background thread tells the queue that a worker is alive."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psycopg

from core.db.database import Database
from core.errors import Unavailable
from ingest.runs import queue
from ingest.runs.queue import QueueItem, RunHandle


class LeaseKeeper:
    """Renews the leases of a worker until `stop`.

    It renews only the leases that the worker knows of. If a connection broke during a claim, its
    leases expire, and other workers get the items.
    """

    def __init__(self, database: Database, run: RunHandle) -> None:
        self._database = database
        self._run = run
        self._claims: set[tuple[str, int]] = set()  # uri and fence
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._renew_until_stopped, name="heartbeat", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait for it."""
        self._stopped.set()
        self._thread.join()

    def add(self, items: Sequence[QueueItem]) -> None:
        """Renew the leases of these items from now on."""
        self._claims |= _build_claims(items)

    @contextmanager
    def hold(self, items: Sequence[QueueItem]) -> Iterator[None]:
        """Renew the leases of these items until the end of the block."""
        self.add(items)
        claims = _build_claims(items)
        try:
            yield
        finally:
            self._claims -= claims

    def renew(self) -> None:
        """Renew all leases once."""
        with self._database.writing(self._run.tenant) as connection:
            queue.renew_leases(connection, self._run, tuple(self._claims))

    def _renew_until_stopped(self) -> None:
        while not self._stopped.wait(queue.LEASE_SECONDS / queue.HEARTBEATS_PER_LEASE):
            try:
                self.renew()
            except (Unavailable, psycopg.Error):
                # The next heartbeat may be in time. If none is, another worker takes over, and the
                # fence keeps this one from storing.
                continue


def _build_claims(items: Sequence[QueueItem]) -> set[tuple[str, int]]:
    return {(item.uri, item.fence) for item in items}
