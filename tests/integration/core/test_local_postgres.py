"""The embedded PostgreSQL: one server for all processes of a folder, until the last one ends."""

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

TIMEOUT_SECONDS = 60  # for a busy machine

# A process that uses the server of a folder. For each line of input it prints the server's process
# id; at the end of the input it leaves.
USER_PROGRAM = """
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
    """A folder with a stopped cluster."""
    folder = tmp_path_factory.mktemp("embedded") / "postgres"
    server = EmbeddedPostgres(folder)
    server.start()
    server.stop()
    return folder


@contextmanager
def user_process(folder: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", USER_PROGRAM, str(folder)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def connect(process: subprocess.Popen[str]) -> int:
    """Let a user process connect. Return the process id of its server."""
    assert process.stdin
    assert process.stdout
    process.stdin.write("\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def leave(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()
    assert process.wait(TIMEOUT_SECONDS) == 0


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(TIMEOUT_SECONDS)


def wait_until(condition: Callable[[], bool]) -> bool:
    """Return whether the condition becomes true in time."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"


def server_pid(server: EmbeddedPostgres) -> int:
    return int((server.data_folder / "postmaster.pid").read_text().split()[0])


def test_processes_share_a_server_that_ends_with_the_last_of_them(folder: Path) -> None:
    """The process that started the server may leave first."""
    server = EmbeddedPostgres(folder)
    server.start()
    server.start()  # a second call changes nothing
    pid = server_pid(server)
    with user_process(folder) as other:
        assert connect(other) == pid
        server.stop()
        assert is_running(pid)
        assert connect(other) == pid
        leave(other)
    assert wait_until(lambda: not is_running(pid))
    server.stop()  # a second call changes nothing
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(server.conninfo(dbname="postgres"))


def test_a_killed_process_neither_stops_nor_keeps_the_server(folder: Path) -> None:
    """The server continues, the next process joins it, and it ends with the last process."""
    with user_process(folder) as first:
        pid = connect(first)
        kill(first)
    assert is_running(pid)
    with user_process(folder) as second, user_process(folder) as third:
        assert connect(second) == connect(third) == pid
        kill(second)
        assert connect(third) == pid
        leave(third)
    assert wait_until(lambda: not is_running(pid))


def test_a_killed_server_restarts_with_its_data(folder: Path) -> None:
    """As after a power failure."""
    server = EmbeddedPostgres(folder)
    server.start()
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
        connection.execute("create table kept as select 7 as number")
    pid = server_pid(server)
    os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not is_running(pid))
    server.stop()
    server = EmbeddedPostgres(folder)
    server.start()
    with psycopg.connect(server.conninfo(dbname="postgres"), autocommit=True) as connection:
        assert connection.execute("select number from kept").fetchone() == (7,)
        connection.execute("drop table kept")
    server.stop()


def test_a_killed_first_start_is_repeated(tmp_path: Path) -> None:
    """By two processes, while the initdb of the killed one still writes, in a very long path."""
    folder = tmp_path / ("a-long-name-" * 8) / "postgres"
    assert len(str(folder)) > 107  # too long for a socket
    with user_process(folder) as killed:
        assert wait_until(lambda: any(folder.glob("data.unfinished*/PG_VERSION")))
        kill(killed)
    assert not (folder / "data").exists()
    with user_process(folder) as first, user_process(folder) as second:
        pid = connect(first)
        assert connect(second) == pid
        leave(first)
        assert is_running(pid)
        leave(second)
    assert wait_until(lambda: not is_running(pid))
