from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from fasticePy.aio.resolver import MAX_ANSWERS, SystemResolver, explain
from fasticePy.machine import Address

V4, V6 = socket.AF_INET, socket.AF_INET6
EAI_NODATA = getattr(socket, "EAI_NODATA", socket.EAI_FAMILY)


class Handler:
    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.changed = asyncio.Event()

    def addresses_found(self, addresses: Sequence[Address], final: bool) -> None:
        self.heard.append((tuple(addresses), final))
        self.changed.set()

    def lookup_failed(self, reason: str) -> None:
        self.heard.append(reason)
        self.changed.set()

    async def next(self) -> Any:
        await self.changed.wait()
        self.changed.clear()
        return self.heard[-1]


class Dns:
    """A `getaddrinfo` whose answers are given per family, each when its gate opens."""

    def __init__(self, answers: dict[int, list[str] | Exception]) -> None:
        self.answers = answers
        self.gates = {family: threading.Event() for family in answers}
        self.asked: list[tuple[str, int, int]] = []

    def __call__(self, host: str, port: int, family: int, type: int) -> list[tuple[Any, ...]]:
        self.asked.append((host, port, family))
        assert self.gates[family].wait(20)
        answer = self.answers[family]
        if isinstance(answer, Exception):
            raise answer
        return [(family, type, 17, "", (ip, port) if family == V4 else (ip, port, 0, 0)) for ip in answer]

    def open(self, *families: int) -> Dns:
        for family in families or self.gates:
            self.gates[family].set()
        return self


def test_each_family_is_delivered_as_it_comes(run) -> None:
    """8489-29: A and AAAA are both asked, at the same time."""
    dns = Dns({V4: ["192.0.2.1", "192.0.2.2", "192.0.2.1"], V6: ["2001:DB8::1"]})

    async def body() -> None:
        handler = Handler()
        SystemResolver(getaddrinfo=dns).resolve("stun.example.org", 3478, handler)
        dns.open(V6)
        assert await handler.next() == ((("2001:db8::1", 3478),), False)
        dns.open(V4)
        assert await handler.next() == ((("192.0.2.1", 3478), ("192.0.2.2", 3478)), True)
        assert sorted(dns.asked) == [("stun.example.org", 3478, V4), ("stun.example.org", 3478, V6)]

    run(body())


@pytest.mark.parametrize(
    ("first", "second", "heard"),
    [
        (V4, V6, [((("192.0.2.1", 3478),), False), ((), True)]),
        (V6, V4, [((("192.0.2.1", 3478),), True)]),
    ],
)
def test_one_family_missing_is_no_failure(run, first: int, second: int, heard: list[Any]) -> None:
    dns = Dns({V4: ["192.0.2.1"], V6: socket.gaierror(EAI_NODATA, "No address associated with hostname")})

    async def body() -> None:
        handler = Handler()
        SystemResolver(getaddrinfo=dns).resolve("stun.example.org", 3478, handler)
        dns.open(first)
        await answered("A" if first == V4 else "AAAA")
        dns.open(second)
        await answered("A", "AAAA")
        assert handler.heard == heard

    run(body())


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        ((socket.EAI_NONAME, socket.EAI_NONAME), "the name does not exist"),
        ((socket.EAI_AGAIN, socket.EAI_AGAIN), "the name servers do not answer (temporary failure)"),
        ((socket.EAI_FAIL, socket.EAI_FAIL), "the name server answered with a failure"),
    ],
)
def test_failures_are_told_apart(run, errors, reason) -> None:
    dns = Dns({V4: socket.gaierror(errors[0], "?"), V6: socket.gaierror(errors[1], "?")}).open()

    async def body() -> None:
        handler = Handler()
        SystemResolver(getaddrinfo=dns).resolve("stun.example.org", 3478, handler)
        assert await handler.next() == reason

    run(body())


def test_other_errors_have_words_too() -> None:
    assert explain(socket.gaierror(EAI_NODATA, "?"), V6) == "no AAAA record"
    assert explain(UnicodeError("label too long"), V4) == "the name cannot be looked up: label too long"
    assert "Memory" in explain(socket.gaierror(socket.EAI_MEMORY, "Memory allocation failure"), V4)


def test_a_name_without_any_address(run) -> None:
    async def body() -> None:
        handler = Handler()
        SystemResolver(getaddrinfo=Dns({V4: [], V6: []}).open()).resolve("stun.example.org", 3478, handler)
        assert sorted((await handler.next()).split("; ")) == ["no A record", "no AAAA record"]

    run(body())


@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1", "fe80::1%eth0"])
def test_numeric_hosts_ask_nobody(run, host) -> None:
    dns = Dns({})

    async def body() -> None:
        handler = Handler()
        SystemResolver(getaddrinfo=dns).resolve(host, 3478, handler)
        assert not handler.heard  # never from inside the call
        assert await handler.next() == (((host, 3478),), True)

    run(body())
    assert not dns.asked


def test_only_the_wanted_families_are_asked(run) -> None:
    dns = Dns({V4: ["192.0.2.1"]}).open()

    async def body() -> None:
        handler = Handler()
        SystemResolver(getaddrinfo=dns).resolve("stun.example.org", 3478, handler, ipv6=False)
        assert await handler.next() == ((("192.0.2.1", 3478),), True)
        none = Handler()
        SystemResolver(getaddrinfo=dns).resolve("stun.example.org", 3478, none, ipv4=False, ipv6=False)
        assert await none.next() == "no address family to ask for"

    run(body())
    assert len(dns.asked) == 1


def test_silence_ends_with_what_is_known(run) -> None:
    dns = Dns({V4: ["192.0.2.1"], V6: ["2001:db8::1"]})

    async def body() -> None:
        handler = Handler()
        resolver = SystemResolver(getaddrinfo=dns, timeout=0.0)
        resolver.resolve("stun.example.org", 3478, handler)
        assert await handler.next() == "the name servers did not say in 0 s what A and AAAA records there are"
        dns.open()
        await answered("A", "AAAA")
        assert len(handler.heard) == 1

    run(body())


def test_a_silent_family_does_not_take_the_other_with_it(run) -> None:
    async def body() -> None:
        dns = Dns({V4: ["192.0.2.1"], V6: []}).open(V4)
        handler = Handler()
        lookup = SystemResolver(getaddrinfo=dns).resolve("stun.example.org", 3478, handler)
        assert await handler.next() == ((("192.0.2.1", 3478),), False)
        lookup.time_out(5.0)  # type: ignore[attr-defined]
        assert await handler.next() == ((), True)
        dns.open()

    run(body())


def test_a_cancelled_lookup_says_nothing(run) -> None:
    async def body() -> None:
        dns = Dns({V4: ["192.0.2.1"], V6: ["2001:db8::1"]})
        handler, numeric = Handler(), Handler()
        resolver = SystemResolver(getaddrinfo=dns)
        for lookup in (
            resolver.resolve("stun.example.org", 3478, handler),
            resolver.resolve("::1", 1, numeric),
        ):
            lookup.cancel()
            lookup.cancel()
        dns.open()
        await answered("A", "AAAA")
        assert not handler.heard
        assert not numeric.heard

    run(body())


def test_a_closed_event_loop_is_no_trouble_for_the_threads(run) -> None:
    dns = Dns({V4: ["192.0.2.1"]})

    async def body() -> None:
        SystemResolver(getaddrinfo=dns).resolve("stun.example.org", 3478, Handler(), ipv6=False).cancel()

    run(body())
    dns.open()
    join("A")


def test_answers_are_bounded(run) -> None:
    async def body() -> None:
        dns = Dns({V4: [f"192.0.2.{n}" for n in range(1, 200)]}).open()
        handler = Handler()
        SystemResolver(getaddrinfo=dns).resolve("stun.example.org", 3478, handler, ipv6=False)
        addresses, final = await handler.next()
        assert len(addresses) == MAX_ANSWERS
        assert final

    run(body())


def test_the_operating_system(run) -> None:
    async def body() -> None:
        handler = Handler()
        SystemResolver().resolve("localhost", 3478, handler, ipv6=False)
        assert await handler.next() == ((("127.0.0.1", 3478),), True)

    run(body())


def join(*records: str) -> None:
    for thread in threading.enumerate():
        if thread.name in {f"resolve stun.example.org {record}" for record in records}:
            thread.join(20)
            assert not thread.is_alive()


async def answered(*records: str) -> None:
    """Until these threads have ended and what they told the event loop has been handled."""
    join(*records)
    await asyncio.sleep(0)
