"""Opening a UDP socket the way ICE wants it: one family, non-blocking, from a port range, with roomy
buffers."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import sys

from fasticePy.aio import errqueue
from fasticePy.aio.sockaddr import SockAddr, from_sockaddr, to_sockaddr
from fasticePy.ice.reporting.conclusion import NO_PORT
from fasticePy.machine import Address

BUFFER_SIZE = 512 * 1024
"""Bytes asked for with SO_RCVBUF and SO_SNDBUF: a video key frame, or an event loop busy for a while, fits
in."""

IN_USE = frozenset({errno.EADDRINUSE, getattr(errno, "WSAEADDRINUSE", errno.EADDRINUSE)})
"""What the operating system says of a port that somebody has."""
# ports below 1024 without the right to them; those that Windows keeps for itself
_NOT_ALLOWED = frozenset({errno.EACCES, getattr(errno, "WSAEACCES", errno.EACCES)})


class PortsExhaustedError(OSError):
    """No port of the range is free; the text names the range and tells how many of its ports are in use."""


def open_udp_socket(
    address: Address, *, ports: range | None = None, buffer_size: int = BUFFER_SIZE
) -> socket.socket:
    """A socket bound to `address`, a numeric one. With port 0 and `ports` it gets a free port of that range,
    tried from a random one on; with port 0 alone any port. Raises OSError, `PortsExhaustedError` among them,
    and ValueError for an address that is none.
    """
    sockaddr = to_sockaddr(address)
    family = socket.AF_INET6 if len(sockaddr) == 4 else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    try:
        sock.setblocking(False)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _grow(sock, socket.SO_RCVBUF, buffer_size)
        _grow(sock, socket.SO_SNDBUF, buffer_size)
        errqueue.enable(sock)
        _ignore_unreachable_on_windows(sock)
        bind(sock, sockaddr, ports)
    except BaseException:
        sock.close()
        raise
    return sock


def bind(sock: socket.socket, sockaddr: SockAddr, ports: range | None) -> None:
    """Bind `sock`; with port 0 and `ports` to a free port of that range, tried from a random one on. Raises OSError,
    `PortsExhaustedError` among them."""
    if sockaddr[1] != 0 or ports is None:
        sock.bind(sockaddr)
        return
    if not ports:
        raise PortsExhaustedError("the port range is empty")
    # from a random port on (RFC 6056): a predictable one helps an attacker who cannot see the traffic
    start = int.from_bytes(os.urandom(4), "big") % len(ports)
    refused = 0
    for offset in range(len(ports)):
        port = ports[(start + offset) % len(ports)]
        try:
            sock.bind((sockaddr[0], port, *sockaddr[2:]))
        except OSError as error:
            if error.errno in _NOT_ALLOWED:
                refused += 1
            elif error.errno not in IN_USE:
                raise
        else:
            return
    raise PortsExhaustedError(_exhausted(sockaddr[0], ports, refused))


def _exhausted(host: str, ports: range, refused: int) -> str:
    steps = "" if abs(ports.step) == 1 else f" in steps of {abs(ports.step)}"
    why = (
        f"all {len(ports)} in use" if not refused else f"{len(ports) - refused} in use, {refused} not allowed"
    )
    return f"{NO_PORT} {min(ports)}-{max(ports)}{steps} on {host} ({why})"


def check_ports(ports: range | None) -> range | None:
    """Raise TypeError or ValueError for a port range that is none."""
    if ports is None:
        return None
    if not isinstance(ports, range):
        raise TypeError("ports takes a range: range(40000, 40101) has the ports 40000 to 40100")
    if not ports or min(ports) < 1 or max(ports) > 65535:
        raise ValueError(f"ports: {ports} is empty or has numbers that are no ports")
    return ports


def bound_address(sock: socket.socket) -> Address:
    """Where the socket is bound."""
    return from_sockaddr(sock.getsockname())


def mark(sock: socket.socket, dscp: int | None) -> None:
    """Ask routers to treat what leaves from here as this class (RFC 2474 3). Where the operating system does not allow
    it, nothing is asked."""
    if dscp is None:
        return
    with contextlib.suppress(OSError, AttributeError):  # IPV6_TCLASS: not on every system
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
        else:
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)


def _grow(sock: socket.socket, option: int, size: int) -> None:
    try:
        if sock.getsockopt(socket.SOL_SOCKET, option) < size:
            sock.setsockopt(socket.SOL_SOCKET, option, size)
    except OSError:  # macOS refuses more than its maximum: the default stays
        return


def _ignore_unreachable_on_windows(sock: socket.socket) -> None:
    """Without this an ICMP error makes the next receive on the socket fail there, for every peer."""
    if sys.platform == "win32":
        import ctypes  # noqa: PLC0415 - Windows alone; socket.ioctl does not know these two codes

        off, returned = ctypes.c_ulong(0), ctypes.c_ulong(0)
        for code in (0x9800000C, 0x9800000F):  # SIO_UDP_CONNRESET, SIO_UDP_NETRESET
            ctypes.windll.ws2_32.WSAIoctl(
                sock.fileno(), code, ctypes.byref(off), 4, None, 0, ctypes.byref(returned), None, None
            )
