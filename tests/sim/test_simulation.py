"""Nodes and the passing of virtual time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.machine import Address, Event, RootMachine
from fasticePy.sim import LimitReached, Link, Node, Simulation, SimulationError


class Pinger(RootMachine):
    """Sends a random number to its peer every `interval` seconds and answers what begins with "?"."""

    def __init__(self, sim: Simulation, peer: Address, interval: float = 1.0) -> None:
        super().__init__()
        self.rng = sim.rng
        self.peer = peer
        self.interval = interval
        self.socket = 0
        self.ran: list[float] = []
        self.story: list[str] = []
        self.closed = False

    def start(self, socket: int, now: float) -> None:
        self.socket = socket
        self._outbox.timers.schedule(now, self.ping)

    def ping(self, now: float) -> None:
        self.ran.append(now)
        self.story.append("timer")
        self._outbox.send(self.socket, self.peer, b"?" + self.rng(8).hex().encode())
        self._outbox.timers.schedule(now + self.interval, self.ping)

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        self.story.append("datagram")
        if data.startswith(b"?"):
            self._outbox.send(socket, address, data[1:])
            self._outbox.emit(Event(at=now))
            return None
        return data

    def close(self, now: float) -> None:
        self.closed = True
        self._outbox.timers.clear()


def pair(
    seed: int = 1, link: Link | None = None, interval: float = 1.0
) -> tuple[Simulation, list[Node[Pinger]]]:
    sim = Simulation(seed, link=link)
    addresses = ["10.0.0.1", "10.0.0.2"]
    nodes = []
    for mine, other in zip(addresses, reversed(addresses), strict=True):
        node = sim.add(sim.network.add_host(mine), Pinger(sim, (other, 7), interval), name=mine)
        node.machine.start(node.bind(port=7), sim.now)
        nodes.append(node)
    return sim, nodes


def test_timers_run_exactly_when_they_are_due():
    sim, (a, _b) = pair()
    sim.run_for(3.5)
    assert a.machine.ran == [0.0, 1.0, 2.0, 3.0]
    assert sim.now == 3.5
    assert len(a.data) == 4
    assert len(a.events) == 4


def test_a_run_starts_at_any_moment():
    sim = Simulation(start=1e6)
    assert sim.now == 1e6
    sim.run_for(0.5)
    assert sim.now == 1e6 + 0.5


def test_run_until_stops_at_the_moment_it_becomes_true():
    sim, (a, _b) = pair()
    assert sim.run_until(lambda: len(a.data) == 3) == pytest.approx(2.02)
    assert sim.now == pytest.approx(2.02)
    assert sim.run_until(lambda: True) == sim.now


def test_run_until_says_where_things_stand_when_it_waits_in_vain():
    sim, _nodes = pair()
    with pytest.raises(LimitReached, match=r"(?s)not so after 5.*10\.0\.0\.1: 5 events.*10\.0\.0\.2"):
        sim.run_until(lambda: False, limit=5)
    assert sim.now == 5.0


def test_run_until_notices_that_nothing_is_left_to_happen():
    sim = Simulation()
    sim.add(sim.network.add_host("10.0.0.1"), Pinger(sim, ("10.0.0.2", 7)), name="idle")
    with pytest.raises(LimitReached, match=r"(?s)nothing is left.*idle"):
        sim.run_until(lambda: False)


def test_hours_pass_in_a_moment():
    sim, (a, b) = pair(interval=2.0)
    sim.run_for(7200)
    assert len(a.data) == len(b.data) == 3600


FAULTS = st.builds(
    Link,
    latency=st.floats(0, 0.3),
    jitter=st.floats(0, 0.1),
    loss=st.floats(0, 0.5),
    duplicate=st.floats(0, 0.5),
    reorder=st.floats(0, 0.5),
)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), FAULTS)
def test_equal_seeds_give_equal_runs_packet_for_packet(seed, link):
    first, first_nodes = pair(seed, link)
    second, second_nodes = pair(seed, link)
    first.run_for(10)
    second.run_for(4)
    second.run_for(6)  # however the time is cut
    assert first.network.log == second.network.log
    assert [node.data for node in first_nodes] == [node.data for node in second_nodes]


def test_other_seeds_give_other_runs():
    stories = set()
    for seed in range(5):
        sim, _nodes = pair(seed, Link(loss=0.3))
        sim.run_for(20)
        stories.add(sim.network.story())
    assert len(stories) == 5


def test_machines_do_not_see_how_the_network_spends_its_randomness():
    calm, calm_nodes = pair(3)
    rough, rough_nodes = pair(3, Link(jitter=0.1, duplicate=0.5))
    calm.run_for(10)
    rough.run_for(10)
    assert {received.data for received in calm_nodes[0].data} <= {r.data for r in rough_nodes[0].data}


def test_calls_from_outside_go_out_when_time_goes_on():
    sim, (a, _b) = pair()
    sim.run_for(0.5)
    a.machine._outbox.send(a.machine.socket, ("10.0.0.2", 7), b"?by hand")
    sim.call_later(0.1, lambda: a.machine._outbox.send(a.machine.socket, ("10.0.0.2", 7), b"?later"))
    sim.run_for(0.4)
    assert [received.data for received in a.data][-2:] == [b"by hand", b"later"]


def test_hooks_see_events_and_data_and_may_call_other_machines():
    sim, (a, b) = pair(interval=100.0)
    seen: list[object] = []
    a.on_data = seen.append
    b.on_event = lambda event: a.machine._outbox.send(
        a.machine.socket, ("10.0.0.2", 7), b"caused by an event"
    )
    sim.run_for(0.1)
    assert seen == a.data
    assert b"caused by an event" in [received.data for received in b.data]


def test_a_stalled_runtime_drains_its_sockets_before_its_timers_run():
    sim, (a, b) = pair()
    sim.run_for(0.5)
    a.machine.story.clear()
    a.stall(2.0)
    a.stall(1.0)  # the longer one counts
    sim.run_for(1.9)
    assert a.machine.story == []
    assert b.machine.ran == [0.0, 1.0, 2.0]
    sim.run_for(0.2)
    assert a.machine.ran == [0.0, 2.5]
    assert a.machine.story == ["datagram", "datagram", "timer", "datagram"]


def test_a_stall_may_be_prolonged():
    sim, (a, _b) = pair()
    sim.run_for(0.5)
    a.stall(1.0)
    sim.call_at(1.2, lambda: a.stall(2.0))
    sim.run_for(5.0)
    assert a.machine.ran == [0.0, 3.2, 4.2, 5.2]


def test_closing_a_node_closes_its_machine_and_sockets():
    sim, (a, b) = pair()
    sim.run_for(0.5)
    a.close()
    assert a.machine.closed
    assert a.host.sockets == []
    before = len(b.data)
    sim.run_for(5)
    assert len(b.data) == before
    assert sim.network.count("closed port") == 5


class Broken(RootMachine):
    """Asks for its timer in a way that leads nowhere."""

    def __init__(self, answer: float | None = None) -> None:
        super().__init__()
        self.answer = answer

    def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
        return None

    def next_timer(self) -> float | None:
        return self.answer

    def close(self, now: float) -> None:
        pass


@pytest.mark.parametrize("at", [-5.0, 0.0])
def test_a_machine_whose_timer_never_moves_on_is_found_out(at):
    sim = Simulation()
    sim.add(sim.network.add_host("10.0.0.1"), Broken(at), name="culprit")
    with pytest.raises(SimulationError, match=r"culprit .* next_timer\(\) says"):
        sim.run_for(1)


def test_a_machine_that_creeps_is_found_out():
    class Creeping(Broken):
        def handle_timer(self, now: float) -> None:
            self.answer = now + 1e-12

    sim = Simulation()
    sim.add(sim.network.add_host("10.0.0.1"), Creeping(0.0), name="culprit")
    with pytest.raises(SimulationError, match="culprit"):
        sim.run_for(1)


@pytest.mark.parametrize("at", [math.inf, math.nan])
def test_a_sentinel_instead_of_none_is_found_out(at):
    sim = Simulation()
    sim.add(sim.network.add_host("10.0.0.1"), Broken(at), name="culprit")
    with pytest.raises(SimulationError, match="culprit asks for a timer at"):
        sim.run_for(1)


def test_endless_output_is_found_out():
    class Talking(Broken):
        def take_events(self) -> list[Event]:
            return [Event(at=0.0)]

    sim = Simulation()
    sim.add(sim.network.add_host("10.0.0.1"), Talking(), name="culprit")
    with pytest.raises(SimulationError, match="culprit has more output"):
        sim.run_for(1)


def test_a_loop_without_delay_is_found_out(monkeypatch):
    class Parrot(Broken):
        def datagram_received(self, socket: int, data: bytes, address: Address, now: float) -> bytes | None:
            self._outbox.send(socket, address, data)
            return None

    monkeypatch.setattr("fasticePy.sim.simulation.MAX_STEPS", 500)
    sim = Simulation(link=Link(latency=0.0))
    nodes = [sim.add(sim.network.add_host(f"10.0.0.{n}"), Parrot()) for n in (1, 2)]
    sockets = [node.bind(port=7) for node in nodes]
    nodes[0].send_from(sockets[0], ("10.0.0.2", 7), b"x")
    with pytest.raises(SimulationError, match="the clock stands"):
        sim.run_for(1)


def test_nodes_that_keep_each_other_busy_are_found_out():
    sim, (a, b) = pair()
    a.on_event = lambda event: b.machine._outbox.emit(Event(at=0.0))
    b.on_event = lambda event: a.machine._outbox.emit(Event(at=0.0))
    with pytest.raises(SimulationError, match="keep each other busy"):
        sim.run_for(1)
