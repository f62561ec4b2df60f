"""The continuous way of selecting, continual gathering and restarts of its own: the call that goes on."""

from __future__ import annotations

from typing import Any

import pytest
from ice_harness import IcePair, ice_pair
from ice_servers import Nat

from fasticePy.ice import IceAgent, IceOptions, PairSelected, Restarted, SwitchReason
from fasticePy.sim import AgentNode, Link, Simulation
from fasticePy.stun.uri import parse_server_url

LASTING = {"nomination": "continuous", "continual": True}


class Flow:
    """Datagrams every 20 ms both ways, and the longest time without one that a side has seen."""

    def __init__(self, pair: IcePair) -> None:
        self.pair = pair
        self.last = {id(node): pair.sim.now for node in pair.nodes}
        self.gaps = {id(node): 0.0 for node in pair.nodes}
        for node in pair.nodes:
            node.on_data = lambda _received, node=node: self._heard(node)
        self._tick()

    def _heard(self, node: AgentNode) -> None:
        now = self.pair.sim.now
        self.gaps[id(node)] = max(self.gaps[id(node)], now - self.last[id(node)])
        self.last[id(node)] = now

    def _tick(self) -> None:
        for node in self.pair.nodes:
            node.send(1, b"\x80data")
        self.pair.sim.call_later(0.02, self._tick)

    def longest(self) -> float:
        """The longest gap of both sides, the present one too."""
        for node in self.pair.nodes:
            self._heard(node) if self.pair.sim.now - self.last[id(node)] > 0.5 else None
        return max(self.gaps.values())


def lasting(**options: Any) -> IcePair:
    pair = ice_pair(**{**LASTING, **options})
    for node in pair.nodes:
        node.watch_network(0.05)
    pair.connect()
    pair.sim.run_for(3)
    return pair


def block(pair: IcePair, *ends: str) -> Any:
    """Nothing passes between two of these addresses any more."""
    return pair.sim.network.drop(lambda packet: {packet.source[0], packet.destination[0]} <= set(ends))


def moves(pair: IcePair, node: AgentNode) -> list[PairSelected]:
    return [event for event in node.events if isinstance(event, PairSelected)]


TWO_HOMES = {"left": ("10.0.0.1", "10.1.0.1"), "right": ("10.0.0.2", "10.1.0.2")}


def test_the_best_pair_is_selected_and_nominated():
    pair = lasting(**TWO_HOMES)
    assert pair.same_pair()
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    best = max(pair.left.agent.pairs, key=lambda each: each.priority)
    assert pair.left.agent.selected_pair() is best
    assert best.nominated


def test_a_dead_path_is_left_in_under_two_seconds():
    pair = lasting(**TWO_HOMES)
    flow = Flow(pair)
    used = pair.left.agent.selected_pair()
    block(pair, used.local.address, used.remote.address)
    pair.sim.run_for(10)
    assert flow.longest() < 2.0
    assert pair.same_pair()
    assert pair.left.agent.selected_pair() is not used
    assert pair.left.agent.selected_pair().switch_reason in (
        SwitchReason.SELECTED_SILENT,
        SwitchReason.PEER_MOVED,
    )
    assert pair.left.agent.state == "completed"


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_lost_interface_is_left_at_once(side):
    pair = lasting(**TWO_HOMES)
    flow = Flow(pair)
    node = getattr(pair, side)
    used = node.agent.selected_pair()
    node.host.remove_address(used.local_candidate.base[0])
    pair.sim.run_for(5)
    assert flow.longest() < 2.0
    assert pair.same_pair()


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_host_that_is_renumbered_is_found_again(side):
    """Another address, nothing else: the peer learns it from trickled candidates and from checks."""
    pair = lasting()
    flow = Flow(pair)
    node = getattr(pair, side)
    (old,) = node.host.addresses
    node.host.remove_address(old)
    node.host.add_address("10.0.0.77")
    pair.sim.run_for(5)
    assert flow.longest() < 2.0
    assert pair.same_pair()
    assert "10.0.0.77" in {candidate.address for candidate in node.agent.local_candidates}
    assert old not in {candidate.address for candidate in node.agent.local_candidates}


def test_a_cheaper_network_is_adopted_after_a_while_and_no_sooner():
    pair = ice_pair(**LASTING, left=("10.0.0.1",), right=("10.0.0.2",))
    pair.left.host.costs["10.0.0.1"] = 900
    for node in pair.nodes:
        node.watch_network(0.05)
    pair.connect()
    pair.sim.run_for(30)
    flow = Flow(pair)
    pair.left.host.interface_up("10.3.0.1", cost=10)
    pair.sim.run_for(1.0)
    assert pair.left.agent.selected_pair().local.address == "10.0.0.1"
    pair.sim.run_for(10)
    assert pair.left.agent.selected_pair().local.address == "10.3.0.1"
    assert pair.left.agent.selected_pair().switch_reason is SwitchReason.LOWER_COST
    assert pair.same_pair()
    assert flow.longest() < 0.1
    assert len(moves(pair, pair.left)) <= 4


def test_an_outage_ends_without_a_restart():
    pair = lasting()
    end = pair.sim.network.drop(lambda packet: True)
    pair.sim.run_for(12)
    assert pair.left.agent.state == "disconnected"
    end()
    pair.sim.run_for(2.5)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert not [event for event in pair.left.events if isinstance(event, Restarted)]


@pytest.mark.parametrize("direction", ["left", "right", "both"])
def test_a_path_that_died_for_good_is_replaced_by_a_restart(direction):
    """Only what was mapped before is blocked: other ports work. Nobody but the agents does anything about it."""
    pair = lasting(auto_restart=True)
    flow = Flow(pair)
    ports = {node.address_of(socket) for node in pair.nodes for socket in node.host.sockets}
    ways = {"left": "10.0.0.1", "right": "10.0.0.2"}

    def dead(packet):
        return (
            packet.source in ports
            and packet.destination in ports
            and (direction == "both" or packet.source[0] == ways[direction])
        )

    pair.sim.network.drop(dead)
    pair.sim.run_for(15)
    assert flow.longest() < 5.0
    assert pair.same_pair()
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]


def test_a_long_outage_is_survived_by_restarts():
    pair = lasting(auto_restart=True)
    end = pair.sim.network.drop(lambda packet: True)
    pair.sim.run_for(120)
    assert not any(agent.state == "failed" for agent in pair.agents)
    end()
    pair.sim.run_for(5)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert pair.same_pair()


def test_without_anybody_there_it_fails_in_the_end():
    pair = lasting(auto_restart=True)
    pair.sim.network.drop(lambda packet: True)
    pair.sim.run_for(15 * 60)
    assert [agent.state for agent in pair.agents] == ["failed", "failed"]
    assert pair.left.agent.next_timer() is None or pair.left.agent.next_timer() > pair.sim.now


@pytest.mark.parametrize("seed", range(4))
def test_ten_percent_loss_moves_nothing(seed):
    pair = ice_pair(seed=seed, **LASTING, **TWO_HOMES, link=Link(latency=0.01, loss=0.05))
    pair.connect()
    pair.sim.run_for(5)
    before = len(moves(pair, pair.left)), len(moves(pair, pair.right))
    pair.sim.run_for(600)
    after = len(moves(pair, pair.left)), len(moves(pair, pair.right))
    assert after[0] - before[0] <= 1
    assert after[1] - before[1] <= 1
    assert pair.same_pair()


@pytest.mark.parametrize("nomination", ["regular", "continuous"])
@pytest.mark.parametrize("continual", [True, False])
def test_an_address_that_comes_before_the_old_one_goes(nomination, continual):
    pair = ice_pair(nomination=nomination, continual=continual)
    for node in pair.nodes:
        node.watch_network(0.05)
    pair.connect()
    pair.sim.run_for(5)
    pair.left.host.add_address("10.0.5.1")
    pair.sim.run_for(3)
    pair.left.host.remove_address("10.0.0.1")
    pair.sim.run_for(5)
    if continual:  # else nothing is gathered any more once ICE has concluded
        assert pair.same_pair()
        assert [agent.state for agent in pair.agents] == ["completed", "completed"]
        assert pair.left.agent.selected_pair().local_candidate.base[0] == "10.0.5.1"
    else:
        assert pair.left.agent.state in ("disconnected", "failed")


class PortRestricted(Nat):
    """The same mapping for everybody, but only those are let in whom somebody inside has sent to (RFC 4787)."""

    def __init__(self, *args):
        super().__init__(*args)
        self.allowed = set()

    def reboot(self):
        super().reboot()
        self.allowed.clear()

    def outbound(self, packet):
        self.allowed.add((self._outside(packet.source[1]), packet.destination))
        super().outbound(packet)

    def receive(self, packet):
        if (packet.destination[1], packet.source) not in self.allowed:
            self.network.note("filtered", self.name, packet)
            return
        super().receive(packet)


@pytest.mark.parametrize("left_nat", [Nat, PortRestricted])
@pytest.mark.parametrize("right_nat", [Nat, PortRestricted, None])
@pytest.mark.parametrize("controlling", [True, False])
def test_a_nat_that_forgets_its_mappings(left_nat, right_nat, controlling):
    """Rebinding to new ports: the peer follows where it can hear us, else the STUN server tells us our new address
    and we tell the peer."""
    sim = Simulation(5, link=Link(latency=0.005))
    sim.add_stun_server(sim.network.add_host("192.0.2.1"))
    nodes, boxes = [], []
    for name, kind, role in (("left", left_nat, controlling), ("right", right_nat, not controlling)):
        box = None if kind is None else kind(sim.network, f"198.51.100.{len(nodes) + 1}")
        segment = None if box is None else box.inside
        address = f"203.0.113.{len(nodes) + 1}" if box is None else f"10.{len(nodes)}.0.1"
        host = sim.network.add_host(address, name=name, segment=segment)
        options = IceOptions(controlling=role, auto_restart=True, **LASTING)
        nodes.append(sim.add_agent(host, IceAgent(options, rng=sim.rng)))
        boxes.append(box)
    pair = IcePair(sim, *nodes)
    for node in nodes:
        node.gather([parse_server_url("stun:192.0.2.1")])
    pair.start()
    sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), 15)
    sim.run_for(5)
    flow = Flow(pair)
    sim.run_for(1)
    boxes[0].reboot()
    sim.run_for(12)
    print(flow.gaps)
    assert flow.longest() < (5.0 if right_nat is PortRestricted and left_nat is PortRestricted else 2.0)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert not [event for node in nodes for event in node.events if isinstance(event, Restarted)]


def test_one_timer_and_few_packets_while_idle():
    pair = lasting()
    sent = len(pair.sim.network.sent(pair.left.host))
    pair.sim.run_for(60)
    assert len(pair.sim.network.sent(pair.left.host)) - sent < 200
