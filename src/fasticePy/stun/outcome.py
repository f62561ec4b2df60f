"""What asking a server led to: the result of `fasticePy.stun.query`, and everything that was tried on the way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from fasticePy._native.stun import Message
from fasticePy.errors import IceError
from fasticePy.machine import Address
from fasticePy.stun.discovery import Transport

Outcome: TypeAlias = Literal[
    "ok",
    "unresolved",
    "unusable",
    "unreachable",
    "timeout",
    "closed",
    "certificate",
    "tls",
    "unauthenticated",
    "error response",
    "bad response",
    "integrity violated",
    "overtaken",
]
"""How an attempt ended. "unresolved": the DNS gave nothing. "unusable": this host could not even try. "unreachable":
nobody is there, or no way leads there. "closed": the connection was. "unauthenticated": the server wants credentials,
or others. "overtaken": another address was faster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One thing that was tried: a question to the DNS, or a server at one address. `str()` says it in a line."""

    what: Literal["dns"] | Transport
    target: str
    """The question, or the address as in URLs."""
    outcome: Outcome
    detail: str
    """What came back, in words."""
    began: float
    """Seconds after the query began."""
    took: float
    """Seconds."""
    address: Address | None = None
    """The server's, unless this is about the DNS."""
    code: int | None = None
    """The code of the error response (RFC 8489 14.8)."""
    response: Message | None = field(default=None, repr=False, compare=False)
    """What the server answered, whether it was of use or not."""

    @property
    def ok(self) -> bool:
        """Whether it led to an answer."""
        return self.outcome == "ok"

    def __str__(self) -> str:
        return f"{self.what} {self.target}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryResult:
    """What a STUN server told us, and how the answer came about."""

    url: str
    """The URI that was asked for."""
    transport: Transport
    server: Address
    """Who answered."""
    mapped_address: Address
    """Where the server saw us: our address outside of all NATs between us."""
    local_address: Address
    """Where we asked from. The same as `mapped_address` when no NAT is between."""
    rtt: float | None
    """Seconds from the request to its answer; None when it was sent more than once over UDP, for nobody knows then
    which one was answered."""
    setup: float
    """Seconds that the connection took to be made, TLS included; 0 over UDP."""
    software: str | None
    """What the server says that it is (SOFTWARE)."""
    realm: str | None
    """The realm whose credentials the server asked for; None when it asked for none."""
    authenticated: bool
    """Whether the answer is signed with our credentials: nobody else can have written it."""
    other_address: Address | None
    """OTHER-ADDRESS of a server that can test NATs (RFC 5780 7.4)."""
    response_origin: Address | None
    """RESPONSE-ORIGIN of such a server (RFC 5780 7.3)."""
    attempts: tuple[Attempt, ...]
    """Everything that was tried, in the order in which it began; the last one that is `ok` gave this result."""

    @property
    def family(self) -> Literal[4, 6]:
        """IPv4 or IPv6: over which the server was asked."""
        return 6 if ":" in self.server[0] else 4


class StunError(IceError):
    """No STUN server gave a usable answer. `attempts` has what was tried and what came back, oldest first."""

    def __init__(self, message: str, attempts: Sequence[Attempt] = ()) -> None:
        super().__init__(message)
        self.attempts = tuple(attempts)
