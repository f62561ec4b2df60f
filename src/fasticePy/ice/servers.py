"""What gathering keeps: our bases, the servers, and the requests from the ones to the others."""

from __future__ import annotations

from dataclasses import dataclass, field

from fasticePy.ice.addresses import address_text
from fasticePy.ice.pair import LocalCandidate
from fasticePy.machine import Address
from fasticePy.stun.transaction import Transaction
from fasticePy.stun.uri import ServerUrl


@dataclass(slots=True)
class Base:
    """A socket of ours: a host candidate, signalled or not."""

    component: int
    rank: int
    """Place of its address in the order of preference, 0 the best."""
    socket: int
    address: Address


@dataclass(slots=True)
class ServerResult:
    """What became of one server: one entry for each local base that asked it."""

    url: str
    finished: bool = False
    ok: bool = False
    reason: str = ""
    """Why there is no answer at all; empty when some base has got one or is still waiting."""
    resolved: tuple[str, ...] = ()
    outcomes: list[tuple[str, str]] = field(default_factory=list)
    """Base and outcome, in words."""


@dataclass(slots=True)
class Server:
    """A server while it is asked."""

    index: int
    url: ServerUrl
    result: ServerResult
    addresses: list[Address] = field(default_factory=list)
    resolving: bool = True
    pending: int = 0
    """Requests to it that have not ended."""


@dataclass(slots=True, eq=False)
class Ask:
    """One Binding request to one address of a server from one base."""

    server: Server
    base: Base
    address: Address
    transaction: Transaction | None = None
    mapped: Address | None = None
    held: LocalCandidate | None = None
    """Found, and told once those of the lower components have been (RFC 8838 17)."""
    done: bool = False
    """It has had its first result; what follows are refreshes."""

    @property
    def name(self) -> str:
        """For the record."""
        return f"{address_text(self.base.address)} -> {address_text(self.address)}"
