"""Consent to send and liveness of a selected pair (RFC 7675, RFC 8445 11)."""

from __future__ import annotations

from typing import Protocol

from fasticePy.ice.checking.live_checks import LiveChecks
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.paths import Path
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address, Timer

JITTER = (0.8, 1.2)
"""Each interval is drawn anew from the mean times these (RFC 7675 5.1)."""

DOUBT = 0.5
"""After this part of the expiry without an answer, connectivity checks help the consent checks."""
SILENCE = 0.8
"""After this part of `Timeouts.disconnected` without any packet, too: an idle path that works has answered before
it is called silent."""
DOUBT_INTERVAL = 1.0
"""Seconds between two of these, each of which is sent twice: so one packet leaves every 0.5 s (the RTO)."""
DOUBT_SENDS = 2

STALLED = 1.0
"""A timer that runs so late (seconds) is worth a word: the loop that drives us was blocked."""


class ConsentObserver(Protocol):
    """Who is told of the end, and of silence before it."""

    def consent_lost(self, pair: CandidatePair, reason: str, now: float) -> None:
        """Sending on this pair has to stop for good."""

    def path_silent(self, path: Path, now: float) -> None:
        """Nothing was received on the path for `Timeouts.disconnected` seconds."""

    def path_returned(self, path: Path, now: float) -> None:
        """A packet of the peer came on the path."""

    def role_conflict(self, now: float) -> None:
        """The peer answered 487."""


class ConsentMonitor:
    """Keeps consent fresh on one pair. One timer: for the next check, for silence and for expiry alike.

    Consent checks are sent once, some six of them before consent expires: too few where a third of all packets is
    lost each way. RFC 7675 5.1 permits connectivity checks beside them, and any authenticated answer renews; so when
    half of the time is over without one, or nothing at all has come for some seconds, connectivity checks are sent
    too, at the pace of all checks (RFC 8445 14.2).
    """

    __slots__ = (
        "_checks",
        "_doubt_reserved",
        "_in_doubt",
        "_next_check",
        "_next_doubt",
        "_observer",
        "_session",
        "_timer",
        "pair",
        "path",
    )

    def __init__(
        self,
        session: Session,
        generation: Generation,
        pair: CandidatePair,
        path: Path,
        observer: ConsentObserver,
    ) -> None:
        self._session = session
        self._observer = observer
        self._checks = LiveChecks(session, generation, pair, self)
        self._timer: Timer | None = None
        self._next_check = 0.0
        self._next_doubt = 0.0
        self._doubt_reserved = False
        self._in_doubt = False
        self.pair = pair
        self.path = path

    def start(self, now: float) -> None:
        """Begin: consent was given by the answer to the connectivity check."""
        self._next_check = now + self._interval()
        self._arm(now)

    def stop(self) -> None:
        """End: the pair is no longer selected, or its agent is closed."""
        timers = self._session.outbox.timers
        timers.cancel(self._timer)
        self._checks.stop()

    def heard(self, now: float) -> None:
        """A packet came after a silence."""
        self.path.silent = False
        self._arm(now)

    def refreshed(self, now: float) -> None:
        """A check of the peer or an answer has come: what the timer was set for may be further away now."""
        if self._timer is not None:
            self._session.outbox.timers.postpone(self._timer, self._due)

    def _interval(self) -> float:
        low, high = JITTER
        return self._session.options.timeouts.consent_interval * self._session.uniform(low, high)

    @property
    def _expires(self) -> float:
        return (self.pair.consent_at or 0.0) + self._session.options.timeouts.consent_expiry

    @property
    def _doubt_at(self) -> float:
        timeouts = self._session.options.timeouts
        unanswered = (self.pair.consent_at or 0.0) + timeouts.consent_expiry * DOUBT
        unheard = self.path.last_received + timeouts.disconnected * SILENCE
        return max(min(unanswered, unheard), self._next_doubt)

    @property
    def _silent_at(self) -> float:
        return self.path.last_received + self._session.options.timeouts.disconnected

    @property
    def _due(self) -> float:
        at = min(self._next_check, self._doubt_at, self._expires)
        return at if self.path.silent else min(at, self._silent_at)

    def _arm(self, now: float) -> None:
        self._session.outbox.timers.cancel(self._timer)
        self._timer = self._session.outbox.timers.schedule(max(self._due, now), self._tick)

    def _tick(self, now: float) -> None:
        if now >= self._expires:
            reason = f"no authenticated answer for {self._session.options.timeouts.consent_expiry:g} s"
            late = 0.0 if self._timer is None else now - self._timer.at
            if late >= STALLED:
                reason += f"; this program stood still for the last {late:.1f} s"
            self._end(reason, now)
            return
        if not self.path.silent and now >= self._silent_at:
            self.path.silent = True
            self._observer.path_silent(self.path, now)
        if now >= self._next_check:
            # RFC 7675 5.1: sent once; an answer to any outstanding one renews. It says the nomination again: should
            # the peer have taken another pair for the final one (roles that changed, a lost check), it follows now.
            self._checks.send(now, nominating=self.pair.nominated)
            self._next_check = now + self._interval()
        if now >= self._doubt_at:
            self._doubt(now)
        self._arm(now)

    def _doubt(self, now: float) -> None:
        if not self._doubt_reserved and (moment := self._session.pacer.reserve(now)) > now:
            self._next_doubt, self._doubt_reserved = moment, True
            return
        self._doubt_reserved = False
        self._next_doubt = now + DOUBT_INTERVAL
        waited = now - (self.pair.consent_at or 0.0)
        if not self._in_doubt and waited >= self._session.options.timeouts.consent_expiry * DOUBT:
            self._in_doubt = True
            self._session.record.add(
                now, "consent", str(self.pair), "in doubt", f"no authenticated answer for {waited:.1f} s"
            )
        self._session.outbox.count("consent.doubted")
        self._checks.send(now, sends=DOUBT_SENDS, nominating=self.pair.nominated)

    def _renewed(self, now: float) -> None:
        self._doubt_reserved = False
        if self._in_doubt:
            self._in_doubt = False
            self._session.record.add(now, "consent", str(self.pair), "renewed")

    def _end(self, reason: str, now: float) -> None:
        # RFC 7675 5.1: outstanding checks are discarded, a later answer revives nothing
        self.stop()
        self._session.outbox.count("consent.lost")
        self._session.record.add(now, "consent", str(self.pair), "lost", reason)
        self._observer.consent_lost(self.pair, reason, now)

    # -- answers (LiveCheckObserver) ---------------------------------------------------------------------------------

    def answered(self, pair: CandidatePair, rtt: float | None, mapped: Address | None, now: float) -> None:
        """See `LiveCheckObserver`."""
        self._renewed(now)
        self.path.last_received = now
        self._observer.path_returned(self.path, now)
        self.refreshed(now)

    def consent_refused(self, pair: CandidatePair, now: float) -> None:
        """See `LiveCheckObserver`."""
        self._end("the peer took consent back (403)", now)

    def role_conflict(self, now: float) -> None:
        """See `LiveCheckObserver`."""
        self._observer.role_conflict(now)
