"""Socket addresses of the operating system <-> the `(host, port)` pairs that the machines use.

An IPv4 socket address already has that shape. An IPv6 one is `(host, port, flow, scope)`: its scope becomes
part of the host text (`fe80::1%eth0`, RFC 4007 11), because machines compare addresses and know no
interfaces.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import TypeAlias

from fasticePy.machine import Address

SockAddr: TypeAlias = tuple[str, int] | tuple[str, int, int, int]
"""What `socket.recvfrom` gives and `socket.sendto` takes without looking anything up."""

CACHED_ADDRESSES = 1024
"""Translations that an `AddressBook` remembers; it starts afresh when strangers have filled it."""


def family_of(host: str) -> socket.AddressFamily:
    """AF_INET6 when the numeric address `host` has a colon, else AF_INET."""
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def split_scope(host: str) -> tuple[str, str]:
    """The address and its scope (`""` when it has none): `fe80::1%eth0` is `("fe80::1", "eth0")`."""
    address, _, scope = host.partition("%")
    return address, scope


def to_sockaddr(address: Address) -> SockAddr:
    """The socket address of a numeric address. Raises ValueError for a name, a bad port or an unknown
    interface."""
    host, port = address
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is not between 0 and 65535")
    plain, scope = split_scope(host)
    if ":" not in plain:
        return (str(ipaddress.IPv4Address(host)), port)
    # the operating system would look the text up by name when it has a scope: give it the number instead
    return (str(ipaddress.IPv6Address(plain)), port, 0, _scope_id(scope) if scope else 0)


def from_sockaddr(sockaddr: SockAddr) -> Address:
    """The `(host, port)` of a socket address, its host as `ipaddress` prints it, with the scope where there
    is one."""
    if len(sockaddr) == 2:
        return sockaddr
    host, port, _, scope_id = sockaddr
    text = str(ipaddress.IPv6Address(split_scope(host)[0]))
    return (f"{text}%{_scope_name(scope_id)}" if scope_id else text, port)


def _scope_id(scope: str) -> int:
    if scope.isascii() and scope.isdigit():
        return int(scope)
    try:
        return socket.if_nametoindex(scope)
    except OSError:
        raise ValueError(f"this host has no interface {scope!r}") from None


def _scope_name(scope_id: int) -> str:
    try:
        return socket.if_indextoname(scope_id)
    except OSError:  # the interface went away meanwhile
        return str(scope_id)


class AddressBook:
    """Both translations with a memory: a socket talks with few addresses, many times each."""

    __slots__ = ("_from", "known")

    def __init__(self) -> None:
        self.known: dict[Address, SockAddr] = {}
        """What `sockaddr` remembers, for those who want to look before they call."""
        self._from: dict[SockAddr, Address] = {}

    def sockaddr(self, address: Address) -> SockAddr:
        """As `to_sockaddr`."""
        known = self.known.get(address)
        if known is not None:
            return known
        if len(self.known) >= CACHED_ADDRESSES:
            self.known.clear()
        return self.known.setdefault(address, to_sockaddr(address))

    def address(self, sockaddr: SockAddr) -> Address:
        """As `from_sockaddr`."""
        known = self._from.get(sockaddr)
        if known is not None:
            return known
        if len(self._from) >= CACHED_ADDRESSES:
            self._from.clear()
        return self._from.setdefault(sockaddr, from_sockaddr(sockaddr))
