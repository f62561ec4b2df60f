"""Statistics by the names of W3C webrtc-stats."""

from __future__ import annotations

import json

import pytest
from ice_harness import ice_pair, scripted
from ice_servers import Nat

from fasticePy.ice import IceAgent, IceOptions
from fasticePy.sim import Simulation


def of_type(stats, kind):
    return [entry for entry in stats.values() if entry["type"] == kind]


def assert_consistent(agent, now):
    """Every id is its key, every reference leads somewhere, every entry has a time, and all of it is plain data."""
    stats = agent.stats(now)
    for key, entry in stats.items():
        assert entry["id"] == key
        assert entry["timestamp"] == now
    for pair in of_type(stats, "candidate-pair"):
        assert stats[pair["localCandidateId"]]["type"] == "local-candidate"
        assert stats[pair["remoteCandidateId"]]["type"] == "remote-candidate"
    (transport,) = of_type(stats, "transport")
    selected = transport["selectedCandidatePairId"]
    assert selected is None or stats[selected]["type"] == "candidate-pair"
    assert len(of_type(stats, "candidate-pair")) == len(agent.pairs)
    assert json.loads(json.dumps(stats)) == stats
    return stats


def test_at_every_moment_of_a_session():
    script = scripted()
    assert set(assert_consistent(script.agent, 0.0)) == {"transport"}
    script.meet(end=True)
    assert_consistent(script.agent, script.now)
    script.complete()
    assert_consistent(script.agent, script.now)
    script.sim.run_for(40)
    assert_consistent(script.agent, script.now)
    script.agent.close(script.now)
    assert_consistent(script.agent, script.now)


def test_a_connected_pair():
    pair = ice_pair(components=2, left=("10.0.0.1", "2001:db8::1"), right=("10.0.0.2", "2001:db8::2"))
    pair.connect()
    pair.left.send(1, b"12345")
    pair.left.send(1, b"1234567")
    pair.sim.run_for(1)
    for agent in pair.agents:
        assert_consistent(agent, pair.sim.now)
    stats = pair.right.agent.stats(pair.sim.now)
    (transport,) = of_type(stats, "transport")
    assert transport["iceRole"] == "controlled"
    assert transport["iceState"] == "completed"
    assert transport["iceLocalUsernameFragment"] == pair.right.agent.local_credentials.ufrag
    selected = stats[transport["selectedCandidatePairId"]]
    assert selected["nominated"] is True
    assert selected["state"] == "succeeded"
    assert (selected["packetsReceived"], selected["bytesReceived"]) == (2, 12)
    assert selected["currentRoundTripTime"] == pytest.approx(0.02)
    assert selected["requestsSent"] >= selected["responsesReceived"] >= 1
    assert selected["requestsReceived"] >= 1
    assert selected["lastPacketReceivedTimestamp"] == pytest.approx(pair.sim.now - 0.99, abs=0.01)
    assert stats[selected["localCandidateId"]]["candidateType"] == "host"


def test_peer_reflexive_candidates_of_ours_are_listed():
    """Behind a NAT without a server: the local candidate of the pair is one that only the peer's answers told of."""
    sim = Simulation(1)
    nat = Nat(sim.network, "198.51.100.1")
    inside = sim.network.add_host("10.0.0.1", segment=nat.inside)
    outside = sim.network.add_host("192.0.2.9")
    left = sim.add_agent(inside, IceAgent(IceOptions(controlling=True), rng=sim.rng))
    right = sim.add_agent(outside, IceAgent(IceOptions(controlling=False), rng=sim.rng))
    left.gather()
    right.gather()
    sim.signal(left, right)
    sim.run_until(lambda: left.agent.state == right.agent.state == "completed", limit=5)
    for agent in (left.agent, right.agent):
        assert_consistent(agent, sim.now)
    stats = left.agent.stats(sim.now)
    selected = stats[stats["transport"]["selectedCandidatePairId"]]
    local = stats[selected["localCandidateId"]]
    assert (local["candidateType"], local["address"]) == ("prflx", "198.51.100.1")
    assert local["relatedAddress"] == "10.0.0.1"


def test_counters_of_lost_checks():
    script = scripted()
    script.meet(end=True)
    script.sim.run_for(45)
    stats = assert_consistent(script.agent, script.now)
    (pair,) = of_type(stats, "candidate-pair")
    assert pair["state"] == "failed"
    assert pair["nominated"] is False
    assert pair["responsesReceived"] == 0
    assert pair["currentRoundTripTime"] is None
    assert stats["transport"]["iceState"] == "failed"
