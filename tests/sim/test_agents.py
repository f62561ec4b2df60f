"""IceAgents in the virtual network: sockets, names, signalling, and whole connections that can be repeated."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.ice import IceAgent, IceOptions
from fasticePy.ice.addresses import LocalAddress
from fasticePy.ice.events import (
    CancelConnection,
    CandidateGathered,
    CloseSocket,
    GatheringStateChanged,
    NeedAddresses,
    NeedConnection,
    NeedSocket,
    PublishName,
    ServerFinished,
    WithdrawName,
)
from fasticePy.machine import Address, RootMachine
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


ANSWERS = frozenset(
    {
        "addresses_changed",
        "addresses_resolved",
        "connection_accepted",
        "connection_closed",
        "connection_failed",
        "connection_opened",
        "gather",
        "resolution_failed",
        "socket_error",
        "socket_failed",
        "socket_opened",
    }
)


class Scripted(RootMachine):
    """Stands for an IceAgent to see what the node calls."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[object, ...]] = []
        self.accepts = True

    def __getattr__(self, name: str) -> object:
        if name not in ANSWERS:
            raise AttributeError(name)

        def call(*arguments: object, **options: object) -> object:
            rounded = [round(each, 9) if isinstance(each, float) else each for each in arguments]
            self.calls.append((name, *rounded, *options.values()))
            return self.accepts if name == "connection_accepted" else None

        return call

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> None:
        self.calls.append(("datagram", socket, data, address, round(now, 9)))

    def ask(self, *events: object) -> None:
        for event in events:
            self._outbox.emit(event)

    def say(self, socket: int, address: Address, data: bytes) -> None:
        self._outbox.send(socket, address, data)

    def told(self) -> list[tuple[object, ...]]:
        calls, self.calls = self.calls, []
        return calls


def scripted() -> tuple[Simulation, AgentNode, Scripted]:
    sim = Simulation()
    machine = Scripted()
    return sim, sim.add_agent(sim.network.add_host("10.0.0.1"), machine), machine


def test_parts_of_an_answer_come_when_they_come():
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
        NeedSocket(at=0.0, request=4, component=1, transport="tcp", address=("10.0.0.1", 5000)),
    )
    sim.run_for(1)
    socket, listener = node.host.sockets
    assert machine.calls == [
        ("socket_opened", 1, socket, ("10.0.0.1", 5000), 0.0),
        ("socket_failed", 2, "address already in use", 0.0),
        ("socket_opened", 3, listener, ("10.0.0.1", 5000), 0.0),
        ("socket_failed", 4, "address already in use", 0.0),
    ]
    machine.ask(CloseSocket(at=1.0, socket=socket), CloseSocket(at=1.0, socket=listener))
    sim.run_for(1)
    assert node.host.sockets == []


def two_scripted() -> tuple[Simulation, AgentNode, Scripted, AgentNode, Scripted]:
    sim = Simulation()
    left, right = Scripted(), Scripted()
    nodes = [
        sim.add_agent(sim.network.add_host(address), machine)
        for address, machine in (("10.0.0.1", left), ("10.0.0.2", right))
    ]
    return sim, nodes[0], left, nodes[1], right


PASSIVE: Address = ("10.0.0.2", 5000)


def listening() -> tuple[Simulation, AgentNode, Scripted, AgentNode, Scripted]:
    sim, a, left, b, right = two_scripted()
    right.ask(NeedSocket(at=0.0, request=1, component=1, transport="tcp", address=PASSIVE))
    left.ask(NeedConnection(at=0.0, request=7, base=("10.0.0.1", 0), peer=PASSIVE))
    return sim, a, left, b, right


def test_connections_are_opened_used_and_closed_as_the_agents_ask():
    """6544-8, 6544-11: an active and a passive side."""
    sim, a, left, b, right = listening()
    sim.run_for(1)
    ((_, request, active, base, at),) = left.told()
    assert (request, at) == (7, 0.02)
    opened, (_, listener, passive, peer, accepted_at) = right.told()
    assert opened == ("socket_opened", 1, listener, PASSIVE, 0.0)
    assert (peer, accepted_at) == (base, 0.03)
    left.say(active, PASSIVE, b"to the right")
    right.say(passive, base, b"to the left")
    left.say(passive, PASSIVE, b"it is not mine")
    sim.run_for(1)
    assert left.told() == [
        ("socket_error", passive, PASSIVE, "bad file descriptor", 1.0),
        ("datagram", active, b"to the left", PASSIVE, 1.01),
    ]
    assert right.told() == [("datagram", passive, b"to the right", base, 1.01)]
    left.ask(CloseSocket(at=2.0, socket=active))
    sim.run_for(1)
    assert left.told() == []
    assert right.told() == [("connection_closed", passive, "closed by the peer", 2.01)]
    assert (a.host.sockets, b.host.sockets) == ([], [listener])


def test_a_connection_that_cannot_be_made_has_a_reason():
    sim, a, left, _b, _right = two_scripted()
    left.ask(
        NeedConnection(at=0.0, request=1, base=("10.0.0.1", 0), peer=("2001:db8::1", 1)),
        NeedConnection(at=0.0, request=2, base=("10.0.0.1", 0), peer=PASSIVE),
        NeedConnection(at=0.0, request=3, base=("10.0.0.1", 0), peer=("10.0.0.99", 1)),
    )
    sim.run_for(60)
    assert left.told() == [
        ("connection_failed", 1, "address family not supported", 0.0),
        ("connection_failed", 2, "connection refused", 0.02),
        ("connection_failed", 3, "connection timed out", 21.0),
    ]
    assert a._asked == {}


def test_a_connection_that_is_refused_by_the_agent_is_closed_and_forgotten():
    sim, a, left, b, right = listening()
    right.accepts = False
    sim.run_for(1)
    (_, _, active, _, _), closed = left.told()
    assert closed == ("connection_closed", active, "closed by the peer", 0.04)
    assert [call[0] for call in right.told()] == ["socket_opened", "connection_accepted"]
    assert a.host.sockets == []
    assert len(b.host.sockets) == 1


def test_an_agent_that_hangs_hears_later_what_came_of_its_connections():
    sim, _a, left, b, right = listening()
    right.accepts = False
    sim.run_for(0.001)
    b.stall(1.0)
    sim.run_for(0.5)
    ((_, _, active, base, _),) = left.told()  # the operating system has accepted it
    left.say(active, PASSIVE, b"read by nobody")
    left.ask(CloseSocket(at=0.501, socket=active))
    sim.run_for(1)
    assert left.told() == []
    listener = b.host.sockets[0]
    (_, accepted) = right.told()
    assert accepted == ("connection_accepted", listener, accepted[2], base, 1.001)
    right.accepts = True
    left.ask(NeedConnection(at=sim.now, request=8, base=("10.0.0.1", 0), peer=PASSIVE))
    sim.run_for(0.01)
    b.stall(1.0)
    sim.run_for(0.5)
    ((_, _, active, base, _),) = left.told()
    left.say(active, PASSIVE, b"read late")
    left.ask(CloseSocket(at=sim.now, socket=active))
    sim.run_for(1)
    assert [call[0] for call in right.told()] == ["connection_accepted", "datagram", "connection_closed"]


@pytest.mark.parametrize(("after", "story"), [(0.0, []), (0.005, []), (0.5, ["connection_opened"])])
def test_a_connection_may_be_cancelled_at_any_moment(after, story):
    sim, a, left, b, _right = listening()
    sim.run_for(after)
    left.ask(CancelConnection(at=sim.now, request=7), CancelConnection(at=sim.now, request=7))
    sim.run_for(5)
    assert [call[0] for call in left.told()] == story
    assert a.host.sockets == []
    assert len(b.host.sockets) == 1
    assert not b.host.tcp._connections


def test_both_agents_connect_at_once_from_the_ports_they_listen_on():
    """6544-7: simultaneous open of a pair so-so."""
    sim, _a, left, _b, right = two_scripted()
    ends = (("10.0.0.1", 4000), PASSIVE)
    for machine, (base, peer) in ((left, ends), (right, ends[::-1])):
        machine.ask(
            NeedSocket(at=0.0, request=1, component=1, transport="tcp", address=base),
            NeedConnection(at=0.0, request=2, base=base, peer=peer),
        )
    sim.run_for(1)
    for machine, base in ((left, ends[0]), (right, ends[1])):
        assert [(call[0], call[3:]) for call in machine.told()] == [
            ("socket_opened", (base, 0.0)),
            ("connection_opened", (base, 0.02)),
        ]


def test_published_names_are_found_by_the_other_agents_of_the_segment():
    """mdns-1, mdns-4: names are asked for on the segment, and never of a resolver."""
    sim, _a, left, _b, right = two_scripted()
    sim.network.dns.add("known.local", "192.0.2.7")
    left.ask(PublishName(at=0.0, name="x.local", address="10.0.0.1"))
    names = ["x.local", "X.Local", "y.local", "known.local"]
    right.ask(*(NeedAddresses(at=0.0, request=n, host=name, port=9) for n, name in enumerate(names)))
    sim.run_for(20)
    assert right.told() == [
        ("addresses_resolved", 3, [("192.0.2.7", 9)], 0.01, True),
        ("addresses_resolved", 0, [("10.0.0.1", 9)], 0.01),
        ("addresses_resolved", 1, [("10.0.0.1", 9)], 0.01),
        ("resolution_failed", 2, "no answer in 10 s", 10.0),
    ]
    left.ask(WithdrawName(at=20.0, name="x.local"))
    right.ask(NeedAddresses(at=20.0, request=9, host="x.local", port=9))
    sim.run_for(20)
    assert right.told() == [("resolution_failed", 9, "no answer in 10 s", 30.0)]


def test_an_agent_that_watches_the_network_is_told_of_changes():
    sim, node, machine = scripted()
    host = node.host
    host.add_address("10.0.0.2")
    sim.run_for(1)
    assert machine.told() == []  # it does not watch yet
    end = node.watch_network()
    host.interface_up("10.1.0.1", cost=50)
    host.interface_down("10.0.0.1")
    sim.run_for(1)
    kept = LocalAddress("10.0.0.2")
    assert machine.told() == [("addresses_changed", [kept, LocalAddress("10.1.0.1", cost=50)], 1.0)]
    node.stall(0.5)
    host.remove_address("10.1.0.1")
    sim.run_for(1)
    assert machine.told() == [("addresses_changed", [kept], 2.5)]
    host.remove_address("10.0.0.2")
    end()
    end()
    host.add_address("10.0.0.3")
    sim.run_for(1)
    assert machine.told() == []


def test_a_watcher_may_be_slow():
    sim, node, machine = scripted()
    node.watch_network(delay=2.0)
    host = node.host
    for at, change in (
        (1.0, lambda: host.interface_down("10.0.0.1")),
        (1.5, lambda: host.interface_up("10.0.0.1")),
        (8.0, lambda: host.interface_up("10.0.0.5")),
    ):
        sim.call_at(at, change)
    sim.run_for(20)
    first = LocalAddress("10.0.0.1")
    assert machine.told() == [
        ("addresses_changed", [first], 3.0),
        ("addresses_changed", [first, LocalAddress("10.0.0.5")], 10.0),
    ]


def test_costs_are_told_where_there_are_any():
    sim, node, machine = scripted()
    node.gather()
    node.host.interface_up("10.1.0.1", cost=50)
    node.gather()
    sim.run_for(1)
    assert machine.told() == [
        ("gather", [("10.0.0.1", 0)], (), 0.0),
        ("gather", [LocalAddress("10.0.0.1"), LocalAddress("10.1.0.1", cost=50)], (), 0.0),
    ]


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
