"""Runs one server machine on real sockets: UDP and TCP listeners, connections, timers, and the end of all of them."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from itertools import count
from typing import Literal, Protocol, TypeAlias

from fasticePy.aio.endpoint import Endpoint, UdpEndpoint
from fasticePy.aio.endpoint_transport import TransportEndpoint
from fasticePy.aio.udp_socket import bound_address
from fasticePy.machine import Address, Machine
from fasticePy.server import wildcard
from fasticePy.server.connection import Connection
from fasticePy.server.limits import ServerLimits, source_of
from fasticePy.server.listening import expand_wildcards, is_wildcard, open_all
from fasticePy.stun import StreamDecoder

StreamMode: TypeAlias = Literal["stun", "turn"]


class Sender(Protocol):
    """Whatever carries the machine's datagrams: a UDP endpoint, a local address of one, a TCP connection."""

    def send(self, data: bytes, address: Address) -> bool:
        """Send one message; False when it was not sent."""


class ServerRuntime:
    """Drives `machine` from sockets on `listen`, which are numeric addresses; port 0 takes a free one, the same
    for UDP and TCP. `decoder` is the mode of `StreamDecoder` in which TCP streams are split into messages."""

    def __init__(
        self,
        machine: Machine,
        listen: Sequence[Address],
        *,
        udp: bool,
        tcp: bool,
        decoder: StreamMode,
        limits: ServerLimits,
        counters: Counter[str],
    ) -> None:
        self.counters = counters
        self.udp_addresses: tuple[Address, ...] = ()
        self.tcp_addresses: tuple[Address, ...] = ()
        self._machine = machine
        self._listen = listen
        self._transports = (udp, tcp)
        self._decoder = decoder
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._senders: dict[int, Sender] = {}
        self._locals = 0
        self._endpoints: list[Endpoint] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._sources: Counter[str] = Counter()
        self._timer: asyncio.TimerHandle | None = None
        self._all_ended = asyncio.Event()
        self._closed = False

    # -- life

    async def start(self) -> None:
        """Bind everything and begin to answer. Raises OSError, and then nothing stays open."""
        udp, tcp = self._transports
        udp_sockets, tcp_sockets = open_all(expand_wildcards(self._listen), udp=udp, tcp=tcp)
        self.udp_addresses = tuple(bound_address(sock) for sock in udp_sockets)
        self.tcp_addresses = tuple(bound_address(sock) for sock in tcp_sockets)
        try:
            for sock in udp_sockets:
                self._endpoints.append(self._open_endpoint(sock))
            for sock in tcp_sockets:
                self._servers.append(await self._loop.create_server(self._make_connection, sock=sock))
        except BaseException:
            await self.close()
            for sock in udp_sockets + tcp_sockets:
                sock.close()
            raise
        self._reschedule()

    async def close(self) -> None:
        """Stop answering and close every socket and connection at once. Idempotent."""
        if not self._closed:
            self._closed = True
            self._machine.close(self._loop.time())
            self._flush()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            for server in self._servers:
                server.close()
            for endpoint in self._endpoints:
                endpoint.close()
            for connection in tuple(self._connections):
                connection.abort("server closed")
        for endpoint in self._endpoints:
            await endpoint.wait_closed()
        if self._connections:
            await self._all_ended.wait()

    @property
    def connection_count(self) -> int:
        """TCP connections that are open now."""
        return len(self._connections)

    # -- UDP

    def _open_endpoint(self, sock: socket.socket) -> Endpoint:
        if wildcard.AVAILABLE and is_wildcard(bound_address(sock)[0]):
            return wildcard.WildcardEndpoint(
                self._loop, sock, self, self.counters, register=self._register_local
            )
        number = next(self._numbers)
        try:
            endpoint: Endpoint = UdpEndpoint(self._loop, number, sock, self, self.counters)
        except NotImplementedError:
            endpoint = TransportEndpoint(self._loop, number, sock, self, self.counters)
        self._senders[number] = endpoint
        return endpoint

    def _register_local(self, local: wildcard.LocalAddress) -> int | None:
        if self._locals >= self._limits.local_addresses:
            return None
        self._locals += 1
        number = next(self._numbers)
        self._senders[number] = local
        return number

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        """One datagram, from an endpoint."""
        self._machine.datagram_received(socket, data, address, self._loop.time())

    def batch_ended(self) -> None:
        """An endpoint has handed over all that it had: send the answers."""
        self._flush()

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """An answer did not arrive, or (address None) a socket is broken."""
        self.counters["answer not sent" if address else "socket broken"] += 1

    # -- TCP

    def _make_connection(self) -> Connection:
        decoder = StreamDecoder(self._decoder, self._limits.message_bytes)
        return Connection(next(self._numbers), self, self._limits, decoder, self._loop)

    def connection_opened(self, connection: Connection) -> bool:
        """Whether the limits let it stay."""
        source = source_of(connection.remote[0])
        if self._closed or len(self._connections) >= self._limits.connections:
            self.counters["tcp connection refused: too many"] += 1
            return False
        if self._sources[source] >= self._limits.connections_per_source:
            self.counters["tcp connection refused: too many from one source"] += 1
            return False
        self._sources[source] += 1
        self._connections.add(connection)
        self._senders[connection.id] = connection
        self.counters["tcp connections"] += 1
        return True

    def messages_received(self, connection: Connection, messages: list[bytes]) -> None:
        """Whole messages from a connection: answer them."""
        now = self._loop.time()
        for message in messages:
            self._machine.datagram_received(connection.id, message, connection.remote, now)
        self._flush()

    def connection_ended(self, connection: Connection, reason: str | None) -> None:
        """A connection is gone; `reason` tells why we ended it."""
        if reason is not None:
            self.counters[reason] += 1
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        del self._senders[connection.id]
        source = source_of(connection.remote[0])
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]
        if self._closed and not self._connections:
            self._all_ended.set()

    # -- the machine

    def _flush(self) -> None:
        for transmit in self._machine.take_transmits():
            sender = self._senders.get(transmit.socket)
            if sender is None or not sender.send(transmit.data, transmit.address):
                self.counters["answer not sent"] += 1
        self._machine.take_events()
        self._reschedule()

    def _reschedule(self) -> None:
        at = None if self._closed else self._machine.next_timer()
        if self._timer is not None:
            if self._timer.when() == at:
                return
            self._timer.cancel()
            self._timer = None
        if at is not None:
            self._timer = self._loop.call_at(at, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        self._machine.handle_timer(self._loop.time())
        self._flush()
