"""The race between an offer with `remote-candidates` and the checks that it tells of (RFC 8839 4.4.2, B)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from fasticePy.ice.addresses import address_text
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.candidate_line import canonical_ip, printed_address
from fasticePy.ice.signalling.destination import is_unknown
from fasticePy.ice.signalling.remote_session import RemoteStream
from fasticePy.machine import Address


class RaceDecision(Enum):
    """What to do with the answer to an offer that has `remote-candidates`."""

    ANSWER = "answer"
    """Every announced pair is valid here too: answer, with these candidates as default destination."""
    WAIT = "wait"
    """Checks are under way: decide again when one has ended."""
    ANSWER_PLAINLY = "answer plainly"
    """Nothing is known of such a pair: answer as if the attribute were not there."""
    ANSWER_THEN_RESTART = "answer plainly, then restart"
    """The checks have failed here: answer as if the attribute were not there, then restart ICE for the stream."""


_WORST_FIRST = (RaceDecision.ANSWER_THEN_RESTART, RaceDecision.ANSWER_PLAINLY, RaceDecision.WAIT)


class CheckedPair(Protocol):
    """What is asked of a pair of the checklist; `CandidatePair` has it."""

    @property
    def local(self) -> Candidate:
        """Our candidate, as the peer sees it."""
        ...

    @property
    def remote(self) -> Candidate:
        """The peer's candidate."""
        ...

    @property
    def valid(self) -> bool:
        """Whether an authenticated answer came through it."""
        ...

    @property
    def open(self) -> bool:
        """Whether its check has still to end."""
        ...

    @property
    def state(self) -> str:
        """How far its check is; only the word "failed" matters here."""
        ...


@dataclass(frozen=True, slots=True)
class AnnouncedPair:
    """A pair that the controlling side has nominated, as its offer tells it."""

    component: int
    local: Address
    """Our candidate, from `remote-candidates`; the host may be one of our mDNS names."""
    remote: Address | None
    """The peer's, from its default destination; None when that is not known."""

    def has_remote(self, pair: CheckedPair) -> bool:
        """Whether a pair leads to the peer's candidate."""
        remote = pair.remote
        same = self.remote is None or _matches(remote, self.remote)
        return remote.component == self.component and same

    def has_local(self, pair: CheckedPair) -> bool:
        """Whether a pair starts at our candidate."""
        return _matches(pair.local, self.local)


def _matches(candidate: Candidate, address: Address) -> bool:
    return (printed_address(candidate.address), candidate.port) == address


def announced_pairs(stream: RemoteStream) -> tuple[AnnouncedPair, ...]:
    """The pairs that an offer announces as nominated (RFC 8839 4.4.2)."""
    pairs = []
    for component, host, port in stream.remote_candidates:
        remote = stream.destination(component)
        if remote is not None and (is_unknown(remote) or canonical_ip(remote[0]) is None):
            remote = None  # its address is concealed: any pair with our candidate may be the one
        pairs.append(AnnouncedPair(component, (host, port), remote))
    return tuple(pairs)


@dataclass(slots=True)
class NominationRace:
    """Decides what becomes of one stream of an offer that announces nominated pairs.

    Ask `decide` when the offer came, and again after each check that ended, until it no longer says WAIT; then
    answer. `Negotiation.answer` looks at `decision`, and takes one that was never made as ANSWER_PLAINLY.
    """

    announced: tuple[AnnouncedPair, ...]
    decision: RaceDecision | None = None
    reason: str = ""
    winners: dict[int, Candidate] = field(default_factory=dict)
    """Our candidates by component, once the decision is ANSWER."""

    def decide(self, pairs: Iterable[CheckedPair]) -> RaceDecision:
        """Look at the checklist as it is now (RFC 8839 4.4.2)."""
        pairs = list(pairs)
        self.winners.clear()
        losers: dict[RaceDecision, AnnouncedPair] = {}
        for announced in self.announced:
            verdict = self._judge(announced, pairs)
            if verdict is not None:
                losers.setdefault(verdict, announced)
        worst = next((verdict for verdict in _WORST_FIRST if verdict in losers), None)
        if worst is None:
            self.decision, self.reason = RaceDecision.ANSWER, "every announced pair is valid"
        else:
            self.decision, self.reason = worst, _reason(worst, losers[worst])
            self.winners.clear()
        return self.decision

    def _judge(self, announced: AnnouncedPair, pairs: list[CheckedPair]) -> RaceDecision | None:
        ways = [pair for pair in pairs if announced.has_remote(pair)]
        winner = next((pair for pair in ways if pair.valid and announced.has_local(pair)), None)
        if winner is not None:
            self.winners[announced.component] = winner.local
            return None
        if any(pair.open for pair in ways):
            return RaceDecision.WAIT
        failed = any(pair.state == "failed" for pair in ways)
        return RaceDecision.ANSWER_THEN_RESTART if failed else RaceDecision.ANSWER_PLAINLY


def _reason(decision: RaceDecision, announced: AnnouncedPair) -> str:
    what = {
        RaceDecision.WAIT: "checks are still under way",
        RaceDecision.ANSWER_PLAINLY: "there is no such pair",
        RaceDecision.ANSWER_THEN_RESTART: "the checks have failed",
    }[decision]
    remote = "any" if announced.remote is None else address_text(announced.remote)
    local = address_text(announced.local)
    return f"component {announced.component}, {local} -> {remote}: {what}"
