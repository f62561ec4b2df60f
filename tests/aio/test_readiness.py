from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable

import pytest

from fasticePy.aio import readiness as module
from fasticePy.aio.readiness import SelectThread, readiness


class Proactor(asyncio.SelectorEventLoop):
    """An event loop that cannot tell when sockets are ready, as Windows' own."""

    add_reader = asyncio.AbstractEventLoop.add_reader
    add_writer = asyncio.AbstractEventLoop.add_writer


def threads() -> list[str]:
    return [each.name for each in threading.enumerate() if each.name == "fasticePy sockets"]


def pair() -> tuple[socket.socket, socket.socket]:
    both = socket.socketpair()
    for sock in both:
        sock.setblocking(False)
    return both


class Calls:
    """Counts, and lets a test wait for the next call."""

    def __init__(self, then: Callable[[], object] = lambda: None) -> None:
        self.count = 0
        self.then = then
        self.called = asyncio.Event()

    def __call__(self) -> None:
        self.count += 1
        self.then()
        self.called.set()

    async def next(self) -> None:
        self.called.clear()
        await self.called.wait()


def test_event_loops_that_can_do_it_themselves(run) -> None:
    async def body() -> None:
        loop = asyncio.get_running_loop()
        assert readiness(loop) is loop

    run(body())


def test_a_socket_is_told_as_long_as_it_is_ready_and_the_thread_ends_with_the_last_one(run) -> None:
    async def body() -> None:
        watch = readiness(asyncio.get_running_loop())
        assert watch is readiness(asyncio.get_running_loop())
        one, other = pair()
        reading, writing = Calls(), Calls()
        watch.add_reader(one, reading)
        assert threads()
        other.send(b"x")
        await reading.next()
        await reading.next()  # nobody has read
        one.recv(1)
        watch.add_writer(one, writing)
        await writing.next()
        await writing.next()
        watch.remove_writer(one)
        watch.remove_writer(one)
        count = reading.count
        other.send(b"y")
        await reading.next()
        assert reading.count > count
        watch.remove_reader(one)
        assert not threads()
        watch.add_reader(one, reading)  # and begins anew
        await reading.next()
        watch.remove_reader(one)
        assert not threads()
        one.close()
        other.close()

    run(body(), loop=Proactor())


def test_what_one_callback_removes_is_not_called(run) -> None:
    async def body() -> None:
        watch = readiness(asyncio.get_running_loop())
        pairs = [pair(), pair()]
        socks = [one for one, _ in pairs]

        called = asyncio.Event()

        def remove_all() -> None:
            called.set()
            for sock in socks:
                watch.remove_reader(sock)

        calls = [Calls(remove_all), Calls(remove_all)]
        for (one, other), call in zip(pairs, calls, strict=True):
            other.send(b"x")
            watch.add_reader(one, call)
        await called.wait()
        assert not threads()
        await asyncio.sleep(0)
        assert sum(call.count for call in calls) == 1
        for one, other in pairs:
            one.close()
            other.close()

    run(body(), loop=Proactor())


def test_a_socket_closed_by_mistake_does_not_stop_the_others(run) -> None:
    async def body() -> None:
        watch = SelectThread(asyncio.get_running_loop())
        one, other = pair()
        gone, partner = pair()
        reading = Calls()
        watch.add_reader(one, reading)
        watch.add_reader(gone, lambda: None)
        number = gone.fileno()
        gone.close()
        other.send(b"x")
        watch._run.look_again()  # type: ignore[union-attr]
        watch._remove(watch._readers, number)
        await reading.next()
        watch.remove_reader(one)
        assert not threads()
        for sock in (one, other, partner):
            sock.close()

    run(body(), loop=Proactor())


def test_too_many_are_refused(run, monkeypatch) -> None:
    monkeypatch.setattr(module, "MAX_WATCHED", 1)

    async def body() -> None:
        watch = readiness(asyncio.get_running_loop())
        one, other = pair()
        watch.add_reader(one, lambda: None)
        with pytest.raises(OSError, match="Too many"):
            watch.add_reader(other, lambda: None)
        with pytest.raises(OSError, match="Too many"):
            watch.add_writer(other, lambda: None)
        watch.add_writer(one, lambda: None)  # it is there already
        watch.remove_writer(one)
        watch.remove_reader(one)
        one.close()
        other.close()

    run(body(), loop=Proactor())


def test_the_thread_ends_when_the_event_loop_is_gone() -> None:
    loop = Proactor()
    one, other = pair()
    watch = SelectThread(loop)
    watch.add_reader(one, lambda: None)
    run = watch._run
    assert run is not None
    loop.close()
    other.send(b"x")
    run._thread.join(10)
    assert not threads()
    watch.remove_reader(one)
    one.close()
    other.close()
