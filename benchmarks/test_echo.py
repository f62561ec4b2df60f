"""How long a datagram takes there and back over a connected pair on loopback: fasticePy beside aioice.

A round is 200 round trips one after the other; `recv` is the coroutine that both libraries have, `on_data` the
callback that only we have. A burst is 32 datagrams sent at once and received.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from fasticePy import Agent

aioice = pytest.importorskip("aioice")

ROUNDS = 20
ROUND_TRIPS = 200
BURST = 32

Run = Callable[[Coroutine[Any, Any, Any]], Any]
Connected = tuple[Any, Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.close()


async def connect_fasticepy() -> Connected:
    one, other = (Agent(controlling=side, addresses=["127.0.0.1"]) for side in (True, False))
    await asyncio.gather(one.gather(), other.gather())
    one.set_remote_description(other.local_description)
    other.set_remote_description(one.local_description)
    await asyncio.gather(one.connect(10), other.connect(10))
    return one, other


async def connect_aioice() -> Connected:
    one, other = (aioice.Connection(ice_controlling=side) for side in (True, False))
    await asyncio.gather(one.gather_candidates(), other.gather_candidates())
    for local, remote in ((one, other), (other, one)):
        remote.remote_username, remote.remote_password = local.local_username, local.local_password
        for candidate in (*local.local_candidates, None):
            await remote.add_remote_candidate(candidate)
    await asyncio.gather(one.connect(), other.connect())
    return one, other


async def echo_by_callback(pair: Connected, data: bytes) -> None:
    one, other = pair
    done = asyncio.get_running_loop().create_future()
    left = ROUND_TRIPS

    def returned(payload: bytes, chosen: object) -> None:
        nonlocal left
        left -= 1
        if left:
            one.send(payload)
        else:
            done.set_result(None)

    one.on_data = returned
    other.on_data = lambda payload, chosen: other.send(payload)
    one.send(data)
    await done
    one.on_data = other.on_data = None


async def echo_by_recv(pair: Connected, data: bytes) -> None:
    one, other = pair

    async def answer() -> None:
        for _ in range(ROUND_TRIPS):
            other.send(await other.recv())

    answering = asyncio.ensure_future(answer())
    for _ in range(ROUND_TRIPS):
        one.send(data)
        await one.recv()
    await answering


async def echo_aioice(pair: Connected, data: bytes) -> None:
    one, other = pair

    async def answer() -> None:
        for _ in range(ROUND_TRIPS):
            await other.send(await other.recv())

    answering = asyncio.ensure_future(answer())
    for _ in range(ROUND_TRIPS):
        await one.send(data)
        await one.recv()
    await answering


async def burst_fasticepy(pair: Connected, data: bytes) -> None:
    one, other = pair
    done = asyncio.get_running_loop().create_future()
    left = BURST

    def arrived(payload: bytes, chosen: object) -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    other.on_data = arrived
    one.send_many([data] * BURST)
    await done
    other.on_data = None


async def burst_aioice(pair: Connected, data: bytes) -> None:
    one, other = pair
    for _ in range(BURST):
        await one.send(data)
    for _ in range(BURST):
        await other.recv()


SIZES = pytest.mark.parametrize("size", [100, 1200])


def measure(benchmark: Any, run: Run, connect: Any, once: Any, size: int, operations: int) -> None:
    pair = run(connect())
    benchmark.extra_info["operations"] = operations
    benchmark.pedantic(lambda: run(once(pair, bytes(size))), rounds=ROUNDS, warmup_rounds=1)
    for side in pair:
        run(close(side))


async def close(side: Any) -> None:
    await side.close()


@SIZES
@pytest.mark.parametrize(
    ("connect", "echo"),
    [
        (connect_fasticepy, echo_by_callback),
        (connect_fasticepy, echo_by_recv),
        (connect_aioice, echo_aioice),
    ],
    ids=["fasticePy on_data", "fasticePy recv", "aioice recv"],
)
def test_echo(benchmark: Any, run: Run, connect: Any, echo: Any, size: int) -> None:
    benchmark.group = f"round trip of {size} bytes"
    measure(benchmark, run, connect, echo, size, ROUND_TRIPS)


@SIZES
@pytest.mark.parametrize(
    ("connect", "burst"),
    [(connect_fasticepy, burst_fasticepy), (connect_aioice, burst_aioice)],
    ids=["fasticePy", "aioice"],
)
def test_burst(benchmark: Any, run: Run, connect: Any, burst: Any, size: int) -> None:
    benchmark.group = f"one of {BURST} datagrams of {size} bytes in a burst"
    measure(benchmark, run, connect, burst, size, BURST)
