"""What travels through the virtual network, and what its log keeps of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_address
from typing import Literal, Protocol, TypeAlias

from fasticePy.machine import Address

Transport: TypeAlias = Literal["udp", "tcp", "mdns"]
_HEADERS = {"udp": 8, "tcp": 20, "mdns": 8}


@dataclass(frozen=True, slots=True)
class Packet:
    """One datagram or TCP segment on its way. An ICMP error is a packet too: it goes back to the sender of the
    packet that it is about, `source` is where that one was headed, `error` says what is wrong, and the rest is
    that packet's."""

    number: int
    """Counts the packets sent in this network; copies and translations keep the number."""
    source: Address
    destination: Address
    data: bytes = field(repr=False)
    """A datagram, or one whole message of a TCP connection."""
    sent_at: float
    error: str = ""
    transport: Transport = "udp"
    flags: str = ""
    """Of a TCP segment: "SYN", "SYN ACK", "ACK", "FIN", "RST", or "PSH" for one that carries a message."""
    sequence: int = 0
    """Of a TCP segment: counts what its sender has sent that is to be acknowledged: SYN, messages, FIN."""
    acknowledged: int = 0
    """Of a TCP segment with ACK or RST: the `sequence` of the segment that it answers."""

    @property
    def size(self) -> int:
        """Bytes on the wire, headers included."""
        return (40 if ":" in self.source[0] else 20) + _HEADERS[self.transport] + len(self.data)

    def translated(self, *, source: Address | None = None, destination: Address | None = None) -> Packet:
        """The same packet with other addresses, as a NAT makes it."""
        return replace(self, source=source or self.source, destination=destination or self.destination)

    def __str__(self) -> str:
        text = f"#{self.number} {_show(self.source)} > {_show(self.destination)}"
        if self.transport != "udp":
            text += f" {self.transport} {self.flags}".rstrip()
        return f"{text} {self.error}" if self.error else f"{text} {len(self.data)} bytes"


@dataclass(frozen=True, slots=True)
class LogEntry:
    """What became of a packet at one place: `what` is "sent", "delivered", or why it went no further."""

    at: float
    what: str
    where: str
    packet: Packet

    def __str__(self) -> str:
        return f"{self.at:12.6f} {self.where}: {self.what} {self.packet}"


class Receiver(Protocol):
    """Who owns a socket of a host."""

    def packet_received(self, socket: int, data: bytes, address: Address, now: float) -> None:
        """A datagram came from `address`, or a message on a connection with `address`."""

    def error_received(self, socket: int, address: Address, reason: str, now: float) -> None:
        """A datagram sent to `address` came to nothing."""


@lru_cache(maxsize=4096)
def canonical(address: str) -> str:
    """An IP address as `ipaddress` prints it. Raises ValueError when it is none."""
    return str(ip_address(address))


def refusal(source: Address, destination: Address) -> str:
    """Why a host with the address `source` cannot send to `destination` at all, or ""."""
    try:
        address = canonical(destination[0])
    except ValueError:
        return "not an IP address"
    if (":" in address) != (":" in source[0]):
        return "address family not supported"
    return "" if 0 < destination[1] < 65536 else "invalid port"


def _show(address: Address) -> str:
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
