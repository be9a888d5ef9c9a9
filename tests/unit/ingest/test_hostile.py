"""Files made to hurt: each is read or put aside, none takes the reader, the machine or a good file with it."""

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
from typing import NamedTuple

import pytest

from core.errors import UnreadableFile
from core.types import Block, Location, Span
from ingest.parsers.file_parser import parse_file
from ingest.parsers.types import ParsedDocument
from ingest.sandbox import protocol
from ingest.sandbox.pool import ParserLimits, ParserPool
from ingest.sources import SourceFile, open_source
from tests.support import hostile

REASONS = {
    "empty",
    "too-large",
    "too-slow",
    "too-deep",
    "crashed",
    "corrupt",
    "encrypted",
    "no-text",
    "not-a-document",
}
SLOW = b"[" + b"1," * 20_000_000 + b"1]"
linux = pytest.mark.skipif(not Path("/proc/self/limits").exists(), reason="needs Linux's /proc")


@pytest.fixture(scope="module")
def reader() -> Iterator[ParserPool]:
    with ParserPool() as reader:
        yield reader


def reason(reader: ParserPool, name: str, data: bytes) -> str:
    with pytest.raises(UnreadableFile) as caught:
        reader.parse(name, data)
    assert str(caught.value).startswith(name)
    assert str(caught.value).endswith(".")
    return caught.value.reason


class Outcome(NamedTuple):
    reason: str
    characters: int = 0


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, reader) -> tuple[Path, dict[str, Outcome]]:
    """The folder of all hostile files and what became of each, under the limits that hold everywhere."""
    folder = tmp_path_factory.mktemp("made") / "hostile"
    written = hostile.write(folder)
    source = open_source(str(folder))

    def outcome(file: SourceFile) -> tuple[str, Outcome]:
        try:
            _, parsed = reader.parse(file.path, source.read(file))
        except UnreadableFile as error:
            return file.path, Outcome(
                error.reason if str(error).endswith(".") else f"{error} is no sentence"
            )
        return file.path, Outcome(
            "told a secret" if hostile.SECRET in parsed.text else "", len(parsed.text)
        )

    with ThreadPoolExecutor(2) as pool:
        found = dict(pool.map(outcome, source.list_files()))
    assert len(found) == len(written) >= 80
    return folder, found


def test_every_hostile_file_is_read_or_put_aside(outcomes):
    folder, found = outcomes
    assert {outcome.reason for outcome in found.values()} - {""} <= REASONS
    # Everything here is refused or read by a rule of its own; the last resorts, killing and losing a child, are tested
    # below.
    assert {
        name for name, outcome in found.items() if outcome.reason in ("crashed", "too-slow")
    } == set()
    assert not list(Path("/tmp").glob("groundwork-was-here*"))
    assert {path.name for path in folder.parent.iterdir()} == {"hostile", "secret.txt"}


@pytest.mark.parametrize("ending", hostile.ENDINGS)
def test_the_reader_says_what_the_parser_says(reader, ending):
    data = hostile.good(ending)
    kind, parsed = reader.parse(f"a.{ending}", data)
    assert (kind, parsed) == parse_file(f"a.{ending}", data)
    for name, broken in ((f"a.{ending}", b""), (f"a.{ending}", b"\0\1\2\3" * 99)):
        with pytest.raises(UnreadableFile) as direct:
            parse_file(name, broken)
        with pytest.raises(UnreadableFile) as distant:
            reader.parse(name, broken)
        assert (distant.value.reason, str(distant.value)) == (
            direct.value.reason,
            str(direct.value),
        )


def test_every_part_of_a_document_survives_the_way():
    path = ("Ä", "B\u2028")
    blocks = (
        Block("heading", Span(0, 1), Location(), 1),
        Block("paragraph", Span(3, 4), Location(path, page=2)),
        Block("table", Span(4, 6), Location(path, sheet="S", rows=(3, 4))),
        Block("list", Span(7, 8), Location(("A",), slide=5)),
    )
    parsed = ParsedDocument(
        "a\n\nbcd\ne", blocks, "T \U0001f600", {"a": [1, None, {"b": 0.5}], "n": True}
    )
    assert protocol.decode_reply(protocol.encode_document("text/plain", parsed)) == (
        "text/plain",
        parsed,
    )


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"[]",
        b"{}",
        b'{"kind":"a","text":1,"title":"","metadata":{},"blocks":[],"paths":[]}',
        b'{"kind":"a","text":"abc","title":"","metadata":[],"blocks":[],"paths":[]}',
        b'{"kind":"a","text":"abc","title":"","metadata":{},"blocks":[["paragraph",0,4,0,0]],"paths":[[]]}',
        b'{"kind":"a","text":"abc","title":"","metadata":{},"blocks":[["paragraph",-1,2,0,0]],"paths":[[]]}',
        b'{"kind":"a","text":"abc","title":"","metadata":{},"blocks":[["paragraph",0,2,0,7]],"paths":[[]]}',
        b'{"kind":"a","text":"abc","title":"","metadata":{},"blocks":[["script",0,2,0,0]],"paths":[[]]}',
        b'{"kind":"a","text":"abc","title":"","metadata":{},"blocks":[["paragraph",0,2,0,0,"x",null,null,null]],"paths":[[]]}',
        b'{"kind":"a","text":"abc","title":"","metadata":{},"blocks":[["list",1,2,0,0],["list",0,1,0,0]],"paths":[[]]}',
    ],
)
def test_what_no_parser_says_is_not_believed(message):
    with pytest.raises(ValueError, match=r"."):
        protocol.decode_reply(message)


def test_a_file_that_takes_too_long_is_put_aside_and_the_next_is_read():
    with ParserPool(1, ParserLimits(timeout_seconds=1)) as reader:
        assert reason(reader, "slow.json", SLOW) == "too-slow"
        assert read_in_time(reader, "a.md", b"Good.") == "Good."


def read_in_time(reader: ParserPool, name: str, data: bytes) -> str:
    """The text of a file that a busy machine may need several attempts for, each with a child that has to start."""
    for _ in range(60):
        with suppress(UnreadableFile):
            return reader.parse(name, data)[1].text
    raise AssertionError("the reader reads nothing any more")


def test_a_file_that_takes_too_much_memory_is_put_aside_and_the_next_is_read(reader):
    assert reason(reader, "lines.txt", b"x" + b"\n" * 20_000_000 + b"y") == "too-large"
    assert reader.parse("a.md", b"Good.")[1].text == "Good."


def test_a_file_that_loses_its_child_twice_is_put_aside_and_the_next_is_read():
    with ParserPool(1) as reader:
        done = threading.Event()

        def kill() -> None:
            while not done.is_set():
                for process in reader.list_busy_pids():
                    with suppress(ProcessLookupError):  # it may have ended meanwhile
                        os.kill(process, signal.SIGKILL)

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            assert reason(reader, "slow.json", SLOW) == "crashed"
        finally:
            done.set()
            killer.join()
        assert reader.parse("a.md", b"Good.")[1].text == "Good."


def test_a_child_that_others_end_costs_no_file():
    with ParserPool(1) as reader:
        reader.parse("a.md", b"Good.")
        seat = reader._slots.get()
        os.kill(seat.process.pid, signal.SIGKILL)
        reader._slots.put(seat)
        assert reader.parse("a.md", b"Good again.")[1].text == "Good again."


def test_threads_share_a_reader(reader):
    with ThreadPoolExecutor(8) as pool:
        texts = list(
            pool.map(lambda n: reader.parse("a.md", f"# Note {n}\n".encode())[1].text, range(200))
        )
    assert texts == [f"Note {n}" for n in range(200)]


def test_files_too_large_are_refused():
    with ParserPool(1, ParserLimits(max_file_bytes=10)) as reader:
        assert reader.parse("a.md", b"0123456789")[1].text == "0123456789"
        assert reason(reader, "a.md", b"01234567890") == "too-large"


@linux
def test_a_child_has_little_memory_and_no_secrets(monkeypatch):
    monkeypatch.setenv("GROUNDWORK_DATABASE_URL", "postgresql://app:the-password@localhost/x")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-key")
    with ParserPool(1) as reader:
        reader.parse("a.md", b"Good.")
        child = Path(f"/proc/{reader._slots.queue[0].process.pid}")
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
def test_a_child_has_no_network():
    with ParserPool(1) as reader:
        reader.parse("a.md", b"Good.")
        child = Path(f"/proc/{reader._slots.queue[0].process.pid}")
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
def test_a_parser_may_do_nothing_but_parse(tmp_path, attempt):
    program = (
        "import ctypes, os, socket, subprocess, sys, ingest\nfrom ingest.sandbox.child import _build_audit_hook\n"
        f"sys.addaudithook(_build_audit_hook())\n{attempt.format(here=tmp_path)}"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert "PermissionError: a parser may not" in run.stderr


@linux
@pytest.mark.parametrize("busy", [False, True])
def test_children_die_with_a_parent_that_is_killed(busy):
    program = (
        "import sys, threading\nfrom ingest.sandbox.pool import ParserPool\nreader = ParserPool(1)\nreader.parse('a.md', b'Good.')\n"
        "print(reader._slots.queue[0].process.pid, flush=True)\n"
        + (
            f"reader.parse('a.json', b'[' + b'1,' * {20_000_000} + b'1]')"
            if busy
            else "threading.Event().wait()"
        )
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True
    ) as parent:
        child = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        ended, _, _ = select.select([child], [], [], 30)
        os.close(child)
    assert ended


def test_a_closed_reader_leaves_no_process():
    reader = ParserPool(2)
    reader.parse("a.md", b"Good.")
    child = next(seat.process for seat in reader._slots.queue if seat.process)
    reader.close()
    reader.close()
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)
