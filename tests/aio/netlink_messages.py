"""Messages as the Linux kernel sends them, for the tests."""

from __future__ import annotations

import ipaddress
import struct

NEWLINK, DELLINK, NEWADDR, DELADDR, NEWROUTE, DELROUTE = 16, 17, 20, 21, 24, 25
ERROR, DONE, OVERRUN = 2, 3, 4
UP, LOWER_UP = 0x1, 0x10000
TENTATIVE, DADFAILED, DEPRECATED = 0x40, 0x08, 0x20
REPLACE = 0x100


def message(kind: int, body: bytes, flags: int = 0) -> bytes:
    padding = b"\0" * (-len(body) % 4)
    return struct.pack("=IHHII", 16 + len(body), kind, flags, 0, 0) + body + padding


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def u32(kind: int, value: int) -> bytes:
    return attribute(kind, struct.pack("=I", value))


def link(index: int, name: str, flags: int = UP | LOWER_UP, *, kind: int = NEWLINK, family: int = 0) -> bytes:
    head = struct.pack("=BxHiII", family, 1, index, flags, 0)
    return message(kind, head + attribute(3, name.encode() + b"\0") + u32(4, 1500))


def address(
    index: int, text: str, flags: int = 0, *, kind: int = NEWADDR, peer: str = "", long_flags: bool = True
) -> bytes:
    ip = ipaddress.ip_address(text)
    head = struct.pack("=BBBBI", 2 if ip.version == 4 else 10, 24, flags & 0xFF, 0, index)
    far_end = attribute(1, ipaddress.ip_address(peer or text).packed)
    own = attribute(2, ip.packed) if peer or ip.version == 4 else b""
    return message(kind, head + far_end + own + (u32(8, flags) if long_flags else b""))


def route(
    gateway: str,
    *,
    index: int = 3,
    bits: int = 0,
    kind: int = NEWROUTE,
    table: int = 254,
    priority: int = 0,
    replaces: bool = False,
    route_type: int = 1,
    flags: int = 0,
) -> bytes:
    ip = ipaddress.ip_address(gateway)
    family = 2 if ip.version == 4 else 10
    head = struct.pack("=BBBBBBBBI", family, bits, 0, 0, min(table, 252), 3, 0, route_type, flags)
    attributes = (
        u32(15, table) + attribute(5, ip.packed) + u32(6, priority) + (u32(4, index) if index else b"")
    )
    return message(kind, head + attributes, REPLACE if replaces else 0)
