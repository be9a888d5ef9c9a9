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

from core.errors import Unavailable, Unreadable
from ingest.sources import robots
from ingest.sources.address import Forbidden, WebAddress, joined
from ingest.sources.guard import Resolver, public_ips, resolved, system_resolver
from ingest.sources.robots import Robots, parse_robots
from ingest.sources.types import MAX_BYTES, gone, too_large

NAME = "groundwork"  # what robots.txt may call us
USER_AGENT = "Groundwork/0.1 (document ingestion; obeys robots.txt as groundwork)"
SECONDS = 60.0  # for a document in all: names, redirects, handshake, headers and body
DELAY = 0.2  # seconds between two requests to a site, unless its robots.txt asks for more
LONGEST_DELAY = 30.0  # seconds; a site that asks for more gets this
PAUSES = (1.0, 4.0)  # seconds before the second and the third attempt
REDIRECTS = 5
ROBOTS_KEPT = 3600.0  # seconds
_OVERHEAD = 1_000_000  # bytes of headers, chunk sizes and packing beyond the limit of the content
_PIECE = 65_536
_TAG_LENGTH = 200

_MOVED = {301, 302, 303, 307, 308}
_LATER = {429, 502, 503, 504}
_GONE = {404, 410}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a site said: status, headers, and the unpacked body of a GET that succeeded."""

    address: WebAddress
    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def tag(self) -> str | None:
        """What stands for the state of the page: its ETag, or when it last changed if that is a minute ago or more."""
        tag = self.headers.get("etag") or _old_enough(self.headers.get("last-modified"), self.headers.get("date"))
        return tag if tag and tag.isprintable() and len(tag) <= _TAG_LENGTH else None


class WebClient:
    """Fetches pages of public sites, one at a time from each site. May be used from several threads.

    `allowed` are hosts and ports that may be talked to wherever they are (guard.allowed_hosts); a public page that
    redirects to one of them is refused all the same.
    """

    def __init__(
        self,
        allowed: frozenset[tuple[str, int]] = frozenset(),
        *,
        resolve: Resolver = system_resolver,
        limit: int = MAX_BYTES,
        seconds: float = SECONDS,
        delay: float = DELAY,
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._allowed = allowed
        self._resolve = resolve
        self._limit = limit
        self._seconds = seconds
        self._delay = delay
        self._pauses = pauses
        self._tls = ssl.create_default_context()
        self._robots: dict[str, tuple[float, Robots]] = {}
        self._sites: dict[str, _Site] = {}
        self._lock = threading.Lock()

    def get(self, address: WebAddress, limit: int = 0) -> Answer:
        """A page; `limit` in bytes may lower the client's own.

        Raises:
            Unreadable: `forbidden`, `robots`, `gone`, `too-large`, `too-slow`, `not-a-document`, `unopened`.
            Unavailable: the site can't be found or does not answer.
        """
        answer = self._follow("GET", address, _Budget(self._seconds, limit or self._limit), obey=True)
        if answer.status != 200:
            raise _refusal(address, answer.status)
        return answer

    def head(self, address: WebAddress) -> Answer:
        """The headers of a page, whatever its status; raises as `get`."""
        return self._follow("HEAD", address, _Budget(self._seconds, self._limit), obey=True)

    def allows(self, address: WebAddress) -> bool:
        """Whether an operator allowed its host and port."""
        return (address.host, address.port) in self._allowed

    def _follow(self, method: str, address: WebAddress, budget: "_Budget", *, obey: bool) -> Answer:
        """Ask, and go where a redirect leads, checking every step anew."""
        at, allowed = address, self.allows(address)
        for _ in range(REDIRECTS + 1):
            ips = self._checked(at, allowed)
            if obey and not self._robots_of(at).allows(at.target):
                raise Unreadable("robots", f"{at} is closed to crawlers by its site's robots.txt; leave it out.")
            answer = self._ask_patiently(method, at, ips, budget)
            if answer.status not in _MOVED:
                return answer
            after = joined(at, answer.headers.get("location", ""))
            if (at.scheme, after.scheme) == ("https", "http"):
                raise Forbidden(f"{at} leads from https to http; name the address it should lead to.")
            at, allowed = after, allowed and self.allows(after)
        raise Unreadable("unopened", f"{address} leads on and on; name the address where it ends.")

    def _checked(self, address: WebAddress, allowed: bool) -> list[str]:
        """The IP addresses that may be connected to for this request, and for no other."""
        return resolved(address, self._resolve) if allowed else public_ips(address, self._resolve)

    def _robots_of(self, address: WebAddress) -> Robots:
        """What the site's robots.txt says; nothing may be fetched while it can't be read, as RFC 9309 wants it."""
        fetched, known = self._robots.get(address.origin, (0.0, None))
        if known is None or time.monotonic() - fetched > ROBOTS_KEPT:
            known = self._fetch_robots(address)
            self._robots[address.origin] = (time.monotonic(), known)
            self._site(address).delay = max(self._delay, min(known.delay, LONGEST_DELAY))
        return known

    def _fetch_robots(self, address: WebAddress) -> Robots:
        place = WebAddress(address.scheme, address.host, address.port, "/robots.txt")
        try:
            answer = self._follow("GET", place, _Budget(self._seconds, robots.MAX_BYTES), obey=False)
        except Unreadable:
            return robots.NOTHING
        if answer.status == 200:
            return parse_robots(answer.body.decode("utf-8", "replace"), NAME)
        return robots.NOTHING if answer.status >= 500 or answer.status == 429 else robots.ALL

    def _ask_patiently(self, method: str, address: WebAddress, ips: list[str], budget: "_Budget") -> Answer:
        """Ask again after a pause when a site is busy or a connection broke, as often as there are pauses."""
        for pause in self._pauses:
            try:
                answer = self._ask(method, address, ips, budget)
                if answer.status not in _LATER:
                    return answer
            except (_Broken, Unavailable):
                pass
            time.sleep(min(pause, budget.left()))
        try:
            return self._ask(method, address, ips, budget)
        except _Broken as error:
            raise Unreadable("unopened", f"{address} broke off ({error}); try again later.") from error

    def _ask(self, method: str, address: WebAddress, ips: list[str], budget: "_Budget") -> Answer:
        """One request on a connection of its own."""
        with self._site(address).turn(), self._connected(address, ips, budget) as wire:
            connection = http.client.HTTPConnection(address.host, address.port)
            connection.sock = wire  # so that http.client connects to nothing itself
            headers = {"Host": address.site, "User-Agent": USER_AGENT, "Accept-Encoding": "gzip", "Connection": "close"}
            try:
                connection.request(method, address.target, headers=headers)
                response = connection.getresponse()
                known = {name.lower(): value for name, value in _once(response.headers).items()}
                body = (
                    self._body(address, response, known, budget) if (method, response.status) == ("GET", 200) else b""
                )
            except TimeoutError as error:
                raise Unreadable("too-slow", f"{address} did not come within {budget.seconds:g} seconds.") from error
            except _TooMuch as error:
                raise too_large(str(address)) from error
            except (http.client.HTTPException, OSError, ValueError) as error:
                raise _Broken(" ".join(str(error).split())[:160] or type(error).__name__) from error
        return Answer(address, response.status, known, body)

    def _body(
        self, address: WebAddress, response: http.client.HTTPResponse, headers: Mapping[str, str], budget: "_Budget"
    ) -> bytes:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind and not kind.startswith(("text/", "application/", "message/")):
            raise Unreadable("not-a-document", f"{address} is of type {kind}; leave it out.")
        if (response.length or 0) > budget.limit:
            raise _TooMuch
        unpack = _unpacking(address, headers.get("content-encoding", ""))
        body = b"".join(_limited(unpack(_pieces(response)), budget.limit))
        if response.length:
            raise _Broken("it was shorter than announced")
        return body

    @contextmanager
    def _connected(self, address: WebAddress, ips: list[str], budget: "_Budget") -> Iterator["_Wire"]:
        """A connection to one of the checked IP addresses; certificate and SNI are those of the host's name."""
        with _dial(address, ips, budget) as plain:
            if address.scheme == "http":
                yield _Wire(plain, budget)
                return
            try:
                secure = self._tls.wrap_socket(plain, server_hostname=address.host)
            except OSError as error:
                raise Unavailable(f"{address} can't be reached safely ({error}); check its certificate.") from error
            with secure:
                yield _Wire(secure, budget)

    def _site(self, address: WebAddress) -> "_Site":
        with self._lock:
            return self._sites.setdefault(address.origin, _Site(self._delay))


class _Broken(Exception):
    """A connection that broke, or spoke no HTTP; worth another attempt."""


class _TooMuch(Exception):
    """More bytes than may come."""


class _Site:
    """One request at a time, `delay` seconds apart."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._last = float("-inf")
        self._lock = threading.Lock()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Wait until it is polite to ask."""
        with self._lock:
            time.sleep(max(0.0, self._last + self.delay - time.monotonic()))
            try:
                yield
            finally:
                self._last = time.monotonic()


class _Budget:
    """What a document may cost: seconds in all, bytes of content, bytes on the wire."""

    def __init__(self, seconds: float, limit: int) -> None:
        self.seconds = seconds
        self.limit = limit
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that are left, at least a moment: a socket takes 0 for something else."""
        return max(0.001, self._end - time.monotonic())

    def check(self) -> None:
        """Raises TimeoutError once the time is over."""
        if time.monotonic() > self._end:
            raise TimeoutError


class _Wire:
    """A socket that keeps to a budget whatever trickles in; as much of a socket as http.client uses."""

    def __init__(self, sock: socket.socket, budget: _Budget) -> None:
        self._sock = sock
        self._budget = budget

    def sendall(self, data: bytes) -> None:
        """Send all, or raise TimeoutError."""
        self._sock.settimeout(self._budget.left())
        self._sock.sendall(data)

    def makefile(self, _: str) -> io.BufferedReader:
        """What comes in."""
        return io.BufferedReader(_Incoming(self._sock, self._budget), _PIECE)

    def close(self) -> None:
        """Nothing: who opened the socket closes it, and http.client lets go before it has read all."""


class _Incoming(io.RawIOBase):
    def __init__(self, sock: socket.socket, budget: _Budget) -> None:
        self._sock = sock
        self._budget = budget
        self._room = budget.limit + _OVERHEAD

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._budget.check()
        self._sock.settimeout(self._budget.left())
        count = self._sock.recv_into(buffer)
        self._room -= count
        if self._room < 0:
            raise _TooMuch
        return count


def _dial(address: WebAddress, ips: list[str], budget: _Budget) -> socket.socket:
    failure: OSError | None = None
    for ip in ips:
        family = socket.AF_INET6 if ":" in ip else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            budget.check()
            sock.settimeout(min(10.0, budget.left()))
            sock.connect((ip, address.port))
            return sock
        except OSError as error:
            sock.close()
            failure = error
    raise Unavailable(f"{address} does not answer ({failure}); check the address and the network.") from failure


def _pieces(response: http.client.HTTPResponse) -> Iterator[bytes]:
    while piece := response.read(_PIECE):
        yield piece


def _limited(pieces: Iterator[bytes], limit: int) -> Iterator[bytes]:
    total = 0
    for piece in pieces:
        total += len(piece)
        if total > limit:
            raise _TooMuch
        yield piece


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Unpack piece by piece, never more than a little at a time."""
    unpacker = zlib.decompressobj(wbits=31)
    for piece in pieces:
        rest = piece
        while rest and not unpacker.eof:
            try:
                yield unpacker.decompress(rest, _PIECE)
            except zlib.error as error:
                raise _Broken("it is packed wrongly") from error
            rest = unpacker.unconsumed_tail
    if not unpacker.eof:
        raise _Broken("it was shorter than announced")


def _unpacking(address: WebAddress, encoding: str) -> Callable[[Iterator[bytes]], Iterator[bytes]]:
    match encoding.strip().lower():
        case "" | "identity":
            return iter
        case "gzip" | "x-gzip":
            return _gunzip
    raise Unreadable("unopened", f"{address} comes packed as {encoding[:40]!r}, which was not asked for.")


def _once(headers: Message) -> dict[str, str]:
    """Each header's first value."""
    return {name: headers[name] for name in headers}


def _old_enough(modified: str | None, date: str | None) -> str | None:
    """A Last-Modified that a second change would have altered; RFC 9110, 8.8.2.2 takes a minute for safe."""
    from email.utils import parsedate_to_datetime

    if not modified or not date:
        return None
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return None
    return modified if age.total_seconds() >= 60 else None


def _refusal(address: WebAddress, status: int) -> Unreadable:
    if status in _GONE:
        return gone(str(address))
    return Unreadable("unopened", f"{address} answered {status}; check it in a browser, or leave it out.")
