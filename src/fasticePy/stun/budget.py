"""How many challenges each source gets: who spoofs addresses finds no amplifier, who guesses passwords no pace."""

from __future__ import annotations

import ipaddress

from fasticePy.machine import Address

CHALLENGES_PER_SECOND = 10.0
"""401 responses per second and source, and so many at once."""
MAX_SOURCES = 16_384
"""Sources that are remembered; the one that was silent longest goes first, and begins anew when it comes back."""


class ChallengeBudget:
    """A bucket for each source: `rate` challenges per second, and as many at once.

    A source is an IPv4 address, or the /64 of an IPv6 address, for everybody at home has that many.
    """

    __slots__ = ("_burst", "_left", "_limit", "_rate")

    def __init__(self, rate: float = CHALLENGES_PER_SECOND, *, limit: int = MAX_SOURCES) -> None:
        """Raises ValueError unless `rate` is more than 0."""
        if not rate > 0:
            raise ValueError("a budget of challenges is more than 0 per second")
        self._rate = rate
        self._burst = max(rate, 1.0)
        self._limit = limit
        self._left: dict[str, tuple[float, float]] = {}  # by source: challenges left, and when that was

    def __len__(self) -> int:
        return len(self._left)

    def take(self, source: Address, now: float) -> bool:
        """Whether there is a challenge left for this source; if so, it is spent."""
        who = _who(source[0])
        left, at = self._left.pop(who, (self._burst, now))
        left = min(self._burst, left + max(0.0, now - at) * self._rate)
        granted = left >= 1
        self._left[who] = (left - 1 if granted else left, now)
        if len(self._left) > self._limit:
            del self._left[next(iter(self._left))]
        return granted


def _who(host: str) -> str:
    if ":" not in host:
        return host
    ip = ipaddress.IPv6Address(host.partition("%")[0])
    return str(ip.ipv4_mapped) if ip.ipv4_mapped is not None else ip.packed[:8].hex()
