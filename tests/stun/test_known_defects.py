"""What broke other implementations, shown to ours: parsing of messages, and framing of streams.

Other suites have what else such advisories are about: access tokens (test_access_token), the ICE agent (tests/ice).
"""

from __future__ import annotations

import itertools
import struct
from typing import Any

import pytest

from fasticePy import stun
from fasticePy.stun import (
    Attribute,
    BindingServer,
    ChannelData,
    IntegrityKey,
    MessageBuilder,
    MessageClass,
    Method,
    PacketKind,
    ParseError,
    RequestFailed,
    ResponseReceived,
    StreamDecoder,
    StunAgent,
)

SERVER = ("192.0.2.1", 3478)
ID = bytes(range(12))
KEY = IntegrityKey.short_term("VOkJxbRl1RmTxUk/WvJxBt")


def message(word: int, *attributes: tuple[int, int, bytes], transaction_id: bytes = ID) -> bytes:
    """Attributes as (type, length as told, bytes that are really there)."""
    body = b"".join(struct.pack("!HH", kind, told) + there for kind, told, there in attributes)
    return struct.pack("!HHI", word, len(body), 0x2112A442) + transaction_id + body


@pytest.mark.parametrize("mode", ["stun", "turn", "rfc4571"])
@pytest.mark.parametrize("start", [b"GET", b"POST", b"OPTIONS", b"HEAD", b"PRI"])
def test_http_on_the_port(mode: Any, start: bytes) -> None:
    """CVE-2020-6061, CVE-2020-6062: HTTP on the STUN port ends its own connection, or waits for a bounded frame."""
    request = start + b" / HTTP/1.1\r\nHost: example.org\r\nContent-Length: 99999999999\r\n\r\n" + bytes(3000)
    for cut in range(1, 40):
        decoder = StreamDecoder(mode)
        found, told = [], 0
        for at in range(0, len(request), cut):
            try:
                found += decoder.feed(request[at : at + cut])
            except ParseError:
                told += 1
        # "GE" is a length of 18245 to RFC 4571, and "G" a channel number to TURN: a frame that never ends
        assert found == []
        assert told <= 1
        assert decoder.pending <= len(request)
        assert (told == 1) == (decoder.error is not None)
        assert decoder.error is not None or mode != "stun"


def test_padding_that_we_send_holds_no_memory_of_others() -> None:
    """CVE-2020-4067: whatever was in the memory before, padding is zero: attributes and ChannelData."""
    for size in range(9):
        for _ in range(4):
            dirty = [bytearray(b"\xaa" * length) for length in (24, 28, 32, 40, 64, 512)]
            del dirty
            builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID)
            builder.add(Attribute.DATA, b"\xaa" * size)
            data = builder.build(KEY, fingerprint=True)
            assert data[24 + size : 24 + size + -size % 4] == bytes(-size % 4)
            framed = ChannelData.build(0x4000, b"\xaa" * size, stream=True)
            assert framed[4 + size :] == bytes(-size % 4)


def test_attributes_behind_the_integrity_are_not_acted_on() -> None:
    """coturn ab762f33: LIFETIME and a second peer behind a right MESSAGE-INTEGRITY; MESSAGE-INTEGRITY-SHA256 behind
    MESSAGE-INTEGRITY is known, and no reason for a 420."""
    builder = MessageBuilder(Method.REFRESH, MessageClass.REQUEST, ID)
    builder.add(Attribute.XOR_PEER_ADDRESS, ("192.0.2.9", 9))
    signed = builder.build(KEY, sha256=True)
    extra = struct.pack("!HHI", Attribute.LIFETIME, 4, 3000) + bytes.fromhex("0012000800012b9d5e12a443")
    data = signed[:2] + (len(signed) - 20 + len(extra)).to_bytes(2, "big") + signed[4:] + extra
    found = stun.parse(data)
    assert found.verify_integrity(KEY)
    assert found.get(Attribute.LIFETIME) is None
    assert found.get_all(Attribute.XOR_PEER_ADDRESS) == [("192.0.2.9", 9)]
    assert found.unknown_required({Attribute.XOR_PEER_ADDRESS}) == ()
    assert [kind for kind, _ in found.attributes()] == [0x0012, 0x0008, 0x001C]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 0xFFFB, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF])
def test_lengths_at_which_16_bits_overflow(size: int) -> None:
    """coturn #1837, #1844, #1964: what follows the frame is the next frame, never a part of this one."""
    binding = message(0x0001)
    smuggled = binding * 3
    payload = (smuggled + bytes(size))[:size]
    stream = ChannelData.build(0x4FFF, payload, stream=True) + binding
    expected = [ChannelData.build(0x4FFF, payload), binding]
    assert StreamDecoder("turn").feed(stream) == expected
    for cut in {1, 3, 4, 5, len(stream) // 2, len(stream) - len(binding), len(stream) - 1}:
        decoder = StreamDecoder("turn")
        assert decoder.feed(stream[:cut]) + decoder.feed(stream[cut:]) == expected
    packet = stun.rfc4571_frame(payload) + stun.rfc4571_frame(binding)
    assert StreamDecoder("rfc4571").feed(packet) == [payload, binding]


def malformed() -> list[tuple[int, int, bytes]]:
    """Every attribute that has a form, with every length that is not its own, from 0 to 24 bytes."""
    known = sorted(set(Attribute) - {0x0008, 0x001C, 0x8028})
    return [(kind, size, b"\xff" * (size + -size % 4)) for kind in known for size in range(25)]


@pytest.mark.parametrize("kind", [MessageClass.SUCCESS, MessageClass.ERROR])
def test_malformed_attributes_in_responses(kind: MessageClass) -> None:
    """CVE-2021-37706 (ERROR-CODE below 4 bytes), CVE-2022-23547 (numbers read before their length): a client takes any
    of them, and each request still ends exactly once."""
    word = 0x0101 if kind == MessageClass.SUCCESS else 0x0111
    for attribute in malformed():
        ids = itertools.count(1)
        agent = StunAgent(lambda size, ids=ids: next(ids).to_bytes(size, "big"))
        agent.binding(1, SERVER, 0.0)
        (sent,) = agent.take_transmits()
        answer = message(word, attribute, transaction_id=sent.data[8:20])
        assert agent.datagram_received(1, answer, SERVER, 0.1) is None
        ends = [e for e in agent.take_events() if isinstance(e, (ResponseReceived, RequestFailed))]
        agent.close(0.2)
        ends += [e for e in agent.take_events() if isinstance(e, (ResponseReceived, RequestFailed))]
        assert len(ends) == 1, attribute


def test_malformed_attributes_in_requests() -> None:
    """CVE-2022-23537 and the same: each is answered or dropped, and read as absent where it does not fit."""
    server = BindingServer()
    for attribute in malformed():
        data = message(0x0001, attribute)
        server.datagram_received(1, data, ("198.51.100.1", 5000), 0.0)
        assert len(server.take_transmits()) == 1
        found = stun.parse(data)
        assert attribute[0] in found
        found.get(attribute[0])
        assert found.raw(attribute[0]) == b"\xff" * attribute[1]


@pytest.mark.parametrize("told", [1, 4, 5, 8, 255, 0x7FFF, 0xFFFC, 0xFFFF])
def test_an_attribute_that_ends_behind_the_message(told: int) -> None:
    """CVE-2022-23547: in first, middle and last place, to server and client."""
    there = (Attribute.SOFTWARE, 4, b"abcd")
    for data in (message(0x0101, (0x0006, told, b"")), message(0x0101, there, (0x0006, told, b""))):
        with pytest.raises(ParseError):
            stun.parse(data)
    agent = StunAgent(bytes)
    agent.binding(1, SERVER, 0.0)
    assert (
        agent.datagram_received(
            1, message(0x0101, (0x0006, told, b""), transaction_id=bytes(12)), SERVER, 0.1
        )
        is None
    )
    assert agent.counters["malformed"] == 1
    server = BindingServer()
    server.datagram_received(1, message(0x0001, (0x0006, told, b"")), SERVER, 0.0)
    assert server.take_transmits() == []
    assert server.counters["malformed"] == 1


@pytest.mark.parametrize("size", [256, 508, 509, 513, 763, 764, 2000, 65528])
def test_long_user_names(size: int) -> None:
    """CVE-2026-25994: a user name of any length is read, up to 763 bytes as one; no buffer has its size."""
    name = "u" * size
    found = stun.parse(message(0x0001, (Attribute.USERNAME, size, name.encode() + bytes(-size % 4))))
    assert found.get(Attribute.USERNAME) == (name if size <= 763 else None)
    assert found.raw(Attribute.USERNAME) == name.encode()


@pytest.mark.parametrize(
    "name", ["%s%n%x", "' OR 1=1 --", "a\0b", "line\nline", "\u202eevil", "{0.__class__}"]
)
def test_names_that_are_code_elsewhere(name: str) -> None:
    """GHSA-4g7c-p5wg-j4hp, GHSA-v8hj-2xx7-xmp5: names are data; what is logged of a message has none of them."""
    builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID)
    builder.add(Attribute.USERNAME, name)
    builder.add(Attribute.REALM, name)
    found = stun.parse(builder.build(KEY))
    assert found.get(Attribute.USERNAME) == found.get(Attribute.REALM) == name
    assert repr(found).isprintable()
    assert name not in repr(found)


def test_a_length_that_hides_bytes_behind_the_integrity() -> None:
    """A header that tells more or less than there is makes it no message: nothing hides behind the integrity."""
    signed = MessageBuilder(Method.BINDING, MessageClass.REQUEST, ID).build(KEY)
    for extra in (4, 8, 24):
        with pytest.raises(ParseError):
            stun.parse(signed + bytes(extra))
        with pytest.raises(ParseError):
            stun.parse(signed[:2] + (len(signed) - 20 - extra).to_bytes(2, "big") + signed[4:])


def test_rtp_and_rtcp_are_never_stun() -> None:
    """Every first byte of RTP and every payload type, RTCP's included, with sequence numbers at all borders, and with
    the magic cookie where STUN has it."""
    cookie = bytes.fromhex("2112a442")
    for first in range(0x80, 0xC0):
        for second in range(256):
            for sequence in (0, 1, 4, 0x2112, 0x7FFF, 0x8000, 0xFFFC, 0xFFFF):
                packet = struct.pack("!BBH", first, second, sequence) + cookie + bytes(12)
                assert not stun.is_stun(packet)
                assert stun.classify(packet) == PacketKind.RTP
    agent = StunAgent(bytes)
    packet = struct.pack("!BBH", 0x80, 0x60, 0) + cookie + bytes(12)
    assert agent.datagram_received(1, packet, SERVER, 0.0) is packet
