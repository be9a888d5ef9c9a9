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

from core.errors import Unreadable
from ingest.parsers import Parsed, limits
from ingest.parsers.pdf.ocr import PICTURES, Ocr
from ingest.sandbox import protocol, tesseract
from ingest.sandbox.child import LAST_ANSWER, PICTURE, REPLY, REQUEST, TEXT
from ingest.sources.types import MAX_BYTES, too_large

_REPLY_LENGTH = 16 * limits.TEXT  # Bytes: the text at four each, and as much again for structure and metadata.
_PAGE = 1_000_000  # Bytes of text on one picture.
_OUT_OF_TIME = 24  # SIGXCPU, which Windows has no name for.
_TICK = 0.2  # Seconds between two looks at the clock.
_ROOT = Path(__file__).resolve().parents[2]
# What a child gets of the environment: where things are installed, and which language. No passwords, no keys.
_ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "TZ", "PYTHONHOME")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may cost: `bytes` of the file itself, `seconds`, and bytes of `memory` of the child."""

    bytes: int = MAX_BYTES
    seconds: int = limits.SECONDS
    memory: int = limits.MEMORY


class Reader:
    """A few child processes that parse; threads may share it. Use it in a `with` statement, or call `close`."""

    def __init__(self, processes: int = 2, limits: Limits = Limits(), ocr: Ocr | None = None) -> None:
        """`ocr` reads scanned pages; by default Tesseract, where it is installed."""
        self._limits = limits
        self._ocr = ocr or tesseract.installed()
        self._seats: queue.LifoQueue[_Seat] = queue.LifoQueue()
        for _ in range(processes):
            self._seats.put(_Seat())
        self._processes = processes
        # Children end with the thread that started them (see PDEATHSIG, prctl(2)): this one lives as long as we do.
        self._starter = ThreadPoolExecutor(1, thread_name_prefix="parser-starter")
        self._busy: set[_Child] = set()
        self._closed = threading.Event()
        self._watch = threading.Thread(target=self._watch_clock, name="parser-watch", daemon=True)
        self._watch.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """End the children; waits for those that are at work."""
        if self._closed.is_set():
            return
        for _ in range(self._processes):
            if child := self._seats.get().child:
                child.end()
        self._closed.set()
        self._starter.shutdown()

    def parse(self, path: str, data: bytes) -> tuple[str, Parsed]:
        """The media type and the content of a file, as `ingest.parsers.parse` gives them.

        Raises:
            Unreadable: what `parse` raises; and `too-large`, `too-slow` or `crashed` when a limit ended it.
        """
        if len(data) > self._limits.bytes:
            raise too_large(path)
        with self._seat() as seat:
            try:
                message = self._ask(seat, path, data)
            except _Lost as lost:
                if lost.late:
                    raise self._refusal(path, late=True) from None
                message = self._ask_again(seat, path, data)
        return _understood(path, message)

    def processes(self) -> list[int]:
        """The process ids of the children that are at work."""
        return [child.pid for child in tuple(self._busy)]

    def _ask_again(self, seat: "_Seat", path: str, data: bytes) -> bytes:
        """A child may have been ended by others: only the file that ends two of them is to blame."""
        try:
            return self._ask(seat, path, data)
        except _Lost as lost:
            raise self._refusal(path, lost.late) from None

    def _ask(self, seat: "_Seat", path: str, data: bytes) -> bytes:
        child = seat.child
        if child is None or not child.alive:
            child = seat.child = self._starter.submit(_Child, self._limits, self._ocr).result()
        self._busy.add(child)
        try:
            return child.ask(path, data)
        finally:
            self._busy.discard(child)

    @contextmanager
    def _seat(self) -> Iterator["_Seat"]:
        seat = self._seats.get()
        try:
            yield seat
        finally:
            self._seats.put(seat)

    def _refusal(self, path: str, late: bool) -> Unreadable:
        if late:
            why = f"{path} could not be read within {self._limits.seconds} seconds; split it, or save it differently."
            return Unreadable("too-slow", why)
        why = f"{path} made its parser fail; save it again with another program, or in another format."
        return Unreadable("crashed", why)

    def _watch_clock(self) -> None:
        while not self._closed.wait(_TICK):
            for child in tuple(self._busy):
                child.stop_if_late()


class _Lost(Exception):
    """The child ended, or speaks nonsense; `late` when its time was up."""

    def __init__(self, late: bool = False) -> None:
        self.late = late


class _Seat:
    """A place for a child, which is started when there is work for it."""

    child: "_Child | None" = None


class _Child:
    """One process; used by one thread at a time, while the watch may stop it."""

    def __init__(self, allowed: Limits, ocr: Ocr | None) -> None:
        self._limits = allowed
        self._ocr = ocr
        arguments = [str(allowed.memory), str(allowed.seconds), *(["ocr"] if ocr else [])]
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            [sys.executable, "-P", "-s", "-X", "utf8", "-m", "ingest.sandbox.child", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=os.path.abspath(os.sep),
            env=_environment(),
        )
        self.alive = True
        self._deadline = math.inf
        self._late = False
        self._clock = threading.Lock()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def ask(self, path: str, data: bytes) -> bytes:
        """The message for a file; raises _Lost."""
        requests, replies = self._process.stdin, self._process.stdout
        assert requests is not None
        assert replies is not None
        name = path.encode("utf-8", "replace")
        self._set_clock(time.monotonic() + self._limits.seconds)
        try:
            requests.write(REQUEST.pack(len(name), len(data)) + name)
            requests.write(data)
            requests.flush()
            kind, message = _reply(replies)
            for _ in range(PICTURES):
                if kind == PICTURE:
                    self._read_picture(requests, message)
                    kind, message = _reply(replies)
            if kind == PICTURE:
                raise EOFError
        except (OSError, EOFError) as error:
            self.end()
            raise _Lost(self._late or self._process.returncode == -_OUT_OF_TIME) from error
        self._set_clock(math.inf)
        if kind == LAST_ANSWER or self._late:
            self.end()
        return message

    def _read_picture(self, requests: IO[bytes], picture: bytes) -> None:
        """Answer the child's question what a picture says; the clock stands still meanwhile."""
        left = self._deadline - time.monotonic()
        self._set_clock(math.inf)
        text = self._ocr.text(picture).encode("utf-8", "replace")[:_PAGE] if self._ocr else b""
        self._set_clock(time.monotonic() + left)
        requests.write(TEXT.pack(len(text)) + text)
        requests.flush()

    def stop_if_late(self) -> None:
        """Kill it if its time is up."""
        with self._clock:
            if time.monotonic() > self._deadline:
                self._late = True
                self._process.kill()

    def _set_clock(self, deadline: float) -> None:
        with self._clock:
            self._deadline = deadline

    def end(self) -> None:
        """End it, at work or not, and wait until it has ended."""
        self.alive = False
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):  # What was still to be written, to a process that has ended.
                assert pipe is not None
                pipe.close()
        try:
            self._process.wait(0.2)  # It may just have ended, by a signal that says why.
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _reply(pipe: IO[bytes]) -> tuple[int, bytes]:
    kind, length = REPLY.unpack(_exactly(pipe, REPLY.size))
    return kind, _exactly(pipe, length)


def _exactly(pipe: IO[bytes], length: int) -> bytes:
    data = pipe.read(length) if length <= _REPLY_LENGTH else b""
    if len(data) < length:
        raise EOFError
    return data


def _understood(path: str, message: bytes) -> tuple[str, Parsed]:
    try:
        return protocol.unpack(message)
    except (ValueError, RecursionError) as error:
        why = f"{path} made its parser say what makes no sense; save it again with another program."
        raise Unreadable("crashed", why) from error


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return kept | {"PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
