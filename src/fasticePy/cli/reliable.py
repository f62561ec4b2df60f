"""A byte stream over datagrams that may be lost, doubled or reordered: what `fasticepy connect` pipes through.

Chunks are numbered, acknowledged selectively and sent again when they were lost; the receiver says how much more it
can take; the end of the input is a chunk of its own. It is a sans-IO machine: datagrams and time in, datagrams out.
It stands in for the transport (DTLS and SCTP, QUIC, ...) that a program would run over an ICE pair, in few lines.

Frames start with a byte from 192..255, which no protocol that shares a port with STUN uses (RFC 7983 7).
"""

from __future__ import annotations

import struct
from collections import deque
from dataclasses import dataclass

CHUNK = 1100
"""Bytes of data in one datagram: with our header and IPv6 they fit every path."""
WINDOW = 64
"""Chunks on their way at once, at most."""
BUFFER_LIMIT = 1 << 18
"""Bytes that wait to be sent (see `writable`) or to be read, at most."""
RTO_FIRST, RTO_MIN, RTO_MAX = 0.5, 0.1, 3.0
"""Retransmission timeout in seconds: before a round trip was measured, at least, at most."""
LINGER = 1.0
"""How long the side that has everything stays to answer retransmissions, in seconds."""

_MAGIC = 0xF1
_DATA, _FIN, _ACK, _BYE, _RESET = range(1, 6)
_HEADER = struct.Struct("!BBI")
_ACK_FRAME = struct.Struct("!BBIHQ")


@dataclass(slots=True)
class _Flight:
    """A chunk that was sent and is not acknowledged."""

    frame: bytes
    sent_at: float
    sends: int = 1


class ReliableStream:
    """One end of the stream. Write and read bytes at the top, move datagrams and time at the bottom."""

    def __init__(self) -> None:
        self.reset = False
        """The other side ended without finishing."""
        self._datagrams: list[bytes] = []
        # sending
        self._unsent: deque[bytes] = deque()
        self._unsent_bytes = 0
        self._input_ended = False
        self._fin_sent = False
        self._next = 0
        self._edge = WINDOW
        self._flights: dict[int, _Flight] = {}
        self._congestion = 10.0
        self._threshold = float(WINDOW)
        self._recover_until = 0
        self._srtt: float | None = None
        self._rttvar = 0.0
        self._backoff = 1
        self._probe_at: float | None = None
        # receiving
        self._expected = 0
        self._early: dict[int, bytes | None] = {}
        self._ready: deque[bytes] = deque()
        self._ready_bytes = 0
        self._peer_ended = False
        self._ack_due = False
        # ending
        self._linger_until: float | None = None
        self._bye_received = False

    # -- the top

    @property
    def writable(self) -> bool:
        """Whether more should be written now; what is written regardless waits in memory."""
        return self._unsent_bytes < BUFFER_LIMIT and not self._input_ended

    @property
    def at_eof(self) -> bool:
        """Everything that the other side wrote was read, and it said that nothing follows."""
        return self._peer_ended and not self._ready

    @property
    def closed(self) -> bool:
        """Both directions have ended and arrived whole, or the other side was reset: the machine is done."""
        return self.reset or (self._linger_until is not None and self._bye_received)

    @property
    def finished(self) -> bool:
        """Everything that was written arrived, and the other side's end of input came."""
        return self._fin_sent and not self._flights and self._peer_ended

    def write(self, data: bytes, now: float) -> None:
        """Send bytes. Nothing may be written after `write_eof`."""
        if self._input_ended:
            raise ValueError("the stream was ended by write_eof")
        for start in range(0, len(data), CHUNK):
            self._unsent.append(data[start : start + CHUNK])
        self._unsent_bytes += len(data)
        self._pump(now)

    def write_eof(self, now: float) -> None:
        """Tell the other side that nothing follows."""
        self._input_ended = True
        self._pump(now)

    def read(self) -> bytes:
        """What has arrived in order since the last call; empty when nothing has."""
        full = self._room() == 0
        data = b"".join(self._ready)
        self._ready.clear()
        self._ready_bytes = 0
        if full:
            self._ack_due = True  # the other side waits to hear that there is room again
        return data

    def abort(self) -> None:
        """End at once and tell the other side, which sees `reset`."""
        if not self.closed:
            self._datagrams.append(_HEADER.pack(_MAGIC, _RESET, 0))

    # -- the bottom

    def datagram_received(self, data: bytes, now: float) -> None:
        """Take one datagram; what is not one of ours is ignored."""
        if len(data) < _HEADER.size or data[0] != _MAGIC:
            return
        _, kind, number = _HEADER.unpack_from(data)
        if kind == _DATA and _HEADER.size < len(data) <= _HEADER.size + CHUNK:
            self._receive_chunk(number, data[_HEADER.size :])
        elif kind == _FIN:
            self._receive_chunk(number, None)
        elif kind == _ACK and len(data) == _ACK_FRAME.size:
            _, _, expected, room, early = _ACK_FRAME.unpack(data)
            self._receive_ack(expected, room, early, now)
        elif kind == _BYE:
            self._receive_bye()
        elif kind == _RESET and not self._bye_received:
            self.reset = True
        self._pump(now)

    def handle_timer(self, now: float) -> None:
        """Send again what was not acknowledged in time; end the wait for late retransmissions."""
        if self._linger_until is not None and now >= self._linger_until:
            self._bye_received = True
            return
        if self._flights:
            number, flight = min(self._flights.items(), key=lambda item: item[1].sent_at)
            if now >= flight.sent_at + self._timeout():
                self._backoff = min(self._backoff * 2, 64)
                self._threshold = max(self._congestion / 2, 2.0)
                self._congestion = 1.0
                self._send_again(number, now)
        elif self._probe_at is not None and now >= self._probe_at:
            self._probe_at = None
            self._edge = self._next + 1  # one chunk more than allowed: its acknowledgement tells the room
        self._pump(now)

    def next_timer(self) -> float | None:
        """When `handle_timer` is wanted next (seconds); None when nothing is pending."""
        if self.closed:
            return None
        if self._flights:
            return min(flight.sent_at for flight in self._flights.values()) + self._timeout()
        return self._probe_at if self._linger_until is None else self._linger_until

    def take_datagrams(self) -> list[bytes]:
        """The datagrams to send since the last call."""
        taken = self._datagrams
        self._datagrams = []
        if self._ack_due:
            self._ack_due = False
            taken.append(self._acknowledgement())
        return taken

    # -- sending

    def _pump(self, now: float) -> None:
        """Send what the windows allow."""
        limit = min(self._congestion, WINDOW)
        while self._unsent and len(self._flights) < limit and self._next < self._edge:
            chunk = self._unsent.popleft()
            self._unsent_bytes -= len(chunk)
            self._send_new(_DATA, chunk, now)
        if self._input_ended and not self._unsent and not self._fin_sent:
            self._fin_sent = True
            self._send_new(_FIN, b"", now)  # takes no memory over there, so no room is asked for
        blocked = bool(self._unsent) and not self._flights
        if not blocked:
            self._probe_at = None
        elif self._probe_at is None:
            self._probe_at = now + self._timeout()
        if self.finished and self._linger_until is None:
            self._linger_until = now + LINGER
            self._datagrams.append(_HEADER.pack(_MAGIC, _BYE, 0))

    def _send_new(self, kind: int, chunk: bytes, now: float) -> None:
        frame = _HEADER.pack(_MAGIC, kind, self._next) + chunk
        self._flights[self._next] = _Flight(frame, now)
        self._next += 1
        self._datagrams.append(frame)

    def _send_again(self, number: int, now: float) -> None:
        flight = self._flights[number]
        flight.sends += 1
        flight.sent_at = now
        self._datagrams.append(flight.frame)

    def _timeout(self) -> float:
        if self._srtt is None:
            return min(RTO_FIRST * self._backoff, RTO_MAX)
        # RFC 6298 2.3
        return min(max(self._srtt + 4 * self._rttvar, RTO_MIN) * self._backoff, RTO_MAX)

    def _receive_ack(self, expected: int, room: int, early: int, now: float) -> None:
        if expected > self._next:
            return  # acknowledges what was never sent
        self._edge = max(self._edge, expected + min(room, WINDOW))
        arrived = [
            number
            for number in self._flights
            if number < expected or (0 <= number - expected - 1 < 64 and early >> (number - expected - 1) & 1)
        ]
        for number in arrived:
            flight = self._flights.pop(number)
            if flight.sends == 1:  # Karn: nobody knows which send of several was acknowledged
                self._measure(now - flight.sent_at)
            grown = 1.0 if self._congestion < self._threshold else 1.0 / self._congestion
            self._congestion = min(self._congestion + grown, float(WINDOW))
        if arrived:
            self._backoff = 1
            self._recover_losses(max(arrived), now)

    def _recover_losses(self, highest: int, now: float) -> None:
        """Chunks that three later ones have overtaken are lost: send them again without waiting for the timer."""
        lost = [
            number
            for number, flight in self._flights.items()
            if number < highest - 2 and now - flight.sent_at >= (self._srtt or 0.0)
        ]
        if not lost:
            return
        if lost[0] >= self._recover_until:  # once a round trip
            self._recover_until = self._next
            self._congestion = self._threshold = max(self._congestion / 2, 2.0)
        for number in lost:
            self._send_again(number, now)

    def _measure(self, sample: float) -> None:
        if self._srtt is None:
            self._srtt, self._rttvar = sample, sample / 2
            return
        self._rttvar += (abs(self._srtt - sample) - self._rttvar) / 4
        self._srtt += (sample - self._srtt) / 8

    # -- receiving

    def _room(self) -> int:
        return min(max(BUFFER_LIMIT - self._ready_bytes, 0) // CHUNK, WINDOW)

    def _receive_chunk(self, number: int, chunk: bytes | None) -> None:
        self._ack_due = True
        offset = number - self._expected
        if offset < 0 or offset > WINDOW or number in self._early:
            return  # seen before, or from a sender that ignores our window
        if chunk is not None and offset >= self._room():
            return  # told so by the acknowledgement
        self._early[number] = chunk
        while self._expected in self._early:
            chunk = self._early.pop(self._expected)
            self._expected += 1
            if chunk is None:
                self._peer_ended = True
            elif not self._peer_ended:
                self._ready.append(chunk)
                self._ready_bytes += len(chunk)

    def _acknowledgement(self) -> bytes:
        early = 0
        for number in self._early:
            if 0 <= number - self._expected - 1 < 64:
                early |= 1 << (number - self._expected - 1)
        return _ACK_FRAME.pack(_MAGIC, _ACK, self._expected, self._room(), early)

    def _receive_bye(self) -> None:
        """The other side has everything of ours and knows that we have everything of its: trust it only when we do."""
        if self._fin_sent and self._peer_ended:
            self._flights.clear()
            self._bye_received = True
