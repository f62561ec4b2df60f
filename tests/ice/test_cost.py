"""What an agent costs that is connected and idle: little memory, one timer, and a few wake-ups a minute."""

from __future__ import annotations

import gc
import tracemalloc

from fasticePy.ice import IceAgent, IceOptions
from fasticePy.sim import Simulation
from fasticePy.sim.agents import AgentNode

LIMIT = 20 * 1024
"""Bytes for one agent."""
PAIRS = 20
OURS = [
    tracemalloc.Filter(True, "*/fasticePy/ice/*"),
    tracemalloc.Filter(True, "*/fasticePy/stun/*"),
    tracemalloc.Filter(True, "*/fasticePy/machine.py"),
]
"""Where memory counts: the hosts, links and packets of the simulation are not the agent's."""


def hosts(simulation: Simulation) -> list[tuple[AgentNode, AgentNode]]:
    """Pairs of agents, each agent on a host of its own, not yet gathering."""
    pairs = []
    for number in range(PAIRS):
        nodes = []
        for side, controlling in ((1, True), (2, False)):
            host = simulation.network.add_host(f"10.0.{number}.{side}")
            agent = IceAgent(IceOptions(controlling=controlling), rng=simulation.rng)
            nodes.append(simulation.add_agent(host, agent))
        pairs.append((nodes[0], nodes[1]))
    return pairs


def connect(simulation: Simulation, pairs: list[tuple[AgentNode, AgentNode]]) -> None:
    for left, right in pairs:
        left.gather()
        right.gather()
        simulation.signal(left, right)
    simulation.run_for(10)
    assert all(node.agent.state == "completed" for pair in pairs for node in pair)


def test_a_connected_agent_takes_less_than_20_kib() -> None:
    """Everything that it holds after ten idle seconds: candidates, pairs, timers, keys, counters, the record."""
    warm = Simulation(1)
    connect(warm, hosts(warm))  # what modules keep for good, such as regular expressions, is made by now
    gc.collect()
    tracemalloc.start(1)
    try:
        before = tracemalloc.take_snapshot().filter_traces(OURS)
        simulation = Simulation(2)
        pairs = hosts(simulation)
        connect(simulation, pairs)
        for pair in pairs:
            for node in pair:
                node.events.clear()
        gc.collect()
        after = tracemalloc.take_snapshot().filter_traces(OURS)
    finally:
        tracemalloc.stop()
    grown = sum(difference.size_diff for difference in after.compare_to(before, "filename"))
    assert 2 * 1024 < grown / (2 * PAIRS) < LIMIT


def test_an_idle_agent_wakes_up_some_twenty_times_a_minute() -> None:
    """For a consent check every five seconds, and to look for silence now and then: no timer that polls."""
    simulation = Simulation(3)
    pairs = hosts(simulation)
    connect(simulation, pairs)
    agents = [node.agent for pair in pairs for node in pair]
    wakes = 0
    for agent in agents:

        def counted(now: float, run: object = agent.handle_timer) -> None:
            nonlocal wakes
            wakes += 1
            run(now)  # type: ignore[operator]

        agent.handle_timer = counted  # type: ignore[method-assign]
    simulation.run_for(60)
    assert 12 < wakes / len(agents) < 25
    assert all(len(agent._outbox.timers) <= 2 for agent in agents)


def test_memory_does_not_grow_with_time() -> None:
    """An hour of being connected leaves nothing behind."""
    simulation = Simulation(4)
    pairs = hosts(simulation)[:3]
    connect(simulation, pairs)
    agents = [node.agent for pair in pairs for node in pair]

    def held() -> list[tuple[int, int, int]]:
        return [(len(a._session.record), len(a._session.transactions), len(a._outbox.timers)) for a in agents]

    before = held()
    simulation.run_for(3600)
    for was, is_now in zip(before, held(), strict=True):
        assert is_now[0] == was[0]
        assert is_now[1] <= 3
        assert is_now[2] <= 5
