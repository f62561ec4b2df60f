"""`IceAgent`: the sans-IO ICE agent, as drivers see it (RFC 8445)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fasticePy.errors import StateError
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.description import Description
from fasticePy.ice.engine import Engine
from fasticePy.ice.events import CloseSocket, GatheringState, IceState, Role, Route
from fasticePy.ice.options import IceOptions
from fasticePy.ice.pacing import Pacer
from fasticePy.ice.pair import CandidatePair
from fasticePy.ice.report import PairReport, Report, candidate_text, conclude, server_dict
from fasticePy.ice.session import Session
from fasticePy.ice.stats import statistics
from fasticePy.machine import Address, Rng, RootMachine
from fasticePy.stun import MAGIC_COOKIE
from fasticePy.stun.uri import ServerUrl

_COOKIE = MAGIC_COOKIE.to_bytes(4, "big")


class IceAgent(RootMachine):
    """One side of an ICE session, without sockets, clock or randomness of its own.

    `rng(n)` gives n random bytes; `pacer` is shared by all agents of a process (RFC 8445 14.2), and a private one is
    made when it is left out. Every `now` is in seconds of one monotonic clock. Inputs may come in any order: remote
    candidates before credentials, checks before the answer, data before nomination. Raises ValueError for options
    that cannot be.
    """

    def __init__(self, options: IceOptions, *, rng: Rng, pacer: Pacer | None = None) -> None:
        if not 1 <= options.components <= 256:
            raise ValueError(f"components={options.components}: 1 to 256 are possible (RFC 8445 5.1.2.1)")
        super().__init__()
        self.options = options
        self._session = Session.create(options, rng, pacer or Pacer(), self._outbox)
        self._engine = Engine(self._session)
        self._paths = self._engine.paths.by_key
        self._sockets: dict[int, int] = {}
        self._gathered = False

    # -- gathering -------------------------------------------------------------------------------------------------

    def gather(self, addresses: Sequence[Address], servers: Sequence[ServerUrl], now: float) -> None:
        """Begin to gather from these local addresses (best first, port 0 for any) and STUN servers.

        Answers with `NeedSocket` and `NeedAddresses` events. Raises StateError when it was called before.
        """
        if self._gathered:
            raise StateError("gathering has begun already: an agent gathers once")
        self._gathered = True
        if not self._engine.ended:
            self._engine.gatherer.start(addresses, servers, now)

    def socket_opened(self, request: int, socket: int, address: Address, now: float) -> None:
        """`NeedSocket` is fulfilled: `socket`, any number that is unique to it, is bound to `address`."""
        gatherer = self._engine.gatherer
        if self._engine.ended or not gatherer.socket_opened(request, socket, address, now):
            self._outbox.emit(CloseSocket(at=now, socket=socket))
            return
        self._sockets[socket] = gatherer.bases[socket].component

    def socket_failed(self, request: int, reason: str, now: float) -> None:
        """`NeedSocket` cannot be fulfilled; `reason` is in words."""
        if not self._engine.ended:
            self._engine.gatherer.socket_failed(request, reason, now)

    def addresses_resolved(
        self, request: int, addresses: Sequence[Address], now: float, *, final: bool = True
    ) -> None:
        """Addresses of a host name, the answer to `NeedAddresses`. `final` tells whether these are the last ones."""
        if not self._engine.ended:
            self._engine.gatherer.server_resolved(request, addresses, now, final)

    def resolution_failed(self, request: int, reason: str, now: float) -> None:
        """A host name has no addresses; `reason` is in words."""
        if not self._engine.ended:
            self._engine.gatherer.server_failed(request, reason, now)

    # -- the peer --------------------------------------------------------------------------------------------------

    def set_remote_description(self, description: Description, now: float) -> None:
        """The peer's description: credentials, options, candidates. Raises StateError for other credentials than
        before, for that would be a restart."""
        self.set_remote_credentials(description.ufrag, description.pwd, now)
        if self._engine.ended:
            return
        # the larger of both, and a peer that does not say means 50 ms (RFC 8839 5.5)
        self._session.pacing = self.local_description.agreed_pacing_ms(description) / 1000
        if description.lite and not self._session.controlling:
            # RFC 8445 6.1.1: with a lite peer the full agent controls, for the other never sends a check
            self._engine.switch_role("the peer is lite", now)
        for candidate in description.candidates:
            self._engine.add_remote(candidate, now)
        if not description.expects_more:
            self._engine.add_remote(None, now)

    def set_remote_credentials(self, ufrag: str, pwd: str, now: float) -> None:
        """The peer's user fragment and password. Raises ValueError when they are malformed, StateError for others
        than before."""
        credentials = Credentials(ufrag, pwd)
        if self._engine.ended or credentials == self._session.remote:
            return
        if self._session.remote is not None:
            raise StateError(
                "the peer's credentials changed, which asks for an ICE restart: make a new agent for it"
            )
        self._engine.set_remote(credentials, now)

    def add_remote_candidate(self, candidate: Candidate | None, now: float) -> None:
        """One candidate of the peer, or None: there will be no more (RFC 8838 13). Never raises: what cannot be used
        is recorded with its reason."""
        self._engine.add_remote(candidate, now)

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
            if self._engine.state != "closed":
                self._engine.stun_received(socket, data, address, now)
            return None
        path = self._paths.get((socket, address))
        if path is None or self._engine.state == "closed":
            self._outbox.count("drop.data.unvalidated")
            return None
        path.last_received = now
        path.packets_received += 1
        path.bytes_received += len(data)
        if path.silent:
            self._engine.path_returned(path, now)
        return data

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """An error for what was sent to `address` (ICMP), or, with None, of the socket itself."""
        if not self._engine.ended:
            self._engine.socket_error(socket, address, reason, now)

    def close(self, now: float) -> None:
        """End everything; idempotent. The driver closes its sockets as it is told by `CloseSocket` events."""
        if self._engine.state == "closed":
            return
        self._engine.close(now)
        self._paths.clear()
        for socket in self._sockets:
            self._outbox.emit(CloseSocket(at=now, socket=socket))

    # -- what is known ---------------------------------------------------------------------------------------------

    @property
    def state(self) -> IceState:
        """The W3C state."""
        return self._engine.state

    @property
    def state_reason(self) -> str:
        """Why it is that, in words."""
        return self._engine.state_reason

    @property
    def gathering_state(self) -> GatheringState:
        """How far gathering is."""
        return self._engine.gatherer.state

    @property
    def role(self) -> Role:
        """Our role now; a conflict may have changed it (RFC 8445 7.3.1.1)."""
        return self._session.role

    @property
    def local_credentials(self) -> Credentials:
        """Our user fragment and password."""
        return self._session.local

    @property
    def local_candidates(self) -> list[Candidate]:
        """The candidates found so far, as signalled."""
        return [local.candidate for local in self._engine.gatherer.candidates]

    @property
    def remote_candidates(self) -> list[Candidate]:
        """The peer's candidates, signalled and peer-reflexive ones."""
        return self._engine.remotes.all()

    @property
    def local_description(self) -> Description:
        """What the peer has to be told: credentials, options, and the candidates so far."""
        local = self._session.local
        return Description(
            ufrag=local.ufrag,
            pwd=local.pwd,
            candidates=tuple(self.local_candidates),
            pacing_ms=round(self.options.timeouts.pacing * 1000),
            complete=self.gathering_state == "complete",
        )

    @property
    def pairs(self) -> list[CandidatePair]:
        """All pairs, best first."""
        return list(self._engine.checklist.pairs)

    def component_of(self, socket: int) -> int:
        """The component that a socket serves. Raises KeyError for a socket that is not the agent's."""
        return self._sockets[socket]

    def route(self, component: int = 1) -> Route | None:
        """Where data of this component goes now, or None without a pair that has consent (RFC 7675 5.1)."""
        selection = self._engine.selector.components.get(component)
        return None if selection is None else selection.route

    def selected_pair(self, component: int = 1) -> CandidatePair | None:
        """The pair that carries the data of this component."""
        selection = self._engine.selector.components.get(component)
        return None if selection is None else selection.selected

    def pair_for(self, socket: int, address: Address) -> CandidatePair | None:
        """The pair on which a datagram came, or None while its source is validated but the peer's credentials are not
        known yet."""
        path = self._paths.get((socket, address))
        return None if path is None else path.pair

    def report(self, now: float) -> Report:
        """What was tried and what came back."""
        engine = self._engine
        local, remote, pairs = self.local_candidates, self.remote_candidates, self.pairs
        return Report(
            at=now,
            role=self.role,
            state=engine.state,
            reason=engine.state_reason,
            gathering=self.gathering_state,
            conclusion=conclude(
                engine.state,
                engine.state_reason,
                local,
                remote,
                pairs,
                engine.gatherer.results,
                self._session.remote is not None,
                engine.remotes.ignored,
                engine.gatherer.failures,
            ),
            local_candidates=tuple(candidate_text(candidate) for candidate in local),
            remote_candidates=tuple(candidate_text(candidate) for candidate in remote),
            ignored_candidates=tuple(engine.remotes.ignored),
            sockets_failed=tuple(engine.gatherer.failures),
            servers=tuple(server_dict(result) for result in engine.gatherer.results),
            pairs=tuple(PairReport.of(pair) for pair in pairs),
            counters=dict(self.counters),
            entries=self._session.record.entries(),
        )

    def stats(self, now: float) -> dict[str, dict[str, Any]]:
        """Statistics by the names of W3C webrtc-stats: candidates, candidate pairs and the transport, by id."""
        return statistics(
            self._session,
            self.state,
            self.local_candidates,
            self.remote_candidates,
            self.pairs,
            self.selected_pair(1),
            self._engine.paths,
            now,
        )
