"""Pages of the web: what is fetched from a server of one's own, and what is never connected to."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from core.errors import InvalidInput
from core.principal import Principal
from core.services import Services
from ingest import pipeline
from ingest.sources.web import get_web_client
from retrieval.retriever import retrieve
from tests.support.services import shared_parser_pool


@dataclass
class Site:
    """A web server on loopback: what it answers at each path, and what it was asked."""

    port: int = 0
    answers: dict[str, Callable[[BaseHTTPRequestHandler], None]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    robots: str = ""

    @property
    def host(self) -> str:
        """What has to be allowed."""
        return f"127.0.0.1:{self.port}"

    @property
    def root(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://{self.host}"

    def page(self, path: str, body: str | bytes, status: int = 200, **headers: str) -> None:
        """Answer so at a path; underscores in the names of headers stand for hyphens."""
        content = body.encode() if isinstance(body, str) else body

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            sent = {"Content-Type": "text/html", "Content-Length": str(len(content))}
            for name, value in (
                sent | {name.replace("_", "-"): value for name, value in headers.items()}
            ).items():
                handler.send_header(name, value)
            handler.end_headers()
            if handler.command == "GET":
                handler.wfile.write(content)

        self.answers[path] = answer

    def raw(self, path: str, *pieces: bytes, endless: bytes = b"") -> None:
        """Answer with these bytes, and then with `endless` again and again until nobody listens."""

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.close_connection = True
            for piece in pieces:
                handler.wfile.write(piece)
            while endless and handler.command == "GET":
                handler.wfile.write(endless)

        self.answers[path] = answer

    def requests(self, method: str) -> list[str]:
        """The paths asked for by a method since the last call, without robots.txt."""
        found = [path for verb, path in self.asked if verb == method and path != "/robots.txt"]
        self.asked.clear()
        return found


@pytest.fixture
def site() -> Iterator[Site]:
    """A server with a page or two."""
    site = Site()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site.asked.append((self.command, self.path))
            site.headers.append(dict(self.headers))
            if self.path == "/robots.txt" and self.path not in site.answers:
                site.page("/robots.txt", site.robots, 200 if site.robots else 404)
            if self.path not in site.answers:
                site.page(self.path, "nothing here", 404)
            try:
                site.answers[self.path](self)
            except OSError:
                self.close_connection = True  # the client has left, as it should

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


def urlset(*addresses: str) -> str:
    """A sitemap of pages."""
    inside = "".join(
        f"<url><loc>{address}</loc><lastmod>2026-01-01</lastmod></url>" for address in addresses
    )
    return f'<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{inside}</urlset>'


def test_the_store_follows_a_sitemap_and_downloads_only_what_changed(
    services: Services, site: Site
) -> None:
    """Citations lead to the address; a host that is not allowed is refused."""
    address = f"{site.root}/sitemap.xml"
    with pytest.raises(InvalidInput, match="port"):
        pipeline.ingest_sources(
            services, "acme", [pipeline.build_source_spec(address)], shared_parser_pool()
        )
    settings = services.settings.model_copy(update={"web_allowed_hosts": site.host})
    allowed = replace(services, settings=settings)
    get_web_client(site.host)._delay_seconds = 0.0

    def run() -> dict[str, int]:
        return pipeline.ingest_sources(
            allowed, "acme", [pipeline.build_source_spec(address)], shared_parser_pool()
        ).counts

    site.page(
        "/sitemap.xml", urlset(f"{site.root}/guide", f"{site.root}/pumps/", f"{site.root}/none")
    )
    site.page(
        "/pumps/",
        "<html><body><h1>Pumps</h1><p>The north pump moves 40 litres a second.</p>",
        ETag='"p1"',
    )
    assert run() == {"added": 2, "quarantined": 1}
    (hit, *_) = retrieve(allowed, Principal("acme"), "How much does the north pump move?").hits
    assert (hit.uri, hit.path, hit.title) == (f"{site.root}/pumps/#", "pumps/", "Pumps")
    site.requests("GET")
    site.page("/sitemap.xml", urlset(f"{site.root}/guide", f"{site.root}/pumps/"))
    assert run() == {"unchanged": 2, "deleted": 1}
    assert site.requests("GET") == ["/sitemap.xml"]
    site.page("/sitemap.xml", urlset(f"{site.root}/guide"))
    assert run() == {"unchanged": 1, "deleted": 1}
