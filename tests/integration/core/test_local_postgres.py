"""The embedded PostgreSQL: one server for all who name its folder, gone with the last of them, whatever kills them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from core.local_postgres import EmbeddedPostgres
from tests.conftest import ROOT

PATIENCE = 60  # seconds, on a busy machine

# A process that uses the server of a folder: it says which server that is, and leaves when its input is closed.
USER = """
import sys, psycopg
from pathlib import Path
from core.local_postgres import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]))
server.start()
for line in sys.stdin:
    with psycopg.connect(server.conninfo(dbname="postgres")) as connection:
        print(server.data_folder.joinpath("postmaster.pid").read_text().split()[0], flush=True)
server.stop()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a cluster that is not running."""
    folder = tmp_path_factory.mktemp("embedded") / "postgres"
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    return folder


@contextmanager
def user(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", USER, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as started:
        try:
            yield started
        finally:
            started.kill()


def asks(process: subprocess.Popen[str]) -> int:
    """Have a user connect; returns the process id of the server it reached."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def leaves(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()
    assert process.wait(PATIENCE) == 0


def until(holds: Callable[[], bool]) -> bool:
    """Whether something holds before patience ends."""
    deadline = time.monotonic() + PATIENCE
    while not holds() and time.monotonic() < deadline:
        time.sleep(0.01)
    return holds()


def running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_is_shared_and_ends_with_its_last_user(folder: Path) -> None:
    """Whoever started it may leave first."""
    server = EmbeddedPostgres(folder)
    server.start()
    server.start()  # a second time is no second use
    pid = int((server.data_folder / "postmaster.pid").read_text().split()[0])
    with user(folder) as other:
        assert asks(other) == pid
        server.stop()
        assert running(pid)
        assert asks(other) == pid
        leaves(other)
    assert until(lambda: not running(pid))
    server.stop()  # nor is a second end one
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.conninfo(dbname="postgres"))


def test_a_killed_user_neither_stops_it_nor_keeps_it(folder: Path) -> None:
    """It goes on, the next one joins it, and with that one it ends."""
    with user(folder) as first:
        pid = asks(first)
        first.send_signal(signal.SIGKILL)
        first.wait(PATIENCE)
    assert running(pid)
    with user(folder) as second, user(folder) as third:
        assert asks(second) == asks(third) == pid
        second.send_signal(signal.SIGKILL)
        second.wait(PATIENCE)
        assert asks(third) == pid
        leaves(third)
    assert until(lambda: not running(pid))


def test_a_server_that_was_killed_itself_comes_back_with_its_data(folder: Path) -> None:
    """As after a power cut."""
    server = EmbeddedPostgres(folder)
    server.start()
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute("create table kept as select 7 as number")
    pid = int((server.data_folder / "postmaster.pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    assert until(lambda: not running(pid))
    server.stop()
    server = EmbeddedPostgres(folder)
    server.start()
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
        assert connection.execute("select number from kept").fetchone() == (7,)
        connection.execute("drop table kept")
    server.stop()


def test_a_first_start_that_was_killed_is_made_good(tmp_path: Path) -> None:
    """By two at once, while what was killed still writes; in a folder whose path is too long for a socket."""
    folder = tmp_path / ("a-long-name-" * 8) / "postgres"
    assert len(str(folder)) > 107
    with user(folder) as killed:
        assert until(lambda: any(folder.glob("data.unfinished*/PG_VERSION")))
        killed.send_signal(signal.SIGKILL)
        killed.wait(PATIENCE)
    assert not (folder / "data").exists()
    with user(folder) as first, user(folder) as second:
        pid = asks(first)
        assert asks(second) == pid
        leaves(first)
        assert running(pid)
        leaves(second)
    assert until(lambda: not running(pid))
