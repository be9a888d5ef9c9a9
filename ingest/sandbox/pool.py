"""Files parsed at a safe distance: in child processes that may be lost, so that a run never is.

    with Reader() as reader:
        media_type, parsed = reader.parse("handbook.pdf", data)

The children hold the parsers and little else, start in a fraction of a second and are used for many files.
`ingest/sandbox/child.py` is what runs in them, `ingest/parsers/limits.py` what a file may cost.
"""

import math
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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

_MAX_REPLY_BYTES = (
    16 * limits.MAX_TEXT_CHARACTERS
)  # Bytes: the text at four each, and as much again for structure and metadata.
_MAX_OCR_TEXT_BYTES = 1_000_000  # Bytes of text on one picture.
_CPU_LIMIT_SIGNAL = 24  # SIGXCPU, which Windows has no name for.
_WATCHDOG_INTERVAL_SECONDS = 0.2  # Seconds between two looks at the clock.
_REPOSITORY_ROOT = Path(__file__).resolve().parents[2]
# What a child gets of the environment: where things are installed, and which language. No passwords, no keys.
_INHERITED_VARIABLES = (
    "PATH",
    "LANG",
    "LC_ALL",
    "LD_LIBRARY_PATH",
    "DYLD_LIBRARY_PATH",
    "SYSTEMROOT",
    "TZ",
    "PYTHONHOME",
)


@dataclass(frozen=True, slots=True)
class ParserLimits:
    """What a file may cost: `bytes` of the file itself, `seconds`, and bytes of `memory` of the child."""

    max_file_bytes: int = MAX_FILE_BYTES
    timeout_seconds: int = limits.MAX_PARSE_SECONDS
    max_memory_bytes: int = limits.MAX_MEMORY_BYTES


class ParserPool:
    """A few child processes that parse; threads may share it. Use it in a `with` statement, or call `close`."""

    def __init__(
        self,
        process_count: int = 2,
        limits: ParserLimits = ParserLimits(),
        ocr: OcrEngine | None = None,
    ) -> None:
        """`ocr` reads scanned pages; by default Tesseract, where it is installed."""
        self._limits = limits
        self._ocr = ocr or tesseract.find_tesseract()
        self._slots: queue.LifoQueue[_ProcessSlot] = queue.LifoQueue()
        for _ in range(process_count):
            self._slots.put(_ProcessSlot())
        self._slot_count = process_count
        # Children end with the thread that started them (see PDEATHSIG, prctl(2)): this one lives as long as we do.
        self._start_executor = ThreadPoolExecutor(1, thread_name_prefix="parser-starter")
        self._busy_processes: set[_ParserProcess] = set()
        self._closed = threading.Event()
        self._watchdog_thread = threading.Thread(
            target=self._kill_overdue_processes, name="parser-watch", daemon=True
        )
        self._watchdog_thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """End the children; waits for those that are at work."""
        if self._closed.is_set():
            return
        for _ in range(self._slot_count):
            if child := self._slots.get().process:
                child.terminate()
        self._closed.set()
        self._start_executor.shutdown()

    def parse(self, path: str, data: bytes) -> tuple[str, ParsedDocument]:
        """The media type and the content of a file, as `ingest.parsers.parse` gives them.

        Raises:
            Unreadable: what `parse` raises; and `too-large`, `too-slow` or `crashed` when a limit ended it.
        """
        if len(data) > self._limits.max_file_bytes:
            raise file_too_large(path)
        with self._acquire_slot() as seat:
            try:
                message = self._send_to_process(seat, path, data)
            except _ProcessLost as lost:
                if lost.timed_out:
                    raise self._build_refusal(path, timed_out=True) from None
                message = self._retry_parse(seat, path, data)
        return _decode_reply(path, message)

    def list_busy_pids(self) -> list[int]:
        """The process ids of the children that are at work."""
        return [child.pid for child in tuple(self._busy_processes)]

    def _retry_parse(self, slot: "_ProcessSlot", path: str, data: bytes) -> bytes:
        """A child may have been ended by others: only the file that ends two of them is to blame."""
        try:
            return self._send_to_process(slot, path, data)
        except _ProcessLost as lost:
            raise self._build_refusal(path, lost.timed_out) from None

    def _send_to_process(self, slot: "_ProcessSlot", path: str, data: bytes) -> bytes:
        child = slot.process
        if child is None or not child.is_alive:
            child = slot.process = self._start_executor.submit(
                _ParserProcess, self._limits, self._ocr
            ).result()
        self._busy_processes.add(child)
        try:
            return child.request_parse(path, data)
        finally:
            self._busy_processes.discard(child)

    @contextmanager
    def _acquire_slot(self) -> Iterator["_ProcessSlot"]:
        seat = self._slots.get()
        try:
            yield seat
        finally:
            self._slots.put(seat)

    def _build_refusal(self, path: str, timed_out: bool) -> UnreadableFile:
        if timed_out:
            why = f"{path} could not be read within {self._limits.timeout_seconds} seconds; split it, or save it differently."
            return UnreadableFile("too-slow", why)
        why = f"{path} made its parser fail; save it again with another program, or in another format."
        return UnreadableFile("crashed", why)

    def _kill_overdue_processes(self) -> None:
        while not self._closed.wait(_WATCHDOG_INTERVAL_SECONDS):
            for child in tuple(self._busy_processes):
                child.kill_if_overdue()


class _ProcessLost(Exception):
    """The child ended, or speaks nonsense; `late` when its time was up."""

    def __init__(self, timed_out: bool = False) -> None:
        self.timed_out = timed_out


class _ProcessSlot:
    """A place for a child, which is started when there is work for it."""

    process: "_ParserProcess | None" = None


class _ParserProcess:
    """One process; used by one thread at a time, while the watch may stop it."""

    def __init__(self, limits: ParserLimits, ocr: OcrEngine | None) -> None:
        self._limits = limits
        self._ocr = ocr
        arguments = [
            str(limits.max_memory_bytes),
            str(limits.timeout_seconds),
            *(["ocr"] if ocr else []),
        ]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-s", "-X", "utf8", "-m", "ingest.sandbox.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),
            env=_build_environment(),
        )
        self.is_alive = True
        self._deadline = math.inf
        self._timed_out = False
        self._deadline_lock = threading.Lock()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def request_parse(self, path: str, data: bytes) -> bytes:
        """The message for a file; raises _Lost."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        name = path.encode("utf-8", "replace")
        self._set_deadline(time.monotonic() + self._limits.timeout_seconds)
        try:
            requests.write(REQUEST_HEADER.pack(len(name), len(data)) + name)
            requests.write(data)
            requests.flush()
            kind, message = _read_reply(replies)
            for _ in range(MAX_PICTURES_PER_FILE):
                if kind == OCR_REQUEST_REPLY:
                    self._answer_ocr_request(requests, message)
                    kind, message = _read_reply(replies)
            if kind == OCR_REQUEST_REPLY:
                raise EOFError
        except (OSError, EOFError) as error:
            self.terminate()
            raise _ProcessLost(
                self._timed_out or self._process.returncode == -_CPU_LIMIT_SIGNAL
            ) from error
        self._set_deadline(math.inf)
        if kind == LAST_RESULT_REPLY or self._timed_out:
            self.terminate()
        return message

    def _answer_ocr_request(self, requests: IO[bytes], image: bytes) -> None:
        """Answer the child's question what a picture says; the clock stands still meanwhile."""
        left = self._deadline - time.monotonic()
        self._set_deadline(math.inf)
        text = (
            self._ocr.text(image).encode("utf-8", "replace")[:_MAX_OCR_TEXT_BYTES]
            if self._ocr
            else b""
        )
        self._set_deadline(time.monotonic() + left)
        requests.write(OCR_TEXT_HEADER.pack(len(text)) + text)
        requests.flush()

    def kill_if_overdue(self) -> None:
        """Kill it if its time is up."""
        with self._deadline_lock:
            if time.monotonic() > self._deadline:
                self._timed_out = True
                self._process.kill()

    def _set_deadline(self, deadline: float) -> None:
        with self._deadline_lock:
            self._deadline = deadline

    def terminate(self) -> None:
        """End it, at work or not, and wait until it has ended."""
        self.is_alive = False
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # What was still to be written, to a process that has ended.
                assert pipe is not None
                pipe.close()
        try:
            self._process.wait(0.2)  # It may just have ended, by a signal that says why.
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _read_reply(pipe: IO[bytes]) -> tuple[int, bytes]:
    kind, length = REPLY_HEADER.unpack(_read_exactly(pipe, REPLY_HEADER.size))
    return kind, _read_exactly(pipe, length)


def _read_exactly(pipe: IO[bytes], byte_count: int) -> bytes:
    data = pipe.read(byte_count) if byte_count <= _MAX_REPLY_BYTES else b""
    if len(data) < byte_count:
        raise EOFError
    return data


def _decode_reply(path: str, message: bytes) -> tuple[str, ParsedDocument]:
    try:
        return protocol.decode_reply(message)
    except (ValueError, RecursionError) as error:
        why = f"{path} made its parser say what makes no sense; save it again with another program."
        raise UnreadableFile("crashed", why) from error


def _build_environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    paths = [str(_REPOSITORY_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
