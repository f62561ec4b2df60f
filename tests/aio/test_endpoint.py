from __future__ import annotations

import asyncio
import errno
import socket
import struct
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from fasticePy.aio import errqueue
from fasticePy.aio.endpoint import MAX_FAILED_READS, MAX_PER_WAKE, Endpoint, UdpEndpoint
from fasticePy.aio.endpoint_transport import TransportEndpoint
from fasticePy.aio.udp_socket import BUFFER_SIZE, PortsExhaustedError, bind, bound_address, open_udp_socket
from fasticePy.machine import Address

KINDS = [UdpEndpoint, TransportEndpoint]
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells whom an ICMP error is about")


class Handler:
    """Remembers everything, and lets a test wait for the next thing."""

    def __init__(self) -> None:
        self.received: list[tuple[int, bytes, Address]] = []
        self.errors: list[tuple[int, Address | None, str]] = []
        self.batches = 0
        self.on_datagram: Callable[[bytes], None] = lambda data: None
        self._changed = asyncio.Event()

    def datagram_received(self, socket: int, data: bytes, address: Address) -> None:
        self.received.append((socket, data, address))
        self.on_datagram(data)
        self._changed.set()

    def batch_ended(self) -> None:
        self.batches += 1
        self._changed.set()

    def socket_error(self, socket: int, address: Address | None, reason: str) -> None:
        self.errors.append((socket, address, reason))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    def data(self) -> list[bytes]:
        return [data for _, data, _ in self.received]


def make(
    kind: type[UdpEndpoint] | type[TransportEndpoint], id: int, handler: Handler, host: str = "127.0.0.1"
) -> tuple[Endpoint, Counter[str]]:
    counters: Counter[str] = Counter()
    sock = open_udp_socket((host, 0))
    return kind(asyncio.get_running_loop(), id, sock, handler, counters), counters


async def shut(*endpoints: Endpoint) -> None:
    for endpoint in endpoints:
        endpoint.close()
        endpoint.close()
        await endpoint.wait_closed()


@pytest.mark.parametrize("kind", KINDS)
def test_datagrams_of_every_size_arrive_whole_with_their_source(run, kind) -> None:
    sizes = [0, 1, 1200, 9000, 65507]

    async def body() -> None:
        one, two = Handler(), Handler()
        (a, _), (b, _) = make(kind, 1, one), make(kind, 2, two)
        for size in sizes:
            assert a.send(bytes([size & 255]) * size, b.address)
        await two.until(lambda: len(two.received) == len(sizes))
        assert two.received == [(2, bytes([size & 255]) * size, a.address) for size in sizes]
        assert b.send(memoryview(b"back"), a.address)
        assert b.send(bytearray(b"again"), a.address)
        await one.until(lambda: len(one.received) == 2)
        assert one.data() == [b"back", b"again"]
        assert not one.errors and not two.errors
        await shut(a, b)

    run(body())


@pytest.mark.parametrize("kind", KINDS)
def test_ipv6_addresses_are_pairs_and_can_be_answered(run, kind, ipv6_loopback) -> None:
    async def body() -> None:
        one, two = Handler(), Handler()
        (a, _), (b, _) = make(kind, 1, one, ipv6_loopback), make(kind, 2, two, ipv6_loopback)
        assert a.send(b"x", b.address)
        await two.until(lambda: bool(two.received))
        assert two.received == [(2, b"x", (ipv6_loopback, a.address[1]))]
        assert b.send(b"y", two.received[0][2])
        await one.until(lambda: bool(one.received))
        await shut(a, b)

    run(body())


def test_an_ipv6_socket_takes_no_ipv4(ipv6_loopback) -> None:
    """8445-2: with IPv6 only, no IPv4-mapped address can ever appear as a candidate or a source."""
    with open_udp_socket(("::", 0)) as sock:
        assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1


def test_a_busy_socket_lets_others_have_their_turn(run) -> None:
    total = MAX_PER_WAKE * 2 + 5

    async def body() -> None:
        handler, other = Handler(), Handler()
        (a, _), (b, _), (c, _) = (
            make(UdpEndpoint, id, h) for id, h in enumerate((Handler(), handler, other))
        )
        for number in range(total):
            assert a.send(struct.pack("!H", number), b.address)
        a.send(b"patient", c.address)
        await other.until(lambda: bool(other.received))
        assert len(handler.received) < total
        await handler.until(lambda: len(handler.received) == total)
        assert handler.batches == 3
        assert handler.data() == [struct.pack("!H", number) for number in range(total)]
        await shut(a, b, c)

    run(body())


def test_drain_empties_the_socket_at_once(run) -> None:
    async def body() -> None:
        handler = Handler()
        (a, _), (b, _) = make(UdpEndpoint, 1, Handler()), make(UdpEndpoint, 2, handler)
        for _ in range(10):
            a.send(b"x", b.address)
        assert b.drain(4) == 4
        assert b.drain() == 6
        assert b.drain() == 0
        await shut(a, b)

    run(body())


@pytest.mark.parametrize("kind", KINDS)
def test_closing_inside_a_callback_ends_the_batch(run, kind) -> None:
    async def body() -> None:
        handler = Handler()
        (a, _), (b, _) = make(kind, 1, Handler()), make(kind, 2, handler)
        handler.on_datagram = lambda data: b.close()
        for _ in range(5):
            a.send(b"x", b.address)
        await handler.until(lambda: b.closed)
        await shut(a, b)
        assert len(handler.received) == 1
        assert not handler.errors
        assert not b.send(b"late", a.address)
        assert not handler.errors

    run(body())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("turns", range(5))
def test_closing_at_any_moment_of_the_start_leaves_nothing(run, kind, turns) -> None:
    async def body() -> None:
        endpoint, _ = make(kind, 1, Handler())
        for _ in range(turns):
            await asyncio.sleep(0)
        await shut(endpoint)

    run(body())


def test_the_loop_without_add_reader_is_told_apart(run) -> None:
    class NoReaders(asyncio.SelectorEventLoop):
        def add_reader(self, *args: object) -> None:
            raise NotImplementedError

    async def body() -> None:
        with pytest.raises(NotImplementedError):
            make(UdpEndpoint, 1, Handler())
        handler = Handler()
        (a, _), (b, _) = make(TransportEndpoint, 1, Handler()), make(TransportEndpoint, 2, handler)
        a.send(b"x", b.address)
        await handler.until(lambda: bool(handler.received))
        await shut(a, b)

    with pytest.warns(ResourceWarning):  # the socket that was left alone belongs to the caller
        run(body(), loop=NoReaders())


# --- errors
# -----------------------------------------------------------------------------------------------------------


@on_linux
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_closed_port_is_reported_at_once_with_its_address(run, kind, host, closed_port, request) -> None:
    """8489-10: the hard ICMP error reaches the machine without waiting for a retransmission."""
    if host == "::1":
        request.getfixturevalue("ipv6_loopback")

    async def body() -> None:
        handler = Handler()
        endpoint, _ = make(kind, 7, handler, host)
        dead = closed_port(host)
        assert endpoint.send(b"anyone?", dead)
        await handler.until(lambda: bool(handler.errors))
        assert [(id, address) for id, address, _ in handler.errors] == [(7, dead)]
        assert "port unreachable" in handler.errors[0][2]
        await shut(endpoint)

    run(body())


@on_linux
def test_a_dead_destination_costs_the_others_nothing(run, closed_port) -> None:
    """The operating system fails the next send, whoever it is for, because of the last one: it must be
    repeated."""

    async def body() -> None:
        handler, listener = Handler(), Handler()
        (a, counters), (b, _) = make(UdpEndpoint, 1, handler), make(UdpEndpoint, 2, listener)
        dead = [closed_port("127.0.0.1") for _ in range(3)]
        for number in range(30):
            assert a.send(b"x", dead[number % 3])
            assert a.send(struct.pack("!H", number), b.address)
        await listener.until(lambda: len(listener.received) == 30)
        assert {address for _, address, _ in handler.errors} == set(dead)
        assert len(handler.errors) == 30
        assert not counters
        await shut(a, b)

    run(body())


@on_linux
def test_errors_do_not_keep_the_event_loop_awake(run, closed_port) -> None:
    async def body() -> None:
        handler = Handler()
        endpoint, _ = make(UdpEndpoint, 1, handler)
        endpoint.send(b"x", closed_port("127.0.0.1"))
        await handler.until(lambda: bool(handler.errors))
        before = handler.batches
        for _ in range(20):
            await asyncio.sleep(0)
        assert handler.batches <= before + 1
        await shut(endpoint)

    run(body())


class FaultySocket:
    """A socket whose calls fail as told; for errors that loopback does not produce."""

    def __init__(
        self, sock: socket.socket, *, send: Sequence[OSError] = (), receive: OSError | None = None
    ) -> None:
        self._sock, self._send, self._receive = sock, list(send), receive

    def __getattr__(self, name: str) -> object:
        return getattr(self._sock, name)

    def sendto(self, data: bytes, address: object) -> int:
        if self._send:
            raise self._send.pop(0)
        return self._sock.sendto(data, address)

    def recvfrom_into(self, buffer: bytearray) -> object:
        if self._receive is not None:
            raise self._receive
        return self._sock.recvfrom_into(buffer)


@pytest.mark.parametrize(
    ("error", "counted"),
    [
        (BlockingIOError(errno.EAGAIN, "would block"), "drop.send.buffer-full"),
        (OSError(errno.ENOBUFS, "no buffer space"), "drop.send.buffer-full"),
        (
            OSError(errno.EMSGSIZE, "too long"),
            "drop.send.too-long",
        ),
    ],
)
def test_datagrams_that_do_not_leave_are_counted(run, error, counted) -> None:
    async def body() -> None:
        handler = Handler()
        endpoint, counters = make(UdpEndpoint, 1, handler)
        real = endpoint._sock
        endpoint._sock = FaultySocket(real, send=[error])  # type: ignore[assignment]
        assert not endpoint.send(b"x", ("127.0.0.1", 9))
        assert counters == {counted: 1}
        assert not handler.errors
        await shut(endpoint)

    run(body())


@pytest.mark.parametrize(
    "error",
    [
        PermissionError(errno.EPERM, "Operation not permitted"),
        OSError(errno.ENETUNREACH, "Network is unreachable"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address"),
        OSError(errno.EINVAL, "Invalid argument"),
    ],
)
def test_a_refused_send_is_reported_and_the_socket_goes_on(run, error) -> None:
    async def body() -> None:
        handler, listener = Handler(), Handler()
        (a, _), (b, _) = make(UdpEndpoint, 1, handler), make(UdpEndpoint, 2, listener)
        a._sock = FaultySocket(a._sock, send=[error])  # type: ignore[assignment]
        assert not a.send(b"x", b.address)
        assert handler.errors == [(1, b.address, error.strerror.lower())]
        assert a.send(b"y", b.address)
        await listener.until(lambda: bool(listener.received))
        assert listener.data() == [b"y"]
        await shut(a, b)

    run(body())


def test_an_address_that_is_none_is_reported(run) -> None:
    async def body() -> None:
        handler = Handler()
        endpoint, _ = make(UdpEndpoint, 1, handler)
        assert not endpoint.send(b"x", ("0f31ae4c.local", 5000))
        assert handler.errors[0][1] == ("0f31ae4c.local", 5000)
        await shut(endpoint)

    run(body())


def test_a_socket_that_cannot_be_read_is_given_up_with_a_report(run) -> None:
    async def body() -> None:
        handler = Handler()
        endpoint, _ = make(UdpEndpoint, 4, handler)
        peer, _ = make(UdpEndpoint, 5, Handler())
        endpoint._sock = FaultySocket(endpoint._sock, receive=OSError(errno.ENETDOWN, "Network is down"))  # type: ignore[assignment]
        peer.send(b"x", endpoint.address)
        await handler.until(lambda: bool(handler.errors))
        assert handler.errors == [(4, None, "reading failed: network is down")]
        assert endpoint._failed_reads == MAX_FAILED_READS
        await shut(endpoint, peer)

    run(body())


def extended_error(number: int, origin: int, kind: int, code: int, offender: bytes = b"") -> bytes:
    return struct.pack("=IBBBxII", number, origin, kind, code, 0, 0) + offender


@pytest.mark.parametrize(
    ("data", "reason", "hard"),
    [
        (extended_error(errno.ECONNREFUSED, 2, 3, 3), "ICMP port unreachable", True),
        (extended_error(errno.EHOSTUNREACH, 2, 3, 1), "ICMP host unreachable", False),
        (extended_error(errno.EHOSTUNREACH, 2, 3, 13), "ICMP administratively filtered", True),
        (extended_error(errno.EMSGSIZE, 2, 3, 4), "ICMP fragmentation needed", False),
        (extended_error(errno.EHOSTUNREACH, 2, 11, 0), "ICMP time exceeded", False),
        (extended_error(errno.ECONNREFUSED, 3, 1, 4), "ICMPv6 port unreachable", True),
        (extended_error(errno.EACCES, 3, 1, 1), "ICMPv6 administratively prohibited", True),
        (extended_error(errno.ENETUNREACH, 3, 1, 0), "ICMPv6 no route to destination", False),
        (extended_error(errno.ENETUNREACH, 3, 1, 99), "ICMPv6 destination unreachable", False),
        (extended_error(errno.EMSGSIZE, 3, 2, 0), "ICMPv6 packet too big", False),
    ],
)
def test_which_icmp_errors_are_final(data: bytes, reason: str, hard: bool) -> None:
    """8489-10, 8445-33: only hard errors end anything; what routers say in passing does not."""
    assert errqueue._decode(data, ("192.0.2.1", 9)) == errqueue.QueuedError(("192.0.2.1", 9), reason, hard)


def test_the_router_that_complained_is_named() -> None:
    v4 = struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton("198.51.100.1"))
    v6 = struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, "2001:db8::1"), 0)
    decoded = errqueue._decode(extended_error(errno.ECONNREFUSED, 2, 3, 3, v4), ("192.0.2.1", 9))
    assert decoded.reason == "ICMP port unreachable from 198.51.100.1"
    decoded = errqueue._decode(extended_error(errno.ECONNREFUSED, 2, 3, 3, v4), ("198.51.100.1", 9))
    assert decoded.reason == "ICMP port unreachable"
    decoded = errqueue._decode(extended_error(errno.ECONNREFUSED, 3, 1, 4, v6), ("2001:db8::2", 9, 0, 0))
    assert decoded.reason == "ICMPv6 port unreachable from 2001:db8::1"


# --- sockets
# ----------------------------------------------------------------------------------------------------------


def test_ports_come_from_the_range_and_its_end_is_explained() -> None:
    taken: list[socket.socket] = []
    with open_udp_socket(("127.0.0.1", 0)) as probe:
        start = bound_address(probe)[1]
    ports = range(start, start + 2) if start < 65535 else range(start - 1, start + 1)
    try:
        taken.extend(open_udp_socket(("127.0.0.1", 0), ports=ports) for _ in ports)
        assert {bound_address(sock)[1] for sock in taken} == set(ports)
        with pytest.raises(
            PortsExhaustedError,
            match=rf"no free port in {ports[0]}-{ports[-1]} on 127.0.0.1 \(all 2 in use\)",
        ):
            open_udp_socket(("127.0.0.1", 0), ports=ports)
    finally:
        for sock in taken:
            sock.close()


def test_the_search_starts_at_a_random_port(monkeypatch) -> None:
    starts = iter([b"\x00\x00\x00\x00", b"\x00\x00\x00\x03"])
    monkeypatch.setattr("fasticePy.aio.udp_socket.os.urandom", lambda n: next(starts))
    for first in (40000, 40003):
        sock = Binding({})
        bind(sock, ("127.0.0.1", 0), range(40000, 40010))  # type: ignore[arg-type]
        assert sock.asked == [("127.0.0.1", first)]


def test_the_whole_range_is_searched_and_what_became_of_it_told(monkeypatch) -> None:
    monkeypatch.setattr("fasticePy.aio.udp_socket.os.urandom", lambda n: b"\x00\x00\x00\x02")
    in_use, not_allowed = OSError(errno.EADDRINUSE, "in use"), OSError(errno.EACCES, "not allowed")
    sock = Binding({1022: not_allowed, 1023: not_allowed, 1024: in_use})
    bind(sock, ("::1", 0, 0, 7), range(1022, 1026))  # type: ignore[arg-type]
    assert sock.asked == [("::1", port, 0, 7) for port in (1024, 1025)]
    sock = Binding({1022: not_allowed, 1023: not_allowed, 1024: in_use})
    text = r"no free port in 1022-1024 on ::1 \(1 in use, 2 not allowed\)"
    with pytest.raises(PortsExhaustedError, match=text):
        bind(sock, ("::1", 0, 0, 7), range(1022, 1025))  # type: ignore[arg-type]
    sock = Binding(dict.fromkeys(range(40000, 40010), in_use))
    text = r"no free port in 40000-40008 in steps of 2 on 127.0.0.1 \(all 5 in use\)"
    with pytest.raises(PortsExhaustedError, match=text):
        bind(sock, ("127.0.0.1", 0), range(40008, 39999, -2))  # type: ignore[arg-type]
    assert [port for _, port in sock.asked] == [40004, 40002, 40000, 40008, 40006]


class Binding:
    """A socket that can bind where there is no error."""

    def __init__(self, errors: dict[int, OSError]) -> None:
        self.errors = errors
        self.asked: list[tuple[Any, ...]] = []

    def bind(self, sockaddr: tuple[Any, ...]) -> None:
        self.asked.append(sockaddr)
        if sockaddr[1] in self.errors:
            raise self.errors[sockaddr[1]]


def test_another_trouble_than_a_taken_port_is_not_searched_around() -> None:
    with pytest.raises(OSError, match=r"assign|valid") as caught:
        open_udp_socket(("192.0.2.254", 0), ports=range(40000, 40010))
    assert not isinstance(caught.value, PortsExhaustedError)
    with pytest.raises(PortsExhaustedError, match="empty"):
        open_udp_socket(("127.0.0.1", 0), ports=range(0))
    with pytest.raises(ValueError, match="localhost"):
        open_udp_socket(("localhost", 0))


def test_a_fixed_port_is_used_as_it_is() -> None:
    with open_udp_socket(("127.0.0.1", 0)) as sock, pytest.raises(OSError, match=r"in use|permitted once"):
        open_udp_socket(bound_address(sock), ports=range(40000, 40010))


@on_linux
def test_socket_buffers_are_roomy(run) -> None:
    most = int(Path("/proc/sys/net/core/rmem_max").read_text())

    async def body() -> None:
        endpoint, _ = make(UdpEndpoint, 1, Handler())
        assert endpoint.buffer_sizes[0] >= min(BUFFER_SIZE, most)
        await shut(endpoint)

    run(body())


def test_a_send_is_repeated_only_so_often(run, monkeypatch) -> None:
    """While errors about other destinations pour in, one datagram must not keep the event loop for ever."""

    async def body() -> None:
        handler = Handler()
        endpoint, counters = make(UdpEndpoint, 1, handler)
        refusals = [ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")] * 10
        faulty = endpoint._sock = FaultySocket(endpoint._sock, send=refusals)  # type: ignore[assignment]
        queued = errqueue.QueuedError(
            ("192.0.2.1", 9), "ICMP host unreachable", hard=False, router="192.0.2.254"
        )
        monkeypatch.setattr(errqueue, "AVAILABLE", True)
        monkeypatch.setattr(errqueue, "drain", lambda sock: [queued])
        assert not endpoint.send(b"x", ("127.0.0.1", 9))
        assert len(faulty._send) == 6
        assert handler.errors == [(1, ("127.0.0.1", 9), "connection refused")]
        assert counters == {"error.icmp-host-unreachable": 3}
        await shut(endpoint)

    run(body())


def test_closing_while_a_send_fails(run, monkeypatch) -> None:
    async def body() -> None:
        handler = Handler()
        endpoint, _ = make(UdpEndpoint, 1, handler)
        real = endpoint._sock
        endpoint._sock = FaultySocket(real, send=[OSError(errno.ECONNREFUSED, "refused")])  # type: ignore[assignment]
        queued = errqueue.QueuedError(("192.0.2.1", 9), "ICMP port unreachable", hard=True)
        monkeypatch.setattr(errqueue, "AVAILABLE", True)
        monkeypatch.setattr(errqueue, "drain", lambda sock: [queued])
        handler.socket_error = lambda *what: endpoint.close()  # type: ignore[method-assign]
        assert not endpoint.send(b"x", ("127.0.0.1", 9))
        assert real.fileno() == -1
        await shut(endpoint)

    run(body())


def test_steady_single_datagrams_and_then_a_burst(run) -> None:
    """Reading one datagram a wake, to spare the read that fails, must lose and delay nothing."""

    async def body() -> None:
        handler = Handler()
        (a, _), (b, _) = make(UdpEndpoint, 1, Handler()), make(UdpEndpoint, 2, handler)
        for number in range(50):
            a.send(b"single", b.address)
            await handler.until(lambda count=number + 1: len(handler.received) == count)
        for _ in range(40):
            a.send(b"burst", b.address)
        await handler.until(lambda: len(handler.received) == 90)
        assert handler.data() == [b"single"] * 50 + [b"burst"] * 40
        await shut(a, b)

    run(body())


# --- the event loop's transport
# ---------------------------------------------------------------------------------------


def test_a_transport_that_ends_by_itself_is_reported(run) -> None:
    async def body() -> None:
        handler = Handler()
        endpoint, _ = make(TransportEndpoint, 3, handler)
        await asyncio.wait({endpoint._start})
        endpoint._transport.abort()
        await handler.until(lambda: bool(handler.errors))
        assert handler.errors == [(3, None, "reading failed: the event loop closed it")]
        await shut(endpoint)

    run(body())


def test_a_transport_that_cannot_be_made_is_reported(run) -> None:
    class Refusing(asyncio.SelectorEventLoop):
        async def create_datagram_endpoint(self, *args: object, **more: object) -> object:
            raise OSError(errno.EMFILE, "Too many open files")

    async def body() -> None:
        handler = Handler()
        endpoint, _ = make(TransportEndpoint, 3, handler)
        await handler.until(lambda: bool(handler.errors))
        assert handler.errors == [(3, None, "reading failed: too many open files")]
        endpoint.close()
        await endpoint.wait_closed()
        endpoint._sock.close()

    run(body(), loop=Refusing())


def test_an_endpoint_tells_who_it_is(run) -> None:
    async def body() -> None:
        endpoint, _ = make(UdpEndpoint, 3, Handler())
        assert repr(endpoint) == f"<UdpEndpoint 3 127.0.0.1:{endpoint.address[1]} open>"
        await shut(endpoint)
        assert "closed" in repr(endpoint)

    run(body())
