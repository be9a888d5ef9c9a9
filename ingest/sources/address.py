"""A web address, parsed once and strictly: two readings of one address are how guards are passed by."""

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit

from core.errors import UnreadableFile

DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_ADDRESS_CHARACTERS = 2000
_UNQUOTED_CHARACTERS = "/%:@!$&'()*+,;=~"
_UNSAFE_CHARACTERS = re.compile(r"[\x00-\x20\x7f\\]")
_HOST_AND_PORT = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:(?P<port>[0-9]{1,5}))?\Z"
)
_HOST_NAME = re.compile(
    r"(?=.{1,253}\Z)(?!-)[a-z0-9-]{1,63}(?<!-)(\.(?!-)[a-z0-9-]{1,63}(?<!-))*\Z"
)
_NUMERIC_LABEL = re.compile(r"(0x[0-9a-f]*|[0-9]+)\Z")


class ForbiddenAddress(UnreadableFile):
    """An address that is not fetched, whatever stands there."""

    def __init__(self, message: str) -> None:
        super().__init__("forbidden", message)


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An address without user, fragment or odd spelling. `host` is a lower-case name or a plain IP address."""

    scheme: str
    host: str
    port: int
    request_target: str

    @property
    def host_header(self) -> str:
        """Its host as it stands in a Host header: with brackets around IPv6, the port only if it is not the usual."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """The root of its site, with a slash at the end."""
        return f"{self.scheme}://{self.host_header}/"

    @property
    def display_path(self) -> str:
        """What people are shown: the path below the site with its query, decoded; `index` for the root."""
        decoded = unquote(self.request_target).removeprefix("/") or "index"
        return "".join(letter if letter.isprintable() else "\ufffd" for letter in decoded)

    def __str__(self) -> str:
        return self.origin + self.request_target.removeprefix("/")


def parse_address(text: str) -> WebAddress:
    """The address that a text is, spelled in the one way that is compared and stored.

    Raises:
        Forbidden: it is no plain http or https address. A host in other than plain letters, digits and hyphens, with
            a dot at its end or in an unusual notation of numbers is refused: no two programs read it alike.
    """
    text = text.strip()
    shown = ascii(text[:200])
    if len(text) > _MAX_ADDRESS_CHARACTERS or _UNSAFE_CHARACTERS.search(text):
        raise ForbiddenAddress(
            f"{shown} holds a space, a backslash or a control character, or is too long; write it out."
        )
    try:
        parts = urlsplit(text)
        path, query = (
            quote(parts.path, safe=_UNQUOTED_CHARACTERS),
            quote(parts.query, safe=_UNQUOTED_CHARACTERS + "?"),
        )
    except ValueError as error:
        raise ForbiddenAddress(f"{shown} is no valid address; check its host and port.") from error
    if parts.scheme not in DEFAULT_PORTS or not parts.netloc:
        raise ForbiddenAddress(f"{shown} is no web address; write https://HOST/PATH.")
    if "@" in parts.netloc:
        raise ForbiddenAddress(
            "An address with a name or password in front of its host is not fetched; leave them out."
        )
    place = _HOST_AND_PORT.match(parts.netloc)
    if not place:
        raise ForbiddenAddress(
            f"{shown} has a host that is not plainly written; use letters, digits, hyphens, or xn--."
        )
    port = int(place["port"] or DEFAULT_PORTS[parts.scheme])
    target = _remove_dot_segments(path) + (f"?{query}" if query else "")
    return WebAddress(
        parts.scheme, _normalise_host(place["name"].lower().strip("[]"), shown), port, target
    )


def resolve_redirect(base: WebAddress, location: str) -> WebAddress:
    """Where a redirect's Location, as http.client decodes it, leads; raises Forbidden as parse_address does."""
    text = location.encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        return parse_address(urljoin(str(base), text))
    except ValueError as error:
        raise ForbiddenAddress(f"{base} leads to something that is no valid address.") from error


def _normalise_host(name: str, display_name: str) -> str:
    """A name as it is; what holds a colon or ends in a number is an IP address, and to some programs an octal one."""
    if ":" not in name and not _NUMERIC_LABEL.match(name.rpartition(".")[2]):
        if _HOST_NAME.match(name):
            return name
        raise ForbiddenAddress(
            f"{display_name} has a host that is not plainly written; use letters, digits, hyphens, or xn--."
        )
    try:
        return str(ipaddress.ip_address(name))
    except ValueError as error:
        raise ForbiddenAddress(
            f"{display_name} has a host that is not plainly written; use four decimal numbers."
        ) from error


def _remove_dot_segments(path: str) -> str:
    """A path without `.` and `..`, also where they are written as %2e: patterns decide by what is asked for."""
    kept: list[str] = []
    parts = [
        part if _decode_dots(part) not in (".", "..") else _decode_dots(part)
        for part in path.split("/")[1:]
    ]
    for part in parts:
        if part == "..":
            del kept[-1:]
        elif part != ".":
            kept.append(part)
    if parts and parts[-1] in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)


def _decode_dots(part: str) -> str:
    return part.lower().replace("%2e", ".")
