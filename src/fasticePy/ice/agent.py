"""`IceAgent`: the sans-IO ICE agent, as drivers see it (RFC 8445)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal

from fasticePy.errors import StateError
from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.checking.checks import Checker
from fasticePy.ice.checking.connections import Connection, Connections
from fasticePy.ice.checking.pacing import Pacer
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.events import GatheringState, IceState, Role, RoleChanged, Route
from fasticePy.ice.gathering import advertising
from fasticePy.ice.gathering.resolution import Resolutions
from fasticePy.ice.gathering.rewrite import Rewrite
from fasticePy.ice.gathering.sockets import Base, Sockets
from fasticePy.ice.options import MAX_STREAMS, IceOptions
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.paths import Path
from fasticePy.ice.reporting.report import Report, make_report
from fasticePy.ice.reporting.stats import statistics
from fasticePy.ice.selecting.lite_selector import lite_options, one_per_host
from fasticePy.ice.selecting.renomination import OPTIONS as RENOMINATION
from fasticePy.ice.session import Session
from fasticePy.ice.signalling.description import DEFAULT_OPTIONS, Description
from fasticePy.ice.signalling.offer_lines import StreamFacts
from fasticePy.ice.stream import Stream
from fasticePy.machine import Address, Rng, RootMachine
from fasticePy.stun import MAGIC_COOKIE, Message, MessageClass, Method, ParseError, parse
from fasticePy.stun.uri import ServerUrl

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")
_WORST_FIRST: tuple[IceState, ...] = (
    "failed",
    "disconnected",
    "new",
    "checking",
    "connected",
    "completed",
)


class IceAgent(RootMachine):
    """One side of an ICE session, without sockets, clock or randomness of its own.

    `rng(n)` gives n random bytes; `pacer` is shared by all agents of a process (RFC 8445 14.2), and a private one is
    made when it is left out. Every `now` is in seconds of one monotonic clock. Inputs may come in any order: remote
    candidates before credentials, checks before the answer, data before nomination. Where a session has several
    streams, `stream` says which one is meant. Raises ValueError for credentials in the options that cannot be.
    """

    def __init__(self, options: IceOptions, *, rng: Rng, pacer: Pacer | None = None) -> None:
        super().__init__()
        options = lite_options(options) if options.lite else options
        self.options = options
        self._session = Session.create(options, rng, pacer or Pacer(), self._outbox)
        self._sockets = Sockets(self._session)
        self._connections = Connections(self._session, self._sockets)
        self._resolutions = Resolutions(self._outbox, self._session.record)
        self._checker = Checker(self._session)
        self._gathered: tuple[Sequence[LocalAddress], Sequence[ServerUrl]] | None = None
        self.streams: list[Stream] = [self._new_stream(index) for index in range(options.streams)]
        """The data streams, for those who look closer; what applications need is here."""
        self._paths = self._session.paths.by_key
        self._closed = False

    # -- gathering -------------------------------------------------------------------------------------------------

    def gather(
        self, addresses: Sequence[Address | LocalAddress], servers: Sequence[ServerUrl], now: float
    ) -> None:
        """Begin to gather from these local addresses (best first, port 0 for any) and STUN servers, for all streams.

        Answers with `NeedSocket` and `NeedAddresses` events. Raises StateError when it was called before, ValueError
        while rewrite rules have host names that were not resolved.
        """
        advertising.checked_rules(self._session.advertise)
        local = [LocalAddress.of(address) for address in addresses]
        if self.options.lite:
            local = one_per_host(local)
        for stream in self.streams:
            stream.gather(local, servers, now)
        self._gathered = (local, servers)

    def set_advertise(self, rules: Iterable[Rewrite]) -> None:
        """The rewrite rules (`IceOptions.advertise`) once their host names are resolved (`Rewrite.resolved`), for the
        candidates that come from now on. Raises ValueError when some are not."""
        self._session.advertise = advertising.checked_rules(rules)

    def addresses_changed(self, addresses: Sequence[Address | LocalAddress], now: float) -> None:
        """The addresses of this host are these now. Candidates on those that are gone die at once; on new ones,
        candidates are gathered (`IceOptions.continual` says whether that goes on once ICE has concluded)."""
        if not self._closed:
            local = [LocalAddress.of(address) for address in addresses]
            if self.options.lite:
                local = one_per_host(local)
            if self._gathered is not None:
                self._gathered = (local, self._gathered[1])
            for stream in self.streams:
                stream.addresses_changed(local, now)
            self._session.concealment.withdraw(now, frozenset(address.host for address in local))

    def socket_opened(self, request: int, socket: int, address: Address, now: float) -> None:
        """`NeedSocket` is fulfilled: `socket`, any number that is unique to it, is bound to `address`."""
        self._sockets.opened(request, socket, address, now)

    def socket_failed(self, request: int, reason: str, now: float) -> None:
        """`NeedSocket` cannot be fulfilled; `reason` is in words."""
        self._sockets.failed(request, self._session.concealment.scrub(reason), now)

    def addresses_resolved(
        self, request: int, addresses: Sequence[Address], now: float, *, final: bool = True
    ) -> None:
        """Addresses of a host name, the answer to `NeedAddresses`. `final` tells whether these are the last ones."""
        self._resolutions.resolved(request, addresses, final, now)

    def resolution_failed(self, request: int, reason: str, now: float) -> None:
        """A host name has no addresses; `reason` is in words."""
        self._resolutions.failed(request, reason, now)

    # -- TCP (RFC 6544) --------------------------------------------------------------------------------------------

    def connection_accepted(self, listener: int, socket: int, peer: Address, now: float) -> bool:
        """Somebody has connected to a listening socket: `socket` is the number of the connection. False when it is
        not wanted: the driver closes it, and nothing more is told about it."""
        return self._connections.accepted(listener, socket, peer, now)

    def connection_opened(self, request: int, socket: int, address: Address, now: float) -> None:
        """`NeedConnection` is fulfilled: `socket` is the number of the connection, `address` its local end."""
        self._connections.opened(request, socket, address, now)

    def connection_failed(self, request: int, reason: str, now: float) -> None:
        """`NeedConnection` cannot be fulfilled; `reason` is in words."""
        self._connections.failed(request, self._session.concealment.scrub(reason), now)

    def connection_closed(self, socket: int, reason: str, now: float) -> None:
        """A connection has ended that was not closed by `CloseSocket`; `reason` is in words."""
        self._connections.closed(socket, self._session.concealment.scrub(reason), now)

    # -- streams ---------------------------------------------------------------------------------------------------

    def add_stream(self, now: float) -> int:
        """One more stream, as an offer adds it in the middle of a session (RFC 8839 4.4.3); gives its number. It
        gathers at once if the others do or did. Raises StateError when the agent is closed, ValueError when there are
        too many."""
        if self._closed:
            raise StateError("the agent is closed")
        if len(self.streams) >= MAX_STREAMS:
            raise ValueError(f"more than {MAX_STREAMS} streams are not possible")
        stream = self._new_stream(len(self.streams))
        self.streams.append(stream)
        if self._gathered is not None:
            stream.gather(*self._gathered, now)
        return stream.index

    def close_stream(self, stream: int, now: float) -> None:
        """A stream was removed or rejected: its pairs and transactions are dropped and its sockets closed
        (RFC 8839 4.4.3). The others go on; the number is not used again."""
        self.streams[stream].close(now)

    def facts(
        self, stream: int = 0, *, mid: str | None = None, transport: Literal["udp", "tcp"] | None = None
    ) -> StreamFacts:
        """What `Negotiation` needs to know of a stream for the next offer or answer."""
        engine = self.streams[stream].engine
        return StreamFacts.from_pairs(
            self.description_of(stream),
            [self.selected_pair(component, stream) for component in range(1, self.options.components + 1)],
            checklist=engine.checklist.state,
            controlling=self._session.controlling,
            components=self.options.components,
            mid=mid,
            transport=transport,
        )

    def pairs_of(self, stream: int) -> list[CandidatePair]:
        """The pairs of a stream's latest generation, best first."""
        return list(self.streams[stream].engine.checklist.pairs)

    def _new_stream(self, index: int) -> Stream:
        return Stream(
            index, self._session, self._checker, self._sockets, self._connections, self._resolutions, self
        )

    # -- the peer --------------------------------------------------------------------------------------------------

    def set_remote_description(self, description: Description, now: float, *, stream: int = 0) -> None:
        """The peer's description: credentials, options, candidates. Other credentials than before mean that the peer
        restarts: so do we (`Restarted`), unless a restart of ours waits for them (RFC 8445 9)."""
        if self._closed:
            return
        # the larger of both, and a peer that does not say means 50 ms (RFC 8839 5.5)
        self._session.pacing = self.local_description.agreed_pacing_ms(description) / 1000
        self._session.peer_lite = description.lite
        # RFC 8445 6.1.1: of a full and a lite agent the full one controls, for the other never sends a check
        if self.options.lite and not description.lite and self._session.controlling:
            self.switch_role("we are lite, and the peer is not", now)
        elif description.lite and not self.options.lite and not self._session.controlling:
            self.switch_role("the peer is lite", now)
        self.streams[stream].set_remote_description(description, now)

    def set_remote_credentials(self, ufrag: str, pwd: str, now: float, *, stream: int = 0) -> None:
        """The peer's user fragment and password, see `set_remote_description`. Raises ValueError when they are
        malformed."""
        self.streams[stream].set_remote_credentials(ufrag, pwd, now)

    def add_remote_candidate(self, candidate: Candidate | None, now: float, *, stream: int = 0) -> None:
        """One candidate of the peer, or None: there will be no more (RFC 8838 13). Never raises: what cannot be used
        is recorded with its reason."""
        self.streams[stream].add_remote(candidate, now)

    def restart(
        self,
        now: float,
        *,
        ufrag: str | None = None,
        pwd: str | None = None,
        stream: int = 0,
        reason: str = "the application restarts ICE",
    ) -> None:
        """Begin a new generation with these credentials, or fresh ones, and gather anew (RFC 8445 9). A `Restarted`
        event follows, then candidates. What is selected carries data until the new generation has a pair. Raises
        ValueError for malformed credentials, StateError when the agent is closed."""
        self.streams[stream].restart(now, ufrag, pwd, reason)

    def select(self, pair: CandidatePair, now: float) -> None:
        """Let this pair carry the data of its component. The controlling agent nominates it, so that the peer follows;
        the controlled one moves its own data until the peer nominates another pair. Raises StateError for a pair that
        is not valid: only those carry data whose check was answered (RFC 8445 12.1). The same for one of a stream that
        has failed or is closed, or from before a restart."""
        stream = self.streams[pair.stream]
        if stream.ended or pair not in stream.engine.checklist.pairs:
            raise StateError(f"{pair} cannot be selected: it is no pair of a stream that goes on")
        stream.engine.selector.choose(pair, now)

    def switch_role(self, reason: str, now: float) -> None:
        """Take the other role, in all streams (RFC 8445 7.3.1.1)."""
        self._session.switch_role()
        self._outbox.count("role.switched")
        self._session.record.add(now, "role", self._session.role, reason)
        self._outbox.emit(RoleChanged(at=now, role=self._session.role))
        for stream in self.streams:
            stream.role_switched(now)

    # -- input and output ------------------------------------------------------------------------------------------

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        """Take one datagram. Application data comes back if an authenticated check has come from its source before;
        all else is consumed, and counted by reason."""
        if not data:
            self._outbox.count("drop.empty")
            return None
        # RFC 7983 gives STUN the first bytes 0 to 3. Without the cookie it is the application's: an ICE socket has
        # no RFC 3489 clients (RFC 5389 12.2), and not all applications are RTP or DTLS.
        if data[0] < 4 and data[4:8] == _COOKIE:
            if not self._closed:
                self._stun_received(socket, data, address, now)
            return None
        path = self._paths.get((socket, address))
        if path is None:
            self._outbox.count("drop.data.unvalidated")
            self._connections.nonsense_received(socket, now)
            return None
        path.last_received = now
        path.packets_received += 1
        path.bytes_received += len(data)
        if path.silent:
            self._path_returned(path, now)
        return data

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """An error for what was sent to `address` (ICMP), or, with None, of the socket itself."""
        base = self._sockets.open.get(socket)
        if base is None:
            return
        self._outbox.count("socket.error")
        reason = self._session.concealment.scrub(reason)
        for engine in list(self.streams[base.stream].engines()):
            engine.socket_error(socket, address, reason, now)

    def close(self, now: float) -> None:
        """End everything; idempotent. The driver closes its sockets as it is told by `CloseSocket` events."""
        if self._closed:
            return
        self._closed = True
        for stream in self.streams:
            stream.close(now)
        self._checker.stop()
        self._session.transactions.clear()
        self._outbox.timers.clear()
        self._paths.clear()
        self._connections.clear(now)
        self._sockets.clear(now)
        self._session.concealment.withdraw(now)

    def _stun_received(self, socket: int, data: bytes, address: Address, now: float) -> None:
        """Something that has the magic cookie. It is never the application's."""
        count = self._outbox.count
        try:
            message = parse(data)
        except ParseError:
            count("drop.stun.malformed")
            self._connections.nonsense_received(socket, now)
            return
        if message.method != Method.BINDING:
            count("drop.stun.method")
        elif message.message_class == MessageClass.REQUEST:
            self._request_received(message, socket, address, now)
        elif message.message_class == MessageClass.INDICATION:
            count("indication.received")  # a keepalive: it refreshed the NAT on its way (RFC 8445 11)
            if (path := self._paths.get((socket, address))) is not None:
                path.last_received = now
                if path.silent:
                    self._path_returned(path, now)
        else:
            self._response_received(message, socket, address, now)

    def _request_received(self, message: Message, socket: int, address: Address, now: float) -> None:
        base = self._sockets.open.get(socket) or self._connections.open.get(socket)
        if base is None:
            self._outbox.count("drop.request.no-candidate")
            return
        self.streams[base.stream].request_received(message, socket, address, now)

    def _response_received(self, message: Message, socket: int, address: Address, now: float) -> None:
        transaction = self._session.transactions.find(message.transaction_id)
        if transaction is None:
            self._outbox.count("drop.response.unknown")
            return
        if socket not in self._sockets.open and socket not in self._connections.open:
            # it was read before the driver came to close the socket
            self._outbox.count("drop.response.closed")
            return
        transaction.on_response(transaction, message, socket, address, now)

    def _path_returned(self, path: Path, now: float) -> None:
        for engine in list(self.streams[path.vouchers[0].stream].engines()):
            engine.path_returned(path, now)

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def state(self) -> IceState:
        """The W3C state; with several streams, that of the one which is worst off."""
        if len(self.streams) == 1:
            return self.streams[0].state
        return worst_state([stream.state for stream in self.streams])

    @property
    def state_reason(self) -> str:
        """Why it is that, in words."""
        state = self.state
        return next(stream.state_reason for stream in self.streams if stream.state == state)

    @property
    def gathering_state(self) -> GatheringState:
        """How far gathering is, for the latest generations of all streams."""
        alive = [stream for stream in self.streams if stream.state != "closed"] or self.streams
        states: set[GatheringState] = {stream.engine.gatherer.state for stream in alive}
        return states.pop() if len(states) == 1 else "gathering"

    @property
    def role(self) -> Role:
        """Our role now; a conflict may have changed it (RFC 8445 7.3.1.1)."""
        return self._session.role

    @property
    def local_credentials(self) -> Credentials:
        """Our user fragment and password in the first stream."""
        return self.streams[0].generation.local

    @property
    def local_candidates(self) -> list[Candidate]:
        """The candidates of all streams found so far, as signalled."""
        return [local.candidate for stream in self.streams for local in stream.engine.gatherer.candidates.all]

    @property
    def remote_candidates(self) -> list[Candidate]:
        """The peer's candidates in all streams, signalled and peer-reflexive ones."""
        return [candidate for stream in self.streams for candidate in stream.engine.remotes.all()]

    @property
    def local_description(self) -> Description:
        """What the peer has to be told of the first stream: see `description_of`."""
        return self.description_of(0)

    def description_of(self, stream: int) -> Description:
        """What the peer has to be told of a stream: credentials, options, and the candidates so far."""
        engine = self.streams[stream].engine
        local = engine.generation.local
        return Description(
            ufrag=local.ufrag,
            pwd=local.pwd,
            candidates=tuple(found.candidate for found in engine.gatherer.candidates.all),
            options=DEFAULT_OPTIONS + (RENOMINATION if self.options.renomination else ()),
            lite=self.options.lite,
            pacing_ms=None
            if self.options.lite
            else round(self.options.timeouts.pacing * 1000),  # RFC 8839 4.3.1
            complete=engine.gatherer.state == "complete",
        )

    @property
    def pairs(self) -> list[CandidatePair]:
        """All pairs of the latest generations, best first in each stream."""
        return [pair for stream in self.streams for pair in stream.engine.checklist.pairs]

    def component_of(self, socket: int) -> int:
        """The component that a socket serves. Raises KeyError for a socket that is not the agent's."""
        return self._place_of(socket).component

    def stream_of(self, socket: int) -> int:
        """The stream that a socket serves. Raises KeyError for a socket that is not the agent's."""
        return self._place_of(socket).stream

    def _place_of(self, socket: int) -> Base | Connection:
        return self._sockets.open.get(socket) or self._connections.open[socket]

    def route(self, component: int = 1, stream: int = 0) -> Route | None:
        """Where data of this component goes now, or None without a pair that has consent (RFC 7675 5.1)."""
        return self.streams[stream].route(component)

    def route_of(self, pair: CandidatePair, now: float) -> Route | None:
        """Where data goes on this pair, selected or not, or None if it may carry none: it is not valid, or the latest
        answer on it is too old to count as consent (RFC 7675 5.1)."""
        answered, expiry = pair.consent_at, self.options.timeouts.consent_expiry
        if not pair.valid or pair.expired or answered is None or now - answered > expiry:
            return None
        known = pair.socket in self._sockets.open or pair.socket in self._connections.open
        return Route(pair.socket, pair.destination) if known else None

    def selected_pair(self, component: int = 1, stream: int = 0) -> CandidatePair | None:
        """The pair that carries the data of this component."""
        return self.streams[stream].selected_pair(component)

    def pair_for(self, socket: int, address: Address) -> CandidatePair | None:
        """The pair on which a datagram came, or None while its source is validated but the peer's credentials are not
        known yet."""
        path = self._paths.get((socket, address))
        return None if path is None else path.pair

    def report(self, now: float) -> Report:
        """What was tried and what came back."""
        return make_report(
            self._session, self.streams, self.state, self.state_reason, self.gathering_state, now
        )

    def stats(self, now: float) -> dict[str, dict[str, Any]]:
        """Statistics by the names of W3C webrtc-stats: candidates, candidate pairs and the transport, by id."""
        return statistics(self._session, self.streams, now)


def worst_state(states: Sequence[IceState]) -> IceState:
    """The state of a session whose streams have these."""
    # one that was closed by itself says nothing about the others
    for state in _WORST_FIRST:
        if state in states:
            return state
    return "closed"
