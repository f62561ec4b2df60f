"""Layers of captured packets."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packet_builders import A6, ACK, B6, RST, SYN, A, B, ethernet, ip, tcp, udp

from fasticePy.cli.capture.packets import Packet, dissect

RAW = 101
DATAGRAM = Packet(A, B, b"hello", cut=False)
DATAGRAM6 = Packet(A6, B6, b"hello", cut=False)


@pytest.mark.parametrize(
    ("link", "prefix"),
    [
        (0, struct.pack("<I", 2)),
        (0, struct.pack(">I", 2)),
        (1, bytes(12) + b"\x08\x00"),
        (1, bytes(12) + b"\x81\x00\x00\x07\x08\x00"),
        (1, bytes(12) + b"\x88\xa8\x00\x07\x81\x00\x00\x07\x08\x00"),
        (12, b""),
        (14, b""),
        (101, b""),
        (108, struct.pack(">I", 2)),
        (113, bytes(14) + b"\x08\x00"),
        (228, b""),
        (276, b"\x08\x00" + bytes(18)),
    ],
)
def test_a_datagram_behind_every_link_layer(link: int, prefix: bytes) -> None:
    assert dissect(link, prefix + udp(b"hello")) == DATAGRAM


@pytest.mark.parametrize(
    ("link", "prefix"),
    [(0, struct.pack("<I", family)) for family in (10, 24, 28, 30)]
    + [
        (1, bytes(12) + b"\x86\xdd"),
        (101, b""),
        (229, b""),
        (113, bytes(14) + b"\x86\xdd"),
        (276, b"\x86\xdd" + bytes(18)),
    ],
)
def test_ipv6_behind_every_link_layer(link: int, prefix: bytes) -> None:
    assert dissect(link, prefix + udp(b"hello", A6, B6)) == DATAGRAM6


def test_padding_of_the_frame_is_no_data() -> None:
    assert dissect(1, ethernet(udp(b"hello")) + bytes(20)) == DATAGRAM
    assert dissect(1, ethernet(udp(b"hello", A6, B6)) + bytes(20)) == DATAGRAM6


def test_a_datagram_that_was_not_captured_whole() -> None:
    assert dissect(RAW, udp(b"hello")[:-2]) == Packet(A, B, b"hel", cut=True)
    assert dissect(RAW, udp(b"hello", A6, B6)[:-2]) == Packet(A6, B6, b"hel", cut=True)
    assert dissect(RAW, udp(b"hello", size=50)) == Packet(A, B, b"hello", cut=True)


def test_lengths_that_the_network_card_would_have_filled_in() -> None:
    packet = bytearray(udp(b"hello", size=0))
    packet[2:4] = b"\0\0"
    assert dissect(RAW, bytes(packet)) == DATAGRAM
    packet = bytearray(udp(b"hello", A6, B6, size=0))
    packet[4:6] = b"\0\0"
    assert dissect(RAW, bytes(packet)) == DATAGRAM6


def test_a_segment() -> None:
    packet = dissect(RAW, tcp(b"hello", sequence=0xFFFFFFFF, flags=SYN | ACK))
    assert packet == Packet(A, B, b"hello", cut=False, sequence=0xFFFFFFFF, syn=True, ack=True)
    packet = dissect(RAW, tcp(flags=RST))
    assert packet == Packet(A, B, b"", cut=False, sequence=0, rst=True)


def test_options_and_extension_headers() -> None:
    plain = udp(b"hello")
    with_options = bytearray(plain[:20] + bytes(8) + plain[20:])
    with_options[0] = 0x47
    with_options[2:4] = struct.pack("!H", len(with_options))
    assert dissect(RAW, bytes(with_options)) == DATAGRAM
    datagram = udp(b"hello", A6, B6)[40:]
    hop_by_hop = bytes([51, 1]) + bytes(14)
    authentication = bytes([60, 4]) + bytes(22)
    destination = bytes([17, 0]) + bytes(6)
    chain = hop_by_hop + authentication + destination + datagram
    assert dissect(RAW, ip(chain, 0, A6[0], B6[0])) == DATAGRAM6


def test_tunnels() -> None:
    assert dissect(RAW, ip(udp(b"hello", A6, B6), 41)) == DATAGRAM6
    assert dissect(RAW, ip(udp(b"hello"), 4, A6[0], B6[0])) == DATAGRAM
    packet = udp(b"hello")
    for _ in range(20):
        packet = ip(packet, 4)
    assert dissect(RAW, packet) == "IP protocol 4"


@pytest.mark.parametrize(
    ("link", "data", "words"),
    [
        (127, b"x", "link type 127"),
        (1, b"", "cut short"),
        (1, bytes(12) + b"\x08\x06" + bytes(28), "ARP"),
        (1, bytes(12) + b"\x12\x34", "Ethernet type 0x1234"),
        (1, bytes(12) + b"\x00\x26", "IEEE 802.3"),
        (1, bytes(12) + b"\x81\x00\x00", "cut short"),
        (1, ethernet(udp(b""), *[0x8100] * 20), "Ethernet type 0x8100"),
        (0, b"\0", "cut short"),
        (0, struct.pack("<I", 7), "loopback family 7"),
        (113, bytes(15), "cut short"),
        (276, bytes(19), "cut short"),
        (RAW, b"", "cut short"),
        (RAW, b"\x10", "IP version 1"),
        (RAW, udp(b"")[:19], "cut short"),
        (RAW, b"\x44" + udp(b"")[1:], "malformed IPv4"),
        (RAW, b"\x4f" + udp(b"")[1:], "cut short"),
        (RAW, udp(b"")[:2] + b"\0\x13" + udp(b"")[4:], "malformed IPv4"),
        (RAW, udp(b"")[:6] + b"\x20\x00" + udp(b"")[8:], "IPv4 fragment"),
        (RAW, udp(b"")[:6] + b"\x00\x10" + udp(b"")[8:], "IPv4 fragment"),
        (228, udp(b"", A6, B6), "IPv6"),
        (RAW, udp(b"", A6, B6)[:39], "cut short"),
        (RAW, ip(bytes(8), 44, A6[0], B6[0]), "IPv6 fragment"),
        (RAW, ip(b"", 0, A6[0], B6[0]), "cut short"),
        (RAW, ip(b"", 59, A6[0], B6[0]), "no next header"),
        (RAW, ip(bytes(8), 1), "ICMP"),
        (RAW, ip(bytes(8), 58, A6[0], B6[0]), "ICMPv6"),
        (RAW, ip(bytes(8), 200), "IP protocol 200"),
        (RAW, ip(bytes(7), 17), "cut short"),
        (RAW, udp(b"", size=7), "malformed UDP"),
        (RAW, ip(bytes(19), 6), "cut short"),
        (RAW, ip(bytes(20), 6), "malformed TCP"),
    ],
)
def test_other_packets_have_a_name(link: int, data: bytes, words: str) -> None:
    result = dissect(link, data)
    if words == "IPv6":  # the family of the packet counts, whatever the link type says
        assert isinstance(result, Packet)
    else:
        assert result == words


@given(
    st.sampled_from([0, 1, 101, 108, 113, 276, 5]),
    st.sampled_from(
        [b"", bytes(12) + b"\x08\x00", b"\x45", b"\x60", struct.pack("<I", 2), udp(b"x"), tcp(b"x")]
    ),
    st.binary(max_size=120),
)
def test_any_bytes_are_a_packet_or_have_a_name(link: int, head: bytes, data: bytes) -> None:
    result = dissect(link, head + data)
    assert result if isinstance(result, str) else isinstance(result, Packet)
