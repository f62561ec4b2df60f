"""The sockets of multicast DNS: one for each interface and family, and what is sent through them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fasticePy.machine import Address, Outbox
from fasticePy.mdns.codec import AddressRecord, Message, build

PORT = 5353
"""UDP port of multicast DNS. Responses come from it (RFC 6762 6); it is privileged nowhere but shared by all."""
GROUPS = ("224.0.0.251", "ff02::fb")
"""The multicast groups of IPv4 and IPv6."""
RECORDS_PER_MESSAGE = 16
"""Records that we put into one message: of the longest it stays below 1280 bytes, whatever the network."""


@dataclass(frozen=True, slots=True)
class Link:
    """A socket that is bound to port 5353, has joined the group of its family on one interface and sends through it.

    `addresses` are those of the interface, link-local ones with their scope, and `scope` is what its link-local
    addresses have behind the percent sign.
    """

    socket: int
    ipv6: bool
    addresses: frozenset[str] = frozenset()
    scope: str = ""

    @property
    def group(self) -> Address:
        """Where everybody on this link listens."""
        if not self.ipv6:
            return (GROUPS[0], PORT)
        return (f"{GROUPS[1]}%{self.scope}" if self.scope else GROUPS[1], PORT)


class Links:
    """All links, and the outbox that what is said on them goes to."""

    __slots__ = ("_links", "_outbox")

    def __init__(self, outbox: Outbox) -> None:
        self._links: dict[int, Link] = {}
        self._outbox = outbox

    def __len__(self) -> int:
        return len(self._links)

    def add(self, link: Link) -> None:
        """It can be used from now on."""
        self._links[link.socket] = link

    def remove(self, socket: int) -> None:
        """It cannot be used any more."""
        self._links.pop(socket, None)

    def get(self, socket: int) -> Link | None:
        """The link of a socket."""
        return self._links.get(socket)

    def clear(self) -> None:
        """There are none any more."""
        self._links.clear()

    def of(self, address: str) -> list[Link]:
        """Those on which `address` means something: an address is told on the link that it is on (RFC 6762 14). One
        that no link has, behind a rewrite rule for instance, is told on all."""
        own = [link for link in self._links.values() if address in link.addresses]
        return own or list(self._links.values())

    def multicast(self, data: bytes) -> None:
        """Say it to everybody on all links."""
        for link in self._links.values():
            self._outbox.send(link.socket, link.group, data)

    def respond(self, link: Link, to: Address, records: Sequence[AddressRecord]) -> None:
        """Send address records on one link, in as many messages as it takes."""
        for start in range(0, len(records), RECORDS_PER_MESSAGE):
            part = tuple(records[start : start + RECORDS_PER_MESSAGE])
            self._outbox.send(link.socket, to, build(Message(True, records=part)))
