from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fasticePy.aio.driver import Driver
from fasticePy.aio.resolver import LookupHandler
from fasticePy.aio.tcp_endpoint import MAX_QUEUED
from fasticePy.aio.tcp_socket import open_listener
from fasticePy.aio.udp_socket import bound_address
from fasticePy.ice.events import (
    CancelConnection,
    CloseSocket,
    NeedAddresses,
    NeedConnection,
    NeedSocket,
    PublishName,
    StateChanged,
    WithdrawName,
)
from fasticePy.machine import Address, Event, Transmit
from fasticePy.stun import MessageBuilder, MessageClass, Method

CHECK = MessageBuilder(Method.BINDING, MessageClass.REQUEST, bytes(range(12))).build(fingerprint=True)


class FakeMachine:
    """A machine that says what a test puts into it and remembers what it is told."""

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.told: list[tuple[Any, ...]] = []
        self.transmits: list[Transmit] = []
        self.events: list[Event] = []
        self.timer: float | None = None
        self.takes = 0
        self.on_datagram: Callable[[bytes], bytes | None] = lambda data: data
        self.welcome = True
        self.heard = asyncio.Event()

    def tell(self, *what: Any) -> None:
        self.told.append(what)
        self.heard.set()

    async def hears(self, kind: str) -> tuple[Any, ...]:
        while True:
            for what in self.told:
                if what[0] == kind:
                    return what
            self.heard.clear()
            await self.heard.wait()

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        self.tell("datagram", socket, data, address)
        return self.on_datagram(data)

    def handle_timer(self, now: float) -> None:
        self.timer = None
        self.tell("timer", now)

    def next_timer(self) -> float | None:
        return self.timer

    def take_transmits(self) -> list[Transmit]:
        self.takes += 1
        taken, self.transmits = self.transmits, []
        return taken

    def take_events(self) -> list[Event]:
        taken, self.events = self.events, []
        return taken

    def close(self, now: float) -> None:
        self.events.append(StateChanged(at=now, state="closed", reason="closed"))

    def socket_opened(self, request: int, socket: int, address: Address, now: float) -> None:
        self.tell("opened", request, socket, address)

    def socket_failed(self, request: int, reason: str, now: float) -> None:
        self.tell("failed", request, reason)

    def connection_accepted(self, listener: int, socket: int, peer: Address, now: float) -> bool:
        self.tell("accepted", listener, socket, peer)
        return self.welcome

    def connection_opened(self, request: int, socket: int, address: Address, now: float) -> None:
        self.tell("connected", request, socket, address)

    def connection_failed(self, request: int, reason: str, now: float) -> None:
        self.tell("unconnected", request, reason)

    def connection_closed(self, socket: int, reason: str, now: float) -> None:
        self.tell("ended", socket, reason)

    def addresses_resolved(
        self, server: int, addresses: Sequence[Address], now: float, *, final: bool = True
    ) -> None:
        self.tell("resolved", server, tuple(addresses), final)

    def resolution_failed(self, server: int, reason: str, now: float) -> None:
        self.tell("unresolved", server, reason)

    def socket_error(self, socket: int, address: Address | None, reason: str, now: float) -> None:
        self.tell("error", socket, address, reason)


class FakeResolver:
    def __init__(self) -> None:
        self.asked: list[tuple[str, int, bool, bool]] = []
        self.handlers: list[LookupHandler] = []
        self.cancelled = 0

    def resolve(
        self, host: str, port: int, handler: LookupHandler, *, ipv4: bool = True, ipv6: bool = True
    ) -> FakeResolver:
        self.asked.append((host, port, ipv4, ipv6))
        self.handlers.append(handler)
        return self

    def cancel(self) -> None:
        self.cancelled += 1


class Setup:
    def __init__(self, **more: Any) -> None:
        self.machine = FakeMachine()
        self.resolver = FakeResolver()
        self.happened: list[Any] = []
        self.time = 100.0
        self.driver = Driver(
            self.machine,
            on_event=self.happened.append,
            on_data=lambda data, socket, address: self.happened.append(data),
            resolver=more.pop("resolver", self.resolver),
            now=more.pop("now", lambda: self.time),
            **more,
        )

    async def socket(self, address: Address = ("127.0.0.1", 0), request: int = 1) -> tuple[int, Address]:
        self.machine.told.clear()
        self.machine.events.append(
            NeedSocket(at=0, request=request, component=1, transport="udp", address=address)
        )
        self.driver.wake()
        _, answered, socket, bound = await self.machine.hears("opened")
        assert answered == request
        return socket, bound

    async def listener(self, request: int = 1, host: str = "127.0.0.1") -> tuple[int, Address]:
        """A listening socket of the driver: its number and its address."""
        self.do(NeedSocket(at=0, request=request, component=1, transport="tcp", address=(host, 0)))
        _, answered, socket, bound = await self.machine.hears("opened")
        assert answered == request
        return socket, bound

    async def connect(self, peer: Address, base: Address = ("127.0.0.1", 0)) -> tuple[int, Address]:
        """A connection of the driver: its number and its own address."""
        self.do(NeedConnection(at=0, request=5, base=base, peer=peer))
        _, request, socket, bound = await self.machine.hears("connected")
        assert request == 5
        return socket, bound

    def do(self, *events: Event) -> None:
        """The machine says this now."""
        self.machine.told.clear()
        self.machine.events += events
        self.driver.flush()

    async def close(self) -> None:
        self.driver.close()
        self.driver.close()
        await self.driver.wait_closed()


def event(reason: str) -> StateChanged:
    return StateChanged(at=0, state="checking", reason=reason)


def test_sockets_are_opened_used_and_closed_as_the_machine_says(run) -> None:
    async def body() -> None:
        setup = Setup()
        one, one_address = await setup.socket()
        two, two_address = await setup.socket()
        assert one != two
        setup.machine.transmits += [
            Transmit(one, two_address, b"first"),
            Transmit(one, two_address, b"second"),
        ]
        setup.machine.transmits.append(Transmit(999, two_address, b"from nowhere"))
        setup.driver.wake()
        while len(setup.happened) < 2:
            setup.machine.heard.clear()
            await setup.machine.heard.wait()
        assert setup.happened == [b"first", b"second"]
        assert setup.machine.told[-1] == ("datagram", two, b"second", one_address)
        setup.machine.events.append(CloseSocket(at=0, socket=two))
        setup.driver.flush()
        assert not setup.driver.send(two, b"x", one_address)
        assert setup.driver.send(one, b"x", one_address)
        await setup.close()

    run(body())


def test_sockets_that_cannot_be_opened_are_answered_with_the_reason(run) -> None:
    async def body() -> None:
        holder = Setup()
        _, (_, port) = await holder.socket()
        setup = Setup(ports=range(port, port + 1))
        setup.machine.events = [
            NeedSocket(at=0, request=1, component=1, transport="udp", address=("127.0.0.1", 0)),
            NeedSocket(at=0, request=2, component=1, transport="udp", address=("not numeric", 0)),
        ]
        setup.driver.flush()
        reason = f"no free port in {port}-{port} on 127.0.0.1 (all 1 in use)"
        assert setup.machine.told[0] == ("failed", 1, reason)
        assert setup.machine.told[1][:2] == ("failed", 2)
        await setup.close()
        await holder.close()

    run(body())


def test_many_calls_cost_one_look_and_callbacks_come_later(run) -> None:
    async def body() -> None:
        setup = Setup()
        setup.machine.events.append(event("later"))
        for _ in range(10):
            setup.driver.wake()
        assert not setup.happened
        await asyncio.sleep(0)
        assert [each.reason for each in setup.happened] == ["later"]
        assert setup.machine.takes == 2  # once with something, once to see that this was all
        await setup.close()

    run(body())


def test_what_data_rests_on_is_heard_of_before_the_data(run) -> None:
    async def body() -> None:
        setup = Setup()
        one, _ = await setup.socket()
        _, two_address = await setup.socket()

        def receive(data: bytes) -> bytes | None:
            if data == b"check":
                setup.machine.events.append(event("connected"))
                return None
            return data

        setup.machine.on_datagram = receive
        for data in (b"check", b"data"):
            setup.driver.send(one, data, two_address)
        while len(setup.happened) < 2:
            setup.machine.heard.clear()
            await setup.machine.heard.wait()
        assert setup.happened[0].reason == "connected"
        assert setup.happened[1] == b"data"
        await setup.close()

    run(body())


def test_the_timer_follows_the_machine(run) -> None:
    async def body() -> None:
        setup = Setup()
        calls: list[float] = []
        loop, real = setup.driver.loop, setup.driver.loop.call_later
        loop.call_later = lambda delay, *rest: (calls.append(delay), real(delay, *rest))[1]  # type: ignore[method-assign]
        for at in (110.0, 110.0, 110.04):
            setup.machine.timer = at
            setup.driver.flush()
        assert calls == [10.0]  # a little later leaves the timer where it is
        for at in (120.0, 105.0):
            setup.machine.timer = at
            setup.driver.flush()
        assert calls == [10.0, 20.0, 5.0]
        setup.machine.timer = None
        setup.driver.flush()
        assert setup.driver._timer is None
        setup.machine.timer = 99.5
        setup.driver.flush()
        assert calls[-1] == 0.0
        assert await setup.machine.hears("timer") == ("timer", 100.0)
        await setup.close()

    run(body())


def test_after_a_stall_sockets_are_read_before_time_counts(run, caplog) -> None:
    """A blocked event loop must not make consent expire while its answers wait in the socket (RFC 7675
    5.1)."""

    async def body() -> None:
        setup = Setup()
        one, _ = await setup.socket()
        _, two_address = await setup.socket()
        setup.machine.timer = setup.time
        setup.driver.flush()
        for _ in range(200):  # more than one turn of the event loop reads
            assert setup.driver.send(one, b"answer", two_address)
        setup.time += 8.2
        setup.machine.told.clear()
        await setup.machine.hears("timer")
        kinds = [what[0] for what in setup.machine.told]
        assert kinds == ["datagram"] * 200 + ["timer"]
        assert setup.machine.counters["loop.stalled"] == 1
        await setup.close()

    with caplog.at_level(logging.WARNING, "fasticePy.aio"):
        run(body())
    assert "blocked for 8.2 s" in caplog.text


def test_lookups_are_asked_for_the_families_that_are_there_and_answered(run) -> None:
    async def body() -> None:
        setup = Setup(families=frozenset({4}))
        setup.machine.events = [
            NeedAddresses(at=0, request=0, host="stun.example.org", port=3478),
            NeedAddresses(at=0, request=1, host="stun.example.net", port=3479),
        ]
        setup.driver.flush()
        assert setup.resolver.asked == [
            ("stun.example.org", 3478, True, False),
            ("stun.example.net", 3479, True, False),
        ]
        first, second = setup.resolver.handlers
        first.addresses_found([("192.0.2.1", 3478)], False)
        first.addresses_found([], True)
        second.lookup_failed("the name does not exist")
        assert setup.machine.told == [
            ("resolved", 0, (("192.0.2.1", 3478),), False),
            ("resolved", 0, (), True),
            ("unresolved", 1, "the name does not exist"),
        ]
        await setup.close()
        assert setup.resolver.cancelled == 0

    run(body())


def test_a_resolver_that_raises_is_an_answer_too(run) -> None:
    class Broken(FakeResolver):
        def resolve(self, *args: Any, **more: Any) -> FakeResolver:
            raise RuntimeError("oops")

    async def body() -> None:
        setup = Setup(resolver=Broken())
        setup.machine.events = [NeedAddresses(at=0, request=3, host="stun.example.org", port=3478)]
        setup.driver.flush()
        assert setup.machine.told == [("unresolved", 3, "the resolver failed: RuntimeError('oops')")]
        await setup.close()

    run(body())


def test_closing_delivers_the_last_words_and_leaves_nothing(run) -> None:
    async def body() -> None:
        setup = Setup()
        await setup.socket()
        setup.machine.timer = 500.0
        setup.machine.events = [
            NeedAddresses(at=0, request=0, host="stun.example.org", port=3478),
            event("before"),
        ]
        setup.driver.flush()
        setup.driver.wake()
        setup.machine.events.append(
            NeedSocket(at=0, request=9, component=1, transport="udp", address=("127.0.0.1", 0))
        )
        await setup.close()
        assert [each.reason for each in setup.happened] == ["before", "closed"]
        assert setup.resolver.cancelled == 1
        assert ("opened", 9) not in [what[:2] for what in setup.machine.told]
        setup.driver.wake()
        setup.driver.flush()
        setup.driver.socket_error(1, None, "late")
        assert setup.machine.told[-1][0] != "error"

    run(body())


def test_an_error_that_a_send_meets_reaches_the_machine_and_its_answer_goes_out(run) -> None:
    async def body() -> None:
        setup = Setup()
        socket, _ = await setup.socket()
        assert not setup.driver.send(socket, b"x", ("name.example.org", 5))
        what = await setup.machine.hears("error")
        assert what[1:3] == (socket, ("name.example.org", 5))
        setup.machine.events.append(event("told"))
        await asyncio.sleep(0)
        assert [each.reason for each in setup.happened] == ["told"]
        await setup.close()

    run(body())


@pytest.mark.parametrize("moment", ["event", "data"])
def test_closing_from_inside_a_callback(run, moment) -> None:
    async def body() -> None:
        setup = Setup()
        one, _ = await setup.socket()
        _, address = await setup.socket()
        driver = setup.driver
        if moment == "event":
            driver._on_event = lambda each: (setup.happened.append(each), driver.close())
            setup.machine.events = [event("first"), event("second")]
            driver.flush()
        else:
            driver._on_data = lambda *each: driver.close()
            driver.send(one, b"x", address)
            await setup.machine.hears("datagram")
        assert driver.closed
        assert not driver._endpoints
        await driver.wait_closed()

    run(body())


# --- TCP -----------------------------------------------------------------------------------------------------


def test_whole_messages_cross_the_border_of_a_tcp_connection(run) -> None:
    """6544-9: STUN, and what comes after it, goes over a connection in frames, and neither machine sees them."""

    async def body() -> None:
        passive, active = Setup(), Setup()
        listener, address = await passive.listener()
        one, one_address = await active.connect(address)
        _, told, two, peer = await passive.machine.hears("accepted")
        assert (told, peer) == (listener, one_address)
        assert two != listener
        active.machine.transmits.append(Transmit(one, address, CHECK))
        active.driver.flush()
        assert await passive.machine.hears("datagram") == ("datagram", two, CHECK, one_address)
        passive.machine.transmits.append(Transmit(two, one_address, CHECK))
        passive.driver.flush()
        assert await active.machine.hears("datagram") == ("datagram", one, CHECK, address)
        active.machine.told.clear()
        for size in (1, 1200, 65535):
            assert passive.driver.send(two, bytes([7]) * size, one_address)
        while len(active.happened) < 4:
            active.machine.heard.clear()
            await active.machine.heard.wait()
        assert active.happened == [CHECK, *(bytes([7]) * size for size in (1, 1200, 65535))]
        assert not passive.driver.send(listener, b"x", one_address)  # one does not send from a listener
        await active.close()
        assert await passive.machine.hears("ended") == ("ended", two, "the peer closed the connection")
        assert not passive.driver.send(two, b"x", one_address)
        assert list(passive.driver._endpoints) == [listener]
        await passive.close()

    run(body())


def test_a_connection_that_the_machine_closes_is_not_told_again(run) -> None:
    async def body() -> None:
        passive, active = Setup(), Setup()
        listener, address = await passive.listener()
        one, _ = await active.connect(address)
        _, _, two, _ = await passive.machine.hears("accepted")
        active.do(CloseSocket(at=0, socket=one))
        assert await passive.machine.hears("ended") == ("ended", two, "the peer closed the connection")
        passive.do(CloseSocket(at=0, socket=listener))
        active.do(NeedConnection(at=0, request=9, base=("127.0.0.1", 0), peer=address))
        refused = os.strerror(errno.ECONNREFUSED).lower()
        assert await active.machine.hears("unconnected") == ("unconnected", 9, refused)
        assert active.machine.told == [("unconnected", 9, refused)]
        for setup in (active, passive):
            assert not setup.driver._endpoints and not setup.driver._connecting
            await setup.close()

    run(body())


def test_who_the_machine_does_not_want_is_closed_at_once(run) -> None:
    async def body() -> None:
        passive, active = Setup(), Setup()
        passive.machine.welcome = False
        listener, address = await passive.listener()
        one, _ = await active.connect(address)
        assert await active.machine.hears("ended") == ("ended", one, "the peer closed the connection")
        assert [what[0] for what in passive.machine.told] == ["opened", "accepted"]
        assert list(passive.driver._endpoints) == [listener]
        await active.close()
        await passive.close()

    run(body())


def test_a_peer_that_speaks_http(run) -> None:
    """4571-2: it is closed, and the machine told why."""

    async def body() -> None:
        setup = Setup()
        _, address = await setup.listener()
        loop = asyncio.get_running_loop()
        with socket.socket() as peer:
            peer.setblocking(False)
            await loop.sock_connect(peer, address)
            await loop.sock_sendall(peer, b"GET / HTTP/1.1\r\n\r\n")
            _, _, reason = await setup.machine.hears("ended")
            assert "its stream begins with b'GET / HTTP'" in reason
        await setup.close()

    run(body())


def test_connections_leave_from_the_port_of_a_listener(run) -> None:
    """RFC 6544 B: for simultaneous open, and the listener goes on to listen."""

    async def body() -> None:
        a, b = Setup(), Setup()
        _, a_address = await a.listener()
        _, b_address = await b.listener()
        _, bound = await a.connect(b_address, a_address)
        assert bound == a_address
        assert (await b.machine.hears("accepted"))[3] == a_address
        other = Setup()
        _, other_address = await other.connect(a_address)
        assert (await a.machine.hears("accepted"))[3] == other_address
        for setup in (a, b, other):
            await setup.close()

    run(body())


def test_connections_that_cannot_be_tried_fail_with_the_reason(run) -> None:
    async def body() -> None:
        setup = Setup()
        with socket.socket() as holder:
            holder.bind(("127.0.0.1", 0))
            taken = holder.getsockname()
            setup.do(
                NeedConnection(at=0, request=1, base=taken, peer=("127.0.0.1", 9)),
                NeedConnection(at=0, request=2, base=("127.0.0.1", 0), peer=("not numeric", 9)),
                NeedSocket(at=0, request=3, component=1, transport="tcp", address=taken),
            )
        assert setup.machine.told[0] == ("unconnected", 1, os.strerror(errno.EADDRINUSE).lower())
        assert setup.machine.told[1][:2] == ("unconnected", 2)
        assert setup.machine.told[2] == ("failed", 3, os.strerror(errno.EADDRINUSE).lower())
        await setup.close()

    run(body())


def test_the_port_range_holds_for_tcp_too(run) -> None:
    async def body() -> None:
        holder = Setup()
        _, address = await holder.listener()
        port = address[1]
        setup = Setup(ports=range(port, port + 1))
        setup.do(
            NeedSocket(at=0, request=1, component=1, transport="tcp", address=("127.0.0.1", 0)),
            NeedConnection(at=0, request=2, base=("127.0.0.1", 0), peer=address),
        )
        reason = f"no free port in {port}-{port} on 127.0.0.1 (all 1 in use)"
        assert setup.machine.told == [("failed", 1, reason), ("unconnected", 2, reason)]
        setup.do(NeedSocket(at=0, request=3, component=1, transport="udp", address=("127.0.0.1", 0)))
        assert setup.machine.told[0][3] == ("127.0.0.1", port)  # a UDP port is another one
        await setup.close()
        await holder.close()

    run(body())


@pytest.mark.parametrize("moment", ["at once", "when it is there", "at the end"])
def test_a_connection_that_is_not_wanted_any_more(run, moment) -> None:
    async def body() -> None:
        setup = Setup()
        loop = asyncio.get_running_loop()
        with open_listener(("127.0.0.1", 0)) as listening:
            need = NeedConnection(at=0, request=5, base=("127.0.0.1", 0), peer=bound_address(listening))
            setup.do(need)
            if moment == "at once":
                setup.do(CancelConnection(at=0, request=5), CancelConnection(at=0, request=6))
            elif moment == "when it is there":
                setup.machine.events.append(CancelConnection(at=0, request=5))  # and nobody has looked yet
            else:
                await setup.close()
            sock, _ = await loop.sock_accept(listening)
            with sock, contextlib.suppress(ConnectionResetError):
                assert await loop.sock_recv(sock, 1) == b""
        assert not setup.machine.told
        assert not setup.driver._endpoints and not setup.driver._connecting
        await setup.close()

    run(body())


def test_connections_on_an_event_loop_without_add_reader(run) -> None:
    """Windows' own: a thread waits for the sockets."""

    class Proactor(asyncio.SelectorEventLoop):
        add_reader = asyncio.AbstractEventLoop.add_reader
        add_writer = asyncio.AbstractEventLoop.add_writer

    async def body() -> None:
        writable: list[int] = []
        passive, active = Setup(), Setup(on_writable=writable.append)
        _, address = await passive.listener()
        one, one_address = await active.connect(address)
        _, _, two, _ = await passive.machine.hears("accepted")
        assert active.driver.send(one, CHECK, address)
        assert await passive.machine.hears("datagram") == ("datagram", two, CHECK, one_address)
        while active.driver.send(one, bytes([1]) * 60_000, address):
            continue
        while not writable:
            passive.machine.heard.clear()
            await passive.machine.heard.wait()
        await active.close()
        assert (await passive.machine.hears("ended"))[1] == two
        await passive.close()

    run(body(), loop=Proactor())


def test_after_a_stall_connections_are_read_before_time_counts(run) -> None:
    async def body() -> None:
        passive, active = Setup(), Setup()
        _, address = await passive.listener()
        one, one_address = await active.connect(address)
        _, _, two, _ = await passive.machine.hears("accepted")
        assert passive.driver.send(two, CHECK, one_address)
        await active.machine.hears("datagram")
        active.machine.timer = active.time
        active.driver.flush()
        for _ in range(200):  # more than one turn of the event loop reads
            assert passive.driver.send(two, b"answer", one_address)
        active.time += 8.2
        active.machine.told.clear()
        await active.machine.hears("timer")
        assert [what[0] for what in active.machine.told] == ["datagram"] * 200 + ["timer"]
        assert active.machine.told[0][1] == one
        for setup in (active, passive):
            await setup.close()

    run(body())


def test_who_was_refused_is_told_when_there_is_room_again(run) -> None:
    """Sending never blocks: a queue that is full refuses, and tells when it is half empty."""

    async def body() -> None:
        writable: list[int] = []
        passive, active = Setup(), Setup(on_writable=writable.append)
        _, address = await passive.listener()
        one, _ = await active.connect(address)
        await passive.machine.hears("accepted")
        assert active.driver.send(one, CHECK, address)
        sent = 1
        while active.driver.send(one, bytes([1]) * 1200, address):
            sent += 1
        assert sent * 1202 > MAX_QUEUED
        assert not writable
        while len(passive.happened) < sent:
            passive.machine.heard.clear()
            await passive.machine.heard.wait()
        assert writable == [one]
        assert active.machine.counters["drop.send.queue-full"] == 1
        assert active.driver.send(one, b"x", address)
        for setup in (active, passive):
            await setup.close()

    run(body())


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.ENOBUFS])
def test_a_udp_socket_that_was_full_tells_when_it_takes_data_again(run, code) -> None:
    class Full:
        def __init__(self, sock: socket.socket) -> None:
            self.sock = sock
            self.failures = [OSError(code, "full"), OSError(code, "full")]

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

        def sendto(self, *arguments: Any) -> int:
            if self.failures:
                raise self.failures.pop()
            return self.sock.sendto(*arguments)

    async def body() -> None:
        told = asyncio.Event()
        setup = Setup(on_writable=lambda socket: (numbers.append(socket), told.set()))
        numbers: list[int] = []
        one, _ = await setup.socket()
        _, address = await setup.socket(request=2)
        endpoint = setup.driver._endpoints[one]
        endpoint._sock = Full(endpoint._sock)  # type: ignore[attr-defined]
        assert not setup.driver.send(one, b"x", address)
        assert not setup.driver.send(one, b"x", address)
        await told.wait()
        assert numbers == [one]  # once for all that was refused
        assert setup.machine.counters["drop.send.buffer-full"] == 2
        assert setup.driver.send(one, b"x", address)
        endpoint._sock.failures.append(OSError(code, "full"))  # type: ignore[attr-defined]
        assert not setup.driver.send(one, b"x", address)
        await setup.close()  # while it waits

    run(body())


def test_closing_is_quick_though_a_peer_does_not_read(run) -> None:
    async def body() -> None:
        setup = Setup()
        loop = asyncio.get_running_loop()
        with open_listener(("127.0.0.1", 0)) as listening:
            accepted = []
            for _ in range(2):
                await setup.connect(bound_address(listening))
                accepted.append((await loop.sock_accept(listening))[0])
            first, second = setup.driver._endpoints
            for number in (first, second):
                while setup.driver.send(number, bytes(60_000), bound_address(listening)):
                    continue
            setup.do(CloseSocket(at=0, socket=first))
            lingering = setup.driver._closing[0]
            assert lingering.lingers  # type: ignore[union-attr]
            await setup.close()
            assert not lingering.lingers  # type: ignore[union-attr]
            for sock in accepted:
                sock.close()

    run(body())


# --- names ---------------------------------------------------------------------------------------------------


class FakeMdns(FakeResolver):
    def __init__(self) -> None:
        super().__init__()
        self.published: list[tuple[str, str]] = []

    def publish(self, name: str, address: str) -> Publication:
        self.published.append((name, address))
        return Publication(self.published, (name, address))


class Publication:
    def __init__(self, published: list[tuple[str, str]], entry: tuple[str, str]) -> None:
        self.published, self.entry = published, entry
        self.failure = ""

    def withdraw(self) -> None:
        self.published.remove(self.entry)


def test_names_of_the_link_are_asked_for_by_mdns_alone(run) -> None:
    async def body() -> None:
        mdns = FakeMdns()
        setup = Setup(mdns=mdns)
        hosts = ["0a8.local", "0A8.LOCAL.", "stun.example.org", "local", "local.example.org"]
        setup.do(*(NeedAddresses(at=0, request=index, host=host, port=9) for index, host in enumerate(hosts)))
        assert [host for host, *_ in mdns.asked] == hosts[:2]
        assert [host for host, *_ in setup.resolver.asked] == hosts[2:]
        mdns.handlers[1].addresses_found([("192.0.2.1", 9)], True)
        assert setup.machine.told == [("resolved", 1, (("192.0.2.1", 9),), True)]
        await setup.close()
        assert (mdns.cancelled, setup.resolver.cancelled) == (1, 3)

    run(body())


def test_without_mdns_names_of_the_link_stay_unknown(run) -> None:
    async def body() -> None:
        setup = Setup()
        setup.do(
            NeedAddresses(at=0, request=4, host="0a8.local", port=9),
            PublishName(at=0, name="1b.local", address="192.0.2.1"),
            WithdrawName(at=0, name="1b.local"),
        )
        assert setup.machine.told == [("unresolved", 4, "mDNS is off")]
        assert not setup.resolver.asked
        assert setup.machine.counters["mdns.not-published"] == 1
        await setup.close()

    run(body())


def test_our_names_are_published_until_they_are_withdrawn_or_all_ends(run) -> None:
    async def body() -> None:
        mdns = FakeMdns()
        setup = Setup(mdns=mdns)
        one, both, six = ("1.local", "192.0.2.1"), ("2.local", "192.0.2.2"), ("2.local", "2001:db8::2")
        setup.do(*(PublishName(at=0, name=name, address=address) for name, address in (one, both, six)))
        assert mdns.published == [one, both, six]
        setup.do(WithdrawName(at=0, name="2.local"))
        assert mdns.published == [one]
        await setup.close()
        assert not mdns.published

    run(body())


def test_an_mdns_that_raises_is_counted(run, caplog) -> None:
    class Broken(FakeMdns):
        def publish(self, name: str, address: str) -> Publication:
            raise OSError(errno.ENETDOWN, "Network is down")

    async def body() -> None:
        setup = Setup(mdns=Broken())
        setup.do(PublishName(at=0, name="1.local", address="192.0.2.1"))
        assert setup.machine.counters["mdns.not-published"] == 1
        await setup.close()

    run(body())
    assert "Network is down" in caplog.text


def test_a_name_that_is_not_answered_for_is_counted_and_withdrawn_all_the_same(run) -> None:
    class Crowded(FakeMdns):
        def publish(self, name: str, address: str) -> Publication:
            publication = super().publish(name, address)
            publication.failure = "too many names are published"
            return publication

    async def body() -> None:
        mdns = Crowded()
        setup = Setup(mdns=mdns)
        setup.do(PublishName(at=0, name="1.local", address="192.0.2.1"))
        assert setup.machine.counters["mdns.not-published"] == 1
        setup.do(WithdrawName(at=0, name="1.local"))
        assert not mdns.published
        await setup.close()

    run(body())
