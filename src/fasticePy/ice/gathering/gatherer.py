"""Gathering: host candidates from sockets, server-reflexive ones from the same sockets (RFC 8445 5.1.1).

A stream of results, never a barrier: each server and each socket ends by itself, with a reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from fasticePy.ice.addresses import LocalAddress, address_text
from fasticePy.ice.candidate import TcpType
from fasticePy.ice.checking.tcp_pairs import forms_active_unasked, gathered_kinds
from fasticePy.ice.events import GatheringState, GatheringStateChanged
from fasticePy.ice.gathering import advertising
from fasticePy.ice.gathering.local import LocalCandidates
from fasticePy.ice.gathering.resolution import Resolutions
from fasticePy.ice.gathering.servers import Ask, ServerQueries, ServerResult
from fasticePy.ice.gathering.sockets import Base, Sockets
from fasticePy.ice.pair import LocalCandidate
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address
from fasticePy.stun.uri import ServerUrl


class GatheringObserver(Protocol):
    """Who takes the results."""

    def candidate_found(self, candidate: LocalCandidate, now: float) -> None:
        """A new local candidate, to be signalled and paired."""

    def base_usable(self, local: LocalCandidate, now: float) -> None:
        """Checks may leave from here, and no candidate tells of it."""

    def base_gone(self, base: Base, now: float) -> None:
        """A local address is no more: nothing can be sent from there."""

    def gathering_ended(self, now: float) -> None:
        """Nothing more will be found, as far as is known."""


class Gatherer:
    """Turns addresses and servers into the local candidates of one generation."""

    __slots__ = (
        "_active",
        "_addresses",
        "_generation",
        "_observer",
        "_queries",
        "_session",
        "_sockets",
        "_stopped",
        "bases",
        "candidates",
        "failures",
        "state",
    )

    def __init__(
        self,
        session: Session,
        generation: Generation,
        sockets: Sockets,
        resolutions: Resolutions,
        observer: GatheringObserver,
    ) -> None:
        self._session = session
        self._generation = generation
        self._sockets = sockets
        self._observer = observer
        self._queries = ServerQueries(session, resolutions, self)
        self._stopped = False
        self._addresses: list[LocalAddress] = []
        self._active = False
        self.candidates = LocalCandidates(session, generation)
        self.state: GatheringState = "new"
        self.bases: list[Base] = []
        self.failures: list[tuple[str, str]] = []
        """Sockets that could not be opened: address and reason."""

    @property
    def results(self) -> list[ServerResult]:
        """What became of each server, in the order given."""
        return self._queries.results

    @property
    def sockets_pending(self) -> bool:
        """Whether a socket is still to come."""
        return self._sockets.waits(self)

    def start(
        self, addresses: Sequence[LocalAddress], servers: Sequence[ServerUrl], now: float, *, fresh: bool
    ) -> None:
        """Ask for a socket per component and address, and for the addresses of each server. Sockets that the stream
        has already are taken over unless they have to be `fresh`."""
        self._set_state("gathering", now)
        for url in servers:
            self._queries.add(url, now)
        self._addresses = list(addresses)
        self._add_addresses(addresses, now, fresh=fresh)
        self.progressed(now)

    def form_active(self, now: float) -> None:
        """The peer has passive TCP candidates: connect to them, though no candidate of ours says so. Browsers do the
        same. It costs nobody a socket, and peers learn such a candidate from the check (RFC 6544 7.2)."""
        if self._active or self._stopped or not forms_active_unasked(self._session.options):
            return
        self._active = True
        self._add_active(self._addresses, now)

    def addresses_changed(self, addresses: Sequence[LocalAddress], now: float) -> None:
        """The addresses of this host are these now: gather on the new ones, forget those that are gone."""
        present = {local.host for local in addresses}
        for base in [each for each in self.bases if each.local.host not in present]:
            self._base_gone(base, now)
        if self._stopped or self.state == "new" or self._session.options.lite:
            return  # a lite agent adds no candidates without a restart (RFC 8839 4.4.1.3)
        self._addresses = list(addresses)
        known = {base.local.host for base in self.bases} | self._sockets.hosts_asked_for(self)
        self._add_addresses([local for local in addresses if local.host not in known], now, fresh=False)
        self._queries.refresh_all(now)
        self.progressed(now)

    def ask_again(self, now: float) -> None:
        """Find out whether the mappings at NATs are still the same."""
        if not self._stopped and self._session.options.continual:
            self._queries.refresh_all(now)

    def stop(self, now: float) -> None:
        """Gather no more: what is pending is forgotten, and sockets that no other generation uses are closed."""
        self._stopped = True
        self._queries.stop()
        self._sockets.release(self, now)

    def freeze(self) -> None:
        """Gather no more, and keep the sockets: another generation has begun."""
        self._stopped = True
        self._queries.stop()

    def release(self) -> None:
        """ICE has concluded: mappings at NATs are kept by the selected pairs from now on, and no candidate is told
        any more (RFC 8838 13)."""
        self._queries.refreshing = False
        self.candidates.closed = "the pairs have been nominated"

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """An ICMP error for what was sent to `address`, or a broken socket."""
        self._queries.socket_error(socket, address, reason, now)

    # -- sockets (SocketUser) ----------------------------------------------------------------------------------------

    def base_ready(self, base: Base, now: float) -> None:
        """See `SocketUser`."""
        if self._stopped:
            self._sockets.release(self, now, base)
            return
        self._adopt(base, now)
        self.progressed(now)

    def base_failed(self, local: LocalAddress, transport: str, reason: str, now: float) -> None:
        """See `SocketUser`."""
        name = address_text(self._session.shown((local.host, local.port)))
        if (name, reason) not in self.failures:
            self.failures.append((name, reason))
        self.progressed(now)

    def _add_addresses(self, addresses: Sequence[LocalAddress], now: float, *, fresh: bool) -> None:
        stream, components = self._generation.stream, self._session.options.components
        for local in addresses:
            self.candidates.rank(local)
            advertising.prepare(self._session, local, now)
        for transport in ("udp", "tcp") if self._listens else ("udp",):
            for local in addresses:
                for component in range(1, components + 1):
                    base = self._sockets.acquire(self, stream, component, local, transport, now, fresh=fresh)
                    if base is not None:
                        self._adopt(base, now)
        self._add_active(addresses, now)

    def _add_active(self, addresses: Sequence[LocalAddress], now: float) -> None:
        told = "active" in gathered_kinds(self._session.options)
        if not (told or self._active):
            return
        for local in addresses:
            for component in range(1, self._session.options.components + 1):
                base = self._sockets.placeholder(self._generation.stream, component, local)
                self.bases.append(base)
                if told:
                    self._offer_base(base, "active", now)
                    continue
                rank = self.candidates.rank(local)
                untold = self.candidates.make(base, "host", base.address, rank, tcptype="active")
                if self.candidates.admits(untold):
                    self._observer.base_usable(untold, now)

    @property
    def _listens(self) -> bool:
        return not gathered_kinds(self._session.options).isdisjoint(("passive", "so"))

    def _adopt(self, base: Base, now: float) -> None:
        self.bases.append(base)
        if base.address[0] != base.local.host:  # another spelling of it
            advertising.prepare(self._session, replace(base.local, host=base.address[0]), now)
        for tcptype in self._directions(base):
            self._offer_base(base, tcptype, now)
        if base.transport == "udp":
            self._queries.base_ready(base, now)

    def _offer_base(self, base: Base, tcptype: TcpType | None, now: float) -> None:
        """Its host candidate, or what is told in its place."""
        rank = self.candidates.rank(base.local)
        told = advertising.told_of(self._session, base)
        for number, each in enumerate(told):
            place = rank if number == 0 else self.candidates.rank_beside(base.local, each.address)
            if each.type == "srflx":
                place += advertising.SRFLX_RANK
            found = self.candidates.make(base, each.type, (each.address, each.port), place, tcptype=tcptype)
            self._offer(found, now)
        if base.local.hidden and "host" in self._session.options.candidate_types:
            untold = self.candidates.make(base, "host", base.address, rank, tcptype=tcptype)
            self._observer.base_usable(untold, now)

    def _directions(self, base: Base) -> Sequence[TcpType | None]:
        if base.transport == "udp":
            return (None,)
        wanted = gathered_kinds(self._session.options)
        return [tcptype for tcptype in ("passive", "so") if tcptype in wanted]

    def _base_gone(self, base: Base, now: float) -> None:
        self.bases.remove(base)
        self._queries.base_gone(base, now)
        self.candidates.remove_base(base, now)
        self._observer.base_gone(base, now)
        self._sockets.release(self, now, base)

    # -- servers (ServerObserver) --------------------------------------------------------------------------------------

    def mapped(self, ask: Ask, address: Address, now: float) -> None:
        """See `ServerObserver`."""
        limits, server, base = self._session.options.limits, ask.server, ask.base
        rank = (self.candidates.rank(base.local) * limits.servers + server.index) * limits.server_addresses
        rank += server.addresses.index(ask.address)
        found = self.candidates.make(
            base, "srflx", address, rank, server_host=ask.address[0], url=server.result.url
        )
        if ask.done:
            self._offer(found, now)  # the mapping has changed
        else:
            ask.held = found

    def ask_ended(self, ask: Ask, now: float) -> None:
        """See `ServerObserver`."""
        # RFC 8838 17: of one foundation, the candidate of the lower component is told first
        for each in sorted(self._queries.asks, key=lambda each: each.base.component):
            if (each.address, each.base.local) != (ask.address, ask.base.local):
                continue
            if not each.done:
                return
            if each.held is not None:
                held, each.held = each.held, None
                self._offer(held, now)

    def progressed(self, now: float) -> None:
        """See `ServerObserver`."""
        self._queries.check_all(now)
        if self.state != "gathering" or self.sockets_pending or self._stopped or not self._queries.finished:
            return
        self._set_state("complete", now)
        self._observer.gathering_ended(now)

    # -- results -------------------------------------------------------------------------------------------------------

    def _offer(self, found: LocalCandidate, now: float) -> None:
        taken = self.candidates.offer(found, now)
        if taken is not None:
            self._observer.candidate_found(taken, now)

    def _set_state(self, state: GatheringState, now: float) -> None:
        self.state = state
        self._session.record.add(now, "agent", "gathering", state)
        self._session.outbox.emit(GatheringStateChanged(at=now, state=state, stream=self._generation.stream))
