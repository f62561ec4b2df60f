"""What agents cost that are connected and idle: bytes, wake-ups and CPU time, in virtual time and on loopback.

    python benchmarks/idle.py                       # 2, 100 and 10,000 agents simulated, 2, 100 and 1000 real ones
    python benchmarks/idle.py --simulated 100 --real 100 --seconds 30

Bytes are what Python has allocated since before the agents were made, per agent. In virtual time only those count that
were allocated by the agents' own modules; CPU time is for both, the simulation included. On loopback everything of a
process counts: machine, driver, sockets' buffers and the event loop. Agents come in pairs, so a number is even.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from fasticePy import Agent
from fasticePy.ice import IceAgent, IceOptions
from fasticePy.sim import Simulation

OURS = [
    tracemalloc.Filter(True, f"*/fasticePy/{part}") for part in ("ice/*", "stun/*", "aio/*", "machine.py")
]
TOGETHER = 25
"""Pairs that connect at the same time on loopback."""
SETTLE = 10.0
"""Virtual seconds until everything is at rest."""


@dataclass(frozen=True)
class Cost:
    """Of one agent."""

    agents: int
    bytes: float
    wakes_per_minute: float
    cpu_per_minute: float
    """CPU seconds for one agent and one minute."""

    def __str__(self) -> str:
        return (
            f"{self.agents:>8}{self.bytes / 1024:>12.1f} KiB{self.wakes_per_minute:>12.1f} / min"
            f"{self.cpu_per_minute * 1000:>12.3f} ms / min"
        )


@contextmanager
def _counting() -> Iterator[list[int]]:
    """Counts calls of `IceAgent.handle_timer`."""
    calls = [0]
    original = IceAgent.handle_timer

    def handle_timer(self: IceAgent, now: float) -> None:
        calls[0] += 1
        original(self, now)

    IceAgent.handle_timer = handle_timer  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        IceAgent.handle_timer = original  # type: ignore[method-assign]


def _simulate(agents: int) -> Simulation:
    simulation = Simulation(agents)
    for number in range(max(1, agents // 2)):
        nodes = []
        for side in (1, 2):
            host = simulation.network.add_host(f"10.{number >> 8}.{number & 255}.{side}")
            agent = IceAgent(IceOptions(controlling=side == 1), rng=simulation.rng)
            nodes.append(simulation.add_agent(host, agent))
        for node in nodes:
            node.gather()
        simulation.signal(*nodes)
    simulation.run_for(SETTLE)
    return simulation


def simulated(agents: int, seconds: float = 60.0) -> Cost:
    """In virtual time; memory is measured with a hundred agents at most, for tracing is slow."""
    sample = max(2, min(agents, 100))
    _simulate(2)  # what modules keep for good
    gc.collect()
    tracemalloc.start(1)
    kept = _simulate(sample)
    gc.collect()
    traced = tracemalloc.take_snapshot().filter_traces(OURS).statistics("filename")
    tracemalloc.stop()
    del kept
    simulation = _simulate(agents)
    with _counting() as calls:
        before = time.process_time()
        simulation.run_for(seconds)
        cpu = time.process_time() - before
    count = max(2, agents)
    minutes = seconds / 60
    return Cost(
        agents,
        sum(each.size for each in traced) / sample,
        calls[0] / count / minutes,
        cpu / count / minutes,
    )


def real(agents: int, seconds: float = 10.0) -> Cost:
    """On IPv4 loopback, in one event loop."""
    return asyncio.run(_real(agents, seconds))


async def _connected(pairs: int) -> list[Agent]:
    agents: list[Agent] = []
    while len(agents) < 2 * pairs:
        some = await asyncio.gather(*(_pair() for _ in range(min(TOGETHER, pairs - len(agents) // 2))))
        agents += [agent for pair in some for agent in pair]
    return agents


async def _pair() -> tuple[Agent, Agent]:
    one, other = (Agent(controlling=side, addresses=["127.0.0.1"]) for side in (True, False))
    await asyncio.gather(one.gather(), other.gather())
    one.set_remote_description(other.local_description)
    other.set_remote_description(one.local_description)
    await asyncio.gather(one.connect(20), other.connect(20))
    return one, other


async def _close(agents: list[Agent]) -> None:
    await asyncio.gather(*(agent.close() for agent in agents))


async def _real(agents: int, seconds: float) -> Cost:
    await _close(await _connected(1))  # what modules keep for good
    pairs = max(1, agents // 2)
    gc.collect()
    tracemalloc.start(1)
    sample = await _connected(min(pairs, 25))
    gc.collect()
    used = tracemalloc.get_traced_memory()[0] / len(sample)
    tracemalloc.stop()
    await _close(sample)
    connected = await _connected(pairs)
    await asyncio.sleep(1)
    with _counting() as calls:
        before = time.process_time()
        await asyncio.sleep(seconds)
        cpu = time.process_time() - before
    await _close(connected)
    minutes = seconds / 60
    return Cost(len(connected), used, calls[0] / len(connected) / minutes, cpu / len(connected) / minutes)


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--simulated", type=int, nargs="*", default=[2, 100, 10_000])
    parser.add_argument("--real", type=int, nargs="*", default=[2, 100, 1000])
    parser.add_argument("--seconds", type=float, default=10.0, help="how long real agents are watched")
    options = parser.parse_args()
    print(f"{'agents':>8}{'memory':>16}{'wake-ups':>18}{'CPU time':>21}   of one agent")
    for number in options.simulated:
        print(f"{simulated(number)}   simulated", flush=True)
    for number in options.real:
        print(f"{real(number, options.seconds)}   on loopback", flush=True)


if __name__ == "__main__":
    main()
