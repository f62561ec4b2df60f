"""TCP connections of a capture: each direction put in order, as far as the capture has it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from fasticePy.cli.capture.packets import Packet
from fasticePy.machine import Address

MAX_CONNECTIONS = 10_000
"""Connections that are followed; beyond, the one that was silent longest is forgotten."""
MAX_SEGMENTS_AHEAD = 256
"""Segments of one direction that wait for one before them; then what is missing is given up."""
MAX_BYTES_AHEAD = 1 << 24
"""Bytes that wait in all directions together."""

Flow: TypeAlias = "tuple[Address, Address]"
"""From where, to where."""


@dataclass(slots=True)
class Direction:
    """One direction of a connection."""

    expected: int | None = None
    """The next sequence number; None before the first segment."""
    ahead: dict[int, bytes] = field(default_factory=dict)
    """Segments that came too early, by sequence number."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a stream that follow on those before them, unless there is a gap."""

    data: bytes
    gap: bool


class Streams:
    """Follows the TCP connections of a capture. `given_up` counts the gaps, `forgotten` the connections."""

    def __init__(self) -> None:
        self.given_up = 0
        self.forgotten = 0
        self._directions: dict[Flow, Direction] = {}
        self._waiting = 0

    def segment(self, packet: Packet) -> list[Piece]:
        """What a segment adds to its stream, perhaps nothing. A gap comes before the bytes after it."""
        assert packet.sequence is not None
        flow = (packet.source, packet.destination)
        direction = self._direction(flow)
        if packet.rst:
            self._drop(flow)
            return []
        pieces: list[Piece] = []
        sequence = packet.sequence
        if packet.syn:
            self._waiting -= sum(map(len, direction.ahead.values()))
            direction.ahead.clear()
            sequence = (sequence + 1) & 0xFFFFFFFF
            direction.expected = sequence
        if direction.expected is None:
            direction.expected = sequence  # the capture began later than the connection
        self._take(direction, sequence, packet.payload, pieces)
        if packet.cut and packet.payload:
            self._give_up(direction, pieces)
        while len(direction.ahead) > MAX_SEGMENTS_AHEAD or (
            direction.ahead and self._waiting > MAX_BYTES_AHEAD
        ):
            self._give_up(direction, pieces)
        return pieces

    def _direction(self, flow: Flow) -> Direction:
        direction = self._directions.pop(flow, None) or Direction()
        self._directions[flow] = direction  # now the last one
        if len(self._directions) > 2 * MAX_CONNECTIONS:
            self._drop(next(iter(self._directions)))
            self.forgotten += 1
        return direction

    def _drop(self, flow: Flow) -> None:
        direction = self._directions.pop(flow)
        self._waiting -= sum(map(len, direction.ahead.values()))

    def _take(self, direction: Direction, sequence: int, data: bytes, pieces: list[Piece]) -> None:
        assert direction.expected is not None
        if not data:
            return
        early = _distance(direction.expected, sequence)
        if early > 0:
            if len(data) > len(direction.ahead.get(sequence, b"")):
                self._waiting += len(data) - len(direction.ahead.get(sequence, b""))
                direction.ahead[sequence] = data
            return
        fresh = data[-early:]
        if not fresh:
            return  # sent again
        pieces.append(Piece(fresh, gap=False))
        direction.expected = (direction.expected + len(fresh)) & 0xFFFFFFFF
        self._continue(direction, pieces)

    def _continue(self, direction: Direction, pieces: list[Piece]) -> None:
        """Segments that waited for what has come now."""
        while direction.ahead:
            assert direction.expected is not None
            sequence = self._nearest(direction)
            early = _distance(direction.expected, sequence)
            if early > 0:
                return
            data = direction.ahead.pop(sequence)
            self._waiting -= len(data)
            fresh = data[-early:] if early else data
            if fresh:
                pieces.append(Piece(fresh, gap=False))
                direction.expected = (direction.expected + len(fresh)) & 0xFFFFFFFF

    def _give_up(self, direction: Direction, pieces: list[Piece]) -> None:
        """Go on behind what is missing."""
        self.given_up += 1
        pieces.append(Piece(b"", gap=True))
        if direction.ahead:
            direction.expected = self._nearest(direction)
            self._continue(direction, pieces)
        else:
            direction.expected = None

    @staticmethod
    def _nearest(direction: Direction) -> int:
        expected = direction.expected
        assert expected is not None
        return min(direction.ahead, key=lambda sequence: _distance(expected, sequence))


def _distance(expected: int, sequence: int) -> int:
    """How far `sequence` is ahead, negative when it is behind (RFC 9293 3.4)."""
    return ((sequence - expected + 0x80000000) & 0xFFFFFFFF) - 0x80000000
