"""The one surface of every sans-IO machine, and the outbox that a machine shares with its children.

A machine is fed datagrams and time, and answers with transmits, events and the moment at which it wants to be
called again. It never touches a socket, a clock or a source of randomness: a driver (`fasticePy.aio` with real
sockets, `fasticePy.sim` in virtual time) owns those.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

Address: TypeAlias = tuple[str, int]
"""A numeric IP address and a port; an IPv6 link-local address carries its scope (`fe80::1%eth0`)."""

Rng: TypeAlias = Callable[[int], bytes]
"""`rng(n)` gives n random bytes; the runtime injects the operating system's source, tests a seeded one."""


@dataclass(slots=True)
class Transmit:
    """One datagram that the driver sends: from which socket, to whom, what."""

    socket: int
    address: Address
    data: bytes


@dataclass(slots=True, kw_only=True)
class Event:
    """Something that happened in a machine; `at` is the time (seconds, the driver's clock) at which it did."""

    at: float


class Timer:
    """A moment at which a callback runs, as made by `TimerHeap.schedule`."""

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[float], None]) -> None:
        self.at = at
        self.callback: Callable[[float], None] | None = callback

    @property
    def active(self) -> bool:
        """Whether the callback is still to run."""
        return self.callback is not None


class TimerHeap:
    """All timers of a machine and its children. Cancelled ones are dropped lazily, so that cancelling is O(1)."""

    __slots__ = ("_cancelled", "_heap", "_postponed", "_sequence")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Timer]] = []
        self._postponed: list[tuple[float, int, Timer]] = []  # due ones that were made during this run
        self._sequence = 0  # timers of the same moment run in the order in which they were made
        self._cancelled = 0  # an estimate, to know when compacting pays

    def __len__(self) -> int:
        return sum(timer.callback is not None for _, _, timer in self._heap)

    def schedule(self, at: float, callback: Callable[[float], None]) -> Timer:
        """Run `callback(now)` at the first `run(now)` with now >= at (seconds)."""
        timer = Timer(at, callback)
        self._sequence += 1
        heapq.heappush(self._heap, (at, self._sequence, timer))
        return timer

    def cancel(self, timer: Timer | None) -> None:
        """Forget a timer; nothing happens when it is None, has run or was cancelled before."""
        if timer is None or timer.callback is None:
            return
        timer.callback = None
        self._cancelled += 1
        if self._cancelled * 2 > len(self._heap) and self._cancelled > 16:
            self._heap = [entry for entry in self._heap if entry[2].callback is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0

    def postpone(self, timer: Timer, at: float) -> None:
        """Let a timer that has not run yet do so later (seconds). An earlier moment changes nothing. Costs less than
        another timer: its place in the heap is put right when its turn comes."""
        if at > timer.at:  # noqa: PLR1730 - a function call takes longer
            timer.at = at

    def next(self) -> float | None:
        """When the earliest timer is due, or None when there is none."""
        heap = self._heap
        while heap:
            at, number, timer = heap[0]
            if timer.callback is None:
                heapq.heappop(heap)
                self._cancelled = max(0, self._cancelled - 1)
            elif timer.at > at:
                heapq.heapreplace(heap, (timer.at, number, timer))
            else:
                return at
        return None

    def run(self, now: float) -> None:
        """Run every timer due at `now`. A timer made meanwhile waits for the next call, so a run always ends."""
        last = self._sequence
        try:
            while (at := self.next()) is not None and at <= now:
                entry = heapq.heappop(self._heap)
                if entry[1] > last:
                    self._postponed.append(entry)
                    continue
                timer = entry[2]
                callback, timer.callback = timer.callback, None
                if callback is not None:
                    callback(now)
        finally:
            for entry in self._postponed:
                heapq.heappush(self._heap, entry)
            self._postponed.clear()

    def clear(self) -> None:
        """Cancel everything."""
        for _, _, timer in self._heap + self._postponed:
            timer.callback = None
        self._heap.clear()
        self._cancelled = 0


class Outbox:
    """What a machine has to tell its driver. One per root machine; the children write to the same one."""

    __slots__ = ("counters", "events", "timers", "transmits")

    def __init__(self) -> None:
        self.transmits: list[Transmit] = []
        self.events: list[Event] = []
        self.timers = TimerHeap()
        self.counters: Counter[str] = Counter()

    def send(self, socket: int, address: Address, data: bytes) -> None:
        """Hand one datagram to the driver."""
        self.transmits.append(Transmit(socket, address, data))

    def emit(self, event: Event) -> None:
        """Tell the driver what happened."""
        self.events.append(event)

    def count(self, reason: str) -> None:
        """Count an outcome by its reason, dropped input above all: nothing is silent."""
        self.counters[reason] += 1


class RootMachine:
    """The part of the surface that every root machine has alike: it owns the outbox."""

    def __init__(self) -> None:
        self._outbox = Outbox()

    @property
    def counters(self) -> Counter[str]:
        """How often each counted outcome happened, by reason."""
        return self._outbox.counters

    def handle_timer(self, now: float) -> None:
        """Run what is due at `now` (seconds). Calling it early or late is never wrong."""
        self._outbox.timers.run(now)

    def next_timer(self) -> float | None:
        """When `handle_timer` is wanted next, or None when nothing is pending."""
        return self._outbox.timers.next()

    def take_transmits(self) -> list[Transmit]:
        """The datagrams to send since the last call."""
        taken = self._outbox.transmits
        if not taken:
            return []  # not the outbox's own list, which would fill later in the hands of the driver
        self._outbox.transmits = []
        return taken

    def take_events(self) -> list[Event]:
        """The events since the last call, oldest first."""
        taken = self._outbox.events
        if not taken:
            return []  # not the outbox's own list, which would fill later in the hands of the driver
        self._outbox.events = []
        return taken


class Machine(Protocol):
    """The surface that a driver needs of a root machine."""

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        """Take one datagram; None when it was consumed, else the application data in it."""

    def handle_timer(self, now: float) -> None:
        """Run what is due."""

    def next_timer(self) -> float | None:
        """When to call `handle_timer`."""

    def take_transmits(self) -> list[Transmit]:
        """Swap out the datagrams to send."""
        ...

    def take_events(self) -> list[Event]:
        """Swap out the events."""
        ...

    def close(self, now: float) -> None:
        """End everything; further input is ignored."""
