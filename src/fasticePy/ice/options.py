"""Everything about an `IceAgent` that its owner may choose, with the defaults and the named limits."""

from __future__ import annotations

from dataclasses import dataclass, field

from fasticePy.ice.candidate import CandidateType


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Times in seconds. The defaults sit inside those of browsers, so that we notice before they give up."""

    pacing: float = 0.05
    """Ta, the time between two new transactions (RFC 8445 14.2)."""
    patience: float = 39.5
    """How long an agent stays hopeful before it may fail (RFC 8863 4)."""
    consent_interval: float = 5.0
    """Mean time between consent checks; each is drawn from 0.8 to 1.2 times this (RFC 7675 5.1). The RFC allows none
    under 4 s, so less than the default is for tests only."""
    consent_expiry: float = 30.0
    """Without an authenticated answer for so long, sending ends (RFC 7675 5.1)."""
    disconnected: float = 7.0
    """Without any packet on the selected pair for so long, the state is `disconnected`."""
    keepalive: float = 15.0
    """Tr: a binding at a NAT is refreshed after so long without a packet (RFC 8445 11)."""
    gathering: float = 5.0
    """When a STUN server that says nothing is given up, so that end-of-candidates is not held back for 39.5 s."""
    nomination_direct: float = 0.1
    """The longest wait for a better direct pair once one is valid."""
    nomination_relay: float = 1.0
    """The longest wait for a direct pair while only a relayed one is valid."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a peer or a network can make the agent hold, at most."""

    pairs: int = 100
    """Pairs in the checklists (RFC 8445 6.1.2.5)."""
    remote_candidates: int = 200
    """Candidates of the peer, signalled and peer-reflexive ones together."""
    early_checks: int = 100
    """Checks remembered that came before the peer's credentials."""
    validated_addresses: int = 200
    """Source addresses from which an authenticated check came, and from which data is therefore taken."""
    servers: int = 16
    """STUN and TURN servers."""
    server_addresses: int = 4
    """Addresses of one server that are asked."""
    record: int = 512
    """Entries in the record of outcomes; the oldest go first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IceOptions:
    """How an `IceAgent` behaves."""

    controlling: bool
    components: int = 1
    local_ufrag: str | None = None
    local_pwd: str | None = field(default=None, repr=False)
    candidate_types: frozenset[CandidateType] = frozenset({"host", "srflx", "relay"})
    """Types that are gathered, signalled and checked from; host sockets are opened for srflx all the same."""
    nomination: str = "regular"
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    software: str | None = None
    """SOFTWARE in requests to STUN servers (RFC 8489 14.14); None leaves it out."""
