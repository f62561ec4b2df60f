"""Messages among the packets of a capture."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packet_builders import SYN, A, Address, B, ip, tcp, udp

from fasticePy import stun
from fasticePy.cli.capture import Analysis, Finding, Record
from fasticePy.cli.capture import analysis as module
from fasticePy.cli.capture.analysis import read_bytes
from fasticePy.stun import Attribute, ChannelData, MessageBuilder, MessageClass, Method, rfc4571_frame

CLIENT, SERVER = ("192.0.2.1", 5000), ("192.0.2.2", 9999)


def build(method: int = Method.BINDING, kind: int = MessageClass.REQUEST, **attributes: Any) -> bytes:
    builder = MessageBuilder(method, kind, bytes(12))
    for name, value in attributes.items():
        builder.add(Attribute[name], value)
    return builder.build()


BINDING = build()
LONG = build(SOFTWARE="software", USERNAME="user")
CHECK = build(PRIORITY=1)


def analyse(packets: Iterable[bytes]) -> tuple[list[Finding], dict[str, int]]:
    analysis = Analysis()
    found = []
    for number, packet in enumerate(packets, 1):
        found += analysis.record(Record(number, float(number), 101, packet, cut=False))
    return found, dict(analysis.other)


def shown(findings: list[Finding]) -> list[bytes | str]:
    return [finding.problem or finding.data for finding in findings]


# -- UDP


def test_messages_and_other_packets() -> None:
    packets = [
        udp(BINDING),
        ip(bytes(8), 1),
        udp(b"\x80" + bytes(20)),
        udp(b"\x16\xfe\xfd"),
        udp(b""),
        udp(b"\x01abc"),
    ]
    found, other = analyse(packets)
    assert shown(found) == [BINDING]
    assert found[0].packet is not None
    assert (found[0].packet.source, found[0].packet.destination) == (A, B)
    assert found[0].record is not None
    assert found[0].record.number == 1
    assert other == {
        "ICMP": 1,
        "UDP": 1,
        "UDP, empty": 1,
        "UDP, DTLS by the first byte": 1,
        "UDP, RTP or RTCP by the first byte": 1,
    }


def test_what_should_be_a_message_and_is_not() -> None:
    found, _ = analyse([udp(BINDING[:-1]), udp(b"\x00\x01\x00\x05" + BINDING[4:] + bytes(5)), udp(LONG)[:-3]])
    assert [finding.message for finding in found] == [None] * 3
    assert "shorter than a header" in found[0].problem
    assert "length" in found[1].problem
    assert found[2].problem == f"not captured whole: {len(LONG) - 3} bytes are there"


def test_messages_of_rfc_3489() -> None:
    """5389-1: without the cookie, the type and the length must speak for themselves."""
    classic = b"\x00\x01\x00\x08" + bytes(range(16)) + b"\x00\x03\x00\x04\x00\x00\x00\x06"
    found, other = analyse(
        [udp(classic), udp(classic + b"x"), udp(b"\x00\x05" + classic[2:]), udp(classic[:-2] + b"\xff\xff")]
    )
    assert [finding.classic for finding in found] == [True, True]
    assert "3489" in found[0].note
    assert other == {"UDP": 2}
    found, other = analyse([udp(classic[:22] + b"\x00\x05" + classic[24:])])  # the attribute is too long
    assert (found, other) == ([], {"UDP": 1})


def bind(channel: int, *, method: int = Method.CHANNEL_BIND) -> bytes:
    return build(method, CHANNEL_NUMBER=channel, XOR_PEER_ADDRESS=("198.51.100.1", 5))


def test_channel_data_needs_something_that_speaks_for_it() -> None:
    """QUIC begins with the same bytes (RFC 9443)."""
    data = ChannelData.build(0x4001, b"hello")
    padded = data + bytes(3)
    here = {"source": CLIENT, "destination": SERVER}
    back = {"source": SERVER, "destination": CLIENT}
    elsewhere = {"source": CLIENT, "destination": ("192.0.2.3", 9999)}
    found, other = analyse(
        [udp(data, **here), udp(data, A, B), udp(data + bytes(9), A, B), udp(b"\x4f" * 20, A, B)]
    )
    assert shown(found) == [data]
    assert found[0].note == "guessed: its length fits, and so does the port 3478"
    assert other == {"UDP, QUIC by the first byte": 3}
    found, other = analyse(
        [udp(bind(0x4001), **here), udp(padded, **back), udp(data, **here), udp(data, **elsewhere)]
    )
    assert shown(found) == [bind(0x4001), padded, data]
    assert [finding.note for finding in found] == ["", "", ""]
    assert other == {"UDP, QUIC by the first byte": 1}
    found, _ = analyse([udp(build(Method.ALLOCATE), **here), udp(data, **back)])
    assert found[1].note == "guessed: its length fits, and one end is a TURN server"
    indication = build(Method.DATA, MessageClass.INDICATION, DATA=b"x", XOR_PEER_ADDRESS=("198.51.100.1", 5))
    found, _ = analyse([udp(indication, **back), udp(data, source=("192.0.2.9", 1), destination=SERVER)])
    assert len(found) == 2


def test_messages_in_the_data_of_messages() -> None:
    send = build(Method.SEND, MessageClass.INDICATION, DATA=CHECK, XOR_PEER_ADDRESS=("198.51.100.1", 5))
    found, _ = analyse([udp(send), udp(bind(0x4000)), udp(ChannelData.build(0x4000, CHECK))])
    for finding in (found[0], found[2]):
        assert finding.inner is not None
        assert finding.inner.data == CHECK
    assert found[1].inner is None
    nested = CHECK
    for _ in range(10):
        nested = build(Method.SEND, MessageClass.INDICATION, DATA=nested)
    (finding,), _ = analyse([udp(nested)])
    depth = 0
    while finding.inner is not None:
        finding = finding.inner
        depth += 1
    assert depth == module.MAX_DEPTH


def test_what_is_remembered_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_REMEMBERED", 10)
    analysis = Analysis()
    for number in range(50):
        client = ("192.0.2.1", 1000 + number)
        for packet in (
            udp(bind(0x4000 + number), client, (f"198.51.100.{number}", 1)),
            tcp(BINDING, client, B),
        ):
            list(analysis.record(Record(number, None, 101, packet, cut=False)))
    assert len(analysis._channels) == len(analysis._servers) == len(analysis._tcp) == 10


# -- TCP


def stream(
    data: bytes, size: int, *, start: int = 0, source: Address = A, destination: Address = B
) -> list[bytes]:
    return [
        tcp(data[at : at + size], source, destination, sequence=start + at)
        for at in range(0, len(data), size)
    ]


@pytest.mark.parametrize("size", [1, 3, 7, 20, 1000])
def test_every_split_of_a_stream_gives_the_same_messages(size: int) -> None:
    data = BINDING + LONG + ChannelData.build(0x4000, b"hello", stream=True) + CHECK
    found, other = analyse([tcp(sequence=-1, flags=SYN), *stream(data, size)])
    assert shown(found) == [BINDING, LONG, ChannelData.build(0x4000, b"hello"), CHECK]
    assert [finding.note for finding in found] == ["guessed: it begins with a STUN header", "", "", ""]
    assert sum(other.values()) + len({f.record.number for f in found if f.record}) == 1 + len(
        stream(data, size)
    )


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_frames_of_rfc_4571(size: int) -> None:
    frames = [CHECK, b"\x80" + bytes(30), b"", BINDING, b"\x16\xfe\xfd" + bytes(20)]
    found, other = analyse(stream(b"".join(map(rfc4571_frame, frames)), size))
    assert shown(found) == [CHECK, BINDING]
    assert found[0].note == "guessed: it begins with a length and a STUN header (RFC 4571)"
    counted = {kind: count for kind, count in other.items() if kind.startswith("frames")}
    assert counted == {
        "frames over TCP, RTP or RTCP by the first byte": 1,
        "frames over TCP, DTLS by the first byte": 1,
        "frames over TCP, empty": 1,
    }


def test_the_other_direction_tells_the_framing_too() -> None:
    data = ChannelData.build(0x4000, b"hello", stream=True)
    found, _ = analyse([tcp(BINDING, A, B), tcp(data, B, A)])
    assert shown(found) == [BINDING, data[:9]]
    assert found[1].note == "guessed: framed as the other direction is"
    found, _ = analyse(
        [
            tcp(rfc4571_frame(CHECK), A, B),
            tcp(rfc4571_frame(b"\x80" + bytes(20)) + rfc4571_frame(CHECK), B, A),
        ]
    )
    assert shown(found) == [CHECK, CHECK]
    found, other = analyse([tcp(BINDING, A, B), tcp(b"HTTP/1.1 400 Bad", B, A)])
    assert shown(found) == [BINDING]
    assert other == {"TCP, HTTP": 1}


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x16\x03\x01\x02\x00\x01" + bytes(40), "TCP, TLS"),
        (b"GET / HTTP/1.1\r\n", "TCP, HTTP"),
        (b"HTTP/1.1 200 OK\r\n", "TCP, HTTP"),
        (b"SSH-2.0-OpenSSH", "TCP, no STUN"),
        (b"\x00\x01\x00\x00" + bytes(30), "TCP, no STUN"),
    ],
)
@pytest.mark.parametrize("size", [4, 100])
def test_other_streams_are_counted_by_kind(data: bytes, kind: str, size: int) -> None:
    found, other = analyse(stream(data, size))
    assert found == []
    assert other[kind] == sum(other.values()) - other.get("TCP, part of a message", 0)
    assert other[kind] > 0


def test_segments_that_come_twice() -> None:
    found, other = analyse(
        [tcp(BINDING[:8]), tcp(BINDING[:8]), tcp(BINDING[8:], sequence=8), tcp(BINDING), tcp()]
    )
    assert shown(found) == [BINDING]
    assert other == {"TCP, part of a message": 1, "TCP, sent again or too early": 2, "TCP, without data": 1}


def test_nonsense_in_a_stream_ends_it() -> None:
    """So does HTTP behind a message."""
    found, other = analyse([*stream(BINDING + b"\xff" * 10 + BINDING, 100), tcp(BINDING, sequence=50)])
    assert shown(found) == [BINDING, "the stream cannot be read on: a message does not begin with 0xff"]
    assert other == {"TCP, after something that is no message": 1}


def test_a_gap_in_a_stream() -> None:
    packets = [tcp(BINDING), *(tcp(CHECK, sequence=1000 + 28 * number) for number in range(257))]
    found, _ = analyse(packets)
    assert shown(found) == [BINDING, "bytes of the stream are missing before this", *[CHECK] * 257]


def test_a_new_connection_between_the_same_ports() -> None:
    packets = [tcp(b"GET / HTTP/1.1\r\n"), tcp(sequence=7, flags=SYN), tcp(BINDING, sequence=8)]
    found, other = analyse(packets)
    assert shown(found) == [BINDING]
    assert other == {"TCP, HTTP": 1, "TCP, without data": 1}


# -- bytes


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (BINDING, [BINDING]),
        (ChannelData.build(0x4000, b"hello"), [ChannelData.build(0x4000, b"hello")]),
        (ChannelData.build(0x4000, b"hello") + bytes(3), [ChannelData.build(0x4000, b"hello") + bytes(3)]),
        (BINDING + LONG, [BINDING, LONG]),
        (ChannelData.build(0x4000, b"hello", stream=True) * 2, [ChannelData.build(0x4000, b"hello")] * 2),
        (rfc4571_frame(BINDING) + rfc4571_frame(LONG), [BINDING, LONG]),
        (rfc4571_frame(BINDING) + rfc4571_frame(b"x"), [BINDING, "a frame that is no STUN message"]),
        (BINDING + b"\xff", [BINDING, "what follows is no message: a message does not begin with 0xff"]),
        (BINDING + LONG[:9], [BINDING, "what follows is not whole: 9 bytes are there"]),
        (b"", []),
        (b"\x40", []),
        (b"hello", []),
    ],
)
def test_bytes_without_a_packet_around_them(data: bytes, expected: list[bytes | str]) -> None:
    assert shown(read_bytes(data)) == expected


def test_a_message_that_is_damaged_says_why() -> None:
    (finding,) = read_bytes(LONG[:-1])
    assert finding.message is None
    assert "length" in finding.problem


PIECES = st.sampled_from(
    [BINDING, LONG, CHECK, ChannelData.build(0x4000, b"x"), rfc4571_frame(CHECK), b"GET /", b"\x16\x03"]
)
ANY = st.lists(PIECES | st.binary(max_size=30), max_size=5).map(b"".join)


@given(ANY)
def test_any_bytes_are_read(data: bytes) -> None:
    for finding in read_bytes(data):
        assert bool(finding.problem) == (finding.message is None)


@given(
    st.lists(
        st.tuples(st.booleans(), st.booleans(), ANY, st.integers(-5, 60), st.sampled_from([0x10, 2, 0x12, 4]))
    )
)
def test_any_packets_are_read(packets: list[tuple[bool, bool, bytes, int, int]]) -> None:
    made = []
    for over_tcp, back, data, sequence, flags in packets:
        ends = (B, A) if back else (A, B)
        made.append(tcp(data, *ends, sequence=sequence, flags=flags) if over_tcp else udp(data, *ends))
    found, other = analyse(made)
    assert all(bool(finding.problem) == (finding.message is None) for finding in found)
    assert all(count > 0 for count in other.values())
    assert not any(stun.classify(f.data) == stun.PacketKind.RTP for f in found if f.message is not None)
