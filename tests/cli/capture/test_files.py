"""pcap and pcapng, whole and damaged."""

from __future__ import annotations

import io
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packet_builders import block, enhanced, interface, option, pcap, section

from fasticePy.cli.capture import is_capture, read_capture
from fasticePy.errors import ParseError

PACKETS = [b"one", b"", b"three" * 100]


def read(data: bytes) -> list[tuple[float | None, int, bytes]]:
    return [(record.at, record.link, record.data) for record in read_capture(io.BytesIO(data))]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("nano", [False, True])
def test_pcap_of_every_kind(order: str, nano: bool) -> None:
    data = pcap(PACKETS, link=228, order=order, nano=nano)
    assert is_capture(data[:4])
    assert read(data) == [(1000.0, 228, PACKETS[0]), (1000.25, 228, PACKETS[1]), (1000.5, 228, PACKETS[2])]


def test_the_upper_bits_of_the_link_type_say_something_else() -> None:
    data = bytearray(pcap(PACKETS, link=1))
    data[23] = 0x14  # 4 bytes of frame check sequence
    assert {link for _, link, _ in read(bytes(data))} == {1}


@pytest.mark.parametrize("order", "<>")
def test_pcapng(order: str) -> None:
    options = (
        option(9, b"\x09", order) + option(14, struct.pack(f"{order}q", 500), order) + option(0, b"", order)
    )
    data = section(order) + interface(1, order=order) + interface(113, order=order, options=options)
    data += block(0xBAD, b"whatever", order) + block(4, b"names", order)
    data += enhanced(b"first", 1_500_000, order=order) + enhanced(
        b"second", 1_500_000_000, index=1, order=order
    )
    data += block(3, struct.pack(f"{order}I", 6) + b"simple", order)
    data += block(2, struct.pack(f"{order}HHIIII", 0, 9, 0, 2_000_000, 3, 3) + b"old", order)
    assert read(data) == [(1.5, 1, b"first"), (501.5, 113, b"second"), (None, 1, b"simple"), (2.0, 1, b"old")]


def test_sections_have_their_own_byte_order_and_interfaces() -> None:
    data = section("<") + interface(1) + enhanced(b"a") + section(">") + interface(101, order=">")
    data += enhanced(b"b", order=">")
    assert [(link, packet) for _, link, packet in read(data)] == [(1, b"a"), (101, b"b")]


def test_times_in_powers_of_two() -> None:
    data = section() + interface(options=option(9, b"\x8a")) + enhanced(b"x", 2048)
    assert read(data) == [(2.0, 101, b"x")]


def test_packets_that_were_cut_are_marked() -> None:
    data = bytearray(pcap([b"whole", b"cut"]))
    data[-7:-3] = struct.pack("<I", 100)
    assert [record.cut for record in read_capture(io.BytesIO(bytes(data)))] == [False, True]
    simple = section() + interface(snap=4) + block(3, struct.pack("<I", 10) + b"abcd")
    (record,) = read_capture(io.BytesIO(simple))
    assert (record.data, record.cut) == (b"abcd", True)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither pcap nor pcapng"),
        (b"GIF8", "neither pcap nor pcapng"),
        (b"\x1f\x8b\x08\0", "gunzip"),
        (b"\x28\xb5\x2f\xfd", "zstd"),
        (pcap([])[:10], "ends within its header"),
        (pcap([b"abc"])[:-1], "ends within packet 1"),
        (pcap([b"abc"])[:-5], "ends within packet 1"),
        (pcap([b"abc"])[:30], "ends within packet 1"),
        (pcap([]) + struct.pack("<IIII", 0, 0, 0xFFFFFFFF, 0), "packet 1 would have 4294967295 bytes"),
        (section()[:8], "ends within a section header"),
        (section()[:20], "ends within a section header"),
        (section()[:8] + b"abcd" + section()[12:], "byte order"),
        (struct.pack("<III", 0x0A0D0D0A, 12, 0x1A2B3C4D), "12 bytes"),
        (struct.pack("<III", 0x0A0D0D0A, 1 << 30, 0x1A2B3C4D), "1073741824 bytes"),
        (section() + b"\1\0", "ends within a block"),
        (section() + struct.pack("<II", 1, 8), "8 bytes"),
        (section() + struct.pack("<II", 1, 0x7FFFFFFC), "2147483644 bytes"),
        (section() + struct.pack("<II", 1, 100), "ends within a block"),
        (section() + block(1, b"abcd"), "interface is too short"),
        (section() + interface() * 1025, "more than 1024 interfaces"),
        (section() + enhanced(b"abc"), "interface that was not described"),
        (section() + interface() + block(6, b"abcd"), "shorter than its header"),
        (section() + interface() + block(6, struct.pack("<IIIII", 0, 0, 0, 99, 99)), "99 bytes"),
        (section() + interface() + block(3, struct.pack("<I", 99)), "99 bytes"),
        (section() + interface() + block(2, b""), "shorter than its header"),
    ],
)
def test_damage_is_told_in_words(data: bytes, said: str) -> None:
    with pytest.raises(ParseError, match=said):
        read(data)


def test_what_comes_before_the_damage_is_there() -> None:
    records = read_capture(io.BytesIO(pcap([b"abc", b"def"])[:-1]))
    assert next(records).data == b"abc"
    with pytest.raises(ParseError, match="packet 2"):
        next(records)


class Dripping:
    """A pipe that gives one byte at a time."""

    def __init__(self, data: bytes) -> None:
        self.file = io.BytesIO(data)

    def read(self, size: int, /) -> bytes:
        return self.file.read(min(size, 1))


@pytest.mark.parametrize("data", [pcap(PACKETS), section() + interface() + enhanced(b"abc")])
def test_reads_may_be_short(data: bytes) -> None:
    assert [record.data for record in read_capture(Dripping(data))] == [packet for _, _, packet in read(data)]


GOOD = pcap(PACKETS) + b"", section() + interface(options=option(9, b"\xff")) + enhanced(b"x" * 30, 2**63) * 3


@given(
    st.sampled_from(GOOD),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=6),
    st.integers(0, 400),
    st.binary(max_size=40),
)
def test_any_damage_ends_in_words(data: bytes, changes: list[tuple[int, int]], end: int, tail: bytes) -> None:
    damaged = bytearray(data)
    for position, value in changes:
        damaged[position % len(damaged)] = value
    assert outcome(bytes(damaged[:end]) + tail)


@given(st.sampled_from([data[:4] for data in GOOD]), st.binary(max_size=300))
def test_any_bytes_after_the_magic_end_in_words(magic: bytes, data: bytes) -> None:
    assert outcome(magic + data)


def outcome(data: bytes) -> str:
    """What reading came to."""
    try:
        return f"{len(read(data))} packets"
    except ParseError as error:
        return str(error)
