"""Everything about an `IceAgent` that its owner may choose, with the defaults and the named limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Literal, get_args

from fasticePy.ice import checked
from fasticePy.ice.candidate import Candidate, CandidateType, TcpType
from fasticePy.ice.gathering.rewrite import Rewrite

MAX_COMPONENTS = 256
"""Components of one stream (RFC 8445 5.1.2.1)."""
MAX_STREAMS = 64
"""Streams of one session: each has sockets of its own."""
NOMINATIONS = ("regular", "fastest", "continuous")
"""The policies of nomination."""

_TYPES = ("host", "srflx", "relay")
_MAY_BE_ZERO = ("patience", "nomination_direct", "nomination_relay")
_AT_LEAST_ONE = ("pairs", "checks_per_address", "validated_addresses")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Times in seconds. The defaults sit inside those of browsers, so that we notice before they give up.

    All are finite, and more than 0 but for `patience`, `nomination_direct` and `nomination_relay`, of which 0 means not
    to wait. Raises ValueError for others, TypeError for what is no number.
    """

    pacing: float = 0.05
    """Ta, the time between two new transactions (RFC 8445 14.2)."""
    patience: float = 39.5
    """How long an agent stays hopeful before it may fail (RFC 8863 4)."""
    consent_interval: float = 5.0
    """Mean time between consent checks; each is drawn from 0.8 to 1.2 times this (RFC 7675 5.1). The RFC allows none
    under 4 s, so less than the default is for tests only."""
    consent_expiry: float = 30.0
    """Without an authenticated answer for so long, sending ends (RFC 7675 5.1)."""
    disconnected: float = 5.0
    """Without any packet on the selected pair for so long, the state is `disconnected` (browsers say so after 6 to
    9 s)."""
    keepalive: float = 15.0
    """Tr: a binding at a NAT is refreshed after so long without a packet (RFC 8445 11)."""
    gathering: float = 5.0
    """When a STUN server that says nothing is given up, so that end-of-candidates is not held back for 39.5 s. Within
    0.5 s or less it is asked once."""
    resolution: float = 12.0
    """When the addresses of a name in a candidate of the peer are given up, should the driver say nothing."""
    nomination_direct: float = 0.1
    """The longest wait for a better direct pair once one is valid."""
    nomination_relay: float = 1.0
    """The longest wait for a direct pair while only a relayed one is valid."""

    def __post_init__(self) -> None:
        for each in fields(self):
            checked.seconds(f"Timeouts.{each.name}", getattr(self, each.name), zero=each.name in _MAY_BE_ZERO)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a peer or a network can make the agent hold, at most.

    Whole numbers. 0 means none of them; of `pairs`, `checks_per_address` and `validated_addresses` there has to be one.
    Raises ValueError for others, TypeError for what is no whole number.
    """

    pairs: int = 100
    """Pairs in the checklists (RFC 8445 6.1.2.5)."""
    checks_per_address: int = 50
    """Pairs of a stream that are checked towards one IP address as long as nothing has answered from there: whom a
    peer names as its candidates need not be the peer (RFC 8445 19.5.1)."""
    remote_candidates: int = 200
    """Candidates of the peer, signalled and peer-reflexive ones together."""
    remote_names: int = 50
    """Names in candidates of the peer that are looked up."""
    early_checks: int = 100
    """Checks remembered that came before the peer's credentials."""
    validated_addresses: int = 200
    """Source addresses from which an authenticated check came, and from which data is therefore taken."""
    connections: int = 100
    """TCP connections that the peer, or anybody, has opened to our listening sockets."""
    unproven_connections: int = 32
    """Those of them on which no check with our password has come yet ..."""
    unproven_connections_per_address: int = 8
    """... and those from one IP address."""
    servers: int = 16
    """STUN and TURN servers."""
    server_addresses: int = 4
    """Addresses of one server that are asked."""
    record: int = 512
    """Entries in the record of outcomes; the oldest go first."""

    def __post_init__(self) -> None:
        for each in fields(self):
            checked.count(f"Limits.{each.name}", getattr(self, each.name), int(each.name in _AT_LEAST_ONE))


@dataclass(frozen=True, slots=True, kw_only=True)
class IceOptions:
    """How an `IceAgent` behaves. Raises ValueError or TypeError for what cannot be."""

    controlling: bool
    streams: int = 1
    """Data streams under one session: each has credentials, candidates and a checklist of its own; role, pacing and
    foundations are common to them (RFC 8445 6.1.2)."""
    components: int = 1
    """Components of each stream (RFC 8445 4): RTP with separate RTCP has two."""
    lite: bool = False
    """Host candidates and answers only (RFC 8445 2.5): for hosts that everybody can reach. The peer checks,
    controls and nominates; when nothing comes from it for `Timeouts.consent_expiry`, the state is `failed`."""
    local_ufrag: str | None = None
    local_pwd: str | None = field(default=None, repr=False)
    candidate_types: frozenset[CandidateType] = frozenset({"host", "srflx", "relay"})
    """Types that are gathered, signalled and checked from; host sockets are opened for srflx all the same."""
    local_candidate: Callable[[Candidate], Candidate | None] | None = None
    """Sees each candidate before the peer does: gives it back, a changed one, or None to leave it out."""
    tcp: frozenset[TcpType] | None = None
    """Kinds of TCP host candidates that are gathered (RFC 6544); an empty set: no TCP at all. None gathers none
    either, but connects to passive candidates when the peer offers some, as browsers do: so a client whose network
    blocks UDP reaches a server that listens for TCP, at no cost to all others."""
    mdns: Literal["resolve", "publish", "off"] = "resolve"
    """`resolve`: names of the peer's candidates that end in `.local` are asked for. `publish`: our own addresses
    hide behind such names, too."""
    resolve_names: bool = False
    """Ask for the addresses of other host names in the peer's candidates, which RFC 8839 5.1 has ignored. Of each
    family, the first usable one is taken."""
    advertise: tuple[Rewrite, ...] = ()
    """What is told in place of local addresses, or beside them: the first rule that covers an address counts. Host
    names in them have to be resolved by the time that gathering begins, see `IceAgent.set_advertise`."""
    continual: bool = False
    """Go on gathering when the network or a NAT's mapping changes, and take candidates after end-of-candidates."""
    auto_restart: bool = False
    """Restart by itself when the last path is lost, instead of failing."""
    nomination: str = "regular"
    renomination: bool = False
    """Offer to nominate more than once, with numbers that tell the latest (draft-thatcher-tsvwg-renomination, and the
    form of it that browsers and pion have); used when the peer's description offers it, too."""
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    software: str | None = None
    """SOFTWARE in requests to STUN servers (RFC 8489 14.14); None leaves it out."""

    def __post_init__(self) -> None:
        for name in ("controlling", "lite", "resolve_names", "continual", "auto_restart", "renomination"):
            checked.flag(name, getattr(self, name))
        checked.count("components", self.components, 1, MAX_COMPONENTS, " (RFC 8445 5.1.2.1)")
        checked.count("streams", self.streams, 1, MAX_STREAMS)
        for name in ("local_ufrag", "local_pwd", "software"):
            checked.instance(name, getattr(self, name), str, optional=True)
        checked.kinds("candidate_types", self.candidate_types, _TYPES)
        if self.tcp is not None:
            checked.kinds("tcp", self.tcp, get_args(TcpType))
        checked.function("local_candidate", self.local_candidate)
        checked.one_of("mdns", self.mdns, ("resolve", "publish", "off"))
        checked.one_of("nomination", self.nomination, NOMINATIONS)
        checked.instance("timeouts", self.timeouts, Timeouts)
        checked.instance("limits", self.limits, Limits)
        for rule in self.advertise:
            checked.instance("a rule of advertise", rule, Rewrite)
