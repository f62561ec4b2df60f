"""What an `IceAgent` tells its driver. Each event carries `.at`, the time at which it happened."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from fasticePy.ice.candidate import Candidate
from fasticePy.ice.pair import CandidatePair
from fasticePy.machine import Address, Event

IceState: TypeAlias = Literal["new", "checking", "connected", "completed", "disconnected", "failed", "closed"]
"""The states of W3C's RTCIceTransport."""
GatheringState: TypeAlias = Literal["new", "gathering", "complete"]
Role: TypeAlias = Literal["controlling", "controlled"]


@dataclass(frozen=True, slots=True)
class Route:
    """Where application data of a component goes: `prefix + data` from `socket` to `address`."""

    socket: int
    address: Address
    prefix: bytes = b""
    """What precedes each datagram on the wire; empty unless it travels in a relay's channel."""


@dataclass(slots=True, kw_only=True)
class NeedSocket(Event):
    """The agent wants a socket bound to `address` (port 0: any of the driver's choice); answer with
    `socket_opened(request, ...)` or `socket_failed(request, ...)`, at once or later, in any state."""

    request: int
    component: int
    transport: str
    address: Address


@dataclass(slots=True, kw_only=True)
class NeedAddresses(Event):
    """The agent wants the A and AAAA addresses of a server's host name; answer with `server_resolved(server, ...)`
    (more than once is fine, as families arrive) or `server_failed(server, ...)`."""

    server: int
    host: str
    port: int


@dataclass(slots=True, kw_only=True)
class CloseSocket(Event):
    """The agent needs this socket no more."""

    socket: int


@dataclass(slots=True, kw_only=True)
class CandidateGathered(Event):
    """A local candidate that the application passes on to the peer (trickle, RFC 8838 9)."""

    candidate: Candidate


@dataclass(slots=True, kw_only=True)
class GatheringStateChanged(Event):
    """Gathering began or ended; with "complete" the application passes on end-of-candidates (RFC 8838 13)."""

    state: GatheringState


@dataclass(slots=True, kw_only=True)
class ServerFinished(Event):
    """What became of one STUN server on one local socket, or of the whole server (`base` None)."""

    url: str
    base: Address | None
    ok: bool
    reason: str
    """`"ok"`, or in words what came back instead."""
    mapped: Address | None = None
    rtt: float | None = None


@dataclass(slots=True, kw_only=True)
class StateChanged(Event):
    """The agent's state is another one, and why."""

    state: IceState
    reason: str


@dataclass(slots=True, kw_only=True)
class PairSelected(Event):
    """From now on data of this component travels on this pair; `nominated` tells whether that is final."""

    component: int
    pair: CandidatePair
    route: Route
    nominated: bool


@dataclass(slots=True, kw_only=True)
class RoleChanged(Event):
    """A role conflict was repaired: the agent has this role now (RFC 8445 7.3.1.1, 7.2.5.1)."""

    role: Role
