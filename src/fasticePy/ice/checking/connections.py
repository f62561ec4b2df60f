"""TCP connections of an agent: asked for, accepted, shared by pairs, and closed when nobody uses them (RFC 6544).

A connection has a socket number, as a UDP socket has. Who uses connections are the `TcpPairs` of the generations: a
connection outlives the one that opened it for as long as a pair of another one travels on it (RFC 6544 9.2).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

from fasticePy.ice.addresses import address_text, is_loopback
from fasticePy.ice.events import CancelConnection, CloseSocket, NeedConnection
from fasticePy.ice.gathering.concealment import unspecified
from fasticePy.ice.gathering.sockets import Base, Sockets
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.session import Session
from fasticePy.machine import Address, Timer

MAX_ATTEMPTS_PER_ADDRESS = 5
"""Connections that may be under way to one IP address of the peer (RFC 6544 12); the next ones wait for these."""
CONNECT_TIMEOUT = 10.0
"""When an attempt is given up, in seconds: a SYN is sent again after 1, 3 and 7 s (RFC 6298 2.1, 5.5)."""
PROOF_TIMEOUT = 10.0
"""How long (seconds) an accepted connection may stay without a check that has our password: its SYN has arrived, so
a check takes one more round trip, or as many as a lost segment costs."""


@dataclass(slots=True, eq=False)
class Connection:
    """One that is open."""

    socket: int
    stream: int
    component: int
    address: Address
    """Our end."""
    peer: Address
    listener: int | None = None
    """The socket that it came in by; None: we have opened it."""
    proven: bool = False
    """A message of the peer has come on it that nobody else can have sent."""
    users: list[tuple[ConnectionUser, CandidatePair]] = field(default_factory=list, repr=False)
    first: CandidatePair | None = field(default=None, repr=False)
    """The first pair that has used it."""
    timer: Timer | None = field(default=None, repr=False)


@dataclass(slots=True, eq=False)
class _Attempt:
    """One that is asked for."""

    user: ConnectionUser
    pair: CandidatePair
    timer: Timer | None = None


class ConnectionUser(Protocol):
    """Who needs connections: the TCP pairs of a generation."""

    stream: int

    def listens(self, listener: int) -> bool:
        """Whether a candidate of ours says that this socket listens."""
        ...

    def accepted(self, connection: Connection, now: float) -> None:
        """A connection came in, and may be the one that a pair waits for."""

    def may_connect(self, pair: CandidatePair, now: float) -> None:
        """The pair had to wait for other attempts, and needs to no more."""

    def found(self, pair: CandidatePair, connection: Connection, now: float) -> None:
        """The connection of this pair has been open all along."""

    def connected(self, pair: CandidatePair, connection: Connection, now: float) -> None:
        """The connection of this pair is open."""

    def not_connected(self, pair: CandidatePair, reason: str, now: float) -> None:
        """There is none to be had."""

    def connection_lost(self, pair: CandidatePair, reason: str, now: float) -> None:
        """It has ended."""

    def nonsense_received(self, pair: CandidatePair, now: float) -> None:
        """What listens there speaks another protocol (RFC 6544 7.1)."""


class Connections:
    """The table of an agent's connections, and of its attempts at new ones."""

    __slots__ = ("_attempts", "_next_request", "_session", "_sockets", "_users", "_waiting", "open")

    def __init__(self, session: Session, sockets: Sockets) -> None:
        self._session = session
        self._sockets = sockets
        self._users: list[ConnectionUser] = []
        self._attempts: dict[int, _Attempt] = {}
        self._waiting: list[_Attempt] = []
        self._next_request = 0
        self.open: dict[int, Connection] = {}

    def register(self, user: ConnectionUser) -> None:
        """Tell it of connections that come in."""
        self._users.append(user)

    def unregister(self, user: ConnectionUser, now: float) -> None:
        """It needs none any more. What nobody else uses is closed, except for what came in just now at a socket where
        another one listens, too."""
        if user not in self._users:
            return
        self._users.remove(user)
        for attempt in [each for each in self._all_attempts() if each.user is user]:
            self.cancel(attempt.pair, now)
        for connection in list(self.open.values()):
            others = [each for each in connection.users if each[0] is not user]
            fresh = len(others) == len(connection.users)
            connection.users = others
            if others or (fresh and self._listens(connection.listener)):
                continue
            self._close(connection, now)

    # -- connections that we open ------------------------------------------------------------------------------------

    def connect(self, user: ConnectionUser, pair: CandidatePair, now: float) -> None:
        """Open one for this pair, or give it the one that its two addresses have already (RFC 6544 7.1)."""
        local = pair.local_candidate
        known = None if local.socket < 0 else self._between(local.base, pair.destination)
        if known is not None:
            user.found(pair, known, now)
            return
        attempt = _Attempt(user, pair)
        host = pair.destination[0]
        under_way = sum(each.pair.destination[0] == host for each in self._attempts.values())
        if under_way >= MAX_ATTEMPTS_PER_ADDRESS:
            self._session.outbox.count("connection.waits")
            self._waiting.append(attempt)
            return
        request, self._next_request = self._next_request, self._next_request + 1
        self._attempts[request] = attempt
        self._session.outbox.count("connection.asked")
        self._session.outbox.emit(
            NeedConnection(at=now, request=request, base=local.base, peer=pair.destination)
        )
        attempt.timer = self._session.outbox.timers.schedule(
            now + CONNECT_TIMEOUT, partial(self._too_slow, request)
        )

    def opened(self, request: int, socket: int, address: Address, now: float) -> None:
        """See `IceAgent.connection_opened`."""
        attempt = self._end_attempt(request)
        if attempt is None:
            self._session.outbox.emit(CloseSocket(at=now, socket=socket))
            return
        pair = attempt.pair
        connection = Connection(socket, pair.stream, pair.component, address, pair.destination, first=pair)
        self.open[socket] = connection
        self._note(connection, "open", now)
        self.attach(connection, attempt.user, pair)
        attempt.user.connected(pair, connection, now)
        self._next_waiting(pair, now)

    def failed(self, request: int, reason: str, now: float) -> None:
        """See `IceAgent.connection_failed`."""
        attempt = self._end_attempt(request)
        if attempt is None:
            return
        self._session.outbox.count("connection.failed")
        attempt.user.not_connected(attempt.pair, reason, now)
        self._next_waiting(attempt.pair, now)

    def cancel(self, pair: CandidatePair, now: float) -> None:
        """This pair wants no connection any more, if it has asked for one."""
        self._waiting = [each for each in self._waiting if each.pair is not pair]
        for request in [number for number, each in self._attempts.items() if each.pair is pair]:
            self._end_attempt(request)
            self._session.outbox.emit(CancelConnection(at=now, request=request))
            self._next_waiting(pair, now)

    def _too_slow(self, request: int, now: float) -> None:
        self._session.outbox.emit(CancelConnection(at=now, request=request))
        self.failed(request, f"no connection within {CONNECT_TIMEOUT:g} s", now)

    def _end_attempt(self, request: int) -> _Attempt | None:
        attempt = self._attempts.pop(request, None)
        if attempt is not None:
            self._session.outbox.timers.cancel(attempt.timer)
        return attempt

    def _next_waiting(self, ended: CandidatePair, now: float) -> None:
        for attempt in self._waiting:
            if attempt.pair.destination[0] == ended.destination[0]:
                self._waiting.remove(attempt)
                attempt.user.may_connect(attempt.pair, now)
                return

    def _all_attempts(self) -> Iterator[_Attempt]:
        yield from self._attempts.values()
        yield from self._waiting

    def _between(self, base: Address, peer: Address) -> Connection | None:
        ends = (base, peer)
        return next((each for each in self.open.values() if (each.address, each.peer) == ends), None)

    # -- connections that come in --------------------------------------------------------------------------------------

    def accepted(self, listener: int, socket: int, peer: Address, now: float) -> bool:
        """See `IceAgent.connection_accepted`."""
        base = self._sockets.open.get(listener)
        reason = self._refusal(base, listener, peer)
        if reason or base is None:
            self._session.outbox.count(f"connection.refused.{reason}")
            return False
        connection = Connection(socket, base.stream, base.component, base.address, peer, listener)
        self.open[socket] = connection
        self._session.outbox.count("connection.accepted")
        self._note(connection, "accepted", now)
        connection.timer = self._session.outbox.timers.schedule(
            now + PROOF_TIMEOUT, partial(self._not_proven, connection)
        )
        for user in list(self._users):
            if user.stream == base.stream:
                user.accepted(connection, now)
        return True

    def _refusal(self, base: Base | None, listener: int, peer: Address) -> str:
        if base is None or not self._listens(listener):
            return "no-candidate"
        limits = self._session.options.limits
        accepted = [each for each in self.open.values() if each.listener is not None]
        strangers = [each for each in accepted if not each.proven]
        if len(accepted) >= limits.connections:
            return "too-many"
        if len(strangers) >= limits.unproven_connections:
            return "too-many-unproven"
        if sum(each.peer[0] == peer[0] for each in strangers) >= limits.unproven_connections_per_address:
            return "too-many-of-address"
        return ""

    def _listens(self, listener: int | None) -> bool:
        return listener is not None and any(user.listens(listener) for user in self._users)

    def proven(self, socket: int, now: float) -> None:
        """A message of the peer has come on this socket."""
        connection = self.open.get(socket)
        if connection is not None and not connection.proven:
            connection.proven = True
            self._session.outbox.timers.cancel(connection.timer)

    def nonsense_received(self, socket: int, now: float) -> None:
        """What came on this socket is no STUN message, and from nobody that we know: who has connected to us is no
        ICE agent, or who we have connected to is not the peer (RFC 6544 7.1)."""
        connection = self.open.get(socket)
        if connection is None or connection.proven:
            return
        self._session.outbox.count("connection.nonsense")
        users = list(connection.users)
        self._drop(connection, "closed: no STUN came first", now)
        for user, pair in users:
            user.nonsense_received(pair, now)

    def _not_proven(self, connection: Connection, now: float) -> None:
        self._session.outbox.count("connection.not-proven")
        users = list(connection.users)
        self._drop(connection, f"closed: no check within {PROOF_TIMEOUT:g} s", now)
        for user, pair in users:
            user.connection_lost(pair, "nobody vouches for the connection that came in", now)

    # -- use and end ---------------------------------------------------------------------------------------------------

    def attach(self, connection: Connection, user: ConnectionUser, pair: CandidatePair) -> None:
        """This pair travels on it."""
        connection.first = connection.first or pair
        connection.users.append((user, pair))

    def detach(self, connection: Connection, pair: CandidatePair, now: float) -> None:
        """The pair needs it no more: it is closed when nobody else does."""
        connection.users = [each for each in connection.users if each[1] is not pair]
        if not connection.users:
            self._close(connection, now)

    def close_idle(self, stream: int, now: float) -> None:
        """ICE has completed: close what the peer has connected for this stream and nothing travels on."""
        for connection in list(self.open.values()):
            if connection.stream == stream and connection.proven and not connection.users:
                self._close(connection, now)

    def closed(self, socket: int, reason: str, now: float) -> None:
        """See `IceAgent.connection_closed`."""
        connection = self.open.get(socket)
        if connection is None:
            return
        self._session.outbox.count("connection.lost")
        self._forget(connection)
        told = reason if connection.first is None else connection.first.veiled(reason)
        self._note(connection, f"ended: {told}", now)
        for user, pair in list(connection.users):
            user.connection_lost(pair, reason, now)

    def clear(self, now: float) -> None:
        """Close all of them, and ask for no more."""
        self._users.clear()
        self._waiting.clear()
        for request in list(self._attempts):
            self._end_attempt(request)
            self._session.outbox.emit(CancelConnection(at=now, request=request))
        for connection in list(self.open.values()):
            self._close(connection, now)

    def _close(self, connection: Connection, now: float) -> None:
        self._drop(connection, "closed", now)

    def _drop(self, connection: Connection, outcome: str, now: float) -> None:
        if self.open.get(connection.socket) is not connection:
            return
        self._forget(connection)
        self._note(connection, outcome, now)
        self._session.outbox.emit(CloseSocket(at=now, socket=connection.socket))

    def _forget(self, connection: Connection) -> None:
        del self.open[connection.socket]
        self._session.outbox.timers.cancel(connection.timer)
        self._session.paths.drop_socket(connection.socket)

    def _note(self, connection: Connection, outcome: str, now: float) -> None:
        # whoever connects may be a peer that hides behind a name (draft-ietf-mmusic-mdns-ice-candidates 3.3.1)
        host, port = connection.peer
        if connection.first is not None:
            host = connection.first.remote.address
        elif not is_loopback(host):
            host = unspecified(host)
        ends = f"{address_text(self._session.shown(connection.address))} - {address_text((host, port))}"
        self._session.record.add(now, "connection", ends, outcome)
