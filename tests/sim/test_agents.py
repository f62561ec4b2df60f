"""IceAgents in the virtual network: sockets, names, signalling, and whole connections that can be repeated."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.ice import IceAgent, IceOptions
from fasticePy.ice.events import (
    CandidateGathered,
    CloseSocket,
    GatheringStateChanged,
    NeedSocket,
    ServerFinished,
)
from fasticePy.machine import RootMachine
from fasticePy.sim import AgentNode, Link, Simulation
from fasticePy.stun.uri import parse_server_url

SERVER = parse_server_url("stun:stun.example")


def pair(seed: int = 1, link: Link | None = None) -> tuple[Simulation, AgentNode, AgentNode]:
    sim = Simulation(seed, link=link)
    nodes = []
    for name, address, controlling in (("left", "10.0.0.1", True), ("right", "10.0.0.2", False)):
        agent = IceAgent(IceOptions(controlling=controlling), rng=sim.rng)
        nodes.append(sim.add_agent(sim.network.add_host(address, name=name), agent))
    return sim, nodes[0], nodes[1]


def connected(*nodes: AgentNode) -> bool:
    return all(node.agent.state in ("connected", "completed") for node in nodes)


def candidates(node: AgentNode) -> list[str]:
    return [event.candidate.address for event in node.events if isinstance(event, CandidateGathered)]


def finished(node: AgentNode) -> list[ServerFinished]:
    return [event for event in node.events if isinstance(event, ServerFinished)]


def gathered(node: AgentNode) -> bool:
    return any(
        isinstance(event, GatheringStateChanged) and event.state == "complete" for event in node.events
    )


def test_two_agents_connect_and_talk():
    sim, left, right = pair()
    assert not left.send(1, b"too early")
    left.gather()
    right.gather()
    sim.signal(left, right, delay=0.05)
    at = sim.run_until(lambda: connected(left, right), limit=10)
    assert at < 0.2
    assert left.send(1, b"hello")
    assert right.send(1, b"hi")
    sim.run_for(0.1)
    assert [received.data for received in right.data] == [b"hello"]
    assert [received.data for received in left.data] == [b"hi"]
    (received,) = right.data
    assert received.address == left.address_of(left.host.sockets[0])
    assert received.socket == right.host.sockets[0]


LINKS = st.builds(
    Link,
    latency=st.floats(0.001, 0.2),
    jitter=st.floats(0, 0.05),
    loss=st.floats(0, 0.3),
    duplicate=st.floats(0, 0.3),
    reorder=st.floats(0, 0.3),
)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), LINKS)
def test_equal_seeds_give_equal_connections_packet_for_packet(seed, link):
    runs = []
    for _ in range(2):
        sim, left, right = pair(seed, link)
        left.gather()
        right.gather()
        sim.signal(left, right, delay=0.05)
        sim.run_for(20)
        runs.append((list(sim.network.log), left.agent.state, right.agent.state))
    assert runs[0] == runs[1]


def test_signalling_passes_on_what_came_before_it_and_keeps_the_order():
    sim, left, right = pair()
    left.gather()
    sim.run_for(1.0)  # all that left has to say is said
    heard: list[object] = []
    left.on_event = heard.append
    sim.signal(left, right, delay=0.5)
    right.gather()
    sim.run_for(0.4)
    assert right.agent.remote_candidates == []
    sim.run_until(lambda: connected(left, right), limit=10)
    assert [candidate.address for candidate in right.agent.remote_candidates] == ["10.0.0.1"]
    assert heard  # a hook that was there before still hears


def test_a_socket_may_be_refused_late_or_impossible():
    sim, left, right = pair()
    left.host.add_address("10.0.0.3")
    left.refuse_socket = lambda event: "no permission" if event.address[0] == "10.0.0.1" else None
    right.socket_delay = 2.0
    left.gather()
    right.gather(addresses=[("10.0.0.2", 0), ("192.0.2.250", 0)])
    sim.run_for(1.0)
    assert candidates(left) == ["10.0.0.3"]
    assert gathered(left)
    assert candidates(right) == []
    sim.run_for(2.0)
    assert candidates(right) == ["10.0.0.2"]  # the host has no other address
    assert gathered(right)


def test_names_are_resolved_as_the_network_says():
    sim, left, right = pair()
    server = sim.add_stun_server(sim.network.add_host("192.0.2.1"))
    sim.network.dns.add("stun.example", *server.host.addresses, delay=0.25)
    left.gather([SERVER])
    right.gather([parse_server_url("stun:nowhere.example"), parse_server_url("stun:192.0.2.1")])
    sim.run_until(lambda: gathered(left) and gathered(right), limit=10)
    assert [(event.ok, event.mapped) for event in finished(left)] == [
        (True, left.address_of(left.host.sockets[0]))
    ]
    assert finished(left)[0].at >= 0.25
    assert {event.url: event.ok for event in finished(right)} == {
        "stun:nowhere.example": False,
        "stun:192.0.2.1": True,
    }
    failure = next(event for event in finished(right) if not event.ok)
    assert "no such name" in failure.reason


class Scripted(RootMachine):
    """Stands for an IceAgent to see what the node calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> object:
        if name not in ("addresses_resolved", "resolution_failed", "socket_opened", "socket_failed"):
            raise AttributeError(name)
        return lambda *arguments, **options: self.calls.append((name, *arguments, *options.values()))

    def ask(self, *events: object) -> None:
        for event in events:
            self._outbox.emit(event)


def scripted() -> tuple[Simulation, AgentNode, Scripted]:
    sim = Simulation()
    machine = Scripted()
    return sim, sim.add_agent(sim.network.add_host("10.0.0.1"), machine), machine


def test_parts_of_an_answer_come_when_they_come():
    from fasticePy.ice.events import NeedAddresses

    sim, _node, machine = scripted()
    dns = sim.network.dns
    dns.add("dual.example", "2001:db8::1", delay=0.3)
    dns.add("dual.example", "192.0.2.1", "192.0.2.2", delay=0.1)
    dns.fail("half.example", "server failure", delay=0.5)
    dns.add("half.example", "192.0.2.3", delay=0.4)
    dns.fail("broken.example", "server failure", delay=0.6)
    dns.silence("dead.example")
    names = ["dual.example", "half.example", "broken.example", "dead.example"]
    machine.ask(*(NeedAddresses(at=0.0, request=n, host=name, port=7) for n, name in enumerate(names)))
    sim.run_for(60)
    assert machine.calls == [
        ("addresses_resolved", 0, [("192.0.2.1", 7), ("192.0.2.2", 7)], 0.1, False),
        ("addresses_resolved", 0, [("2001:db8::1", 7)], 0.3, True),
        ("addresses_resolved", 1, [("192.0.2.3", 7)], 0.4, False),
        ("addresses_resolved", 1, [], 0.5, True),
        ("resolution_failed", 2, "server failure", 0.6),
    ]


def test_sockets_are_opened_and_closed_as_the_agent_asks():
    sim, node, machine = scripted()
    machine.ask(
        NeedSocket(at=0.0, request=1, component=1, transport="udp", address=("10.0.0.1", 5000)),
        NeedSocket(at=0.0, request=2, component=1, transport="udp", address=("10.0.0.1", 5000)),
        NeedSocket(at=0.0, request=3, component=1, transport="tcp", address=("10.0.0.1", 5000)),
    )
    sim.run_for(1)
    (socket,) = node.host.sockets
    assert machine.calls == [
        ("socket_opened", 1, socket, ("10.0.0.1", 5000), 0.0),
        ("socket_failed", 2, "address already in use", 0.0),
        ("socket_failed", 3, "the virtual network has no tcp", 0.0),
    ]
    machine.ask(CloseSocket(at=1.0, socket=socket))
    sim.run_for(1)
    assert node.host.sockets == []


@pytest.mark.parametrize("seconds", [0.5, 3.0])
def test_a_connection_outlives_a_stall(seconds):
    sim, left, right = pair()
    left.gather()
    right.gather()
    sim.signal(left, right)
    sim.run_until(lambda: connected(left, right), limit=10)
    right.stall(seconds)
    left.send(1, b"while it hangs")
    sim.run_for(seconds / 2)
    assert right.data == []
    sim.run_for(seconds)
    assert [received.data for received in right.data] == [b"while it hangs"]
    assert connected(left, right)
