"""When changes of the host's network are told: losses at once, what is new when it has settled."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable

from fasticePy.aio.network_view import Change

SETTLE = 0.1
"""Seconds without another change before one is told: duplicate address detection, router advertisements and DHCP bring
addresses one after the other. Losses do not wait."""
MAX_SETTLE = 1.0
"""Seconds that a change waits for others to follow, at most."""
MIN_INTERVAL = 0.2
"""Seconds between two calls at least, whatever happens."""
MAX_REASONS = 3
"""Changes that a reason spells out; of the others it gives the number."""


class Debounce:
    """Calls `fire(reason)`, with the reasons of all changes since the last call: at once for a loss, else when nothing
    was added for `SETTLE` seconds, or after `MAX_SETTLE`; in any case `MIN_INTERVAL` seconds after the last call."""

    __slots__ = (
        "_armed",
        "_due",
        "_fire",
        "_first",
        "_handle",
        "_last",
        "_loop",
        "_more",
        "_reasons",
        "_urgent",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, fire: Callable[[str], None]) -> None:
        self._loop = loop
        self._fire = fire
        self._last = -math.inf
        self._handle: asyncio.TimerHandle | None = None
        self._armed = self._due = self._first = 0.0
        self._reasons: list[str] = []
        self._more = 0
        self._urgent = False

    def add(self, changes: Iterable[Change]) -> None:
        """Something changed."""
        for change in changes:
            self._add(change)

    def cancel(self) -> None:
        """Call no more, until something is added again."""
        self._forget()
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _add(self, change: Change) -> None:
        now = self._loop.time()
        if not self._reasons:
            self._first = now
        if change.reason not in self._reasons:
            if len(self._reasons) < MAX_REASONS:
                self._reasons.append(change.reason)
            else:
                self._more += 1
        if self._urgent:
            return
        self._urgent = change.loss
        wanted = now if change.loss else min(now + SETTLE, self._first + MAX_SETTLE)
        self._due = max(wanted, self._last + MIN_INTERVAL)
        # a timer that is early looks again: cheaper than moving it at each message of a storm
        if self._handle is None or self._due < self._armed:
            self._arm()

    def _arm(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._armed = self._due
        self._handle = self._loop.call_at(self._due, self._elapsed)

    def _elapsed(self) -> None:
        self._handle = None
        if self._armed < self._due:
            self._arm()
            return
        reason = ", ".join(self._reasons) + (f", and {self._more} more" if self._more else "")
        self._forget()
        self._last = self._loop.time()
        self._fire(reason)

    def _forget(self) -> None:
        self._reasons = []
        self._more = 0
        self._urgent = False
