"""What all streams and generations of one agent share: role, tie-breaker, randomness, outbox, sockets and record
(RFC 8445 4: the ICE session)."""

from __future__ import annotations

from dataclasses import dataclass, field

from fasticePy.ice.candidate import FoundationTable
from fasticePy.ice.checking.checklist import ChecklistSet
from fasticePy.ice.checking.pacing import Pacer
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.events import Role
from fasticePy.ice.gathering.concealment import Concealment
from fasticePy.ice.gathering.rewrite import Rewrite
from fasticePy.ice.options import IceOptions
from fasticePy.ice.paths import Paths
from fasticePy.ice.reporting.record import Record
from fasticePy.ice.selecting.renomination import Renomination
from fasticePy.machine import Address, Outbox, Rng
from fasticePy.stun import IntegrityKey
from fasticePy.stun.transaction import Transactions


@dataclass(slots=True)
class Session:
    """The state that outlives a check, a generation and a stream; one per agent, handed to each of its parts."""

    options: IceOptions
    rng: Rng
    pacer: Pacer
    outbox: Outbox
    transactions: Transactions
    record: Record
    checklists: ChecklistSet
    paths: Paths
    controlling: bool
    tiebreaker: int
    pacing: float
    """Ta in seconds: the larger of ours and the peer's (RFC 8839 5.5)."""
    concealment: Concealment
    """What may be seen of our addresses."""
    advertise: tuple[Rewrite, ...] = ()
    """The rewrite rules, with numeric addresses."""
    peer_lite: bool = False
    """The peer says that it is lite: it never checks, and never controls unless we are lite, too (RFC 8445 6.1.1)."""
    foundations: FoundationTable = field(default_factory=FoundationTable)

    @classmethod
    def create(cls, options: IceOptions, rng: Rng, pacer: Pacer, outbox: Outbox) -> Session:
        """A new one with a fresh tie-breaker."""
        return cls(
            options=options,
            rng=rng,
            pacer=pacer,
            outbox=outbox,
            transactions=Transactions(outbox),
            record=Record(options.limits.record),
            checklists=ChecklistSet([], options.limits.pairs),
            paths=Paths(options.limits.validated_addresses * options.streams),
            controlling=options.controlling,
            tiebreaker=random_tiebreaker(rng),
            pacing=options.timeouts.pacing,
            concealment=Concealment(outbox, rng),
            advertise=options.advertise,
        )

    @property
    def role(self) -> Role:
        """The role in words."""
        return "controlling" if self.controlling else "controlled"

    def switch_role(self) -> None:
        """Take the other role (RFC 8445 7.2.5.1, 7.3.1.1)."""
        self.controlling = not self.controlling

    def new_tiebreaker(self) -> None:
        """After a 487 (RFC 8445 7.2.5.1)."""
        self.tiebreaker = random_tiebreaker(self.rng)

    def shown(self, address: Address) -> Address:
        """How an address of ours appears in what others may see: events, statistics, report and record."""
        return (self.concealment.shown(address[0]), address[1])

    def uniform(self, low: float, high: float) -> float:
        """A random number between the two."""
        return low + (high - low) * int.from_bytes(self.rng(4), "big") / 0xFFFFFFFF


@dataclass(slots=True, eq=False)
class Generation:
    """The credentials of one generation of one stream: a restart begins another one (RFC 8445 9)."""

    stream: int
    number: int
    """Counts up with each restart of the stream, from 0."""
    local: Credentials
    local_key: IntegrityKey
    remote: Credentials | None = None
    remote_key: IntegrityKey | None = None
    renomination: Renomination = field(default_factory=Renomination)

    @classmethod
    def create(cls, stream: int, number: int, rng: Rng, ufrag: str | None, pwd: str | None) -> Generation:
        """With these credentials, and fresh ones where they are None. Raises ValueError for malformed ones."""
        generated = Credentials.generate(rng)
        local = Credentials.own(ufrag or generated.ufrag, pwd or generated.pwd)
        return cls(stream, number, local, IntegrityKey.short_term(local.pwd))

    def set_remote(self, remote: Credentials) -> None:
        """From now on checks can be sent."""
        self.remote = remote
        self.remote_key = IntegrityKey.short_term(remote.pwd)


def random_tiebreaker(rng: Rng) -> int:
    """64 random bits (RFC 8445 16.1)."""
    return int.from_bytes(rng(8), "big")
