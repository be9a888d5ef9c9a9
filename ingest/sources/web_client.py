"""The one client that fetches from the web. `WebClient.get` is the way in; nothing else here opens a connection.

An address is checked, its name resolved once, every IP address checked, and the connection made to one of those. So it
goes for each redirect and each robots.txt. Time and size are limited in all, before and after unpacking. No proxy, no
cookie, no password; settings of the environment are not looked at.
"""

import http.client
import io
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message

from core.errors import Unavailable, UnreadableFile
from ingest.sources import robots
from ingest.sources.address import ForbiddenAddress, WebAddress, resolve_redirect
from ingest.sources.ip_guard import (
    HostResolver,
    resolve_host,
    resolve_public_ips,
    resolve_with_system,
)
from ingest.sources.robots import Robots, parse_robots
from ingest.sources.types import MAX_FILE_BYTES, file_gone, file_too_large

ROBOTS_AGENT = "groundwork"  # what robots.txt may call us
USER_AGENT = "Groundwork/0.1 (document ingestion; obeys robots.txt as groundwork)"
DOCUMENT_TIMEOUT_SECONDS = (
    60.0  # for a document in all: names, redirects, handshake, headers and body
)
REQUEST_DELAY_SECONDS = (
    0.2  # seconds between two requests to a site, unless its robots.txt asks for more
)
MAX_REQUEST_DELAY_SECONDS = 30.0  # seconds; a site that asks for more gets this
RETRY_DELAYS_SECONDS = (1.0, 4.0)  # seconds before the second and the third attempt
MAX_REDIRECTS = 5
ROBOTS_CACHE_SECONDS = 3600.0  # seconds
_MAX_OVERHEAD_BYTES = (
    1_000_000  # bytes of headers, chunk sizes and packing beyond the limit of the content
)
_READ_BYTES = 65_536
_MAX_TAG_CHARACTERS = 200

_REDIRECT_STATUSES = {301, 302, 303, 307, 308}
_RETRY_STATUSES = {429, 502, 503, 504}
_GONE_STATUSES = {404, 410}


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """What a site said: status, headers, and the unpacked body of a GET that succeeded."""

    address: WebAddress
    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def tag(self) -> str | None:
        """What stands for the state of the page: its ETag, or when it last changed if that is a minute ago or more."""
        tag = self.headers.get("etag") or _strong_last_modified(
            self.headers.get("last-modified"), self.headers.get("date")
        )
        return tag if tag and tag.isprintable() and len(tag) <= _MAX_TAG_CHARACTERS else None


class WebClient:
    """Fetches pages of public sites, one at a time from each site. May be used from several threads.

    `allowed` are hosts and ports that may be talked to wherever they are (guard.allowed_hosts); a public page that
    redirects to one of them is refused all the same.
    """

    def __init__(
        self,
        allowed_hosts: frozenset[tuple[str, int]] = frozenset(),
        *,
        resolver: HostResolver = resolve_with_system,
        max_bytes: int = MAX_FILE_BYTES,
        timeout_seconds: float = DOCUMENT_TIMEOUT_SECONDS,
        delay_seconds: float = REQUEST_DELAY_SECONDS,
        retry_delays: tuple[float, ...] = RETRY_DELAYS_SECONDS,
    ) -> None:
        self._allowed_hosts = allowed_hosts
        self._resolver = resolver
        self._max_bytes = max_bytes
        self._timeout_seconds = timeout_seconds
        self._delay_seconds = delay_seconds
        self._retry_delays = retry_delays
        self._ssl_context = ssl.create_default_context()
        self._robots_cache: dict[str, tuple[float, Robots]] = {}
        self._throttles: dict[str, _SiteThrottle] = {}
        self._lock = threading.Lock()

    def get(self, address: WebAddress, max_bytes: int = 0) -> HttpResponse:
        """A page; `limit` in bytes may lower the client's own.

        Raises:
            Unreadable: `forbidden`, `robots`, `gone`, `too-large`, `too-slow`, `not-a-document`, `unopened`.
            Unavailable: the site can't be found or does not answer.
        """
        answer = self._follow_redirects(
            "GET",
            address,
            _FetchLimits(self._timeout_seconds, max_bytes or self._max_bytes),
            obey_robots=True,
        )
        if answer.status != 200:
            raise _status_error(address, answer.status)
        return answer

    def head(self, address: WebAddress) -> HttpResponse:
        """The headers of a page, whatever its status; raises as `get`."""
        return self._follow_redirects(
            "HEAD", address, _FetchLimits(self._timeout_seconds, self._max_bytes), obey_robots=True
        )

    def is_allowed(self, address: WebAddress) -> bool:
        """Whether an operator allowed its host and port."""
        return (address.host, address.port) in self._allowed_hosts

    def _follow_redirects(
        self, method: str, address: WebAddress, budget: "_FetchLimits", *, obey_robots: bool
    ) -> HttpResponse:
        """Ask, and go where a redirect leads, checking every step anew."""
        at, allowed = address, self.is_allowed(address)
        for _ in range(MAX_REDIRECTS + 1):
            ips = self._resolve_address(at, allowed)
            if obey_robots and not self._get_robots(at).allows(at.request_target):
                raise UnreadableFile(
                    "robots", f"{at} is closed to crawlers by its site's robots.txt; leave it out."
                )
            answer = self._send_with_retries(method, at, ips, budget)
            if answer.status not in _REDIRECT_STATUSES:
                return answer
            after = resolve_redirect(at, answer.headers.get("location", ""))
            if (at.scheme, after.scheme) == ("https", "http"):
                raise ForbiddenAddress(
                    f"{at} leads from https to http; name the address it should lead to."
                )
            at, allowed = after, allowed and self.is_allowed(after)
        raise UnreadableFile(
            "unopened", f"{address} leads on and on; name the address where it ends."
        )

    def _resolve_address(self, address: WebAddress, allowed: bool) -> list[str]:
        """The IP addresses that may be connected to for this request, and for no other."""
        return (
            resolve_host(address, self._resolver)
            if allowed
            else resolve_public_ips(address, self._resolver)
        )

    def _get_robots(self, address: WebAddress) -> Robots:
        """What the site's robots.txt says; nothing may be fetched while it can't be read, as RFC 9309 wants it."""
        fetched, known = self._robots_cache.get(address.origin, (0.0, None))
        if known is None or time.monotonic() - fetched > ROBOTS_CACHE_SECONDS:
            known = self._fetch_robots(address)
            self._robots_cache[address.origin] = (time.monotonic(), known)
            self._get_throttle(address).delay_seconds = max(
                self._delay_seconds, min(known.delay, MAX_REQUEST_DELAY_SECONDS)
            )
        return known

    def _fetch_robots(self, address: WebAddress) -> Robots:
        place = WebAddress(address.scheme, address.host, address.port, "/robots.txt")
        try:
            answer = self._follow_redirects(
                "GET",
                place,
                _FetchLimits(self._timeout_seconds, robots.MAX_BYTES),
                obey_robots=False,
            )
        except UnreadableFile:
            return robots.NOTHING
        if answer.status == 200:
            return parse_robots(answer.body.decode("utf-8", "replace"), ROBOTS_AGENT)
        return robots.NOTHING if answer.status >= 500 or answer.status == 429 else robots.ALL

    def _send_with_retries(
        self, method: str, address: WebAddress, ips: list[str], budget: "_FetchLimits"
    ) -> HttpResponse:
        """Ask again after a pause when a site is busy or a connection broke, as often as there are pauses."""
        for pause in self._retry_delays:
            try:
                answer = self._send_request(method, address, ips, budget)
                if answer.status not in _RETRY_STATUSES:
                    return answer
            except (_ConnectionBroken, Unavailable):
                pass
            time.sleep(min(pause, budget.remaining_seconds()))
        try:
            return self._send_request(method, address, ips, budget)
        except _ConnectionBroken as error:
            raise UnreadableFile(
                "unopened", f"{address} broke off ({error}); try again later."
            ) from error

    def _send_request(
        self, method: str, address: WebAddress, ips: list[str], budget: "_FetchLimits"
    ) -> HttpResponse:
        """One request on a connection of its own."""
        with (
            self._get_throttle(address).wait_turn(),
            self._open_connection(address, ips, budget) as wire,
        ):
            connection = http.client.HTTPConnection(address.host, address.port)
            connection.sock = wire  # so that http.client connects to nothing itself
            headers = {
                "Host": address.host_header,
                "User-Agent": USER_AGENT,
                "Accept-Encoding": "gzip",
                "Connection": "close",
            }
            try:
                connection.request(method, address.request_target, headers=headers)
                response = connection.getresponse()
                known = {
                    name.lower(): value
                    for name, value in _first_header_values(response.headers).items()
                }
                body = (
                    self._read_body(address, response, known, budget)
                    if (method, response.status) == ("GET", 200)
                    else b""
                )
            except TimeoutError as error:
                raise UnreadableFile(
                    "too-slow", f"{address} did not come within {budget.seconds:g} seconds."
                ) from error
            except _TooManyBytes as error:
                raise file_too_large(str(address)) from error
            except (http.client.HTTPException, OSError, ValueError) as error:
                raise _ConnectionBroken(
                    " ".join(str(error).split())[:160] or type(error).__name__
                ) from error
        return HttpResponse(address, response.status, known, body)

    def _read_body(
        self,
        address: WebAddress,
        response: http.client.HTTPResponse,
        headers: Mapping[str, str],
        budget: "_FetchLimits",
    ) -> bytes:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind and not kind.startswith(("text/", "application/", "message/")):
            raise UnreadableFile("not-a-document", f"{address} is of type {kind}; leave it out.")
        if (response.length or 0) > budget.limit:
            raise _TooManyBytes
        unpack = _select_decoder(address, headers.get("content-encoding", ""))
        body = b"".join(_limit_bytes(unpack(_read_chunks(response)), budget.limit))
        if response.length:
            raise _ConnectionBroken("it was shorter than announced")
        return body

    @contextmanager
    def _open_connection(
        self, address: WebAddress, ips: list[str], budget: "_FetchLimits"
    ) -> Iterator["_DeadlineSocket"]:
        """A connection to one of the checked IP addresses; certificate and SNI are those of the host's name."""
        with _connect_socket(address, ips, budget) as plain:
            if address.scheme == "http":
                yield _DeadlineSocket(plain, budget)
                return
            try:
                secure = self._ssl_context.wrap_socket(plain, server_hostname=address.host)
            except OSError as error:
                raise Unavailable(
                    f"{address} can't be reached safely ({error}); check its certificate."
                ) from error
            with secure:
                yield _DeadlineSocket(secure, budget)

    def _get_throttle(self, address: WebAddress) -> "_SiteThrottle":
        with self._lock:
            return self._throttles.setdefault(address.origin, _SiteThrottle(self._delay_seconds))


class _ConnectionBroken(Exception):
    """A connection that broke, or spoke no HTTP; worth another attempt."""


class _TooManyBytes(Exception):
    """More bytes than may come."""


class _SiteThrottle:
    """One request at a time, `delay` seconds apart."""

    def __init__(self, delay: float) -> None:
        self.delay_seconds = delay
        self._last_request_at = float("-inf")
        self._lock = threading.Lock()

    @contextmanager
    def wait_turn(self) -> Iterator[None]:
        """Wait until it is polite to ask."""
        with self._lock:
            time.sleep(max(0.0, self._last_request_at + self.delay_seconds - time.monotonic()))
            try:
                yield
            finally:
                self._last_request_at = time.monotonic()


class _FetchLimits:
    """What a document may cost: seconds in all, bytes of content, bytes on the wire."""

    def __init__(self, seconds: float, limit: int) -> None:
        self.seconds = seconds
        self.limit = limit
        self._end = time.monotonic() + seconds

    def remaining_seconds(self) -> float:
        """Seconds that are left, at least a moment: a socket takes 0 for something else."""
        return max(0.001, self._end - time.monotonic())

    def check_deadline(self) -> None:
        """Raises TimeoutError once the time is over."""
        if time.monotonic() > self._end:
            raise TimeoutError


class _DeadlineSocket:
    """A socket that keeps to a budget whatever trickles in; as much of a socket as http.client uses."""

    def __init__(self, sock: socket.socket, budget: _FetchLimits) -> None:
        self._sock = sock
        self._budget = budget

    def sendall(self, data: bytes) -> None:
        """Send all, or raise TimeoutError."""
        self._sock.settimeout(self._budget.remaining_seconds())
        self._sock.sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        """What comes in."""
        return io.BufferedReader(_LimitedReader(self._sock, self._budget), _READ_BYTES)

    def close(self) -> None:
        """Nothing: who opened the socket closes it, and http.client lets go before it has read all."""


class _LimitedReader(io.RawIOBase):
    def __init__(self, sock: socket.socket, budget: _FetchLimits) -> None:
        self._sock = sock
        self._budget = budget
        self._room = budget.limit + _MAX_OVERHEAD_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._budget.check_deadline()
        self._sock.settimeout(self._budget.remaining_seconds())
        count = self._sock.recv_into(buffer)
        self._room -= count
        if self._room < 0:
            raise _TooManyBytes
        return count


def _connect_socket(address: WebAddress, ips: list[str], budget: _FetchLimits) -> socket.socket:
    failure: OSError | None = None
    for ip in ips:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            budget.check_deadline()
            sock.settimeout(min(10.0, budget.remaining_seconds()))
            sock.connect((ip, address.port))
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise Unavailable(
        f"{address} does not answer ({failure}); check the address and the network."
    ) from failure


def _read_chunks(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while piece := response.read(_READ_BYTES):
        yield piece


def _limit_bytes(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise _TooManyBytes
        yield piece


def _decompress_gzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack piece by piece, never more than a little at a time."""
    unpacker = zlib.decompressobj(wbits=31)
    for piece in pieces:
        rest = piece
        while rest and not unpacker.eof:
            try:
                yield unpacker.decompress(rest, _READ_BYTES)
            except zlib.error as error:
                raise _ConnectionBroken("it is packed wrongly") from error
            rest = unpacker.unconsumed_tail
    if not unpacker.eof:
        raise _ConnectionBroken("it was shorter than announced")


def _select_decoder(
    address: WebAddress, encoding: str
) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    match encoding.strip().lower():
        case "" | "identity":
            return iter
        case "gzip" | "x-gzip":
            return _decompress_gzip
    raise UnreadableFile(
        "unopened", f"{address} comes packed as {encoding[:40]!r}, which was not asked for."
    )


def _first_header_values(headers: Message) -> dict[str, str]:
    """Each header's first value."""
    return {name: headers[name] for name in headers}


def _strong_last_modified(modified: str | None, date: str | None) -> str | None:
    """A Last-Modified that a second change would have altered; RFC 9110, 8.8.2.2 takes a minute for safe."""
    from email.utils import parsedate_to_datetime

    if not modified or not date:
        return None
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return None
    return modified if age.total_seconds() >= 60 else None


def _status_error(address: WebAddress, status: int) -> UnreadableFile:
    if status in _GONE_STATUSES:
        return file_gone(str(address))
    return UnreadableFile(
        "unopened", f"{address} answered {status}; check it in a browser, or leave it out."
    )
