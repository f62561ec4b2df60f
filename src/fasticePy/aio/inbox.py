"""Datagrams that came before anybody asked for them, in order and within limits."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TypeAlias

from fasticePy.ice import CandidatePair

MAX_DATAGRAMS = 1024
"""Datagrams that wait for the application at most."""
MAX_BYTES = 2 * 1024 * 1024
"""Bytes that wait for the application at most."""

Datagram: TypeAlias = tuple[bytes, int, CandidatePair | None]
"""Application data, its component, and the pair that it came on, noted when it came: when it is read, its socket may
be closed."""


_EMPTY: deque[Datagram] = deque(maxlen=0)  # of all that never had anything, which saves each 760 bytes


class Inbox:
    """A bounded queue. When it is full, what comes last is dropped, as in a socket: a handshake begins with
    what came first."""

    __slots__ = ("_bytes", "_waiters", "closed", "queue")

    def __init__(self) -> None:
        self.queue: deque[Datagram] = _EMPTY
        """What waits, oldest first; for looking at."""
        self.closed = False
        self._bytes = 0
        self._waiters: list[asyncio.Future[None]] = []

    @property
    def awaited(self) -> bool:
        """Whether somebody waits for a datagram."""
        return any(not waiter.done() for waiter in self._waiters)

    def put(self, datagram: Datagram) -> bool:
        """Keep it; False when there is no room."""
        size = len(datagram[0])
        if self.closed or len(self.queue) >= MAX_DATAGRAMS or self._bytes + size > MAX_BYTES:
            return False
        if self.queue is _EMPTY:
            self.queue = deque()
        self.queue.append(datagram)
        self._bytes += size
        if self._waiters:
            self._wake_one()
        return True

    def pop(self) -> Datagram:
        """Take out the oldest one. Raises IndexError when there is none."""
        datagram = self.queue.popleft()
        self._bytes -= len(datagram[0])
        return datagram

    async def get(self, check: Callable[[], None]) -> Datagram:
        """Take out the oldest one, and wait for one if need be: who waited first gets the first. `check()`
        raises when there is nothing to wait for; it is asked before each wait. Being cancelled loses no
        datagram."""
        while not self.queue:
            check()
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if self.queue:
                    self._wake_one()  # we may have been woken for it already
                raise
        return self.pop()

    def wake_all(self) -> None:
        """Let all who wait check again."""
        while self._waiters:
            self._wake_one()

    def close(self) -> None:
        """Forget everything and take nothing more."""
        self.closed = True
        self.queue.clear()
        self._bytes = 0
        self.wake_all()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.pop(0)
            if not waiter.done():
                waiter.set_result(None)
                return
