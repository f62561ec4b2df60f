"""Consent to send and liveness of a selected pair (RFC 7675, RFC 8445 11)."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from fasticePy.ice.checks import accept_response, build_check
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.paths import Path
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address, Timer
from fasticePy.stun import Attribute, ErrorCode, Message, MessageClass
from fasticePy.stun.transaction import Transaction

FORBIDDEN = 403
"""An authenticated answer with this code takes consent back (RFC 7675 5.2)."""
JITTER = (0.8, 1.2)
"""Each interval is drawn anew from the mean times these (RFC 7675 5.1)."""

DOUBT = 0.5
"""After this part of the expiry without an answer, connectivity checks help the consent checks."""
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
    half of the time is over without one, connectivity checks are sent too, at the pace of all checks (RFC 8445 14.2).
    """

    __slots__ = (
        "_doubt_reserved",
        "_generation",
        "_in_doubt",
        "_next_check",
        "_next_doubt",
        "_observer",
        "_outstanding",
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
        self._generation = generation
        self._observer = observer
        self._outstanding: list[Transaction] = []
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
        for transaction in self._outstanding:
            self._session.transactions.forget(transaction)
        self._outstanding.clear()

    def heard(self, now: float) -> None:
        """A packet came after a silence."""
        self.path.silent = False
        self._arm(now)

    def _interval(self) -> float:
        low, high = JITTER
        return self._session.options.timeouts.consent_interval * self._session.uniform(low, high)

    @property
    def _expires(self) -> float:
        return (self.pair.consent_at or 0.0) + self._session.options.timeouts.consent_expiry

    @property
    def _doubt_at(self) -> float:
        doubtful = (self.pair.consent_at or 0.0) + self._session.options.timeouts.consent_expiry * DOUBT
        return max(doubtful, self._next_doubt)

    @property
    def _silent_at(self) -> float:
        return self.path.last_received + self._session.options.timeouts.disconnected

    def _arm(self, now: float) -> None:
        at = min(self._next_check, self._doubt_at, self._expires)
        if not self.path.silent:
            at = min(at, self._silent_at)
        self._session.outbox.timers.cancel(self._timer)
        self._timer = self._session.outbox.timers.schedule(max(at, now), self._tick)

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
            self._check(now, sends=1)  # RFC 7675 5.1: sent once; an answer to any outstanding one renews
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
        if not self._in_doubt:
            self._in_doubt = True
            waited = now - (self.pair.consent_at or 0.0)
            self._session.record.add(
                now, "consent", str(self.pair), "in doubt", f"no authenticated answer for {waited:.1f} s"
            )
        self._session.outbox.count("consent.doubted")
        self._check(now, sends=DOUBT_SENDS)

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

    def _check(self, now: float, *, sends: int) -> None:
        transaction = Transaction(
            id=self._session.rng(12),
            socket=self.pair.socket,
            address=self.pair.destination,
            data=b"",
            on_response=partial(self._response_received, self._session.controlling),
            on_timeout=self._unanswered,
            max_sends=sends if self.pair.transport == "udp" else 1,  # RFC 6544 7.1
            final_wait=self._session.options.timeouts.consent_expiry,
        )
        transaction.data = build_check(self._session, self._generation, self.pair, False, transaction.id)
        self.pair.requests_sent += 1
        self.pair.consent_requests_sent += sends == 1
        self._outstanding.append(transaction)
        self._session.outbox.count("consent.sent")
        self._session.transactions.start(transaction, now)

    def _unanswered(self, transaction: Transaction, now: float) -> None:
        self._outstanding.remove(transaction)

    def _response_received(
        self,
        sent_controlling: bool,
        transaction: Transaction,
        message: Message,
        socket: int,
        address: Address,
        now: float,
    ) -> None:
        session = self._session
        if not accept_response(session, self._generation, transaction, message):
            return
        if (socket, address) != (transaction.socket, transaction.address):
            session.outbox.count("drop.response.source")
            return
        if now - transaction.started_at >= transaction.final_wait:
            # it waited in the socket of a program that stood still: too old to say that the peer consents now
            session.outbox.count("drop.response.late")
            return
        rtt = session.transactions.finish(transaction, now)
        self._outstanding.remove(transaction)
        if message.message_class == MessageClass.ERROR:
            code, _ = message.get(Attribute.ERROR_CODE) or (0, "")
            session.outbox.count(f"consent.error.{code}")
            if code == FORBIDDEN:
                self._end("the peer took consent back (403)", now)
            elif code == ErrorCode.ROLE_CONFLICT and sent_controlling == session.controlling:
                session.new_tiebreaker()
                self._observer.role_conflict(now)
            return
        self.pair.answered(rtt)
        self._renewed(now)
        self.pair.consent_at = now
        self.path.last_received = now
        self._observer.path_returned(self.path, now)
