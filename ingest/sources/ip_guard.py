"""Guard that limits the web client to the public internet and to explicitly allowed hosts."""

import ipaddress
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address

from core.errors import InvalidInput, Unavailable
from core.http import HttpError, resolve_host
from ingest.sources.address import DEFAULT_PORTS, ForbiddenAddress, WebAddress, parse_address

RESOLVE_TIMEOUT_SECONDS = 20.0
HostResolver = Callable[[str, int], list[str]]  # host name and port -> IP addresses, as text

# IANA's special-purpose addresses that are not globally reachable, multicast, and one internal
# address of a cloud that looks public. ipaddress.is_global is checked as well, but its tables
# differ by version.
_RESERVED_IPV4_NETWORKS = [
    ipaddress.IPv4Network(block)
    for block in """
    0.0.0.0/8 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 168.63.129.16/32 169.254.0.0/16 172.16.0.0/12
    192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 192.168.0.0/16 198.18.0.0/15 198.51.100.0/24
    203.0.113.0/24 224.0.0.0/4 240.0.0.0/4
    """.split()
]
# NAT64, mapped and local addresses are outside of global unicast.
_GLOBAL_UNICAST_IPV6 = ipaddress.IPv6Network("2000::/3")
# Teredo, documentation, 6to4, documentation.
_RESERVED_IPV6_NETWORKS = [
    ipaddress.IPv6Network(block)
    for block in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")
]


def is_public_ip(ip: IPv4Address | IPv6Address) -> bool:
    """Return True for a public address, never for one that wraps another (6to4, NAT64, mapped)."""
    if isinstance(ip, IPv4Address):
        return ip.is_global and not any(ip in block for block in _RESERVED_IPV4_NETWORKS)
    if ip.scope_id or ip not in _GLOBAL_UNICAST_IPV6:
        return False
    return ip.is_global and not any(ip in block for block in _RESERVED_IPV6_NETWORKS)


def parse_allowed_hosts(setting: str) -> frozenset[tuple[str, int]]:
    """Return the hosts and ports of GROUNDWORK_WEB_ALLOWED_HOSTS: HOST or HOST:PORT, by commas.

    Raises:
        InvalidInput: an entry has another form.
    """
    allowed: set[tuple[str, int]] = set()
    for entry in filter(None, (part.strip() for part in setting.split(","))):
        try:
            addresses = [parse_address(f"{scheme}://{entry}") for scheme in DEFAULT_PORTS]
        except ForbiddenAddress as error:
            raise _invalid_host_error(entry) from error
        if any(address.request_target != "/" for address in addresses):
            raise _invalid_host_error(entry)
        allowed |= {(address.host, address.port) for address in addresses}
    return frozenset(allowed)


def check_address(address: WebAddress) -> None:
    """Check an address as far as possible without a look-up.

    Raises:
        ForbiddenAddress: the port is not a web port, or the IP address is not public.
    """
    if address.port not in DEFAULT_PORTS.values():
        raise ForbiddenAddress(f"{address} is on port {address.port}. Only 80 and 443 are fetched.")
    ip = _parse_ip_literal(address)
    if ip is not None and not is_public_ip(ip):
        raise _not_public_error(address, str(ip))


def resolve_public_ips(address: WebAddress, resolver: HostResolver) -> list[str]:
    """Return the checked IP addresses of a host. Connect to these without a second look-up.

    Raises:
        ForbiddenAddress: the port is unusual, or any of the addresses is not public.
        Unavailable: the name can't be resolved.
    """
    check_address(address)
    ips = resolve_address(address, resolver)
    for ip in ips:
        if not is_public_ip(ipaddress.ip_address(ip)):
            raise _not_public_error(address, ip)
    return ips


def resolve_address(address: WebAddress, resolver: HostResolver) -> list[str]:
    """Return the unchecked IP addresses of a host; raises Unavailable if there are none."""
    if _parse_ip_literal(address) is not None:
        return [address.host]
    ips = list(dict.fromkeys(resolver(address.host, address.port)))
    if not ips:
        raise Unavailable(
            f"The host of {address} can't be found. Check the address and the network."
        )
    return ips


def resolve_with_system(host: str, port: int) -> list[str]:
    """Return the IP addresses that the system knows for a name; empty if there are none."""
    try:
        return resolve_host(host, port, RESOLVE_TIMEOUT_SECONDS)
    except HttpError:
        return []


def _parse_ip_literal(address: WebAddress) -> IPv4Address | IPv6Address | None:
    try:
        return ipaddress.ip_address(address.host)
    except ValueError:
        return None


def _not_public_error(address: WebAddress, ip: str) -> ForbiddenAddress:
    return ForbiddenAddress(
        f"{address} is at {ip}, which is not on the public internet. To allow a host see"
        " docs/reference/sources.md."
    )


def _invalid_host_error(entry: str) -> InvalidInput:
    return InvalidInput(
        f"GROUNDWORK_WEB_ALLOWED_HOSTS has the entry {entry!r}. Write HOST or HOST:PORT,"
        " separated by commas."
    )
