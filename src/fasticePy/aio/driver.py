"""The driver: runs one machine on real sockets, in real time, inside an asyncio event loop.

One timer, no task and no polling: the machine is fed from the sockets and from calls, and after each batch
its transmits and events are taken out and the timer is set to the moment that it asks for.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Protocol

from fasticePy.aio.endpoint import MAX_PER_WAKE, Endpoint, in_words
from fasticePy.aio.endpoint_transport import TransportEndpoint, open_endpoint
from fasticePy.aio.resolver import Lookup, Resolver
from fasticePy.aio.udp_socket import open_udp_socket
from fasticePy.ice.events import CloseSocket, NeedAddresses, NeedSocket
from fasticePy.machine import Address, Event, Machine, Transmit

STALL = 1.0
"""A timer that is so late (seconds) means that the event loop was blocked: sockets are read before it
counts."""
MAX_STALL_DRAIN = 8192
"""Datagrams that are read from one socket after a stall, at most."""

_log = logging.getLogger("fasticePy.aio")


class DrivenMachine(Machine, Protocol):
    """A machine that gathers: `fasticePy.ice.IceAgent`."""

    @property
    def counters(self) -> Counter[str]:
        """Where the driver counts, too."""
        ...

    def socket_opened(self, request: int, socket: int, address: Address, now: float) -> None:
        """Answer to NeedSocket."""

    def socket_failed(self, request: int, reason: str, now: float) -> None:
        """Answer to NeedSocket."""

    def addresses_resolved(
        self, server: int, addresses: Sequence[Address], now: float, *, final: bool = True
    ) -> None:
        """Answer to NeedAddresses."""

    def resolution_failed(self, server: int, reason: str, now: float) -> None:
        """Answer to NeedAddresses."""

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """Something sent did not arrive."""


class Driver:
    """Runs `machine` in the running event loop until `close`.

    `on_event(event)` gets every event that is not for the driver, `on_data(data, socket, address)`
    application data; neither may raise. `families` are those of which addresses of servers are looked up;
    `ports` is where sockets with port 0 are bound. Times given to the machine are those of `now`.
    """

    def __init__(
        self,
        machine: DrivenMachine,
        *,
        on_event: Callable[[Event], None],
        on_data: Callable[[bytes, int, Address], None],
        resolver: Resolver,
        ports: range | None = None,
        families: frozenset[int] = frozenset({4, 6}),
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = now
        self._machine = machine
        self._on_event = on_event
        self._on_data = on_data
        self._resolver = resolver
        self._ports = ports
        self._families = families
        self._ids = itertools.count(1)
        self._endpoints: dict[int, Endpoint] = {}
        self._closing: list[Endpoint] = []
        self._lookups: dict[int, Lookup] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._asked_for: float | None = None
        self._wake: asyncio.Handle | None = None
        self._flushing = False
        self._consumed = False
        self.closed = False

    # -- input -----------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """The machine was given something: take out what it answers, in the next turn of the event loop. So
        callbacks never run inside the call that caused them, and many calls cost one look."""
        if self._wake is None and not self._flushing and not self.closed:
            self._wake = self.loop.call_soon(self._woken)

    def send(self, socket: int, data: bytes | bytearray | memoryview, address: Address) -> bool:
        """Send application data at once; False when it was dropped, which is counted or reported to the
        machine."""
        endpoint = self._endpoints.get(socket)
        if endpoint is None:
            return False
        return endpoint.send(data, address)

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        """See `EndpointHandler`."""
        payload = self._machine.datagram_received(socket, data, address, self.now())
        if payload is None:
            self._consumed = True
            return
        if self._consumed:
            self.flush()  # what this data rests on is heard of before it
        self._on_data(payload, socket, address)

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """See `EndpointHandler`."""
        _log.debug("socket %d: %s: %s", socket, address, reason)
        if not self.closed:
            self._machine.socket_error(socket, address, reason, self.now())
            self.wake()

    def addresses_found(self, server: int, addresses: Sequence[Address], final: bool) -> None:
        """A lookup has found something."""
        if final:
            self._lookups.pop(server, None)
        self._machine.addresses_resolved(server, addresses, self.now(), final=final)
        self.flush()

    def lookup_failed(self, server: int, reason: str) -> None:
        """A lookup has found nothing."""
        self._lookups.pop(server, None)
        self._machine.resolution_failed(server, reason, self.now())
        self.flush()

    # -- output ----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Take out what the machine has to say, until it has said everything, and set the timer."""
        if self._flushing or self.closed:
            return
        self._flushing = True
        self._consumed = False
        machine = self._machine
        try:
            self._carry_out(machine.take_transmits(), machine.take_events())
        finally:
            self._flushing = False
            if not self.closed:
                at = machine.next_timer()
                if at != self._asked_for:
                    self._arm(at)

    batch_ended = flush  # see `EndpointHandler`

    def close(self) -> None:
        """Close the machine, deliver its last words, let go of sockets, timer and lookups. Idempotent."""
        if self.closed:
            return
        self._machine.close(self.now())
        self.closed = True
        self._carry_out(self._machine.take_transmits(), self._machine.take_events())
        for handle in (self._timer, self._wake, *self._lookups.values()):
            if handle is not None:
                handle.cancel()
        self._lookups.clear()
        for socket in list(self._endpoints):
            self._close_endpoint(socket)

    async def wait_closed(self) -> None:
        """Return when the event loop, too, has let go of everything."""
        for endpoint in self._closing:
            await endpoint.wait_closed()

    def _carry_out(self, transmits: list[Transmit], events: list[Event]) -> None:
        while transmits or events:
            for transmit in transmits:
                self.send(transmit.socket, transmit.data, transmit.address)
            for event in events:
                self._dispatch(event)
            transmits, events = self._machine.take_transmits(), self._machine.take_events()

    def _dispatch(self, event: Event) -> None:
        match event:
            case NeedSocket():
                self._open_socket(event)
            case NeedAddresses():
                self._resolve(event)
            case CloseSocket():
                self._close_endpoint(event.socket)
            case _:
                self._on_event(event)

    # -- sockets and names -----------------------------------------------------------------------------------

    def _open_socket(self, need: NeedSocket) -> None:
        if self.closed:
            return
        try:
            endpoint = self._open_endpoint(need.address)
        except (OSError, ValueError) as error:
            reason = in_words(error) if isinstance(error, OSError) else str(error)
            self._machine.socket_failed(need.request, reason, self.now())
            return
        self._endpoints[endpoint.id] = endpoint
        self._machine.socket_opened(need.request, endpoint.id, endpoint.address, self.now())

    def _open_endpoint(self, address: Address) -> Endpoint:
        sock = open_udp_socket(address, ports=self._ports)
        return open_endpoint(self.loop, next(self._ids), sock, self, self._machine.counters)

    def _close_endpoint(self, socket: int) -> None:
        endpoint = self._endpoints.pop(socket, None)
        if endpoint is not None:
            endpoint.close()
            if isinstance(endpoint, TransportEndpoint):
                self._closing.append(endpoint)

    def _resolve(self, need: NeedAddresses) -> None:
        if self.closed:
            return
        lookup = _ServerLookup(self, need.request)
        ipv4, ipv6 = 4 in self._families, 6 in self._families
        try:
            handle = self._resolver.resolve(need.host, need.port, lookup, ipv4=ipv4, ipv6=ipv6)
        except Exception as error:  # noqa: BLE001 - an application's resolver may do anything
            self._machine.resolution_failed(need.request, f"the resolver failed: {error!r}", self.now())
            return
        self._lookups[need.request] = handle

    # -- time ------------------------------------------------------------------------------------------------

    def _arm(self, at: float | None) -> None:
        self._asked_for = at
        if self._timer is not None:
            # early is harmless, and leaving a timer alone costs less than moving it a little later each time
            if at is not None and self._timer_at <= at:
                return
            self._timer.cancel()
            self._timer = None
        if at is not None:
            # by delay: the clock of the event loop need not be ours
            self._timer = self.loop.call_later(max(0.0, at - self.now()), self._timer_due)
            self._timer_at = at

    def _timer_due(self) -> None:
        self._timer = self._asked_for = None
        late = self.now() - self._timer_at
        if late > STALL:
            self._catch_up(late)
        if not self.closed:
            try:
                self._machine.handle_timer(self.now())
            finally:
                self.flush()

    def _catch_up(self, late: float) -> None:
        """The event loop was blocked. What came meanwhile waits in the sockets, answers to consent checks
        among it: it counts before time does."""
        _log.warning("the event loop was blocked for %.1f s: the peer may take us for disconnected", late)
        self._machine.counters["loop.stalled"] += 1
        for endpoint in list(self._endpoints.values()):
            for _ in range(MAX_STALL_DRAIN // MAX_PER_WAKE):
                if endpoint.drain() < MAX_PER_WAKE:
                    break
        self.flush()

    def _woken(self) -> None:
        self._wake = None
        self.flush()


class _ServerLookup:
    """Tells the driver whose addresses these are."""

    __slots__ = ("_driver", "_server")

    def __init__(self, driver: Driver, server: int) -> None:
        self._driver = driver
        self._server = server

    def addresses_found(self, addresses: Sequence[Address], final: bool) -> None:
        self._driver.addresses_found(self._server, addresses, final)

    def lookup_failed(self, reason: str) -> None:
        self._driver.lookup_failed(self._server, reason)


class Closing(Awaitable[None]):
    """What `Agent.close()` returns: awaiting it waits for the driver, and not awaiting it is fine."""

    __slots__ = ("_driver",)

    def __init__(self, driver: Driver | None) -> None:
        self._driver = driver

    def __await__(self) -> Generator[Any, None, None]:
        if self._driver is not None:
            yield from self._driver.wait_closed().__await__()
