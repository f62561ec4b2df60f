"""How long to wait for an answer before sending again: the RTO of each server (RFC 8489 6.2.1, RFC 6298)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from fasticePy.stun.transaction import RTO

GRANULARITY = 0.001
"""Seconds; RFC 8489 6.2.1 asks for an accuracy of 1 ms and no rounding to seconds."""
MINIMUM = 0.1
"""Seconds. A server next door answers in microseconds; with an RTO like that, seven sends and the final wait
would be over before a moment's congestion is."""
MAXIMUM = 60.0
"""Seconds (RFC 6298 2.5)."""
STALE_AFTER = 600.0
"""A server without transactions for so long is measured anew (RFC 8489 6.2.1)."""
MAX_SERVERS = 1024
"""Servers remembered; the one whose last transaction is longest ago goes first."""


@dataclass(slots=True)
class _Server:
    used_at: float
    smoothed: float = 0.0  # SRTT; 0 before the first sample
    variation: float = 0.0  # RTTVAR


class RtoEstimator:
    """The RTO by server, learnt from round-trip times. Servers are told apart by IP address (RFC 8489 6.2.1)."""

    __slots__ = ("_initial", "_servers")

    def __init__(self, initial: float = RTO) -> None:
        """`initial` (seconds, at least 0.5 unless all is known of the path) goes for unknown servers."""
        self._initial = initial
        self._servers: dict[str, _Server] = {}  # the one used longest ago first

    def __len__(self) -> int:
        return len(self._servers)

    def rto(self, server: str, now: float) -> float:
        """The RTO in seconds for a transaction that starts now with the server at this IP address."""
        state = self._touch(server, now)
        if not state.smoothed:
            return self._initial
        rto = state.smoothed + max(GRANULARITY, 4 * state.variation)  # RFC 6298 2.3
        milliseconds = math.ceil(round(rto / GRANULARITY, 6))
        return min(max(milliseconds * GRANULARITY, MINIMUM), MAXIMUM)

    def sample(self, server: str, rtt: float | None, now: float) -> None:
        """Take a measured round-trip time in seconds.

        None means that the request was sent more than once: nobody knows which send was answered, so nothing is
        learnt but that the server was in use (Karn's algorithm, RFC 6298 3). `Transactions.finish` gives just that.
        """
        state = self._touch(server, now)
        if rtt is None or rtt < 0:
            return
        rtt = max(rtt, 1e-9)  # a simulated or coarse clock may show no time at all
        if not state.smoothed:
            state.smoothed, state.variation = rtt, rtt / 2  # RFC 6298 2.2
            return
        state.variation = 0.75 * state.variation + 0.25 * abs(state.smoothed - rtt)
        state.smoothed = 0.875 * state.smoothed + 0.125 * rtt

    def _touch(self, server: str, now: float) -> _Server:
        state = self._servers.pop(server, None)
        if state is None or now - state.used_at >= STALE_AFTER:
            state = _Server(now)
        state.used_at = now
        self._servers[server] = state
        while len(self._servers) > MAX_SERVERS:
            del self._servers[next(iter(self._servers))]
        return state
