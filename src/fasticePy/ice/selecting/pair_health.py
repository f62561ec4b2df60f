"""How well a valid pair does now, when to check it again, and which pairs are worth being kept warm: what the
"continuous" nomination policy looks at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TypeAlias

from fasticePy.ice.addresses import parse_ip
from fasticePy.ice.pair import CandidatePair
from fasticePy.machine import Address

JITTER = (0.8, 1.2)
"""Each interval between checks is drawn anew from these times its mean, so that agents do not fall into step."""
RTT_GAIN = 0.25
"""The share of a new sample in the smoothed round-trip time."""
NETWORK_BITS = {4: 24, 6: 64}
"""Remote addresses that share so many bits are taken for one network."""

Networks: TypeAlias = tuple[str, str]
"""Where packets of a pair leave (an address, or a relay), and the network that they go to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchingLimits:
    """When pairs are checked, left and adopted. Times in seconds.

    With the defaults a path that dies is left 0.5 s to 1.5 s later (round trip up to 80 ms; 1.8 s at 200 ms): at most
    0.96 s until the next check, then `weak_checks` of them within half a second. On a path that loses 10 % of the
    packets each way that many go unanswered in a row about once a day.
    """

    selected_interval: float = 0.8
    """Mean time between checks of the selected pair while they are answered."""
    backup_interval: float = 2.5
    """The same for a pair that is kept warm."""
    fast_interval: float = 0.06
    """The least time between checks of a pair that owes an answer. Each is a transaction of its own that is never
    sent again, so no RTO applies; it stays above the default Ta (RFC 8445 14.2, 14.3)."""
    selected_slowdown: float = 0.1
    """While the selected pair is silent, its next check comes after this share of the silence, so that checks get
    rarer geometrically, ..."""
    selected_slowest: float = 1.0
    """... but never rarer than this: it is to be found again soon."""
    backup_slowdown: float = 0.5
    """The same share for a pair that is kept warm."""
    backup_slowest: float = 30.0
    """... and its longest interval."""
    warm_pairs: int = 4
    """So many pairs of a component are kept warm beside the selected one."""

    patience: float = 0.1
    """An answer is overdue after this, ..."""
    patience_rtt: float = 1.25
    """... or after so many round trips if that is longer, ..."""
    patience_unknown: float = 0.5
    """... or after this while the round-trip time is unknown (the least RTO, RFC 8445 14.3)."""
    weak_checks: int = 7
    """A pair is weak when so many checks in a row are overdue."""
    silent_checks: int = 3
    """It is weak as well when fewer checks, but at least so many, are overdue ..."""
    silent_time: float = 3.0
    """... and nothing at all came on it for so long."""
    dead_time: float = 5.0
    """A weak pair is dead when it has owed an answer for so long."""
    consent: float = 30.0
    """Without an authenticated answer for so long a pair may carry nothing (RFC 7675 5.1)."""

    moved_checks: int = 3
    """When so many checks are overdue and the peer's data comes on another pair, the peer has moved there."""
    least_stay: float = 0.5
    """A pair is not left for its silence sooner than this after it was adopted."""
    damping: float = 2.0
    """A pair has to be better (type, cost, priority) without a break for so long before it is adopted."""
    rtt_damping: float = 8.0
    """The same when its round-trip time alone speaks for it."""
    damping_cap: float = 60.0
    """Each switch doubles the damping of the next one, up to this, ..."""
    flap_window: float = 300.0
    """... and each such time without a switch halves it again."""
    switch_interval: float = 5.0
    """The least time between any switch and a following one that only makes something better."""
    settle_time: float = 2.0
    """For so long after the first pair was adopted, first answers of other pairs still come in, ..."""
    settle_damping: float = 0.1
    """... and this is the damping (but for the round-trip time)."""
    rtt_ratio: float = 0.5
    """A round-trip time is clearly shorter when it is at most this share of the other, ..."""
    rtt_margin: float = 0.02
    """... and by at least so much."""


DEFAULT_LIMITS = SwitchingLimits()


class Strength(IntEnum):
    """How much may be expected of a pair."""

    DEAD = 0
    """No consent, or silent for long."""
    WEAK = 1
    """Too many checks in a row are overdue for that to be chance."""
    SUSPECT = 2
    """An answer is overdue. One loss does that."""
    STRONG = 3
    """Nothing speaks against it."""


@dataclass(slots=True, eq=False)
class PairHealth:
    """The record of the checks of one valid pair: filled by whoever sends them, read by the policy."""

    pair: CandidatePair
    limits: SwitchingLimits = field(default=DEFAULT_LIMITS, repr=False)
    cost: int = 0
    """What its networks cost; less is better."""
    rtt: float | None = None
    """Smoothed round-trip time in seconds."""
    answered_at: float | None = None
    """The latest authenticated answer."""
    heard_at: float | None = None
    """The latest packet of any kind that counts as the peer's."""
    data_at: float | None = None
    """The latest application data; None where nobody tells."""
    checked_at: float | None = None
    """The latest check."""
    unanswered: int = 0
    """Checks sent since the latest answer."""
    unanswered_sent: list[float] = field(default_factory=list, repr=False)
    """When the first of them were sent: as many as ever matter."""
    recovered_at: float | None = None
    """The latest answer that ended a time in which one was overdue."""

    @classmethod
    def of(
        cls, pair: CandidatePair, now: float, *, cost: int = 0, limits: SwitchingLimits = DEFAULT_LIMITS
    ) -> PairHealth:
        """The record of a pair that has just become valid, begun from what its check told."""
        return cls(pair, limits, cost, pair.rtt, pair.consent_at, pair.consent_at, checked_at=now)

    # what happens

    def check_sent(self, now: float) -> None:
        """A check was sent on it."""
        self.checked_at = now
        self.unanswered += 1
        if len(self.unanswered_sent) < max(
            self.limits.weak_checks, self.limits.silent_checks, self.limits.moved_checks
        ):
            self.unanswered_sent.append(now)

    def answer_received(self, rtt: float | None, now: float) -> None:
        """An authenticated success response came, after `rtt` seconds if that is known."""
        if self.overdue(now):
            self.recovered_at = now
        if rtt is not None:
            self.rtt = rtt if self.rtt is None else self.rtt + RTT_GAIN * (rtt - self.rtt)
        self.answered_at = self.heard_at = now
        self.unanswered = 0
        self.unanswered_sent.clear()

    # what follows from it

    def usable(self, now: float) -> bool:
        """Whether it may carry data: valid, with fresh consent (RFC 7675 5.1)."""
        if not self.pair.valid or self.pair.expired or self.answered_at is None:
            return False
        return now < self.answered_at + self.limits.consent

    def strength(self, now: float) -> Strength:
        """How much may be expected of it."""
        if not self.usable(now):
            return Strength.DEAD
        weak_at = self.weak_at
        if weak_at is None or now < weak_at:
            return Strength.SUSPECT if self.overdue(now) else Strength.STRONG
        if now >= self.unanswered_sent[0] + self.limits.dead_time:
            return Strength.DEAD
        return Strength.WEAK

    @property
    def answer_time(self) -> float:
        """After how long an answer to a check is overdue."""
        if self.rtt is None:
            return self.limits.patience_unknown
        return max(self.limits.patience, self.limits.patience_rtt * self.rtt)

    @property
    def silent_since(self) -> float | None:
        """When the first unanswered check was sent; None when all are answered."""
        return self.unanswered_sent[0] if self.unanswered_sent else None

    def overdue_at(self, checks: int = 1) -> float | None:
        """When so many checks in a row are overdue if nothing comes; None: fewer were sent."""
        if len(self.unanswered_sent) < checks:
            return None
        return self.unanswered_sent[checks - 1] + self.answer_time

    def overdue(self, now: float, checks: int = 1) -> bool:
        """Whether so many checks in a row are overdue."""
        at = self.overdue_at(checks)
        return at is not None and now >= at

    @property
    def weak_at(self) -> float | None:
        """When it is weak if nothing comes; None: not before further checks go unanswered."""
        convincing = self.overdue_at(self.limits.weak_checks)
        few = self.overdue_at(self.limits.silent_checks)
        if few is None:
            return convincing
        silent = max(few, (self.heard_at or 0.0) + self.limits.silent_time)
        return silent if convincing is None else min(convincing, silent)

    def trouble_since(self, now: float) -> float | None:
        """When the check was sent whose answer is overdue; None: none is."""
        return self.silent_since if self.overdue(now) else None


def next_check_at(
    health: PairHealth,
    *,
    selected: bool,
    now: float,
    uniform: Callable[[float, float], float],
    trouble_since: float | None = None,
) -> float:
    """When to check this pair again (seconds, never before `now`).

    Two rates: slow while checks are answered, fast as soon as an answer is overdue, and then ever slower. `uniform`
    draws a number between two. `trouble_since` is that of the selected pair: a backup that has not answered since then
    is asked at once, so that it is known to be good by the time it is needed. Ask anew after each check, after each
    answer and, for the backups, when the selected pair gets into trouble.
    """
    limits = health.limits
    if health.checked_at is None:
        return now
    silent_since = health.silent_since
    if silent_since is not None:
        if health.unanswered == 1:
            return max(now, health.checked_at + health.answer_time)
        if not selected and trouble_since is not None:
            silent_since = max(silent_since, trouble_since)  # one that was dead for long may be needed now
        interval = _retry_interval(limits, selected, health.checked_at - silent_since) * uniform(*JITTER)
        return max(now, health.checked_at + max(limits.fast_interval, interval))
    if not selected and trouble_since is not None and (health.answered_at or 0.0) < trouble_since:
        return max(now, health.checked_at + limits.fast_interval)
    mean = limits.selected_interval if selected else limits.backup_interval
    return max(now, health.checked_at + mean * uniform(*JITTER))


def _retry_interval(limits: SwitchingLimits, selected: bool, silence: float) -> float:
    if selected:
        return max(limits.fast_interval, min(limits.selected_slowest, limits.selected_slowdown * silence))
    return max(limits.fast_interval, min(limits.backup_slowest, limits.backup_slowdown * silence))


def convincing_at(other: PairHealth, selected: PairHealth) -> float:
    """From when on it speaks against the silent `selected` pair that the `other` one is answered.

    When all were silent together (a tunnel; a peer whose program stood still) one of them is the first to be answered
    again. It proves something only once the selected pair was asked after that and has not answered either.
    """
    since, recovered_at = selected.silent_since, other.recovered_at
    if since is None or recovered_at is None or recovered_at <= since:
        return float("-inf")
    longest = JITTER[1] * _retry_interval(selected.limits, True, recovered_at - since)
    return recovered_at + longest + selected.answer_time


def rank(health: PairHealth) -> tuple[bool, int, int]:
    """What speaks for a pair apart from how well it does: direct before relayed, then the cheaper one, then priority.
    The greater the better."""
    return (not health.pair.relayed, -health.cost, health.pair.priority)


def tie_breaker(health: PairHealth) -> tuple[int, Address]:
    """Pairs come in any order, and choices must not hang on it."""
    return health.pair.path


def warm(
    pairs: Iterable[PairHealth], selected: PairHealth | None, now: float, limit: int | None = None
) -> list[PairHealth]:
    """The pairs that are worth being checked beside the `selected` one, at most `limit` (default: the named limit),
    the most useful first.

    Pairs fail together when they share networks, so at most one of each (local address, remote network) is kept, those
    from other local addresses first, and the best relayed pair always: it tends to work when nothing else does.
    """
    rest = sorted((each for each in pairs if each is not selected and each.usable(now)), key=tie_breaker)
    rest.sort(key=lambda each: (each.strength(now) > Strength.DEAD, rank(each)), reverse=True)
    if not rest:
        return []
    limit = rest[0].limits.warm_pairs if limit is None else limit
    chosen = _diverse(rest, selected)[: max(limit, 0)]
    relay = next((each for each in rest if each.pair.relayed), None)
    if chosen and relay is not None and not any(each.pair.relayed for each in [*chosen, selected] if each):
        chosen[-1 if len(chosen) == limit else len(chosen) :] = [relay]
    return chosen


def _diverse(ranked: Sequence[PairHealth], selected: PairHealth | None) -> list[PairHealth]:
    taken = set() if selected is None else {_networks(selected.pair)}
    one_each: list[PairHealth] = []
    for each in ranked:
        networks = _networks(each.pair)
        if networks not in taken:
            taken.add(networks)
            one_each.append(each)
    locals_seen = set() if selected is None else {_networks(selected.pair)[0]}
    elsewhere: list[PairHealth] = []
    beside: list[PairHealth] = []
    for each in one_each:
        local = _networks(each.pair)[0]
        (beside if local in locals_seen else elsewhere).append(each)
        locals_seen.add(local)
    return elsewhere + beside


def _networks(pair: CandidatePair) -> Networks:
    local = pair.local_candidate
    # relays of one server, reached in different ways, fail apart: UDP to it may be blocked where TLS is not
    ours = f"{local.base[0]} {local.url}" if local.candidate.type == "relay" else local.base[0]
    remote = parse_ip(pair.destination[0])
    if remote is None:
        return (ours, pair.destination[0])
    shift = remote.max_prefixlen - NETWORK_BITS[remote.version]
    return (ours, f"{pair.remote.transport} {remote.version} {int(remote) >> shift:x}")
