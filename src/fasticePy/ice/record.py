"""The record: what happened to servers, candidates and pairs, when, and why, in a bounded ring."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Literal, TypeAlias

Subject: TypeAlias = Literal["agent", "socket", "server", "local", "remote", "pair", "role", "consent"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One outcome: `subject` says of what kind of thing, `name` of which one."""

    at: float
    subject: Subject
    name: str
    outcome: str


class Record:
    """The latest entries, oldest first; the oldest go when the limit is reached."""

    __slots__ = ("_entries", "dropped")

    def __init__(self, limit: int) -> None:
        self._entries: deque[Entry] = deque(maxlen=limit)
        self.dropped = 0

    def add(self, at: float, subject: Subject, name: str, outcome: str) -> None:
        """Write one entry."""
        if len(self._entries) == self._entries.maxlen:
            self.dropped += 1
        self._entries.append(Entry(at, subject, name, outcome))

    def entries(self) -> tuple[Entry, ...]:
        """What is in the ring now."""
        return tuple(self._entries)
