"""HTTP whose every step has a deadline, and that another thread can end.

A timeout of httpx holds for one read of a socket, so a server that sends a byte now and then is never late. Here a
`Watch` goes with each call: each read, each handshake, each look-up of a name gets what is left until its step must be
done. Connections are pooled; the watch is the call's.
"""

import queue
import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import httpcore
import httpx

from serving.gateway.resilience.upstream_faults import (
    FaultKind,
    UpstreamFault,
    fault_from_network_error,
)

POLL_SECONDS = 0.1  # seconds after which a wait looks whether it has been cancelled
KEEPALIVE_SECONDS = 30.0  # seconds for which an idle connection is kept
DRAIN_SECONDS = 0.05  # seconds for what may still come after the end of a reply, so that its connection can be used again


class CallLimits:
    """Until when a call and its present step must be done, how much it may bring, and whether it is still wanted.

    Times are those of `time.monotonic`. `cancelled` ends all calls of a request, `cancel` this one;
    `finished` says that all that is wanted of it was read.
    """

    def __init__(
        self, deadline: float, connect_seconds: float, max_bytes: int, cancelled: threading.Event
    ) -> None:
        self.deadline = self._step_deadline = deadline
        self._connect_seconds, self._connect_deadline = connect_seconds, deadline
        self._bytes_left, self._cancelled, self._is_cancelled = max_bytes, cancelled, False
        self.is_complete = False

    def start_step(self, seconds: float) -> None:
        """Give what is awaited next so much time, and never more than the call has."""
        self._step_deadline = min(self.deadline, time.monotonic() + seconds)

    def start_connecting(self) -> None:
        """A connection is begun now."""
        self._connect_deadline = min(self._step_deadline, time.monotonic() + self._connect_seconds)

    def cancel(self) -> None:
        """End this call, from whatever thread."""
        self._is_cancelled = True

    def remaining_seconds(self) -> float:
        """Seconds that the present step still has.

        Raises:
            UpstreamFault: none is left, or nobody waits any more.
        """
        return self._remaining_until(self._step_deadline, "timeout")

    def remaining_connect_seconds(self) -> float:
        """The same for a connection that has been begun."""
        return self._remaining_until(self._connect_deadline, "unreachable")

    def _remaining_until(self, deadline: float, late_kind: FaultKind) -> float:
        seconds = deadline - time.monotonic()
        if self._is_cancelled or self._cancelled.is_set():
            raise UpstreamFault("cancelled")
        if seconds <= 0:
            raise UpstreamFault(late_kind)
        return seconds

    def count_bytes(self, size: int) -> None:
        """Count what came in.

        Raises:
            UpstreamFault: more than a reply of this length can need.
        """
        self._bytes_left -= size
        if self._bytes_left < 0:
            raise UpstreamFault("too_large")


class HttpPool:
    """Connections to all providers. Redirects are not followed, so that a key goes nowhere else."""

    def __init__(self) -> None:
        self._connections = httpcore.ConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_connections=None,
            keepalive_expiry=KEEPALIVE_SECONDS,
            network_backend=_NetworkBackend(),
        )

    def open_client(self, limits: CallLimits) -> httpx.Client:
        """A client for one call; making one costs next to nothing, the connections are shared."""
        headers = {"Accept-Encoding": "identity"}  # what is packed could unpack to anything
        return httpx.Client(
            transport=_LimitedTransport(self._connections, limits),
            timeout=None,
            trust_env=False,
            headers=headers,
        )

    @property
    def is_idle(self) -> bool:
        """Whether no call has a connection just now."""
        return all(connection.is_idle() for connection in self._connections.connections)

    def close(self) -> None:
        """Close every connection."""
        self._connections.close()


class _LimitedTransport(httpx.BaseTransport):
    """Sends a request over the pool; errors of the network come out as `UpstreamFault`."""

    def __init__(self, connections: httpcore.ConnectionPool, limits: CallLimits) -> None:
        self._connections, self._limits = connections, limits
        self._body: _ResponseBody | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        with _apply_limits(self._limits):
            response = self._connections.handle_request(
                httpcore.Request(
                    request.method,
                    str(request.url),
                    headers=request.headers.raw,
                    content=request.stream,
                )
            )
        self._body = stream = _ResponseBody(response, self._limits)
        if httpx.Headers(response.headers).get("content-encoding", "identity") != "identity":
            raise UpstreamFault("content_type")
        return httpx.Response(response.status, headers=response.headers, stream=stream)

    def close(self) -> None:
        """Give the connection back, however little of the response was wanted."""
        if self._body is not None:
            self._body.close()


class _ResponseBody(httpx.SyncByteStream):
    def __init__(self, response: httpcore.Response, limits: CallLimits) -> None:
        self._response, self._limits = response, limits
        self._parts = iter(response.iter_stream())
        self._closed = False

    def __iter__(self) -> Iterator[bytes]:
        while True:
            with _apply_limits(self._limits):
                part = next(self._parts, None)
            if part is None:
                return
            yield part

    def close(self) -> None:
        """Give the connection back: to be used again where the reply came to its end, else to be closed."""
        if self._closed:
            return
        self._closed = True
        if self._limits.is_complete:
            self._limits.start_step(DRAIN_SECONDS)
            with suppress(UpstreamFault):
                deque(self, maxlen=0)
        self._response.close()


_thread_state = threading.local()  # the watch of the call that this thread is just waiting for


@contextmanager
def _apply_limits(limits: CallLimits) -> Iterator[None]:
    _thread_state.limits = limits
    try:
        yield
    except (
        httpcore.TimeoutException,
        httpcore.NetworkError,
        httpcore.ProtocolError,
        ssl.SSLError,
    ) as error:
        raise fault_from_network_error(error) from error
    finally:
        _thread_state.limits = None


class _NetworkBackend(httpcore.NetworkBackend):
    """Connects to the first address of a host that answers."""

    def __init__(self) -> None:
        self._sockets = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        limits: CallLimits = _thread_state.limits
        limits.start_connecting()
        failed: Exception | None = None
        for address in _resolve_host(host, port, limits.remaining_connect_seconds()):
            left = limits.remaining_connect_seconds()
            try:
                stream = self._sockets.connect_tcp(
                    address, port, left, local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _LimitedStream(stream)
        raise failed or httpcore.ConnectError(f"{host} has no address")


class _LimitedStream(httpcore.NetworkStream):
    """A connection whose reads and writes keep to the watch of whoever has it at the time."""

    def __init__(self, stream: httpcore.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        limits: CallLimits = _thread_state.limits
        while True:
            try:
                data = self._stream.read(max_bytes, min(limits.remaining_seconds(), POLL_SECONDS))
            except httpcore.ReadTimeout:
                continue
            limits.count_bytes(len(data))
            return data

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, _thread_state.limits.remaining_seconds())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = _thread_state.limits.remaining_connect_seconds()
        return _LimitedStream(self._stream.start_tls(ssl_context, server_hostname, left))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _resolve_host(host: str, port: int, seconds: float) -> list[str]:
    """The addresses of a host. A look-up can't be ended, so it runs in a thread that nobody waits for longer.

    Raises:
        UpstreamFault: no answer in time, or none with an address.
    """
    found: queue.SimpleQueue[list[str] | OSError] = queue.SimpleQueue()

    def look_up() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.put(list(dict.fromkeys(str(entry[4][0]) for entry in entries)))
        except (OSError, UnicodeError) as error:
            found.put(OSError(str(error)))

    threading.Thread(target=look_up, name="look-up", daemon=True).start()
    try:
        addresses = found.get(timeout=seconds)
    except queue.Empty:
        raise UpstreamFault("dns") from None
    if isinstance(addresses, OSError):
        raise UpstreamFault("dns") from addresses
    return addresses
