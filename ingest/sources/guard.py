"""Which machines the web client may talk to: those that are on the public internet, and those an operator allowed."""

import ipaddress
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from core.errors import InvalidInput, Unavailable
from ingest.sources.address import PORTS, Forbidden, WebAddress, parse_address

Resolver = Callable[[str, int], list[str]]  # host name and port -> IP addresses, as text

# Everything that IANA's registries of special-purpose addresses don't call globally reachable, multicast, and one
# address of a cloud's own that looks public. ipaddress.is_global is asked as well; its tables differ by version.
_NOT_PUBLIC_4 = [
    ipaddress.IPv4Network(block)
    for block in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",
        "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
_UNICAST_6 = ipaddress.IPv6Network("2000::/3")  # all of global unicast; NAT64, mapped and local addresses are outside
_NOT_PUBLIC_6 = [
    ipaddress.IPv6Network(block)
    for block in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")  # Teredo, documentation, 6to4, documentation
]


def is_public(ip: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one on the public internet. Those that wrap another (6to4, NAT64, mapped) never are."""
    if isinstance(ip, IPv4Address):
        return ip.is_global and not any(ip in block for block in _NOT_PUBLIC_4)
    if ip.scope_id or ip not in _UNICAST_6:
        return False
    return ip.is_global and not any(ip in block for block in _NOT_PUBLIC_6)


def allowed_hosts(setting: str) -> frozenset[tuple[str, int]]:
    """The hosts and ports of GROUNDWORK_WEB_ALLOWED_HOSTS: `HOST` or `HOST:PORT`, separated by commas.

    Raises:
        InvalidInput: an entry that is neither.
    """
    allowed: set[tuple[str, int]] = set()
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        try:
            addresses = [parse_address(f"{scheme}://{entry}") for scheme in PORTS]
        except Forbidden as error:
            raise _no_host(entry) from error
        if any(address.target != "/" for address in addresses):
            raise _no_host(entry)
        allowed |= {(address.host, address.port) for address in addresses}
    return frozenset(allowed)


def check_place(address: WebAddress) -> None:
    """Refuse what can be refused without resolving a name.

    Raises:
        Forbidden: a port that other things than web pages are served on, or an IP address that is not public.
    """
    if address.port not in PORTS.values():
        raise Forbidden(f"{address} is on port {address.port}; only 80 and 443 are fetched.")
    ip = _literal(address)
    if ip is not None and not is_public(ip):
        raise _not_public(address, str(ip))


def public_ips(address: WebAddress, resolve: Resolver) -> list[str]:
    """The addresses to connect to, all of them checked; connect to these, and never resolve the name again.

    Raises:
        Forbidden: the port is unusual, or one of them is not public. One is enough: the next answer might lead there.
        Unavailable: the name can't be resolved.
    """
    check_place(address)
    ips = resolved(address, resolve)
    for ip in ips:
        if not is_public(ipaddress.ip_address(ip)):
            raise _not_public(address, ip)
    return ips


def resolved(address: WebAddress, resolve: Resolver) -> list[str]:
    """The addresses of a host, each once, as text; an IP address is its own. Raises Unavailable if there is none."""
    if _literal(address) is not None:
        return [address.host]
    ips = list(dict.fromkeys(resolve(address.host, address.port)))
    if not ips:
        raise Unavailable(f"The host of {address} can't be found; check the address and the network.")
    return ips


def system_resolver(host: str, port: int) -> list[str]:
    """What the system says a name stands for; nothing when it knows none."""
    try:
        return [str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    except (socket.gaierror, UnicodeError):
        return []


def _literal(address: WebAddress) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(address.host)
    except ValueError:
        return None


def _not_public(address: WebAddress, ip: str) -> Forbidden:
    return Forbidden(
        f"{address} is at {ip}, which is not on the public internet; docs/sources.md says how to allow a host."
    )


def _no_host(entry: str) -> InvalidInput:
    return InvalidInput(f"GROUNDWORK_WEB_ALLOWED_HOSTS holds {entry!r}; write HOST or HOST:PORT, separated by commas.")
