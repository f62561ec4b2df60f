"""The "continuous" nomination policy: which pair should carry the data now, when to change it, and why.

It decides and nothing else: no messages, no timers, no clock. Whoever drives it keeps a `PairHealth` for each valid
pair and asks `ContinuousPolicy.decide` after each check, each answer, each change of the pairs and at `again_at`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.selecting.pair_health import (
    DEFAULT_LIMITS,
    PairHealth,
    Strength,
    SwitchingLimits,
    convincing_at,
    rank,
    tie_breaker,
)
from fasticePy.ice.selecting.reasons import SwitchReason


@dataclass(frozen=True, slots=True)
class Switch:
    """Another pair carries the data."""

    to: PairHealth
    reason: SwitchReason

    @property
    def pair(self) -> CandidatePair:
        """The pair itself."""
        return self.to.pair


@dataclass(frozen=True, slots=True)
class SwitchDecision:
    """What the policy says now: switch, or stay; and when to ask again even if nothing happens until then."""

    switch: Switch | None = None
    again_at: float | None = None


def best_pair(pairs: Iterable[PairHealth], now: float) -> PairHealth | None:
    """The pair to take when there is none to stay with: the strongest ones first, then as `better` ranks them."""
    usable = [each for each in pairs if each.usable(now)]
    strongest = max((each.strength(now) for each in usable), default=Strength.DEAD)
    return _best([each for each in usable if each.strength(now) == strongest])


def better(selected: PairHealth, pairs: Iterable[PairHealth], now: float) -> Switch | None:
    """Whether some pair is better than the one selected at this moment, and why: direct before relayed, then cheaper,
    then a clearly shorter round trip, then priority. Without any damping."""
    rivals = [each for each in pairs if each is not selected and each.strength(now) >= Strength.SUSPECT]
    best = _best([selected, *rivals])
    if best is None or best is selected:
        return None
    if best.pair.relayed != selected.pair.relayed:
        return Switch(best, SwitchReason.BETTER_TYPE)
    if best.cost != selected.cost:
        return Switch(best, SwitchReason.LOWER_COST)
    if best.pair.priority > selected.pair.priority:
        return Switch(best, SwitchReason.HIGHER_PRIORITY)
    if best.pair.priority < selected.pair.priority:
        return Switch(best, SwitchReason.LOWER_RTT)
    return Switch(best, SwitchReason.LOWER_RTT) if _clearly_slower(selected, best) else None


def _best(pairs: list[PairHealth]) -> PairHealth | None:
    if not pairs:
        return None
    kind = max(rank(each)[:2] for each in pairs)
    alike = sorted((each for each in pairs if rank(each)[:2] == kind), key=tie_breaker)
    # all are measured against the one fastest pair: measured against each other, three of them could go in a circle
    fastest = min(alike, key=lambda each: float("inf") if each.rtt is None else each.rtt)
    fast = [each for each in alike if not _clearly_slower(each, fastest)]
    return max(fast, key=lambda each: each.pair.priority)


def _clearly_slower(health: PairHealth, than: PairHealth) -> bool:
    if health.rtt is None or than.rtt is None:
        return False
    limits = health.limits
    return than.rtt <= health.rtt * limits.rtt_ratio and health.rtt - than.rtt >= limits.rtt_margin


class ContinuousPolicy:
    """Decides for one component. A switch that it returns counts as made.

    A selected pair that is gone or silent is left at once. One that is merely not the best is left when another has
    been better without a break for the damping time, which doubles with each switch that follows another one soon.
    """

    __slots__ = (
        "_application",
        "_candidate",
        "_first_at",
        "_flaps",
        "_fresh",
        "_limits",
        "_nominated",
        "_since",
        "controlling",
        "switched_at",
    )

    def __init__(self, controlling: bool, limits: SwitchingLimits = DEFAULT_LIMITS) -> None:
        self._limits = limits
        self._application: PairHealth | None = None
        self._nominated: PairHealth | None = None
        self._fresh: Switch | None = None
        self._candidate: PairHealth | None = None
        self._since = 0.0
        self._flaps = 0
        self._first_at = float("-inf")
        self.controlling = controlling
        """Our role now. The controlled agent improves nothing by itself once the peer has nominated."""
        self.switched_at = float("-inf")
        """When the latest switch was made."""

    def damping_factor(self, now: float) -> int:
        """By how much damping times are multiplied, for switches that were made lately."""
        return 1 << self._level(now)

    def peer_nominated(self, health: PairHealth) -> None:
        """The peer nominated this valid pair, and the nomination counts: the next `decide` follows."""
        self._nominated = health
        if self._application is None:
            self._fresh = Switch(health, SwitchReason.PEER_NOMINATED)

    def application_chose(self, health: PairHealth | None) -> None:
        """The application wants this pair, whatever may be better; None: the choice is left to the policy again.

        The next `decide` follows. If that pair falls silent another one carries the data until it has recovered.
        """
        self._application = health
        self._fresh = None if health is None else Switch(health, SwitchReason.APPLICATION)

    def decide(self, selected: PairHealth | None, pairs: Iterable[PairHealth], now: float) -> SwitchDecision:
        """Given the pair that carries data, and all valid ones of the component in any order."""
        others = sorted((each for each in pairs if each is not selected), key=tie_breaker)
        self._forget_unusable(now)
        if selected is None or not selected.usable(now):
            reason = SwitchReason.FIRST_PAIR if selected is None else SwitchReason.SELECTED_GONE
            return self._take(self._wanted(Strength.SUSPECT, now) or best_pair(others, now), reason, now)
        fresh, self._fresh = self._fresh, None
        if fresh is not None and fresh.to is not selected and fresh.to.usable(now):
            return self._take(fresh.to, fresh.reason, now)
        urgent = self._leave_silent(selected, others, now)
        return urgent if urgent is not None else self._improve(selected, others, now)

    # a pair that is silent

    def _leave_silent(
        self, selected: PairHealth, others: list[PairHealth], now: float
    ) -> SwitchDecision | None:
        """What to do about silence; None: nothing speaks against the selected pair."""
        earliest = self.switched_at + self._limits.least_stay
        moved = self._peer_moved(selected, others, now)
        if moved is None and selected.strength(now) > Strength.WEAK:
            return None
        self._candidate = None
        if now < earliest:
            return SwitchDecision(again_at=earliest)
        if moved is not None:
            return self._take(moved, SwitchReason.PEER_MOVED, now)
        strong = [each for each in others if each.strength(now) == Strength.STRONG]
        proven = [each for each in strong if now >= convincing_at(each, selected)]
        if not proven:
            return SwitchDecision(
                again_at=min((convincing_at(each, selected) for each in strong), default=None)
            )
        wanted = self._wanted(Strength.STRONG, now)
        if wanted not in proven:
            # one that has answered while the selected pair did not is certain, the others may have died with it
            silent_since = selected.silent_since or now
            certain = [each for each in proven if (each.answered_at or 0.0) > silent_since]
            wanted = best_pair(certain or proven, now)
        return self._take(wanted, SwitchReason.SELECTED_SILENT, now)

    def _peer_moved(self, selected: PairHealth, others: list[PairHealth], now: float) -> PairHealth | None:
        silent_since = selected.silent_since
        if silent_since is None or not selected.overdue(now, self._limits.moved_checks):
            return None
        if selected.heard_at is not None and selected.heard_at > silent_since:
            return None
        return best_pair(
            (
                each
                for each in others
                if each.data_at is not None
                and each.data_at > silent_since
                and each.strength(now) == Strength.STRONG
            ),
            now,
        )

    # a pair that is not the best

    def _improve(self, selected: PairHealth, others: list[PairHealth], now: float) -> SwitchDecision:
        switch = self._improvement(selected, others, now)
        if switch is None:
            self._candidate = None
            return SwitchDecision(again_at=self._watch(selected, others, now))
        if switch.to is not self._candidate:
            self._candidate = switch.to
            self._since = now
        due = self._due(switch.reason, now)
        if now >= due and switch.to.strength(now) == Strength.STRONG:
            return self._take(switch.to, switch.reason, now)
        watch = self._watch(selected, others, now)
        times = [at for at in (due, watch) if at is not None and at > now]
        return SwitchDecision(again_at=min(times, default=None))

    def _improvement(self, selected: PairHealth, others: list[PairHealth], now: float) -> Switch | None:
        wanted = self._wanted(Strength.SUSPECT, now)
        if wanted is not None:
            if wanted is selected:
                return None
            chosen = wanted is self._application
            return Switch(wanted, SwitchReason.APPLICATION if chosen else SwitchReason.PEER_NOMINATED)
        if not self.controlling and self._nominated is not None:
            return None  # it is for the peer to find something better than what it nominated
        return better(selected, others, now)

    def _due(self, reason: SwitchReason, now: float) -> float:
        limits = self._limits
        factor = self.damping_factor(now)
        by_time = reason is SwitchReason.LOWER_RTT
        damping = (limits.rtt_damping if by_time else limits.damping) * factor
        due = max(
            self._since + min(limits.damping_cap, damping),
            self.switched_at + limits.switch_interval,
        )
        if now < self._first_at + limits.settle_time and not by_time:
            return min(due, self._since + limits.settle_damping * factor)
        return due

    # both

    def _wanted(self, least: Strength, now: float) -> PairHealth | None:
        """The pair that the application, or else the controlling peer, wants, if it does well enough."""
        nominated = None if self.controlling else self._nominated
        for each in (self._application, nominated):
            if each is not None and each.strength(now) >= least:
                return each
        return None

    def _watch(self, selected: PairHealth, others: list[PairHealth], now: float) -> float | None:
        """When silence alone may change the decision."""
        times = [selected.weak_at]
        if any(each.data_at is not None for each in others):
            times.append(selected.overdue_at(self._limits.moved_checks))
        return min((at for at in times if at is not None and at > now), default=None)

    def _take(self, health: PairHealth | None, reason: SwitchReason, now: float) -> SwitchDecision:
        self._candidate = None
        if health is None:
            return SwitchDecision()
        if reason is SwitchReason.FIRST_PAIR:
            self._first_at = now
        else:
            self._flaps = self._level(now)
            if self._limits.damping * (1 << self._flaps) < self._limits.damping_cap:
                self._flaps += 1
        self.switched_at = now
        return SwitchDecision(Switch(health, reason))

    def _level(self, now: float) -> int:
        if self._flaps == 0:
            return 0
        return max(0, self._flaps - int((now - self.switched_at) / self._limits.flap_window))

    def _forget_unusable(self, now: float) -> None:
        if self._application is not None and not self._application.usable(now):
            self._application = None
        if self._nominated is not None and not self._nominated.usable(now):
            self._nominated = None
