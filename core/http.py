"""HTTP calls with a deadline, a size limit and cancellation, for models and web pages.

A timeout of httpx covers one read of a socket, so a server that sends a byte now and then is never
late. Here each call has `CallLimits`: every look-up, handshake, read and write gets only the time
that its step has left. httpcore passes a request's timeouts to the network layer unchanged, so the
`CallLimits` object is passed as the timeout.
"""

import queue
import socket
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import httpcore
import httpx

POLL_SECONDS = 0.1  # longest wait before cancellation is checked again
KEEPALIVE_SECONDS = 30.0  # an idle connection is kept this long
DRAIN_SECONDS = 0.05  # to read the end of a complete reply, so that its connection can be reused
READ_BYTES = 65_536

HttpErrorKind = Literal[
    "unreachable",  # no connection in time
    "dns",  # the host name can't be resolved
    "tls",  # no trusted certificate
    "timeout",  # the deadline has passed
    "cut",  # the connection broke, or did not speak HTTP
    "encoding",  # the body is compressed in a way that was not requested
    "too_large",  # more bytes than the limit
    "cancelled",
]


class HttpError(Exception):
    """A failed HTTP call."""

    def __init__(self, kind: HttpErrorKind, detail: str = "") -> None:
        super().__init__(detail or kind)
        self.kind: HttpErrorKind = kind


class CallLimits:
    """Deadlines of one call, its present step and its connection, and its bytes to receive.

    `deadline` is a time of `time.monotonic`. Setting `cancelled` ends all calls that share it;
    `cancel` ends this one. `addresses` pins the IP addresses to connect to; without them the host
    name is resolved.
    """

    def __init__(
        self,
        deadline: float,
        connect_seconds: float,
        max_bytes: int,
        cancelled: threading.Event | None = None,
        addresses: Iterable[str] = (),
    ) -> None:
        self.deadline = self._step_deadline = self._connect_deadline = deadline
        self.addresses = tuple(addresses)
        self.is_complete = False  # set by the caller once it has read all it wants
        self._connect_seconds = connect_seconds
        self._bytes_left = max_bytes
        self._cancelled = cancelled or threading.Event()
        self._is_cancelled = False

    def start_step(self, seconds: float) -> None:
        """Give the next step this much time, within the deadline of the call."""
        self._step_deadline = min(self.deadline, time.monotonic() + seconds)

    def start_connecting(self) -> None:
        """Start the time limit of a new connection."""
        self._connect_deadline = min(self._step_deadline, time.monotonic() + self._connect_seconds)

    def cancel(self) -> None:
        """End this call, from any thread."""
        self._is_cancelled = True

    def remaining_seconds(self) -> float:
        """Return the seconds left for the present step.

        Raises:
            HttpError: `timeout` if none are left, `cancelled`.
        """
        return self._remaining_until(self._step_deadline, "timeout")

    def remaining_connect_seconds(self) -> float:
        """Return the seconds left for the connection; raises `unreachable` or `cancelled`."""
        return self._remaining_until(self._connect_deadline, "unreachable")

    def count_bytes(self, size: int) -> None:
        """Count received bytes; raises `too_large` beyond the limit."""
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise HttpError("too_large")

    def _remaining_until(self, deadline: float, late_kind: HttpErrorKind) -> float:
        if self._is_cancelled or self._cancelled.is_set():
            raise HttpError("cancelled")
        seconds = deadline - time.monotonic()
        if seconds <= 0:
            raise HttpError(late_kind)
        return seconds


class HttpPool:
    """Connections for many calls, kept open between them unless `keep_alive` is off.

    Redirects are not followed, and no proxy or other setting of the environment is used.
    """

    def __init__(
        self, ssl_context: ssl.SSLContext | None = None, *, keep_alive: bool = True
    ) -> None:
        self._connections = httpcore.ConnectionPool(
            ssl_context=ssl_context or httpx.create_ssl_context(),
            max_connections=None,
            max_keepalive_connections=None if keep_alive else 0,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=_LimitedBackend(),
        )

    def send(
        self,
        method: str,
        url: httpcore.URL | str,
        headers: Iterable[tuple[bytes, bytes]],
        limits: CallLimits,
        content: Any = None,
    ) -> "LimitedResponse":
        """Send a request and return the response once its headers have arrived. Close it after use.

        Raises:
            HttpError: see `HttpErrorKind`.
        """
        extensions = {"timeout": dict.fromkeys(("connect", "read", "write"), limits)}
        request = httpcore.Request(
            method, url, headers=list(headers), content=content, extensions=extensions
        )
        with _translate_errors():
            return LimitedResponse(self._connections.handle_request(request), limits)

    def open_client(self, limits: CallLimits) -> httpx.Client:
        """Return an httpx client for one call. It is cheap: the connections are shared."""
        return httpx.Client(
            transport=_PoolTransport(self, limits),
            timeout=None,  # noqa: S113 - the limits of the call hold
            trust_env=False,
            headers={"Accept-Encoding": "identity"},  # a compressed body could expand without limit
        )

    @property
    def is_idle(self) -> bool:
        """True if no call uses a connection."""
        return all(connection.is_idle() for connection in self._connections.connections)

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()


class LimitedResponse(httpx.SyncByteStream):
    """A response whose body is read within the limits of its call."""

    def __init__(self, response: httpcore.Response, limits: CallLimits) -> None:
        self.status, self.raw_headers = response.status, response.headers
        self._response, self._limits = response, limits
        self._chunks = iter(response.iter_stream())
        self._is_closed = False

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names with the first value of each."""
        first_values: dict[str, str] = {}
        for name, value in self.raw_headers:
            first_values.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        return first_values

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with _translate_errors():
                chunk = next(self._chunks, None)
            if chunk is None:
                return
            yield chunk

    def read(self, max_bytes: int) -> bytes:
        """Return the whole body, unpacked if it is gzip.

        Raises:
            HttpError: also `too_large` if it has more than `max_bytes` unpacked, and `encoding`.
        """
        headers = self.headers
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > max_bytes:
            raise HttpError("too_large")
        body = bytearray()
        for chunk in _decompress(self, headers.get("content-encoding", "")):
            body += chunk
            if len(body) > max_bytes:
                raise HttpError("too_large")
        return bytes(body)

    def close(self) -> None:
        """Keep the connection for reuse if the reply is complete; otherwise close it."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._limits.is_complete:
            self._limits.start_step(DRAIN_SECONDS)
            with suppress(HttpError):
                deque(self, maxlen=0)
        self._response.close()


def resolve_host(host: str, port: int, seconds: float) -> list[str]:
    """Return the IP addresses of a host, each once.

    A look-up can't be cancelled, so it runs in a thread that is abandoned after the time limit.

    Raises:
        HttpError: `dns` if there is no answer in time, or none with an address.
    """
    answers: queue.SimpleQueue[list[str] | Exception] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=resolve, name="resolve-host", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise HttpError("dns") from None
    if isinstance(answer, Exception):
        raise HttpError("dns") from answer
    return answer


class _PoolTransport(httpx.BaseTransport):
    """Sends the requests of an httpx client through a pool."""

    def __init__(self, pool: HttpPool, limits: CallLimits) -> None:
        self._pool, self._limits = pool, limits
        self._response: LimitedResponse | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._response = response = self._pool.send(
            request.method, str(request.url), request.headers.raw, self._limits, request.stream
        )
        if response.headers.get("content-encoding", "identity") != "identity":
            raise HttpError("encoding")
        return httpx.Response(response.status, headers=response.raw_headers, stream=response)

    def close(self) -> None:
        if self._response is not None:
            self._response.close()


class _LimitedBackend(httpcore.NetworkBackend):
    """Connects to the first address of a host that answers."""

    def __init__(self) -> None:
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: Any = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        limits: CallLimits = timeout
        limits.start_connecting()
        addresses = limits.addresses or resolve_host(host, port, limits.remaining_connect_seconds())
        failure: Exception = httpcore.ConnectError(f"{host} has no address")
        for index, address in enumerate(addresses):
            # A dead address must leave time for the others.
            seconds = limits.remaining_connect_seconds() / (len(addresses) - index)
            try:
                stream = self._sockets.connect_tcp(
                    address, port, seconds, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
            else:
                return _LimitedStream(stream)
        raise failure


class _LimitedStream(httpcore.NetworkStream):
    """A connection whose reads and writes keep to the limits of the call that uses it."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: Any = None) -> bytes:
        limits: CallLimits = timeout
        while True:
            try:
                data = self._stream.read(max_bytes, min(limits.remaining_seconds(), POLL_SECONDS))
            except httpcore.ReadTimeout:
                continue
            limits.count_bytes(len(data))
            return data

    def write(self, buffer: bytes, timeout: Any = None) -> None:
        limits: CallLimits = timeout
        self._stream.write(buffer, limits.remaining_seconds())

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: Any = None
    ) -> httpcore.NetworkStream:
        limits: CallLimits = timeout
        seconds = limits.remaining_connect_seconds()
        return _LimitedStream(self._stream.start_tls(ssl_context, server_hostname, seconds))

    def close(self) -> None:
        self._stream.close()

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


@contextmanager
def _translate_errors() -> Iterator[None]:
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        ssl.SSLError,
    ) as error:
        raise HttpError(_classify(error), " ".join(str(error).split())) from error


def _classify(error: Exception) -> HttpErrorKind:
    has_tls_cause = any(isinstance(cause, ssl.SSLError) for cause in cause_chain(error))
    if has_tls_cause and not isinstance(error, httpcore.ReadError):
        return "tls"
    if isinstance(error, (httpcore.ConnectError, httpcore.ConnectTimeout)):
        return "unreachable"
    return "timeout" if isinstance(error, httpcore.TimeoutException) else "cut"


def cause_chain(error: BaseException | None) -> list[BaseException]:
    """Return an error and those that led to it, the last one first."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    return chain


def _decompress(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Yield a body without its compression, in pieces too small to fill the memory."""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        yield from chunks
    elif encoding in ("gzip", "x-gzip"):
        yield from _decompress_gzip(chunks)
    else:
        raise HttpError("encoding", encoding[:40])


def _decompress_gzip(chunks: Iterable[bytes]) -> Iterator[bytes]:
    decompressor = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        rest = chunk
        while rest and not decompressor.eof:
            try:
                yield decompressor.decompress(rest, READ_BYTES)
            except zlib.error as error:
                raise HttpError("cut", "the compressed data is damaged") from error
            rest = decompressor.unconsumed_tail
    if not decompressor.eof:
        raise HttpError("cut", "the compressed data ends early")
