"""Idle agents by their cost: see `idle.py`, which has the same figures for more of them."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from idle import SETTLE, _simulate, real, simulated

from fasticePy import Agent

LIMIT = 20 * 1024


@pytest.mark.parametrize("agents", [2, 100])
def test_idle_simulated(benchmark: Any, agents: int) -> None:
    """A virtual minute of connected agents."""
    simulation = _simulate(agents)
    benchmark.pedantic(simulation.run_for, args=(60.0,), rounds=3)
    cost = simulated(agents, SETTLE)
    benchmark.extra_info["bytes per agent"] = round(cost.bytes)
    benchmark.extra_info["wake-ups per minute"] = round(cost.wakes_per_minute, 1)
    assert cost.bytes < LIMIT


def test_idle_on_loopback(benchmark: Any) -> None:
    """Ten real agents for a second."""
    cost = benchmark.pedantic(real, args=(10, 1.0), rounds=1)
    benchmark.extra_info["bytes per agent"] = round(cost.bytes)
    benchmark.extra_info["CPU ms per agent-minute"] = round(cost.cpu_per_minute * 1000, 3)


def test_making_an_agent(benchmark: Any) -> None:
    """Before it has gathered anything."""

    async def body() -> None:
        benchmark(lambda: Agent(controlling=True, addresses=["127.0.0.1"]))

    asyncio.run(body())
