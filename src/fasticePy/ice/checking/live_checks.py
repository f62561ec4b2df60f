"""Checks of a pair that is valid already: whether it is alive, and whether the peer consents (RFC 7675 5.1)."""

from __future__ import annotations

from functools import partial
from typing import Protocol

from fasticePy.ice.checking.checks import accept_response, build_check
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address
from fasticePy.stun import Attribute, ErrorCode, Message, MessageClass
from fasticePy.stun.transaction import Transaction


class LiveCheckObserver(Protocol):
    """Who is told of the answers."""

    def answered(self, pair: CandidatePair, rtt: float | None, mapped: Address | None, now: float) -> None:
        """An authenticated success; `mapped` is how the peer sees us."""

    def consent_refused(self, pair: CandidatePair, now: float) -> None:
        """The peer takes consent back (RFC 7675 5.2)."""

    def role_conflict(self, now: float) -> None:
        """The peer answered 487 to a check in our present role."""


class LiveChecks:
    """The checks of one pair that are on their way: an answer to any of them counts."""

    __slots__ = ("_generation", "_observer", "_outstanding", "_session", "pair")

    def __init__(
        self, session: Session, generation: Generation, pair: CandidatePair, observer: LiveCheckObserver
    ) -> None:
        self._session = session
        self._generation = generation
        self._observer = observer
        self._outstanding: list[Transaction] = []
        self.pair = pair

    def send(self, now: float, *, sends: int = 1, nominating: bool = False) -> None:
        """Send one more: once (RFC 7675 5.1), or as often as connectivity checks may be sent, at their RTO.
        `nominating` repeats the nomination of a pair that was nominated before."""
        session, pair = self._session, self.pair
        transaction = Transaction(
            id=session.rng(12),
            socket=pair.socket,
            address=pair.destination,
            data=b"",
            on_response=partial(self._response_received, session.controlling),
            on_timeout=self._unanswered,
            max_sends=sends if pair.transport == "udp" else 1,  # RFC 6544 7.1
            final_wait=session.options.timeouts.consent_expiry,
        )
        transaction.data = build_check(session, self._generation, pair, nominating, transaction.id)
        pair.requests_sent += 1
        pair.consent_requests_sent += sends == 1  # others are connectivity checks
        self._outstanding.append(transaction)
        session.outbox.count("consent.sent")
        session.transactions.start(transaction, now)

    def stop(self) -> None:
        """An answer to any of them counts no more."""
        for transaction in self._outstanding:
            self._session.transactions.forget(transaction)
        self._outstanding.clear()

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
        session, pair = self._session, self.pair
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
            if code == ErrorCode.FORBIDDEN:  # RFC 7675 5.2
                self._observer.consent_refused(pair, now)
            elif code == ErrorCode.ROLE_CONFLICT and sent_controlling == session.controlling:
                session.new_tiebreaker()
                self._observer.role_conflict(now)
            return
        pair.answered(rtt)
        pair.consent_at = now
        self._observer.answered(pair, rtt, message.get(Attribute.XOR_MAPPED_ADDRESS), now)
