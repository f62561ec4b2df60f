"""Datagrams that came before anybody asked for them, in order and within limits."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from fasticePy.aio.waiting import Signal
from fasticePy.machine import Address

MAX_DATAGRAMS = 1024
"""Datagrams that wait for the application at most."""
MAX_BYTES = 2 * 1024 * 1024
"""Bytes that wait for the application at most."""


class Datagram(NamedTuple):
    """Application data, and where it came in."""

    data: bytes
    socket: int
    address: Address


class Inbox:
    """A bounded queue. When it is full, what comes last is dropped, as in a socket: a handshake begins with
    what came first."""

    __slots__ = ("_bytes", "_queue", "closed", "signal")

    def __init__(self) -> None:
        self._queue: deque[Datagram] = deque()
        self._bytes = 0
        self.signal = Signal()
        self.closed = False

    def __len__(self) -> int:
        return len(self._queue)

    def put(self, datagram: Datagram) -> bool:
        """Keep it; False when there is no room."""
        size = len(datagram.data)
        if self.closed or len(self._queue) >= MAX_DATAGRAMS or self._bytes + size > MAX_BYTES:
            return False
        self._queue.append(datagram)
        self._bytes += size
        if self.signal.awaited:
            self.signal.notify()
        return True

    def pop(self) -> Datagram:
        """Take out the oldest one. Raises IndexError when there is none."""
        datagram = self._queue.popleft()
        self._bytes -= len(datagram.data)
        return datagram

    def close(self) -> None:
        """Forget everything and take nothing more."""
        self.closed = True
        self._queue.clear()
        self._bytes = 0
        self.signal.notify()
