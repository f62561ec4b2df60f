"""STUN, TURN and ChannelData among the packets of a capture, or in bytes that somebody pasted.

What is no message is counted by kind. Where nothing says how a packet is framed, the reason for the guess is kept.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal, TypeAlias

from fasticePy.cli.capture.files import Record
from fasticePy.cli.capture.packets import Packet, dissect
from fasticePy.cli.capture.streams import Flow, Piece, Streams
from fasticePy.errors import ParseError
from fasticePy.machine import Address
from fasticePy.stun import (
    MAGIC_COOKIE,
    Attribute,
    ChannelData,
    Message,
    MessageClass,
    Method,
    PacketKind,
    StreamDecoder,
    classify,
    parse,
)

MAX_REMEMBERED = 10_000
"""Channels, TURN servers and connections of each kind that are remembered; the oldest are forgotten."""
MAX_DEPTH = 3
"""Messages in the data of messages."""

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_HEADER = 20
_CLASSIC_TYPES = frozenset({0x0001, 0x0101, 0x0111, 0x0002, 0x0102, 0x0112})  # RFC 3489 11.1
_TURN_METHODS = frozenset(
    {
        Method.ALLOCATE,
        Method.REFRESH,
        Method.SEND,
        Method.DATA,
        Method.CREATE_PERMISSION,
        Method.CHANNEL_BIND,
        Method.CONNECT,
        Method.CONNECTION_BIND,
        Method.CONNECTION_ATTEMPT,
    }
)
_TURN_PORTS = frozenset({3478, 5349})
_TEXT = (b"GET ", b"HEAD", b"POST", b"PUT ", b"HTTP", b"OPTI", b"CONN", b"DELE", b"PATC")
_KINDS = {
    PacketKind.EMPTY: "empty",
    PacketKind.DTLS: "DTLS by the first byte",
    PacketKind.RTP: "RTP or RTCP by the first byte",
    PacketKind.ZRTP: "ZRTP by the first byte",
    PacketKind.QUIC: "QUIC by the first byte",
    PacketKind.CHANNEL_DATA: "QUIC by the first byte",  # if it was ChannelData we would know
}

Framing: TypeAlias = Literal["turn", "rfc4571"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One message, or why something that should be one is not."""

    message: Message | ChannelData | None
    data: bytes
    """The message as it was found."""
    problem: str = ""
    """What is wrong with it, where `message` is None."""
    note: str = ""
    """Why it was taken for what it is, where that was a guess."""
    classic: bool = False
    """It is of RFC 3489: without the cookie, and with an id of 16 bytes."""
    inner: Finding | None = None
    """The message in its data."""
    record: Record | None = None
    packet: Packet | None = None

    @property
    def payload(self) -> bytes | None:
        """The data that a TURN message carries for somebody else."""
        if isinstance(self.message, ChannelData):
            return self.message.payload
        if isinstance(self.message, Message) and self.message.method in (Method.SEND, Method.DATA):
            data: bytes | None = self.message.get(Attribute.DATA)
            return data
        return None


@dataclass(slots=True)
class _Stream:
    """One direction of a TCP connection, and what it was found to carry."""

    kind: str = ""
    """What it is when it has no messages; "" when it has, or nobody knows yet."""
    decoder: StreamDecoder | None = None
    framing: Framing | None = None
    note: str = ""
    begun: bytes = b""


@dataclass(slots=True)
class Analysis:
    """Finds the messages of one capture. `other` counts the packets without any, by kind."""

    other: Counter[str] = field(default_factory=Counter)
    streams: Streams = field(default_factory=Streams)
    _tcp: dict[Flow, _Stream] = field(default_factory=dict)
    _channels: dict[tuple[Address, Address, int], None] = field(default_factory=dict)
    _servers: dict[Address, None] = field(default_factory=dict)

    def record(self, record: Record) -> Iterator[Finding]:
        """The messages in one packet, and those that it completes."""
        packet = dissect(record.link, record.data)
        if isinstance(packet, str):
            self.other[packet] += 1
            return
        found = self._segment(packet) if packet.sequence is not None else self._datagram(packet)
        for finding in found:
            self._learn(finding, packet)
            yield replace(finding, record=record, packet=packet)

    # --- UDP

    def _datagram(self, packet: Packet) -> Iterator[Finding]:
        data = packet.payload
        finding = read_datagram(data)
        if finding is None:
            finding = self._channel_data(packet)
        if finding is None:
            kind = _KINDS.get(PacketKind(classify(data)))
            self.other[f"UDP, {kind}" if kind else "UDP"] += 1
        elif finding.message is None and packet.cut:
            yield replace(finding, problem=f"not captured whole: {len(data)} bytes are there")
        else:
            yield finding

    def _channel_data(self, packet: Packet) -> Finding | None:
        """By its first byte it might be QUIC as well, so something must speak for ChannelData."""
        data = packet.payload
        message = ChannelData.parse(data) if classify(data) == PacketKind.CHANNEL_DATA else None
        if message is None:
            return None
        ends = (packet.source, packet.destination)
        if (*ends, message.channel) in self._channels:
            return _with_inner(Finding(message, data))
        if len(data) - 4 - len(message.payload) > 3:
            return None
        note = ""
        for end in ends:
            if end in self._servers:
                note = "its length fits, and one end is a TURN server"
            elif end[1] in _TURN_PORTS and not note:
                note = f"its length fits, and so does the port {end[1]}"
        return _with_inner(Finding(message, data, note=f"guessed: {note}")) if note else None

    def _learn(self, finding: Finding, packet: Packet) -> None:
        """What a message tells about those to come."""
        message = finding.message
        if not isinstance(message, Message) or message.method not in _TURN_METHODS:
            return
        asks = message.message_class == MessageClass.REQUEST or message.method == Method.SEND
        client, server = packet.source, packet.destination
        if not asks:
            client, server = server, client
        _remember(self._servers, server)
        channel: int | None = message.get(Attribute.CHANNEL_NUMBER)
        if channel is not None and message.method == Method.CHANNEL_BIND:
            _remember(self._channels, (client, server, channel))
            _remember(self._channels, (server, client, channel))

    # --- TCP

    def _segment(self, packet: Packet) -> Iterator[Finding]:
        flow: Flow = (packet.source, packet.destination)
        back: Flow = (packet.destination, packet.source)
        if packet.syn and not packet.ack:  # a new connection, perhaps between the same ports
            self._tcp.pop(flow, None)
            self._tcp.pop(back, None)
        findings: list[Finding] = []
        pieces = self.streams.segment(packet)
        stream = self._tcp.get(flow)
        if stream is None and pieces:
            stream = self._tcp[flow] = _Stream()
            if len(self._tcp) > MAX_REMEMBERED:
                del self._tcp[next(iter(self._tcp))]
        for piece in pieces:
            assert stream is not None
            if piece.gap:
                if stream.decoder is not None:
                    findings.append(Finding(None, b"", problem="bytes of the stream are missing before this"))
                self._tcp[flow] = stream = _Stream()
            findings += self._stream_data(stream, flow, piece.data)
        if not findings:
            self.other[_kind_of_segment(packet, pieces, stream)] += 1
        yield from findings

    def _stream_data(self, stream: _Stream, flow: Flow, data: bytes) -> list[Finding]:
        if stream.kind or not data:
            return []
        if stream.decoder is not None:
            return self._frames(stream, stream.decoder, data)
        begun = stream.begun + data
        decoder = self._recognise(stream, flow, begun)
        if decoder is None:
            stream.begun = begun[:_HEADER]
            return []
        return self._frames(stream, decoder, begun)

    def _recognise(self, stream: _Stream, flow: Flow, data: bytes) -> StreamDecoder | None:
        """What splits the stream, by its first bytes; None when they are too few, or no messages."""
        source, destination = flow
        other = self._tcp.get((destination, source))
        framing, note = _framing_of(data)
        if framing is None and other is not None and not _is_text(data):
            # what TURN sends begins with one of few bytes; a length may be any
            if other.framing == "rfc4571" or data[0] & 0xF0 == 0x40 or data[0] & 0xC0 == 0:
                framing = other.framing
            note = "framed as the other direction is"
        if framing is None:
            stream.kind = _kind_of_stream(data)
            return None
        stream.framing, stream.note = framing, f"guessed: {note}"
        stream.decoder = StreamDecoder(framing)
        return stream.decoder

    def _frames(self, stream: _Stream, decoder: StreamDecoder, data: bytes) -> list[Finding]:
        problem = ""
        try:
            frames = decoder.feed(data)
            problem = decoder.error or ""
        except ParseError as error:
            frames, problem = [], str(error)
        findings = []
        for frame in frames:
            finding = self._frame(stream, frame)
            if finding is not None:
                findings.append(finding)
        if problem:
            findings.append(Finding(None, b"", problem=f"the stream cannot be read on: {problem}"))
            stream.kind, stream.decoder = "after something that is no message", None
        return findings

    def _frame(self, stream: _Stream, frame: bytes) -> Finding | None:
        finding = read_datagram(frame)
        if finding is None and stream.framing == "turn":
            message = ChannelData.parse(frame)
            finding = _with_inner(Finding(message, frame)) if message is not None else None
        if finding is None:
            kind = _KINDS.get(PacketKind(classify(frame)), "unknown")
            self.other[f"frames over TCP, {kind}"] += 1
            return None
        note, stream.note = stream.note, ""  # once is enough
        return replace(finding, note=note or finding.note)


def read_datagram(data: bytes, depth: int = 0) -> Finding | None:
    """The STUN message that `data` is, or should be; None when there is no sign that it should."""
    if len(data) < 4 or data[0] & 0xC0:
        return None
    if data[4:8] == _COOKIE:
        try:
            return _with_inner(Finding(parse(data), data), depth)
        except ParseError as error:
            return Finding(None, data, problem=str(error))
    if int.from_bytes(data[:2], "big") not in _CLASSIC_TYPES or _HEADER + int.from_bytes(
        data[2:4], "big"
    ) != len(data):
        return None
    try:
        message = parse(data[:4] + _COOKIE + data[8:])
    except ParseError:
        return None
    return Finding(message, data, classic=True, note="guessed: type and length fit a message of RFC 3489")


def read_bytes(data: bytes) -> list[Finding]:
    """The messages in bytes without a packet around them: one message, or a piece of a stream."""
    finding = read_datagram(data)
    if finding is not None and finding.message is not None:
        return [finding]
    if data and data[0] & 0xF0 == 0x40:
        message = ChannelData.parse(data)
        if message is not None and len(data) - 4 - len(message.payload) <= 3:
            return [_with_inner(Finding(message, data))]
    framing, _ = _framing_of(data)
    if framing is None and data and data[0] & 0xF0 == 0x40:
        framing = "turn"
    return (_read_stream(data, framing) if framing is not None else []) or (
        [finding] if finding is not None else []
    )


def _read_stream(data: bytes, framing: Framing) -> list[Finding]:
    decoder = StreamDecoder(framing)
    try:
        frames = decoder.feed(data)
    except ParseError:
        return []
    findings = []
    for frame in frames:
        finding = read_datagram(frame)
        message = ChannelData.parse(frame) if finding is None and framing == "turn" else None
        if message is not None:
            finding = _with_inner(Finding(message, frame))
        findings.append(finding or Finding(None, frame, problem="a frame that is no STUN message"))
    if findings and decoder.error is not None:
        findings.append(Finding(None, b"", problem=f"what follows is no message: {decoder.error}"))
    elif findings and decoder.pending:
        findings.append(
            Finding(None, b"", problem=f"what follows is not whole: {decoder.pending} bytes are there")
        )
    return findings


def _with_inner(finding: Finding, depth: int = 0) -> Finding:
    """The same with the message that its data are, if they are one."""
    payload = finding.payload
    if not payload or depth >= MAX_DEPTH:
        return finding
    inner = read_datagram(payload, depth + 1)
    return finding if inner is None or inner.message is None else replace(finding, inner=inner)


def _framing_of(data: bytes) -> tuple[Framing | None, str]:
    """How a stream that begins so is framed, when that can be told."""
    if len(data) >= 8 and data[0] & 0xC0 == 0 and data[4:8] == _COOKIE:
        return "turn", "it begins with a STUN header"
    if len(data) >= 10 and data[2] & 0xC0 == 0 and data[6:10] == _COOKIE:
        return "rfc4571", "it begins with a length and a STUN header (RFC 4571)"
    return None, ""


def _kind_of_stream(data: bytes) -> str:
    """What a stream is that has no messages; "" when there are too few bytes to tell."""
    if data[0] == 0x16 and (len(data) < 2 or data[1] == 3):
        return "TLS" if len(data) >= 2 else ""
    if _is_text(data):
        return "HTTP" if len(data) >= 4 else ""
    return "no STUN" if len(data) >= 10 else ""


def _kind_of_segment(packet: Packet, pieces: list[Piece], stream: _Stream | None) -> str:
    """What a segment is that completes no message."""
    if stream is not None and stream.kind:
        return f"TCP, {stream.kind}"
    if not packet.payload:
        return "TCP, without data"
    return "TCP, part of a message" if pieces else "TCP, sent again or too early"


def _is_text(data: bytes) -> bool:
    """Whether this begins as HTTP does, for all that is there."""
    return any(data[:4] == word[: len(data)] for word in _TEXT)


def _remember(where: dict, what: object) -> None:  # type: ignore[type-arg]
    where[what] = None
    if len(where) > MAX_REMEMBERED:
        del where[next(iter(where))]
