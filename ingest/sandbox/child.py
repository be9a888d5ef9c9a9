"""Parser process: it can read its own libraries and nothing else, and write to one pipe.

`ingest.sandbox.pool` starts it. A file that takes over a parser finds a process with little memory
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
except ImportError:  # Windows: the parent limits the time; nothing limits memory.
    resource = None

REQUEST_HEADER = struct.Struct(">IQ")
"""Length in bytes of the file's name and of the file; both follow."""
REPLY_HEADER = struct.Struct(">BQ")
"""One of the three kinds of reply, and the length in bytes of the message that follows."""
OCR_TEXT_HEADER = struct.Struct(">Q")
"""Length in bytes of the text on a picture; it follows."""
# The last result ends the process. The message of an OCR request is a picture.
RESULT_REPLY, LAST_RESULT_REPLY, OCR_REQUEST_REPLY = range(3)

# A process is replaced after this many files, or when it has grown: libraries leak memory.
_MAX_FILES_PER_PROCESS = 2000
_MAX_MEMORY_FRACTION = 0.6
_PR_SET_PDEATHSIG = 1  # prctl(2)
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # sched.h
_WRITE_FLAGS = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FORBIDDEN_EVENTS = tuple(
    """
    socket. subprocess. os.exec os.fork os.posix_spawn os.spawn os.system os.startfile pty.
    os.remove os.rename os.mkdir os.rmdir os.link os.symlink os.chmod os.chown os.truncate
    os.kill os.killpg ctypes.dlopen ctypes.dlsym ftplib. urllib. http. smtplib. sqlite3. shutil.
    tempfile. webbrowser.
    """.split()
)


def main() -> None:
    """Parse the files that come through standard input, or become another program.

    The arguments are bytes of memory, seconds, and `ocr` if the parent reads pictures; or `run`,
    memory, seconds and a command.
    """
    if sys.argv[1] == "run":
        _limit_resources(int(sys.argv[2]), forbid_processes=False)
        _limit_cpu_seconds(int(sys.argv[3]))
        os.execv(sys.argv[4], sys.argv[4:])  # noqa: S606
    max_memory_bytes, max_seconds = int(sys.argv[1]), int(sys.argv[2])
    requests, replies = _detach_standard_streams()
    if sys.argv[3:] == ["ocr"]:
        ocr.set_ocr_engine(_ParentOcr(requests, replies))
    measure_memory = _build_memory_probe()
    _confine(max_memory_bytes)
    for files_left in reversed(range(_MAX_FILES_PER_PROCESS)):
        request = _read_request(requests)
        if request is None:
            return
        _limit_cpu_seconds(max_seconds)
        message, is_healthy = _parse_to_reply(*request)
        is_large = measure_memory() > _MAX_MEMORY_FRACTION * max_memory_bytes
        is_last = is_large or not is_healthy or not files_left
        _send_reply(replies, LAST_RESULT_REPLY if is_last else RESULT_REPLY, message)
        if is_last:
            return


def _confine(max_memory_bytes: int) -> None:
    """Give up all rights that a parser does not need; this can't be undone."""
    _isolate_network()
    _end_with_parent()  # After the isolation, which resets it.
    sys.modules["numpy"] = None  # type: ignore[assignment]  # openpyxl loads it without need
    _limit_resources(max_memory_bytes)
    mimetypes.init()  # It reads the system's list of types, which can't be opened from here on.
    sys.addaudithook(_build_audit_hook())


class _ParentOcr:
    """OCR engine in the parent: this process may start no program."""

    def __init__(self, requests: BinaryIO, replies: BinaryIO) -> None:
        self._requests = requests
        self._replies = replies

    def read_text(self, image: bytes) -> str:
        """Return the text on a PNG picture."""
        _send_reply(self._replies, OCR_REQUEST_REPLY, image)
        (length,) = OCR_TEXT_HEADER.unpack(self._requests.read(OCR_TEXT_HEADER.size))
        return self._requests.read(length).decode("utf-8", "replace")


def _send_reply(replies: BinaryIO, kind: int, message: bytes) -> None:
    replies.write(REPLY_HEADER.pack(kind, len(message)) + message)
    replies.flush()


def _parse_to_reply(name: str, data: bytes) -> tuple[bytes, bool]:
    """Return the message for a file, and True if this process can parse another one."""
    try:
        return protocol.encode_document(*parse_file(name, data)), True
    except UnreadableFile as error:
        return protocol.encode_refusal(error), error.reason != "too-large"
    except (MemoryError, ValueError, RecursionError):  # while the document is encoded
        why = f"{name} contains more than one document may. Split it into several files."
        return protocol.encode_refusal(UnreadableFile("too-large", why)), False


def _detach_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Return standard input and output, and replace both for libraries that print."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null_device = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(null_device, standard)
    return requests, replies


def _read_request(requests: BinaryIO) -> tuple[str, bytes] | None:
    header = requests.read(REQUEST_HEADER.size)
    if len(header) < REQUEST_HEADER.size:
        return None  # The parent has ended, or needs no more.
    name_length, length = REQUEST_HEADER.unpack(header)
    return requests.read(name_length).decode("utf-8", "replace"), requests.read(length)


def _isolate_network() -> None:
    """Enter an empty network namespace, on Linux if the system allows it; containers may not."""
    with suppress(OSError, AttributeError):
        system = ctypes.CDLL(None)
        if system.unshare(_CLONE_NEWNET) != 0:  # Only root may: become root of a user namespace.
            system.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _end_with_parent() -> None:
    """On Linux, let the parent's end kill this process even if it is busy.

    An idle process ends with its standard input.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit_resources(max_memory_bytes: int, forbid_processes: bool = True) -> None:
    """Limit memory and files, and forbid new processes and threads unless a program needs some."""
    if resource is None:
        return
    limit_by_name = {
        "RLIMIT_AS": max_memory_bytes,
        "RLIMIT_FSIZE": 0,
        "RLIMIT_CORE": 0,
        "RLIMIT_NOFILE": limits.MAX_OPEN_FILES,
    }
    if forbid_processes:
        limit_by_name["RLIMIT_NPROC"] = 0
    for name, value in limit_by_name.items():
        with suppress(ValueError, OSError, AttributeError):  # Some systems lack some of these.
            resource.setrlimit(getattr(resource, name), (value, value))


def _limit_cpu_seconds(seconds: int) -> None:
    """Limit the processor time from now on."""
    if resource is not None:
        used = resource.getrusage(resource.RUSAGE_SELF)
        _, hard_limit = resource.getrlimit(resource.RLIMIT_CPU)
        soft_limit = int(used.ru_utime + used.ru_stime) + seconds + 1
        resource.setrlimit(resource.RLIMIT_CPU, (soft_limit, hard_limit))


def _build_memory_probe() -> Callable[[], int]:
    """Return a function that measures this process's address space in bytes, 0 if unknown."""
    try:
        statm = os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return lambda: 0
    page_size = os.sysconf("SC_PAGE_SIZE")
    return lambda: int(os.pread(statm, 64, 0).split()[0]) * page_size


def _build_audit_hook() -> Callable[[str, tuple[object, ...]], None]:
    """Return a hook that refuses what a parser does not need; see sys.addaudithook.

    Files can be opened for reading in the interpreter, its libraries, `ingest` and `core`. The
    hook stops Python code; the resource limits and the parent's watchdog hold for any code.
    """
    readable_folders = _list_readable_folders()

    def check(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, int):
                return
            absolute_path = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]
            is_write = isinstance(flags, int) and flags & _WRITE_FLAGS
            if is_write or not absolute_path.startswith(readable_folders):
                raise PermissionError(f"a parser may not open {absolute_path}")
        elif event.startswith(_FORBIDDEN_EVENTS):
            raise PermissionError(f"a parser may not use {event}")

    return check


def _list_readable_folders() -> tuple[str, ...]:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    libraries = [path for path in sys.path if path and path != root]
    folders = [sys.prefix, sys.base_prefix, f"{root}/ingest", f"{root}/core", *libraries]
    paths = [path.rstrip(os.sep) for path in folders] + [os.path.realpath(path) for path in folders]
    return tuple(path + os.sep for path in paths)


if __name__ == "__main__":
    main()
