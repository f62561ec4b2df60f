"""What the STUN client tells: how requests ended, and what happened to them on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from fasticePy._native.stun import Message
from fasticePy.machine import Address, Event

FailureReason: TypeAlias = Literal[
    "timeout",
    "integrity violated",
    "unauthenticated",
    "error response",
    "bad response",
    "unreachable",
    "closed",
]


@dataclass(slots=True, kw_only=True)
class ResponseReceived(Event):
    """A request was answered with success."""

    request: int
    message: Message
    socket: int
    address: Address
    sends: int
    """How often the request was sent, with all resends after a 5xx or for authentication."""
    rtt: float | None
    """Round-trip time in seconds; None when retransmissions leave open which send was answered."""
    authenticated: bool = False
    """Whether the answer has the right integrity: nobody without the password can have written it."""
    counter: tuple[int, int] | None = None
    """What the server says it saw (RFC 7982 3): which send this answers, and the how manieth answer it is, or 0 when it
    does not count. Only for requests with `count_sends`, and None when the server knows nothing of it."""


@dataclass(slots=True, kw_only=True)
class RequestFailed(Event):
    """A request came to nothing. `reason` is the kind of failure, `detail` says it in words.

    "unauthenticated" means that a 401 or 438 ended it: the credentials are refused, or the challenge is one that must
    not be answered. "integrity violated" means that answers came and none of them could be believed.
    """

    request: int
    reason: FailureReason
    detail: str
    socket: int
    address: Address
    sends: int
    code: int | None = None
    """The code of the error response."""
    message: Message | None = None
    """The response, when there was one."""


@dataclass(slots=True, kw_only=True)
class Challenged(Event):
    """A server wants credentials and gets them: the request was sent again, signed, or with a newer nonce."""

    request: int
    socket: int
    address: Address
    code: int
    """401, or 438 for a nonce that was too old."""
    realm: str
    mechanism: str
    """How the request is signed now: "MD5" or "SHA-256" after the password algorithm, or "token" (RFC 7635)."""
    anonymous: bool
    """Whether the user name goes out as a hash."""


@dataclass(slots=True, kw_only=True)
class Redirected(Event):
    """A server sends us to another one (RFC 8489 10), and proved that it is the server.

    The request waits until the driver has a way there, the same transport to `alternate`, and calls
    `StunAgent.follow`, with the same socket for UDP; or `decline` when there is none. It fails when neither comes.
    """

    request: int
    socket: int
    address: Address
    """The server that said so."""
    alternate: Address
    """Where to go."""
    domain: str | None
    """The name that a certificate there must have (ALTERNATE-DOMAIN); None: the name used so far."""


@dataclass(slots=True, kw_only=True)
class IndicationReceived(Event):
    """Somebody sent an indication; it is not answered."""

    message: Message
    socket: int
    address: Address
