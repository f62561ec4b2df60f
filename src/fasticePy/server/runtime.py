"""Runs one server machine on real sockets: listeners on UDP and TCP, with and without TLS, connections, timers, and the
end of all of them."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from fasticePy.aio.endpoint import Endpoint
from fasticePy.aio.endpoint_transport import open_endpoint
from fasticePy.aio.machine_timer import MachineTimer
from fasticePy.aio.udp_socket import bound_address
from fasticePy.machine import Address, Machine
from fasticePy.server import wildcard
from fasticePy.server.connection import Connection, Security
from fasticePy.server.limits import ServerLimits, source_of
from fasticePy.server.listening import Listener, expand_wildcards, is_wildcard, open_all
from fasticePy.stun import PacketKind, StreamDecoder, classify
from fasticePy.stun.discovery import Transport

if TYPE_CHECKING:
    import ssl

    from OpenSSL import SSL

    from fasticePy.server.dtls import Association, DtlsServer

StreamMode: TypeAlias = Literal["stun", "turn"]


class Sender(Protocol):
    """What carries the machine's datagrams: a UDP endpoint, a local address of one, a connection, an association."""

    def send(self, data: bytes, address: Address) -> bool:
        """Send one message; False when it was not sent."""
        ...


class ServerRuntime:
    """Drives `machine` from sockets on the listeners' addresses, which are numeric; port 0 takes a free one, the same
    for UDP and TCP. `decoder` is the mode of `StreamDecoder` in which streams are split into messages. With `tls`, TCP
    ports take TLS too, with `dtls`, UDP ports take DTLS."""

    def __init__(
        self,
        machine: Machine,
        listeners: Sequence[Listener],
        *,
        decoder: StreamMode,
        limits: ServerLimits,
        counters: Counter[str],
        tls: ssl.SSLContext | None = None,
        dtls: SSL.Context | None = None,
    ) -> None:
        self.counters = counters
        self.udp_addresses: tuple[Address, ...] = ()
        self.tcp_addresses: tuple[Address, ...] = ()
        self.tls_addresses: tuple[Address, ...] = ()
        self.dtls_addresses: tuple[Address, ...] = ()
        self._machine = machine
        self._listeners = listeners
        self._decoder: StreamMode = decoder
        self._limits = limits
        self._tls = tls
        self._loop = asyncio.get_running_loop()
        self._numbers = count(1)
        self._senders: dict[int, Sender] = {}
        self._transports: dict[int, Transport] = {}  # of the sockets that carry something else than UDP
        self._secure: set[int] = set()  # UDP sockets that take DTLS only
        self._locals = 0
        self._endpoints: list[Endpoint] = []
        self._servers: list[asyncio.Server] = []
        self._connections: set[Connection] = set()
        self._admitted = 0
        self._sources: Counter[str] = Counter()
        self._timer = MachineTimer(self._loop, machine, self._flush)
        self._all_ended = asyncio.Event()
        self._closed = False
        self._dtls = self._make_dtls(dtls) if dtls is not None else None

    # -- life

    async def start(self) -> None:
        """Bind everything and begin to answer. Raises OSError, and then nothing stays open."""
        opened = open_all(expand_wildcards(self._listeners))
        try:
            for each in opened:
                if each.udp is not None:
                    self._endpoints.append(self._open_endpoint(each.udp, each.listener.secure))
                if each.tcp is not None:
                    connect = partial(self._make_connection, Security(self._tls, not each.listener.secure))
                    self._servers.append(await self._loop.create_server(connect, sock=each.tcp))
        except BaseException:
            await self.close()
            for each in opened:
                each.close()
            raise
        udp = [(bound_address(each.udp), each.listener.secure) for each in opened if each.udp is not None]
        tcp = [(bound_address(each.tcp), each.listener.secure) for each in opened if each.tcp is not None]
        self.udp_addresses = tuple(address for address, secure in udp if not secure)
        self.tcp_addresses = tuple(address for address, secure in tcp if not secure)
        self.tls_addresses = _secure_first(tcp) if self._tls is not None else ()
        self.dtls_addresses = _secure_first(udp) if self._dtls is not None else ()
        self._timer.follow()

    async def close(self) -> None:
        """Stop answering and close every socket and connection at once. Idempotent."""
        if not self._closed:
            self._closed = True
            self._machine.close(self._loop.time())
            self._flush()
            self._timer.cancel()
            for server in self._servers:
                server.close()
            if self._dtls is not None:
                self._dtls.close()
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
        """Connections and associations that are open now."""
        return self._admitted

    def transport_of(self, socket: int) -> Transport:
        """What a socket of the machine carries its messages over."""
        return self._transports.get(socket, "udp")

    # -- UDP

    def _open_endpoint(self, sock: socket.socket, secure: bool) -> Endpoint:
        if wildcard.AVAILABLE and is_wildcard(bound_address(sock)[0]):
            register = partial(self._register_local, secure)
            return wildcard.WildcardEndpoint(self._loop, sock, self, self.counters, register=register)
        number = next(self._numbers)
        if secure:
            self._secure.add(number)
        endpoint = open_endpoint(self._loop, number, sock, self, self.counters)
        self._senders[number] = endpoint
        return endpoint

    def _register_local(self, secure: bool, local: wildcard.LocalAddress) -> int | None:
        if self._locals >= self._limits.local_addresses:
            return None
        self._locals += 1
        number = next(self._numbers)
        if secure:
            self._secure.add(number)
        self._senders[number] = local
        return number

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        """One datagram, from an endpoint."""
        if self._dtls is not None:
            if classify(data) == PacketKind.DTLS:
                self._dtls.datagram_received(socket, data, address)
                return
            if socket in self._secure:
                self.counters["datagram without dtls on a port for dtls"] += 1
                return
        self._machine.datagram_received(socket, data, address, self._loop.time())

    def batch_ended(self) -> None:
        """An endpoint has handed over all that it had: send the answers."""
        self._flush()

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        """An answer did not arrive, or (address None) a socket is broken."""
        self.counters["answer not sent" if address else "socket broken"] += 1

    # -- DTLS

    def _make_dtls(self, context: SSL.Context) -> DtlsServer:
        from fasticePy.server.dtls import DtlsServer  # noqa: PLC0415 - it needs pyOpenSSL

        return DtlsServer(context, self, self._limits, self.counters, self._loop)

    def send_datagram(self, socket: int, data: bytes, address: Address) -> bool:
        """Send one datagram from this UDP socket."""
        return self._senders[socket].send(data, address)

    def association_opened(self, association: Association) -> None:
        """A DTLS handshake is over: it is a socket of the machine from now on."""
        association.id = next(self._numbers)
        self._senders[association.id] = association
        self._transports[association.id] = "dtls"

    def message_received(self, association: Association, data: bytes) -> None:
        """One message in an association."""
        self._machine.datagram_received(association.id, data, association.remote, self._loop.time())
        self._flush()  # not at the end of the batch: the client may say goodbye in it

    def association_ended(self, association: Association) -> None:
        """An association is gone."""
        del self._senders[association.id]
        del self._transports[association.id]

    # -- TCP and TLS

    def _make_connection(self, security: Security) -> Connection:
        decoder = StreamDecoder(self._decoder, self._limits.message_bytes)
        return Connection(next(self._numbers), self, self._limits, decoder, self._loop, security)

    def admit(self, address: Address) -> bool:
        """Whether the limits leave room for another connection or association of this client; if so, it is taken until
        `leave`."""
        source = source_of(address[0])
        if self._closed or self._admitted >= self._limits.connections:
            self.counters["connection refused: too many"] += 1
            return False
        if self._sources[source] >= self._limits.connections_per_source:
            self.counters["connection refused: too many from one source"] += 1
            return False
        self._admitted += 1
        self._sources[source] += 1
        return True

    def leave(self, address: Address) -> None:
        """One that was admitted is gone."""
        source = source_of(address[0])
        self._admitted -= 1
        self._sources[source] -= 1
        if not self._sources[source]:
            del self._sources[source]

    def connection_opened(self, connection: Connection) -> bool:
        """Whether the limits let it stay."""
        if not self.admit(connection.remote):
            return False
        self._connections.add(connection)
        self._senders[connection.id] = connection
        self.counters["tcp connections"] += 1
        return True

    def messages_received(self, connection: Connection, messages: list[bytes]) -> None:
        """Whole messages from a connection: answer them."""
        if connection.id not in self._transports:
            self._transports[connection.id] = connection.protocol
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
        self._transports.pop(connection.id, None)
        self.leave(connection.remote)
        if self._closed and not self._connections:
            self._all_ended.set()

    # -- the machine

    def _flush(self) -> None:
        for transmit in self._machine.take_transmits():
            sender = self._senders.get(transmit.socket)
            if sender is None or not sender.send(transmit.data, transmit.address):
                self.counters["answer not sent"] += 1
        self._machine.take_events()
        if not self._closed:
            self._timer.follow()


def _secure_first(addresses: Sequence[tuple[Address, bool]]) -> tuple[Address, ...]:
    """The addresses that are for TLS or DTLS alone, before those that share it."""
    return tuple(address for address, _ in sorted(addresses, key=lambda each: not each[1]))
