"""The process that parses: it can read its own libraries and nothing else, and write to its one pipe.

Started by `ingest.sandbox.pool`, never by hand. A file that gets the better of a parser finds a process with little memory
and time, no network, no other files, no right to start anything, and none of the parent's secrets.
"""

import ctypes
import mimetypes
import os
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import BinaryIO

from core.errors import UnreadableFile
from ingest.parsers import limits
from ingest.parsers.file_parser import parse_file
from ingest.parsers.pdf import ocr
from ingest.sandbox import protocol

resource: ModuleType | None
try:
    import resource
except (
    ImportError
):  # Windows: time is watched by the parent, memory isn't; docs/reference/formats.md says so.
    resource = None

REQUEST_HEADER = struct.Struct(">IQ")
"""Bytes of the name, bytes of the file; both follow."""
REPLY_HEADER = struct.Struct(">BQ")
"""What follows, and its length in bytes: ANSWER, LAST_ANSWER (this process is done) or PICTURE (of text to read)."""
OCR_TEXT_HEADER = struct.Struct(">Q")
"""Bytes of the text on the picture; it follows."""
RESULT_REPLY, LAST_RESULT_REPLY, OCR_REQUEST_REPLY = range(3)

_MAX_FILES_PER_PROCESS = 2000  # A process is replaced after so many, or when it has grown: what a library leaks is lost with it.
_MAX_MEMORY_FRACTION = 0.6  # Of the memory that it may have.
_PR_SET_PDEATHSIG = 1
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # sched.h
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN_EVENTS = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "os.startfile",
    "pty.",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "os.chown",
    "os.truncate",
    "os.kill",
    "os.killpg",
    "ctypes.dlopen",
    "ctypes.dlsym",
    "ftplib.",
    "urllib.",
    "http.",
    "smtplib.",
    "sqlite3.",
    "shutil.",
    "tempfile.",
    "webbrowser.",
)


def main() -> None:
    """Parse what comes through standard input until it ends.

    The arguments are bytes of memory, seconds, and `ocr` where the parent reads pictures; or `run`, memory, seconds and
    a command, which this process becomes.
    """
    if sys.argv[1] == "run":
        _limit_resources(int(sys.argv[2]), forbid_processes=False)
        _limit_cpu_seconds(int(sys.argv[3]))
        os.execv(sys.argv[4], sys.argv[4:])
    memory, seconds = int(sys.argv[1]), int(sys.argv[2])
    requests, replies = _detach_standard_streams()
    if sys.argv[3:] == ["ocr"]:
        ocr.set_ocr_engine(_ParentOcr(requests, replies))
    size = _build_memory_probe()
    _isolate_network()
    _end_with_parent()  # After that, since it undoes this.
    sys.modules["numpy"] = None  # type: ignore[assignment]  # openpyxl would load it if it could, and not need it
    _limit_resources(memory)
    mimetypes.init()  # It reads the system's list of types, which is out of reach from here on.
    sys.addaudithook(_build_audit_hook())
    for count in range(1, _MAX_FILES_PER_PROCESS + 1):
        request = _read_request(requests)
        if request is None:
            return
        _limit_cpu_seconds(seconds)
        message, healthy = _parse_to_reply(*request)
        last = (
            count == _MAX_FILES_PER_PROCESS or not healthy or size() > _MAX_MEMORY_FRACTION * memory
        )
        replies.write(
            REPLY_HEADER.pack(LAST_RESULT_REPLY if last else RESULT_REPLY, len(message)) + message
        )
        replies.flush()
        if last:
            return


class _ParentOcr:
    """Pictures are read by a program that the parent starts: this process may start none."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies

    def text(self, image: bytes) -> str:
        """The text on a PNG picture."""
        self._replies.write(REPLY_HEADER.pack(OCR_REQUEST_REPLY, len(image)) + image)
        self._replies.flush()
        (length,) = OCR_TEXT_HEADER.unpack(self._requests.read(OCR_TEXT_HEADER.size))
        return self._requests.read(length).decode("utf-8", "replace")


def _parse_to_reply(name: str, data: bytes) -> tuple[bytes, bool]:
    """The message for one file, and whether this process is fit for another."""
    try:
        return protocol.encode_document(*parse_file(name, data)), True
    except UnreadableFile as error:
        return protocol.encode_refusal(error), error.reason != "too-large"
    except (MemoryError, ValueError, RecursionError):  # In what was found, after it was parsed.
        why = f"{name} holds more than one document may; split it into several and ingest those."
        return protocol.encode_refusal(UnreadableFile("too-large", why)), False


def _detach_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output, out of the way of libraries that print."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nothing, standard)
    return requests, replies


def _read_request(requests: BinaryIO) -> tuple[str, bytes] | None:
    head = requests.read(REQUEST_HEADER.size)
    if len(head) < REQUEST_HEADER.size:
        return None  # The parent is gone, or needs no more.
    name_length, length = REQUEST_HEADER.unpack(head)
    return requests.read(name_length).decode("utf-8", "replace"), requests.read(length)


def _isolate_network() -> None:
    """On Linux into a network of its own with nobody in it, where the system lets it; containers often don't."""
    with suppress(OSError, AttributeError):
        system = ctypes.CDLL(None)
        if system.unshare(_CLONE_NEWNET) != 0:  # Without the right to: as root of users of its own.
            system.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _end_with_parent() -> None:
    """The end of standard input ends an idle process; on Linux this ends a busy one as well."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_resources(max_memory_bytes: int, forbid_processes: bool = True) -> None:
    """From here on; `processes` too, which counts threads, of which other programs have some."""
    if resource is None:
        return
    allowed = {
        "RLIMIT_AS": max_memory_bytes,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": limits.MAX_OPEN_FILES,
        **({"RLIMIT_NPROC": 0} if forbid_processes else {}),
    }
    for name, value in allowed.items():
        with suppress(
            ValueError, OSError, AttributeError
        ):  # Not every system knows or allows each.
            resource.setrlimit(getattr(resource, name), (value, value))


def _limit_cpu_seconds(seconds: int) -> None:
    """From now on so many seconds of processor time, then the end."""
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        soft = int(used.ru_utime + used.ru_stime) + seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _build_memory_probe() -> Callable[[], int]:
    """A function that tells this process's address space in bytes; where the system doesn't say, 0."""
    try:
        statm = os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return lambda: 0
    page = os.sysconf("SC_PAGE_SIZE")
    return lambda: int(os.pread(statm, 64, 0).split()[0]) * page


def _build_audit_hook() -> Callable[[str, tuple[object, ...]], None]:
    """Python's own report of what is about to happen, with an end to what a parser has no business with.

    Files may be opened for reading below the interpreter, its libraries and this package. This stops what is written in
    Python; the limits and the parent's watch hold whatever runs.
    """
    own = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    roots = [
        sys.prefix,
        sys.base_prefix,
        f"{own}/ingest",
        f"{own}/core",
        *(p for p in sys.path if p != own),
    ]
    readable = tuple(
        root + os.sep
        for path in roots
        if path
        for root in (path.rstrip(os.sep), os.path.realpath(path))
    )

    def check(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):
                return
            where = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
            if (isinstance(flags, int) and flags & _WRITE_FLAGS) or not where.startswith(readable):
                raise PermissionError(f"a parser may not open {where}")
        elif event.startswith(_FORBIDDEN_EVENTS):
            raise PermissionError(f"a parser may not use {event}")

    return check


if __name__ == "__main__":
    main()
