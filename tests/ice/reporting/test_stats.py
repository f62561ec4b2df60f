"""Statistics by the names of W3C webrtc-stats."""

from __future__ import annotations

import json

import pytest
from ice_harness import ice_pair, scripted
from ice_servers import Nat, gathering

from fasticePy.ice import IceAgent, IceOptions
from fasticePy.sim import Simulation

COMMON = {"id", "type", "timestamp", "transportId"}
CANDIDATE = COMMON | {
    "address",
    "port",
    "protocol",
    "candidateType",
    "priority",
    "url",
    "relayProtocol",
    "foundation",
    "relatedAddress",
    "relatedPort",
    "usernameFragment",
    "tcpType",
}
NAMES = {
    "local-candidate": CANDIDATE,
    "remote-candidate": CANDIDATE,
    "candidate-pair": COMMON
    | {
        "localCandidateId",
        "remoteCandidateId",
        "state",
        "nominated",
        "packetsSent",
        "packetsReceived",
        "bytesSent",
        "bytesReceived",
        "lastPacketSentTimestamp",
        "lastPacketReceivedTimestamp",
        "totalRoundTripTime",
        "currentRoundTripTime",
        "availableOutgoingBitrate",
        "availableIncomingBitrate",
        "requestsReceived",
        "requestsSent",
        "responsesReceived",
        "responsesSent",
        "consentRequestsSent",
        "packetsDiscardedOnSend",
        "bytesDiscardedOnSend",
    },
    "transport": {
        "id",
        "type",
        "timestamp",
        "packetsSent",
        "packetsReceived",
        "bytesSent",
        "bytesReceived",
        "iceRole",
        "iceLocalUsernameFragment",
        "dtlsState",
        "iceState",
        "selectedCandidatePairId",
        "localCertificateId",
        "remoteCertificateId",
        "tlsVersion",
        "dtlsCipher",
        "dtlsRole",
        "srtpCipher",
        "selectedCandidatePairChanges",
        "ccfbMessagesSent",
        "ccfbMessagesReceived",
    },
}
"""Every name that webrtc-stats has for an object of these types (RTCStats and the dictionaries that extend it)."""
UNKNOWN = {
    "local-candidate": {"relayProtocol"},  # of relayed ones only
    "remote-candidate": {"relayProtocol", "url"},
    # what the application sends goes to the socket past the machine
    "candidate-pair": {
        name for name in NAMES["candidate-pair"] if "Sent" in name and "requests" not in name.lower()
    }
    - {"responsesSent"}
    | {name for name in NAMES["candidate-pair"] if "available" in name or "OnSend" in name},
    "transport": {"packetsSent", "bytesSent", "localCertificateId", "remoteCertificateId", "tlsVersion"}
    | {name for name in NAMES["transport"] if "dtls" in name or "srtp" in name or "ccfb" in name},
}
"""Those that an ICE agent cannot know."""


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
    assert len(of_type(stats, "transport")) == len(agent.streams)
    for transport in of_type(stats, "transport"):
        selected = transport["selectedCandidatePairId"]
        assert selected is None or stats[selected]["type"] == "candidate-pair"
    for entry in stats.values():
        assert entry["type"] == "transport" or stats[entry["transportId"]]["type"] == "transport"
        assert set(entry) <= NAMES[entry["type"]]
    pairs = sum(len(engine.checklist.pairs) for stream in agent.streams for engine in stream.engines())
    assert len(of_type(stats, "candidate-pair")) == pairs
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


def test_everything_that_an_agent_can_know_is_there():
    """By the names of the table, nothing more and nothing less."""
    pair = ice_pair()
    pair.connect()
    for kind, names in NAMES.items():
        for entry in of_type(pair.left.agent.stats(pair.sim.now), kind):
            assert names - set(entry) == UNKNOWN[kind]


def test_what_is_counted_on_a_pair():
    """Checks, consent checks, the sum of round trips, and how often the selected pair has changed."""
    pair = ice_pair()
    pair.connect()
    pair.sim.run_for(60)
    stats = assert_consistent(pair.left.agent, pair.sim.now)
    (entry,) = of_type(stats, "candidate-pair")
    checks = entry["requestsSent"] - entry["consentRequestsSent"]
    assert 10 <= entry["consentRequestsSent"] <= 16
    assert 1 <= checks < entry["consentRequestsSent"]
    assert entry["responsesReceived"] == entry["requestsSent"]
    assert entry["responsesSent"] == entry["requestsReceived"] >= 1
    assert entry["totalRoundTripTime"] == pytest.approx(0.02 * entry["responsesReceived"])
    assert entry["state"] == "succeeded"
    assert stats["transport"]["selectedCandidatePairChanges"] == 1
    local = stats[entry["localCandidateId"]]
    assert local["usernameFragment"] == pair.left.agent.local_credentials.ufrag
    assert stats[entry["remoteCandidateId"]]["usernameFragment"] == pair.right.agent.local_credentials.ufrag


def test_states_are_spelt_as_w3c_does():
    script = scripted()
    script.meet(script.peer.candidate(), script.peer.candidate(script.peer.open(), foundation="other"))
    script.sim.run_for(0.02)
    states = {entry["state"] for entry in of_type(script.agent.stats(script.now), "candidate-pair")}
    assert states == {"in-progress", "waiting"}


def test_each_stream_has_a_transport_and_a_restart_keeps_the_pair_in_use():
    """While the old generation carries data, the selected pair is one of its own."""
    pair = ice_pair(streams=2)
    pair.connect()
    pair.left.agent.restart(pair.sim.now, stream=1)
    stats = assert_consistent(pair.left.agent, pair.sim.now)
    assert {entry["id"] for entry in of_type(stats, "transport")} == {"transport", "transport-1"}
    old = stats[stats["transport-1"]["selectedCandidatePairId"]]
    assert old["nominated"]
    assert old["transportId"] == "transport-1"
    fragment = stats["transport-1"]["iceLocalUsernameFragment"]
    assert stats[old["localCandidateId"]]["usernameFragment"] != fragment


def test_the_server_of_a_reflexive_candidate_is_named():
    run = gathering("10.0.0.1", nat="198.51.100.1")
    run.real_server("192.0.2.1")
    run.run("stun:192.0.2.1")
    urls = {
        entry["candidateType"]: entry["url"]
        for entry in of_type(run.agent.stats(run.sim.now), "local-candidate")
    }
    assert urls == {"host": None, "srflx": "stun:192.0.2.1"}
