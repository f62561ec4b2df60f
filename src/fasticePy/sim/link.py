"""One direction of a link: how long a packet takes, and whether it arrives once, twice, damaged or not at all."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from random import Random


@dataclass(slots=True)
class Link:
    """The conditions in one direction. Change them at any time; packets that are under way keep theirs.

    All probabilities are from 0 to 1, all times in seconds. What is not used draws no randomness.
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
    burst: float = 0.0
    """How many packets a loss takes on average (Gilbert and Elliott's model: a good state that loses nothing, a bad
    one that loses all); 0: each packet is lost or not by itself. `loss` is the share that is lost either way."""
    corrupt: float = 0.0
    """How likely a byte of the packet is another one when it arrives (a TCP segment is dropped: its checksum)."""
    rate: float = 0.0
    """Bits per second that the link carries, headers included; 0: any number at once."""
    queue: int = 64_000
    """Bytes that may wait for a link with a `rate`; a packet that finds no room is dropped."""
    _free_at: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _idle_at: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _interrupted_until: float = field(default=-math.inf, init=False, repr=False, compare=False)
    _bad: bool = field(default=False, init=False, repr=False, compare=False)

    def copy(self) -> Link:
        """The same conditions for another link."""
        return replace(self)

    def interrupt(self, until: float) -> None:
        """Let nothing pass before the time `until`, whatever `up` says; interruptions may overlap."""
        self._interrupted_until = max(self._interrupted_until, until)

    def is_full(self, now: float, size: int) -> bool:
        """Whether a packet of `size` bytes finds no room in the queue."""
        if not self.rate:
            return False
        waiting = max(0.0, self._idle_at - now) * self.rate / 8
        return waiting > 0 and waiting + size > self.queue

    def arrivals(self, now: float, rng: Random, size: int = 0) -> list[float]:
        """When a packet of `size` bytes that enters at `now` comes out: once, twice (duplicated), or never
        (lost)."""
        if not self.up or now < self._interrupted_until or self.is_full(now, size):
            return []
        if self.rate:  # it waits for those before it, then it is put on the wire, whatever happens there
            now = self._idle_at = max(now, self._idle_at) + size * 8 / self.rate
        if self.loss and self._loses(rng):
            return []
        copies = 2 if self.duplicate and rng.random() < self.duplicate else 1
        return [self._arrival(now, rng) for _ in range(copies)]

    def damages(self, rng: Random) -> bool:
        """Whether a packet that passes is damaged on the way."""
        return bool(self.corrupt) and rng.random() < self.corrupt

    def _loses(self, rng: Random) -> bool:
        drawn = rng.random()
        if not self.burst or self.loss >= 1:
            return drawn < self.loss
        # The bad state ends with the probability 1 / burst, and begins so often that its share is `loss`. Where
        # that would be more often than always, bursts are longer instead.
        ends = min(1 / max(1.0, self.burst), (1 - self.loss) / self.loss)
        self._bad = drawn >= ends if self._bad else drawn < ends * self.loss / (1 - self.loss)
        return self._bad

    def _arrival(self, now: float, rng: Random) -> float:
        at = now + self.latency
        if self.jitter:
            at += self.jitter * rng.random()
        if self.reorder and rng.random() < self.reorder:
            return at + self.reorder_delay
        self._free_at = max(at, self._free_at)
        return self._free_at


def damaged(data: bytes, rng: Random) -> bytes:
    """The same bytes but for one; what is empty stays so."""
    if not data:
        return data
    place = rng.randrange(len(data))
    return data[:place] + bytes([data[place] ^ rng.randrange(1, 256)]) + data[place + 1 :]
