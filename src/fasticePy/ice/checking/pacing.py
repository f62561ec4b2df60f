"""The process-wide floor under the pacing of all agents (RFC 8445 14.2)."""

from __future__ import annotations

FLOOR = 0.005
"""All agents of a process together start no two transactions closer than this (seconds, RFC 8445 14.2)."""


class Pacer:
    """Hands out moments at which a new transaction may start. A process shares one among its agents."""

    __slots__ = ("_next", "floor")

    def __init__(self, floor: float = FLOOR) -> None:
        self.floor = floor
        self._next = float("-inf")

    def reserve(self, now: float) -> float:
        """The moment (seconds, >= now) that belongs to the caller; nobody else gets one closer than the floor."""
        moment = max(now, self._next)
        self._next = moment + self.floor
        return moment
