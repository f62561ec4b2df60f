"""Peer-reflexive candidates and triggered checks (RFC 8445 7.3.1.3, 7.3.1.4)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ice_harness import PRFLX_PRIORITY, ice_pair, requests_of, scripted

from fasticePy.ice import Limits, pair_priority
from fasticePy.sim import Box, Link, Packet


def ready(**options):
    """An agent that knows the peer's credentials and none of its candidates."""
    script = scripted(controlling=False, **options)
    script.gather()
    script.set_credentials()
    return script


# -- learning --------------------------------------------------------------------------------------------------------


def test_a_check_from_an_unknown_address_is_a_new_candidate():
    """8445-42: type, priority of the request, a foundation of its own, the component of the local candidate. pion
    TestHandlePeerReflexive, librice incoming_prflx. 8445-43: the pair is inserted, Waiting, queued."""
    script = ready()
    script.agent.add_remote_candidate(script.peer.candidate(address=("10.0.0.2", 9)), script.now)
    script.settle()
    script.peer.request(priority=12345)
    script.settle()
    known, learnt = script.agent.remote_candidates
    assert learnt.transport_address == script.peer.address()
    assert (learnt.type, learnt.priority, learnt.component, learnt.transport) == ("prflx", 12345, 1, "udp")
    assert learnt.foundation != known.foundation
    pair = script.pair()
    assert (pair.state, pair.remote) == ("waiting", learnt)
    assert pair.priority == pair_priority(12345, script.agent.local_candidates[0].priority)
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert pair.valid


def test_each_learnt_candidate_has_its_own_foundation():
    """8445-42: different from those of all others."""
    script = ready()
    script.agent.add_remote_candidate(script.peer.candidate(foundation="prflx2"), script.now)
    for _ in range(4):
        script.peer.request(socket=script.peer.open())
    script.settle()
    foundations = [candidate.foundation for candidate in script.agent.remote_candidates]
    assert len(set(foundations)) == 5


def test_a_learnt_candidate_is_paired_with_the_one_that_heard_it_only():
    """8445-42: not with other local candidates, neither with those that come later."""
    script = ready(agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.peer.request()
    script.settle()
    (pair,) = script.agent.pairs
    assert script.node.address_of(pair.socket) == script.peer.agent_address


def test_a_signalled_candidate_replaces_the_learnt_one():
    """8445-42: then trickle the same address: one candidate, its foundation and type; trap T10: pair, state and
    priority stay. pion, str0m no_disconnect_when_replacing_pflx_with_real_candidate."""
    script = ready(agent_addresses=("10.0.0.1", "10.0.1.1"))
    script.peer.request(priority=777)
    script.peer.answer(script.peer.next_check())
    script.settle()
    (pair,) = script.agent.pairs
    before = (pair.state, pair.valid, pair.priority, pair.requests_received, pair.path)
    signalled = script.peer.candidate(foundation="real")
    script.agent.add_remote_candidate(signalled, script.now)
    script.settle()
    assert script.agent.remote_candidates == [signalled]
    assert (pair.state, pair.valid, pair.priority, pair.requests_received, pair.path) == before
    assert pair.remote == signalled
    assert script.agent.state == "connected"
    assert len(script.agent.pairs) == 2  # now it is paired with the other local candidate, too
    assert script.agent.selected_pair(1) is pair


def test_a_nominated_pair_survives_the_signalling_of_its_candidate():
    """pion: a signalled candidate replaces prflx and keeps counters and nomination."""
    script = ready()
    script.peer.request(use_candidate=True)
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.pair().nominated
    sent = script.pair().requests_sent
    script.agent.add_remote_candidate(script.peer.candidate(type="srflx"), script.now)
    script.agent.add_remote_candidate(None, script.now)
    script.settle()
    assert script.pair().nominated
    assert script.pair().requests_sent == sent
    assert script.pair().remote.type == "srflx"
    assert script.agent.state == "completed"
    assert script.agent.route(1).address == script.peer.address()


def test_a_candidate_that_was_signalled_first_is_matched():
    """pion: no prflx for a known address; str0m prflx_host."""
    script = scripted(controlling=False)
    script.meet()
    script.peer.request(priority=1)
    script.settle()
    (remote,) = script.agent.remote_candidates
    assert remote.type == "host"
    assert remote.priority != 1


def test_an_unauthenticated_check_teaches_nothing():
    """pion: success response and request from an unknown remote never create one without authentication."""
    script = ready()
    script.peer.request(username="wrong:wrong")
    script.settle()
    assert script.agent.remote_candidates == []
    assert script.agent.pairs == []


def test_answers_teach_no_remote_candidate():
    """pion TestHandlePeerReflexive: a success response from an unknown remote never creates one."""
    script = scripted(controlling=False)
    script.meet()
    script.peer.answer(script.peer.next_check(), socket=script.peer.open())
    script.settle()
    assert len(script.agent.remote_candidates) == 1


def test_learnt_candidates_are_limited():
    """8445-63: a peer that roams without end."""
    script = ready(limits=Limits(remote_candidates=5, pairs=50))
    for _ in range(9):
        script.peer.request(socket=script.peer.open())
    script.settle()
    assert len(script.agent.remote_candidates) == 5
    assert script.counted("drop.request.too-many-candidates") == 4


def test_a_learnt_pair_finds_room_among_a_hundred_better_ones():
    """8445-43: the peer's check came through, which says more than the priority of pairs that were never checked."""
    script = ready(limits=Limits(pairs=10))
    for number in range(10):
        candidate = script.peer.candidate(address=("10.0.0.2", 100 + number), foundation=f"f{number}")
        script.agent.add_remote_candidate(candidate, script.now)
    script.peer.request(priority=1)
    script.settle()
    assert len(script.agent.pairs) == 10
    assert script.pair().priority == min(pair.priority for pair in script.agent.pairs)


# -- triggered checks, one test for each state ----------------------------------------------------------------------


def test_a_check_on_a_succeeded_pair_triggers_nothing():
    """8445-43: Succeeded: nothing further."""
    script = ready()
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.peer.answer(script.peer.next_check())
    script.settle()
    for _ in range(5):
        script.peer.request()
        script.sim.run_for(0.2)
    assert script.peer.take_checks() == []
    assert script.pair().state == "succeeded"


def test_a_check_on_a_pair_in_progress_replaces_the_running_check():
    """8445-43: In-Progress: cancelled, queued, Waiting. librice incoming_request_while_local_in_progress."""
    script = ready()
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    first = script.peer.next_check()
    script.sim.run_for(0.02)
    script.peer.request()
    script.settle()
    assert script.pair().state == "waiting"
    second = script.peer.next_check()
    assert second.id != first.id
    assert second.at == pytest.approx(0.05)  # the next Ta, not the retransmission at 0.5 s
    assert script.pair().state == "in-progress"


def test_a_check_on_a_waiting_pair_brings_it_forward():
    """8445-43: Waiting: queued, so it is next although others have higher priorities."""
    script = ready()
    others = [script.peer.open() for _ in range(5)]
    for number, socket in enumerate(others):
        candidate = script.peer.candidate(socket, local_preference=60000 - number, foundation=f"f{number}")
        script.agent.add_remote_candidate(candidate, script.now)
    assert script.peer.next_check().socket == others[0]
    assert script.pair(others[4]).state == "waiting"
    script.peer.request(socket=others[4])
    script.settle()
    assert script.pair(others[4]).state == "waiting"
    assert [script.peer.next_check().socket for _ in range(2)] == [others[4], others[1]]


def test_a_check_on_a_frozen_pair_thaws_it():
    """8445-43: Frozen: Waiting and queued, whatever its foundation."""
    script = ready()
    other = script.peer.open()
    script.agent.add_remote_candidate(script.peer.candidate(foundation="same"), script.now)
    script.agent.add_remote_candidate(
        script.peer.candidate(other, foundation="same", local_preference=1), script.now
    )
    script.peer.next_check()
    assert script.pair(other).state == "frozen"
    script.peer.request(socket=other)
    script.settle()
    assert script.pair(other).state == "waiting"
    assert script.peer.next_check().socket == other


def test_a_check_on_a_failed_pair_revives_it():
    """8445-43: Failed: Waiting and queued."""
    script = ready()
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.peer.answer(script.peer.next_check(), code=400)
    script.settle()
    assert script.pair().state == "failed"
    script.sim.run_for(1)
    script.peer.request()
    script.settle()
    assert script.pair().state in ("waiting", "in-progress")
    check = script.peer.next_check()
    assert check.at == script.now == 1.0  # Ta has long passed
    script.peer.answer(check)
    script.settle()
    assert script.pair().valid
    assert script.agent.state == "connected"


def test_several_checks_queue_a_pair_once():
    """8445-43: once; librice check_double_triggered."""
    script = ready()
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.peer.next_check()
    for _ in range(4):
        script.peer.request()
    script.settle()
    assert len(script.agent.streams[0].engine.checklist.triggered) == 1
    script.peer.answer(script.peer.next_check())
    script.sim.run_for(0.45)
    assert script.peer.take_checks() == []


def test_triggered_checks_keep_to_the_pace():
    """8445-43, 8445-23: queued, not sent at once; first in, first out."""
    script = ready()
    sockets = [script.peer.open() for _ in range(4)]
    for socket in sockets:
        script.peer.request(socket=socket)
    checks = [script.peer.next_check() for _ in sockets]
    assert [check.socket for check in checks] == sockets
    assert [check.at for check in checks] == pytest.approx([0.0, 0.05, 0.1, 0.15])


# -- a symmetric NAT -------------------------------------------------------------------------------------------------


class SymmetricNat(Box):
    """Maps each destination to a port of its own, and lets answer only whom was asked (RFC 4787: APDM, APDF)."""

    def __init__(self, network, name, segment, link):
        super().__init__(network, name, segment, link)
        self.mappings = {}
        self.by_port = {}

    def outbound(self, packet: Packet) -> None:
        key = (packet.source, packet.destination)
        port = self.mappings.setdefault(key, 20000 + 7 * len(self.mappings))
        self.by_port[port] = key
        self.send(packet.translated(source=(self.addresses[0], port)))

    def receive(self, packet: Packet) -> None:
        key = self.by_port.get(packet.destination[1])
        if key is None or key[1] != packet.source:
            self.network.note("filtered", self.name, packet)
            return
        self.deliver(packet.translated(destination=key[0]))


def behind_nat(**options):
    """Left is behind a symmetric NAT, right is public."""
    pair = ice_pair(left=(), **options)
    network = pair.sim.network
    nat = SymmetricNat(network, "nat", network.backbone, Link())
    nat.add_address("203.0.113.1")
    host = pair.left.host
    host.segment = nat.inside
    host.add_address("192.168.0.10")
    return pair, nat


@pytest.mark.parametrize("controlling", [True, False])
def test_an_agent_behind_a_symmetric_nat_is_found_by_its_checks(controlling):
    """8445-34, 8445-42, str0m symmetric_nat_one_side: peer-reflexive on both sides, without any server."""
    pair, nat = behind_nat(
        left_options={"controlling": controlling}, right_options={"controlling": not controlling}
    )
    pair.connect()
    left, right = (agent.selected_pair(1) for agent in pair.agents)
    assert right.destination[0] == nat.addresses[0]
    assert right.remote.type == "prflx"
    assert right.remote.priority == PRFLX_PRIORITY
    assert left.local.type == "prflx"
    assert left.local.transport_address == right.destination
    assert left.local.priority == right.remote.priority
    assert pair.left.send(1, b"in") and pair.right.send(1, b"out")
    pair.sim.run_for(0.1)
    assert [received.data for received in pair.left.data] == [b"out"]
    assert [received.data for received in pair.right.data] == [b"in"]


def test_the_statistics_know_the_peer_reflexive_candidates():
    """Each id that a pair names is there."""
    pair, _nat = behind_nat()
    pair.connect()
    for agent in pair.agents:
        stats = agent.stats(pair.sim.now)
        for entry in stats.values():
            if entry["type"] == "candidate-pair":
                assert entry["localCandidateId"] in stats
                assert entry["remoteCandidateId"] in stats
        assert stats["transport"]["selectedCandidatePairId"] in stats


# -- once connected --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("addresses", [1, 3])
def test_connected_agents_send_consent_checks_and_nothing_else(addresses):
    """pion #907, TestControlledSelector_NoTriggeredCheckAfterConnected: no ping-pong of triggered checks."""
    pair = ice_pair(
        left=[f"10.0.0.{number}" for number in range(1, addresses + 1)],
        right=[f"10.0.1.{number}" for number in range(1, addresses + 1)],
    )
    pair.connect()
    pair.sim.run_for(1)
    before = len(requests_of(pair.sim))
    pair.sim.run_for(100)
    requests = len(requests_of(pair.sim)) - before
    # each side every 4 to 6 s, and one more now and then when neither was heard for 4 s
    assert 2 * 100 / 6 - 2 <= requests <= 2 * 100 / 4 * 1.4


def test_checks_of_a_roaming_peer_after_completion_do_not_start_a_storm():
    """A completed pair; the peer's checks now come from ever new addresses: one check of ours for each at most."""
    script = ready()
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.complete()
    script.peer.auto_answer = True
    script.peer.take_checks()
    sockets = [script.peer.open() for _ in range(5)]
    for _ in range(10):
        for socket in sockets:
            script.peer.request(socket=socket)
        script.sim.run_for(0.1)
    checks = [seen for seen in script.peer.take_checks() if seen.socket != script.peer.socket]
    assert len(checks) <= len(sockets)
    assert script.pair().nominated


def test_data_comes_from_a_peer_reflexive_address():
    """The route is where the check came from, whatever was signalled."""
    script = ready()
    script.agent.add_remote_candidate(replace(script.peer.candidate(), port=9), script.now)
    script.peer.request(use_candidate=True)
    script.settle()
    while not script.agent.route(1):
        check = script.peer.next_check()
        script.peer.answer(check)
        script.settle()
    assert script.node.send(1, b"\x80x")
    script.settle()
    assert script.peer.data == [(b"\x80x", script.peer.agent_address)]
