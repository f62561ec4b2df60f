"""The one event loop timer of a sans-IO machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol


class TimedMachine(Protocol):
    """What is needed of a machine."""

    def next_timer(self) -> float | None:
        """When `handle_timer` is wanted."""

    def handle_timer(self, now: float) -> None:
        """Run what is due."""


class MachineTimer:
    """Calls a machine's `handle_timer` when it wants that, in the time of the event loop.

    `after()` is called each time it did, to take out what the machine has to say.
    """

    __slots__ = ("_after", "_handle", "_loop", "_machine")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, machine: TimedMachine, after: Callable[[], None]
    ) -> None:
        self._loop = loop
        self._machine = machine
        self._after = after
        self._handle: asyncio.TimerHandle | None = None

    def follow(self) -> None:
        """The machine may want another moment than before."""
        at = self._machine.next_timer()
        if self._handle is not None and self._handle.when() == at:
            return
        self.cancel()
        if at is not None:
            self._handle = self._loop.call_at(at, self._fired)

    def cancel(self) -> None:
        """Call no more, until `follow` is called again."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fired(self) -> None:
        self._handle = None
        self._machine.handle_timer(self._loop.time())
        self._after()
