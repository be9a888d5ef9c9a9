"""For tests of the web source: a site on loopback, a watch on connections, bad addresses."""

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address

from ingest.sources.ip_guard import parse_allowed_hosts
from ingest.sources.web_client import WebClient

LOOKUPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.sendto")


class ConnectionWatch:
    """Records connections and name look-ups while it is active, and refuses to leave loopback."""

    def __init__(self) -> None:
        self.attempts: list[object] = []
        self.is_active = False
        sys.addaudithook(self._record)

    @contextmanager
    def record(self) -> Iterator[list[object]]:
        """Return the list that attempts are added to."""
        self.attempts.clear()
        self.is_active = True
        try:
            yield self.attempts
        finally:
            self.is_active = False

    def _record(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.is_active:
            return
        if event == "socket.connect":
            self.attempts.append(arguments[1])
            if not str(arguments[1]).startswith("('127.0.0.1'"):
                raise ConnectionRefusedError("No test may leave this machine.")
        elif event == "socket.getaddrinfo" and _is_ip(arguments[0]):
            return  # This only parses the address; no name is looked up.
        elif event in LOOKUPS:
            self.attempts.append(arguments)


WATCH = ConnectionWatch()  # an audit hook can't be removed, so there is one


def _is_ip(host: object) -> bool:
    try:
        ip_address(str(host))
    except ValueError:
        return False
    return True


def open_client(allowed_hosts: str = "", **options: object) -> WebClient:
    """Return a client that doesn't wait between requests."""
    options = {"delay_seconds": 0.0, "retry_delays": (0.0,), "timeout_seconds": 10.0} | options
    return WebClient(parse_allowed_hosts(allowed_hosts), **options)  # type: ignore[arg-type]


FORBIDDEN_ADDRESSES = """
http://127.0.0.1/ http://127.1.2.3/ http://0.0.0.0/ http://10.0.0.1/ http://172.16.0.1/ http://172.31.255.255/
http://192.168.1.1/ http://169.254.169.254/latest/meta-data/ http://100.100.100.200/ http://192.0.0.192/
http://168.63.129.16/ http://198.18.0.1/ http://192.0.2.1/ http://198.51.100.1/ http://203.0.113.1/ http://224.0.0.1/
http://240.0.0.1/ http://255.255.255.255/ http://192.88.99.1/
http://[::1]/ http://[::]/ http://[fe80::1]/ http://[fe80::1%25lo]/ http://[fe80::1%lo]/ http://[fd00:ec2::254]/
http://[fc00::1]/ http://[ff02::1]/ http://[fec0::1]/ http://[2001:db8::1]/ http://[3fff::1]/
http://[::ffff:127.0.0.1]/ http://[::ffff:7f00:1]/ http://[::ffff:8.8.8.8]/ http://[::127.0.0.1]/
http://[::ffff:0:127.0.0.1]/ http://[64:ff9b::7f00:1]/ http://[64:ff9b:1::7f00:1]/ http://[2002:7f00:1::]/
http://[2001:0:7f00:1::]/ http://[100::1]/
http://2130706433/ http://0x7f000001/ http://0x7f.0.0.1/ http://0177.0.0.1/ http://017700000001/ http://127.1/
http://127.0.1/ http://127.0.0.01/ http://127.0.0.1./ http://localhost./ http://1.1.1.1.:80/ http://256.256.256.256/
http://0/ http://127.0.0.0x1/
http://%31%32%37.0.0.1/ http://127.0.0.1%2f@8.8.8.8/ http://127.0.0.1%00.example.org/ http://①②⑦.⓪.⓪.①/
http://127。0。0。1/ http://127．0．0．1/ http://127｡0｡0｡1/ http://[::ffff:a9fe:a9fe]/ http://[fe80::1%25eth0]/
http://１２７.0.0.1/ http://٠.0.0.0/ http://ｌｏｃａｌｈｏｓｔ/ http://loc\u00adalhost/ http://\u212aelvin.example/
http://user@127.0.0.1/ http://8.8.8.8@127.0.0.1/ http://user:secret@example.org/ http://example.org\\@127.0.0.1/
http://127.0.0.1\\.example.org/ http://example.org:22/ http://example.org:0/ http://example.org:8080/
http://example.org:99999/ http://example.org:80:80/ http://[::1]x/ http://[::1/
http:///etc/passwd http:127.0.0.1/
ftp://127.0.0.1/ gopher://127.0.0.1:6379/_INFO file://127.0.0.1/etc/passwd
""".split()


@dataclass
class Site:
    """A web server on loopback: a handler for each path, and the requests so far."""

    port: int = 0
    handlers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    requested: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    robots: str = ""

    @property
    def host(self) -> str:
        """Host and port, as in GROUNDWORK_WEB_ALLOWED_HOSTS."""
        return f"127.0.0.1:{self.port}"

    @property
    def root(self) -> str:
        """Address without a slash at the end."""
        return f"http://{self.host}"

    def page(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> None:
        """Set the response at a path. Underscores in header names become hyphens."""
        content = body.encode() if isinstance(body, str) else body

        def respond(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            sent = {"Content-Type": "text/html", "Content-Length": str(len(content))}
            for name, value in (
                sent | {name.replace("_", "-"): value for name, value in headers.items()}
            ).items():
                handler.send_header(name, value)
            handler.end_headers()
            if handler.command == "GET":
                handler.wfile.write(content)

        self.handlers[path] = respond

    def raw(self, path: str, *pieces: bytes, endless: bytes = b"") -> None:
        """Respond with pieces of bytes, then repeat `endless` until the client closes."""

        def respond(handler: BaseHTTPRequestHandler) -> None:
            handler.close_connection = True
            for piece in pieces:
                handler.wfile.write(piece)
            while endless and handler.command == "GET":
                handler.wfile.write(endless)

        self.handlers[path] = respond

    def requests(self, method: str) -> list[str]:
        """Return the paths requested by a method since the last call, without robots.txt."""
        paths = [path for verb, path in self.requested if verb == method and path != "/robots.txt"]
        self.requested.clear()
        return paths


@contextmanager
def serve_site() -> Iterator[Site]:
    """Serve a site with one page on loopback."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.requested.append((self.command, self.path))
            site.headers.append(dict(self.headers))
            if self.path == "/robots.txt" and self.path not in site.handlers:
                site.page("/robots.txt", site.robots, 200 if site.robots else 404)
            if self.path not in site.handlers:
                site.page(self.path, "nothing here", 404)
            try:
                site.handlers[self.path](self)
            except OSError:
                self.close_connection = True  # the client closed the connection, as it should

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    site.port = server.server_port
    site.page("/guide", "<!doctype html><title>Guide</title><p>Open the valve.</p>", ETag='"1"')
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def build_sitemap(*addresses: str) -> str:
    """Return a sitemap of pages."""
    urls = "".join(
        f"<url><loc>{address}</loc><lastmod>2026-01-01</lastmod></url>" for address in addresses
    )
    namespace = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0"?><urlset xmlns="{namespace}">{urls}</urlset>'
