"""TCP in the virtual network. A connection carries whole messages, each in one segment, reliably and in order.

As on a real network: the handshake, which takes a round trip; simultaneous open; RST from a closed port; what is lost
is sent again after a timeout that doubles; FIN comes after all that was sent before it; late segments of an earlier
connection between the same ports do no harm. Simpler: each segment is acknowledged by itself, nothing is sent again
before its timeout, the window has a fixed size, and a connection that carries nothing never notices anything.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Literal, Protocol

from fasticePy.machine import Address, Timer
from fasticePy.sim.errors import BindError
from fasticePy.sim.packet import Packet, Receiver, canonical, refusal

if TYPE_CHECKING:
    from fasticePy.sim.network import Host

CONNECT_TIMEOUT = 21.0
"""After so many seconds without an answer a connection cannot be made (Windows takes as long; Linux two minutes)."""
USER_TIMEOUT = 30.0
"""A connection ends when a segment was not acknowledged for so many seconds (RFC 5482 has the name)."""
FIRST_RTO = 1.0
"""When the first segment is sent again, in seconds; twice as long each time (RFC 6298 2.1)."""
RETRIED_RTO = 3.0
"""When messages are sent again while nobody knows how long a round trip takes (RFC 6298 5.7)."""
RTO_MARGIN = 0.2
"""Other segments are sent again so much later than a round trip takes; twice as long each time."""
WINDOW = 64
"""Segments that may be under way at once."""
MAX_UNSENT = 4096
"""Messages that may wait for the window; the next one is refused."""
MAX_MESSAGE = 65535
"""Bytes of a message: what an RFC 4571 frame holds."""
BACKLOG = 128
"""Connections that may be half open at a listener; the next SYN is ignored."""


class TcpReceiver(Receiver, Protocol):
    """Who owns listeners and connections of a host. It gets messages as a UDP socket's owner gets datagrams."""

    def connection_accepted(self, listener: int, socket: int, peer: Address, now: float) -> None:
        """`peer` has connected to `listener`."""

    def connection_opened(self, socket: int, address: Address, now: float) -> None:
        """What `connect` began is done; `address` is the local one."""

    def connection_failed(self, socket: int, reason: str, now: float) -> None:
        """What `connect` began came to nothing."""

    def connection_closed(self, socket: int, reason: str, now: float) -> None:
        """A connection ended that nobody here has closed."""


class _Segment:
    """What waits for its acknowledgement."""

    __slots__ = ("acknowledged", "data", "deadline", "flags", "rto", "sent_at", "sequence", "timer", "tries")

    def __init__(self, sequence: int, flags: str, data: bytes, rto: float, deadline: float) -> None:
        self.sequence = sequence
        self.flags = flags
        self.data = data
        self.rto = rto
        self.deadline = deadline
        self.acknowledged = 0
        self.sent_at = 0.0
        self.tries = 0
        self.timer: Timer | None = None


class Connection:
    """One end of a connection, from its first SYN on."""

    def __init__(
        self,
        stack: TcpStack,
        number: int,
        ends: tuple[Address, Address],
        receiver: TcpReceiver,
        listener: int | None = None,
    ) -> None:
        self.number = number
        self.local, self.remote = ends
        self.listener = listener
        """The listener that it came in by; None when we connected."""
        self.state: Literal["connecting", "answering", "open", "closing", "gone"] = "connecting"
        self._stack = stack
        self._receiver = receiver
        self._begin = self._next = number << 32  # no two connections count alike: old segments are told apart
        self._peer_begin = -1
        self._expected = -1
        self._unsent: deque[tuple[str, bytes]] = deque()
        self._flying: dict[int, _Segment] = {}
        self._early: dict[int, Packet] = {}
        self._round_trip: float | None = None

    @property
    def shown(self) -> bool:
        """Whether the host counts it among its sockets."""
        return self.state == "open" or (self.listener is None and self.state in ("connecting", "answering"))

    def connect(self) -> None:
        """Send the first SYN."""
        self._launch("SYN")

    def answer(self, syn: Packet) -> None:
        """Send the first SYN ACK: a listener got this SYN."""
        self._learn(syn)
        self.state = "answering"
        self._launch("SYN ACK", acknowledged=syn.sequence)

    def send(self, data: bytes) -> str:
        """Send one message. Gives "" or the reason why not."""
        if self.state != "open":
            return "transport endpoint is not connected"
        if len(data) > MAX_MESSAGE:
            return "message too long"
        if len(self._unsent) >= MAX_UNSENT:
            return "resource temporarily unavailable"
        self._unsent.append(("PSH", data))
        self._fill()
        return ""

    def close(self) -> None:
        """End it: what was sent is still delivered."""
        if self.state == "open":
            self.state = "closing"
            self._unsent.append(("FIN", b""))
            self._fill()
        else:
            self.abort()

    def abort(self) -> None:
        """End it at once; the peer hears a reset when it has heard of the connection at all."""
        self.forget()
        if self._peer_begin >= 0:
            self._say("RST", acknowledged=self._expected - 1)

    def end(self, reason: str) -> None:
        """Tell the owner, who has not closed it, that it is over."""
        state, self.state = self.state, "gone"
        self.forget()
        now = self._stack.host.network.clock.now
        if state == "open":
            self._receiver.connection_closed(self.number, reason, now)
        elif state in ("connecting", "answering") and self.listener is None:
            self._receiver.connection_failed(self.number, reason, now)

    def forget(self) -> None:
        """Drop all state."""
        self.state = "gone"
        for segment in self._flying.values():
            self._stack.timers.cancel(segment.timer)
        self._flying.clear()
        self._unsent.clear()
        self._stack.forget(self)

    # what comes

    def receive(self, packet: Packet, now: float) -> None:
        """Take a segment from the peer."""
        if packet.error:
            if self.state == "connecting" and packet.sequence == self._begin:
                self.end(packet.error)
        elif packet.flags == "RST":
            self._receive_reset(packet)
        elif self.state == "connecting":
            self._receive_first(packet, now)
        elif packet.flags in ("SYN", "SYN ACK"):
            self._receive_syn(packet, now)
        elif packet.flags == "ACK":
            if self.state == "answering" and packet.acknowledged != self._begin:
                self._stack.refuse(packet)  # the peer holds on to an earlier connection
            else:
                self._receive_ack(packet.acknowledged, now)
        else:
            self._receive_message(packet, now)

    def _receive_reset(self, packet: Packet) -> None:
        if self._begin <= packet.acknowledged <= self._next:
            self.end("connection reset by peer" if self.state == "open" else "connection refused")

    def _receive_first(self, packet: Packet, now: float) -> None:
        if packet.flags == "SYN":  # simultaneous open (RFC 9293 3.5): both SYNs cross
            self._learn(packet)
            self.state = "answering"
            segment = self._flying[self._begin]
            segment.flags, segment.acknowledged = "SYN ACK", packet.sequence
            self._say("SYN ACK", self._begin, packet.sequence)
        elif packet.flags == "SYN ACK" and packet.acknowledged == self._begin:
            self._learn(packet)
            self._say("ACK", acknowledged=packet.sequence)
            self._receive_ack(self._begin, now)
        else:  # a segment of an earlier connection, whose other end still lives
            self._stack.refuse(packet)

    def _receive_syn(self, packet: Packet, now: float) -> None:
        if self.state == "answering" and packet.flags == "SYN" and packet.sequence == self._peer_begin:
            self._say("SYN ACK", self._begin, packet.sequence)
            return
        # Another SYN than that of this connection gets this too: a peer that knows nothing of the connection
        # resets it (RFC 9293 3.10.7.4).
        self._say("ACK", acknowledged=self._peer_begin)
        if packet.flags == "SYN ACK" and packet.sequence == self._peer_begin:
            self._receive_ack(packet.acknowledged, now)

    def _receive_ack(self, acknowledged: int, now: float) -> None:
        segment = self._flying.pop(acknowledged, None)
        if segment is None:
            return
        self._stack.timers.cancel(segment.timer)
        if segment.tries == 1:  # else nobody knows which one was acknowledged (RFC 6298 3)
            self._measure(now - segment.sent_at)
        if acknowledged == self._begin:
            self._open(now)
        self._fill()
        if self.state == "closing" and not self._flying and not self._unsent:
            self.forget()

    def _receive_message(self, packet: Packet, now: float) -> None:
        if not self._peer_begin < packet.sequence < self._expected + WINDOW:
            return  # of an earlier connection
        if self.state == "answering":  # its ACK was lost; only one that has our SYN ACK sends messages
            self._receive_ack(self._begin, now)
        if self.state == "closing" and packet.flags != "FIN" and packet.sequence >= self._expected:
            self.abort()  # nobody is left to read it (RFC 9293 3.6.1)
            return
        if self.state == "gone":
            return
        self._say("ACK", acknowledged=packet.sequence)
        if packet.sequence >= self._expected:
            self._early[packet.sequence] = packet
            self._deliver(now)

    def _deliver(self, now: float) -> None:
        while self.state == "open" and (packet := self._early.pop(self._expected, None)) is not None:
            self._expected += 1
            if packet.flags == "FIN":
                self.end("closed by the peer")
            else:
                self._receiver.packet_received(self.number, packet.data, self.remote, now)

    def _learn(self, syn: Packet) -> None:
        self._peer_begin = syn.sequence
        self._expected = syn.sequence + 1

    def _open(self, now: float) -> None:
        self.state = "open"
        if self.listener is None:
            self._receiver.connection_opened(self.number, self.local, now)
        else:
            self._receiver.connection_accepted(self.listener, self.number, self.remote, now)

    def _measure(self, round_trip: float) -> None:
        known = self._round_trip
        self._round_trip = round_trip if known is None else known + (round_trip - known) / 8  # RFC 6298 2.3

    # what goes

    def _fill(self) -> None:
        while self._unsent and (not self._flying or self._next - next(iter(self._flying)) < WINDOW):
            self._launch(*self._unsent.popleft())

    def _launch(self, flags: str, data: bytes = b"", acknowledged: int = 0) -> None:
        first = self._next == self._begin
        rto = FIRST_RTO if first else RETRIED_RTO
        if self._round_trip is not None:
            rto = self._round_trip + RTO_MARGIN
        deadline = self._stack.host.network.clock.now + (CONNECT_TIMEOUT if first else USER_TIMEOUT)
        segment = _Segment(self._next, flags, data, rto, deadline)
        segment.acknowledged = acknowledged
        self._flying[self._next] = segment
        self._next += 1
        self._transmit(segment)

    def _transmit(self, segment: _Segment) -> None:
        now = segment.sent_at = self._stack.host.network.clock.now
        segment.tries += 1
        at = min(now + segment.rto, segment.deadline)
        segment.rto *= 2
        segment.timer = self._stack.timers.schedule(at, lambda now: self._late(segment, now))
        self._say(segment.flags, segment.sequence, segment.acknowledged, segment.data)

    def _late(self, segment: _Segment, now: float) -> None:
        if now < segment.deadline:
            self._transmit(segment)
            return
        if self._peer_begin >= 0:
            self._say("RST", acknowledged=self._expected - 1)
        self.end("connection timed out")

    def _say(self, flags: str, sequence: int = -1, acknowledged: int = 0, data: bytes = b"") -> None:
        at = self._next if sequence < 0 else sequence
        self._stack.emit(self.local, self.remote, flags, at, acknowledged, data)


class TcpStack:
    """The TCP of one host: its listeners and connections."""

    def __init__(self, host: Host) -> None:
        self.host = host
        self.timers = host.network.timers
        self._listeners: dict[Address, int] = {}
        self._owners: dict[int, tuple[Address, TcpReceiver]] = {}
        self._connections: dict[tuple[Address, Address], Connection] = {}
        self._numbers: dict[int, Connection] = {}

    @property
    def sockets(self) -> list[int]:
        """Listeners and connections that are in somebody's hands."""
        return [*self._owners, *(number for number, each in self._numbers.items() if each.shown)]

    def has(self, socket: int) -> bool:
        """Whether this is one of `sockets`."""
        connection = self._numbers.get(socket)
        return socket in self._owners if connection is None else connection.shown

    def address_of(self, socket: int) -> Address:
        """The local address of a listener or connection."""
        owner = self._owners.get(socket)
        return self._numbers[socket].local if owner is None else owner[0]

    def peer_of(self, socket: int) -> Address:
        """The address at the other end of a connection."""
        return self._numbers[socket].remote

    def listen(self, address: str, port: int, receiver: TcpReceiver) -> int:
        """See `Host.listen`."""
        bound = self._bound((address, port))
        if bound in self._listeners:
            raise BindError("address already in use")
        number = self.host.network.next_socket()
        self._listeners[bound] = number
        self._owners[number] = (bound, receiver)
        return number

    def connect(self, base: Address, peer: Address, receiver: TcpReceiver) -> int:
        """See `Host.connect`."""
        local = self._bound(base)
        reason = refusal(local, peer)
        if reason:
            raise BindError(reason)
        ends = (local, (canonical(peer[0]), peer[1]))
        if ends in self._connections or local == ends[1]:
            raise BindError("cannot assign requested address")
        connection = self._add(ends, receiver)
        connection.connect()
        return connection.number

    def send(self, socket: int, destination: Address, data: bytes) -> str:
        """Send a message on a connection. Gives "" or the reason why that is impossible."""
        connection = self._numbers.get(socket)
        if connection is None:
            return "transport endpoint is not connected"  # a listener
        reason = refusal(connection.local, destination)
        if reason:
            return reason
        if (canonical(destination[0]), destination[1]) != connection.remote:
            return "transport endpoint is already connected"
        return connection.send(data)

    def close(self, socket: int, *, abort: bool = False) -> None:
        """Close a listener, with what is half open there, or a connection."""
        owner = self._owners.pop(socket, None)
        if owner is not None:
            del self._listeners[owner[0]]
            for connection in self._half_open(socket):
                connection.abort()
            return
        connection = self._numbers[socket]
        if abort:
            connection.abort()
        else:
            connection.close()

    def address_removed(self, address: str) -> None:
        """End what is bound to an address that the host has no more; its owners are told a moment later."""
        now = self.host.network.clock.now
        for connection in self._connections.values():
            if connection.local[0] == address:
                self.timers.schedule(now, partial(self._end, connection))

    def receive(self, packet: Packet) -> None:
        """Take a segment that came for one of the host's addresses."""
        network = self.host.network
        connection = self._connections.get((packet.destination, packet.source))
        listener = self._listeners.get(packet.destination)
        if connection is not None:
            network.note("delivered", self.host.name, packet)
            connection.receive(packet, network.clock.now)
        elif listener is not None and packet.flags == "SYN" and not packet.error:
            self._accept(listener, packet)
        else:
            network.note("closed port", self.host.name, packet)
            if packet.flags != "RST" and not packet.error:
                self.refuse(packet)

    def refuse(self, packet: Packet) -> None:
        """Answer a segment that belongs to nothing here."""
        self.emit(packet.destination, packet.source, "RST", 0, packet.sequence, b"")

    def emit(
        self, local: Address, remote: Address, flags: str, sequence: int, acknowledged: int, data: bytes
    ) -> None:
        """Put a segment on the uplink, unless the host has lost the address."""
        if local[0] in self.host.addresses:
            packet = self.host.network.packet(
                local,
                remote,
                data,
                transport="tcp",
                flags=flags,
                sequence=sequence,
                acknowledged=acknowledged,
            )
            self.host.send(packet)

    def forget(self, connection: Connection) -> None:
        """Drop a connection that is over."""
        if self._numbers.pop(connection.number, None) is not None:
            del self._connections[connection.local, connection.remote]

    def _end(self, connection: Connection, _now: float) -> None:
        connection.end("network is unreachable")

    def _accept(self, listener: int, syn: Packet) -> None:
        network = self.host.network
        if len(self._half_open(listener)) >= BACKLOG:
            network.note("backlog full", self.host.name, syn)
            return
        network.note("delivered", self.host.name, syn)
        receiver = self._owners[listener][1]
        self._add((syn.destination, syn.source), receiver, listener).answer(syn)

    def _half_open(self, listener: int) -> list[Connection]:
        return [
            each for each in self._numbers.values() if each.listener == listener and each.state == "answering"
        ]

    def _add(
        self, ends: tuple[Address, Address], receiver: TcpReceiver, listener: int | None = None
    ) -> Connection:
        connection = Connection(self, self.host.network.next_socket(), ends, receiver, listener)
        self._connections[ends] = self._numbers[connection.number] = connection
        return connection

    def _bound(self, base: Address) -> Address:
        address = self.host.own_address(base[0])
        taken = {*self._listeners, *(local for local, _ in self._connections)}
        return (address, base[1] or self.host.free_port(address, taken))
