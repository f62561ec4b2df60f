"""What connected agents that are idle cost their event loop."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from typing import Any

from fasticePy.aio import Agent


def timers() -> list[Any]:
    """Those that the event loop holds and that were not cancelled."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [handle for handle in scheduled if not handle.cancelled()]


LIMIT = 20 * 1024
"""Bytes for one agent: machine, driver, endpoint, socket and what the event loop holds for them."""
PAIRS = 10


async def idle_pairs(number: int) -> list[Agent]:
    agents = []
    for _ in range(number):
        a, b = (Agent(controlling=side, addresses=["127.0.0.1"]) for side in (True, False))
        await asyncio.gather(a.gather(), b.gather())
        a.set_remote_description(b.local_description)
        b.set_remote_description(a.local_description)
        await asyncio.gather(a.connect(20), b.connect(20))
        agents += [a, b]
    await asyncio.sleep(0.3)  # pacing and nomination are over
    return agents


def test_an_idle_agent_takes_less_than_20_kib() -> None:
    """Everything that Python holds for it. The event loop is one as applications have it: in debug mode each of its
    handles remembers where it came from."""

    async def body() -> float:
        for agent in await idle_pairs(1):
            await agent.close()  # what modules keep for good is made by now
        gc.collect()
        tracemalloc.start(1)
        try:
            agents = await idle_pairs(PAIRS)
            gc.collect()
            held = tracemalloc.get_traced_memory()[0] / len(agents)
        finally:
            tracemalloc.stop()
        for agent in agents:
            await agent.close()
        return held

    assert 2 * 1024 < asyncio.run(body(), debug=False) < LIMIT


def test_an_idle_agent_has_one_timer_and_no_task(run, pair) -> None:
    async def body() -> None:
        tasks = asyncio.all_tasks()
        before = len(timers())
        pairs = [await pair().connect() for _ in range(3)]
        for each in pairs:
            await asyncio.gather(each.a.gather(), each.b.gather())
        await asyncio.sleep(0.3)  # pacing and nomination are over
        assert {each.a.state for each in pairs} <= {"connected", "completed"}
        assert len(timers()) - before == 6
        assert asyncio.all_tasks() == tasks
        for each in pairs:
            await each.close()
        assert len(timers()) == before

    run(body())
