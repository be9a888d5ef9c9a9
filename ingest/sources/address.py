"""Web addresses, parsed once and strictly, so that all programs read them in the same way."""

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
    """An address that is never fetched."""

    def __init__(self, message: str) -> None:
        super().__init__("forbidden", message)


@dataclass(frozen=True, slots=True)
class WebAddress:
    """An address without user or fragment; `host` is a lower-case name or a plain IP address."""

    scheme: str
    host: str
    port: int
    request_target: str

    @property
    def host_header(self) -> str:
        """Value of the Host header: IPv6 in brackets, and the port if it is not the default."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Root of the site, with a slash at the end."""
        return f"{self.scheme}://{self.host_header}/"

    @property
    def display_path(self) -> str:
        """Decoded path and query, for people; `index` for the root."""
        decoded = unquote(self.request_target).removeprefix("/") or "index"
        return "".join(letter if letter.isprintable() else "\ufffd" for letter in decoded)

    def __str__(self) -> str:
        return self.origin + self.request_target.removeprefix("/")


def parse_address(text: str) -> WebAddress:
    """Return the address of a text in the one spelling that is compared and stored.

    Raises:
        ForbiddenAddress: it is not a plain http or https address. A host with unusual characters, a
            final dot or an unusual notation of numbers is refused, because programs read it
            differently.
    """
    text = text.strip()
    display_name = ascii(text[:200])
    if len(text) > _MAX_ADDRESS_CHARACTERS or _UNSAFE_CHARACTERS.search(text):
        raise ForbiddenAddress(
            f"{display_name} has a space, backslash or control character, or is too long. Fix it."
        )
    try:
        parts = urlsplit(text)
        path = quote(parts.path, safe=_UNQUOTED_CHARACTERS)
        query = quote(parts.query, safe=_UNQUOTED_CHARACTERS + "?")
    except ValueError as error:
        raise ForbiddenAddress(
            f"{display_name} is not a valid address. Check its host and port."
        ) from error
    if parts.scheme not in DEFAULT_PORTS or not parts.netloc:
        raise ForbiddenAddress(f"{display_name} is not a web address. Write https://HOST/PATH.")
    if "@" in parts.netloc:
        raise ForbiddenAddress(
            "An address with a user name or password is not fetched. Leave them out."
        )
    match = _HOST_AND_PORT.match(parts.netloc)
    if not match:
        raise _unusual_host_error(display_name)
    host = _normalise_host(match["name"].lower().strip("[]"), display_name)
    port = int(match["port"] or DEFAULT_PORTS[parts.scheme])
    target = _remove_dot_segments(path) + (f"?{query}" if query else "")
    return WebAddress(parts.scheme, host, port, target)


def resolve_redirect(base: WebAddress, location: str) -> WebAddress:
    """Return the target of a Location header (Latin-1 text); raises as `parse_address`."""
    text = location.encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        return parse_address(urljoin(str(base), text))
    except ValueError as error:
        raise ForbiddenAddress(f"{base} redirects to an invalid address.") from error


def _normalise_host(name: str, display_name: str) -> str:
    """Return a host name, or an IP address in its usual notation."""
    # An IP address has a colon, or a number at its end.
    if ":" not in name and not _NUMERIC_LABEL.match(name.rpartition(".")[2]):
        if _HOST_NAME.match(name):
            return name
        raise _unusual_host_error(display_name)
    try:
        return str(ipaddress.ip_address(name))
    except ValueError as error:  # some programs read other notations, such as octal numbers
        raise ForbiddenAddress(
            f"{display_name} has an IP address in an unusual notation. Use four decimal numbers."
        ) from error


def _unusual_host_error(display_name: str) -> ForbiddenAddress:
    return ForbiddenAddress(
        f"{display_name} has a host with unusual characters. Use letters, digits, hyphens, or xn--."
    )


def _remove_dot_segments(path: str) -> str:
    """Return a path without `.` and `..` (also %2e), so that patterns see the requested path."""
    kept: list[str] = []
    decoded = ""
    for part in path.split("/")[1:]:
        decoded = part.lower().replace("%2e", ".")
        if decoded == "..":
            del kept[-1:]
        elif decoded != ".":
            kept.append(part)
    if decoded in (".", ".."):
        kept.append("")
    return "/" + "/".join(kept)
