"""First-byte demultiplexing, ChannelData, and messages out of TCP streams."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy import stun
from fasticePy.stun import ChannelData, PacketKind, ParseError, StreamDecoder

VECTORS = Path(__file__).resolve().parents[1] / "vectors/test_vectors.json"
STUN_MESSAGES = [
    bytes.fromhex(entry["message_hex"])
    for entry in json.loads(VECTORS.read_text(encoding="utf-8"))
    if "message_hex" in entry
]
LARGEST_STUN = stun.MessageBuilder(1, 0, bytes(12))
LARGEST_STUN.add(stun.Attribute.DATA, bytes(65528))
LARGEST = LARGEST_STUN.build()


# ------------------------------------------------------------------------------------------------------- first byte


@pytest.mark.parametrize("from_turn_server", [True, False])
def test_all_256_first_bytes(from_turn_server: bool) -> None:
    """7983-1: the ranges of RFC 7983 and RFC 9443; ChannelData from a TURN server only, else QUIC."""
    for first in range(256):
        if first <= 3:
            kind = PacketKind.STUN
        elif first <= 15:
            kind = PacketKind.DROP
        elif first <= 19:
            kind = PacketKind.ZRTP
        elif first <= 63:
            kind = PacketKind.DTLS
        elif first <= 79:
            kind = PacketKind.CHANNEL_DATA if from_turn_server else PacketKind.QUIC
        elif 128 <= first <= 191:
            kind = PacketKind.RTP
        else:
            kind = PacketKind.QUIC
        for rest in (b"", bytes(1199)):
            data = bytes([first]) + rest
            assert stun.classify(data, from_turn_server) == kind
            assert stun.classify(memoryview(data), from_turn_server=from_turn_server) == kind
            assert stun.classify(bytearray(data), from_turn_server) == kind


def test_nothing_is_empty() -> None:
    assert stun.classify(b"") == PacketKind.EMPTY
    assert stun.classify(b"\x40") == PacketKind.CHANNEL_DATA
    with pytest.raises(TypeError):
        stun.classify("text")  # type: ignore[arg-type]


@given(st.integers(0, 127), st.booleans(), st.integers(0, 65535), st.binary(max_size=64))
def test_rtp_is_never_stun(payload_type: int, marker: bool, sequence: int, rest: bytes) -> None:
    """Every payload type, sequence number and marker of RTP, and RTCP, stays apart from STUN."""
    packet = bytes([0x80, marker << 7 | payload_type]) + struct.pack("!H", sequence) + rest
    assert stun.classify(packet) == PacketKind.RTP
    assert not stun.is_stun(packet)
    with pytest.raises(ParseError):
        stun.parse(packet)


# ------------------------------------------------------------------------------------------------------ ChannelData


@given(st.integers(0x4000, 0x4FFF), st.binary(max_size=200), st.binary(max_size=7))
def test_channel_data_round_trip(channel: int, payload: bytes, behind: bytes) -> None:
    for stream in (False, True):
        data = ChannelData.build(channel, payload, stream=stream)
        padding = -len(payload) % 4 if stream else 0
        assert data == struct.pack("!HH", channel, len(payload)) + payload + bytes(padding)
        message = ChannelData.parse(data + behind)
        assert message is not None
        assert (message.channel, message.payload) == (channel, payload)
    assert repr(message) == f"<ChannelData channel=0x{channel:04x} {len(payload)} bytes>"


@pytest.mark.parametrize("payload", [b"", b"x", bytes(1200), bytes(65535)])
def test_channel_data_of_every_buffer(payload: bytes) -> None:
    data = ChannelData.build(0x4000, bytearray(payload))
    for given_data in (data, bytearray(data), memoryview(data)):
        message = ChannelData.parse(given_data)
        assert message is not None
        assert message.payload == payload


@given(st.binary(max_size=40))
def test_what_is_no_channel_data(data: bytes) -> None:
    """None for other channels and for a length beyond the datagram, and never an exception."""
    whole = len(data) >= 4 and 0x40 <= data[0] <= 0x4F and int.from_bytes(data[2:4], "big") <= len(data) - 4
    assert (ChannelData.parse(data) is not None) == whole


def test_channel_data_misuse() -> None:
    for channel in (0, 0x3FFF, 0x5000, 0xFFFF, -1):
        with pytest.raises(ValueError, match="channel"):
            ChannelData.build(channel, b"")
    with pytest.raises(ValueError, match="65536"):
        ChannelData.build(0x4000, bytes(65536))
    with pytest.raises(TypeError):
        ChannelData()
    with pytest.raises(TypeError):
        ChannelData.parse("text")  # type: ignore[arg-type]


# ---------------------------------------------------------------------------------------------------------- streams


def frames_of(mode: str) -> tuple[bytes, list[bytes]]:
    """A stream, and the messages in it."""
    if mode == "rfc4571":
        messages = [b"", b"a", *STUN_MESSAGES[:3], b"", bytes(1200)]
        return b"".join(map(stun.rfc4571_frame, messages)), messages
    if mode == "stun":
        return b"".join(STUN_MESSAGES), STUN_MESSAGES
    channel = [ChannelData.build(0x4000 + size, bytes(range(size))) for size in (0, 1, 2, 3, 4, 5)]
    padded = [data + bytes(-len(data) % 4) for data in channel]
    mixed = [message for pair in zip(STUN_MESSAGES, channel, strict=False) for message in pair]
    on_wire = [message for pair in zip(STUN_MESSAGES, padded, strict=False) for message in pair]
    return b"".join(on_wire), mixed


modes = pytest.mark.parametrize("mode", ["stun", "turn", "rfc4571"])


@modes
def test_all_in_one_piece_and_byte_by_byte(mode: Any) -> None:
    """8489-13, 4571-1: no framing but the header's length, or a 16-bit length; any segmentation."""
    stream, messages = frames_of(mode)
    assert StreamDecoder(mode).feed(stream) == messages
    decoder = StreamDecoder(mode)
    assert [message for byte in stream for message in decoder.feed(bytes([byte]))] == messages
    assert (decoder.pending, decoder.error, decoder.mode) == (0, None, mode)


@modes
def test_every_split_point(mode: Any) -> None:
    """8489-13, 4571-1: cut in two anywhere, the messages are the same."""
    stream, messages = frames_of(mode)
    for cut in range(len(stream) + 1):
        decoder = StreamDecoder(mode)
        assert decoder.feed(stream[:cut]) + decoder.feed(memoryview(stream)[cut:]) == messages, cut
        assert decoder.pending == 0


@modes
@given(st.data())
def test_any_segmentation(mode: Any, draw: st.DataObject) -> None:
    """8489-13, 4571-1"""
    stream, messages = frames_of(mode)
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    decoder, found = StreamDecoder(mode), []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += decoder.feed(bytearray(stream[start:end]))
    assert found == messages


def test_the_largest_messages() -> None:
    """4571-1, and the lengths at which 16-bit sums wrapped in others (0xFFFC, 0xFFFF)."""
    packet = bytes(65535)
    assert StreamDecoder("rfc4571").feed(stun.rfc4571_frame(packet) * 2) == [packet] * 2
    with pytest.raises(ValueError, match="65536"):
        stun.rfc4571_frame(bytes(65536))
    assert LARGEST[2:4] == b"\xff\xfc"
    for mode in ("stun", "turn"):
        assert StreamDecoder(mode).feed(LARGEST * 2 + STUN_MESSAGES[0]) == [
            LARGEST,
            LARGEST,
            STUN_MESSAGES[0],
        ]
    for size in (0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF):
        data = ChannelData.build(0x4000, bytes(size))
        wire = ChannelData.build(0x4000, bytes(size), stream=True)
        assert len(wire) == 4 + (size + 3) // 4 * 4
        decoder = StreamDecoder("turn")
        assert decoder.feed(wire[:-1]) == []
        assert decoder.feed(wire[-1:] + STUN_MESSAGES[0]) == [data, STUN_MESSAGES[0]]


NONSENSE = [
    ("stun", b"\x40\x00\x00\x00"),
    ("stun", b"GET / HTTP/1.1\r\n"),
    ("turn", b"POST / HTTP/1.1\r\n"),
    ("turn", b"\x50\x00\x00\x04"),
    ("turn", b"\x80\x60\x00\x01"),
    ("turn", b"\x16\x03\x01\x02\x00\x01\x00"),  # TLS
    ("stun", b"\x00\x01\x00\x01"),
    ("stun", b"\x00\x01\x00\x02"),
    ("turn", b"\x00\x01\xff\xff"),
    ("stun", b"\x00\x01\x00\x00\x21\x12\xa4\x43"),
    ("turn", b"\x00\x01\x00\x00\x00\x00\x00\x00"),
    ("stun", b"\xff"),
]


@pytest.mark.parametrize(("mode", "nonsense"), NONSENSE)
def test_nonsense_ends_a_stream(mode: Any, nonsense: bytes) -> None:
    """It is told once, however it was cut; afterwards nothing is read or kept."""
    for cut in range(len(nonsense) + 1):
        decoder = StreamDecoder(mode)
        told = []
        for piece in (nonsense[:cut], nonsense[cut:]):
            try:
                assert decoder.feed(piece) == []
            except ParseError as error:
                told.append(str(error))
        assert told == [decoder.error]
        assert decoder.feed(STUN_MESSAGES[0]) == []
        assert decoder.pending == 0


@pytest.mark.parametrize(("mode", "nonsense"), NONSENSE)
def test_messages_before_nonsense_are_not_lost(mode: Any, nonsense: bytes) -> None:
    stream, messages = frames_of(mode)
    decoder = StreamDecoder(mode)
    assert decoder.feed(stream + nonsense) == messages
    assert decoder.error is not None
    with pytest.raises(ParseError):
        decoder.feed(b"")
    assert decoder.feed(b"more") == []


@modes
@given(st.binary(max_size=64), st.data())
def test_any_bytes_in_any_pieces(mode: Any, data: bytes, draw: st.DataObject) -> None:
    """Messages or ParseError and nothing else; the pieces make no difference to the messages or the verdict."""
    prefix, _ = frames_of(mode)
    stream = prefix[: draw.draw(st.integers(0, len(prefix)))] + data

    def run(pieces: list[bytes]) -> tuple[list[bytes], str | None]:
        decoder, found = StreamDecoder(mode), []
        for piece in pieces:
            try:
                found += decoder.feed(piece)
            except ParseError:
                assert decoder.error is not None
        return found, decoder.error

    cut = draw.draw(st.integers(0, len(stream)))
    whole = run([stream])
    assert run([stream[:cut], stream[cut:]]) == whole
    assert run([bytes([byte]) for byte in stream]) == whole


@pytest.mark.parametrize("size", [0, 1, 0xFFFC, 0xFFFD, 0xFFFE, 0xFFFF])
def test_what_a_frame_may_hold_back_is_bounded(size: int) -> None:
    """A peer that never finishes a frame costs at most that frame."""
    for mode, head in (("turn", b"\x40\x00"), ("rfc4571", b"")):
        decoder = StreamDecoder(mode)
        total = len(decoder.feed(head + size.to_bytes(2, "big")))
        while decoder.pending + 1 < len(head) + 2 + size:
            chunk = min(1000, len(head) + 2 + size - decoder.pending - 1)
            assert decoder.feed(bytes(chunk)) == []
        assert decoder.pending <= 4 + 0xFFFF
        assert total in {0, 1}


def test_a_limit_of_ones_own() -> None:
    """The header alone is enough to refuse; what fits exactly passes."""
    v1 = STUN_MESSAGES[0]
    assert StreamDecoder("stun", len(v1)).feed(v1) == [v1]
    with pytest.raises(ParseError, match="107 are allowed"):
        StreamDecoder("stun", len(v1) - 1).feed(v1[:8])
    assert StreamDecoder("rfc4571", limit=12).feed(stun.rfc4571_frame(bytes(10))) == [bytes(10)]
    with pytest.raises(ParseError, match="12 are allowed"):
        StreamDecoder("rfc4571", limit=12).feed(b"\0\x0b")
    channel = ChannelData.build(0x4000, b"12345", stream=True)
    assert StreamDecoder("turn", limit=9).feed(channel) == [channel[:9]]
    with pytest.raises(ParseError, match="8 are allowed"):
        StreamDecoder("turn", limit=8).feed(channel)


def test_channel_data_only_where_there_is_an_allocation() -> None:
    """ "GET " reads as ChannelData: a server reads "stun" until an allocation makes channels possible."""
    decoder = StreamDecoder("stun")
    assert decoder.feed(STUN_MESSAGES[0]) == [STUN_MESSAGES[0]]
    decoder.mode = "turn"
    channel = ChannelData.build(0x4000, b"1234", stream=True)
    assert decoder.feed(channel + STUN_MESSAGES[1]) == [channel, STUN_MESSAGES[1]]
    assert StreamDecoder("turn").feed(b"GET / HTTP/1.1\r\n\r\n") == []
    with pytest.raises(ParseError):
        StreamDecoder("stun").feed(b"GET / HTTP/1.1\r\n\r\n")


@pytest.mark.parametrize("mode", ["", "STUN", "tcp"])
def test_modes_that_do_not_exist(mode: Any) -> None:
    with pytest.raises(ValueError, match="one of stun, turn, rfc4571"):
        StreamDecoder(mode)
    decoder = StreamDecoder("stun")
    with pytest.raises(ValueError, match="one of stun, turn, rfc4571"):
        decoder.mode = mode
    assert decoder.mode == "stun"
