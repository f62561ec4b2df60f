#!/usr/bin/env python3
"""Two agents in a network made up from one number: what is drawn, the run, and what has to be true of it.

    python tests/ice/random_topology.py 4711          # the story of one run: topology, events, packets, reports
    python tests/ice/random_topology.py 0 10000       # a range of them, on all CPUs: how many, how fast, what failed

A topology has one to four addresses on each side, of both families, firewalls and NATs before them, directions in which
nothing passes, a STUN server or none, and a network with latency, jitter, loss, reordering and duplicates. Whether a
path exists is worked out beforehand from the rules alone (`Topology.has_path`): then both agents have to end on the
same pair for each component of each stream, otherwise both have to fail with a sentence that says why.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from multiprocessing import get_context
from random import Random
from typing import Any, Literal

from fasticePy.ice import (
    CandidateGathered,
    GatheringStateChanged,
    IceAgent,
    IceOptions,
    Limits,
    PairSelected,
    StateChanged,
)
from fasticePy.machine import Address, Event
from fasticePy.sim import AgentNode, Box, Link, Packet, Simulation, VirtualNetwork
from fasticePy.sim.errors import LimitReached
from fasticePy.stun.uri import ServerUrl, parse_server_url

SERVER = "192.0.2.1"
CONNECTED_BY = 45.0
"""Where a path exists, both are connected by then (seconds): 39.5 s of patience, after late signalling."""
FAILED_BY = 120.0
"""Where there is none, both have failed by then: the last check of the peer may come at 31.5 s and trigger one more of
our own, and that one is waited for."""
MAX_WAKES = 60
"""So often an agent may ask for its timer at one moment."""
ATTEMPTS = 30
"""So often data is sent where packets get lost, before it counts as not passing."""
Filtering = Literal["none", "address", "port"]
Mapping = Literal["endpoint", "symmetric"]
POLICIES = ("regular", "regular", "fastest", "continuous")


# -- what is drawn -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wall:
    """What stands before a host: a firewall, which may be a NAT for IPv4 as well."""

    filtering: Filtering
    """Who may answer to what left: anybody, any port of the same address, or only the same address and port."""
    nat: Mapping | None = None
    """None: addresses are not translated. "endpoint": one outside port for each socket; "symmetric": one for each
    destination (RFC 4787 4.1)."""


@dataclass(frozen=True)
class Side:
    """One of the two agents and its host."""

    name: str
    addresses: tuple[str, ...]
    wall: Wall | None
    controlling: bool
    nomination: str
    asks_server: bool

    @property
    def public(self) -> str:
        """The outside address of its NAT."""
        return "198.51.100.1" if self.name == "left" else "198.51.100.2"

    def is_translated(self, address: str) -> bool:
        return self.wall is not None and self.wall.nat is not None and ":" not in address

    def outside(self, address: str) -> str:
        """The address that others see."""
        return self.public if self.is_translated(address) else address


@dataclass(frozen=True)
class Topology:
    """A network and what two agents do in it, all from one number."""

    seed: int
    left: Side
    right: Side
    blocked: frozenset[tuple[str, str]]
    """Nothing passes from the first address to the second one, as seen outside."""
    streams: int
    components: int
    link: Link
    skew: float
    """How long (seconds) a signalled message takes at most; each takes its own time, so that they overtake."""
    socket_delay: float

    @property
    def sides(self) -> tuple[Side, Side]:
        return (self.left, self.right)

    @property
    def loses(self) -> bool:
        """Whether packets get lost, so that even the best path takes luck."""
        return self.link.loss > 0

    @property
    def may_switch(self) -> bool:
        """Whether one of them may move to another pair at any time."""
        return any(side.nomination == "continuous" for side in self.sides)

    def has_path(self) -> bool:
        """Whether ICE can find a way, by the rules of the network alone."""
        return any(Reach(self, left, right).works() for left, right in self.bases())

    def bases(self) -> Iterator[tuple[str, str]]:
        """Pairs of addresses of one family."""
        for left, right in product(self.left.addresses, self.right.addresses):
            if (":" in left) == (":" in right):
                yield left, right

    def __str__(self) -> str:
        sides = "\n".join(f"  {side}" for side in self.sides)
        blocked = ", ".join(f"{a} -> {b}" for a, b in sorted(self.blocked)) or "nothing"
        return (
            f"topology {self.seed}: {self.streams} streams of {self.components} components, "
            f"{'a' if self.has_path() else 'no'} path exists\n{sides}\n  blocked: {blocked}\n  {self.link}\n"
            f"  signalling takes up to {self.skew:.2f} s, sockets {self.socket_delay} s"
        )


def draw(seed: int) -> Topology:
    """The topology of this number."""
    rng = Random(f"topology {seed}")
    conflict = rng.random() < 0.25
    controlling = rng.random() < 0.5
    streams = rng.choice((1, 1, 1, 1, 2, 3))
    components = rng.choice((1, 1, 1, 2))
    most = 4 if streams * components < 3 else 2  # so that all pairs fit the limit of pairs
    server = rng.random() < 0.6
    left, right = (
        Side(
            name=name,
            addresses=_addresses(rng, number, most),
            wall=_wall(rng),
            controlling=role,
            nomination=rng.choice(POLICIES),
            asks_server=server and rng.random() < 0.9,
        )
        for name, number, role in (("left", 1, controlling), ("right", 2, controlling == conflict))
    )
    return Topology(
        seed=seed,
        left=left,
        right=right,
        blocked=_blocked(rng, left, right),
        streams=streams,
        components=components,
        link=_link(rng),
        skew=rng.choice((0.0, 0.0, 0.05, 1.0)) * rng.random(),
        socket_delay=rng.choice((0.0, 0.0, 0.0, 0.1)),
    )


def _addresses(rng: Random, number: int, most: int) -> tuple[str, ...]:
    kinds = rng.choice((("4",), ("4",), ("6",), ("4", "6"), ("4", "6")))
    count = rng.choice((1, 1, 2, 2, 3, 4))
    found = []
    for index in range(min(count, most)):
        kind = kinds[index % len(kinds)] if index < len(kinds) else rng.choice(kinds)
        found.append(f"10.{index}.0.{number}" if kind == "4" else f"2001:db8:{index + 1}::{number}")
    rng.shuffle(found)
    return tuple(found)


def _wall(rng: Random) -> Wall | None:
    if rng.random() < 0.5:
        return None
    filtering = rng.choice(("none", "address", "port", "port"))
    return Wall(filtering, rng.choice((None, "endpoint", "endpoint", "symmetric")))  # type: ignore[arg-type]


def _blocked(rng: Random, left: Side, right: Side) -> frozenset[tuple[str, str]]:
    how_much = rng.choice((0.0, 0.0, 0.2, 0.5, 0.9))
    found = set()
    for one, other in product(left.addresses, right.addresses):
        both_ways = rng.random() < 0.7
        for source, side, destination, peer in ((one, left, other, right), (other, right, one, left)):
            if (source == one or not both_ways) and rng.random() >= how_much:
                continue
            if source == other and both_ways and (left.outside(one), right.outside(other)) not in found:
                continue
            found.add((side.outside(source), peer.outside(destination)))
    return frozenset(found)


def _link(rng: Random) -> Link:
    bad = rng.random() < 0.5
    return Link(
        latency=rng.choice((0.0, 0.001, 0.01, 0.04, 0.15)),
        jitter=rng.choice((0.0, 0.005, 0.05)),
        loss=rng.choice((0.01, 0.05, 0.1)) if bad else 0.0,  # a way has two links: up to 19 %
        duplicate=rng.choice((0.0, 0.1)) if bad else 0.0,
        reorder=rng.choice((0.0, 0.2)) if bad else 0.0,
    )


# -- whether a path exists ---------------------------------------------------------------------------------------------


class Reach:
    """What two sockets, one on each side, can find out about each other, and whether that is enough for a path.

    Ports are symbols: `(address, what the port hangs on)`. Each side sends to all that it knows of the other; what
    arrives teaches its source. Once nobody learns any more, a path is two addresses that are each other's.
    """

    def __init__(self, topology: Topology, left: str, right: str) -> None:
        self._topology = topology
        self._base = {"left": left, "right": right}
        self._side = {"left": topology.left, "right": topology.right}
        self._knows: dict[str, set[Any]] = {"left": set(), "right": set()}
        for name, other in (("left", "right"), ("right", "left")):
            base, side = self._base[name], self._side[name]
            if not side.is_translated(base):
                self._knows[other].add((base, "host"))
            elif side.asks_server:
                self._knows[other].add(self._seen(name, (SERVER, "server")))

    def works(self) -> bool:
        """Whether there is a path."""
        for _ in range(
            6
        ):  # two symmetric NATs would teach each other new ports for ever, and none that is of use
            if not any([self._learn("left"), self._learn("right")]):
                break
        for destination in self._knows["left"]:
            source = self._seen("left", destination)
            mutual = source in self._knows["right"] and self._seen("right", source) == destination
            if mutual and self._arrives("left", destination) and self._arrives("right", source):
                return True
        return False

    def _learn(self, name: str) -> bool:
        other = "right" if name == "left" else "left"
        before = len(self._knows[other])
        for destination in list(self._knows[name]):
            if self._arrives(name, destination):
                self._knows[other].add(self._seen(name, destination))
        return len(self._knows[other]) > before

    def _seen(self, name: str, destination: Any) -> Any:
        """The source address of what this side sends there, as seen outside."""
        base, side = self._base[name], self._side[name]
        if not side.is_translated(base):
            return (base, "host")
        assert side.wall is not None
        return (side.public, destination if side.wall.nat == "symmetric" else "mapped")

    def _arrives(self, name: str, destination: Any) -> bool:
        """Whether what this side sends there comes to the other socket."""
        other = "right" if name == "left" else "left"
        source, wall = self._seen(name, destination), self._side[other].wall
        if (source[0], destination[0]) in self._topology.blocked:
            return False
        sent = [each for each in self._knows[other] if self._seen(other, each) == destination]
        if self._side[other].is_translated(self._base[other]):
            asked = self._side[other].asks_server and self._seen(other, (SERVER, "server")) == destination
            if not sent and not asked:
                return False  # there is no such mapping
        if wall is None or wall.filtering == "none":
            return True
        if wall.filtering == "address":
            return any(each[0] == source[0] for each in sent)
        return source in sent


class WallBox(Box):
    """A `Wall` in the virtual network."""

    def __init__(self, network: VirtualNetwork, side: Side) -> None:
        super().__init__(network, f"wall of the {side.name}", network.backbone, Link(latency=0.0005))
        assert side.wall is not None
        self._wall = side.wall
        self._side = side
        self._outside: dict[tuple[Address, Address | None], Address] = {}
        self._inside: dict[Address, Address] = {}
        self._sent: set[tuple[Address, Address]] = set()
        for address in dict.fromkeys(map(side.outside, side.addresses)):
            self.add_address(address)

    def outbound(self, packet: Packet) -> None:
        source = self._seen(packet)
        self._inside[source] = packet.source
        self._sent.add((source, packet.destination))
        self.send(packet.translated(source=source))

    def receive(self, packet: Packet) -> None:
        inside = self._inside.get(packet.destination)
        if (
            inside is None
            and self._wall.filtering == "none"
            and packet.destination[0] in self._side.addresses
        ):
            inside = packet.destination
        if inside is None or not self._lets_in(packet):
            self.network.note("filtered", self.name, packet)
            return
        self.deliver(packet.translated(destination=inside))

    def _seen(self, packet: Packet) -> Address:
        if not self._side.is_translated(packet.source[0]):
            return packet.source
        key = (packet.source, packet.destination if self._wall.nat == "symmetric" else None)
        return self._outside.setdefault(key, (self._side.public, 20000 + len(self._outside)))

    def _lets_in(self, packet: Packet) -> bool:
        if self._wall.filtering == "none":
            return True
        if self._wall.filtering == "port":
            return (packet.destination, packet.source) in self._sent
        return any(
            source == packet.destination and destination[0] == packet.source[0]
            for source, destination in self._sent
        )


# -- the run -----------------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """Two agents in one topology. `luck` gives other losses and delays, all else being equal."""

    topology: Topology
    luck: int = 0
    nodes: list[AgentNode] = field(init=False)
    sim: Simulation = field(init=False)

    def __post_init__(self) -> None:
        topology = self.topology
        self.sim = Simulation(topology.seed + self.luck * 1_000_000_007)
        self.sim.network.drop(lambda packet: (packet.source[0], packet.destination[0]) in topology.blocked)
        self.sim.add_stun_server(self.sim.network.add_host(SERVER, link=Link(latency=0.01)))
        self._rng = Random(f"signalling {topology.seed} {self.luck}")
        self._delivered: dict[str, float] = {}
        self._wakes: dict[str, tuple[float, int]] = {}
        self.letters: list[str] = []
        self.nodes = [self._node(side) for side in topology.sides]

    def _node(self, side: Side) -> AgentNode:
        network = self.sim.network
        segment = WallBox(network, side).inside if side.wall is not None else None
        host = network.add_host(*side.addresses, name=side.name, segment=segment, link=self.topology.link)
        options = IceOptions(
            controlling=side.controlling,
            streams=self.topology.streams,
            components=self.topology.components,
            nomination=side.nomination,
            limits=Limits(record=100),
        )
        node = self.sim.add_agent(host, IceAgent(options, rng=self.sim.rng))
        node.socket_delay = self.topology.socket_delay
        self._count_wakes(node)
        return node

    # signalling

    def start(self) -> None:
        """Both gather, and tell each other what they have."""
        for node, other, side in (
            (self.nodes[0], self.nodes[1], self.topology.left),
            (self.nodes[1], self.nodes[0], self.topology.right),
        ):
            node.on_event = partial(self._event, node, other)
            for stream in node.agent.streams:
                mine = stream.generation.local
                self._post(
                    node,
                    f"credentials of stream {stream.index}",
                    partial(other.agent.set_remote_credentials, mine.ufrag, mine.pwd, stream=stream.index),
                )
            servers: list[ServerUrl] = [parse_server_url(f"stun:{SERVER}")] if side.asks_server else []
            self.sim.call_later(self._rng.random() * self.topology.skew, partial(node.gather, servers))

    def _event(self, node: AgentNode, other: AgentNode, event: Event) -> None:
        if isinstance(event, CandidateGathered):
            tell = partial(other.agent.add_remote_candidate, event.candidate, stream=event.stream)
            self._post(node, f"{event.candidate}", tell)
        elif isinstance(event, GatheringStateChanged) and event.state == "complete":
            tell = partial(other.agent.add_remote_candidate, None, stream=event.stream)
            self._post(node, f"end of candidates of stream {event.stream}", tell, last=True)
        elif isinstance(event, PairSelected):
            assert event.pair.valid, f"{node.name} selected a pair that is not valid: {event.pair}"
            assert not event.pair.expired

    def _post(self, sender: AgentNode, text: str, deliver: Any, *, last: bool = False) -> None:
        at = self.sim.now + self._rng.random() * self.topology.skew
        if last:  # RFC 8838 13: behind all candidates, which may overtake one another
            at = max(at, self._delivered.get(sender.name, at))
        self._delivered[sender.name] = max(at, self._delivered.get(sender.name, at))
        self.letters.append(f"{at:12.6f} {sender.name} tells: {text}")
        self.sim.call_at(at, lambda: deliver(now=self.sim.now))

    def _count_wakes(self, node: AgentNode) -> None:
        run_timers = node._run_timers

        def counted(now: float) -> None:
            at, wakes = self._wakes.get(node.name, (-1.0, 0))
            wakes = wakes + 1 if now - at < 1e-6 else 1
            self._wakes[node.name] = (now, wakes)
            assert wakes <= MAX_WAKES, f"{node.name} asks for its timer again and again at {now}"
            run_timers(now)

        node._run_timers = counted  # type: ignore[method-assign]

    # the course of events

    def settled(self) -> bool:
        """Whether nothing is left to wait for."""
        agents = [node.agent for node in self.nodes]
        if any(agent.state == "failed" for agent in agents):
            return all(agent.state == "failed" for agent in agents)
        fine = ("connected", "completed") if self.topology.may_switch else ("completed",)
        return all(agent.state in fine for agent in agents)

    def check(self) -> None:
        """Run it, and raise AssertionError when something is not as it has to be."""
        self.start()
        limit = CONNECTED_BY if self.topology.has_path() else FAILED_BY
        try:
            self.sim.run_until(self.settled, limit)
        except LimitReached:
            states = [f"{node.name} {node.agent.state}" for node in self.nodes]
            raise AssertionError(f"not settled after {limit} s: {', '.join(states)}") from None
        if self.topology.has_path():
            self._check_connected()
        else:
            self._check_failed()
        self._check_close()

    def _check_connected(self) -> None:
        for node in self.nodes:
            assert node.agent.state != "failed", f"{node.name} failed: {node.agent.state_reason}"
        # a nomination may still move; data may still move to a better pair
        self.sim.run_for(10.0 if self.topology.may_switch else 2.0)
        assert sorted(node.agent.role for node in self.nodes) == ["controlled", "controlling"]
        for stream, component in product(range(self.topology.streams), self.components):
            for node in self.nodes:
                pair = node.agent.selected_pair(component, stream)
                where = f"{node.name}, stream {stream}, component {component}"
                assert pair is not None, f"{where}: no pair"
                assert pair.valid and not pair.expired, f"{where}: {pair} is not valid"
                assert pair.stream == stream and pair.component == component
                assert pair.nominated or self._continuous(node), f"{where}: {pair} is not nominated"
            self._check_same_pair(component, stream)

    def _continuous(self, node: AgentNode) -> bool:
        return node.agent.options.nomination == "continuous"

    @property
    def components(self) -> range:
        return range(1, self.topology.components + 1)

    def _check_same_pair(self, component: int, stream: int) -> None:
        # an agent that may switch leaves the common pair for a while when its checks there have all been lost
        patience = 6 if self.topology.may_switch and self.topology.loses else 1
        while self._mismatch(component, stream):
            patience -= 1
            assert patience, self._mismatch(component, stream)
            self.sim.run_for(5.0)

    def _mismatch(self, component: int, stream: int) -> str:
        """What one side sends on its pair comes to the socket and from the address of the other side's pair; if not,
        how it is instead."""
        for sender, receiver in ((self.nodes[0], self.nodes[1]), (self.nodes[1], self.nodes[0])):
            text = f"\x80{sender.name} {stream} {component} {self.sim.now}".encode("latin-1")
            for _ in range(ATTEMPTS if self.topology.loses else 1):
                route = sender.agent.route(component, stream)
                assert route is not None
                sender.send_from(route.socket, route.address, route.prefix + text)
                self.sim.run_for(0.5)
                got = next((each for each in receiver.data if each.data == text), None)
                if got is not None:
                    break
            else:
                raise AssertionError(f"nothing that the {sender.name} sends arrives")
            pair = receiver.agent.selected_pair(component, stream)
            assert pair is not None
            if (got.socket, got.address) != (pair.socket, pair.destination):
                return (
                    f"stream {stream}, component {component}: the {sender.name} sends from {got.address}, "
                    f"and the {receiver.name} has selected {pair}"
                )
        return ""

    def _check_failed(self) -> None:
        for node in self.nodes:
            assert node.agent.state == "failed", f"{node.name} is {node.agent.state}, and there is no path"
            conclusion = node.agent.report(self.sim.now).conclusion
            assert len(conclusion) > 20, f"{node.name} has nothing to say about its failure: {conclusion!r}"
            assert (
                all(
                    node.agent.route(component, stream) is None
                    for stream, component in product(range(self.topology.streams), self.components)
                )
                or self.topology.streams * self.topology.components > 1
            )

    def _check_close(self) -> None:
        """Closing leaves nothing behind, at once and later."""
        for node in self.nodes:
            node.agent.close(self.sim.now)
            assert node.agent.take_transmits() == [], "something is sent by close"
        self.sim.run_for(0)
        closed_at, before = self.sim.now, len(self.sim.network.log)
        self.sim.run_for(50.0)
        late = [entry for entry in list(self.sim.network.log)[before:] if entry.what == "sent"]
        assert not [each for each in late if each.where in ("left", "right") and each.at > closed_at]
        for node in self.nodes:
            agent = node.agent
            assert agent.state == "closed"
            assert agent.next_timer() is None
            assert agent.take_transmits() == [] and agent.take_events() == []
            assert node.host.sockets == []
            assert len(agent._session.transactions) == 0
            assert len(agent._outbox.timers) == 0
            assert not agent._paths and not agent._sockets.open
            assert agent.route() is None

    def story(self) -> str:
        """All that has happened, in words."""
        events = [
            f"{event.at:12.6f} {node.name}: {event.state}: {event.reason}"
            if isinstance(event, StateChanged)
            else f"{event.at:12.6f} {node.name}: {event}"
            for node in self.nodes
            for event in node.events
            if isinstance(event, (StateChanged, PairSelected))
        ]
        return "\n".join(
            [
                str(self.topology),
                "\nSignalling",
                *self.letters,
                "\nPackets",
                self.sim.network.story(),
                "\nEvents",
                *events,
                *(f"\nReport of the {node.name}\n{node.agent.report(self.sim.now)}" for node in self.nodes),
            ]
        )


# -- many runs ---------------------------------------------------------------------------------------------------------

LUCK = 3
"""Where packets get lost, a connection may fail by bad luck alone. Then the same topology is tried with other losses:
it has to connect in one of so many runs, and few enough may need a second one (`BAD_LUCK`)."""
BAD_LUCK = 0.005
"""The share of runs that bad luck may end."""


@dataclass
class Outcome:
    """What became of one seed: nothing to say, bad luck, or what is wrong."""

    seed: int
    unlucky: bool = False
    failure: str = ""


def replay(seed: int) -> str:
    """The command that shows what happened."""
    return f"python tests/ice/random_topology.py {seed}"


def outcome(seed: int) -> Outcome:
    """Run one seed."""
    topology = draw(seed)
    result = Outcome(seed)
    for luck in range(LUCK):
        try:
            Run(topology, luck).check()
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is told with its seed
            result.unlucky = True
            failure = f"seed {seed}, run {luck}: {error or type(error).__name__}\nsee: {replay(seed)}"
            if not isinstance(error, AssertionError):
                failure += "\n" + traceback.format_exc()
            if not (topology.loses and topology.has_path() and _may_be_luck(error)):
                result.failure = failure
                return result
            continue
        return result
    result.failure = f"in all of {LUCK} runs: {failure}"
    return result


def _may_be_luck(error: Exception) -> bool:
    return isinstance(error, AssertionError) and (" failed: " in str(error) or "not settled" in str(error))


def outcomes(seeds: Iterable[int]) -> list[Outcome]:
    """Run many seeds on all CPUs; gives those that were not plainly good."""
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        return [each for each in pool.map(outcome, seeds, chunksize=50) if each.failure or each.unlucky]


def main(arguments: list[str]) -> int:
    if len(arguments) == 2:
        first, last = map(int, arguments)
        began = time.perf_counter()
        found = outcomes(range(first, last))
        took = time.perf_counter() - began
        for each in found:
            print(each.failure or f"seed {each.seed}: bad luck, connected with other losses")
        wrong = sum(bool(each.failure) for each in found)
        print(
            f"{last - first} runs in {took:.0f} s ({(last - first) / took:.0f} a second): "
            f"{wrong} wrong, {len(found) - wrong} with bad luck"
        )
        return 1 if wrong else 0
    (seed,) = map(int, arguments)
    run = Run(draw(seed))
    try:
        run.check()
    except AssertionError as error:
        print(f"{run.story()}\n\nWRONG: {error}")
        return 1
    print(f"{run.story()}\n\nAll is as it has to be.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
