"""How long two agents of one process take to find each other on loopback: fasticePy beside aioice.

`connect` begins when both know each other's description and ends when both can send; `session` is everything from
making the two agents to having closed them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from fasticePy import Agent

aioice = pytest.importorskip("aioice")

ROUNDS = 20


class Fasticepy:
    """Two agents of ours."""

    def __init__(self) -> None:
        self.sides = [Agent(controlling=side, addresses=["127.0.0.1"]) for side in (True, False)]

    async def gather(self) -> None:
        one, other = self.sides
        await asyncio.gather(one.gather(), other.gather())
        one.set_remote_description(other.local_description)
        other.set_remote_description(one.local_description)

    async def connect(self) -> None:
        await asyncio.gather(*(side.connect(10) for side in self.sides))

    async def close(self) -> None:
        for side in self.sides:
            await side.close()


class Aioice:
    """Two connections of aioice."""

    def __init__(self) -> None:
        self.sides = [aioice.Connection(ice_controlling=side) for side in (True, False)]

    async def gather(self) -> None:
        one, other = self.sides
        await asyncio.gather(one.gather_candidates(), other.gather_candidates())
        for local, remote in ((one, other), (other, one)):
            remote.remote_username, remote.remote_password = local.local_username, local.local_password
            for candidate in (*local.local_candidates, None):
                await remote.add_remote_candidate(candidate)

    async def connect(self) -> None:
        await asyncio.gather(*(side.connect() for side in self.sides))

    async def close(self) -> None:
        await asyncio.gather(*(side.close() for side in self.sides))


STACKS = pytest.mark.parametrize("stack", [Fasticepy, Aioice], ids=["fasticePy", "aioice"])
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs a coroutine in the event loop of the test; aioice sees loopback as its only address, as we do."""
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    loop = asyncio.new_event_loop()
    yield loop.run_until_complete
    loop.close()


@STACKS
@pytest.mark.benchmark(group="connect both sides")
def test_connect(benchmark: Any, run: Run, stack: type[Fasticepy] | type[Aioice]) -> None:
    used: list[Any] = []

    def setup() -> tuple[tuple[Any], dict[str, Any]]:
        used.append(stack())
        run(used[-1].gather())
        return (used[-1],), {}

    benchmark.pedantic(lambda two: run(two.connect()), setup=setup, rounds=ROUNDS, warmup_rounds=1)
    for two in used:
        run(two.close())


@STACKS
@pytest.mark.benchmark(group="make, gather, connect and close both sides")
def test_session(benchmark: Any, run: Run, stack: type[Fasticepy] | type[Aioice]) -> None:
    async def session() -> None:
        two = stack()
        await two.gather()
        await two.connect()
        await two.close()

    benchmark.pedantic(lambda: run(session()), rounds=ROUNDS, warmup_rounds=1)
