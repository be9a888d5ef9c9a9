"""Requests for web pages, against a server on loopback."""

import datetime
import gzip
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.errors import InvalidInput, Unavailable, UnreadableFile
from ingest.sources import open_source
from ingest.sources.address import ForbiddenAddress, WebAddress, parse_address
from ingest.sources.ip_guard import parse_allowed_hosts
from ingest.sources.robots import ROBOTS_AGENT
from ingest.sources.selection import FileSelection
from ingest.sources.types import SourceFile
from ingest.sources.web import PageListSource, SitemapSource, open_page_list
from ingest.sources.web_client import FetchLimits, HttpResponse, WebClient
from tests.support.web import FORBIDDEN_ADDRESSES, Site, build_sitemap, open_client


def reason(site: Site, path: str, **options: object) -> str:
    """Return the reason for which a page of the site is refused."""
    with pytest.raises(UnreadableFile) as refused:
        open_client(site.host, **options).get(parse_address(site.root + path))
    return refused.value.reason


def pages(site: Site, *paths: str) -> PageListSource:
    """Return a source of pages of the site."""
    addresses = tuple(parse_address(site.root + path) for path in paths)
    return PageListSource(
        f"{site.root}/", addresses, FileSelection(("staff",)), open_client(site.host)
    )


@pytest.mark.parametrize(
    "target",
    [*FORBIDDEN_ADDRESSES[:30], "http://2130706433/", "//127.0.0.1/", "http:/\\127.0.0.1/"],
)
def test_a_redirect_to_a_forbidden_address_is_not_followed(
    site: Site, target: str, attempts: list[object]
) -> None:
    """Each step of a redirect is checked like the first address."""
    site.page("/away", "", 302, Location=target.encode().decode("latin-1"))
    assert reason(site, "/away") == "forbidden"
    assert set(attempts) == {("127.0.0.1", site.port)}


class RedirectingClient(WebClient):
    """Client for which one public host redirects, without a connection to it."""

    def _send_request(
        self, method: str, address: WebAddress, ips: list[str], limits: FetchLimits
    ) -> HttpResponse:
        if address.host != "public.example":
            return super()._send_request(method, address, ips, limits)
        assert ips == ["93.184.216.34"]
        if address.request_target == "/robots.txt":
            return HttpResponse(address, 404, {})
        return HttpResponse(address, 302, {"location": self.leads_to})

    leads_to = ""


def test_a_public_page_does_not_lead_to_an_allowed_host(site: Site, attempts: list[object]) -> None:
    """A public page must not give access to an internal host that an operator allowed."""
    fetching = RedirectingClient(
        parse_allowed_hosts(site.host),
        resolver=lambda host, port: ["93.184.216.34"],
        delay_seconds=0.0,
        retry_delays=(),
    )
    fetching.leads_to = f"{site.root}/guide"
    assert fetching.get(parse_address(fetching.leads_to)).status == 200
    attempts.clear()
    with pytest.raises(ForbiddenAddress):
        fetching.get(parse_address("http://public.example/page"))
    assert attempts == []
    fetching.leads_to = "http://public.example/other"
    with pytest.raises(ForbiddenAddress, match="from https to http"):
        fetching.get(parse_address("https://public.example/page"))


def test_a_page_is_listed_and_read(site: Site) -> None:
    source = pages(site, "/guide")
    (file,) = source.list_files()
    assert file == SourceFile(f"{site.root}/guide", "guide", ("staff",), 57, '"1"')
    assert source.read(file) == b"<!doctype html><title>Guide</title><p>Open the valve.</p>"
    assert all(headers["User-Agent"].startswith("Groundwork/") for headers in site.headers)
    assert not any("Cookie" in headers or "Authorization" in headers for headers in site.headers)


def test_an_allowed_host_can_be_a_source(site: Site) -> None:
    """GROUNDWORK_WEB_ALLOWED_HOSTS allows it; without the setting it is refused."""
    source = open_source(f"{site.root}/guide", web_hosts=site.host)
    assert source.uri == f"{site.root}/guide"
    assert [file.path for file in source.list_files()] == ["guide"]
    with pytest.raises(InvalidInput, match="port"):
        open_source(f"{site.root}/guide")


def test_no_identity_ends_in_a_slash(site: Site) -> None:
    """An identity with a slash would match everything below it, so an empty fragment is added."""
    site.page("/docs/", "<p>Docs</p>")
    source = open_source(f"{site.root}/docs/", web_hosts=site.host)
    (file,) = source.list_files()
    assert file.uri == source.uri == f"{site.root}/docs/#"
    assert source.read(file) == b"<p>Docs</p>"


def test_listing_requests_headers_only_and_changes_change_the_tag(site: Site) -> None:
    """Unchanged pages are not downloaded."""
    source = pages(site, "/guide", "/plain")
    site.page("/plain", "plain", Last_Modified="Mon, 02 Jan 2006 15:04:05 GMT")
    before = {file.path: file.tag for file in source.list_files()}
    assert before == {"guide": '"1"', "plain": "Mon, 02 Jan 2006 15:04:05 GMT"}
    assert site.requests("GET") == []
    site.page("/guide", "new", ETag='"2"')
    assert {file.path: file.tag for file in source.list_files()} == before | {"guide": '"2"'}


def test_a_page_without_reliable_state_has_no_tag(site: Site) -> None:
    """A page that changed within this minute has none either: its next change might not show."""
    source = pages(site, "/now", "/none", "/odd")
    site.page(
        "/now",
        "x",
        Last_Modified=datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT"),
    )
    site.page("/none", "x")
    site.page("/odd", "x", ETag='"\x07"')
    assert [file.tag for file in source.list_files()] == [None, None, None]


def test_a_page_that_changed_since_it_was_listed_is_refused(site: Site) -> None:
    """It must not be stored under the old tag. If its tags never repeat, it is read anyway."""
    source = pages(site, "/guide")
    (file,) = source.list_files()
    site.page("/guide", "new", ETag='"2"')
    with pytest.raises(UnreadableFile) as refused:
        source.read(file)
    assert refused.value.reason == "changed"
    noise = iter(range(10))

    def noisy(handler: BaseHTTPRequestHandler) -> None:
        site.page("/guide", "noise", ETag=f'"n{next(noise)}"')
        site.handlers["/guide"](handler)
        site.handlers["/guide"] = noisy

    site.handlers["/guide"] = noisy
    (file,) = source.list_files()
    assert source.read(file) == b"noise"


@pytest.mark.parametrize(
    ("status", "expected"), [(404, "gone"), (410, "gone"), (403, "unopened"), (500, "unopened")]
)
def test_a_refused_page_has_a_reason(site: Site, status: int, expected: str) -> None:
    site.page("/page", "no", status)
    assert reason(site, "/page") == expected


def test_a_busy_site_is_asked_again(site: Site) -> None:
    site.page("/busy", "later", 503)
    busy = site.handlers["/busy"]

    def once(handler: BaseHTTPRequestHandler) -> None:
        busy(handler)
        site.page("/busy", "now")

    site.handlers["/busy"] = once
    assert open_client(site.host).get(parse_address(f"{site.root}/busy")).body == b"now"


def test_a_site_that_is_down_stops_the_run() -> None:
    """Its pages are not quarantined one by one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        host = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(Unavailable, match="does not answer"):
        list(open_single_page_list(host, open_client(host)).list_files())
    with pytest.raises(Unavailable, match="can't be found"):
        open_client(resolver=lambda host, port: []).get(parse_address("https://example.org/"))


def open_single_page_list(host: str, fetching: WebClient) -> PageListSource:
    """Return a list source with one page."""
    return PageListSource(
        f"http://{host}/", (parse_address(f"http://{host}/a"),), FileSelection(), fetching
    )


def test_requests_to_a_site_are_delayed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """0.2 seconds, or the Crawl-delay of robots.txt up to 30 seconds."""
    waits: list[float] = []
    # A clock that stands still: how long this machine takes for a request is of no matter.
    monkeypatch.setattr(
        "ingest.sources.robots.time", SimpleNamespace(sleep=waits.append, monotonic=lambda: 1000.0)
    )
    for robots, wait in (
        ("", 0.2),
        ("User-agent: *\nCrawl-delay: 7", 7.0),
        ("User-agent: *\nCrawl-delay: 3600", 30.0),
    ):
        site.page("/robots.txt", robots)
        waits.clear()
        open_client(site.host, delay_seconds=0.2).get(parse_address(f"{site.root}/guide"))
        assert waits == [0.0, pytest.approx(wait)]


def test_a_redirect_loop_ends(site: Site) -> None:
    """The limit is five redirects."""
    site.page("/a", "", 301, Location="/b")
    site.page("/b", "", 307, Location="/a")
    assert reason(site, "/a") == "unopened"
    assert len(site.requests("GET")) == 6


def test_an_endless_page_is_refused(site: Site) -> None:
    """With a length, without one, in chunks, and in the headers."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
    piece = b"x" * 65_536
    site.raw("/plain", head + b"\r\n", endless=piece)
    site.raw(
        "/chunks",
        head + b"Transfer-Encoding: chunked\r\n\r\n",
        endless=b"10000\r\n" + piece + b"\r\n",
    )
    site.raw(
        "/one-chunk", head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffff\r\n", endless=piece
    )
    site.raw("/less-than-none", head + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", endless=piece)
    site.raw("/announced", head + b"Content-Length: 99999999999\r\n\r\n", endless=piece)
    for path in ("/plain", "/chunks", "/one-chunk", "/announced"):
        assert reason(site, path, max_bytes=300_000) == "too-large", path
    site.raw("/headers", head, endless=b"X-More: " + b"y" * 1000 + b"\r\n")
    site.raw("/continue", endless=b"HTTP/1.1 100 Continue\r\n\r\n")
    for path in ("/less-than-none", "/headers"):
        assert reason(site, path, max_bytes=300_000) == "unopened", path
    assert reason(site, "/continue", max_bytes=300_000) == "too-large"


@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nX: ", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_slow_page_is_refused_at_the_deadline(site: Site, start: bytes) -> None:
    """Bytes arrive in time but the page doesn't: before, within and after the headers."""
    left = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(start)
        while not left.wait(0.02):
            handler.wfile.write(b"x")

    site.handlers["/slow"] = answer
    fetching = open_client(site.host, retry_delays=())
    fetching.get(
        parse_address(f"{site.root}/guide")
    )  # robots.txt is known from here on, and costs none of the time
    fetching._timeout_seconds = 0.3
    with pytest.raises(UnreadableFile) as refused:
        fetching.get(parse_address(f"{site.root}/slow"))
    left.set()
    assert refused.value.reason == "too-slow"


def test_a_decompression_bomb_is_refused(site: Site) -> None:
    """A compressed page within the limit is read."""
    bomb = gzip.compress(bytes(50_000_000))
    site.page("/bomb", bomb, Content_Encoding="gzip")
    assert reason(site, "/bomb", max_bytes=1_000_000) == "too-large"
    site.page("/packed", gzip.compress(b"<p>" + b"water " * 1000), Content_Encoding="gzip")
    assert len(open_client(site.host).get(parse_address(f"{site.root}/packed")).body) == 6003


def test_an_incomplete_page_is_refused(site: Site) -> None:
    """Short, cut, wrongly compressed, in cut chunks, or not HTTP."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n"
    packed = gzip.compress(b"water " * 1000)
    site.raw("/short", head + b"Content-Length: 100\r\n\r\nonly this")
    site.raw("/cut", head + b"Content-Encoding: gzip\r\n\r\n" + packed[:30])
    site.raw("/wrong", head + b"Content-Encoding: gzip\r\n\r\nnot packed")
    site.raw("/chunk", head + b"Transfer-Encoding: chunked\r\n\r\n10\r\nshort")
    site.raw("/other", b"SSH-2.0-OpenSSH_9.6\r\n")
    site.raw("/silent")
    site.page("/brotli", "x", Content_Encoding="br")
    for path in ("/short", "/cut", "/wrong", "/chunk", "/other", "/silent", "/brotli"):
        assert reason(site, path) == "unopened", path


def test_a_page_of_another_media_type_is_refused(site: Site) -> None:
    site.page("/film", b"x", Content_Type="video/mp4")
    assert reason(site, "/film") == "not-a-document"


def test_robots_txt_is_obeyed(site: Site) -> None:
    """It is fetched once."""
    site.robots = (
        f"User-agent: *\nDisallow: /\n\nUser-agent: {ROBOTS_AGENT}\nDisallow: "
        f"/private\nAllow: /private/open$\n"
    )
    site.page("/private/open", "open")
    fetching = open_client(site.host)
    assert fetching.get(parse_address(f"{site.root}/guide")).status == 200
    assert fetching.get(parse_address(f"{site.root}/private/open")).body == b"open"
    for path in ("/private", "/private/open/more", "/%70rivate/x"):
        with pytest.raises(UnreadableFile) as refused:
            fetching.get(parse_address(site.root + path))
        assert refused.value.reason == "robots"
    assert [path for _, path in site.requested] == ["/robots.txt", "/guide", "/private/open"]


@pytest.mark.parametrize(
    ("status", "open_"), [(404, True), (403, True), (500, False), (429, False)]
)
def test_an_unreadable_robots_txt_allows_all_or_nothing(
    site: Site, status: int, open_: bool
) -> None:
    """RFC 9309: a client error allows everything, a server error nothing."""
    site.page("/robots.txt", "", status)
    if open_:
        assert open_client(site.host).get(parse_address(f"{site.root}/guide")).status == 200
    else:
        assert reason(site, "/guide") == "robots"


def test_the_fetch_of_robots_txt_is_guarded(site: Site, attempts: list[object]) -> None:
    """It may redirect like any page."""
    site.page("/robots.txt", "", 301, Location="http://169.254.169.254/robots.txt")
    assert reason(site, "/guide") == "robots"
    assert set(attempts) == {("127.0.0.1", site.port)}


def build_sitemap_index(*addresses: str) -> str:
    """Return a sitemap of sitemaps."""
    inside = "".join(f"<sitemap><loc> {address} </loc></sitemap>" for address in addresses)
    return f'<?xml version="1.0"?><sitemapindex xmlns="x">{inside}</sitemapindex>'


def open_sitemap(
    site: Site, path: str = "/sitemap.xml", **options: tuple[str, ...]
) -> SitemapSource:
    """Return the source for a sitemap of the site."""
    return SitemapSource(
        parse_address(site.root + path), FileSelection((), **options), open_client(site.host)
    )


def test_a_sitemap_lists_the_pages_of_its_site(site: Site) -> None:
    """Through an index, compressed or not, each page once. Pages of other sites are left out."""
    root = site.root
    site.page(
        "/sitemap.xml",
        build_sitemap_index(f"{root}/one.xml", f"{root}/two.xml.gz", f"{root}/sitemap.xml"),
    )
    site.page(
        "/one.xml",
        build_sitemap(
            f"{root}/guide", f"{root}/a&amp;b", f"{root}/guide#part", "http://169.254.169.254/x"
        ),
    )
    site.page(
        "/two.xml.gz",
        gzip.compress(
            build_sitemap(f"{root}/c/d", "https://elsewhere.example/e", "no address").encode()
        ),
    )
    source = open_source(f"{root}/sitemap.xml", web_hosts=site.host)
    assert isinstance(source, SitemapSource)
    assert source.uri == f"{root}/"
    assert [file.path for file in source.list_files()] == ["guide", "a&b", "c/d"]
    assert [
        file.path for file in open_sitemap(site, exclude=("c/*",), include=("*d*",)).list_files()
    ] == ["guide"]
    with pytest.raises(InvalidInput, match="names no page"):
        list(open_sitemap(site, include=("x/*",)).list_files())


def test_an_incomplete_sitemap_stops_the_run(site: Site) -> None:
    """Documents that it does not list would be deleted."""
    site.page("/sitemap.xml", build_sitemap_index(f"{site.root}/one.xml", f"{site.root}/two.xml"))
    site.page("/one.xml", build_sitemap(f"{site.root}/guide"))
    with pytest.raises(Unavailable, match=r"two\.xml"):
        list(open_sitemap(site).list_files())
    with pytest.raises(InvalidInput, match="no longer there"):
        list(open_sitemap(site, "/none.xml").list_files())


def test_a_list_names_the_pages_of_one_site(site: Site, tmp_path: Path) -> None:
    """Comments and empty lines are ignored."""
    file = tmp_path / "pages.txt"
    file.write_text(f"# ours\n{site.root}/guide\n\n {site.root}/b/ \n{site.root}/guide\n")
    source = open_page_list(f"web:{file}", FileSelection(exclude=("x*",)), site.host)
    assert source.uri == f"{site.root}/"
    assert [str(page) for page in source.pages] == [f"{site.root}/guide", f"{site.root}/b/"]
    assert [found.uri for found in pages(site, "/guide", "/b/").list_files()] == [
        f"{site.root}/guide",
        f"{site.root}/b/#",
    ]


def test_certificate_and_host_header_belong_to_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, attempts: list[object]
) -> None:
    """The connection goes to the checked address, and proxies in the environment are ignored."""
    write_certificate(tmp_path / "pinned.pem", "pinned.example")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pinned.pem"))
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pinned.pem")
    names: list[str | None] = []
    context.sni_callback = lambda _, name, __: names.append(name)
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            for _ in range(3):
                plain, _ = listener.accept()
                try:
                    with context.wrap_socket(plain, server_side=True) as secure:
                        asked.append(secure.recv(65_536))
                        secure.sendall(
                            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Type: "
                            b"text/plain\r\n\r\nhere"
                        )
                except OSError:
                    plain.close()  # the client did not like the certificate

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        hosts = f"pinned.example:{port}, other.example:{port}"
        fetching = open_client(hosts, resolver=lambda host, port: ["127.0.0.1"], retry_delays=())
        answer = fetching.get(parse_address(f"https://pinned.example:{port}/page"))
        assert answer.body == b"here"
        with pytest.raises(Unavailable, match="certificate"):
            fetching.get(parse_address(f"https://other.example:{port}/page"))
        thread.join()
    assert names == ["pinned.example", "pinned.example", "other.example"]
    assert all(f"Host: pinned.example:{port}\r\n".encode() in request for request in asked)
    assert set(attempts) == {("127.0.0.1", port)}


def write_certificate(file: Path, name: str) -> None:
    """Write a key and a self-signed certificate for a name."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file.write_bytes(private + signed.public_bytes(serialization.Encoding.PEM))
