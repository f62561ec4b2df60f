"""The driver: runs one machine on real sockets, in real time, inside an asyncio event loop.

One timer, no task and no polling: the machine is fed from the sockets and from calls, and after each batch
its transmits and events are taken out and the timer is set to the moment that it asks for.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import socket
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Sequence
from functools import partial
from types import TracebackType
from typing import Any, Protocol, overload

from fasticePy.aio.endpoint import MAX_PER_WAKE, in_words
from fasticePy.aio.endpoint_transport import TransportEndpoint, open_endpoint
from fasticePy.aio.names import MdnsResolver, Names
from fasticePy.aio.resolver import Resolver
from fasticePy.aio.tcp_endpoint import FIRST_FRAME_TIMEOUT, TcpConnection
from fasticePy.aio.tcp_opening import TcpConnecting, TcpListener
from fasticePy.aio.tcp_socket import open_listener
from fasticePy.aio.udp_socket import mark, open_udp_socket
from fasticePy.ice.events import (
    CancelConnection,
    CloseSocket,
    NeedAddresses,
    NeedConnection,
    NeedSocket,
    PublishName,
    WithdrawName,
)
from fasticePy.machine import Address, Event, Machine, Transmit

STALL = 1.0
"""A timer that is so late (seconds) means that the event loop was blocked: sockets are read before it
counts."""
LEEWAY = 0.05
"""A timer that is set for so much (seconds) too early is left as it is."""
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

    def connection_accepted(self, listener: int, socket: int, peer: Address, now: float) -> bool:
        """Somebody has connected to a listener: whether that is welcome."""
        ...

    def connection_opened(self, request: int, socket: int, address: Address, now: float) -> None:
        """Answer to NeedConnection."""

    def connection_failed(self, request: int, reason: str, now: float) -> None:
        """Answer to NeedConnection."""

    def connection_closed(self, socket: int, reason: str, now: float) -> None:
        """A connection has ended, and not by CloseSocket."""

    def addresses_resolved(
        self, request: int, addresses: Sequence[Address], now: float, *, final: bool = True
    ) -> None:
        """Answer to NeedAddresses."""

    def resolution_failed(self, request: int, reason: str, now: float) -> None:
        """Answer to NeedAddresses."""

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        """Something sent did not arrive."""


class Sender(Protocol):
    """What the driver needs of its endpoints, listeners and connections."""

    id: int
    address: Address
    on_writable: Callable[[int], None] | None

    @property
    def blocked(self) -> bool:
        """Whether `send` has found no room and `on_writable` is still to be called."""
        ...

    def send(self, data: bytes | bytearray | memoryview, address: Address) -> bool:
        """Send at once, or not."""
        ...

    def drain(self, limit: int = ...) -> int:
        """Take what is waiting."""
        ...

    def close(self) -> None:
        """Let go of the socket."""

    async def wait_closed(self) -> None:
        """Return when it is let go of."""


class Driver:
    """Runs `machine` in the running event loop until `close`.

    `on_event(event)` gets every event that is not for the driver, `on_data(data, socket, address)`
    application data, `on_writable(socket)` is called when a socket that refused data takes it again; none may
    raise. `families` are those of which addresses of servers are looked up, `mdns` answers for names that end
    in `.local` and publishes ours (None: neither); `ports` is where sockets with port 0 are bound, UDP and
    TCP, and `dscp` (0 to 63) what their packets are marked with. Times given to the machine are those of `now`.
    """

    def __init__(
        self,
        machine: DrivenMachine,
        *,
        on_event: Callable[[Event], None],
        on_data: Callable[[bytes, int, Address], None],
        resolver: Resolver,
        mdns: Resolver | MdnsResolver | None = None,
        ports: range | None = None,
        families: frozenset[int] = frozenset({4, 6}),
        on_writable: Callable[[int], None] | None = None,
        dscp: int | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.now = now
        self._machine = machine
        self._on_event = on_event
        self._on_data = on_data
        self._on_writable = on_writable
        self._names = Names(self, resolver, mdns, families=families)
        self._ports = ports
        self._dscp = dscp
        self._ids = itertools.count(1)
        self._endpoints: dict[int, Sender] = {}
        self._connecting: dict[int, TcpConnecting] = {}
        self._closing: list[TransportEndpoint | TcpConnection] = []
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0
        self._asked_for: float | None = None
        self._wake: asyncio.Handle | None = None
        self._flushing = False
        self._consumed = False
        self.closed = False

    def hand_data_to(self, on_data: Callable[[bytes, int, Address], None]) -> None:
        """Call this one with application data from now on."""
        self._on_data = on_data

    def use_families(self, families: frozenset[int]) -> None:
        """Look up addresses of these families (4, 6) from now on."""
        self._names.use_families(families)

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

    @property
    def sockets(self) -> int:
        """How many sockets, listeners and connections are open."""
        return len(self._endpoints)

    def blocked(self, socket: int) -> bool:
        """Whether `send` has found no room in this socket, and `on_writable` will tell when there is some."""
        endpoint = self._endpoints.get(socket)
        return endpoint is not None and endpoint.blocked

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

    def connection_accepted(self, listener: int, sock: socket.socket, peer: Address) -> TcpConnection | None:
        """See `ListenerOwner`."""
        connection = self._connection(sock, peer, first_frame=FIRST_FRAME_TIMEOUT)
        if self._machine.connection_accepted(listener, connection.id, peer, self.now()):
            return connection
        self._close_endpoint(connection.id)
        return None

    def connection_ended(self, socket: int, reason: str) -> None:
        """See `ConnectionHandler`."""
        _log.debug("connection %d: %s", socket, reason)
        self._endpoints.pop(socket, None)
        if not self.closed:
            self._machine.connection_closed(socket, reason, self.now())
            self.wake()

    def addresses_found(self, request: int, addresses: Sequence[Address], final: bool) -> None:
        """See `NameOwner`."""
        self._machine.addresses_resolved(request, addresses, self.now(), final=final)
        self.flush()

    def lookup_failed(self, request: int, reason: str) -> None:
        """See `NameOwner`."""
        self._machine.resolution_failed(request, reason, self.now())
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
        for handle in (self._timer, self._wake, *self._connecting.values()):
            if handle is not None:
                handle.cancel()
        self._connecting.clear()
        self._names.close()
        for number in list(self._endpoints):
            self._close_endpoint(number)
        for endpoint in self._closing:
            if isinstance(endpoint, TcpConnection):
                endpoint.abort()  # closing is quick: nobody waits for a peer that does not read

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
            case NeedConnection():
                self._connect(event)
            case CancelConnection():
                self._cancel(event.request)
            case CloseSocket():
                self._close_endpoint(event.socket)
            case NeedAddresses():
                self._resolve(event)
            case PublishName():
                if not self.closed and not self._names.publish(event.name, event.address):
                    self._machine.counters["mdns.not-published"] += 1
            case WithdrawName():
                self._names.withdraw(event.name)
            case _:
                self._on_event(event)

    # -- sockets and names -----------------------------------------------------------------------------------

    def _open_socket(self, need: NeedSocket) -> None:
        if self.closed:
            return
        try:
            endpoint = self._listen(need.address) if need.transport == "tcp" else self._bind(need.address)
        except (OSError, ValueError) as error:
            self._machine.socket_failed(need.request, _reason(error), self.now())
            return
        self._keep(endpoint)
        self._machine.socket_opened(need.request, endpoint.id, endpoint.address, self.now())

    def _bind(self, address: Address) -> Sender:
        sock = open_udp_socket(address, ports=self._ports)
        mark(sock, self._dscp)
        return open_endpoint(self.loop, next(self._ids), sock, self, self._machine.counters)

    def _listen(self, address: Address) -> Sender:
        sock = open_listener(address, ports=self._ports)
        try:
            return TcpListener(self.loop, next(self._ids), sock, self, self._machine.counters)
        except OSError:
            sock.close()
            raise

    def _connect(self, need: NeedConnection) -> None:
        if self.closed:
            return
        try:
            connecting = TcpConnecting(
                self.loop,
                need.base,
                need.peer,
                connected=partial(self._connected, need),
                failed=partial(self._not_connected, need.request),
                ports=self._ports,
            )
        except (OSError, ValueError) as error:
            self._machine.connection_failed(need.request, _reason(error), self.now())
        else:
            self._connecting[need.request] = connecting

    def _connected(self, need: NeedConnection, sock: socket.socket) -> None:
        self.flush()  # it may have been cancelled
        if self.closed or self._connecting.pop(need.request, None) is None:
            sock.close()
            return
        connection = self._connection(sock, need.peer)
        self._machine.connection_opened(need.request, connection.id, connection.address, self.now())
        self.flush()

    def _not_connected(self, request: int, reason: str) -> None:
        del self._connecting[request]
        self._machine.connection_failed(request, reason, self.now())
        self.flush()

    def _cancel(self, request: int) -> None:
        connecting = self._connecting.pop(request, None)
        if connecting is not None:
            connecting.cancel()

    def _connection(
        self, sock: socket.socket, peer: Address, *, first_frame: float | None = None
    ) -> TcpConnection:
        mark(sock, self._dscp)
        connection = TcpConnection(
            self.loop, next(self._ids), sock, peer, self, self._machine.counters, first_frame=first_frame
        )
        self._keep(connection)
        return connection

    def _keep(self, endpoint: Sender) -> None:
        endpoint.on_writable = self._on_writable
        self._endpoints[endpoint.id] = endpoint

    def _close_endpoint(self, socket: int) -> None:
        endpoint = self._endpoints.pop(socket, None)
        if endpoint is None:
            return
        endpoint.close()
        if isinstance(endpoint, TransportEndpoint) or (
            isinstance(endpoint, TcpConnection) and endpoint.lingers
        ):
            self._closing = [
                each for each in self._closing if not isinstance(each, TcpConnection) or each.lingers
            ]
            self._closing.append(endpoint)

    def _resolve(self, need: NeedAddresses) -> None:
        if self.closed:
            return
        failure = self._names.look_up(need.request, need.host, need.port)
        if failure is not None:
            self._machine.resolution_failed(need.request, failure, self.now())

    # -- time ------------------------------------------------------------------------------------------------

    def _arm(self, at: float | None) -> None:
        self._asked_for = at
        if self._timer is not None:
            # early is harmless, and leaving a timer alone costs less than moving it a little later each time; but not
            # less than waking up for nothing
            if at is not None and self._timer_at <= at < self._timer_at + LEEWAY:
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


def _reason(error: Exception) -> str:
    return in_words(error) if isinstance(error, OSError) else str(error)


class Closing(Coroutine[Any, Any, None]):
    """What `Agent.close()` returns: awaiting it waits for the driver, as often as one likes, `asyncio.create_task` and
    `asyncio.run` take it, and not awaiting it is fine."""

    __slots__ = ("_driver", "_steps")

    def __init__(self, driver: Driver | None) -> None:
        self._driver = driver
        self._steps: Generator[Any, Any, None] | None = None

    def send(self, value: Any) -> Any:
        """See `collections.abc.Coroutine`: for tasks."""
        if self._steps is None:
            self._steps = self.__await__()
        return self._steps.send(value)

    @overload
    def throw(
        self, kind: type[BaseException], value: object = ..., traceback: TracebackType | None = ..., /
    ) -> Any: ...
    @overload
    def throw(
        self, kind: BaseException, value: None = ..., traceback: TracebackType | None = ..., /
    ) -> Any: ...
    def throw(self, kind: Any, value: Any = None, traceback: TracebackType | None = None, /) -> Any:
        """See `collections.abc.Coroutine`: for tasks that are cancelled."""
        if self._steps is None:
            self._steps = self.__await__()
        if isinstance(kind, type):
            kind = kind() if value is None else value
        return self._steps.throw(kind)

    def close(self) -> None:
        """See `collections.abc.Coroutine`."""
        if self._steps is not None:
            self._steps.close()

    def __await__(self) -> Generator[Any, Any, None]:
        if self._driver is not None:
            yield from self._driver.wait_closed().__await__()
