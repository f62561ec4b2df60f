"""What connected agents that are idle cost their event loop."""

from __future__ import annotations

import asyncio
from typing import Any


def timers() -> list[Any]:
    """Those that the event loop holds and that were not cancelled."""
    scheduled = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]
    return [handle for handle in scheduled if not handle.cancelled()]


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
