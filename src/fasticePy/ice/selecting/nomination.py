"""Nomination policies: when the controlling agent settles on a pair (RFC 8445 8.1.1), and which nomination the
controlled agent follows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from fasticePy.ice.options import Timeouts
from fasticePy.ice.pair import CandidatePair

PATIENT_ROUND_TRIPS = 4
"""A better pair that has been checked for so many round trips of the valid one is not waited for."""
PATIENT_MINIMUM = 0.02
"""... but never less than this (seconds): a first round trip is often slower than later ones."""
AGGRESSIVE_SETTLE = 1.0
"""For so long (seconds) after a nomination another one counts only if its pair is better: RFC 5245 peers nominate
every pair that they check, in the order of their luck."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a policy says now: nominate this pair, or ask again at that time, or neither."""

    nominate: CandidatePair | None = None
    again_at: float | None = None


class NominationPolicy(Protocol):
    """Decides for the controlling agent, one component at a time."""

    def decide(self, pairs: Iterable[CandidatePair], more_expected: bool, now: float) -> Decision:
        """Given all pairs of a component that has a valid one, and whether candidates may still come."""
        ...


class RegularNomination:
    """Nominate at once when nothing better can win any more; otherwise wait for the better ones, but only as long as
    an answer from them may reasonably take."""

    __slots__ = ("_timeouts",)

    def __init__(self, timeouts: Timeouts) -> None:
        self._timeouts = timeouts

    def decide(self, pairs: Iterable[CandidatePair], more_expected: bool, now: float) -> Decision:
        """See `NominationPolicy.decide`."""
        known = list(pairs)
        valid = [pair for pair in known if pair.valid and pair.validated_at is not None]
        if not valid:
            return Decision()
        best = max(valid, key=lambda pair: pair.priority)
        since = min(pair.validated_at for pair in valid if pair.validated_at is not None)
        # While only a relayed pair works, a direct one is worth a real wait (its hole may take a retransmission to
        # open); between direct pairs the difference is small. TCP delays what comes after a lost segment, so that UDP
        # is worth the wait, too (RFC 6544 4.2).
        second_choice = best.relayed or best.transport == "tcp"
        limit = since + (
            self._timeouts.nomination_relay if second_choice else self._timeouts.nomination_direct
        )
        if now >= limit:
            return Decision(nominate=best)
        rivals = [pair for pair in known if pair.open and pair.priority > best.priority]
        if best.relayed:
            if any(not pair.relayed for pair in rivals) or more_expected:
                return Decision(again_at=limit)
            return Decision(nominate=best)
        if best.transport == "tcp" and any(each.transport == "udp" and not each.relayed for each in rivals):
            return Decision(again_at=limit)
        patience = max(PATIENT_MINIMUM, PATIENT_ROUND_TRIPS * (best.rtt or 0.0))
        ends = [min(limit, _check_started(pair, limit) + patience) for pair in rivals]
        hopeful = [end for end in ends if now < end]
        return Decision(again_at=min(hopeful)) if hopeful else Decision(nominate=best)


def _check_started(pair: CandidatePair, limit: float) -> float:
    # one that waits may have been tried before, but now the peer's check has come through and triggered a new one
    return pair.started_at if pair.state == "in-progress" and pair.started_at is not None else limit


class FirstValidNomination:
    """Nominate the first pair that works: the least time to a final choice, not always the best path."""

    __slots__ = ()

    def decide(self, pairs: Iterable[CandidatePair], more_expected: bool, now: float) -> Decision:
        """See `NominationPolicy.decide`."""
        valid = [pair for pair in pairs if pair.valid]
        return Decision(nominate=max(valid, key=lambda pair: pair.priority)) if valid else Decision()


def make_policy(name: str, timeouts: Timeouts) -> NominationPolicy:
    """The policy of that name. Raises ValueError when there is none."""
    if name == "regular":
        return RegularNomination(timeouts)
    if name == "fastest":
        return FirstValidNomination()
    raise ValueError(f"nomination {name!r}: not one of 'regular', 'fastest', 'continuous'")


def follows(pair: CandidatePair, current: CandidatePair | None, nominated_at: float, now: float) -> bool:
    """Whether the controlled agent moves from the `current` nomination, made at `nominated_at`, to `pair`.

    RFC 8445 8.1.1 takes the best of several nominations, as aggressive peers make them; browsers move to another
    pair later in a call and expect to be followed. So: the better pair within the first second, the latest after.
    """
    if current is None or pair is current:
        return True
    if pair.transport == "tcp":  # RFC 6544 8: over TCP nobody nominates by luck, so the latest is meant
        return True
    return pair.priority > current.priority or now - nominated_at >= AGGRESSIVE_SETTLE
