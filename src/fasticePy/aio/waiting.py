"""What coroutines wait on: a signal, and logs of what happened that any number of readers follow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Signal:
    """Wakes all who wait; they look for themselves whether what they wait for is there."""

    __slots__ = ("_waiters",)

    def __init__(self) -> None:
        self._waiters: tuple[asyncio.Future[None], ...] = ()  # few, and nearly always none

    def notify(self) -> None:
        """Wake all who wait now."""
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Return at the next `notify`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters += (waiter,)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters = tuple(each for each in self._waiters if each is not waiter)

    async def wait_for(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Return when `condition()` is true, which is looked at now and at each `notify`. False when
        `timeout` (seconds) ends first."""
        expired = False

        def expire() -> None:
            nonlocal expired
            expired = True
            self.notify()

        timer = None if timeout is None else asyncio.get_running_loop().call_later(timeout, expire)
        try:
            while not condition():
                if expired:
                    return False
                await self.wait()
        finally:
            if timer is not None:
                timer.cancel()
        return True


class Log(Generic[T]):
    """Things that happened one after the other. It keeps the latest `limit` of them for those who read
    slowly."""

    __slots__ = ("_entries", "_limit", "_signal", "count", "ended")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: list[T] = []
        self._signal = Signal()
        self.count = 0
        """How many there have been."""
        self.ended = False

    def append(self, entry: T) -> None:
        """It happened."""
        self._entries.append(entry)
        del self._entries[: -self._limit]
        self.count += 1
        self._signal.notify()

    def end(self) -> None:
        """Nothing more will happen."""
        self.ended = True
        self._signal.notify()

    def kept(self) -> tuple[T, ...]:
        """The entries that are still there, oldest first."""
        return tuple(self._entries)

    def follow(self, start: int = 0) -> AsyncIterator[T]:
        """From entry number `start` on (as far as it is still kept) to the end."""
        return _Reader(self, start)

    async def read(self, position: int) -> tuple[T, int]:
        """The entry at `position`, or the oldest one kept after it, and the position behind it. Raises
        StopAsyncIteration when there will be none."""
        await self._signal.wait_for(lambda: position < self.count or self.ended)
        if position >= self.count:
            raise StopAsyncIteration
        position = max(position, self.count - len(self._entries))
        return self._entries[position - self.count], position + 1


class _Reader(AsyncIterator[T]):
    """One reader of a log. Leaving it alone at any moment is fine."""

    __slots__ = ("_log", "_position")

    def __init__(self, log: Log[T], position: int) -> None:
        self._log = log
        self._position = position

    async def __anext__(self) -> T:
        entry, self._position = await self._log.read(self._position)
        return entry
