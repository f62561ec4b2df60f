"""Redirection to another server: what a client may follow, and what a server sends (RFC 8489 10, 14.8, 14.15-16)."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TypeAlias

from fasticePy._native.stun import Message
from fasticePy.machine import Address
from fasticePy.stun.registry import Attribute

MEMORY = 300.0
"""Seconds in which a request does not go to the same server again (RFC 8489 10)."""
MAX_REDIRECTS = 2
"""Redirections of one request that are followed: honest servers need one."""
WELL_KNOWN_PORTS = frozenset({53, 80, 443})
"""Ports below 1024 at which TURN servers are found; at others, a redirection is aimed at somebody else."""

_Ip: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
_BROADCAST = ipaddress.IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class Redirect:
    """Where to go, and the name that a certificate there must have (None: the name used so far)."""

    address: Address
    domain: str | None


class RedirectGuard:
    """What one request remembers of the servers that it went to, so that redirection ends."""

    __slots__ = ("_asked", "_followed")

    def __init__(self) -> None:
        self._asked: dict[tuple[_Ip, int], float] = {}
        self._followed = 0

    def asked(self, address: Address, now: float) -> None:
        """The request is sent to this server."""
        self._asked[_ip(address[0]), address[1]] = now

    def judge(self, message: Message, server: Address, now: float) -> Redirect | str:
        """What a 300 from `server`, whose integrity is right, leads to; or why it is not followed."""
        if self._followed == MAX_REDIRECTS:
            return f"redirected more than {MAX_REDIRECTS} times"
        alternates: list[Address] = message.get_all(Attribute.ALTERNATE_SERVER)
        if not alternates:
            return "redirected to nowhere"
        home = _ip(server[0])
        alternates.sort(key=lambda address: _ip(address[0]).version != home.version)
        reasons = [self._objection(address, home, server[1], now) for address in alternates]
        if "" not in reasons:
            host, port = alternates[0]
            return f"redirected to {host} port {port}, {reasons[0]}"
        self._followed += 1
        return Redirect(alternates[reasons.index("")], message.get(Attribute.ALTERNATE_DOMAIN))

    def _objection(self, address: Address, home: _Ip, home_port: int, now: float) -> str:
        ip, port = _ip(address[0]), address[1]
        if ip.is_unspecified or ip.is_multicast or ip == _BROADCAST or port == 0:
            return "which is no server's address"
        if ip.is_loopback and not home.is_loopback:
            return "which is this host itself"
        if ip.is_link_local and not home.is_link_local:
            return "which is a link-local address"
        if port < 1024 and port != home_port and port not in WELL_KNOWN_PORTS:
            return "which is the port of another service"
        at = self._asked.get((ip, port))
        return "" if at is None or now - at >= MEMORY else "which was asked already"


@dataclass(frozen=True, slots=True)
class Alternate:
    """The server to which another one sends its clients: its addresses, best of one per family, and the name in its
    certificate where that is not the redirecting server's own."""

    addresses: tuple[Address, ...]
    domain: str | None = None

    def attributes(self, source: Address, *, secure: bool, sha256: bool) -> list[tuple[int, object]]:
        """What goes into a 300 besides ERROR-CODE, for a request from `source`; nothing when there is no address of its
        family, and then no 300 may be sent. `secure` says that it came over TLS or DTLS, `sha256` that it had
        MESSAGE-INTEGRITY-SHA256: only such clients know ALTERNATE-DOMAIN (RFC 8489 10)."""
        version = _ip(source[0]).version
        same = [address for address in self.addresses if _ip(address[0]).version == version]
        other = [address for address in self.addresses if _ip(address[0]).version != version]
        if not same:
            return []
        found: list[tuple[int, object]] = [
            (Attribute.ALTERNATE_SERVER, address) for address in (*same, *other)
        ]
        if self.domain is not None and secure and sha256:
            found.append((Attribute.ALTERNATE_DOMAIN, self.domain))
        return found


def _ip(host: str) -> _Ip:
    """The address without a scope, and as IPv4 where it is IPv4 in IPv6's clothes."""
    ip = ipaddress.ip_address(host.partition("%")[0])
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip
