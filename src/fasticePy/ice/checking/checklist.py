"""Checklists: the pairs of each stream, which of them are frozen, and which is checked next (RFC 8445 6.1.2-6.1.4).

Pure bookkeeping: nothing here knows of messages, sockets or time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, TypeAlias

from fasticePy.ice.pair import CandidatePair
from fasticePy.machine import Address

if TYPE_CHECKING:
    from fasticePy.ice.checking.connections import Connection

ChecklistState: TypeAlias = Literal["running", "completed", "failed"]

SIBLINGS_WAIT = 1.5
"""How long (seconds) frozen pairs wait for the check of a pair with their foundation: two retransmissions."""


class Checklist:
    """The pairs of one stream, best first, and its queue of triggered checks."""

    __slots__ = ("_by_path", "pairs", "state", "triggered")

    def __init__(self) -> None:
        self.pairs: list[CandidatePair] = []
        self.triggered: list[CandidatePair] = []
        self.state: ChecklistState = "running"
        self._by_path: dict[tuple[int, Address], CandidatePair] = {}

    def find(self, socket: int, destination: Address) -> CandidatePair | None:
        """The pair that sends from this socket to this address."""
        return self._by_path.get((socket, destination))

    def insert(self, pair: CandidatePair) -> None:
        """Add a pair that `find` does not know."""
        self._by_path[pair.path] = pair
        self.pairs.append(pair)
        self.sort()

    def remove(self, pair: CandidatePair) -> None:
        """Take a pair out altogether."""
        self.pairs.remove(pair)
        self._unlist(pair)
        self.untrigger(pair)

    def connect(self, pair: CandidatePair, connection: Connection | None) -> None:
        """A TCP pair travels on this connection from now on, or on none."""
        listed = self._unlist(pair)
        pair.connection = connection
        if listed:
            self._by_path.setdefault(pair.path, pair)

    def _unlist(self, pair: CandidatePair) -> bool:
        if self._by_path.get(pair.path) is not pair:
            return False
        del self._by_path[pair.path]
        return True

    def sort(self) -> None:
        """Best first; for equal priorities the lower component (RFC 8445 6.1.2.3, 6.1.4.2)."""
        self.pairs.sort(key=lambda pair: (-pair.priority, pair.component))

    def trigger(self, pair: CandidatePair) -> None:
        """Queue a triggered check, once (RFC 8445 6.1.4.1)."""
        if pair not in self.triggered:
            self.triggered.append(pair)

    def untrigger(self, pair: CandidatePair) -> None:
        """Take it out of the queue again, if it is there."""
        if pair in self.triggered:
            self.triggered.remove(pair)

    def open_pairs(self, component: int | None = None) -> Iterator[CandidatePair]:
        """The pairs whose checks have still to end."""
        return (pair for pair in self.pairs if pair.open and component in (None, pair.component))

    def valid_pairs(self, component: int) -> list[CandidatePair]:
        """The valid list of a component, best first (RFC 8445 7.2.5.3.2)."""
        return [pair for pair in self.pairs if pair.valid and pair.component == component]


class ChecklistSet:
    """The checklists of a session: foundations, the limit and the turn are common to them (RFC 8445 6.1.2)."""

    __slots__ = ("_turn", "lists", "max_pairs", "started")

    def __init__(self, lists: list[Checklist], max_pairs: int) -> None:
        self.lists = lists
        self.max_pairs = max_pairs
        self.started = False
        self._turn = 0

    def pairs(self) -> Iterator[CandidatePair]:
        """The pairs of all lists."""
        for checklist in self.lists:
            yield from checklist.pairs

    def add(self, checklist: Checklist, pair: CandidatePair, *, heard: bool = False) -> CandidatePair | None:
        """Add a new pair, in the state that it deserves. Gives the pair that had to leave for it, which is `pair`
        itself when all others are better, or None when there was room. `heard`: a check of the peer came on it,
        which says more than the priorities of pairs that were never tried."""
        dropped: CandidatePair | None = None
        if sum(len(each.pairs) for each in self.lists) >= self.max_pairs:
            dropped = self._least_wanted(checklist, pair, heard)
            if dropped is pair:
                return pair
            self._list_of(dropped).remove(dropped)
        checklist.insert(pair)
        if self.started:
            pair.state = self._initial_state(checklist, pair)
        return dropped

    def start(self) -> None:
        """Form the initial states (RFC 8445 6.1.2.6): of each foundation the pair of the first checklist with the
        lowest component and the highest priority is Waiting, all others are Frozen."""
        self.started = True
        seen: set[tuple[str, str]] = set()
        for checklist in self.lists:
            for pair in sorted(checklist.pairs, key=lambda pair: (pair.component, -pair.priority)):
                if pair.state != "frozen":
                    seen.add(pair.foundation)
                elif pair.foundation not in seen:
                    seen.add(pair.foundation)
                    pair.state = "waiting"

    def unfreeze(self, foundation: tuple[str, str]) -> None:
        """A pair of this foundation succeeded: its Frozen siblings in all lists are worth trying
        (RFC 8445 7.2.5.3.3)."""
        for pair in self.pairs():
            if pair.state == "frozen" and pair.foundation == foundation:
                pair.state = "waiting"

    def next_check(self, now: float = float("-inf")) -> CandidatePair | None:
        """The pair to check now, taken from the lists in turn; None when there is nothing to do in any of them
        (RFC 8445 6.1.4.2), or not before `next_thaw`."""
        for _ in self.lists:
            checklist = self.lists[self._turn % len(self.lists)]
            self._turn += 1
            if (pair := self._next_of(checklist, now)) is not None:
                return pair
        return None

    def has_work(self) -> bool:
        """Whether `next_check` would give a pair."""
        for checklist in self.lists:
            if checklist.triggered:
                return True
            if checklist.state == "running":
                for pair in checklist.pairs:
                    if pair.state in ("waiting", "frozen") and not pair.retired:
                        return True
        return False

    def active_checks(self) -> int:
        """Pairs that are Waiting or In-Progress: the load in the formula of the RTO (RFC 8445 14.3)."""
        return sum(pair.state in ("waiting", "in-progress") and not pair.retired for pair in self.pairs())

    def next_thaw(self, now: float) -> float | None:
        """When a check that is under way holds frozen pairs back no longer; None when there are none."""
        if not any(pair.state == "frozen" and not pair.retired for pair in self.pairs()):
            return None
        busy = (pair for pair in self.pairs() if pair.state == "in-progress" and not pair.retired)
        ends = (_siblings_wait(pair) for pair in busy)
        return min((at for at in ends if now < at < float("inf")), default=None)

    def _next_of(self, checklist: Checklist, now: float) -> CandidatePair | None:
        if checklist.triggered:  # also once Completed: a nomination that moves is followed
            return checklist.triggered.pop(0)
        if checklist.state != "running":
            return None
        candidates = [pair for pair in checklist.pairs if not pair.retired]
        if not any(pair.state == "waiting" for pair in candidates):
            self._thaw(candidates, now)
        return next((pair for pair in candidates if pair.state == "waiting"), None)

    def _thaw(self, candidates: list[CandidatePair], now: float) -> None:
        # RFC 8445 6.1.4.2: a Frozen pair whose foundation nobody checks right now becomes Waiting. A check that stays
        # without an answer ends after 39.5 s only, and by then the peer's checks, for which ours have to open the
        # way through a firewall, have ended as well: so it does not hold its siblings back for so long.
        busy = {
            pair.foundation
            for pair in self.pairs()
            if not pair.retired
            and (pair.state == "waiting" or (pair.state == "in-progress" and now < _siblings_wait(pair)))
        }
        for pair in candidates:
            if pair.state == "frozen" and pair.foundation not in busy:
                pair.state = "waiting"
                busy.add(pair.foundation)

    def _initial_state(self, checklist: Checklist, new: CandidatePair) -> Literal["waiting", "frozen"]:
        # RFC 8838 12: Waiting when the foundation is known to work, or when the pair ranks above all its siblings
        siblings = [
            (each, pair)
            for each in self.lists
            for pair in each.pairs
            if pair.foundation == new.foundation and pair is not new
        ]
        if any(pair.state == "succeeded" for _, pair in siblings):
            return "waiting"
        rank = self._rank(checklist, new)
        return "waiting" if all(rank < self._rank(each, pair) for each, pair in siblings) else "frozen"

    def _rank(self, checklist: Checklist, pair: CandidatePair) -> tuple[int, int, int]:
        return (self.lists.index(checklist), pair.component, -pair.priority)

    def _least_wanted(self, checklist: Checklist, new: CandidatePair, heard: bool) -> CandidatePair:
        # RFC 8838 10: Failed pairs go first, then the lowest priority. RFC 8445 6.1.2.5: evenly over the lists, so
        # the longest list gives; what carries or may soon carry data stays.
        longest = max(self.lists, key=lambda each: len(each.pairs) + (each is checklist))
        disposable = [
            pair for pair in longest.pairs if not pair.valid and not pair.nominated and not pair.expired
        ]
        failed = [pair for pair in disposable if pair.state == "failed"]
        if failed:
            return failed[-1]
        idle = [
            pair
            for pair in disposable
            if (pair.state in ("frozen", "waiting") and not pair.requests_received) or pair.retired
        ]
        if not heard:
            idle.append(new)
        return min(idle, key=lambda pair: pair.priority, default=new)

    def _list_of(self, pair: CandidatePair) -> Checklist:
        return next(checklist for checklist in self.lists if pair in checklist.pairs)


def _siblings_wait(pair: CandidatePair) -> float:
    return float("inf") if pair.started_at is None else pair.started_at + SIBLINGS_WAIT
