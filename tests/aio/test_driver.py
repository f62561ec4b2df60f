from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from fasticePy.aio.driver import Driver
from fasticePy.aio.resolver import LookupHandler
from fasticePy.ice.events import CloseSocket, NeedAddresses, NeedSocket, StateChanged
from fasticePy.machine import Address, Event, Transmit


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
        for at in (110.0, 110.0, 120.0):
            setup.machine.timer = at
            setup.driver.flush()
        assert calls == [10.0]  # a later moment leaves the timer where it is
        setup.machine.timer = 105.0
        setup.driver.flush()
        assert calls == [10.0, 5.0]
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
