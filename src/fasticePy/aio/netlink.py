"""rtnetlink: what the Linux kernel tells of links, addresses and default routes (rtnetlink(7)).

`parse` is pure: bytes in, small dataclasses out, and whatever it does not know or cannot read is left out. The
functions below it open the sockets.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

MAX_MESSAGE = 65536
"""Bytes read at once: no message of the kernel is longer."""
MAX_SNAPSHOT = 16 << 20
"""Bytes of a snapshot, at most: some ten thousand interfaces."""
WIDE_ROUTE = {4: 1, 6: 3}
"""Routes to a prefix of so many bits or less count as default routes: VPNs lay two halves of the internet over
the default route, and some networks announce 2000::/3."""


@dataclass(frozen=True, slots=True)
class LinkNews:
    """How an interface is now."""

    index: int
    name: str
    gone: bool
    up: bool
    carrier: bool
    """Always False when the interface is down."""


@dataclass(frozen=True, slots=True)
class AddressNews:
    """How an address of an interface is now."""

    index: int
    address: str
    """Numeric, without scope."""
    gone: bool
    tentative: bool
    """Not confirmed to be unique, or found not to be."""
    deprecated: bool


@dataclass(frozen=True, slots=True)
class RouteNews:
    """A default route that is there now, or is not any more."""

    version: int
    index: int
    """Of its interface; 0 when it has several or none."""
    gateway: str
    """Numeric, or empty."""
    table: int
    priority: int
    gone: bool
    replaces: bool
    """Instead of the one that was there."""


@dataclass(frozen=True, slots=True)
class Lost:
    """Messages were lost."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A dump is complete, or the request was refused."""

    error: int
    """As errno has it, 0 for none."""


News: TypeAlias = LinkNews | AddressNews | RouteNews | Lost | Ended

# linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h; given here because the parser works anywhere
_ERROR, _DONE, _OVERRUN = 2, 3, 4
_NEWLINK, _DELLINK, _GETLINK = 16, 17, 18
_NEWADDR, _DELADDR, _GETADDR = 20, 21, 22
_NEWROUTE, _DELROUTE = 24, 25
_F_REQUEST, _F_DUMP, _F_REPLACE = 0x001, 0x300, 0x100
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_LINK = struct.Struct("=BxHiII")  # family, hardware, index, flags, which of them changed
_ADDRESS = struct.Struct("=BBBBI")  # family, prefix length, flags, scope, index
_ROUTE = struct.Struct(
    "=BBBBBBBBI"
)  # family, bits of target and source, tos, table, protocol, scope, type, flags
_U32 = struct.Struct("=I")
_I32 = struct.Struct("=i")
_ATTRIBUTE_TYPE = 0x3FFF  # without the bits for nested and network byte order
_FAMILIES = {2: (4, 4), 10: (6, 16)}  # AF_INET and AF_INET6 of Linux: version, bytes of an address
_IFF_UP, _IFF_LOWER_UP = 0x1, 0x10000
_IFLA_IFNAME, _IFLA_EXT_MASK = 3, 29
_EXT_SKIP_STATS = 1 << 3
_IFA_ADDRESS, _IFA_LOCAL, _IFA_FLAGS = 1, 2, 8
_IFA_F_DADFAILED, _IFA_F_DEPRECATED, _IFA_F_TENTATIVE = 0x08, 0x20, 0x40
_RTA_OIF, _RTA_GATEWAY, _RTA_PRIORITY, _RTA_TABLE = 4, 5, 6, 15
_RTN_UNICAST = 1
_RTM_F_CLONED = 0x200
_RT_TABLE_LOCAL = 255
# RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV6_IFADDR, _IPV6_ROUTE
_GROUPS = 0x1 | 0x10 | 0x40 | 0x100 | 0x400


def parse(data: bytes) -> list[News]:
    """What the messages in `data` say. Others, and broken ones, are left out; nothing is raised."""
    found: list[News] = []
    for kind, flags, body in _messages(data):
        read = _READERS.get(kind)
        news = read(kind, flags, body) if read is not None else None
        if news is not None:
            found.append(news)
    return found


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    position = 0
    while len(data) - position >= _HEADER.size:
        length, kind, flags, _, _ = _HEADER.unpack_from(data, position)
        if not _HEADER.size <= length <= len(data) - position:
            return
        yield kind, flags, data[position + _HEADER.size : position + length]
        position += _aligned(length)


def _attributes(body: bytes, position: int) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    while len(body) - position >= _ATTRIBUTE.size:
        length, kind = _ATTRIBUTE.unpack_from(body, position)
        if not _ATTRIBUTE.size <= length <= len(body) - position:
            break
        found.setdefault(kind & _ATTRIBUTE_TYPE, body[position + _ATTRIBUTE.size : position + length])
        position += _aligned(length)
    return found


def _aligned(length: int) -> int:
    return (length + 3) & ~3


def _link(kind: int, _flags: int, body: bytes) -> LinkNews | None:
    if len(body) < _LINK.size:
        return None
    family, _, index, flags, _ = _LINK.unpack_from(body)
    if family != 0:  # a bridge telling of one of its ports: leaving it is not the end of the port
        return None
    name = _attributes(body, _LINK.size).get(_IFLA_IFNAME, b"").partition(b"\0")[0]
    up = kind == _NEWLINK and bool(flags & _IFF_UP)
    return LinkNews(
        index=index,
        name=name.decode("utf-8", "replace") or f"interface {index}",
        gone=kind == _DELLINK,
        up=up,
        carrier=up and bool(flags & _IFF_LOWER_UP),
    )


def _address(kind: int, _flags: int, body: bytes) -> AddressNews | None:
    if len(body) < _ADDRESS.size:
        return None
    family, _, flags, _, index = _ADDRESS.unpack_from(body)
    attributes = _attributes(body, _ADDRESS.size)
    # where the two differ, the other one is the far end of a point-to-point link
    address = _ip(family, attributes.get(_IFA_LOCAL) or attributes.get(_IFA_ADDRESS))
    if not address:
        return None
    flags = _u32(attributes.get(_IFA_FLAGS), flags)
    return AddressNews(
        index=index,
        address=address,
        gone=kind == _DELADDR,
        tentative=bool(flags & (_IFA_F_TENTATIVE | _IFA_F_DADFAILED)),
        deprecated=bool(flags & _IFA_F_DEPRECATED),
    )


def _route(kind: int, header_flags: int, body: bytes) -> RouteNews | None:
    if len(body) < _ROUTE.size:
        return None
    family, bits, _, _, table, _, _, route_type, flags = _ROUTE.unpack_from(body)
    version, _ = _FAMILIES.get(family, (0, 0))
    # most routes end here, before their attributes are looked at: a router may have a million of them
    if not version or bits > WIDE_ROUTE[version] or route_type != _RTN_UNICAST or flags & _RTM_F_CLONED:
        return None
    attributes = _attributes(body, _ROUTE.size)
    table = _u32(attributes.get(_RTA_TABLE), table)
    if table == _RT_TABLE_LOCAL:
        return None
    return RouteNews(
        version=version,
        index=_u32(attributes.get(_RTA_OIF), 0),
        gateway=_ip(family, attributes.get(_RTA_GATEWAY)),
        table=table,
        priority=_u32(attributes.get(_RTA_PRIORITY), 0),
        gone=kind == _DELROUTE,
        replaces=bool(header_flags & _F_REPLACE),
    )


def _lost(_kind: int, _flags: int, _body: bytes) -> Lost:
    return Lost()


def _ended(kind: int, _flags: int, body: bytes) -> Ended | None:
    if kind == _DONE:
        return Ended(0)
    if len(body) < _I32.size:
        return None
    (code,) = _I32.unpack_from(body)
    return Ended(-code)


def _u32(value: bytes | None, otherwise: int) -> int:
    if value is None or len(value) < _U32.size:
        return otherwise
    number: int = _U32.unpack_from(value)[0]
    return number


def _ip(family: int, value: bytes | None) -> str:
    _, size = _FAMILIES.get(family, (0, -1))
    return str(ipaddress.ip_address(value)) if value is not None and len(value) == size else ""


_READERS: dict[int, Callable[[int, int, bytes], News | None]] = {
    _NEWLINK: _link,
    _DELLINK: _link,
    _NEWADDR: _address,
    _DELADDR: _address,
    _NEWROUTE: _route,
    _DELROUTE: _route,
    _OVERRUN: _lost,
    _ERROR: _ended,
    _DONE: _ended,
}


# -- sockets
# ---------------------------------------------------------------------------------------------------------------


def open_socket(groups: int = _GROUPS) -> socket.socket:
    """A non-blocking socket that hears of every change of links, addresses and routes. Raises OSError where that
    cannot be had: other systems, Android, some sandboxes."""
    if not hasattr(socket, "AF_NETLINK"):
        raise OSError("there is no netlink on this system")
    sock = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)  # NETLINK_ROUTE
    try:
        sock.setblocking(False)
        sock.bind((0, groups))
    except OSError:
        sock.close()
        raise
    return sock


def receive(sock: socket.socket) -> list[News] | None:
    """The news of one read, or None when there is nothing to read. Raises OSError; ENOBUFS means that the kernel had
    more to say than the socket could hold."""
    try:
        data, sender = sock.recvfrom(MAX_MESSAGE)
    except (BlockingIOError, InterruptedError):
        return None
    return parse(data) if sender[0] == 0 else []  # other processes have no business here


def snapshot() -> list[News]:
    """All links and addresses of now. Raises OSError. The kernel answers within the calls: nothing blocks."""
    # not RTM_GETROUTE: a router has a million of them, and no filter for the default ones
    links = _LINK.pack(0, 0, 0, 0, 0) + _ATTRIBUTE.pack(8, _IFLA_EXT_MASK) + _U32.pack(_EXT_SKIP_STATS)
    with open_socket(0) as sock:
        return [*_dump(sock, _GETLINK, links), *_dump(sock, _GETADDR, _ADDRESS.pack(0, 0, 0, 0, 0))]


def _dump(sock: socket.socket, kind: int, body: bytes) -> list[News]:
    sock.send(_HEADER.pack(_HEADER.size + len(body), kind, _F_REQUEST | _F_DUMP, 1, 0) + body)
    found: list[News] = []
    for _ in range(MAX_SNAPSHOT // MAX_MESSAGE):
        news = receive(sock)
        if news is None:
            break
        for entry in news:
            if not isinstance(entry, Ended):
                found.append(entry)
            elif entry.error:
                raise OSError(entry.error, os.strerror(entry.error))
            else:
                return found
    raise OSError("the kernel did not answer in full")
