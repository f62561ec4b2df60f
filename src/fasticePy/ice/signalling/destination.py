"""The default destination: what the c= and m= lines of an SDP say beside ICE (RFC 8839 4.2.1.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from fasticePy.errors import ParseError
from fasticePy.ice.candidate import Candidate, TcpType
from fasticePy.ice.candidate_line import DISCARD_PORT, MAX_PORT, canonical_ip, printed_address, read_number
from fasticePy.ice.signalling.sdp import read_host
from fasticePy.machine import Address

Transport: TypeAlias = Literal["udp", "tcp"]
FULL_TCP_DEFAULTS: tuple[TcpType, ...] = ("active", "passive")
"""Which TCP candidate a full agent makes the default: who connects gets through his own NAT (RFC 6544 4.3)."""
LITE_TCP_DEFAULTS: tuple[TcpType, ...] = ("passive", "active")
"""The same for a lite agent, which everybody can reach (RFC 6544 4.3)."""

UNKNOWN_IPV4: Address = ("0.0.0.0", DISCARD_PORT)
"""Nothing to tell yet, or nothing that may be told (RFC 8840 4.1.1)."""
UNKNOWN_IPV6: Address = ("::", DISCARD_PORT)

_ORDER = {"relay": 0, "srflx": 1, "prflx": 2, "host": 3}


def default_candidate(
    candidates: Iterable[Candidate],
    component: int = 1,
    *,
    transport: Transport = "udp",
    tcptypes: Sequence[TcpType] = FULL_TCP_DEFAULTS,
) -> Candidate | None:
    """The candidate that a peer without ICE would reach most likely: a relayed one, else a reflexive one, else a
    host candidate, and of several the one with the highest priority (RFC 5245 4.1.4).

    Only those of `transport` count, which the m= line names, and none that hides its address behind an mDNS name. Of
    TCP candidates only those of `tcptypes` are taken, the first of these if there is any; "so" is never a good
    default (RFC 6544 4.3).
    """
    usable = [
        candidate
        for candidate in candidates
        if candidate.component == component
        and candidate.transport == transport
        and (transport == "udp" or candidate.tcptype in tcptypes)
        and canonical_ip(candidate.address) is not None
    ]

    def rank(candidate: Candidate) -> tuple[int, int, int]:
        preference = 0 if candidate.tcptype is None else tcptypes.index(candidate.tcptype)
        return (preference, _ORDER[candidate.type], -candidate.priority)

    return min(usable, key=rank, default=None)


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


def rtcp_lines(rtp: Address, rtcp: Address) -> list[str]:
    """The a=rtcp line for these destinations, if one is needed: none when RTCP is on the next port, nor while nothing
    is known of either (RFC 3605 2.1, RFC 8839 4.2.2, RFC 8840 4.1.1)."""
    if rtcp == (rtp[0], rtp[1] + 1) or (is_unknown(rtp) and is_unknown(rtcp)):
        return []
    return [f"a=rtcp:{rtcp[1]} {connection_line(rtcp[0]).removeprefix('c=')}"]


def tcp_lines(local: TcpType, *, connected: bool, offered: tuple[str, str] | None = None) -> list[str]:
    """a=setup and a=connection for a default destination over TCP (RFC 6544 4.5, RFC 4145 4 and 5).

    `local` is the type of the default candidate, `connected` whether a connection of it is in use already, `offered`
    both values of the offer when this is for an answer, which has to fit them.
    """
    if offered is None:
        role = "actpass" if local == "so" else local
        return [f"a=setup:{role}", f"a=connection:{'existing' if connected else 'new'}"]
    setup, connection = offered
    answers = {"active": "passive", "passive": "active", "holdconn": "holdconn"}
    answer = answers.get(setup, "active" if local == "active" else "passive")
    kept = connected and connection == "existing"
    return [f"a=setup:{answer}", f"a=connection:{'existing' if kept else 'new'}"]


def answer_tcptypes(setup: str, preferred: Sequence[TcpType]) -> Sequence[TcpType]:
    """Which TCP candidates may be the default of an answer to an offer with this a=setup (RFC 4145 4.1)."""
    fitting: dict[str, Sequence[TcpType]] = {"active": ("passive",), "passive": ("active",)}
    return fitting.get(setup, preferred)


def transport_of(media: str) -> Transport:
    """The transport that an m= line names: TCP when its protocol says so, else UDP, as in RTP/AVP (RFC 8866 5.14)."""
    words = media.split(maxsplit=3)
    return "tcp" if len(words) > 2 and words[2].upper().partition("/")[0] == "TCP" else "udp"


def read_destination(connection: str | None, port: str | None) -> Address | None:
    """The default destination of a c= line and a port as it is written in the m= line; the host may be a name. None
    when there is none, or none that could be understood."""
    words = (connection or "").split()
    if port is None or len(words) < 3:
        return None
    try:
        host = read_host(
            "c=", words[2].partition("/")[0]
        )  # behind the slash is the scope of a multicast address
        return (host, read_number("m= port", port.partition("/")[0], 0, MAX_PORT))
    except ParseError:
        return None


def is_unknown(destination: Address) -> bool:
    """Whether this is the way to say that there is no default destination (RFC 8839 4.2.5, RFC 8840 4.1.1)."""
    return destination in (UNKNOWN_IPV4, UNKNOWN_IPV6)


def is_mismatch(
    destination: Address,
    candidates: Iterable[Candidate],
    component: int = 1,
    *,
    transport: Transport | None = None,
) -> bool:
    """Whether the default destination that a peer sent is missing among its candidates, so that somebody on the way
    has changed it and ICE is not to be used (RFC 8839 4.2.5). An unknown address with port 9 is no mismatch, nor is
    a host name. `transport` is what the m= line names; None: any."""
    host, port = destination
    address = canonical_ip(host)
    if address is None or is_unknown((address, port)):
        return False
    return not any(
        (candidate.component, candidate.address, candidate.port) == (component, address, port)
        and transport in (None, candidate.transport)
        for candidate in candidates
    )
