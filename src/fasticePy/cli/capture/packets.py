"""What is in a captured packet: link layer, IPv4 and IPv6, UDP and TCP."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from fasticePy.machine import Address

MAX_NESTING = 8
"""Tags, extension headers and tunnels around one packet."""

_IPV4, _IPV6, _VLAN = 0x0800, 0x86DD, frozenset({0x8100, 0x88A8, 0x9100})
_ETHERTYPES = {
    0x0806: "ARP",
    0x8863: "PPPoE",
    0x8864: "PPPoE",
    0x8847: "MPLS",
    0x88CC: "LLDP",
    0x888E: "EAPOL",
}
_TCP, _UDP, _IN_IPV4, _IN_IPV6, _AH = 6, 17, 4, 41, 51
_PROTOCOLS = {1: "ICMP", 2: "IGMP", 47: "GRE", 50: "ESP", 58: "ICMPv6", 132: "SCTP", 136: "UDP-Lite"}
_EXTENSIONS = frozenset({0, 43, 60, 135, 139, 140})  # of IPv6, in units of 8 bytes
_FRAGMENT, _NO_NEXT = 44, 59
_CUT = "cut short"


@dataclass(frozen=True, slots=True)
class Packet:
    """A UDP datagram or a TCP segment."""

    source: Address
    destination: Address
    payload: bytes
    cut: bool
    """Whether some of the payload was not captured."""
    sequence: int | None = None
    """Of a TCP segment; None: it is a datagram."""
    syn: bool = False
    ack: bool = False
    rst: bool = False


Layer: TypeAlias = Packet | str
"""A packet, or what it is instead, in words."""


def dissect(link: int, data: bytes) -> Layer:
    """The datagram or segment in a packet of this LINKTYPE_, or words for what it is instead."""
    reader = _LINKS.get(link)
    return f"link type {link}" if reader is None else reader(data)


# --- link layers


def _ethernet(data: bytes) -> Layer:
    return _CUT if len(data) < 14 else _by_ethertype(_u16(data, 12), data[14:])


def _by_ethertype(kind: int, data: bytes) -> Layer:
    for _ in range(MAX_NESTING):
        if kind not in _VLAN:
            break
        if len(data) < 4:
            return _CUT
        kind, data = _u16(data, 2), data[4:]
    if kind == _IPV4:
        return _ipv4(data)
    if kind == _IPV6:
        return _ipv6(data)
    if kind < 0x0600:
        return "IEEE 802.3"  # a length, not a type
    return _ETHERTYPES.get(kind, f"Ethernet type 0x{kind:04x}")


def _cooked(data: bytes) -> Layer:
    return _CUT if len(data) < 16 else _by_ethertype(_u16(data, 14), data[16:])


def _cooked2(data: bytes) -> Layer:
    return _CUT if len(data) < 20 else _by_ethertype(_u16(data, 0), data[20:])


def _loopback(data: bytes) -> Layer:
    """A family in four bytes of either order, whose number depends on the system."""
    if len(data) < 4:
        return _CUT
    family = min(int.from_bytes(data[:4], "big"), int.from_bytes(data[:4], "little"))
    if family == 2:
        return _ipv4(data[4:])
    return _ipv6(data[4:]) if family in (10, 24, 28, 30) else f"loopback family {family}"


def _raw(data: bytes, nesting: int = 0) -> Layer:
    if not data:
        return _CUT
    version = data[0] >> 4
    if version == 4:
        return _ipv4(data, nesting)
    return _ipv6(data, nesting) if version == 6 else f"IP version {version}"


_LINKS: dict[int, Callable[[bytes], Layer]] = {
    0: _loopback,  # NULL
    1: _ethernet,
    12: _raw,
    14: _raw,
    101: _raw,
    108: _loopback,  # LOOP
    113: _cooked,  # LINUX_SLL
    228: _raw,  # IPV4
    229: _raw,  # IPV6
    276: _cooked2,  # LINUX_SLL2
}


# --- IP


def _ipv4(data: bytes, nesting: int = 0) -> Layer:
    if len(data) < 20:
        return _CUT
    header, size = (data[0] & 15) * 4, _u16(data, 2)
    if data[0] >> 4 != 4 or header < 20:
        return "malformed IPv4"
    if len(data) < header:
        return _CUT
    if _u16(data, 6) & 0x3FFF:
        return "IPv4 fragment"  # not put together again
    size = size or len(data)  # 0: the network card was to cut it
    if size < header:
        return "malformed IPv4"
    source, destination = (str(ipaddress.IPv4Address(data[at : at + 4])) for at in (12, 16))
    return _transport(data[9], data[header:size], size > len(data), source, destination, nesting)


def _ipv6(data: bytes, nesting: int = 0) -> Layer:
    if len(data) < 40:
        return _CUT
    if data[0] >> 4 != 6:
        return "malformed IPv6"
    size, protocol = _u16(data, 4), data[6]
    source, destination = (str(ipaddress.IPv6Address(data[at : at + 16])) for at in (8, 24))
    size = size or len(data) - 40
    rest, cut = data[40 : 40 + size], size > len(data) - 40
    for _ in range(MAX_NESTING):
        if protocol not in _EXTENSIONS and protocol != _AH:
            break
        if len(rest) < 2:
            return _CUT
        length = (rest[1] + 2) * 4 if protocol == _AH else (rest[1] + 1) * 8
        protocol, rest = rest[0], rest[length:]
    if protocol == _FRAGMENT:
        return "IPv6 fragment"
    return _transport(protocol, rest, cut, source, destination, nesting)


def _transport(protocol: int, data: bytes, cut: bool, source: str, destination: str, nesting: int) -> Layer:
    if protocol == _UDP:
        return _udp(data, cut, source, destination)
    if protocol == _TCP:
        return _tcp(data, cut, source, destination)
    if protocol in (_IN_IPV4, _IN_IPV6) and nesting < MAX_NESTING:
        return _raw(data, nesting + 1)
    return _PROTOCOLS.get(protocol, "no next header" if protocol == _NO_NEXT else f"IP protocol {protocol}")


# --- transport


def _udp(data: bytes, cut: bool, source: str, destination: str) -> Layer:
    if len(data) < 8:
        return _CUT
    size = _u16(data, 4) or len(data)
    if size < 8:
        return "malformed UDP"
    return Packet(
        (source, _u16(data, 0)), (destination, _u16(data, 2)), data[8:size], cut or size > len(data)
    )


def _tcp(data: bytes, cut: bool, source: str, destination: str) -> Layer:
    if len(data) < 20:
        return _CUT
    header, flags = (data[12] >> 4) * 4, data[13]
    if header < 20:
        return "malformed TCP"
    return Packet(
        (source, _u16(data, 0)),
        (destination, _u16(data, 2)),
        data[header:],
        cut,
        sequence=int.from_bytes(data[4:8], "big"),
        syn=bool(flags & 0x02),
        ack=bool(flags & 0x10),
        rst=bool(flags & 0x04),
    )


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")
