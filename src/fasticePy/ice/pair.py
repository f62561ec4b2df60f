"""Candidate pairs: one local and one remote candidate, and how far the check of them has come (RFC 8445 6.1.2)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from fasticePy.ice.addresses import address_text, mentions
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.selecting.reasons import SwitchReason
from fasticePy.machine import Address
from fasticePy.stun.transaction import Transaction

if TYPE_CHECKING:
    from fasticePy.ice.checking.connections import Connection

PairState: TypeAlias = Literal["frozen", "waiting", "in-progress", "succeeded", "failed"]


@dataclass(frozen=True, slots=True)
class LocalCandidate:
    """A candidate of ours, with the socket and the base that it is sent from (RFC 8445 5.1.1)."""

    candidate: Candidate
    socket: int
    """That of a TCP candidate listens; an active one has a negative number, which stands for none."""
    base: Address = field(repr=False)
    """Where its packets leave from; for drivers, as the candidate may conceal it."""
    url: str | None = None
    """The server that it was learnt from."""
    cost: int = 0
    """What its network costs, 0 to 999 (see `LocalAddress`)."""


def pair_priority(controlling: int, controlled: int) -> int:
    """The priority of a pair from those of its two candidates (RFC 8445 6.1.2.3)."""
    low, high = sorted((controlling, controlled))
    return (low << 32) + 2 * high + (1 if controlling > controlled else 0)


@dataclass(slots=True, eq=False)
class CandidatePair:
    """One way that packets might take. Read it; the agent alone changes it."""

    local_candidate: LocalCandidate
    remote: Candidate
    destination: Address = field(repr=False)
    """Where its packets go: the remote address, with the scope of the local one where it is link-local. It is a number
    also where the peer shows a name instead (mDNS): for those who send, not for those who look on."""
    priority: int
    stream: int = 0
    state: PairState = "frozen"
    valid: bool = False
    """An authenticated answer came back through it: it may carry data (RFC 8445 7.2.5.3.2)."""
    nominated: bool = False
    failure: str = ""
    """Why the state is "failed", or what the latest unusable answer was, in words."""
    error: str = ""
    """What this host or the network said to the latest check, when it went no further: in words."""
    refused: bool = False
    """An answer came that was an error, or one that nobody vouches for."""
    requests_sent: int = 0
    responses_received: int = 0
    requests_received: int = 0
    consent_requests_sent: int = 0
    """Those among the requests that were sent to keep consent (RFC 7675 5.1)."""
    rtt: float | None = None
    """Round-trip time in seconds of the latest check or consent check that was answered at its first send."""
    total_rtt: float = 0.0
    """Sum of all that were measured."""
    switch_reason: SwitchReason | None = None
    """Why data moved to it last, where pairs are selected continuously."""
    validated_at: float | None = None
    consent_at: float | None = None
    """When the latest authenticated answer came (RFC 7675 5.1); to a lite agent, the latest check of the peer."""
    mapped: LocalCandidate | None = None
    """Our candidate as the peer sees it, when that is another one than `local` (RFC 8445 7.2.5.3.2)."""
    nominate_on_success: bool = field(default=False, repr=False)
    nominating: bool = field(default=False, repr=False)
    """Our next check of it carries USE-CANDIDATE."""
    chosen: bool = field(default=False, repr=False)
    """Of its component, the one that we nominated last."""
    nomination: int | None = field(default=None, repr=False)
    """The number with which the peer has nominated it (renomination)."""
    retired: bool = field(default=False, repr=False)
    """Out of the checklist because another pair of the component was nominated (RFC 8445 8.1.2)."""
    expired: bool = field(default=False, repr=False)
    """Consent on it has ended, and these credentials get none on it again (RFC 7675 5.1)."""
    connection: Connection | None = field(default=None, repr=False)
    """What a TCP pair travels on, once it is connected."""
    started_at: float | None = field(default=None, repr=False)
    counted: bool = field(default=False, repr=False)
    """Among those that `Limits.checks_per_address` allows."""
    transaction: Transaction | None = field(default=None, repr=False)

    @property
    def local(self) -> Candidate:
        """Our candidate: where the peer sees packets come from, once that is known."""
        return (self.mapped or self.local_candidate).candidate

    @property
    def component(self) -> int:
        """The component that both candidates belong to."""
        return self.local_candidate.candidate.component

    @property
    def socket(self) -> int:
        """The socket that its packets leave from."""
        return self.local_candidate.socket if self.connection is None else self.connection.socket

    @property
    def transport(self) -> str:
        """What its packets travel by: udp or tcp."""
        return self.local_candidate.candidate.transport

    @property
    def path(self) -> tuple[int, Address]:
        """Socket and destination: what tells pairs apart, for reflexive candidates are replaced by their bases
        (RFC 8445 6.1.2.4)."""
        return (self.socket, self.destination)

    @property
    def foundation(self) -> tuple[str, str]:
        """The foundations of both candidates: pairs with the same are likely to succeed or fail alike."""
        return (self.local_candidate.candidate.foundation, self.remote.foundation)

    @property
    def open(self) -> bool:
        """Whether its check has still to end."""
        return self.state in ("frozen", "waiting", "in-progress") and not self.retired

    @property
    def cost(self) -> int:
        """What the networks of both sides cost, as far as they say so (see `LocalAddress`)."""
        theirs = dict(self.remote.extensions).get("network-cost", "0")
        return self.local_candidate.cost + (
            min(int(theirs), 999) if theirs.isdecimal() and len(theirs) < 6 else 0
        )

    @property
    def relayed(self) -> bool:
        """Whether a relay carries its packets on either side."""
        return "relay" in (self.local_candidate.candidate.type, self.remote.type)

    @property
    def remote_concealed(self) -> bool:
        """Whether the peer has not told where its packets go (see `destination`)."""
        return self.remote.address != self.destination[0].partition("%")[0]

    def veiled(self, text: str) -> str:
        """What a driver says, without the number of an address that the peer has not told."""
        if not self.remote_concealed:
            return text
        return mentions([self.destination[0].partition("%")[0]]).sub(lambda _: self.remote.address, text)

    def answered(self, rtt: float | None) -> None:
        """A check was answered; the round-trip time is None when nobody can tell which send it was."""
        self.responses_received += 1
        self.error = ""
        if rtt is not None:
            self.rtt = rtt
            self.total_rtt += rtt

    def update_priority(self, controlling: bool) -> None:
        """Recompute the priority for a role (RFC 8445 6.1.2.3)."""
        local, remote = self.local_candidate.candidate.priority, self.remote.priority
        self.priority = pair_priority(local, remote) if controlling else pair_priority(remote, local)

    def __str__(self) -> str:
        local, remote = self.local, self.remote
        source, destination = address_text(local.transport_address), address_text(remote.transport_address)
        transport = "" if self.transport == "udp" else f"tcp {local.tcptype} "
        return f"{transport}{local.type} {source} -> {remote.type} {destination}"
