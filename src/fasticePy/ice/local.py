"""Our own candidates: made from bases, with their priorities and foundations, and told to the peer (RFC 8445 5.1)."""

from __future__ import annotations

from dataclasses import replace

from fasticePy.ice.addresses import LocalAddress, address_text
from fasticePy.ice.candidate import (
    MAX_LOCAL_PREFERENCE,
    Candidate,
    CandidateType,
    TcpType,
    candidate_priority,
    tcp_preference,
)
from fasticePy.ice.pair import LocalCandidate
from fasticePy.ice.session import Generation, Session
from fasticePy.ice.sockets import Base
from fasticePy.machine import Address

NETWORK_COST = "network-cost"
"""The extension by which browsers tell what a network costs."""


class LocalCandidates:
    """The candidates of one generation."""

    __slots__ = ("_generation", "_ranks", "_session", "all", "closed")

    def __init__(self, session: Session, generation: Generation) -> None:
        self._session = session
        self._generation = generation
        self._ranks: dict[tuple[str, int], int] = {}
        self.all: list[LocalCandidate] = []
        self.closed = ""
        """Why no candidate is told any more; empty as long as they are."""

    def rank(self, local: LocalAddress) -> int:
        """The place of an address in the order of preference, 0 the best: in the order in which they came, and
        nobody else's (RFC 8445 5.1.2.1, RFC 8421 5)."""
        return self._ranks.setdefault((local.host, local.port), len(self._ranks))

    def make(
        self,
        base: Base,
        type: CandidateType,
        address: Address,
        rank: int,
        *,
        server_host: str = "",
        url: str | None = None,
        tcptype: TcpType | None = None,
    ) -> LocalCandidate:
        """A candidate of this base; `rank` is 0 for the best of its type."""
        # the scope of a link-local address is ours alone: the base keeps it, the candidate is as the peer sees it
        host, related = address[0].partition("%")[0], base.address[0].partition("%")[0]
        related_port = base.address[1]
        if (name := self._session.concealed.get(related)) is not None:
            # draft-ietf-mmusic-mdns-ice-candidates 3.1.1 and 3.1.2.2
            host = name if type == "host" else host
            related, related_port = ("::" if ":" in related else "0.0.0.0"), 9
        preference = max(0, MAX_LOCAL_PREFERENCE - rank)
        if tcptype is not None:
            preference = tcp_preference(tcptype, max(0, 8191 - rank))
        cost = base.local.cost
        candidate = Candidate(
            foundation=self._session.foundations.foundation(
                type, base.address[0], server_host, base.transport
            ),
            component=base.component,
            transport=base.transport,
            # RFC 8445 5.1.2.1: unique local preferences, in the order of the addresses
            priority=candidate_priority(type, preference, base.component, base.transport),
            address=host,
            port=9 if tcptype == "active" else address[1],
            type=type,
            related_address=None if type == "host" else related,
            related_port=None if type == "host" else related_port,
            tcptype=tcptype,
            ufrag=self._generation.local.ufrag,  # RFC 8838 9: trickled, it is tied to its generation
            extensions=((NETWORK_COST, str(cost)),) if cost else (),
        )
        return LocalCandidate(candidate, base.socket, base.address, url, cost)

    def offer(self, found: LocalCandidate, now: float) -> LocalCandidate | None:
        """Take it among our candidates, as it is told to the peer; None when it is left out, which is recorded."""
        reason = self._reason_against(found)
        wanted = found
        if not reason and self._session.options.local_candidate is not None:
            changed = self._session.options.local_candidate(found.candidate)
            if changed is None:
                reason = "the application does not want it"
            else:
                wanted = replace(found, candidate=changed)
        text = _name(wanted.candidate)
        if reason:
            self._session.record.add(now, "local", text, "left out", reason)
            return None
        self.all.append(wanted)
        self._session.record.add(now, "local", text, "found")
        return wanted

    def remove_base(self, base: Base, now: float) -> list[LocalCandidate]:
        """The address is gone: so are its candidates."""
        gone = [each for each in self.all if each.socket == base.socket]
        for each in gone:
            self.all.remove(each)
            self._session.record.add(
                now, "local", _name(each.candidate), "gone", "the local address is no more"
            )
        return gone

    def _reason_against(self, found: LocalCandidate) -> str:
        if found.candidate.type not in self._session.options.candidate_types:
            return "this type is not wanted"
        if self.closed:
            return self.closed
        new = found.candidate
        for known in self.all:
            # RFC 8445 5.1.3, RFC 8838 9: same address and same base as one that the peer has already
            if (known.base, known.candidate.transport_address, known.candidate.tcptype) == (
                found.base,
                new.transport_address,
                new.tcptype,
            ):
                return "same address and base as another candidate"
        return ""


def _name(candidate: Candidate) -> str:
    transport = "" if candidate.transport == "udp" else f" tcp {candidate.tcptype}"
    return f"{candidate.type}{transport} {address_text(candidate.transport_address)}"
