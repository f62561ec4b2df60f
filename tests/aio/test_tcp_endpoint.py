"""TCP connections of ICE on loopback: frames, limits on what a peer can make us hold, listeners, ways to connect."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import itertools
import os
import socket
import struct
import sys
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from fasticePy.aio import tcp_endpoint, tcp_opening, tcp_socket
from fasticePy.aio.endpoint import MAX_PER_WAKE
from fasticePy.aio.tcp_endpoint import MAX_FIRST_FRAME, MAX_QUEUED, TcpConnection
from fasticePy.aio.tcp_opening import MAX_PENDING, TcpConnecting, TcpListener
from fasticePy.aio.tcp_socket import open_connection, open_listener, prepare
from fasticePy.aio.udp_socket import PortsExhaustedError, bound_address
from fasticePy.machine import Address
from fasticePy.stun import MessageBuilder, MessageClass, Method, StreamDecoder, rfc4571_frame

LOOPBACK: Address = ("127.0.0.1", 0)
CHECK = MessageBuilder(Method.BINDING, MessageClass.REQUEST, bytes(range(12))).build(fingerprint=True)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="made with a socket filter of Linux")


class Handler:
    """Remembers everything, and lets a test wait for the next thing."""

    def __init__(self) -> None:
        self.received: list[tuple[int, bytes, Address]] = []
        self.ended: list[tuple[int, str]] = []
        self.errors: list[tuple[int, Address | None, str]] = []
        self.batches = 0
        self.in_batch = 0
        self.largest_batch = 0
        self.connections: list[TcpConnection] = []
        self.welcome = True
        self.first_frame: float | None = None
        self.counters: Counter[str] = Counter()
        self.on_frame: Callable[[bytes], None] = lambda data: None
        self._changed = asyncio.Event()

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        self.received.append((socket, data, address))
        self.in_batch += 1
        self.on_frame(data)
        self._changed.set()

    def batch_ended(self) -> None:
        self.batches += 1
        self.largest_batch = max(self.largest_batch, self.in_batch)
        self.in_batch = 0
        self._changed.set()

    def connection_ended(self, socket: int, reason: str) -> None:
        self.ended.append((socket, reason))
        self._changed.set()

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        self.errors.append((socket, address, reason))
        self._changed.set()

    def connection_accepted(self, listener: int, sock: socket.socket, peer: Address) -> TcpConnection | None:
        self._changed.set()
        if not self.welcome:
            return None
        id = len(self.connections) + 1
        made = self.make(id, sock, peer, first_frame=self.first_frame)
        self.connections.append(made)
        return made

    def make(self, id: int, sock: socket.socket, peer: Address, **options: Any) -> TcpConnection:
        return TcpConnection(asyncio.get_running_loop(), id, sock, peer, self, self.counters, **options)

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def frames(self) -> list[bytes]:
        return [data for _, data, _ in self.received]


class Peer:
    """The other end: a socket that the test writes to and reads from byte by byte."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()
        self.address: Address = sock.getsockname()[:2]

    @classmethod
    async def connect(cls, address: Address, *, receive_buffer: int = 0) -> Peer:
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
        return cls(sock)

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            more = await self.loop.sock_recv(self.sock, size - len(found))
            assert more, f"the stream ended after {found!r}"
            found += more
        return found

    async def read_frame(self) -> bytes:
        return await self.read(int.from_bytes(await self.read(2), "big"))

    async def ended(self) -> bool:
        """Wait until the connection is over."""
        try:
            while await self.loop.sock_recv(self.sock, 65536):
                continue
        except ConnectionError:
            return True
        return True

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


async def connected(
    handler: Handler, host: str = "127.0.0.1", *, receive_buffer: int = 0, **options: Any
) -> tuple[TcpConnection, Peer]:
    """A connection of ours and its other end."""
    with open_listener((host, 0)) as listening:
        peer = await Peer.connect(bound_address(listening), receive_buffer=receive_buffer)
        sock, _ = await peer.loop.sock_accept(listening)
    prepare(sock)
    return handler.make(7, sock, peer.address, **options), peer


async def shut(*connections: TcpConnection | TcpListener | Peer) -> None:
    for each in connections:
        each.close()
        each.close()
        if not isinstance(each, Peer):
            await each.wait_closed()
            assert each.closed


def framed(*packets: bytes) -> bytes:
    return b"".join(rfc4571_frame(packet) for packet in packets)


class Chopped:
    """A socket that gives no more bytes at once than the test says, so that streams are cut where it wants."""

    def __init__(self, sock: socket.socket, sizes: Iterable[int]) -> None:
        self._sock = sock
        self._sizes = iter(sizes)
        self._left = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def recv_into(self, buffer: bytearray) -> int:
        self._left = self._left or next(self._sizes, len(buffer))
        size = self._sock.recv_into(memoryview(buffer)[: self._left])
        self._left -= size
        return size


def deafen(sock: socket.socket) -> None:
    """Nothing that is sent to this socket arrives any more, as behind a firewall."""
    drop_all = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))  # BPF: return 0
    sock.setsockopt(
        socket.SOL_SOCKET, 26, struct.pack("HL", 1, ctypes.addressof(drop_all))
    )  # SO_ATTACH_FILTER


# --- frames --------------------------------------------------------------------------------------------------


def test_packets_go_out_and_come_in_behind_their_length(run) -> None:
    """4571-1, 6544-9: a 16-bit length before each packet, STUN and everything after it alike."""

    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler)
        assert connection.peer == peer.address
        assert connection.address == peer.sock.getpeername()
        for packet in (CHECK, memoryview(b"\x16\xfe\xfd" + bytes(40)), bytearray(b"media"), b""):
            assert connection.send(packet, peer.address)
            assert await peer.read(2 + len(packet)) == struct.pack("!H", len(packet)) + bytes(packet)
        await peer.send(framed(CHECK, b"\x16\xfe\xfd" + bytes(40), b"media"))
        await handler.until(lambda: len(handler.received) == 3)
        assert handler.received[0] == (7, CHECK, peer.address)
        assert handler.frames()[1:] == [b"\x16\xfe\xfd" + bytes(40), b"media"]
        await shut(connection, peer)
        assert not handler.ended

    run(body())


def test_ipv6(run, ipv6_loopback) -> None:
    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler, ipv6_loopback)
        assert connection.address == (ipv6_loopback, peer.sock.getpeername()[1])
        await peer.send(framed(CHECK))
        await handler.until(lambda: bool(handler.received))
        await shut(connection, peer)

    run(body())


def test_frames_come_out_whole_wherever_the_stream_is_cut(run) -> None:
    """4571-1: any segmentation, each point of a stream and each byte by itself; empty frames are valid."""
    packets = [CHECK, b"", b"x", CHECK, b"", b"", bytes(range(256))]
    stream = b"\0\0" + framed(*packets)
    whole = [packet for packet in packets if packet]

    async def body() -> None:
        for sizes in (
            [size for cut in range(1, len(stream)) for size in (cut, len(stream) - cut)],
            [1] * len(stream),
        ):
            handler = Handler()
            connection, peer = await connected(handler)
            times = sum(sizes) // len(stream)
            connection._sock = Chopped(connection._sock, sizes)  # type: ignore[assignment]
            sending = asyncio.ensure_future(peer.send(stream * times))
            await handler.until(lambda: len(handler.received) == times * len(whole))  # noqa: B023
            await sending
            assert handler.frames() == whole * times
            assert handler.counters == {"tcp.keepalives": 4 * times}
            await shut(connection, peer)

    run(body())


def test_the_opening_may_be_cut_anywhere(run) -> None:
    """4571-1: what precedes the first frame, and the bytes that tell whether it is STUN, one at a time or not."""
    stream = b"\0\0\0\0" + framed(CHECK, b"after")

    async def body() -> None:
        for cut in range(1, len(stream)):
            handler = Handler()
            connection, peer = await connected(handler)
            connection._sock = Chopped(connection._sock, [cut])  # type: ignore[assignment]
            await peer.send(stream)
            await handler.until(lambda: len(handler.received) == 2)  # noqa: B023
            assert handler.frames() == [CHECK, b"after"]
            assert handler.counters == {"tcp.keepalives": 2}
            await shut(connection, peer)

    run(body())


def test_the_longest_frame_both_ways(run) -> None:
    """4571-1: 65535 bytes."""
    longest = os.urandom(65535)

    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler)
        connection._sock = Chopped(connection._sock, itertools.repeat(4093))  # type: ignore[assignment]
        sending = asyncio.ensure_future(peer.send(framed(CHECK, longest, b"after")))
        await handler.until(lambda: len(handler.received) == 3)
        await sending
        assert handler.frames() == [CHECK, longest, b"after"]
        assert connection.send(longest, peer.address)
        assert await peer.read_frame() == longest
        assert not connection.send(longest + b"x", peer.address)
        assert handler.counters["drop.send.too-long"] == 1
        await shut(connection, peer)

    run(body())


def test_a_flood_of_small_frames_lets_others_have_their_turn(run) -> None:
    count = 10 * MAX_PER_WAKE + 3

    async def body() -> None:
        handler, other = Handler(), Handler()
        connection, peer = await connected(handler)
        quiet, quiet_peer = await connected(other)
        await quiet_peer.send(framed(CHECK))
        at: list[int] = []
        other.on_frame = lambda data: at.append(len(handler.received))
        packets = [CHECK, *(bytes([1 + number % 250]) for number in range(count - 1))]
        await peer.send(framed(*packets))
        await handler.until(lambda: len(handler.received) == count)
        assert handler.frames() == packets
        assert handler.largest_batch == MAX_PER_WAKE
        assert at and at[0] < count
        await peer.send(framed(b"more"))  # it is read again
        await handler.until(lambda: len(handler.received) == count + 1)
        await shut(connection, peer, quiet, quiet_peer)

    run(body())


def test_a_flood_of_empty_frames_is_read_in_turns(run) -> None:
    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler)
        sending = asyncio.ensure_future(peer.send(framed(CHECK) + bytes(4_000_000) + framed(b"after")))
        await handler.until(lambda: len(handler.received) == 2)
        await sending
        assert handler.counters["tcp.keepalives"] == 2_000_000
        most = tcp_endpoint.READS_PER_WAKE * 65536
        assert handler.batches >= 4_000_000 // most
        await shut(connection, peer)

    run(body())


def test_the_owner_may_close_it_while_it_delivers(run) -> None:
    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler)
        handler.on_frame = lambda data: connection.close()
        await peer.send(framed(CHECK, CHECK, CHECK))
        await handler.until(lambda: connection.closed)
        assert await peer.ended()
        assert len(handler.received) == 1
        assert not handler.ended
        assert connection.drain() == 0
        await shut(connection, peer)

    run(body())


# --- nonsense ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "enough"),
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: example.org\r\n\r\n", 2, id="http"),
        pytest.param(b"HTTP/1.1 400 Bad Request\r\n\r\n", 2, id="http server"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 2, id="tls"),
        pytest.param(b"SSH-2.0-OpenSSH_9.9\r\n", 2, id="ssh"),
        pytest.param(CHECK, 2, id="stun without frames"),
        pytest.param(framed(b"\x80\x60" + bytes(30)), 3, id="rtp"),
        pytest.param(framed(CHECK[:4] + bytes(4) + CHECK[8:]), 10, id="no cookie"),
        pytest.param(framed(CHECK + b"more"), 10, id="not the length of the message"),
        pytest.param(framed(b"x" * 19), 2, id="shorter than stun"),
        pytest.param(struct.pack("!H", MAX_FIRST_FRAME + 1), 2, id="too long for a check"),
        pytest.param(b"\0\0\0\0\xff\xff", 6, id="after empty frames"),
    ],
)
def test_a_peer_that_speaks_another_protocol_is_found_out_by_its_first_bytes(run, sent, enough) -> None:
    """4571-2, RFC 6544 7.1: frames have no marks, so the stream's beginning is checked; nonsense closes."""

    async def body() -> None:
        for part in (sent, sent[:enough]):
            handler = Handler()
            connection, peer = await connected(handler)
            await peer.send(part)
            await handler.until(lambda: bool(handler.batches))  # noqa: B023
            ((id, reason),) = handler.ended
            assert id == 7
            assert "does not speak ICE over TCP: its stream begins with b'" in reason
            assert repr(part.lstrip(b"\0")[:2])[2:-1] in reason
            assert connection.closed
            assert await peer.ended()
            assert not handler.received
            await shut(connection, peer)

    run(body())


def test_a_frame_over_the_limit_ends_it_after_those_before(run) -> None:
    async def body() -> None:
        for packets in ([CHECK], [CHECK, b"a", b"b"]):
            handler = Handler()
            connection, peer = await connected(handler, max_frame=1500)
            await peer.send(framed(*packets) + struct.pack("!H", 1501))
            await handler.until(lambda: bool(handler.ended))  # noqa: B023
            assert handler.frames() == packets
            assert "a frame that is not taken" in handler.ended[0][1] and "1503" in handler.ended[0][1]
            await shut(connection, peer)
        handler = Handler()
        connection, peer = await connected(handler, max_frame=1500)
        await peer.send(framed(CHECK, bytes(1500)))
        await handler.until(lambda: len(handler.received) == 2)
        await peer.send(b"\xff\xff")  # by itself: nothing whole precedes it
        await handler.until(lambda: bool(handler.ended))
        await shut(connection, peer)

    run(body())


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "the peer closed the connection"),
        (framed(CHECK), "the peer closed the connection"),
        (framed(CHECK)[:1], "the peer closed the connection inside a frame"),
        (framed(CHECK)[:-1], "the peer closed the connection inside a frame"),
        (framed(CHECK) + b"\0", "the peer closed the connection inside a frame"),
    ],
)
def test_the_peer_closes(run, sent, reason) -> None:
    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler)
        await peer.send(sent)
        peer.sock.shutdown(socket.SHUT_WR)
        await handler.until(lambda: bool(handler.ended))
        assert handler.ended == [(7, reason)]
        assert handler.frames() == ([CHECK] if len(sent) >= len(framed(CHECK)) else [])
        assert not connection.send(b"late", peer.address)
        assert handler.counters["drop.send.closed"] == 1
        await shut(connection, peer)
        assert len(handler.ended) == 1

    run(body())


def test_the_peer_resets(run) -> None:
    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler)
        peer.reset()
        await handler.until(lambda: bool(handler.ended))
        assert handler.ended == [(7, os.strerror(errno.ECONNRESET).lower())]
        await shut(connection)

    run(body())


def test_a_send_may_be_what_finds_out(run) -> None:
    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler)
        peer.reset()
        sent = 0
        while connection.send(b"x", peer.address):
            sent += 1
        assert sent <= 1
        assert len(handler.ended) == 1  # told from inside the call, and once
        await shut(connection)
        handler = Handler()
        connection, peer = await connected(handler, receive_buffer=4096)
        fill(connection, peer)
        connection._loop.remove_reader(connection._sock)  # so that the writer is the one who meets it
        peer.reset()
        await handler.until(lambda: bool(handler.ended))
        await shut(connection)

    run(body())


def test_whoever_connects_has_to_say_something(run) -> None:
    async def body() -> None:
        for sent in (b"", b"\0\0\0\0", framed(CHECK)[:-1]):
            handler = Handler()
            connection, peer = await connected(handler, first_frame=0.01)
            settled: list[TcpConnection] = []
            connection.on_settled = settled.append
            await peer.send(sent)
            await handler.until(lambda: bool(handler.ended))  # noqa: B023
            assert handler.ended == [(7, "the peer connected and said nothing for 0.01 s")]
            assert handler.counters["tcp.silent"] == 1
            assert handler.batches and settled == [connection]
            assert await peer.ended()
            await shut(connection, peer)

    run(body())


def test_whoever_has_said_something_may_be_silent(run) -> None:
    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler, first_frame=60.0)
        settled: list[TcpConnection] = []
        connection.on_settled = settled.append
        await peer.send(framed(CHECK, CHECK))
        await handler.until(lambda: len(handler.received) == 2)
        assert settled == [connection]
        assert connection._timer is None
        await shut(connection, peer)
        assert settled == [connection]

    run(body())


# --- back-pressure ---------------------------------------------------------------------------------------------


def fill(connection: TcpConnection, peer: Peer, size: int = 1200) -> list[bytes]:
    """Send until it is refused, and tell what was not."""
    taken: list[bytes] = []
    for number in itertools.count():
        packet = struct.pack("!I", number) * (size // 4)
        if not connection.send(packet, peer.address):
            return taken
        taken.append(packet)
        assert connection.queued <= MAX_QUEUED
    raise AssertionError


def test_a_peer_that_does_not_read_costs_no_more_than_the_limit(run) -> None:
    """A refused packet is not sent in part, and nothing that was taken is lost or reordered."""

    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler, receive_buffer=4096)
        writable: list[int] = []
        connection.on_writable = writable.append
        taken = fill(connection, peer)
        assert MAX_QUEUED - 1202 < connection.queued <= MAX_QUEUED
        assert handler.counters == {"drop.send.queue-full": 1}
        assert connection.send(b"small", peer.address)  # it still fits
        taken.append(b"small")
        decoder = StreamDecoder("rfc4571")
        got: list[bytes] = []
        while len(got) < len(taken):
            if connection.queued > MAX_QUEUED // 2:
                assert not writable
            got += decoder.feed(await peer.loop.sock_recv(peer.sock, 65536))
        assert got == taken
        assert not decoder.pending
        assert writable == [7]
        assert connection.queued == 0
        assert connection.send(b"again", peer.address)
        assert await peer.read_frame() == b"again"
        assert writable == [7] and not handler.ended
        await shut(connection, peer)

    run(body())


def test_a_frame_longer_than_the_queue_goes_out_alone(run) -> None:
    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler, receive_buffer=4096, max_queued=100)
        taken = fill(connection, peer, 60_000)
        assert connection.queued > 100
        for packet in taken:
            assert await peer.read_frame() == packet
        await shut(connection, peer)

    run(body())


def test_what_waits_still_goes_out_when_it_is_closed(run) -> None:
    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler, receive_buffer=4096)
        taken = fill(connection, peer)
        connection.close()
        assert connection.closed and connection.lingers
        waiting = [asyncio.ensure_future(connection.wait_closed()) for _ in range(2)]
        for packet in taken:
            assert await peer.read_frame() == packet
        assert await peer.ended()
        await asyncio.gather(*waiting)
        assert not connection.lingers and not handler.ended
        await shut(connection, peer)

    run(body())


@pytest.mark.parametrize("how", ["time", "abort", "reset"])
def test_it_does_not_wait_for_ever(run, monkeypatch, how) -> None:
    if how == "time":
        monkeypatch.setattr(tcp_endpoint, "LINGER", 0.01)

    async def body() -> None:
        handler = Handler()
        connection, peer = await connected(handler, receive_buffer=4096)
        fill(connection, peer)
        connection.close()
        assert connection.lingers
        if how == "abort":
            connection.abort()
            assert not connection.lingers
        elif how == "reset":
            peer.reset()
        await connection.wait_closed()
        assert not connection.lingers and not handler.ended
        await shut(connection, peer)

    run(body())


# --- listeners -------------------------------------------------------------------------------------------------


def listen(handler: Handler, host: str = "127.0.0.1", **options: Any) -> TcpListener:
    loop = asyncio.get_running_loop()
    return TcpListener(loop, 1, open_listener((host, 0)), handler, handler.counters, **options)


def test_a_listener_tells_who_has_connected(run) -> None:
    async def body() -> None:
        handler = Handler()
        listener = listen(handler)
        peer = await Peer.connect(listener.address)
        await handler.until(lambda: bool(handler.connections))
        (connection,) = handler.connections
        assert (connection.peer, connection.address) == (peer.address, listener.address)
        options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY), (socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
        assert all(connection._sock.getsockopt(*option) for option in options)
        assert listener.pending == 1
        await peer.send(framed(CHECK))
        await handler.until(lambda: bool(handler.received))
        assert listener.pending == 0
        assert not listener.send(b"x", peer.address)
        assert handler.counters == {"tcp.accepted": 1, "drop.send.listener": 1}
        await shut(listener)
        await peer.send(framed(CHECK))  # the connection has a life of its own
        await handler.until(lambda: len(handler.received) == 2)
        await shut(connection, peer)

    run(body())


def test_who_is_not_welcome_is_closed_at_once(run) -> None:
    async def body() -> None:
        handler = Handler()
        handler.welcome = False
        listener = listen(handler)
        peer = await Peer.connect(listener.address)
        assert await peer.ended()
        assert handler.counters == {"tcp.accept.refused": 1}
        assert listener.pending == 0
        await shut(listener, peer)

    run(body())


def test_a_thousand_idle_connections_are_bounded(run) -> None:
    """Those who say nothing make room for those who come: memory and descriptors are bounded, and a peer that speaks
    is heard in the crowd."""

    async def body() -> None:
        handler = Handler()
        asyncio.get_running_loop().set_debug(False)  # it notes where each of them was made
        listener = listen(handler)
        idle: deque[Peer] = deque()
        most = 0
        for count in range(1, 1001):
            idle.append(await Peer.connect(listener.address))
            await handler.until(lambda: len(handler.connections) == count)  # noqa: B023
            most = max(most, sum(not each.closed for each in handler.connections[-2 * MAX_PENDING :]))
            if len(idle) > MAX_PENDING:
                idle.popleft().close()
        assert most == listener.pending == MAX_PENDING
        assert handler.counters["tcp.accept.crowded-out"] == 1000 - MAX_PENDING
        assert all(each.closed for each in handler.connections[:-MAX_PENDING])
        assert handler.ended[0] == (1, "the peer said nothing, and others wait to be heard")
        peer = await Peer.connect(listener.address)
        await peer.send(framed(CHECK))
        await handler.until(lambda: bool(handler.received))
        assert listener.pending == MAX_PENDING - 1
        await shut(listener, *handler.connections, *idle, peer)

    run(body())


def test_those_who_go_leave_no_trace(run) -> None:
    async def body() -> None:
        handler = Handler()
        listener = listen(handler)
        for _ in range(3):
            (await Peer.connect(listener.address)).reset()
        await handler.until(
            lambda: len(handler.ended) + handler.counters["tcp.accept.aborted"] == 3 and not listener.pending
        )
        await shut(listener)

    run(body())


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_a_listener_rests_while_there_is_no_room(run, monkeypatch, code) -> None:
    monkeypatch.setattr(tcp_opening, "ACCEPT_PAUSE", 0.01)

    async def body() -> None:
        handler = Handler()
        listener = listen(handler)
        accept, failures = socket.socket.accept, [code, code]

        def fail(sock: socket.socket) -> Any:
            if failures:
                raise OSError(failures.pop(), "no room")
            return accept(sock)

        monkeypatch.setattr(socket.socket, "accept", fail)
        peer = await Peer.connect(listener.address)
        await handler.until(lambda: bool(handler.connections))
        assert handler.counters == {"tcp.accept.no-room": 2, "tcp.accepted": 1}
        failures.append(code)
        other = await Peer.connect(listener.address)
        await handler.until(lambda: handler.counters["tcp.accept.no-room"] == 3)
        await shut(listener, *handler.connections, peer, other)  # while it rests

    run(body())


def test_a_broken_listener_is_reported(run, monkeypatch) -> None:
    async def body() -> None:
        handler = Handler()
        listener = listen(handler)
        errors: list[OSError] = [ConnectionAbortedError(), OSError(errno.EBADF, "Bad file descriptor")]

        def fail(sock: socket.socket) -> Any:
            raise errors.pop(0)

        monkeypatch.setattr(socket.socket, "accept", fail)
        peer = await Peer.connect(listener.address)
        await handler.until(lambda: bool(handler.errors))
        assert handler.errors == [(1, None, "accepting connections failed: bad file descriptor")]
        assert handler.counters == {"tcp.accept.aborted": 1}
        await shut(listener, peer)

    run(body())


# --- connecting ------------------------------------------------------------------------------------------------


class Attempt:
    """A connection on its way, and what became of it."""

    def __init__(self, base: Address, peer: Address, **options: Any) -> None:
        self.outcome: asyncio.Future[socket.socket | str] = asyncio.get_running_loop().create_future()
        self.connecting = TcpConnecting(
            asyncio.get_running_loop(),
            base,
            peer,
            connected=self.outcome.set_result,
            failed=self.outcome.set_result,
            **options,
        )

    async def sock(self) -> socket.socket:
        sock = await self.outcome
        assert isinstance(sock, socket.socket), sock
        return sock


def test_connecting_from_a_fresh_port_of_the_base_address(run) -> None:
    """6544-8: from the interface of the candidate, from a port that nobody has."""

    async def body() -> None:
        handler = Handler()
        listener = listen(handler)
        sources = set()
        for _ in range(3):
            with await Attempt(("127.0.0.5", 0), listener.address).sock() as sock:
                sources.add(bound_address(sock))
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                await handler.until(lambda: len(handler.connections) == len(sources))
        assert {host for host, _ in sources} == {"127.0.0.5"}
        assert len({port for _, port in sources}) == 3
        assert {each.peer for each in handler.connections} == sources
        await shut(listener, *handler.connections)

    if sys.platform != "linux":
        pytest.skip("other systems have one loopback address")
    run(body())


def test_a_refused_port_fails_at_once_with_the_reason(run, closed_port) -> None:
    """6544-8: a connection that cannot be established is a check that failed."""

    async def body() -> None:
        attempt = Attempt(LOOPBACK, closed_port("127.0.0.1"))
        assert await attempt.outcome == os.strerror(errno.ECONNREFUSED).lower()
        attempt.connecting.cancel()

    run(body())


def test_what_cannot_be_tried_raises(run) -> None:
    async def body() -> None:
        with pytest.raises(OSError, match=r"assign|valid"):
            Attempt(("192.0.2.254", 0), ("127.0.0.1", 9))
        with pytest.raises(ValueError, match="localhost"):
            Attempt(LOOPBACK, ("localhost", 9))
        with pytest.raises(ValueError, match="families"):
            Attempt(LOOPBACK, ("::1", 9))

    run(body())


@on_linux
def test_a_peer_behind_a_firewall_is_given_up_in_time_or_when_told(run) -> None:
    async def body() -> None:
        with open_listener(LOOPBACK) as deaf:
            deafen(deaf)
            attempt = Attempt(LOOPBACK, bound_address(deaf), timeout=0.01)
            assert await attempt.outcome == "no answer in 0.01 s"
            attempt = Attempt(LOOPBACK, bound_address(deaf))
            attempt.connecting.cancel()
            attempt.connecting.cancel()
            assert not attempt.outcome.done()

    run(body())


@on_linux
def test_two_who_connect_to_each_other_from_their_ports_share_one_connection(run) -> None:
    """RFC 6544 B: a simultaneous open, both from the port of a listener. The first SYN gets lost as in a NAT,
    and the other side's meets a socket that is connecting."""

    async def body() -> None:
        handler, other = Handler(), Handler()
        near, far = open_listener(LOOPBACK), open_listener(LOOPBACK)
        here, there = bound_address(near), bound_address(far)
        deafen(far)
        one = Attempt(here, there)
        two = Attempt(there, here)
        a = handler.make(1, await one.sock(), there)
        b = other.make(2, await two.sock(), here)
        assert (a.address, b.address) == (here, there)
        assert a.send(CHECK, there) and b.send(CHECK, here)
        await handler.until(lambda: bool(handler.received))
        await other.until(lambda: bool(other.received))
        with pytest.raises(BlockingIOError):
            near.accept()  # it was not the listener who got it
        near.close()
        far.close()
        await shut(a, b)

    run(body())


def test_a_connection_with_itself_is_none(run) -> None:
    """A simultaneous open with nobody at the other end: TCP allows it."""

    async def body() -> None:
        with open_connection(LOOPBACK) as sock:
            address = bound_address(sock)
        attempt = Attempt(address, address)
        assert await attempt.outcome == "the socket was connected to itself"

    run(body())


# --- ports -----------------------------------------------------------------------------------------------------


def free_ports(count: int) -> range:
    """A range of ports that nobody has, as far as one can tell."""
    while True:
        with open_connection(LOOPBACK) as probe:
            start = bound_address(probe)[1]
        try:
            socks = [open_listener(("127.0.0.1", port)) for port in range(start, start + count)]
        except (OSError, ValueError):
            continue
        for sock in socks:
            sock.close()
        return range(start, start + count)


def test_listeners_and_connections_get_ports_of_the_range() -> None:
    ports = free_ports(3)
    with (
        open_listener(LOOPBACK, ports=ports) as first,
        open_connection(LOOPBACK, ports=ports) as second,
        open_listener(LOOPBACK, ports=ports) as third,
    ):
        assert {bound_address(sock)[1] for sock in (first, second, third)} == set(ports)


def test_the_end_of_the_range_is_explained() -> None:
    ports = free_ports(2)
    text = rf"no free port in {ports[0]}-{ports[-1]} on 127.0.0.1 \(all 2 in use\)"
    with open_listener(LOOPBACK, ports=ports), open_listener(LOOPBACK, ports=ports):
        for make in (open_listener, open_connection):  # that they share a port is for those who name it
            with pytest.raises(PortsExhaustedError, match=text):
                make(LOOPBACK, ports=ports)


def test_a_port_whose_connection_is_over_can_be_used_again() -> None:
    """TIME-WAIT keeps a port for a minute, and restarts would use up a small range in no time."""
    ports = free_ports(1)
    for _ in range(3):
        with open_listener(LOOPBACK) as listening, open_connection(LOOPBACK, ports=ports) as sock:
            sock.setblocking(True)
            sock.connect(bound_address(listening))
            listening.setblocking(True)
            accepted, _ = listening.accept()
            sock.close()  # who closes first waits
            accepted.close()


def test_a_port_with_a_listener_is_taken_for_other_listeners_and_free_for_connections() -> None:
    with open_listener(LOOPBACK) as sock:
        address = bound_address(sock)
        with pytest.raises(OSError, match=r"in use|permitted once"):
            open_listener(address)
        with open_connection(address) as leaving:
            assert bound_address(leaving) == address
    with open_listener(("127.0.0.1", address[1])) as again:
        assert bound_address(again) == address


def test_an_ipv6_socket_takes_no_ipv4(ipv6_loopback) -> None:
    with open_listener((ipv6_loopback, 0)) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        assert bound_address(sock)[0] == ipv6_loopback


def test_sockets_of_bad_addresses_are_closed(monkeypatch) -> None:
    for address in (("localhost", 0), ("127.0.0.1", 65536)):
        for make in (open_listener, open_connection):
            with pytest.raises(ValueError, match=r"localhost|65536"):
                make(address)

    def broken(sock: socket.socket) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(tcp_socket, "prepare", broken)
    with pytest.raises(OSError, match="Invalid"):
        open_listener(LOOPBACK)
