"""Lite agents: host candidates and answers only, for hosts that everybody can reach (RFC 8445 2.5).

A lite agent sends no checks, so it learns nothing by itself: the full peer controls, checks, and nominates. It sends
no consent checks either (RFC 7675 1), and takes what comes from the peer for the sign that the peer is there. Between
two lite agents nobody checks anything: the pairs follow from the candidates of both (RFC 8445 8.2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from fasticePy.errors import StateError
from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.checking.consent import ConsentObserver
from fasticePy.ice.options import IceOptions
from fasticePy.ice.pair import CandidatePair, pair_priority
from fasticePy.ice.paths import Path
from fasticePy.ice.selecting.selector import Monitor, Selection, Selector
from fasticePy.ice.session import Session
from fasticePy.machine import Timer
from fasticePy.stun import MessageBuilder, MessageClass, Method

QUIET = 2.5
"""After so many intervals between consent checks without any packet the peer is silent: two in a row, which come 1.2
times as late at most (RFC 7675 5.1), may be one that was lost."""


def lite_options(options: IceOptions) -> IceOptions:
    """What a lite agent makes of its options. Raises ValueError when there is nothing left to gather."""
    if "host" not in options.candidate_types:
        raise ValueError(
            "a lite agent has host candidates only, and these options exclude them (RFC 8445 5.2)"
        )
    return replace(
        options,
        candidate_types=frozenset({"host"}),
        tcp=None if options.tcp is None else options.tcp & {"passive"},  # RFC 6544 4.4
        continual=False,  # RFC 8839 4.4.1.3: no more candidates without a restart
    )


def one_per_host(addresses: Iterable[LocalAddress]) -> list[LocalAddress]:
    """One candidate for each IP address at most (RFC 8445 5.2); the first counts."""
    first: dict[str, LocalAddress] = {}
    for local in addresses:
        first.setdefault(local.host, local)
    return list(first.values())


def preference(pair: CandidatePair) -> tuple[int, int, list[str]]:
    """Which of several pairs two lite agents take: the same on both sides, whatever roles they think they have.
    IPv6 goes before IPv4, as the table of RFC 6724 2.1 has it, then the priorities count."""
    local, remote = pair.local_candidate.candidate, pair.remote
    family = 1 if ":" in pair.destination[0] else 0
    ends = sorted(f"{end.address} {end.port}" for end in (local, remote))
    return (family, pair_priority(local.priority, remote.priority) >> 1, ends)


class PeerWatch:
    """Tells whether the peer is still there, by what comes from it: a `Monitor` for a lite agent.

    RFC 7675 1 leaves lite agents without consent of their own. What they have is that a full peer checks the pair in
    use every 4 to 6 s, or at least sends keepalives: one packet of these may be lost without a word. A peer from which
    nothing comes until its own consent must have ended is gone.
    """

    __slots__ = ("_alone", "_keepalive_at", "_observer", "_session", "_timer", "pair", "path")

    def __init__(
        self, session: Session, pair: CandidatePair, path: Path, observer: ConsentObserver, *, alone: bool
    ) -> None:
        self._session = session
        self._observer = observer
        self._alone = alone  # the peer is lite, too: it need not send anything
        self._timer: Timer | None = None
        self._keepalive_at = 0.0
        self.pair = pair
        self.path = path

    def start(self, now: float) -> None:
        """Begin: the pair carries data from now on."""
        self._keepalive_at = now + self._session.options.timeouts.keepalive
        self._arm(now)

    def stop(self) -> None:
        """End: it does so no more."""
        self._session.outbox.timers.cancel(self._timer)

    def heard(self, now: float) -> None:
        """A packet came after a silence."""
        self.path.silent = False
        self._arm(now)

    def refreshed(self, now: float) -> None:
        """A check of the peer has come: what the timer was set for may be further away now."""
        if self._timer is not None:
            self._session.outbox.timers.postpone(self._timer, self._due)

    @property
    def _silent_at(self) -> float:
        timeouts = self._session.options.timeouts
        return self.path.last_received + max(timeouts.disconnected, QUIET * timeouts.consent_interval)

    @property
    def _gone_at(self) -> float:
        return self.path.last_received + self._session.options.timeouts.consent_expiry

    @property
    def _due(self) -> float:
        at = self._keepalive_at
        if self._alone:
            return at
        at = min(at, self._gone_at)
        return at if self.path.silent else min(at, self._silent_at)

    def _arm(self, now: float) -> None:
        self._session.outbox.timers.cancel(self._timer)
        self._timer = self._session.outbox.timers.schedule(max(self._due, now), self._tick)

    def _tick(self, now: float) -> None:
        if not self._alone:
            if now >= self._gone_at:
                self._end(now)
                return
            if not self.path.silent and now >= self._silent_at:
                self.path.silent = True
                self._observer.path_silent(self.path, now)
        if now >= self._keepalive_at:
            self._keep_alive(now)
        self._arm(now)

    def _end(self, now: float) -> None:
        reason = f"nothing came from the peer for {self._session.options.timeouts.consent_expiry:g} s"
        self.stop()
        self._session.outbox.count("peer.lost")
        self._session.record.add(now, "consent", str(self.pair), "lost", reason)
        self._observer.consent_lost(self.pair, reason, now)

    def _keep_alive(self, now: float) -> None:
        # RFC 8445 11: each agent refreshes the bindings on its way; answers to checks do that as well
        interval = self._session.options.timeouts.keepalive
        answered_at = self.pair.consent_at
        if answered_at is None or answered_at + interval <= now:
            builder = MessageBuilder(Method.BINDING, MessageClass.INDICATION, self._session.rng(12))
            self._session.outbox.count("keepalive.sent")
            self._session.outbox.send(
                self.pair.socket, self.pair.destination, builder.build(fingerprint=True)
            )
            answered_at = now
        self._keepalive_at = answered_at + interval


class LiteSelector(Selector):
    """A lite agent's selection: the pairs that the peer nominates, once there is one for each component."""

    __slots__ = ()

    @property
    def goes_on(self) -> bool:
        """Which pair carries data is the peer's choice."""
        return False

    def peer_nominates(self, pair: CandidatePair, now: float) -> None:
        """USE-CANDIDATE makes the pair valid, and nominated (RFC 8445 7.3.2)."""
        self._make_valid(pair, now)
        self._nominate(pair, now)
        self.update(pair.component, now)

    def settle(self, pair: CandidatePair, now: float) -> None:
        """With a lite peer: this is the pair of its component (RFC 8445 8.2)."""
        selection = self.components[pair.component]
        if selection.nominated is pair:
            return
        if selection.nominated is not None:
            selection.nominated.nominated = False
            selection.nominated = None
        pair.nomination = None
        self._make_valid(pair, now)
        self._nominate(pair, now)
        self.update(pair.component, now)

    def nominate(self, pair: CandidatePair, now: float, *, at_once: bool = False) -> None:
        """Send on this pair. With a lite peer any of the pairs will do, for none is checked; a full peer must have
        nominated it before. Raises StateError when that is not so."""
        if pair not in self._checklist.pairs or not (pair.valid or self._session.peer_lite):
            raise StateError(f"{pair} cannot be selected: the peer has not nominated it, or it is lost")
        if self._session.peer_lite:
            self.settle(pair, now)
            return
        self.components[pair.component].preferred = pair
        self.update(pair.component, now)

    def consider(self, component: int, now: float) -> None:
        """Nothing is nominated by a lite agent."""

    def update(self, component: int, now: float) -> None:
        """RFC 8445 12.1.1: no data of any component before each of them has a valid pair."""
        if not self.all_nominated:
            for selection in self.components.values():
                self._stop(selection)
                selection.selected = None
            return
        for number in self.components:
            super().update(number, now)

    def _watch(self, pair: CandidatePair, path: Path) -> Monitor:
        return PeerWatch(self._session, pair, path, self._observer, alone=self._session.peer_lite)

    def _has_consent(self, pair: CandidatePair, now: float) -> bool:
        return pair.valid  # RFC 7675 1: there is no consent to be had

    def _guard_nominated(self, selection: Selection, best: CandidatePair | None, now: float) -> None:
        return  # the peer's checks show by themselves whether the pair is alive

    def _make_valid(self, pair: CandidatePair, now: float) -> None:
        pair.state, pair.failure = "succeeded", ""
        pair.retired = False
        if not pair.valid:
            pair.valid = True
            pair.validated_at = now
            self._session.record.add(now, "pair", str(pair), "valid")
