"""Captures made by hand: packets of every layer, and the files that hold them."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterable

A = ("192.0.2.1", 5000)
B = ("192.0.2.2", 3478)
A6 = ("2001:db8::1", 5000)
B6 = ("2001:db8::2", 3478)
Address = tuple[str, int]

SYN, RST, ACK = 0x02, 0x04, 0x10


def udp(payload: bytes, source: Address = A, destination: Address = B, *, size: int | None = None) -> bytes:
    """An IP packet with a datagram."""
    length = 8 + len(payload) if size is None else size
    return ip(
        struct.pack("!HHHH", source[1], destination[1], length, 0) + payload, 17, source[0], destination[0]
    )


def tcp(
    payload: bytes = b"",
    source: Address = A,
    destination: Address = B,
    *,
    sequence: int = 0,
    flags: int = ACK,
) -> bytes:
    """An IP packet with a segment."""
    header = struct.pack(
        "!HHIIBBHHH", source[1], destination[1], sequence & 0xFFFFFFFF, 0, 0x80, flags, 1000, 0, 0
    )
    return ip(header + bytes(12) + payload, 6, source[0], destination[0])


def ip(payload: bytes, protocol: int, source: str = A[0], destination: str = B[0]) -> bytes:
    """An IPv4 or IPv6 packet."""
    ends = ipaddress.ip_address(source).packed + ipaddress.ip_address(destination).packed
    if len(ends) == 8:
        return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 0, 0, 64, protocol, 0) + ends + payload
    return struct.pack("!IHBB", 0x60000000, len(payload), protocol, 64) + ends + payload


def ethernet(packet: bytes, *tags: int) -> bytes:
    """A frame, with VLAN tags of these types."""
    kind = 0x0800 if packet[:1] and packet[0] >> 4 == 4 else 0x86DD
    return bytes(12) + b"".join(struct.pack("!HH", tag, 7) for tag in tags) + struct.pack("!H", kind) + packet


def pcap(
    packets: Iterable[bytes],
    *,
    link: int = 101,
    order: str = "<",
    nano: bool = False,
    times: Iterable[float] = (),
) -> bytes:
    """A file of the old format."""
    magic, ticks = (0xA1B23C4D, 10**9) if nano else (0xA1B2C3D4, 10**6)
    data = struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    moments = iter(times)
    for number, packet in enumerate(packets):
        at = next(moments, 1000 + number / 4)
        seconds, fraction = int(at), round(at % 1 * ticks)
        data += struct.pack(f"{order}IIII", seconds, fraction, len(packet), len(packet)) + packet
    return data


def block(kind: int, body: bytes, order: str = "<") -> bytes:
    """A block of pcapng."""
    body += bytes(-len(body) % 4)
    size = struct.pack(f"{order}I", 12 + len(body))
    return struct.pack(f"{order}I", kind) + size + body + size


def section(order: str = "<") -> bytes:
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, -1), order)


def interface(link: int = 101, *, snap: int = 0, order: str = "<", options: bytes = b"") -> bytes:
    return block(1, struct.pack(f"{order}HHI", link, 0, snap) + options, order)


def option(code: int, value: bytes, order: str = "<") -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + bytes(-len(value) % 4)


def enhanced(packet: bytes, ticks: int = 1_000_000_000, *, index: int = 0, order: str = "<") -> bytes:
    head = struct.pack(f"{order}IIIII", index, ticks >> 32, ticks & 0xFFFFFFFF, len(packet), len(packet))
    return block(6, head + packet, order)
