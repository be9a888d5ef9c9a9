"""Client for web pages, the only code here that opens web connections. Start at `WebClient.get`.

resolve   look up the host once, and check every IP address (ip_guard.py)
robots    read the site's robots.txt, once an hour (robots.py)
request   connect to one of the checked addresses, and never to another (core/http.py)
redirect  repeat all of this for the next address

Time and size are limited for a whole call, before and after unpacking. Proxies, cookies and
passwords are not used.
"""

import ssl
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpcore

from core.errors import Unavailable, UnreadableFile
from core.http import CallLimits, HttpError, HttpPool, LimitedResponse
from ingest.sources.address import ForbiddenAddress, WebAddress, resolve_redirect
from ingest.sources.ip_guard import (
    HostResolver,
    resolve_address,
    resolve_public_ips,
    resolve_with_system,
)
from ingest.sources.robots import (
    ALLOW_ALL,
    DISALLOW_ALL,
    MAX_ROBOTS_BYTES,
    RobotsRules,
    SiteThrottle,
)
from ingest.sources.types import MAX_FILE_BYTES, file_gone, file_too_large

USER_AGENT = "Groundwork/0.1 (document ingestion; obeys robots.txt as groundwork)"
DOCUMENT_TIMEOUT_SECONDS = 60.0  # for look-ups, redirects, handshakes, headers and body together
CONNECT_TIMEOUT_SECONDS = 20.0
REQUEST_DELAY_SECONDS = 0.2  # between two requests to a site, unless its robots.txt asks for more
MAX_REQUEST_DELAY_SECONDS = 30.0  # a site that asks for more gets this
RETRY_DELAYS_SECONDS = (1.0, 4.0)  # before the second and the third attempt
ROBOTS_CACHE_SECONDS = 3600.0
MAX_REDIRECTS = 5
MAX_OVERHEAD_BYTES = 1_000_000  # headers, chunk sizes and packing beyond the size of the content
MAX_TAG_CHARACTERS = 200
MIN_MODIFIED_AGE_SECONDS = 60  # RFC 9110, 8.8.2.2: a younger Last-Modified may hide a change

REDIRECT_STATUSES = {301, 302, 303, 307, 308}
RETRY_STATUSES = {429, 502, 503, 504}
GONE_STATUSES = {404, 410}
DOCUMENT_TYPES = ("text/", "application/", "message/")


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """Response of a site. Header names are lower-case; `body` is unpacked, of a GET with 200."""

    address: WebAddress
    status: int
    headers: Mapping[str, str]
    body: bytes = b""

    @property
    def tag(self) -> str | None:
        """State of the page: its ETag, or a Last-Modified that is old enough to be reliable."""
        tag = self.headers.get("etag") or _strong_last_modified(
            self.headers.get("last-modified"), self.headers.get("date")
        )
        return tag if tag and tag.isprintable() and len(tag) <= MAX_TAG_CHARACTERS else None


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """Limits of one document over all its redirects; `deadline` is a time of `time.monotonic`."""

    deadline: float
    max_bytes: int


class WebClient:
    """Fetches pages of public sites, one at a time per site. Threads can share it.

    `allowed_hosts` are hosts and ports that may be private (parse_allowed_hosts). A public page
    that redirects to one of them is still refused.
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
        # A connection serves one request, so that none outlives the check of its address.
        self._pool = HttpPool(ssl.create_default_context(), keep_alive=False)
        self._robots_cache: dict[str, tuple[float, RobotsRules]] = {}
        self._throttles: dict[str, SiteThrottle] = {}
        self._lock = threading.Lock()

    def get(self, address: WebAddress, max_bytes: int = 0) -> HttpResponse:
        """Return a page; `max_bytes` lowers the limit of the client.

        Raises:
            UnreadableFile: `forbidden`, `robots`, `gone`, `too-large`, `too-slow`,
                `not-a-document`, `unopened`.
            Unavailable: the site can't be found or does not answer.
        """
        limits = self._start_limits(max_bytes or self._max_bytes)
        response = self._follow_redirects("GET", address, limits, obey_robots=True)
        if response.status in GONE_STATUSES:
            raise file_gone(str(address))
        if response.status != 200:
            raise UnreadableFile(
                "unopened",
                f"{address} answered {response.status}. Check it in a browser, or leave it out.",
            )
        return response

    def head(self, address: WebAddress) -> HttpResponse:
        """Return the headers of a page, with any status; raises as `get`."""
        limits = self._start_limits(self._max_bytes)
        return self._follow_redirects("HEAD", address, limits, obey_robots=True)

    def is_allowed(self, address: WebAddress) -> bool:
        """Return whether an operator allowed this host and port."""
        return (address.host, address.port) in self._allowed_hosts

    def _start_limits(self, max_bytes: int) -> FetchLimits:
        return FetchLimits(time.monotonic() + self._timeout_seconds, max_bytes)

    def _follow_redirects(
        self, method: str, address: WebAddress, limits: FetchLimits, *, obey_robots: bool
    ) -> HttpResponse:
        current, allowed = address, self.is_allowed(address)
        for _ in range(MAX_REDIRECTS + 1):
            resolve = resolve_address if allowed else resolve_public_ips
            ips = resolve(current, self._resolver)
            if obey_robots and not self._get_robots(current).allows(str(current)):
                raise UnreadableFile(
                    "robots", f"The robots.txt of its site closes {current}. Leave it out."
                )
            response = self._send_with_retries(method, current, ips, limits)
            if response.status not in REDIRECT_STATUSES:
                return response
            target = resolve_redirect(current, response.headers.get("location", ""))
            if (current.scheme, target.scheme) == ("https", "http"):
                raise ForbiddenAddress(
                    f"{current} redirects from https to http. Use the https address of the target."
                )
            current, allowed = target, allowed and self.is_allowed(target)
        raise UnreadableFile("unopened", f"{address}: too many redirects. Use the final URL.")

    def _get_robots(self, address: WebAddress) -> RobotsRules:
        fetched_at, rules = self._robots_cache.get(address.origin, (0.0, None))
        if rules is None or time.monotonic() - fetched_at > ROBOTS_CACHE_SECONDS:
            rules = RobotsRules(self._fetch_robots(address))
            self._robots_cache[address.origin] = (time.monotonic(), rules)
            site_delay = min(rules.delay_seconds, MAX_REQUEST_DELAY_SECONDS)
            self._get_throttle(address).delay_seconds = max(self._delay_seconds, site_delay)
        return rules

    def _fetch_robots(self, address: WebAddress) -> str:
        """Return the site's robots.txt; unreadable, it forbids everything (RFC 9309, 2.3.1.4)."""
        robots_address = WebAddress(address.scheme, address.host, address.port, "/robots.txt")
        limits = self._start_limits(MAX_ROBOTS_BYTES)
        try:
            response = self._follow_redirects("GET", robots_address, limits, obey_robots=False)
        except UnreadableFile:
            return DISALLOW_ALL
        if response.status == 200:
            return response.body.decode("utf-8", "replace")
        return DISALLOW_ALL if response.status >= 500 or response.status == 429 else ALLOW_ALL

    def _send_with_retries(
        self, method: str, address: WebAddress, ips: list[str], limits: FetchLimits
    ) -> HttpResponse:
        """Repeat a request after a delay if the site is busy or the connection broke."""
        for delay in self._retry_delays:
            try:
                response = self._send_request(method, address, ips, limits)
                if response.status not in RETRY_STATUSES:
                    return response
            except (_ConnectionBroken, Unavailable):
                pass
            time.sleep(max(0.0, min(delay, limits.deadline - time.monotonic())))
        try:
            return self._send_request(method, address, ips, limits)
        except _ConnectionBroken as error:
            raise UnreadableFile(
                "unopened", f"The connection to {address} broke ({error}). Try again later."
            ) from error

    def _send_request(
        self, method: str, address: WebAddress, ips: list[str], limits: FetchLimits
    ) -> HttpResponse:
        """Send one request on a connection of its own to one of `ips`."""
        call_limits = CallLimits(
            limits.deadline,
            CONNECT_TIMEOUT_SECONDS,
            limits.max_bytes + MAX_OVERHEAD_BYTES,
            addresses=ips,
        )
        headers = {
            "Host": address.host_header,
            "User-Agent": USER_AGENT,
            "Accept-Encoding": "gzip",
            "Connection": "close",
        }
        raw_headers = [(name.encode(), value.encode()) for name, value in headers.items()]
        try:
            with (
                self._get_throttle(address).wait_turn(),
                closing(
                    self._pool.send(method, _build_url(address), raw_headers, call_limits)
                ) as response,
            ):
                body = b""
                if (method, response.status) == ("GET", 200):
                    body = _read_body(address, response, limits.max_bytes)
                return HttpResponse(address, response.status, response.headers, body)
        except HttpError as error:
            raise self._translate_error(address, error) from error

    def _translate_error(self, address: WebAddress, error: HttpError) -> Exception:
        match error.kind:
            case "too_large":
                return file_too_large(str(address))
            case "timeout":
                return UnreadableFile(
                    "too-slow", f"{address} took longer than {self._timeout_seconds:g} seconds."
                )
            case "encoding":
                return UnreadableFile(
                    "unopened",
                    f"{address} is compressed as {str(error)!r}, which was not requested.",
                )
            case "unreachable" | "dns":
                return Unavailable(
                    f"{address} does not answer ({error}). Check the address and the network."
                )
            case "tls":
                return Unavailable(
                    f"{address} has no secure connection ({error}). Check its certificate."
                )
        return _ConnectionBroken(str(error)[:160])

    def _get_throttle(self, address: WebAddress) -> SiteThrottle:
        with self._lock:
            return self._throttles.setdefault(address.origin, SiteThrottle(self._delay_seconds))


class _ConnectionBroken(Exception):
    """A connection that broke, or did not speak HTTP; worth another attempt."""


def _build_url(address: WebAddress) -> httpcore.URL:
    """Return the parts of an address as they were checked: nothing parses it a second time."""
    return httpcore.URL(
        scheme=address.scheme.encode(),
        host=address.host.encode(),
        port=address.port,
        target=address.request_target.encode(),
    )


def _read_body(address: WebAddress, response: LimitedResponse, max_bytes: int) -> bytes:
    content_type = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type and not content_type.startswith(DOCUMENT_TYPES):
        raise UnreadableFile(
            "not-a-document", f"{address} has the type {content_type}. Leave it out."
        )
    return response.read(max_bytes)


def _strong_last_modified(modified: str | None, date: str | None) -> str | None:
    if not modified or not date:
        return None
    try:
        age = parsedate_to_datetime(date) - parsedate_to_datetime(modified)
    except (TypeError, ValueError):
        return None
    return modified if age.total_seconds() >= MIN_MODIFIED_AGE_SECONDS else None
