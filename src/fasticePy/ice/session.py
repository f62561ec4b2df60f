"""What the parts of one agent share: role, credentials, randomness, outbox and record."""

from __future__ import annotations

from dataclasses import dataclass, field

from fasticePy.ice.candidate import FoundationTable
from fasticePy.ice.credentials import Credentials
from fasticePy.ice.events import Role
from fasticePy.ice.options import IceOptions
from fasticePy.ice.pacing import Pacer
from fasticePy.ice.record import Record
from fasticePy.machine import Outbox, Rng
from fasticePy.stun import IntegrityKey
from fasticePy.stun.transaction import Transactions


@dataclass(slots=True)
class Session:
    """The state that outlives a single check; one per agent, handed to each of its parts."""

    options: IceOptions
    rng: Rng
    pacer: Pacer
    outbox: Outbox
    transactions: Transactions
    record: Record
    local: Credentials
    local_key: IntegrityKey
    controlling: bool
    tiebreaker: int
    pacing: float
    """Ta in seconds: the larger of ours and the peer's (RFC 8839 5.5)."""
    remote: Credentials | None = None
    remote_key: IntegrityKey | None = None
    foundations: FoundationTable = field(default_factory=FoundationTable)

    @classmethod
    def create(cls, options: IceOptions, rng: Rng, pacer: Pacer, outbox: Outbox) -> Session:
        """A new one with fresh credentials (where the options give none) and a fresh tie-breaker."""
        generated = Credentials.generate(rng)
        local = Credentials.own(options.local_ufrag or generated.ufrag, options.local_pwd or generated.pwd)
        return cls(
            options=options,
            rng=rng,
            pacer=pacer,
            outbox=outbox,
            transactions=Transactions(outbox),
            record=Record(options.limits.record),
            local=local,
            local_key=IntegrityKey.short_term(local.pwd),
            controlling=options.controlling,
            tiebreaker=random_tiebreaker(rng),
            pacing=options.timeouts.pacing,
        )

    @property
    def role(self) -> Role:
        """The role in words."""
        return "controlling" if self.controlling else "controlled"

    def set_remote(self, remote: Credentials) -> None:
        """From now on checks can be sent."""
        self.remote = remote
        self.remote_key = IntegrityKey.short_term(remote.pwd)

    def switch_role(self) -> None:
        """Take the other role (RFC 8445 7.2.5.1, 7.3.1.1)."""
        self.controlling = not self.controlling

    def new_tiebreaker(self) -> None:
        """After a 487 (RFC 8445 7.2.5.1)."""
        self.tiebreaker = random_tiebreaker(self.rng)

    def uniform(self, low: float, high: float) -> float:
        """A random number between the two."""
        return low + (high - low) * int.from_bytes(self.rng(4), "big") / 0xFFFFFFFF


def random_tiebreaker(rng: Rng) -> int:
    """64 random bits (RFC 8445 16.1)."""
    return int.from_bytes(rng(8), "big")
