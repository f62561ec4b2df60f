"""Where a server listens: reading what the user asks for, and opening UDP and TCP sockets on the same port."""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace

from fasticePy.aio.host import host_addresses
from fasticePy.aio.interfaces import AddressPolicy, select
from fasticePy.aio.sockaddr import family_of, to_sockaddr
from fasticePy.aio.udp_socket import bound_address, open_udp_socket
from fasticePy.machine import Address
from fasticePy.server import wildcard

BACKLOG = 128
"""Connections that wait for `accept`, at most."""
PORT_TRIES = 16
"""How many ports are tried when any will do but UDP and TCP must both have it."""

_IN_USE = frozenset({errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)})


@dataclass(frozen=True, slots=True)
class Listener:
    """One address to listen on, and what for."""

    address: Address
    udp: bool
    tcp: bool
    secure: bool = False
    """Nothing without TLS or DTLS is taken."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The sockets of a listener."""

    listener: Listener
    udp: socket.socket | None
    tcp: socket.socket | None

    def close(self) -> None:
        """Close those that nobody has taken over."""
        for sock in (self.udp, self.tcp):
            if sock is not None:
                sock.close()


def parse_listen(text: str) -> Address:
    """Read `192.0.2.1:3478`, `0.0.0.0:3478`, `[::1]:0`. Raises ValueError when it is not a numeric address and a port.

    Each address is of its own family: `[::]` does not include IPv4.
    """
    host, colon, port = text.rpartition(":")
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise ValueError(f"{text!r} is not ADDRESS:PORT")
    bracketed = host.startswith("[") and host.endswith("]")
    plain = host[1:-1] if bracketed else host
    if bracketed != (":" in plain):
        raise ValueError(f"{text!r}: an IPv6 address is written in brackets, and nothing else is")
    address, percent, scope = plain.partition("%")
    try:
        return f"{ipaddress.ip_address(address)}{percent}{scope}", int(port)
    except ValueError:
        raise ValueError(f"{text!r}: {plain!r} is not a numeric address") from None


def is_wildcard(host: str) -> bool:
    """Whether this address means every address of the host."""
    return ipaddress.ip_address(host.partition("%")[0]).is_unspecified


def local_addresses(host: str) -> list[str]:
    """The addresses of this host that the wildcard address `host` stands for, best first."""
    version = 6 if ":" in host else 4
    policy = AddressPolicy(ipv4=version == 4, ipv6=version == 6)
    addresses = select(host_addresses(), policy).addresses
    return list(addresses) or ["127.0.0.1" if version == 4 else "::1"]


def expand_wildcards(listeners: Iterable[Listener]) -> list[Listener]:
    """Where a wildcard socket could not answer from the address that was asked, one on each address of the host."""
    expanded: list[Listener] = []
    for listener in listeners:
        host, port = listener.address
        if wildcard.AVAILABLE or not is_wildcard(host):
            expanded.append(listener)
            continue
        loopback = "::1" if ":" in host else "127.0.0.1"
        hosts = dict.fromkeys([*local_addresses(host), loopback])
        expanded += [replace(listener, address=(each, port)) for each in hosts]
    return expanded


def open_tcp_socket(address: Address) -> socket.socket:
    """A listening TCP socket bound to `address`. Raises OSError, and ValueError for an address that is none."""
    sock = socket.socket(family_of(address[0]), socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if os.name == "posix":  # elsewhere the option lets two servers have one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(to_sockaddr(address))
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def open_pair(address: Address, *, udp: bool, tcp: bool) -> tuple[socket.socket | None, socket.socket | None]:
    """Sockets for UDP and TCP on `address`; with port 0 both get the same free port. Raises as `open_tcp_socket`."""
    if not (udp and tcp):
        return (open_udp_socket(address) if udp else None), (open_tcp_socket(address) if tcp else None)
    for attempt in range(PORT_TRIES):
        udp_socket = open_udp_socket(address)
        try:
            return udp_socket, open_tcp_socket((address[0], bound_address(udp_socket)[1]))
        except OSError as error:
            udp_socket.close()
            if address[1] != 0 or error.errno not in _IN_USE or attempt == PORT_TRIES - 1:
                raise
    raise AssertionError("unreachable")


def open_all(listeners: Iterable[Listener]) -> list[Opened]:
    """The sockets of all listeners, or, when one cannot be had, none and an OSError that names it."""
    opened: list[Opened] = []
    try:
        for listener in listeners:
            host, port = listener.address
            try:
                pair = open_pair(listener.address, udp=listener.udp, tcp=listener.tcp)
            except OSError as error:
                where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
                raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
            opened.append(Opened(listener, *pair))
    except BaseException:
        for each in opened:
            each.close()
        raise
    return opened
