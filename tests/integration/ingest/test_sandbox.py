"""Parser pool and its processes: limits, isolation, and recovery from lost processes."""

import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from shutil import which

import pytest

from core.errors import UnreadableFile
from ingest.parsers.file_parser import parse_file
from ingest.sandbox.pool import ParserLimits, ParserPool
from tests.support import hostile

SLOW = b"[" + b"1," * 20_000_000 + b"1]"
linux = pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs Linux's /proc")


@pytest.fixture(scope="module")
def pool() -> Iterator[ParserPool]:
    with ParserPool() as pool:
        yield pool


def reason(pool: ParserPool, name: str, data: bytes) -> str:
    with pytest.raises(UnreadableFile) as caught:
        pool.parse(name, data)
    assert str(caught.value).startswith(name)
    assert str(caught.value).endswith(".")
    return caught.value.reason


@pytest.mark.parametrize("ending", hostile.ENDINGS)
def test_pool_returns_the_same_as_the_parser(pool, ending):
    data = hostile.make_good_file(ending)
    kind, parsed = pool.parse(f"a.{ending}", data)
    assert (kind, parsed) == parse_file(f"a.{ending}", data)
    for name, broken in ((f"a.{ending}", b""), (f"a.{ending}", b"\0\1\2\3" * 99)):
        with pytest.raises(UnreadableFile) as direct:
            parse_file(name, broken)
        with pytest.raises(UnreadableFile) as distant:
            pool.parse(name, broken)
        assert (distant.value.reason, str(distant.value)) == (
            direct.value.reason,
            str(direct.value),
        )


def test_slow_file_is_refused_and_the_next_is_parsed():
    with ParserPool(1, ParserLimits(timeout_seconds=1)) as pool:
        assert reason(pool, "slow.json", SLOW) == "too-slow"
        assert parse_with_patience(pool, "a.md", b"Good.") == "Good."


def parse_with_patience(pool: ParserPool, name: str, data: bytes) -> str:
    """Return the text of a file; a busy machine may need several attempts to start a process."""
    for _ in range(60):
        with suppress(UnreadableFile):
            return pool.parse(name, data)[1].text
    raise AssertionError("the pool parses nothing any more")


def test_file_that_needs_too_much_memory_is_refused_and_the_next_is_parsed(pool):
    assert reason(pool, "lines.txt", b"x" + b"\n" * 20_000_000 + b"y") == "too-large"
    assert pool.parse("a.md", b"Good.")[1].text == "Good."


def test_file_that_loses_two_processes_is_refused_and_the_next_is_parsed():
    with ParserPool(1) as pool:
        done = threading.Event()

        def kill() -> None:
            while not done.is_set():
                for process in pool.list_busy_pids():
                    with suppress(ProcessLookupError):  # it may have ended meanwhile
                        os.kill(process, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            assert reason(pool, "slow.json", SLOW) == "crashed"
        finally:
            done.set()
            killer.join()
        assert pool.parse("a.md", b"Good.")[1].text == "Good."


def test_file_is_parsed_again_after_its_process_was_killed():
    with ParserPool(1) as pool:
        pool.parse("a.md", b"Good.")
        slot = pool._slots.get()
        os.kill(slot.process.pid, signal.SIGKILL)
        pool._slots.put(slot)
        assert pool.parse("a.md", b"Good again.")[1].text == "Good again."


def test_threads_share_a_pool(pool):
    with ThreadPoolExecutor(8) as threads:
        texts = list(
            threads.map(lambda n: pool.parse("a.md", f"# Note {n}\n".encode())[1].text, range(200))
        )
    assert texts == [f"Note {n}" for n in range(200)]


def test_file_above_the_size_limit_is_refused():
    with ParserPool(1, ParserLimits(max_file_bytes=10)) as pool:
        assert pool.parse("a.md", b"0123456789")[1].text == "0123456789"
        assert reason(pool, "a.md", b"01234567890") == "too-large"


@linux
def test_process_has_limited_resources_and_no_secrets(monkeypatch):
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", "postgresql://app:the-password@localhost/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-key")
    with ParserPool(1) as pool:
        pool.parse("a.md", b"Good.")
        child = Path(f"/proc/{pool._slots.queue[0].process.pid}")
        allowed = {
            line[:26].strip(): line[26:].split()[0]
            for line in (child / "limits").read_text().splitlines()
        }
        environment = (child / "environ").read_bytes()
        files = {os.readlink(file).split(":")[0] for file in (child / "fd").iterdir()}
    assert allowed["Max address space"] == str(512 * 1024 * 1024)
    assert (
        allowed["Max file size"] == allowed["Max core file size"] == allowed["Max processes"] == "0"
    )
    assert int(allowed["Max cpu time"]) <= 62
    assert b"the-password" not in environment
    assert b"the-key" not in environment
    assert files <= {"pipe", "/dev/null", f"/proc/{child.name}/statm"}


@linux
@pytest.mark.skipif(
    which("unshare") is None
    or subprocess.run(["unshare", "--net", "true"], check=False).returncode != 0,
    reason="this system doesn't let processes leave the network",
)
def test_process_has_no_network():
    with ParserPool(1) as pool:
        pool.parse("a.md", b"Good.")
        child = Path(f"/proc/{pool._slots.queue[0].process.pid}")
        interfaces = [
            line.split(":")[0].strip() for line in (child / "net/dev").read_text().splitlines()[2:]
        ]
        assert interfaces == ["lo"]
        assert os.readlink(child / "ns/net") != os.readlink("/proc/self/ns/net")


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "open('{here}/x', 'w')",
        "open(ingest.__file__, 'a')",
        "os.open('{here}/x', os.O_CREAT | os.O_WRONLY)",
        "open('{here}/.env')",
        "os.remove('{here}/x')",
        "socket.socket()",
        "socket.getaddrinfo('localhost', 80)",
        "subprocess.run(['true'])",
        "os.system('true')",
        "os.fork()",
        "os.kill(os.getppid(), 0)",
        "ctypes.CDLL('libc.so.6')",
    ],
)
def test_audit_hook_forbids_all_but_parsing(tmp_path, attempt):
    program = (
        "import ctypes, os, socket, subprocess, sys, ingest\nfrom ingest.sandbox.child import "
        "_build_audit_hook\n"
        f"sys.addaudithook(_build_audit_hook())\n{attempt.format(here=tmp_path)}"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "PermissionError: a parser may not" in run.stderr


@linux
@pytest.mark.parametrize("busy", [False, True])
def test_processes_end_with_a_killed_parent(busy):
    work = "pool.parse('a.json', b'[' + b'1,' * 20_000_000 + b'1]')"
    program = "\n".join(
        [
            "import sys, threading",
            "from ingest.sandbox.pool import ParserPool",
            "pool = ParserPool(1)",
            "pool.parse('a.md', b'Good.')",
            "print(pool._slots.queue[0].process.pid, flush=True)",
            work if busy else "threading.Event().wait()",
        ]
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        ended, _, _ = select.select([child], [], [], 30)
        os.close(child)
    assert ended


def test_closed_pool_leaves_no_process():
    pool = ParserPool(2)
    pool.parse("a.md", b"Good.")
    child = next(slot.process for slot in pool._slots.queue if slot.process)
    pool.close()
    pool.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
