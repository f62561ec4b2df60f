"""The record: what happened to servers, candidates and pairs, when, and why, in a bounded ring."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

Subject: TypeAlias = Literal[
    "agent",
    "socket",
    "connection",
    "network",
    "name",
    "server",
    "local",
    "remote",
    "pair",
    "role",
    "consent",
]
DETAILS: frozenset[Subject] = frozenset({"local", "remote", "pair", "connection"})
"""Subjects that there may be hundreds of, and that a peer can multiply: these never push out the others."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One outcome: `subject` says of what kind of thing, `name` of which one, `reason` why, where there is more to
    say than the outcome does."""

    at: float
    subject: Subject
    name: str
    outcome: str
    reason: str = ""

    def __str__(self) -> str:
        why = f": {self.reason}" if self.reason else ""
        return f"{self.subject} {self.name}: {self.outcome}{why}"


class Record:
    """The latest entries, oldest first; the oldest go when the limit is reached. The course of the session (states,
    roles, consent, networks, servers) and the details (candidates, pairs) are sure of one half of the room each,
    so that a flood of one kind does not wash the other away."""

    __slots__ = ("_course", "_details", "_limit", "_sequence", "dropped")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._sequence = 0
        self._course: deque[tuple[int, Entry]] = deque()
        self._details: deque[tuple[int, Entry]] = deque()
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._course) + len(self._details)

    def add(self, at: float, subject: Subject, name: str, outcome: str, reason: str = "") -> None:
        """Write one entry."""
        self._sequence += 1
        ring = self._details if subject in DETAILS else self._course
        ring.append((self._sequence, Entry(at, subject, name, outcome, reason)))
        if len(self) > self._limit:
            self.dropped += 1
            crowded = max(ring, self._other(ring), key=len)
            crowded.popleft()

    def entries(self) -> tuple[Entry, ...]:
        """What is in the ring now."""
        return tuple(entry for _, entry in sorted([*self._course, *self._details], key=lambda each: each[0]))

    def _other(self, ring: deque[tuple[int, Entry]]) -> deque[tuple[int, Entry]]:
        return self._course if ring is self._details else self._details
