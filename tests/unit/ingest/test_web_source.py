"""Web addresses, robots.txt, sitemaps and page lists, with no connection made."""

import gzip
from ipaddress import ip_address
from pathlib import Path

import pytest

from core.errors import InvalidInput, Unavailable, UnreadableFile
from ingest.sources import open_source
from ingest.sources.address import ForbiddenAddress, parse_address
from ingest.sources.ip_guard import is_public_ip, parse_allowed_hosts
from ingest.sources.robots import ROBOTS_AGENT, RobotsRules
from ingest.sources.sitemap import parse_sitemap
from tests.support.web import FORBIDDEN_ADDRESSES, open_client

RESOLVED = """
127.0.0.1 127.8.8.8 0.0.0.0 10.1.2.3 100.64.0.1 169.254.169.254 172.20.0.1 192.168.0.1
192.0.0.8 192.0.2.7
168.63.129.16 198.19.255.255 203.0.113.9 224.0.0.251 255.255.255.255
::1 :: fe80::1 fe80::1%eth0 fd00:ec2::254 ff02::fb ::ffff:10.0.0.1 ::ffff:93.184.216.34
64:ff9b::5db8:d822
2002:5db8:d822::1 2001::1 2001:db8::7 3fff:fff::1
""".split()

CLIENT = open_client()


def test_there_are_at_least_sixty_forbidden_addresses() -> None:
    assert len(set(FORBIDDEN_ADDRESSES)) >= 60
    assert len(set(RESOLVED)) >= 20


@pytest.mark.parametrize("address", FORBIDDEN_ADDRESSES)
def test_a_forbidden_address_is_refused_by_its_form(address: str, attempts: list[object]) -> None:
    """As a source, and as a redirect or a sitemap entry; nothing is looked up."""
    with pytest.raises(InvalidInput):
        open_source(address)
    with pytest.raises(ForbiddenAddress):
        CLIENT.get(parse_address(address))
    assert attempts == []


@pytest.mark.parametrize("ip", RESOLVED)
def test_a_name_with_a_private_address_is_refused(ip: str, attempts: list[object]) -> None:
    """Alone, and next to a public address."""
    answers = [[ip], ["93.184.216.34", ip], ["2606:4700::1111", ip]]
    remaining = iter(answers)
    web_client = open_client(resolver=lambda host, port: next(remaining))
    for _ in answers:
        with pytest.raises(ForbiddenAddress, match="not on the public internet"):
            web_client.get(parse_address("https://example.org/page"))
    assert attempts == []


@pytest.mark.parametrize(
    "ip", ["93.184.216.34", "1.1.1.1", "100.63.255.255", "172.32.0.1", "2606:4700::1111"]
)
def test_a_public_address_is_allowed(ip: str) -> None:
    assert is_public_ip(ip_address(ip))


def test_a_name_is_resolved_once_a_request_and_connected_to_that_address(
    attempts: list[object],
) -> None:
    """A name that changes to a private address is resolved and refused at the next request."""
    answers = iter([["93.184.216.34"], ["93.184.216.34"], ["127.0.0.1"]])
    rebinding = open_client(resolver=lambda host, port: next(answers), retry_delays=(0.0, 0.0))
    address = parse_address("http://rebinding.example/")
    with pytest.raises(
        Unavailable
    ):  # the page's own look-up, then robots.txt: refused by the hook above
        rebinding.get(address)
    assert attempts == [("93.184.216.34", 80)] * 3  # three attempts, one look-up
    attempts.clear()
    with pytest.raises(ForbiddenAddress):
        rebinding.get(address)
    assert attempts == []


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/", "index"),
        ("/a/b%20c.html", "a/b c.html"),
        ("/a/?q=x%0A", "a/?q=x\ufffd"),
        ("/a/%2E%2e/b/./c#d", "b/c"),
    ],
)
def test_a_display_path_is_decoded_and_normalized(path: str, shown: str) -> None:
    """Patterns and reader rules match it, so it equals the requested path."""
    assert parse_address(f"https://example.org{path}").display_path == shown


@pytest.mark.parametrize(
    ("rules", "target", "allowed"),
    [
        ("Disallow: /", "/x", False),
        ("Disallow:", "/x", True),
        ("Disallow: /a\nAllow: /a/b", "/a/b/c", True),
        ("Allow: /a\nDisallow: /a", "/a", True),
        ("Disallow: /*.pdf$", "/files/x.pdf", False),
        ("Disallow: /*.pdf$", "/files/x.pdf?y", True),
        ("Disallow: /*?", "/x?y=1", False),
        ("Disallow: /a*b*c", "/axxbyyc/z", False),
        ("Disallow: /a*b$", "/ab", False),
        ("Disallow: /ab*b$", "/ab", True),
        ("Disallow: /ä", "/%C3%A4", False),
        ("Disallow: /" + "*a" * 2000, "/" + "a" * 1999, True),
    ],
)
def test_robots_rules_match_as_rfc_9309_says(rules: str, target: str, allowed: bool) -> None:
    """The longest rule wins; with equal length the allowing rule wins."""
    robots = RobotsRules(f"\ufeffUser-Agent: *\n{rules} # a comment\n")
    assert robots.allows(target) is allowed


def test_only_the_most_specific_group_counts_and_its_parts_are_merged() -> None:
    """Also if several names share a group, and with a delay."""
    text = (
        f"User-agent: a\nUser-agent: {ROBOTS_AGENT}/2\nDisallow: /a\nCrawl-delay: "
        f"2\n\nUser-agent: *\nDisallow: /\n\n"
    )
    parsed = RobotsRules(text + f"User-agent: {ROBOTS_AGENT}\nDisallow: /b\n")
    assert [parsed.allows(target) for target in ("/a", "/b", "/c")] == [False, False, True]
    assert parsed.delay_seconds == 2.0


@pytest.mark.parametrize(
    "content",
    [
        '<!DOCTYPE x [<!ENTITY a "b">]><urlset><url><loc>&a;</loc></url></urlset>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><urlset/>',
        "<html><p>not closed</html>",
        "",
        gzip.compress(bytes(60_000_000)),
        gzip.compress(b"<urlset/>", mtime=0)[:12] + b"damage",
    ],
)
def test_an_invalid_or_hostile_sitemap_is_refused(content: str | bytes) -> None:
    """Entities and decompression bombs included."""
    with pytest.raises(UnreadableFile):
        parse_sitemap("sitemap.xml", content.encode() if isinstance(content, str) else content)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("https://a.example/\nhttps://b.example/\n", "2 pages of 2 sites"),
        ("# nothing\n", "0 pages of 0 sites"),
        ("https://a.example/\nhttp://10.0.0.1/\n", "line 2: .*public internet"),
        ("https://a.example/\nC:\\pages\n", "line 2"),
        (b"\xff\xfe\x00", "UTF-8"),
    ],
)
def test_an_invalid_page_list_is_refused(tmp_path: Path, content: str | bytes, says: str) -> None:
    """The error names the line."""
    file = tmp_path / "pages.txt"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InvalidInput, match=says):
        open_source(f"web:{file}")


@pytest.mark.parametrize(
    "setting", ["http://a.example", "a.example/path", "user@a.example", "a b", "*.example"]
)
def test_an_invalid_allowed_host_is_refused(setting: str) -> None:
    """Only hosts with an optional port are valid."""
    with pytest.raises(InvalidInput, match="GROUNDWORK_WEB_ALLOWED_HOSTS"):
        parse_allowed_hosts(setting)


def test_an_allowed_host_without_a_port_allows_80_and_443() -> None:
    assert parse_allowed_hosts("") == frozenset()
    assert parse_allowed_hosts("Wiki.intern, 10.0.0.7:8080,[::1]:81") == {
        ("wiki.intern", 80),
        ("wiki.intern", 443),
        ("10.0.0.7", 8080),
        ("::1", 81),
    }
