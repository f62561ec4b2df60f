"""Each named limit: what is beyond it has no effect, is counted, and what was there before goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from itertools import count

import pytest
from ice_harness import Script, scripted
from ice_servers import gathering, honest

from fasticePy.ice import Limits, NeedAddresses, Timeouts


def pairs_limit() -> None:
    script = scripted(limits=Limits(pairs=5))
    sockets = [script.peer.open() for _ in range(9)]
    script.meet(*(script.peer.candidate(socket, foundation=f"f{socket}") for socket in sockets))
    assert len(script.agent.pairs) == 5
    assert script.counted("pair.over-limit") == 4
    script.peer.auto_answer = True
    script.sim.run_for(1)
    assert script.agent.route(1) is not None
    assert len({seen.socket for seen in script.peer.requests}) <= 5


def checks_per_address_limit() -> None:
    """Of many candidates with one address the best are checked; an answer from there ends the suspicion."""
    for alive in (False, True):
        script = scripted(controlling=False, limits=Limits(checks_per_address=4))  # nothing is nominated
        peer = script.peer
        sockets = [peer.socket, *(peer.open() for _ in range(8))]
        candidates = [
            peer.candidate(socket, foundation=f"f{socket}", local_preference=65535 - number)
            for number, socket in enumerate(sockets)
        ]
        other = peer.candidate(address=("10.0.0.77", 5000), local_preference=1, foundation="other")
        script.meet(*candidates, other)
        if alive:
            peer.auto_answer = lambda seen, last=sockets[3]: seen.socket == last
        script.sim.run_for(5)
        asked = {seen.socket for seen in peer.requests}
        assert asked == set(sockets if alive else sockets[:4])
        assert script.counted("check.over-limit") == (0 if alive else 5)
        reasons = {pair.failure for pair in script.agent.pairs}
        assert ("4 pairs with this address were tried in vain" in reasons) == (not alive)
        assert any(
            packet.destination[0] == "10.0.0.77" for packet in script.sim.network.sent(script.node.host)
        )


def remote_candidates_limit() -> None:
    """Signalled and learnt ones together; one that was learnt may still be replaced by its signalled form."""
    script = scripted(limits=Limits(remote_candidates=3))
    peer = script.peer
    sockets = [peer.open() for _ in range(3)]
    script.gather()
    script.set_credentials()
    peer.request(socket=sockets[0])
    script.settle()
    for socket in sockets[1:]:
        script.agent.add_remote_candidate(peer.candidate(socket), 0.0)
    assert len(script.agent.remote_candidates) == 3
    script.agent.add_remote_candidate(peer.candidate(), 0.0)
    assert len(script.agent.remote_candidates) == 3
    assert script.agent.report(0.0).ignored_candidates[-1][1] == "more than 3 candidates"
    id = peer.request()
    script.settle()
    assert peer.answer_to(id) is not None  # it is answered, and no more
    assert script.counted("drop.request.too-many-candidates") == 1
    assert len(script.agent.pairs) == 3
    script.agent.add_remote_candidate(peer.candidate(sockets[0]), 0.0)
    assert [each.type for each in script.agent.remote_candidates] == ["host"] * 3


def held_candidates_limit() -> None:
    """The same limit before the credentials; the end that comes after too many is not forgotten."""
    script = scripted(limits=Limits(remote_candidates=3))
    script.gather()
    peer = script.peer
    for _ in range(10):
        script.agent.add_remote_candidate(peer.candidate(peer.open()), 0.0)
    script.agent.add_remote_candidate(None, 0.0)
    script.set_credentials()
    assert len(script.agent.remote_candidates) == 3
    assert script.counted("remote-candidate.ignored") == 7
    script.agent.add_remote_candidate(peer.candidate(), 0.0)
    report = script.agent.report(0.0)
    assert report.entries[-1].reason == "came after end-of-candidates"
    assert len(report.ignored_candidates) == 3  # they are listed up to the same limit


def early_checks_limit() -> None:
    script = scripted(controlling=False, limits=Limits(early_checks=4))
    script.gather()
    for socket in [script.peer.open() for _ in range(10)]:
        script.peer.request(socket=socket)
        script.peer.request(socket=socket)
    script.settle()
    assert script.counted("drop.request.too-many-early") == 12
    script.set_credentials()
    assert len(script.agent.pairs) == 4


def validated_addresses_limit() -> None:
    """Data is taken from so many addresses; later ones are answered, but taught and taken nothing."""
    script = scripted(controlling=False, limits=Limits(validated_addresses=4))
    script.gather()
    sockets = [script.peer.open() for _ in range(8)]
    ids = []
    for socket in sockets:
        ids.append(script.peer.request(socket=socket))
        script.peer.send(b"\x80data", socket=socket)
    script.settle()
    assert all(script.peer.answer_to(id) is not None for id in ids)
    assert len(script.node.data) == 4
    assert script.counted("drop.request.too-many-addresses") == 4
    assert script.counted("drop.data.unvalidated") == 4


def validated_addresses_limit_and_the_right_path() -> None:
    """A flood of addresses does not keep a pair out that we check ourselves: its answer validates it."""
    script = scripted(limits=Limits(validated_addresses=2))
    peer = script.peer
    sockets = [peer.open() for _ in range(4)]
    script.gather()
    for socket in sockets:
        peer.request(socket=socket)
    script.settle()
    script.meet()
    peer.auto_answer = lambda seen: seen.socket == peer.socket
    script.sim.run_for(2)
    peer.send(b"\x80data")
    script.settle()
    assert script.agent.route(1) is not None
    assert [received.data for received in script.node.data] == [b"\x80data"]


def servers_limit() -> None:
    run = gathering(limits=Limits(servers=1))
    servers = [run.server(honest, f"192.0.2.{number}") for number in (1, 2)]
    run.run("stun:192.0.2.1", "stun:192.0.2.2")
    assert [len(server.machine.requests) for server in servers] == [1, 0]
    assert run.outcome("stun:192.0.2.2")["reason"] == "more than 1 servers: left out"


def server_addresses_limit() -> None:
    run = gathering(limits=Limits(server_addresses=2))
    server = run.server(honest, *(f"192.0.2.{number}" for number in range(1, 10)))
    run.sim.network.dns.add("stun.example", *(f"192.0.2.{number}" for number in range(1, 10)))
    run.run("stun:stun.example")
    assert len(server.machine.requests) == 2
    assert run.agent.counters["server-address.ignored"] == 7


def remote_names_limit() -> None:
    script = scripted(limits=Limits(remote_names=2))
    script.gather()
    script.set_credentials()
    for number in range(5):
        name = f"{number}e1b7e2c-11aa-4f5e-9d2c-2f9a2c3d4e5f.local"
        script.agent.add_remote_candidate(script.peer.candidate(address=(name, 5000)), 0.0)
    script.settle()
    assert len(script.events(NeedAddresses)) == 2
    assert all("more than 2 names" in why for _, why in script.agent.report(0.0).ignored_candidates)


def record_limit() -> None:
    script = scripted(limits=Limits(record=10))
    script.gather()
    script.set_credentials()
    for _ in range(100):
        script.agent.add_remote_candidate(script.peer.candidate(script.peer.open()), 0.0)
    assert len(script.agent.report(0.0).entries) == 10


def connections(limits: Limits) -> tuple[Script, Callable[[str], bool]]:
    """An agent with a listening socket, and what connects to it from an address; gives whether it was accepted."""
    script = scripted(controlling=False, tcp=frozenset({"passive"}), limits=limits)
    script.gather()
    script.set_credentials()
    listener = script.node.host.tcp.sockets[0]
    numbers = count(1000)

    def connect(address: str) -> bool:
        number = next(numbers)
        return script.agent.connection_accepted(listener, number, (address, number), script.now)

    return script, connect


def connections_limit() -> None:
    script, connect = connections(Limits(connections=3))
    for number in range(5):
        assert connect("192.0.2.1") is (number < 3)
        request = script.peer.build_request()
        script.agent.datagram_received(1000 + number, request, ("192.0.2.1", 1000 + number), script.now)
    assert script.counted("connection.refused.too-many") == 2
    assert len(script.agent.pairs) == 3, "those that the peer has proven to be its own live on"


def unproven_connections_limit() -> None:
    script, connect = connections(Limits(unproven_connections=3))
    assert [connect(f"192.0.2.{number}") for number in range(5)] == [True, True, True, False, False]
    assert script.counted("connection.refused.too-many-unproven") == 2
    script.sim.run_for(11)
    assert script.counted("connection.not-proven") == 3
    assert connect("192.0.2.9")


def unproven_connections_per_address_limit() -> None:
    script, connect = connections(Limits(unproven_connections_per_address=2))
    assert [connect("192.0.2.1") for _ in range(4)] == [True, True, False, False]
    assert script.counted("connection.refused.too-many-of-address") == 2
    assert connect("192.0.2.2")


TESTS: dict[str, list[Callable[[], None]]] = {
    "pairs": [pairs_limit],
    "checks_per_address": [checks_per_address_limit],
    "remote_candidates": [remote_candidates_limit, held_candidates_limit],
    "early_checks": [early_checks_limit],
    "validated_addresses": [validated_addresses_limit, validated_addresses_limit_and_the_right_path],
    "remote_names": [remote_names_limit],
    "connections": [connections_limit],
    "unproven_connections": [unproven_connections_limit],
    "unproven_connections_per_address": [unproven_connections_per_address_limit],
    "servers": [servers_limit],
    "server_addresses": [server_addresses_limit],
    "record": [record_limit],
}


@pytest.mark.parametrize(
    "test", [test for tests in TESTS.values() for test in tests], ids=lambda test: test.__name__
)
def test_limit(test):
    """8445-63 for pairs and candidates; the others by the rule that nothing which a peer can make grow is unlimited."""
    test()


def test_every_limit_has_a_test():
    assert set(TESTS) == {field.name for field in fields(Limits)}


def test_a_peer_cannot_make_an_agent_grow():
    """A hostile peer with the right password does all it can for an hour: checks from thousands of addresses,
    candidates without end. All tables stay within their limits, and the counters are few."""
    script = scripted(controlling=False, timeouts=Timeouts(patience=10_000.0))
    peer = script.peer
    script.gather()
    script.set_credentials()
    (own,) = script.agent.local_candidates
    socket = script.node.host.sockets[0]
    for number in range(3000):
        address = (f"10.{number % 7}.{number // 250}.{number % 250 + 1}", 1024 + number)
        data = peer.build_request(priority=1 + number, use_candidate=number % 2 == 0)
        assert script.agent.datagram_received(socket, data, address, script.now) is None
        script.agent.add_remote_candidate(
            peer.candidate(address=(address[0], address[1] + 1), foundation=str(number)), script.now
        )
        if number % 100 == 0:
            script.sim.run_for(1.0)
    agent = script.agent
    limits = agent.options.limits
    assert len(agent.pairs) <= limits.pairs
    assert len(agent.remote_candidates) <= limits.remote_candidates
    assert len(agent._paths) <= limits.validated_addresses + limits.pairs
    assert len(agent.report(0.0).entries) <= limits.record
    assert len(agent.report(0.0).ignored_candidates) <= limits.remote_candidates
    assert len(agent._session.transactions) <= 4 * limits.pairs
    assert len(agent._outbox.timers) <= 8 * limits.pairs
    assert len(agent.counters) < 40
    assert own in agent.local_candidates
    assert len(agent.report(0.0).to_json()) < 300_000
