"""Multicast DNS for ICE as a machine: it resolves names of others and answers for ours (RFC 6762,
draft-ietf-mmusic-mdns-ice-candidates)."""

from __future__ import annotations

from collections.abc import Iterable

from fasticePy.errors import ParseError
from fasticePy.machine import Address, RootMachine
from fasticePy.mdns.codec import AAAA, A, parse
from fasticePy.mdns.limits import Limits
from fasticePy.mdns.links import PORT, Link, Links
from fasticePy.mdns.querier import RESOLVE_TIMEOUT, Querier
from fasticePy.mdns.responder import Responder


class MdnsMachine(RootMachine):
    """Names under ".local", both ways. Sockets are numbers that the driver chooses, one for each interface and
    family, bound to port 5353 and members of the group of their family.

    The driver hands over datagrams of sources on the local network only, where it can tell (RFC 6762 11).
    """

    def __init__(self, *, limits: Limits | None = None, timeout: float = RESOLVE_TIMEOUT) -> None:
        """`timeout` is how long a name is asked for (seconds)."""
        super().__init__()
        self._limits = limits or Limits()
        self._links = Links(self._outbox)
        self._responder = Responder(self._outbox, self._links, self._limits)
        self._querier = Querier(self._outbox, self._links, self._responder, self._limits, timeout)
        self._closed = False

    @property
    def published(self) -> int:
        """Names that we answer for."""
        return len(self._responder)

    @property
    def resolving(self) -> int:
        """Requests that are under way."""
        return len(self._querier)

    @property
    def cached(self) -> int:
        """Names of others that are remembered."""
        return self._querier.cached

    # --- sockets

    def socket_opened(
        self, socket: int, now: float, *, ipv6: bool = False, addresses: Iterable[str] = (), scope: str = ""
    ) -> bool:
        """A socket is there. `addresses` are those of its interface, link-local ones with their scope, which is
        `scope`. Our names are announced on it. False when there are too many, or the machine is closed: close
        it."""
        if self._closed:
            return False
        if len(self._links) >= self._limits.sockets:
            self._outbox.count("limit.mdns.sockets")
            return False
        link = Link(socket, ipv6, frozenset(addresses), scope)
        self._links.add(link)
        self._responder.link_added(link)
        return True

    def socket_closed(self, socket: int, now: float) -> None:
        """A socket is gone; what it carried goes on without it."""
        self._links.remove(socket)
        self._responder.link_removed(socket)

    # --- names

    def resolve(self, request: int, name: str, now: float, *, ipv4: bool = True, ipv6: bool = True) -> None:
        """Find the addresses of `name`; `request` is a number of the driver's choice, by which events tell. It ends
        in a `NameResolved` that is final, or in `NameFailed`. Requests for one name share the queries. Raises
        ValueError when the number is in use."""
        if self._closed:
            return
        self._querier.resolve(request, name, now, frozenset([A] * ipv4 + [AAAA] * ipv6))

    def cancel(self, request: int) -> None:
        """Nothing more is heard of this request. Idempotent."""
        self._querier.cancel(request)

    def publish(self, name: str, address: str, now: float) -> bool:
        """Announce that `name` (see `make_name`) is `address` (numeric), and answer those who ask, until
        `withdraw`. False when there are too many names, or the machine is closed. Raises ValueError for a name or
        an address that is none, and for a name that stands for another address."""
        return not self._closed and self._responder.publish(name, address, now)

    def withdraw(self, name: str, now: float) -> None:
        """Answer for `name` no more, and tell everybody to forget it. Idempotent."""
        self._responder.withdraw(name)

    # --- the surface of a machine

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        """Take one datagram. Always None."""
        if self._closed:
            return None
        link = self._links.get(socket)
        if link is None:
            self._outbox.count("drop.mdns.unknown-socket")
            return None
        try:
            message = parse(data)
        except ParseError:
            self._outbox.count("drop.mdns.malformed")
            return None
        if message.response and address[1] != PORT:  # RFC 6762 6: to be ignored
            self._outbox.count("drop.mdns.response-from-other-port")
        elif message.response:
            self._querier.heard(link, message.records, address, now)
        elif address[1] == 0:
            self._outbox.count("drop.mdns.port-0")
        else:
            self._responder.asked(link, message, address, now)
        return None

    def close(self, now: float) -> None:
        """Withdraw all names and fail all requests; further input is ignored."""
        if self._closed:
            return
        self._closed = True
        self._querier.close(now)
        self._responder.withdraw_all()
        self._links.clear()
        self._outbox.timers.clear()
