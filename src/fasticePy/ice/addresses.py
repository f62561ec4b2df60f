"""Numeric IP addresses: canonical text and the properties that pairing asks for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from fasticePy.machine import Address

MAX_NAME = 253
"""Characters of the longest host name (RFC 1035 2.3.4)."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?!0x[0-9a-f]*\.?$)[a-z](?:[a-z0-9-]{{0,61}}[a-z0-9])?\.?")


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of this host that candidates are gathered on, and what is known about its network."""

    host: str
    """Numeric; a link-local IPv6 address has its scope."""
    port: int = 0
    """The port to bind, 0 for any."""
    interface: str = ""
    cost: int = 0
    """What it costs to send there, 0 to 999, as browsers signal it in `network-cost`: a wire costs nothing, a mobile
    network a lot."""
    hidden: bool = False
    """Packets may leave from it, but nobody may learn it (RFC 8828 5.2, modes 3 and 4)."""

    @classmethod
    def of(cls, address: LocalAddress | Address) -> LocalAddress:
        """From a plain address and port too."""
        return address if isinstance(address, cls) else cls(address[0], address[1])  # type: ignore[index]


@lru_cache(maxsize=1024)
def parse_ip(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address, without a scope, or None when the text is none."""
    try:
        return ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None


def is_loopback(text: str) -> bool:
    """127.0.0.0/8 or ::1."""
    ip = parse_ip(text)
    return ip is not None and ip.is_loopback


def is_link_local(text: str) -> bool:
    """169.254.0.0/16 is left out: only IPv6 has rules of its own for it (RFC 8445 6.1.2.2)."""
    ip = parse_ip(text)
    return ip is not None and ip.version == 6 and ip.is_link_local


def scope_of(text: str) -> str:
    """The scope with its percent sign, or nothing."""
    _, separator, scope = text.partition("%")
    return separator + scope


def normalize(address: Address) -> Address:
    """Canonical text for the host, so that equal addresses are equal tuples."""
    ip = parse_ip(address[0])
    return address if ip is None else (str(ip) + scope_of(address[0]), address[1])


def is_host_name(text: str) -> bool:
    """Whether a name server may be asked for it. What ends in a number can only be meant as an IPv4 address, and
    resolvers take it for one."""
    return len(text) <= MAX_NAME and _HOST_NAME.fullmatch(text.lower()) is not None


def refusal(text: str) -> str | None:
    """Why a peer's candidate may not have this address, or None (RFC 8839 5.1, RFC 8445 5.1.1.1)."""
    ip = parse_ip(text)
    if ip is None:
        return "not an IP address: names are not resolved"
    if ip.is_unspecified:
        return "unspecified address"
    if ip.is_multicast:
        return "multicast address"
    if ip.version == 4 and int(ip) == 0xFFFFFFFF:
        return "broadcast address"
    if isinstance(ip, ipaddress.IPv6Address):
        if ip.ipv4_mapped is not None:
            return "IPv4-mapped address"
        if ip.is_site_local:
            return "site-local address"
        if int(ip) >> 32 == 0 and not ip.is_loopback:
            return "IPv4-compatible address"
    return None


OTHER_FAMILY = "other address family"
LOOPBACK_ONLY = "loopback and other addresses do not reach each other"
LINK_ONLY = "a link-local address reaches its own link only"
UNREACHABLE = frozenset({OTHER_FAMILY, LOOPBACK_ONLY, LINK_ONLY})


def unreachable(base: str, server: str) -> str | None:
    """Why nothing sent from `base` can arrive at `server`, one of `UNREACHABLE`, or None."""
    if (":" in base) != (":" in server):
        return OTHER_FAMILY
    if is_loopback(base) != is_loopback(server):
        return LOOPBACK_ONLY
    if is_link_local(base) and not is_link_local(server):
        return LINK_ONLY
    return None


def mentions(hosts: Iterable[str]) -> re.Pattern[str]:
    """A pattern that finds these addresses in a text, with or without a scope, and not within longer ones. Group 1 is
    the address."""
    alternatives = "|".join(re.escape(host) for host in sorted(hosts, key=len, reverse=True))
    # a port may follow: behind IPv6 without brackets it looks like more of the address
    return re.compile(rf"(?<![0-9A-Za-z.:])({alternatives})(?:%[\w.-]*\w)?(?![0-9A-Za-z]|\.[0-9])")


def address_text(address: Address) -> str:
    """`host:port`, with brackets around IPv6."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
