"""Moves virtual time from event to event, with everything that lives in it."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from fasticePy.machine import Machine, Timer, TimerHeap
from fasticePy.sim.agents import AgentNode, Signalling
from fasticePy.sim.clock import VirtualClock
from fasticePy.sim.driver import MAX_ROUNDS, STANDSTILL, Node
from fasticePy.sim.errors import LimitReached, SimulationError
from fasticePy.sim.link import Link
from fasticePy.sim.network import Host, VirtualNetwork
from fasticePy.sim.servers import StunServerNode
from fasticePy.stun.server import BindingServer

if TYPE_CHECKING:
    from fasticePy.ice.agent import IceAgent

MAX_STEPS = 100_000
"""So many things may happen in a whole simulation while the clock stands still."""

M = TypeVar("M", bound=Machine)


class Simulation:
    """A virtual clock, a virtual network and the nodes on it. Equal seeds give equal runs, packet for
    packet."""

    def __init__(self, seed: int = 0, *, start: float = 0.0, link: Link | None = None) -> None:
        """`start` is the first moment in seconds; `link` gives the conditions that new hosts start with."""
        self.clock = VirtualClock(start)
        self.timers = TimerHeap()
        self.network = VirtualNetwork(self.clock, self.timers, Random(f"network {seed}"), link)
        self.nodes: list[Node[Any]] = []
        self._random = Random(f"machines {seed}")
        self._touched = True
        self._standing_at = -math.inf
        self._steps = 0

    @property
    def now(self) -> float:
        """The time in seconds."""
        return self.clock.now

    def rng(self, n: int) -> bytes:
        """n seeded random bytes: the `rng` for machines."""
        return self._random.randbytes(n)

    def add(self, host: Host, machine: M, name: str = "") -> Node[M]:
        """Run a machine on a host."""
        node = Node(self, host, machine, name or host.name)
        self.register(node)
        return node

    def add_agent(self, host: Host, agent: IceAgent, name: str = "") -> AgentNode:
        """Run an IceAgent on a host, with its sockets and names."""
        node = AgentNode(self, host, agent, name or host.name)
        self.register(node)
        return node

    def add_stun_server(self, host: Host, port: int = 3478, name: str = "") -> StunServerNode:
        """Run a STUN Binding server on all addresses of a host."""
        node = StunServerNode(self, host, BindingServer(), name or host.name)
        node.listen(port)
        self.register(node)
        return node

    def signal(self, first: AgentNode, second: AgentNode, delay: float = 0.0) -> Signalling:
        """Pass credentials and candidates between two agents; each message takes `delay` seconds."""
        return Signalling(first, second, delay)

    def register(self, node: Node[Any]) -> None:
        """Take a node that was made by hand, of a class of its own."""
        self.nodes.append(node)
        self.touch()

    def call_at(self, at: float, callback: Callable[[], None]) -> Timer:
        """Call `callback()` at a moment (seconds)."""

        def run(_now: float) -> None:
            callback()
            self.touch()

        return self.timers.schedule(at, run)

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Call `callback()` after `delay` seconds."""
        return self.call_at(self.now + delay, callback)

    def run_for(self, seconds: float) -> None:
        """Let so much time pass."""
        end = self.now + seconds
        self._settle()
        while (at := self.timers.next()) is not None and at <= end:
            self._step(at)
        self.clock.advance_to(max(end, self.now))

    def run_until(self, predicate: Callable[[], object], limit: float = 60.0) -> float:
        """Let time pass until `predicate()` is true and give the time. Raises LimitReached when that takes
        more than `limit` seconds, or when nothing is left to happen."""
        end = self.now + limit
        self._settle()
        while not predicate():
            at = self.timers.next()
            if at is None:
                raise LimitReached(f"nothing is left to happen at {self.now}\n{self.describe()}")
            if at > end:
                self.clock.advance_to(max(end, self.now))
                raise LimitReached(f"not so after {limit} s\n{self.describe()}")
            self._step(at)
        return self.now

    def describe(self) -> str:
        """Where every node stands, one line each."""
        return "\n".join(
            f"{node.name}: {len(node.events)} events, last {node.events[-1:]}, "
            f"{len(node.data)} datagrams, next timer {node.machine.next_timer()}"
            for node in self.nodes
        )

    def touch(self) -> None:
        """Machines may have been called from outside: look at all of them before time goes on."""
        self._touched = True

    def _settle(self) -> None:
        self._touched = True  # whoever runs the simulation may have called a machine before
        self._look()

    def _look(self) -> None:
        rounds = 0
        while self._touched:
            self._touched = False
            busy = [node.pump() for node in list(self.nodes)]
            self._touched |= any(busy)
            rounds += 1
            if rounds > MAX_ROUNDS:
                raise SimulationError(f"the nodes keep each other busy while the clock stands at {self.now}")

    def _step(self, at: float) -> None:
        now = self.clock.advance_to(max(at, self.now))
        if now - self._standing_at > STANDSTILL:
            self._standing_at, self._steps = now, 0
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise SimulationError(f"the clock stands at {now} although {self._steps} things have happened")
        self.timers.run(now)
        self._look()
