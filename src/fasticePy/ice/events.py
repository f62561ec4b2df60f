"""What an `IceAgent` tells its driver. Each event carries `.at`, the time at which it happened.

`NeedSocket`, `NeedConnection`, `PublishName` and each `Route` are for the driver alone: they have numeric addresses,
also where an mDNS name stands for them in everything that others see.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypeAlias

from fasticePy.ice.candidate import Candidate
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.pair import CandidatePair
from fasticePy.machine import Address, Event

IceState: TypeAlias = Literal["new", "checking", "connected", "completed", "disconnected", "failed", "closed"]
"""The states of W3C's RTCIceTransport."""
GatheringState: TypeAlias = Literal["new", "gathering", "complete"]
Role: TypeAlias = Literal["controlling", "controlled"]


class StateEntry(NamedTuple):
    """A state that an agent or a stream has been in."""

    at: float
    """When it began, in seconds of the agent's clock: `time.monotonic()` with `fasticePy.Agent`."""
    state: IceState
    reason: str


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
    `socket_opened(request, ...)` or `socket_failed(request, ...)`, at once or later, in any state.

    With the transport "tcp" it is one that listens, and from whose port connections can leave as well: who connects
    to it is told by `connection_accepted(...)`."""

    request: int
    component: int
    transport: str
    address: Address
    stream: int = 0


@dataclass(slots=True, kw_only=True)
class NeedConnection(Event):
    """The agent wants a TCP connection from `base` (port 0: any; else exactly this one, that of a listening socket)
    to `peer`; answer with `connection_opened(request, ...)` or `connection_failed(request, ...)`. Its frames
    (RFC 4571) come and go as whole messages, as datagrams do; its end is told by `connection_closed(...)`."""

    request: int
    base: Address
    peer: Address


@dataclass(slots=True, kw_only=True)
class CancelConnection(Event):
    """A connection that was asked for is not wanted any more; if it is open by now, it is closed."""

    request: int


@dataclass(slots=True, kw_only=True)
class NeedAddresses(Event):
    """The agent wants the A and AAAA addresses of a host name; answer with `addresses_resolved(request, ...)`
    (more than once is fine, as families arrive) or `resolution_failed(request, ...)`. A name that ends in `.local`
    is asked for by multicast DNS and never otherwise."""

    request: int
    host: str
    port: int


@dataclass(slots=True, kw_only=True)
class PublishName(Event):
    """The agent hides `address` behind this name: answer for it by multicast DNS until `WithdrawName`."""

    name: str
    address: str


@dataclass(slots=True, kw_only=True)
class WithdrawName(Event):
    """The name is not used any more."""

    name: str


@dataclass(slots=True, kw_only=True)
class CloseSocket(Event):
    """The agent needs this socket, listener or connection no more."""

    socket: int


@dataclass(slots=True, kw_only=True)
class CandidateGathered(Event):
    """A local candidate that the application passes on to the peer (trickle, RFC 8838 9)."""

    candidate: Candidate
    stream: int = 0


@dataclass(slots=True, kw_only=True)
class GatheringStateChanged(Event):
    """Gathering began or ended; with "complete" the application passes on end-of-candidates (RFC 8838 13)."""

    state: GatheringState
    stream: int = 0


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
    stream: int = 0


@dataclass(slots=True, kw_only=True)
class PairSelected(Event):
    """From now on data of this component travels on this pair; `nominated` tells whether that is final."""

    component: int
    pair: CandidatePair
    route: Route = field(repr=False)
    """For the driver: it has numeric addresses, also of those who hide behind names."""
    nominated: bool
    stream: int = 0


@dataclass(slots=True, kw_only=True)
class Restarted(Event):
    """The stream has begun a new generation, with these credentials: the application sends `local_description` to
    the peer and passes on the candidates that follow (RFC 8445 9). Data goes on travelling on the old pair."""

    stream: int
    credentials: Credentials
    reason: str


@dataclass(slots=True, kw_only=True)
class RoleChanged(Event):
    """A role conflict was repaired: the agent has this role now (RFC 8445 7.3.1.1, 7.2.5.1)."""

    role: Role
