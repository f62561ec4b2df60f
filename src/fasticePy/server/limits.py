"""What strangers can make a server hold, at most, and for how long."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Limits on connections, which are those over TCP and TLS, and the associations of DTLS; plain UDP keeps nothing
    for anybody. Times are in seconds."""

    connections: int = 1000
    """Connections at once. Those beyond are closed as they come. Each holds `unsent_bytes` and twice `message_bytes` at
    most, and TLS another 25 KiB or so."""
    connections_per_source: int = 50
    """Connections at once from one IPv4 address, or one IPv6 /64, which one host can have to itself."""
    first_message: float = 10.0
    """From being connected, over TLS from the end of the handshake, to the end of the first message."""
    handshake: float = 10.0
    """From the first byte of a TLS handshake, or a DTLS client's proof of its address, to its end."""
    message: float = 10.0
    """From the first byte of a message to its last, however steadily bytes drip in."""
    idle: float = 300.0
    """Between two messages. The server does not end a connection that is in use (RFC 8489 6.2.2)."""
    message_bytes: int = 8192
    """Longest message taken from a TCP stream; a connection leaves no more than twice that with us."""
    unsent_bytes: int = 65536
    """Bytes of answers that wait because the client does not read; beyond, nothing is read from it. What was read
    before, 256 KiB at most, is answered still."""
    stalled: float = 10.0
    """How long a client that has been sent too much may refuse to read."""
    local_addresses: int = 256
    """Addresses of this host that a socket on a wildcard address answers from."""


def source_of(host: str) -> str:
    """Whom a connection counts for: the IPv4 address, or the /64 of an IPv6 address."""
    if ":" not in host:
        return host
    return str(ipaddress.IPv6Network((host.partition("%")[0], 64), strict=False))
