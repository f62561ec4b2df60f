"""Connectivity checks that we send: pacing, the request, and what its answer means (RFC 8445 6.1.4, 7.2)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from fasticePy.ice.candidate import Candidate, prflx_priority
from fasticePy.ice.checking.checklist import Checklist
from fasticePy.ice.pair import CandidatePair, LocalCandidate
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address, Timer
from fasticePy.stun import Attribute, ErrorCode, Message, MessageBuilder, MessageClass, Method
from fasticePy.stun.transaction import RC, RM, RTO, Transaction

LIFETIME = (2 ** (RC - 1) - 1 + RM) * RTO
"""How long a check is waited for: 39.5 s, which RFC 8863 4 counts on."""


@dataclass(frozen=True, slots=True)
class Check:
    """One request of ours: what it said, so that its answer is understood whatever changed meanwhile."""

    owner: Owner
    pair: CandidatePair
    checklist: Checklist
    nominating: bool
    controlling: bool
    tiebreaker: int


class CheckObserver(Protocol):
    """Who is told of what checks find out."""

    def pair_succeeded(self, pair: CandidatePair, nominating: bool, now: float) -> None:
        """An authenticated answer came: the pair is valid."""

    def pair_failed(self, pair: CandidatePair, nominating: bool, now: float) -> None:
        """Its check ended without one."""

    def role_conflict(self, now: float) -> None:
        """The peer answered 487 to a check in our present role."""

    def connection_wanted(self, pair: CandidatePair, now: float) -> None:
        """It is the turn of a TCP pair that has no connection yet: its check is sent as soon as it has one."""

    def local_candidate_at(self, pair: CandidatePair, address: Address) -> LocalCandidate | None:
        """The local candidate of the pair's component that has this address."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose checklist it is: the credentials of its checks, and who is told of what they find."""

    generation: Generation
    observer: CheckObserver
    unanswered: dict[str, int] = field(default_factory=dict)
    """How many pairs were checked towards each IP address from which no answer has come."""
    answered: set[str] = field(default_factory=set)
    """The IP addresses from which one has come."""

    def may_check(self, pair: CandidatePair, limit: int) -> bool:
        """Whether the address has not been asked in vain on `limit` other pairs; counts this one."""
        host = pair.destination[0]
        if pair.counted or host in self.answered:
            return True
        count = self.unanswered.get(host, 0)
        if count >= limit:
            return False
        self.unanswered[host] = count + 1
        pair.counted = True
        return True


class Checker:
    """Sends the checks of all checklists of a session, one every Ta, triggered ones first."""

    __slots__ = (
        "_checklists",
        "_last_at",
        "_owners",
        "_session",
        "_thaw_timer",
        "_tick_timer",
        "loopback_only",
    )

    def __init__(self, session: Session) -> None:
        self._session = session
        self._checklists = session.checklists
        self._owners: dict[Checklist, Owner] = {}
        self._last_at = float("-inf")
        self._tick_timer: Timer | None = None
        self._thaw_timer: Timer | None = None
        self.loopback_only = True
        """All pairs stay on this host: the process-wide floor, which protects NATs, is not needed."""

    def register(self, checklist: Checklist, generation: Generation, observer: CheckObserver) -> None:
        """Check the pairs of this list too."""
        self._owners[checklist] = Owner(generation, observer)
        self._checklists.lists.append(checklist)

    def unregister(self, checklist: Checklist) -> None:
        """Check its pairs no more; what is under way is forgotten."""
        if self._owners.pop(checklist, None) is None:
            return
        self._checklists.lists.remove(checklist)
        checklist.triggered.clear()
        for pair in checklist.pairs:
            self.forget(pair)

    def forget(self, pair: CandidatePair) -> None:
        """An answer to the check under way counts no more."""
        if pair.transaction is not None:
            self._session.transactions.forget(pair.transaction)
            pair.transaction = None

    def wake(self, now: float) -> None:
        """There may be something to check: make sure that the timer runs (checks start from it only)."""
        if self._session.options.lite:
            return  # RFC 8445 6.2: a lite agent sends no checks
        if self._tick_timer is not None and self._tick_timer.active:
            return
        if not self._checklists.has_work():
            return
        if not self._checklists.started:
            self._checklists.start()
        self._schedule(max(now, self._last_at + self._session.pacing), self._tick)

    def stop(self) -> None:
        """Send no more checks."""
        self._session.outbox.timers.cancel(self._tick_timer)
        self._session.outbox.timers.cancel(self._thaw_timer)
        for checklist in list(self._owners):
            self.unregister(checklist)

    def send(self, pair: CandidatePair, checklist: Checklist, now: float) -> None:
        """Send one check of this pair now."""
        session = self._session
        nominating = pair.nominating and session.controlling
        owner = self._owners[checklist]
        if pair.transport == "tcp" and pair.connection is None:
            owner.observer.connection_wanted(pair, now)
            return
        check = Check(owner, pair, checklist, nominating, session.controlling, session.tiebreaker)
        rto = RTO if nominating else max(RTO, session.pacing * self._checklists.active_checks())
        # RFC 6544 7.1: over TCP a check is sent once
        max_sends, final_wait = _schedule(rto) if pair.transport == "udp" else (1, LIFETIME)
        transaction = Transaction(
            id=session.rng(12),
            socket=pair.socket,
            address=pair.destination,
            data=b"",
            on_response=partial(self._response_received, check),
            on_timeout=partial(self._timed_out, check),
            rto=rto,
            max_sends=max_sends,
            final_wait=final_wait,
        )
        transaction.data = build_check(session, owner.generation, pair, check.nominating, transaction.id)
        self._cancel(pair, now)
        pair.state = "in-progress"
        pair.failure = ""
        pair.started_at = now
        pair.requests_sent += 1
        pair.transaction = transaction
        session.outbox.count("check.sent")
        session.transactions.start(transaction, now)

    def trigger(self, pair: CandidatePair, checklist: Checklist, now: float) -> None:
        """A request of the peer arrived on this pair: check it soon ourselves (RFC 8445 7.3.1.4)."""
        if pair.state == "succeeded":
            return
        if pair.transport == "tcp" and pair.transaction is not None:
            return  # what was sent over TCP arrives: another check would say the same
        self._cancel(pair, now)
        pair.state = "waiting"
        checklist.trigger(pair)
        self.wake(now)

    def nominate(self, pair: CandidatePair, checklist: Checklist, now: float) -> None:
        """Repeat the check of a valid pair with USE-CANDIDATE (RFC 8445 8.1.1). Whichever pair of the component was
        nominated before is not any more, even if its answer has still to come."""
        for other in checklist.pairs:
            if other is not pair and other.component == pair.component and other.chosen:
                self._withdraw(other, checklist, now)
        pair.chosen = pair.nominating = True
        checklist.trigger(pair)
        self.wake(now)

    def retire(self, pair: CandidatePair, checklist: Checklist, now: float) -> None:
        """Another pair of the component was nominated: check this one no more (RFC 8445 8.1.2)."""
        pair.retired = True
        pair.nominating = False
        checklist.untrigger(pair)
        self._cancel(pair, now)

    def _withdraw(self, pair: CandidatePair, checklist: Checklist, now: float) -> None:
        pair.chosen = False
        if pair.nominating:
            pair.nominating = False
            checklist.untrigger(pair)
            self._cancel(pair, now)
            pair.state = "succeeded"

    def fail(self, pair: CandidatePair, checklist: Checklist, reason: str, now: float) -> None:
        """End the check of a pair without success."""
        nominating, reason = pair.nominating, pair.veiled(reason)
        self._end(pair, checklist, reason)
        self._session.record.add(now, "pair", str(pair), "failed", reason)
        if (owner := self._owners.get(checklist)) is not None:
            owner.observer.pair_failed(pair, nominating, now)
        self.wake(now)

    def expire(self, pair: CandidatePair, checklist: Checklist, reason: str) -> None:
        """Consent on this pair has ended: what is under way on it counts no more, and nothing is sent on it again
        (RFC 7675 5.1)."""
        self._end(pair, checklist, reason)
        pair.nominate_on_success = False
        pair.expired = True

    def _end(self, pair: CandidatePair, checklist: Checklist, reason: str) -> None:
        self.forget(pair)
        checklist.untrigger(pair)
        pair.nominating = False
        pair.state = "failed"
        pair.failure = reason

    # -- pacing ----------------------------------------------------------------------------------------------------

    def _schedule(self, at: float, callback: Callable[[float], None]) -> None:
        self._tick_timer = self._session.outbox.timers.schedule(at, callback)

    def _tick(self, now: float) -> None:
        if not self._checklists.has_work():
            return
        moment = now if self.loopback_only else self._session.pacer.reserve(now)
        if moment > now:
            self._schedule(moment, self._send_next)  # the moment is ours: no second reservation
        else:
            self._send_next(now)

    def _send_next(self, now: float) -> None:
        pair = self._checklists.next_check(now)
        if pair is None:
            self._thaw_later(now)
            return
        checklist = next(each for each in self._checklists.lists if pair in each.pairs)
        limit = self._session.options.limits.checks_per_address
        if not self._owners[checklist].may_check(pair, limit):
            self._session.outbox.count("check.over-limit")
            self.fail(pair, checklist, f"{limit} pairs with this address were tried in vain", now)
            return
        self._last_at = now
        self.send(pair, checklist, now)
        if self._checklists.has_work():
            self._schedule(now + self._session.pacing, self._tick)

    def _thaw_later(self, now: float) -> None:
        at = self._checklists.next_thaw(now)
        if at is not None:
            timers = self._session.outbox.timers
            timers.cancel(self._thaw_timer)
            self._thaw_timer = timers.schedule(at, self.wake)

    def _cancel(self, pair: CandidatePair, now: float) -> None:
        if pair.transaction is not None:
            self._session.transactions.cancel(pair.transaction, now)
            pair.transaction = None

    # -- answers ---------------------------------------------------------------------------------------------------

    def _response_received(
        self,
        check: Check,
        transaction: Transaction,
        message: Message,
        socket: int,
        address: Address,
        now: float,
    ) -> None:
        session, pair = self._session, check.pair
        if not accept_response(session, check.owner.generation, transaction, message):
            _note_refusal(pair, transaction, message)
            return
        rtt = session.transactions.finish(transaction, now)
        if pair.expired:  # to a check that was cancelled before consent ended
            session.outbox.count("drop.response.consent-expired")
            return
        if check.checklist not in self._owners or pair not in check.checklist.pairs:
            # to a check that was cancelled before its pair was removed, or its generation ended
            session.outbox.count("drop.response.late")
            return
        if pair.transaction is transaction:
            pair.transaction = None
        pair.answered(rtt)
        if (socket, address) != (transaction.socket, transaction.address):
            # RFC 8445 7.2.5.2.1: a path that is not symmetric is of no use
            other = "another address" if pair.remote_concealed else f"{address[0]} port {address[1]}"
            self._failed(check, transaction, f"the answer came from {other} instead", now)
        elif message.message_class == MessageClass.ERROR:
            self._error_received(check, transaction, message, now)
        else:
            self._succeeded(check, message, rtt, now)

    def _failed(self, check: Check, transaction: Transaction, reason: str, now: float) -> None:
        if transaction.cancelled:  # its successor decides about the pair, or has done so
            self._session.outbox.count("drop.response.superseded")
            self._session.record.add(now, "pair", str(check.pair), "an earlier check failed", reason)
            return
        self.fail(check.pair, check.checklist, reason, now)

    def _error_received(self, check: Check, transaction: Transaction, message: Message, now: float) -> None:
        session, pair = self._session, check.pair
        code, reason = message.get(Attribute.ERROR_CODE) or (0, "without ERROR-CODE")
        if code != ErrorCode.ROLE_CONFLICT:
            pair.refused = True
            self._failed(check, transaction, f"the peer answered error {code} {reason}".rstrip(), now)
            return
        session.outbox.count("check.role-conflict")
        session.record.add(now, "pair", str(pair), "error 487 Role Conflict", f"checked as {session.role}")
        if (check.controlling, check.tiebreaker) == (session.controlling, session.tiebreaker):
            # RFC 8445 7.2.5.1: only if it still is the role that the check was sent in
            session.new_tiebreaker()
            check.owner.observer.role_conflict(now)
        if transaction.cancelled:
            return
        pair.state = "waiting"
        check.checklist.trigger(pair)
        self.wake(now)

    def _succeeded(self, check: Check, message: Message, rtt: float | None, now: float) -> None:
        pair, session = check.pair, self._session
        mapped = message.get(Attribute.XOR_MAPPED_ADDRESS)
        if mapped is None:
            self.fail(pair, check.checklist, "the answer has no XOR-MAPPED-ADDRESS", now)
            return
        pair.mapped = self._mapped_candidate(check, mapped)
        first = not pair.valid
        check.owner.answered.add(pair.destination[0])
        if check.nominating or not pair.nominating:
            # when a check that was cancelled is answered, its successor is needless, unless that one nominates
            self._cancel(pair, now)
            check.checklist.untrigger(pair)
            pair.nominating = False
        pair.state = "succeeded"
        pair.failure, pair.refused = "", False
        pair.valid = True
        pair.consent_at = now
        if first:
            pair.validated_at = now
            session.record.add(
                now, "pair", str(pair), "valid" if rtt is None else f"valid, round trip {rtt * 1000:.1f} ms"
            )
        elif check.nominating:
            session.record.add(now, "pair", str(pair), "the nomination was answered")
        self._checklists.unfreeze(pair.foundation)
        check.owner.observer.pair_succeeded(pair, check.nominating and pair.chosen, now)
        self.wake(now)

    def _mapped_candidate(self, check: Check, mapped: Address) -> LocalCandidate | None:
        pair = check.pair
        own = pair.local_candidate
        if mapped == own.candidate.transport_address:
            return None
        known = check.owner.observer.local_candidate_at(pair, mapped)
        if known is not None:
            return known
        base = own.base if pair.connection is None else pair.connection.address
        concealment = self._session.concealment
        if mapped[0] == base[0].partition("%")[0] and concealment.covers(base[0]):
            return None  # the host itself, of which nobody may see the number
        # RFC 8445 7.2.5.3.1: a new peer-reflexive candidate of ours; it is paired with nothing else
        related_address, related_port = concealment.related(base)
        candidate = Candidate(
            foundation=self._session.foundations.foundation("prflx", base[0], "", own.candidate.transport),
            component=pair.component,
            transport=own.candidate.transport,
            priority=prflx_priority(own.candidate.priority, own.candidate.transport),
            address=mapped[0],
            port=mapped[1],
            type="prflx",
            related_address=related_address,
            related_port=related_port,
            tcptype=own.candidate.tcptype,
        )
        return LocalCandidate(candidate, own.socket, base)

    def _timed_out(self, check: Check, transaction: Transaction, now: float) -> None:
        if check.pair.transaction is not transaction:
            return
        check.pair.transaction = None
        why = check.pair.failure or "no answer"
        self.fail(check.pair, check.checklist, f"{why} to {transaction.sends} requests", now)


def _schedule(rto: float) -> tuple[int, float]:
    """How often a check is sent and how long the last send is waited for.

    RFC 8445 14.3 lets agents choose the RTO. Ours keeps what its formula is for, that the first sends of all checks
    precede all retransmissions, but leaves out its factor N, for which one lost packet among ten pairs costs five
    seconds; and however many pairs there are, each ends when one alone would (39.5 s), for a larger RTO means fewer
    sends.
    """
    sends = RC
    while sends > 1 and rto * 2 ** (sends - 1) > LIFETIME:
        sends -= 1
    return sends, max(rto, LIFETIME - rto * (2 ** (sends - 1) - 1))


def _note_refusal(pair: CandidatePair, transaction: Transaction, message: Message) -> None:
    # Nobody vouches for it, so it decides nothing; but it may explain why no better answer comes
    if pair.transaction is not transaction:
        return
    if message.message_class == MessageClass.ERROR and not message.has_integrity:
        code, reason = message.get(Attribute.ERROR_CODE) or (0, "without ERROR-CODE")
        pair.failure, pair.refused = f"unauthenticated error {code} {reason}".rstrip(), True
    elif transaction.violated:
        pair.failure, pair.refused = "only answers with a wrong MESSAGE-INTEGRITY", True


def build_check(
    session: Session, generation: Generation, pair: CandidatePair, nominating: bool, transaction_id: bytes
) -> bytes:
    """The Binding request of a connectivity or consent check (RFC 8445 7.1, 7.2.2; RFC 7675 5.1)."""
    assert generation.remote is not None
    builder = MessageBuilder(Method.BINDING, MessageClass.REQUEST, transaction_id)
    builder.add(Attribute.USERNAME, f"{generation.remote.ufrag}:{generation.local.ufrag}")
    own = pair.local_candidate.candidate
    builder.add(Attribute.PRIORITY, prflx_priority(own.priority, own.transport))
    if session.controlling:
        builder.add(Attribute.ICE_CONTROLLING, session.tiebreaker)
        if nominating:
            builder.add(Attribute.USE_CANDIDATE)
            generation.renomination.add_to(builder, pair.component)
    else:
        builder.add(Attribute.ICE_CONTROLLED, session.tiebreaker)
    return builder.build(generation.remote_key, fingerprint=True)


def accept_response(
    session: Session, generation: Generation, transaction: Transaction, message: Message
) -> bool:
    """Whether an answer is the peer's own. Anything else is counted and the check goes on, so that a forger can
    neither end it nor pass (RFC 8489 9.1.4, RFC 8445 7.2.4)."""
    if not message.verify_fingerprint():
        session.outbox.count("drop.response.fingerprint")
        return False
    if generation.remote_key is None or not message.verify_integrity(generation.remote_key):
        session.outbox.count("drop.response.integrity")
        transaction.violated = True
        return False
    return True
