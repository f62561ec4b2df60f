"""The record: what happened to servers, candidates and pairs, when, and why, in a bounded ring."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

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
_WIDTH = 5
"""Fields of an entry."""


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

    __slots__ = ("_details", "_fields", "_limit", "dropped")

    def __init__(self, limit: int) -> None:
        self._limit = limit
        # The fields of all entries in one list: entries of their own, made when somebody looks, take twice as much.
        self._fields: list[Any] = []
        self._details = 0
        self.dropped = 0

    def __len__(self) -> int:
        return len(self._fields) // _WIDTH

    def add(self, at: float, subject: Subject, name: str, outcome: str, reason: str = "") -> None:
        """Write one entry."""
        self._fields += (at, subject, name, outcome, reason)
        self._details += subject in DETAILS
        if len(self) > self._limit:
            self._drop(self._details * 2 > len(self))

    def entries(self) -> tuple[Entry, ...]:
        """What is in the ring now."""
        starts = range(0, len(self._fields), _WIDTH)
        return tuple(Entry(*self._fields[start : start + _WIDTH]) for start in starts)

    def _drop(self, detail: bool) -> None:
        """The oldest one of the kind that takes more than its half."""
        subjects = range(1, len(self._fields), _WIDTH)
        place = next(n for n in subjects if (self._fields[n] in DETAILS) == detail)
        del self._fields[place - 1 : place - 1 + _WIDTH]
        self._details -= detail
        self.dropped += 1
