"""Scenarios that other ICE libraries test and that no other file of ours has (tests/scenarios.csv has the list)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ice_harness import ice_pair, scripted
from ice_servers import gathering, honest
from random_topology import Run, Side, Topology, Wall

from fasticePy.ice import IceAgent, IceOptions, Limits, Timeouts
from fasticePy.sim import Link, Simulation
from fasticePy.stun import Attribute, MessageBuilder, MessageClass, Method
from fasticePy.stun.uri import parse_server_url


def side(name: str, wall: Wall | None, *, server: bool = True) -> Side:
    number = 1 if name == "left" else 2
    return Side(name, (f"10.0.0.{number}",), wall, name == "left", "regular", server)


def topology(left: Wall | None, right: Wall | None, *, server: bool = True) -> Topology:
    return Topology(
        seed=1,
        left=side("left", left, server=server),
        right=side("right", right, server=server),
        blocked=frozenset(),
        streams=1,
        components=1,
        link=Link(latency=0.01),
        skew=0.0,
        socket_delay=0.0,
    )


CONE = Wall("none", "endpoint")
RESTRICTED = Wall("address", "endpoint")
PORT_RESTRICTED = Wall("port", "endpoint")
SYMMETRIC = Wall("port", "symmetric")


@pytest.mark.parametrize(
    ("left", "right", "works"),
    [
        (SYMMETRIC, None, True),
        (SYMMETRIC, CONE, True),
        (SYMMETRIC, RESTRICTED, True),
        (SYMMETRIC, PORT_RESTRICTED, False),
        (SYMMETRIC, SYMMETRIC, False),
        (PORT_RESTRICTED, PORT_RESTRICTED, True),
        (CONE, CONE, True),
        (None, Wall("port"), True),
    ],
    ids=str,
)
@pytest.mark.parametrize("mirrored", [False, True])
def test_nats_of_all_kinds(left, right, works, mirrored):
    """Who meets whom without a relay, by RFC 4787's kinds of NAT; where nobody can, both say that a relay is needed."""
    run = Run(topology(right, left) if mirrored else topology(left, right))
    assert run.topology.has_path() == works
    run.check()


def test_a_second_stream_opens_its_way_through_a_firewall_in_time():
    """A symmetric NAT on one side, on the other a firewall that lets only answers in, by address. The first stream
    works on a peer-reflexive pair, whose foundation no pair of the second one has; were those frozen until the dead
    checks of the first have ended, nothing of the second would leave the firewall before the other side gives up."""
    run = Run(replace(topology(SYMMETRIC, Wall("address")), streams=2, components=2))
    run.start()
    run.sim.run_until(run.settled, 12)
    assert [node.agent.state for node in run.nodes] == ["completed", "completed"]


@pytest.mark.parametrize("wall", [CONE, RESTRICTED, PORT_RESTRICTED])
def test_two_nats_need_a_server(wall):
    """Without one neither side knows where the other is."""
    run = Run(topology(wall, wall, server=False))
    assert not run.topology.has_path()
    run.check()


def test_a_request_on_an_address_that_is_gone_is_not_answered():
    """The packet was on its way when the interface went down; the socket still hears it."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.0.3"))
    script.meet()
    first, second = (each.transport_address for each in script.agent.local_candidates)
    script.agent.addresses_changed([("10.0.0.3", 0)], script.now)
    for address in (first, second):
        data = script.peer.build_request()
        socket = next(
            (each for each in script.node.host.sockets if script.node.address_of(each) == address), 99
        )
        assert script.agent.datagram_received(socket, data, script.peer.address(), script.now) is None
    sent = {transmit.address for transmit in script.agent.take_transmits()}
    assert sent == {script.peer.address()}
    assert script.counted("request.answered") == 1
    assert script.counted("drop.request.no-candidate") == 1


def test_an_address_that_comes_back_is_used_again():
    """Down and up while they check: it gets a new socket and a new candidate, and may carry the call."""
    pair = ice_pair(left=("10.0.0.1",), right=("10.0.0.2",), link=Link(latency=0.3))
    pair.left.watch_network()
    pair.start()
    pair.sim.run_for(0.1)
    pair.left.host.interface_down("10.0.0.1")
    pair.sim.run_for(0.1)
    assert pair.left.agent.local_candidates == []
    pair.left.host.interface_up("10.0.0.1")
    pair.connect(limit=20)
    assert pair.same_pair()
    assert len(pair.left.host.sockets) == 1


def test_a_change_of_addresses_while_sockets_are_opened_opens_none_twice():
    pair = ice_pair(left=("10.0.0.1", "10.0.1.1"))
    pair.left.socket_delay = 0.2
    pair.left.gather()
    pair.sim.run_for(0.1)
    pair.left.agent.addresses_changed([("10.0.0.1", 0), ("10.0.1.1", 0)], pair.sim.now)
    pair.sim.run_for(1)
    assert len(pair.left.host.sockets) == 2
    assert len(pair.left.agent.local_candidates) == 2


def test_a_nomination_that_came_too_early_is_not_pushed_out_by_plain_checks():
    """The peer nominates before its credentials are here, and the table of early checks is full: the nomination was
    answered, so it will not come again."""
    script = scripted(controlling=False, limits=Limits(early_checks=3))
    script.gather()
    for socket in [script.peer.open() for _ in range(5)]:
        script.peer.request(socket=socket)
    script.peer.request(use_candidate=True)
    script.settle()
    script.peer.auto_answer = True
    script.set_credentials()
    script.sim.run_for(1)
    assert len(script.agent.pairs) == 3
    assert script.pair().nominated


def test_a_pair_without_consent_is_not_offered_for_nomination():
    """7675-1: we shall send nothing on it again. An answer would let the peer nominate it, and each side would use a
    pair of its own for ever."""
    script = scripted(controlling=False, timeouts=Timeouts(patience=1000.0))
    second = script.peer.open()
    script.meet(script.peer.candidate(), script.peer.candidate(second, local_preference=1))
    for _ in range(2):
        script.peer.answer(script.peer.next_check())
        script.settle()
    script.peer.auto_answer = lambda seen: seen.socket == second
    script.sim.run_for(40)
    assert script.pair().expired
    id = script.peer.request(use_candidate=True)
    script.settle()
    assert script.peer.answer_to(id) is None
    assert script.counted("drop.request.consent-expired") == 1
    id = script.peer.request(socket=second, use_candidate=True)
    script.sim.run_for(1)
    assert script.peer.answer_to(id) is not None


def test_a_server_that_sends_nonsense_before_its_answer():
    """What is no STUN on the socket that asks is nothing to the query; nor is it given to the application."""
    run = gathering("10.0.0.1")
    server = run.server(honest, "192.0.2.1")

    def nonsense(message, address):
        for data in (b"\x80hello", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00\x01", bytes(100)):
            server.send_from(server.host.sockets[0], address, data)
        return honest(message, address)

    server.machine.reply = nonsense
    run.run("stun:192.0.2.1")
    assert run.finished[-1].ok
    assert run.node.data == []


def test_the_first_check_waits_for_no_timer():
    """A pace of two seconds, and still connected after one round trip, for the first check is immediate."""
    pair = ice_pair(timeouts=Timeouts(pacing=2.0))
    pair.start()
    pair.sim.run_until(lambda: all(agent.state == "connected" for agent in pair.agents), 0.1)


def test_data_may_be_sent_on_a_valid_pair_before_the_nomination():
    """And what the peer sends then is taken."""
    pair = ice_pair(
        left=("10.0.0.1", "10.0.1.1"),
        timeouts=Timeouts(nomination_direct=5.0),
    )
    pair.sim.network.drop(lambda packet: packet.source[0] == "10.0.0.1")
    pair.start()
    pair.sim.run_until(lambda: all(agent.route() is not None for agent in pair.agents), 5)
    assert not pair.left.agent.selected_pair().nominated  # type: ignore[union-attr]
    assert pair.left.send(1, b"\x80early") and pair.right.send(1, b"\x80too")
    pair.sim.run_for(0.1)
    assert [node.data[-1].data for node in pair.nodes] == [b"\x80too", b"\x80early"]


def test_states_of_a_call_that_dies():
    """connected, disconnected, failed, closed: each once, in this order, also when nobody looks for minutes."""
    for stalled in (False, True):
        pair = ice_pair()
        pair.connect()
        pair.sim.network.drop(lambda packet: True)
        if stalled:
            pair.left.stall(100.0)
        pair.sim.run_for(120)
        pair.left.agent.close(pair.sim.now)
        pair.sim.run_for(0)
        states = pair.states(pair.left)
        assert states[:1] == ["checking"]
        assert [state for state in states if state in ("disconnected", "failed", "closed")][-2:] == [
            "failed",
            "closed",
        ]
        assert len(states) == len(set(states))


def test_one_side_restarts_and_the_other_never_hears_of_it():
    """It goes on as before on the old pair, on both sides, for as long as they like."""
    pair = ice_pair()
    pair.connect()
    pair.left.on_event = None  # nothing is signalled any more
    pair.left.agent.restart(pair.sim.now)
    pair.sim.run_for(120)
    assert pair.left.agent.state == "connected"
    assert pair.right.agent.state == "completed"
    assert pair.same_pair()
    assert pair.left.send(1, b"\x80still") and pair.right.send(1, b"\x80here")
    pair.sim.run_for(0.1)
    assert [node.data[-1].data for node in pair.nodes] == [b"\x80here", b"\x80still"]


def test_an_answer_without_a_fingerprint_teaches_nothing():
    """In checks FINGERPRINT is a must (RFC 8445 7.1): pion takes them without, we do not."""
    script = scripted()
    script.meet()
    check = script.peer.next_check()
    script.peer.answer(check, fingerprint=False)
    script.settle()
    assert not script.pair().valid
    assert script.counted("drop.response.fingerprint") == 1
    script.peer.answer(check)
    script.settle()
    assert script.pair().valid


def test_a_success_from_a_stranger_creates_nothing():
    """A success response whose id nobody sent, from an address that nobody knows."""
    script = scripted()
    script.meet()
    builder = MessageBuilder(Method.BINDING, MessageClass.SUCCESS, b"nobody sent1")
    builder.add(Attribute.XOR_MAPPED_ADDRESS, ("10.0.0.1", 5))
    before = len(script.agent.remote_candidates)
    script.peer.send(builder.build(script.peer.key, fingerprint=True), socket=script.peer.open())
    script.settle()
    assert len(script.agent.remote_candidates) == before
    assert script.counted("drop.response.unknown") == 1


def test_candidates_of_one_peer_may_come_twice_and_in_other_words():
    """Redundant ones: the same address again, as another type, with another foundation: one pair."""
    script = scripted()
    script.gather()
    script.set_credentials()
    first = script.peer.candidate()
    for candidate in (
        first,
        first,
        replace(first, foundation="again"),
        replace(first, type="srflx", related_address="10.9.9.9", related_port=1),
        replace(first, priority=first.priority - 1),
    ):
        script.agent.add_remote_candidate(candidate, script.now)
    assert len(script.agent.pairs) == 1
    assert len(script.agent.remote_candidates) == 1
    assert [why for _, why in script.agent.report(script.now).ignored_candidates] == ["known already"] * 4


def test_a_host_behind_no_nat_has_no_second_pair():
    """The server sees the host's own address: no srflx candidate, no second pair on either side."""
    sim = Simulation(1)
    sim.add_stun_server(sim.network.add_host("192.0.2.1"))
    nodes = [
        sim.add_agent(
            sim.network.add_host(address), IceAgent(IceOptions(controlling=number == 0), rng=sim.rng)
        )
        for number, address in enumerate(("203.0.113.1", "203.0.113.2"))
    ]
    for node in nodes:
        node.gather([parse_server_url("stun:192.0.2.1")])
    sim.signal(*nodes)
    sim.run_until(lambda: all(node.agent.state == "completed" for node in nodes), 5)
    for node in nodes:
        assert [candidate.type for candidate in node.agent.local_candidates] == ["host"]
        assert len(node.agent.pairs) == 1
