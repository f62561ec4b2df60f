"""Our own candidates: made from bases, with their priorities and foundations, and told to the peer (RFC 8445 5.1)."""

from __future__ import annotations

from collections.abc import Callable
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
from fasticePy.ice.gathering.sockets import Base
from fasticePy.ice.pair import LocalCandidate
from fasticePy.ice.session import Generation, Session
from fasticePy.machine import Address

NETWORK_COST = "network-cost"
"""The extension by which browsers tell what a network costs."""
MAX_REASON = 200
"""Characters of an exception in the application's function that the record repeats."""


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
        concealment = self._session.concealment
        # the scope of a link-local address is ours alone: the base keeps it, the candidate is as the peer sees it
        host = address[0].partition("%")[0]
        if (
            type == "host"
            and host == base.address[0].partition("%")[0]
            and concealment.covers(base.address[0])
        ):
            host = concealment.shown(base.address[0])  # draft-ietf-mmusic-mdns-ice-candidates 3.1.1
        related, related_port = concealment.related(base.address)
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
        if not reason and (hook := self._session.options.local_candidate) is not None:
            changed, reason = _asked(hook, found.candidate)
            if changed is not None:
                wanted = replace(found, candidate=changed)
            elif reason != UNWANTED:
                self._session.outbox.count("local-candidate.hook-failed")
        text = _name(wanted.candidate)
        if self._session.concealment.hides(found.base[0]):
            text = self._session.concealment.scrub(text)
        if reason:
            self._session.record.add(now, "local", text, "left out", reason)
            return None
        self.all.append(wanted)
        self._session.record.add(now, "local", text, "found")
        return wanted

    def admits(self, untold: LocalCandidate) -> bool:
        """Whether checks may leave from a candidate that the peer is not told of."""
        options = self._session.options
        if untold.candidate.type not in options.candidate_types:
            return False
        return (
            options.local_candidate is None
            or _asked(options.local_candidate, untold.candidate)[0] is not None
        )

    def rank_beside(self, local: LocalAddress, address: str) -> int:
        """The place of an address that is told beside another one of the same base."""
        return self._ranks.setdefault((f"{local.host} {address}", local.port), len(self._ranks))

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
        concealment = self._session.concealment
        if concealment.hides(found.base[0]) and new.address == found.base[0].partition("%")[0]:
            return "its address is that of the host, which nobody may learn"
        for known in self.all:
            # RFC 8445 5.1.3, RFC 8838 9: same address and same base as one that the peer has already
            if (known.socket, known.candidate.transport_address, known.candidate.tcptype) == (
                found.socket,
                new.transport_address,
                new.tcptype,
            ):
                return "same address and base as another candidate"
        return ""


UNWANTED = "the application does not want it"


def _asked(
    hook: Callable[[Candidate], Candidate | None], candidate: Candidate
) -> tuple[Candidate | None, str]:
    """What the application makes of a candidate, or None and the reason: nothing that it does ends the session."""
    try:
        changed: object = hook(candidate)  # whatever its types say
        if changed is None:
            return None, UNWANTED
        if not isinstance(changed, Candidate):
            return None, f"the application's function gave {type(changed).__name__}, no candidate"
        changed.to_sdp()
    except Exception as error:  # noqa: BLE001 - an application's function may do anything
        return None, f"the application's function failed: {error!r}"[:MAX_REASON]
    if (changed.component, changed.transport) != (candidate.component, candidate.transport):
        return None, "the application's function gave another component or transport"
    return changed, ""


def _name(candidate: Candidate) -> str:
    transport = "" if candidate.transport == "udp" else f" tcp {candidate.tcptype}"
    return f"{candidate.type}{transport} {address_text(candidate.transport_address)}"
