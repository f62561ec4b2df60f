"""The default destination: what the c= and m= lines of an SDP say beside ICE (RFC 8839 4.2.1.2)."""

from __future__ import annotations

from collections.abc import Iterable

from fasticePy.ice.candidate import Candidate
from fasticePy.ice.candidate_line import DISCARD_PORT, canonical_ip, printed_address
from fasticePy.machine import Address

UNKNOWN_IPV4: Address = ("0.0.0.0", DISCARD_PORT)
"""Nothing to tell yet, or nothing that may be told (RFC 8840 4.1.1)."""
UNKNOWN_IPV6: Address = ("::", DISCARD_PORT)

_ORDER = {"relay": 0, "srflx": 1, "prflx": 2, "host": 3}


def default_candidate(candidates: Iterable[Candidate], component: int = 1) -> Candidate | None:
    """The candidate that a peer without ICE would reach most likely: a relayed one, else a reflexive one, else a
    host candidate, and of several the one with the highest priority (RFC 5245 4.1.4). Only UDP ones count, since
    the m= line would have to name another transport, and none that hides its address behind an mDNS name."""
    usable = [
        candidate
        for candidate in candidates
        if candidate.component == component
        and candidate.transport == "udp"
        and canonical_ip(candidate.address) is not None
    ]
    return min(usable, key=lambda candidate: (_ORDER[candidate.type], -candidate.priority), default=None)


def default_destination(
    candidates: Iterable[Candidate],
    component: int = 1,
    *,
    nominated: Candidate | None = None,
    unknown: Address = UNKNOWN_IPV4,
) -> Address:
    """Address and port for the c= and m= lines: of the nominated local candidate once there is one, of the default
    candidate before (RFC 8839 4.2.1.2), `unknown` while there is none (RFC 8840 4.1.1)."""
    candidate = nominated or default_candidate(candidates, component)
    if candidate is None or canonical_ip(candidate.address) is None:
        return unknown
    return (printed_address(candidate.address), candidate.port)


def connection_line(address: str) -> str:
    """The c= line for an address (RFC 8866 5.7)."""
    return f"c=IN {'IP6' if ':' in address else 'IP4'} {printed_address(address)}"


def is_mismatch(destination: Address, candidates: Iterable[Candidate], component: int = 1) -> bool:
    """Whether the default destination that a peer sent is missing among its candidates, so that somebody on the way
    has changed it and ICE is not to be used (RFC 8839 4.2.5). An unknown address with port 9 is no mismatch, nor is
    a host name."""
    host, port = destination
    address = canonical_ip(host)
    if address is None or (address, port) in (UNKNOWN_IPV4, UNKNOWN_IPV6):
        return False
    return not any(
        (candidate.component, candidate.address, candidate.port) == (component, address, port)
        for candidate in candidates
    )
