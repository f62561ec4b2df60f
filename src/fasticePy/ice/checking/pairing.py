"""Pairing: which local and remote candidates belong together, and the pairs that checks of the peer bring
(RFC 8445 6.1.2, 7.3.1.3)."""

from __future__ import annotations

from collections.abc import Sequence

from fasticePy.ice.addresses import is_link_local, is_loopback, parse_ip, scope_of
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.checking.checklist import Checklist
from fasticePy.ice.checking.checks import Checker
from fasticePy.ice.checking.connections import Connection
from fasticePy.ice.checking.remote import RemoteCandidates
from fasticePy.ice.checking.requests import InboundCheck
from fasticePy.ice.checking.tcp_pairs import TcpPairs, counterpart, fits
from fasticePy.ice.gathering.sockets import Base
from fasticePy.ice.pair import CandidatePair, LocalCandidate
from fasticePy.ice.selecting.selector import Selector
from fasticePy.ice.session import Generation, Session


class Pairing:
    """Forms the pairs of one generation, as candidates of either side become known."""

    __slots__ = (
        "_checker",
        "_checklist",
        "_generation",
        "_local_of",
        "_remotes",
        "_selector",
        "_session",
        "_tcp",
    )

    def __init__(
        self,
        session: Session,
        generation: Generation,
        checklist: Checklist,
        checker: Checker,
        selector: Selector,
        remotes: RemoteCandidates,
        tcp: TcpPairs,
    ) -> None:
        self._session = session
        self._generation = generation
        self._checklist = checklist
        self._checker = checker
        self._selector = selector
        self._remotes = remotes
        self._tcp = tcp
        self._local_of: dict[int, LocalCandidate] = {}

    def local_at(self, socket: int) -> LocalCandidate | None:
        """The candidate that a socket or connection of ours stands for."""
        return self._local_of.get(socket) or self._tcp.local_at(socket)

    def add_local(self, local: LocalCandidate, now: float) -> bool:
        """Pair a new base with what the peer has signalled; False when its candidate needs no pairs of its own."""
        if local.socket in self._local_of:
            return (
                False  # RFC 8445 6.1.2.4: a reflexive candidate is replaced by its base, which has its pairs
            )
        if local.candidate.transport == "tcp":
            if not self._tcp.add(local):
                return False
        else:
            self._local_of[local.socket] = local
        # RFC 8445 7.3.1.3: those learnt from checks are paired with the local candidate that heard them only
        for remote in self._remotes.signalled():
            for host in self._remotes.hosts(remote):
                self._form(local, remote, host, now)
        self._checker.wake(now)
        return True

    def add_remote(self, remote: Candidate, hosts: Sequence[str], now: float) -> None:
        """Pair a candidate of the peer, which is at these addresses, with all of ours."""
        for local in [*self._local_of.values(), *self._tcp.candidates]:
            for host in hosts:
                self._form(local, remote, host, now)
        self._checker.wake(now)

    def add_all(self, now: float) -> None:
        """Pair everything with everything, though no check has come: for two lite agents (RFC 8445 8.2)."""
        for local in list(self._local_of.values()):
            for remote in self._remotes.all():
                for host in self._remotes.hosts(remote):
                    self._form(local, remote, host, now, heard=True)

    def remove_base(self, base: Base) -> list[CandidatePair]:
        """A local address is gone; gives the pairs that were on it."""
        self._local_of.pop(base.socket, None)
        self._tcp.base_gone(base)
        return [each for each in self._checklist.pairs if each.local_candidate.socket == base.socket]

    def replace_learnt(self, learnt: Candidate, signalled: Candidate) -> None:
        """A candidate that was known from a check has been signalled."""
        # RFC 8445 7.3.1.3, RFC 8838 11: pair, state and priority stay; type and foundation are the signalled ones
        for pair in self._checklist.pairs:
            if pair.remote is learnt:
                pair.remote = signalled

    def of_check(self, check: InboundCheck, now: float) -> CandidatePair | None:
        """The pair that a check of the peer came on; a new one, with a peer-reflexive candidate if need be. None when
        there is no room for it."""
        return (
            self._checklist.find(check.socket, check.address)
            or self._tcp.adopt(check.socket, now)
            or self._learn(check, now)
        )

    def _learn(self, check: InboundCheck, now: float) -> CandidatePair | None:
        local = self.local_at(check.socket)
        if local is None:
            return None  # the connection has ended since
        component, tcptype = local.candidate.component, counterpart(local.candidate)
        host, port = check.address[0].partition("%")[0], check.address[1]
        remote = self._remotes.find(component, (host, port), tcptype)
        if remote is None:
            remote = self._remotes.learn(component, check.address, check.priority, now, tcptype)
        if remote is None:
            return None
        connection = self._tcp.connection_at(check.socket)
        return self._form(local, remote, host, now, heard=True, connection=connection)

    def _form(
        self,
        local: LocalCandidate,
        remote: Candidate,
        host: str,
        now: float,
        *,
        heard: bool = False,
        connection: Connection | None = None,
    ) -> CandidatePair | None:
        if self._session.options.lite and not heard:
            return None  # RFC 8445 6.2: a lite agent forms no checklist, the peer's checks show it the pairs
        if not _fit(local, remote, host, connected=connection is not None):
            return None
        destination = (host + _scope(local, host), remote.port)
        socket = local.socket if connection is None else connection.socket
        if destination == local.base or self._checklist.find(socket, destination) is not None:
            return None
        if local.candidate.tcptype is not None and self._tcp.knows(local, destination):
            return None
        pair = CandidatePair(local, remote, destination, 0, self._generation.stream)
        if connection is not None:
            self._tcp.heard(pair, connection)
        pair.update_priority(self._session.controlling)
        # RFC 8445 8.1.2: this component is settled, unless the peer itself comes this way
        settled = (
            self._selector.components[pair.component].nominated is not None and not self._selector.goes_on
        )
        pair.retired = settled and not heard
        checklists = self._session.checklists
        dropped = checklists.add(self._checklist, pair, heard=heard)
        if dropped is not None:
            self._session.outbox.count("pair.over-limit")
            self._session.record.add(
                now, "pair", str(dropped), "dropped", f"more than {checklists.max_pairs} pairs"
            )
            self._checker.forget(dropped)
            self._tcp.release(dropped, now)
            if dropped is pair:
                return None
        self._session.record.add(now, "pair", str(pair), "formed", "a check came on it" if heard else "")
        self._checker.loopback_only = self._checker.loopback_only and is_loopback(destination[0])
        return pair


def _fit(local: LocalCandidate, remote: Candidate, host: str, *, connected: bool) -> bool:
    # RFC 8445 6.1.2.2: same component, same family, and link-local only with link-local
    if local.candidate.component != remote.component or local.candidate.transport != remote.transport:
        return False
    if remote.transport == "tcp" and not fits(local.candidate, remote, connected=connected):
        return False
    base = local.base[0]
    if (":" in base) != (":" in host) or is_link_local(base) != is_link_local(host):
        return False
    if local.candidate.type == "relay" and parse_ip(remote.address) is None:
        return (
            False  # the server would learn what the name hides (draft-ietf-mmusic-mdns-ice-candidates 3.3.2)
        )
    return is_loopback(base) == is_loopback(host)


def _scope(local: LocalCandidate, host: str) -> str:
    return scope_of(local.base[0]) if is_link_local(host) else ""
