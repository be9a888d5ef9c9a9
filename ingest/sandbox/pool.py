"""Pool of parser processes: a file that breaks its parser ends one of them, never the run.

    with ParserPool() as pool:
        media_type, parsed = pool.parse("handbook.pdf", data)

The processes load little but the parsers, start in a fraction of a second and parse many files.
`ingest/sandbox/child.py` runs in them; `ingest/parsers/limits.py` limits each file.
"""

import math
import os
import queue
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Self

from core.errors import UnreadableFile
from ingest.parsers import limits
from ingest.parsers.pdf.ocr import MAX_PICTURES_PER_FILE, OcrEngine
from ingest.parsers.types import ParsedDocument
from ingest.sandbox import protocol, tesseract
from ingest.sandbox.child import (
    LAST_RESULT_REPLY,
    OCR_REQUEST_REPLY,
    OCR_TEXT_HEADER,
    REPLY_HEADER,
    REQUEST_HEADER,
)
from ingest.sources.types import MAX_FILE_BYTES, file_too_large

# Four bytes per character of text, and more than that again for structure and metadata.
_MAX_REPLY_BYTES = 16 * limits.MAX_TEXT_CHARACTERS
_MAX_OCR_TEXT_BYTES = 1_000_000  # of one picture
_CPU_LIMIT_SIGNAL = 24  # SIGXCPU, which Windows has no name for
_WATCHDOG_INTERVAL_SECONDS = 0.2
_EXIT_GRACE_SECONDS = 0.2
_REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
# Locations of software, and the language. No passwords, no keys.
_INHERITED_VARIABLES = (
    *("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"),
    *("SYSTEMROOT", "TZ", "PYTHONHOME"),
)


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """Limits for one file; `max_memory_bytes` is the memory of the process that parses it."""

    max_file_bytes: int = MAX_FILE_BYTES
    timeout_seconds: int = limits.MAX_PARSE_SECONDS
    max_memory_bytes: int = limits.MAX_MEMORY_BYTES


class ParserPool:
    """A few parser processes, which threads can share.

    Use it in a `with` statement, or call `close`.
    """

    def __init__(
        self,
        process_count: int = 2,
        limits: ParserLimits = ParserLimits(),
        ocr: OcrEngine | None = None,
    ) -> None:
        """Create a pool; scanned pages are read with `ocr`, or Tesseract if it is installed."""
        self._limits = limits
        self._ocr = ocr or tesseract.find_tesseract()
        self._slots: queue.LifoQueue[_ProcessSlot] = queue.LifoQueue()
        for _ in range(process_count):
            self._slots.put(_ProcessSlot())
        self._slot_count = process_count
        # A child ends with the thread that started it (PR_SET_PDEATHSIG, prctl(2)), so all are
        # started by one thread that lives as long as the pool.
        self._start_executor = ThreadPoolExecutor(1, thread_name_prefix="parser-starter")
        self._busy_processes: set[_ParserProcess] = set()
        self._closed = threading.Event()
        watchdog = threading.Thread(
            target=self._kill_overdue_processes, name="parser-watch", daemon=True
        )
        watchdog.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """End the processes, after those that are busy have finished."""
        if self._closed.is_set():
            return
        for _ in range(self._slot_count):
            if process := self._slots.get().process:
                process.terminate()
        self._closed.set()
        self._start_executor.shutdown()

    def parse(self, path: str, data: bytes) -> tuple[str, ParsedDocument]:
        """Return the media type and the content of a file.

        Raises:
            UnreadableFile: as `parse_file` does; also `too-large`, `too-slow` or `crashed` if a
                limit ended the process.
        """
        if len(data) > self._limits.max_file_bytes:
            raise file_too_large(path)
        slot = self._slots.get()
        try:
            message = self._request_with_retry(slot, path, data)
        finally:
            self._slots.put(slot)
        return _decode_reply(path, message)

    def list_busy_pids(self) -> list[int]:
        """Return the process ids of the processes that are parsing."""
        return [process.pid for process in tuple(self._busy_processes)]

    def _request_with_retry(self, slot: "_ProcessSlot", path: str, data: bytes) -> bytes:
        """Repeat a request once: something other than the file may have ended the process."""
        try:
            return self._request_parse(slot, path, data)
        except _ProcessLost as lost:
            if lost.timed_out:
                raise self._build_refusal(path, lost) from None
        try:
            return self._request_parse(slot, path, data)
        except _ProcessLost as lost:
            raise self._build_refusal(path, lost) from None

    def _request_parse(self, slot: "_ProcessSlot", path: str, data: bytes) -> bytes:
        process = slot.process
        if process is None or not process.is_alive:
            start = self._start_executor.submit(_ParserProcess, self._limits, self._ocr)
            process = slot.process = start.result()
        self._busy_processes.add(process)
        try:
            return process.request_parse(path, data)
        finally:
            self._busy_processes.discard(process)

    def _build_refusal(self, path: str, lost: "_ProcessLost") -> UnreadableFile:
        if lost.timed_out:
            why = f"{path} needs more than {self._limits.timeout_seconds} seconds. Split it."
            return UnreadableFile("too-slow", why)
        why = f"{path} made its parser fail. Save it with another program or in another format."
        return UnreadableFile("crashed", why)

    def _kill_overdue_processes(self) -> None:
        while not self._closed.wait(_WATCHDOG_INTERVAL_SECONDS):
            for process in tuple(self._busy_processes):
                process.kill_if_overdue()


class _ProcessLost(Exception):
    """The process has ended, or sent a message that breaks the protocol."""

    def __init__(self, timed_out: bool) -> None:
        self.timed_out = timed_out


class _ProcessSlot:
    """Place for a process, which is started when there is work for it."""

    process: "_ParserProcess | None" = None


class _ParserProcess:
    """One process; one thread uses it at a time, while the watchdog may kill it."""

    def __init__(self, limits: ParserLimits, ocr: OcrEngine | None) -> None:
        self._limits = limits
        self._ocr = ocr
        arguments = [str(limits.max_memory_bytes), str(limits.timeout_seconds)]
        self._process = subprocess.Popen(  # noqa: S603
            [
                *(sys.executable, "-P", "-s", "-X", "utf8", "-m", "ingest.sandbox.child"),
                *arguments,
                *(["ocr"] if ocr else []),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),
            env=_build_environment(),
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._requests: IO[bytes] = self._process.stdin
        self._replies: IO[bytes] = self._process.stdout
        self.is_alive = True
        self._deadline = math.inf
        self._timed_out = False
        self._deadline_lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def request_parse(self, path: str, data: bytes) -> bytes:
        """Return the reply for a file; raises _ProcessLost."""
        self._set_deadline(time.monotonic() + self._limits.timeout_seconds)
        try:
            kind, message = self._exchange(path.encode("utf-8", "replace"), data)
        except (OSError, EOFError) as error:
            self.terminate()
            was_cpu_limit = self._process.returncode == -_CPU_LIMIT_SIGNAL
            raise _ProcessLost(self._timed_out or was_cpu_limit) from error
        self._set_deadline(math.inf)
        if kind == LAST_RESULT_REPLY or self._timed_out:
            self.terminate()
        return message

    def _exchange(self, name: bytes, data: bytes) -> tuple[int, bytes]:
        """Send a file, answer the OCR requests for its pictures, and return the result."""
        self._requests.write(REQUEST_HEADER.pack(len(name), len(data)) + name)
        self._requests.write(data)
        self._requests.flush()
        for pictures_left in reversed(range(MAX_PICTURES_PER_FILE + 1)):
            kind, message = self._read_reply()
            if kind != OCR_REQUEST_REPLY:
                return kind, message
            if pictures_left:
                self._answer_ocr_request(message)
        raise EOFError

    def _answer_ocr_request(self, image: bytes) -> None:
        """Send the text on a picture; the time that OCR takes does not count."""
        seconds_left = self._deadline - time.monotonic()
        self._set_deadline(math.inf)
        text = self._ocr.read_text(image) if self._ocr else ""
        encoded = text.encode("utf-8", "replace")[:_MAX_OCR_TEXT_BYTES]
        self._set_deadline(time.monotonic() + seconds_left)
        self._requests.write(OCR_TEXT_HEADER.pack(len(encoded)) + encoded)
        self._requests.flush()

    def _read_reply(self) -> tuple[int, bytes]:
        kind, length = REPLY_HEADER.unpack(self._read_exactly(REPLY_HEADER.size))
        return kind, self._read_exactly(length)

    def _read_exactly(self, byte_count: int) -> bytes:
        data = self._replies.read(byte_count) if byte_count <= _MAX_REPLY_BYTES else b""
        if len(data) < byte_count:
            raise EOFError
        return data

    def kill_if_overdue(self) -> None:
        """Kill the process if its time is up."""
        with self._deadline_lock:
            if time.monotonic() > self._deadline:
                self._timed_out = True
                self._process.kill()

    def _set_deadline(self, deadline: float) -> None:
        with self._deadline_lock:
            self._deadline = deadline

    def terminate(self) -> None:
        """End the process, busy or not, and wait until it has ended."""
        self.is_alive = False
        for pipe in (self._requests, self._replies):
            with suppress(OSError):  # The process may have closed its end.
                pipe.close()
        try:
            self._process.wait(_EXIT_GRACE_SECONDS)  # Then its exit code shows the cause.
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _decode_reply(path: str, message: bytes) -> tuple[str, ParsedDocument]:
    try:
        return protocol.decode_reply(message)
    except (ValueError, RecursionError) as error:
        why = f"The parser returned an invalid result for {path}. Save it with another program."
        raise UnreadableFile("crashed", why) from error


def _build_environment() -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    paths = [str(_REPOSITORY_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return inherited | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
