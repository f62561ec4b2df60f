"""The TCP pairs of one generation: their connections, and what becomes of a pair when its connection ends (RFC 6544).

A pair of TCP candidates has no socket before it is connected. Until then its local candidate's number stands for it:
that of the listening socket, or, for an active candidate, a negative one that no socket has.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Protocol

from fasticePy.ice.candidate import Candidate, TcpType
from fasticePy.ice.checking.checklist import Checklist
from fasticePy.ice.checking.checks import Checker
from fasticePy.ice.checking.connections import Connection, Connections
from fasticePy.ice.gathering.sockets import Base
from fasticePy.ice.options import IceOptions
from fasticePy.ice.pair import CandidatePair, LocalCandidate
from fasticePy.ice.selecting.selector import Selector
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address, Timer

REOPEN_DELAYS = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt to open the selected connection anew; when all of them have failed the pair is lost."""
CLOSE_DELAY = 3.0
"""Connections that were not selected are closed so long (seconds) after ICE has completed: the peer may hear of it
later, and what it has sent is still on its way (RFC 6544 8; the time is that of RFC 8445 8.3.1)."""

_COUNTERPARTS: dict[TcpType, TcpType] = {"active": "passive", "passive": "active", "so": "so"}


def gathered_kinds(options: IceOptions) -> frozenset[TcpType]:
    """The kinds of TCP candidates that are gathered and signalled; a lite agent only waits (RFC 6544 4.4)."""
    kinds = options.tcp or frozenset()
    return kinds & {"passive"} if options.lite else kinds


def forms_active_unasked(options: IceOptions) -> bool:
    """Whether we connect to passive candidates of the peer without a signalled candidate of our own."""
    return options.tcp is None and not options.lite


def fits(local: Candidate, remote: Candidate, *, connected: bool) -> bool:
    """Whether two TCP candidates pair up (RFC 6544 6.2). Those with a passive local one are pruned: they are formed
    when a connection came in."""
    if local.tcptype is None or remote.tcptype != _COUNTERPARTS[local.tcptype]:
        return False
    return connected or local.tcptype != "passive"


def counterpart(local: Candidate) -> TcpType | None:
    """What a peer is that connects to this candidate of ours; None for UDP."""
    return None if local.tcptype is None else _COUNTERPARTS[local.tcptype]


@dataclass(slots=True, eq=False)
class _Lost:
    """A selected pair without its connection."""

    pair: CandidatePair
    reason: str
    nominated: bool
    deadline: Timer
    attempts: int = 0
    timer: Timer | None = None


class TcpObserver(Protocol):
    """Who is told what the end of a connection means."""

    def nomination_lost(self, component: int, now: float) -> None:
        """What was settled for this component is so no more."""

    def tcp_changed(self, reason: str, now: float) -> None:
        """The selected connection is gone, and may come back."""

    def tcp_given_up(self, reason: str, now: float) -> None:
        """It did not."""


class TcpPairs:
    """Brings TCP pairs and connections together (a `ConnectionUser`)."""

    __slots__ = (
        "_borrowed",
        "_checker",
        "_checklist",
        "_closing",
        "_connections",
        "_frozen",
        "_lost",
        "_observer",
        "_selector",
        "_session",
        "_settled",
        "candidates",
        "stream",
    )

    def __init__(
        self,
        session: Session,
        generation: Generation,
        connections: Connections,
        checklist: Checklist,
        checker: Checker,
        selector: Selector,
        observer: TcpObserver,
    ) -> None:
        self.stream = generation.stream
        self.candidates: list[LocalCandidate] = []
        """Our TCP candidates, those among them that the peer is not told of, too."""
        self._session = session
        self._connections = connections
        self._checklist = checklist
        self._checker = checker
        self._selector = selector
        self._observer = observer
        self._borrowed: dict[CandidatePair, None] = {}  # an empty set takes three times as much
        self._lost: dict[int, _Lost] = {}
        self._settled: list[CandidatePair | None] = []
        self._closing: Timer | None = None
        self._frozen = False
        connections.register(self)

    # -- our candidates ----------------------------------------------------------------------------------------------

    def add(self, candidate: LocalCandidate) -> bool:
        """Take one more. False when another one of its kind stands for the same base (RFC 8445 6.1.2.4)."""
        for known in self.candidates:
            if (known.socket, known.candidate.tcptype) == (candidate.socket, candidate.candidate.tcptype):
                return False
        self.candidates.append(candidate)
        return True

    def listens(self, listener: int) -> bool:
        """See `ConnectionUser`."""
        return any(each.socket == listener for each in self.candidates)

    def base_gone(self, base: Base) -> None:
        """A local address is no more."""
        self.candidates = [each for each in self.candidates if each.socket != base.socket]

    def connection_at(self, socket: int) -> Connection | None:
        """The connection with this number."""
        return self._connections.open.get(socket)

    def local_at(self, socket: int) -> LocalCandidate | None:
        """Our candidate to which the messages of a connection come."""
        connection = self._connections.open.get(socket)
        if connection is None:
            return None
        for user, pair in connection.users:
            if user is self:
                return pair.local_candidate
        listening = [each for each in self.candidates if each.socket >= 0 and each.base == connection.address]
        # Both kinds may listen at one socket. Who has connected there is an active one, as long as no candidate says
        # otherwise; what has left from there, for another generation, was a simultaneous open.
        likely = "passive" if connection.listener is not None else "so"
        return min(listening, key=lambda each: each.candidate.tcptype != likely, default=None)

    # -- connecting --------------------------------------------------------------------------------------------------

    def connect(self, pair: CandidatePair, now: float) -> None:
        """It is this pair's turn, and it has no connection yet (RFC 6544 7.1)."""
        if pair.local_candidate.candidate.tcptype == "passive":
            self._checker.fail(pair, self._checklist, "the peer's connection has ended", now)
            return
        pair.state = "in-progress"
        pair.failure = ""
        pair.started_at = now
        self._connections.connect(self, pair, now)

    def accepted(self, connection: Connection, now: float) -> None:
        """See `ConnectionUser`: the other end of a simultaneous open may have been quicker."""
        self.adopt(connection.socket, now)

    def adopt(self, socket: int, now: float) -> CandidatePair | None:
        """The unconnected pair between the two ends of this connection travels on it from now on, if there is one."""
        connection = self._connections.open.get(socket)
        if self._frozen or connection is None:
            return None
        for local in self.candidates:
            if local.candidate.tcptype != "so" or local.base != connection.address:
                continue
            pair = self._checklist.find(local.socket, connection.peer)
            if pair is None or pair.connection is not None or pair.local_candidate is not local:
                continue
            self._connections.cancel(pair, now)
            self._share(pair, connection)
            self._checklist.connect(pair, connection)
            if pair.state == "in-progress":
                self._checker.send(pair, self._checklist, now)
            return pair
        return None

    def knows(self, local: LocalCandidate, destination: Address) -> bool:
        """Whether there is a connected pair between these already."""
        return any(
            (pair.local_candidate, pair.destination) == (local, destination) and pair.connection is not None
            for pair in self._checklist.pairs
        )

    def heard(self, pair: CandidatePair, connection: Connection) -> None:
        """A new pair is made of a check that came on this connection."""
        pair.connection = connection
        self._share(pair, connection)

    def _share(self, pair: CandidatePair, connection: Connection) -> None:
        if connection.users:
            self._borrowed[pair] = None
        self._connections.attach(connection, self, pair)

    def found(self, pair: CandidatePair, connection: Connection, now: float) -> None:
        """See `ConnectionUser`."""
        self._share(pair, connection)
        self.connected(pair, connection, now)

    def may_connect(self, pair: CandidatePair, now: float) -> None:
        """See `ConnectionUser`."""
        self._checker.trigger(pair, self._checklist, now)

    def connected(self, pair: CandidatePair, connection: Connection, now: float) -> None:
        """See `ConnectionUser`."""
        self._checklist.connect(pair, connection)
        if pair.retired:
            self.release(pair, now)
            return
        self._checker.send(pair, self._checklist, now)  # its turn was when the connection was asked for

    def not_connected(self, pair: CandidatePair, reason: str, now: float) -> None:
        """See `ConnectionUser`."""
        self._checker.fail(pair, self._checklist, f"no connection: {reason}", now)

    def release(self, pair: CandidatePair, now: float) -> None:
        """A pair needs its connection no more, or none at all."""
        if pair.transport != "tcp":
            return
        self._connections.cancel(pair, now)
        self._borrowed.pop(pair, None)
        connection = pair.connection
        if connection is not None:
            self._checklist.connect(pair, None)
            self._connections.detach(connection, pair, now)

    def proven(self, socket: int, now: float) -> None:
        """The peer, and nobody else, has said something on this socket."""
        self._connections.proven(socket, now)

    # -- ends of connections -----------------------------------------------------------------------------------------

    def connection_lost(self, pair: CandidatePair, reason: str, now: float) -> None:
        """See `ConnectionUser`."""
        self._checklist.connect(pair, None)
        borrowed = pair in self._borrowed
        self._borrowed.pop(pair, None)
        reason = pair.veiled(f"the connection ended: {reason}")
        if self._frozen:
            self._drop(pair, reason, now)
            self._observer.tcp_changed(f"{pair}: {reason}", now)
        elif self._selector.components[pair.component].selected is pair:
            self._lose_selected(pair, reason, now)
        elif borrowed and pair.state == "in-progress":
            # it was another generation's, and says nothing about one of our own
            self._checker.forget(pair)
            self._checker.trigger(pair, self._checklist, now)
        else:
            self._checker.fail(pair, self._checklist, reason, now)

    def nonsense_received(self, pair: CandidatePair, now: float) -> None:
        """See `ConnectionUser`."""
        self._checklist.connect(pair, None)
        for each in list(self._checklist.pairs):
            # RFC 6544 7.1: all pairs of this candidate have failed, for it is none of the peer's
            if each is pair or (each.remote is pair.remote and each.open):
                self.release(each, now)
                self._checker.fail(each, self._checklist, "what listens there is no ICE agent", now)

    def pair_failed(self, pair: CandidatePair, now: float) -> None:
        """The check of a pair has failed, whatever the reason."""
        self.release(pair, now)
        lost = self._lost.get(pair.component)
        if lost is not None and lost.pair is pair:
            self._reopen_later(lost, now)

    def _drop(self, pair: CandidatePair, reason: str, now: float) -> None:
        self._checker.forget(pair)
        self._checklist.untrigger(pair)
        pair.nominating = pair.nominate_on_success = False
        pair.state, pair.failure = "failed", reason
        self._session.record.add(now, "pair", str(pair), "failed", reason)
        self._selector.drop(pair, now)
        self._selector.update(pair.component, now)

    def _lose_selected(self, pair: CandidatePair, reason: str, now: float) -> None:
        # RFC 6544 11.1: who has connected connects again, and a check comes first; who was connected to waits
        component, nominated = pair.component, pair.nominated
        self._drop(pair, reason, now)
        self._end_loss(component)
        self._settled = []
        timeout = self._session.options.timeouts.consent_expiry
        deadline = self._session.outbox.timers.schedule(now + timeout, partial(self._give_up, component))
        lost = self._lost[component] = _Lost(pair, f"{pair}: {reason}", nominated, deadline)
        if pair.local_candidate.candidate.tcptype != "passive":
            self._reopen_later(lost, now)
        self._observer.nomination_lost(component, now)  # meanwhile, others may be of use
        self._selector.consider(component, now)
        self._observer.tcp_changed(f"{pair}: {reason}", now)

    def _reopen_later(self, lost: _Lost, now: float) -> None:
        timers = self._session.outbox.timers
        timers.cancel(lost.timer)
        if lost.attempts >= len(REOPEN_DELAYS):
            self._give_up(lost.pair.component, now)
            return
        lost.timer = timers.schedule(now + REOPEN_DELAYS[lost.attempts], partial(self._reopen, lost))
        lost.attempts += 1

    def _reopen(self, lost: _Lost, now: float) -> None:
        if lost.pair not in self._checklist.pairs:
            return  # its address is gone, or it made room for another: other pairs have until the deadline
        self._session.outbox.count("connection.reopened")
        lost.pair.retired = False
        if self._session.controlling and lost.nominated:
            # what was nominated is so no more: the new connection needs to be (RFC 8445 8.1.1)
            self._checker.nominate(lost.pair, self._checklist, now)
        else:
            self._checker.trigger(lost.pair, self._checklist, now)

    def _give_up(self, component: int, now: float) -> None:
        lost = self._end_loss(component)
        if lost is not None and self._selector.components[component].selected is None:
            self._observer.tcp_given_up(f"{lost.reason}, and no other one came", now)

    def _end_loss(self, component: int) -> _Lost | None:
        lost = self._lost.pop(component, None)
        if lost is not None:
            self._session.outbox.timers.cancel(lost.deadline)
            self._session.outbox.timers.cancel(lost.timer)
        return lost

    @property
    def reopening(self) -> bool:
        """Whether a selected connection is lost and may come back."""
        return bool(self._lost)

    def awaits(self, component: int) -> bool:
        """Whether the selected connection of a component is lost and may come back."""
        return component in self._lost

    # -- the end of ICE ----------------------------------------------------------------------------------------------

    def settle(self, now: float) -> None:
        """What is selected may be something else than before: close what is not needed any more (RFC 6544 8)."""
        components = self._selector.components
        for component in [each for each in self._lost if components[each].nominated is not None]:
            self._end_loss(component)
        nominated = [selection.nominated for selection in components.values()]
        options = self._session.options
        if None in nominated or nominated == self._settled or self._frozen:
            return
        self._settled = nominated
        if options.continual or options.nomination == "continuous":
            return  # spare paths are kept
        for pair in self._checklist.pairs:
            if pair.retired and pair.connection is None:
                self._connections.cancel(pair, now)
        timers = self._session.outbox.timers
        timers.cancel(self._closing)
        self._closing = timers.schedule(now + CLOSE_DELAY, self._close_unselected)

    def _close_unselected(self, now: float) -> None:
        if self._lost:
            return
        for pair in list(self._checklist.pairs):
            selection = self._selector.components[pair.component]
            if pair.connection is None or pair in (selection.nominated, selection.selected):
                continue
            if pair.open or pair.nominate_on_success:
                continue  # the peer came this way just now
            self.release(pair, now)
            pair.state, pair.failure = "failed", "closed: another pair was selected"
            self._selector.drop(pair, now)
        self._connections.close_idle(self.stream, now)

    def freeze(self, now: float) -> None:
        """A new generation begins: what is connected stays so, and nothing new is."""
        self._frozen = True
        self._session.outbox.timers.cancel(self._closing)
        for component in list(self._lost):
            self._end_loss(component)
        for pair in self._checklist.pairs:
            if pair.transport == "tcp":
                self._connections.cancel(pair, now)

    def stop(self, now: float) -> None:
        """End: connections that no other generation uses are closed."""
        self.freeze(now)
        self._connections.unregister(self, now)
