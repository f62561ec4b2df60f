"""Multicast DNS in an event loop: names of others resolved, ours answered for
(draft-ietf-mmusic-mdns-ice-candidates).

`MdnsHub.shared()` is the one of the running event loop. It has its sockets open while somebody uses it, and no
longer: on some systems any use of multicast DNS makes the user be asked for permission.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fasticePy.aio.host import host_addresses
from fasticePy.aio.interfaces import InterfaceAddress
from fasticePy.aio.machine_timer import MachineTimer
from fasticePy.aio.mdns_sockets import MdnsInterface, MdnsSockets
from fasticePy.aio.resolver import Lookup, LookupHandler
from fasticePy.machine import Address
from fasticePy.mdns import NO_SOCKET, MdnsMachine, NameFailed, NameResolved

RESCAN = 5.0
"""Seconds after which interfaces are looked at again when something is asked for."""
_log = logging.getLogger("fasticePy.aio")


class Publication:
    """A name of ours that the hub answers for until `withdraw`."""

    def __init__(self, hub: MdnsHub, name: str, address: str) -> None:
        self._hub: MdnsHub | None = hub
        self.name = name
        self.address = address
        self.failure: str | None = None
        """Why nobody would hear of it when it was published, or None. Where the reason was that there was no
        interface, it is announced when there is one."""

    def withdraw(self) -> None:
        """Answer no more, and tell everybody to forget the name. Idempotent."""
        hub, self._hub = self._hub, None
        if hub is not None:
            hub._withdraw(self)


class Listening:
    """Keeps the hub's sockets open until `close`: what is announced meanwhile needs no question later."""

    def __init__(self, hub: MdnsHub) -> None:
        self._hub: MdnsHub | None = hub

    def close(self) -> None:
        """Listen no more. Idempotent."""
        hub, self._hub = self._hub, None
        if hub is not None:
            hub._leave(self)


class MdnsHub:
    """Multicast DNS for everybody in one event loop: a `Resolver` for names under ".local", and who answers for ours.

    One timer, and no task where the event loop has `add_reader`; elsewhere asyncio's datagram transport reads for it.
    Several sockets share port 5353, of this process and of others: Linux keeps them apart by interface, other systems
    may give one what came in on another's interface.
    """

    def __init__(
        self,
        *,
        include_loopback: bool = False,
        addresses: Callable[[], Sequence[InterfaceAddress]] = host_addresses,
    ) -> None:
        """Belongs to the running event loop; raises RuntimeError without one. Loopback is used when there is no other
        interface, or with `include_loopback`. `addresses` gives those of this host."""
        self._loop = asyncio.get_running_loop()
        self._counters: Counter[str] = Counter()
        self._machine = MdnsMachine()
        self._timer = MachineTimer(self._loop, self._machine, self._flush)
        self._numbers = itertools.count(1)
        self._sockets = MdnsSockets(
            self._loop,
            self,
            self._counters,
            addresses=addresses,
            include_loopback=include_loopback,
            opened=self._socket_opened,
            closed=self._socket_closed,
        )
        self._users: set[object] = set()
        self._lookups: dict[int, _Lookup] = {}
        self._names: dict[str, set[Publication]] = {}
        self._wake: asyncio.Handle | None = None

    @classmethod
    def shared(cls) -> MdnsHub:
        """The hub of the running event loop. Raises RuntimeError without one."""
        loop = asyncio.get_running_loop()
        with _shared_lock:
            known = _shared.get(loop)
            hub = known() if known is not None else None
            if hub is None:
                hub = MdnsHub()
                _shared[loop] = weakref.ref(hub)  # who uses it keeps it: the loop outlives it
            return hub

    @property
    def counters(self) -> Counter[str]:
        """How often each counted outcome happened, by reason, while this hub existed."""
        return self._counters + self._machine.counters

    @property
    def is_open(self) -> bool:
        """Whether it has sockets."""
        return bool(self._sockets.endpoints)

    @property
    def problems(self) -> tuple[str, ...]:
        """What could not be opened, and why."""
        return tuple(self._sockets.problems.values())

    # --- for users

    def resolve(
        self, host: str, port: int, handler: LookupHandler, *, ipv4: bool = True, ipv6: bool = True
    ) -> Lookup:
        """Look for the addresses of `host`, a UUID and ".local". See `Resolver.resolve`."""
        lookup = _Lookup(self, next(self._numbers), port, handler)
        self._enter(lookup)
        self._lookups[lookup.number] = lookup
        self._machine.resolve(lookup.number, host, self._loop.time(), ipv4=ipv4, ipv6=ipv6)
        self._flush_soon()
        return lookup

    def publish(self, name: str, address: str) -> Publication:
        """Announce that `name` (see `fasticePy.mdns.make_name`) is `address`, and answer those who ask. Never
        raises: what went wrong is in `Publication.failure`."""
        publication = Publication(self, name, address)
        self._enter(publication)
        try:
            accepted = self._machine.publish(name, address, self._loop.time())
        except ValueError as error:
            accepted, publication.failure = False, str(error)
        else:
            publication.failure = self._unavailable() if accepted else "too many names are published"
        if publication.failure:
            _log.info("mDNS: a name is not published: %s", publication.failure)
        if accepted:
            self._names.setdefault(name.lower(), set()).add(publication)
            self._flush_soon()
        else:
            self._leave(publication)
        return publication

    def listen(self) -> Listening:
        """Open the sockets now and keep them open, so that announcements are heard before somebody asks."""
        listening = Listening(self)
        self._enter(listening)
        return listening

    def refresh(self) -> None:
        """The host's addresses have changed: use the interfaces that there are now."""
        if self._users:
            self._sockets.scan()
            self._flush_soon()

    # --- for endpoints, see `EndpointHandler`

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        """One datagram."""
        if self._sockets.is_local(address[0]):
            self._machine.datagram_received(socket, data, address, self._loop.time())
        else:  # RFC 6762 11; or everybody with our name could ask for what it hides
            self._counters["drop.mdns.source-elsewhere"] += 1

    def batch_ended(self) -> None:
        """The time to answer."""
        self._flush()

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """A socket is broken, or something did not get there."""
        if address is None:
            self._sockets.broken(socket, reason)
        else:  # multicast is tried again anyway, unicast answers are asked for again
            self._counters["error.mdns.send"] += 1

    # --- users come and go

    def _enter(self, user: object) -> None:
        if not self._users:
            self._counters.update(self._machine.counters)
            self._machine = MdnsMachine()  # what an earlier one had heard may have changed meanwhile
            self._timer = MachineTimer(self._loop, self._machine, self._flush)
        self._users.add(user)
        self._sockets.scan(older_than=RESCAN)

    def _leave(self, user: object) -> None:
        if user not in self._users:
            return
        self._users.discard(user)
        if self._users:
            return
        self._machine.close(self._loop.time())
        self._send()
        self._timer.cancel()
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        self._sockets.close()

    def _cancel(self, lookup: _Lookup) -> None:
        if self._lookups.pop(lookup.number, None) is not None:
            self._machine.cancel(lookup.number)
            self._leave(lookup)

    def _withdraw(self, publication: Publication) -> None:
        name = publication.name.lower()
        sharers = self._names.get(name, set())
        if publication not in sharers:
            return
        sharers.discard(publication)
        if not sharers:
            del self._names[name]
            self._machine.withdraw(name, self._loop.time())
            self._send()
        self._leave(publication)

    def _socket_opened(self, id: int, interface: MdnsInterface) -> bool:
        return self._machine.socket_opened(
            id, self._loop.time(), ipv6=interface.ipv6, addresses=interface.addresses, scope=interface.scope
        )

    def _socket_closed(self, id: int) -> None:
        self._machine.socket_closed(id, self._loop.time())

    # --- what the machine says

    def _flush_soon(self) -> None:
        """Nobody is called from inside a call."""
        if self._wake is None and self._users:
            self._wake = self._loop.call_soon(self._woken)

    def _woken(self) -> None:
        self._wake = None
        self._flush()

    def _flush(self) -> None:
        self._send()
        machine = self._machine
        for event in machine.take_events():
            if isinstance(event, (NameResolved, NameFailed)):
                self._report(event)
        if self._users and machine is self._machine:
            self._timer.follow()

    def _send(self) -> None:
        for transmit in self._machine.take_transmits():
            endpoint = self._sockets.endpoints.get(transmit.socket)
            if endpoint is not None:
                endpoint.send(transmit.data, transmit.address)

    def _report(self, event: NameResolved | NameFailed) -> None:
        lookup = self._lookups.get(event.request)
        if lookup is None:  # cancelled by what was reported just before
            return
        last = isinstance(event, NameFailed) or event.final
        if last:
            del self._lookups[event.request]
        try:
            if isinstance(event, NameResolved):
                found = tuple((host, lookup.port) for host in event.addresses)
                lookup.handler.addresses_found(found, event.final)
            else:
                unavailable = self._unavailable() if event.reason == NO_SOCKET else None
                lookup.handler.lookup_failed(unavailable or event.reason)
        finally:
            if last:  # not before: who asks for the next name at once finds the sockets open
                self._leave(lookup)

    def _unavailable(self) -> str | None:
        """Why there is no socket, or None when there is one."""
        if self.is_open:
            return None
        why = "; ".join(self.problems) or "this host has no interface for it"
        return f"multicast DNS is not available: {why}"


_shared: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, weakref.ref[MdnsHub]] = (
    weakref.WeakKeyDictionary()
)
_shared_lock = threading.Lock()


@dataclass(slots=True, eq=False)
class _Lookup:
    hub: MdnsHub
    number: int
    port: int
    handler: LookupHandler

    def cancel(self) -> None:
        self.hub._cancel(self)
