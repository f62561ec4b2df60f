"""Opening TCP sockets the way ICE-TCP wants them (RFC 6544): one family, non-blocking, from a port range, and such that
connections can leave from the port of a listener."""

from __future__ import annotations

import contextlib
import os
import socket

from fasticePy.aio.sockaddr import to_sockaddr
from fasticePy.aio.udp_socket import PortsExhaustedError, bind
from fasticePy.machine import Address

BACKLOG = 128
"""Connections that wait for `accept`, at most; the operating system may allow fewer."""

_REUSE_PORT: int | None = getattr(socket, "SO_REUSEPORT", None)  # Windows has none


def open_listener(address: Address, *, ports: range | None = None) -> socket.socket:
    """A listening socket bound to `address`, a numeric one. With port 0 and `ports` it gets a free port of that range.
    Raises OSError, `PortsExhaustedError` among them, and ValueError for an address that is none.

    Connections may leave from its port too: that of a simultaneous open must (RFC 6544 B).
    """
    sock = _open(address)
    try:
        if address[1] and os.name == "posix":  # elsewhere the option lets two listeners have one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _bind(sock, address, ports)
        sock.listen(BACKLOG)
        # after the fact: two listeners on one port would share what comes in, and a taken port would look free
        _share_port(sock)
    except BaseException:
        sock.close()
        raise
    return sock


def open_connection(base: Address, *, ports: range | None = None) -> socket.socket:
    """A socket bound to `base` that can be connected. With port 0 it gets a port that nobody has (RFC 6544 7.1), one
    of `ports` if there is such a range; another port may be that of a listener. Raises what `open_listener` raises."""
    sock = _open(base)
    try:
        if base[1]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            _share_port(sock)
        _bind(sock, base, ports)
    except BaseException:
        sock.close()
        raise
    return sock


def prepare(sock: socket.socket) -> None:
    """The options that every connection has. Raises OSError when it is broken already."""
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # frames are small and late ones worth nothing
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


def _bind(sock: socket.socket, address: Address, ports: range | None) -> None:
    sockaddr = to_sockaddr(address)
    reuse = address[1] == 0 and os.name == "posix"  # elsewhere the option would take ports away from others
    try:
        bind(sock, sockaddr, ports)
    except PortsExhaustedError:
        if not reuse:
            raise
        # connections that are over keep their port for a minute or so (TIME-WAIT): it will do for another peer
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bind(sock, sockaddr, ports)
    else:
        if reuse:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # this is why it will


def _open(address: Address) -> socket.socket:
    family = socket.AF_INET6 if len(to_sockaddr(address)) == 4 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        prepare(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _share_port(sock: socket.socket) -> None:
    if _REUSE_PORT is not None:
        with contextlib.suppress(OSError):  # a simultaneous open will say what is wrong
            sock.setsockopt(socket.SOL_SOCKET, _REUSE_PORT, 1)
