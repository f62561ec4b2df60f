"""One direction of a link: how long a packet takes, and whether it arrives once, twice or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random


@dataclass(slots=True)
class Link:
    """The conditions in one direction. Change them at any time; packets that are under way keep theirs.

    All probabilities are from 0 to 1, all times in seconds.
    """

    latency: float = 0.005
    jitter: float = 0.0
    """Up to so much more latency, evenly distributed. Alone it never reorders: links are queues."""
    loss: float = 0.0
    duplicate: float = 0.0
    """How likely a packet arrives twice."""
    reorder: float = 0.0
    """How likely a packet is held back, so that later ones overtake it."""
    reorder_delay: float = 0.02
    """For how long it is held back."""
    up: bool = True
    """False: an outage, nothing passes."""
    _free_at: float = field(default=0.0, repr=False, compare=False)

    def copy(self) -> Link:
        """The same conditions for another link."""
        return Link(
            self.latency, self.jitter, self.loss, self.duplicate, self.reorder, self.reorder_delay, self.up
        )

    def arrivals(self, now: float, rng: Random) -> list[float]:
        """When a packet that enters at `now` comes out: once, twice (duplicated), or never (lost)."""
        if not self.up or (self.loss and rng.random() < self.loss):
            return []
        copies = 2 if self.duplicate and rng.random() < self.duplicate else 1
        return [self._arrival(now, rng) for _ in range(copies)]

    def _arrival(self, now: float, rng: Random) -> float:
        at = now + self.latency
        if self.jitter:
            at += self.jitter * rng.random()
        if self.reorder and rng.random() < self.reorder:
            return at + self.reorder_delay
        self._free_at = max(at, self._free_at)
        return self._free_at
