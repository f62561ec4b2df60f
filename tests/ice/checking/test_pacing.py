"""How often and how much an agent sends: Ta, the floor of the process, the RTO, the limits (RFC 8445 11, 14, 19)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from ice_harness import ice_pair, requests_of, scripted, stun_packets

from fasticePy.ice import Description, IceAgent, IceOptions, Limits, Pacer, Timeouts
from fasticePy.sim import Simulation
from fasticePy.stun import MessageClass, parse
from fasticePy.stun.uri import parse_server_url


def first_sends(packets) -> list[float]:
    """When each transaction among these packets began."""
    seen: dict[bytes, float] = {}
    for packet in packets:
        if parse(packet.data).message_class == MessageClass.REQUEST:
            seen.setdefault(packet.data[8:20], packet.sent_at)
    return sorted(seen.values())


def gaps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in pairwise(times)]


def dead(script, count: int):
    """Candidates of the peer at which nobody listens, each of a foundation of its own."""
    return [
        script.peer.candidate(address=("10.9.0.1", 1000 + number), foundation=f"f{number}")
        for number in range(count)
    ]


# -- Ta --------------------------------------------------------------------------------------------------------------


def test_checks_are_50_ms_apart():
    """8445-60: the default Ta; librice conncheck_list_transmit."""
    script = scripted()
    script.meet(*dead(script, 12))
    script.sim.run_for(2)
    times = first_sends(script.sim.network.sent(script.node.host))
    assert times == pytest.approx([0.05 * number for number in range(12)])


def test_triggered_and_nominating_checks_keep_the_pace():
    """8445-60: all of them are transactions."""
    script = scripted()
    sockets = [script.peer.open() for _ in range(6)]
    script.meet(*(script.peer.candidate(socket) for socket in sockets))
    script.peer.auto_answer = True
    for socket in sockets:
        script.peer.request(socket=socket)
    script.sim.run_for(2)
    assert script.agent.state == "connected"
    assert any(seen.use_candidate for seen in script.peer.requests)
    assert min(gaps(first_sends(script.sim.network.sent(script.node.host)))) >= 0.05 - 1e-9


@pytest.mark.parametrize(
    ("ours", "theirs", "agreed"),
    [
        (0.05, 50, 0.05),
        (0.02, 20, 0.02),
        (0.02, 100, 0.1),
        (0.2, 20, 0.2),
        (0.02, None, 0.05),
        (0.1, None, 0.1),
    ],
)
def test_both_sides_use_the_slower_pace(ours, theirs, agreed):
    """8445-60: the higher of both; who proposes none means 50 ms."""
    script = scripted(timeouts=Timeouts(pacing=ours))
    script.gather()
    credentials = script.peer.credentials
    description = Description(
        ufrag=credentials.ufrag, pwd=credentials.pwd, candidates=tuple(dead(script, 4)), pacing_ms=theirs
    )
    script.agent.set_remote_description(description, script.now)
    script.sim.run_for(2)
    times = first_sends(script.sim.network.sent(script.node.host))
    assert gaps(times) == pytest.approx([agreed] * 3)


@pytest.mark.parametrize("pacing", [0.05, 0.02, 0.2])
def test_the_pace_is_signalled(pacing):
    """8445-60: another value than the default is told to the peer."""
    script = scripted(timeouts=Timeouts(pacing=pacing))
    script.gather()
    assert script.agent.local_description.pacing_ms == round(pacing * 1000)
    assert Description.parse(str(script.agent.local_description)).pacing_ms == round(pacing * 1000)


def test_a_runtime_that_was_stalled_sends_no_burst():
    """After a second without its timer an agent goes on at the pace, it does not catch up."""
    script = scripted()
    script.meet(*dead(script, 8))
    script.sim.run_for(0.12)
    script.node.stall(1.0)
    script.sim.run_for(3)
    times = first_sends(script.sim.network.sent(script.node.host))
    assert len(times) == 8
    assert min(gaps(times)) >= 0.05 - 1e-9
    assert max(gaps(times)) == pytest.approx(1.02, abs=0.05)


# -- the floor of the process ----------------------------------------------------------------------------------------


def test_the_pacer_gives_each_moment_once():
    """8445-60: 5 ms, whoever asks, also when the clock stands still or jumps."""
    pacer = Pacer()
    assert [pacer.reserve(1.0) for _ in range(3)] == pytest.approx([1.0, 1.005, 1.01])
    assert pacer.reserve(1.012) == pytest.approx(1.015)
    assert pacer.reserve(9.0) == 9.0
    assert pacer.reserve(9.001) == pytest.approx(9.005)


@pytest.mark.parametrize("shared", [True, False])
def test_twenty_agents_of_a_process_keep_5_ms_between_their_transactions(shared):
    """8445-60: as though there were one global Ta of 5 ms; checks and gathering alike, and nobody starves. The same
    without a common pacer would not keep it: the test can fail."""
    sim = Simulation(7)
    pacer = Pacer()
    server = sim.network.add_host("192.0.2.1")
    sim.add_stun_server(server, 3478)
    nodes = []
    for number in range(20):
        host = sim.network.add_host(f"10.0.0.{number + 1}", name=f"host{number}")
        agent = IceAgent(IceOptions(controlling=True), rng=sim.rng, pacer=pacer if shared else None)
        node = sim.add_agent(host, agent)
        node.gather([parse_server_url("stun:192.0.2.1")])
        agent.set_remote_credentials("someone", "passwordofsomeoneelse1234", sim.now)
        nodes.append(node)
    script = scripted()
    for node in nodes:
        for candidate in dead(script, 6):
            node.agent.add_remote_candidate(candidate, sim.now)
    sim.run_for(3)
    packets = [packet for node in nodes for packet in sim.network.sent(node.host)]
    times = first_sends(packets)
    assert len(times) == 20 * 7
    if not shared:
        assert min(gaps(times)) < 0.001
        return
    assert min(gaps(times)) >= 0.005 - 1e-9
    assert times[-1] <= 20 * 7 * 0.005 + 0.1
    per_agent = [len(first_sends(sim.network.sent(node.host))) for node in nodes]
    assert per_agent == [7] * 20


def test_loopback_checks_need_no_floor():
    """The floor protects NATs, and there is none within a host: two agents connect without it."""
    pacer = Pacer(floor=100.0)
    pacer.reserve(0.0)
    sim = Simulation(1)
    nodes = []
    host = sim.network.add_host("127.0.0.1")
    for controlling in (True, False):
        agent = IceAgent(IceOptions(controlling=controlling), rng=sim.rng, pacer=pacer)
        nodes.append(sim.add_agent(host, agent, name=str(controlling)))
        nodes[-1].gather()
    sim.signal(*nodes)
    sim.run_until(lambda: all(node.agent.state == "completed" for node in nodes), 1)


# -- RTO -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("pairs", "rto"), [(1, 0.5), (10, 0.5), (20, 1.0), (60, 3.0)])
def test_the_rto_grows_with_the_checks_that_are_to_be_sent(pairs, rto):
    """8445-61: never below 500 ms. Ta times the checks that are Waiting or In-Progress, without the factor N of the
    RFC's formula (it lets agents choose): every first send precedes every retransmission, as it demands, and one
    lost packet among 10 pairs costs 0.5 s and not 5 s."""
    script = scripted(limits=Limits(checks_per_address=100))
    script.meet(*dead(script, pairs))
    script.sim.run_for(7)
    sends: dict[bytes, list[float]] = {}
    for packet in script.sim.network.sent(script.node.host):
        sends.setdefault(packet.data[8:20], []).append(packet.sent_at)
    assert len(sends) == pairs
    assert all(
        later - earlier >= 0.5 - 1e-9 for times in sends.values() for earlier, later in pairwise(times)
    )
    first = next(iter(sends.values()))
    assert first[1] - first[0] == pytest.approx(rto)
    assert max(times[0] for times in sends.values()) <= min(times[1] for times in sends.values()) + 1e-9


@pytest.mark.parametrize(("pairs", "sends"), [(1, 7), (10, 7), (20, 6), (40, 5), (100, 3)])
def test_a_check_ends_after_40_seconds_however_many_there_are(pairs, sends):
    """8445-33, 8445-61: a larger RTO means fewer sends, so that failure does not take minutes."""
    script = scripted(limits=Limits(checks_per_address=100))
    script.meet(*dead(script, pairs), end=True)
    script.sim.run_until(lambda: script.agent.state == "failed", 100)
    first = script.agent.pairs[0]
    assert f"no answer to {sends} requests" in first.failure
    assert script.now == pytest.approx(39.5 + 0.05 * (pairs - 1))


def test_a_nomination_is_repeated_soon_however_many_checks_wait():
    """8445-61: it is one check, of a pair that works."""
    script = scripted(nomination="fastest")
    script.meet(script.peer.candidate(), *dead(script, 60))
    while not (check := script.peer.next_check(10)).use_candidate:
        script.peer.answer(check)
    assert script.peer.next_check(10).at - check.at == pytest.approx(0.5)


# -- keepalives ------------------------------------------------------------------------------------------------------


def test_consent_checks_stand_in_for_keepalives():
    """8445-55, 8445-56, trap T16: where consent runs there are no Binding indications; something leaves on the
    selected pair far more often than every 15 s, and nothing on others."""
    pair = ice_pair(left=("10.0.0.1", "10.0.1.1"), right=("10.0.0.2", "10.0.1.2"))
    pair.connect()
    begin = pair.sim.now
    pair.sim.run_for(300)
    assert all(message.message_class != MessageClass.INDICATION for message in stun_packets(pair.sim))
    for node in pair.nodes:
        selected = node.agent.selected_pair(1)
        path = (node.address_of(selected.socket), selected.destination)
        packets = [packet for packet in pair.sim.network.sent(node.host) if packet.sent_at > begin + 1]
        assert {(packet.source, packet.destination) for packet in packets} == {path}
        assert max(gaps([packet.sent_at for packet in packets])) < 6.1


def test_keepalives_stop_with_the_agent():
    """8445-55: nothing leaves after `close()`."""
    pair = ice_pair()
    pair.connect()
    pair.left.agent.close(pair.sim.now)
    pair.sim.run_for(0.1)
    before = len(requests_of(pair.sim, pair.left.host))
    pair.sim.run_for(60)
    assert len(requests_of(pair.sim, pair.left.host)) == before
    assert pair.left.agent.next_timer() is None


# -- limits ----------------------------------------------------------------------------------------------------------


def test_a_thousand_remote_candidates_make_a_hundred_checks():
    """8445-63: 100 checks in total, 200 candidates accepted."""
    script = scripted()
    script.meet(*dead(script, 1000), end=True)
    assert len(script.agent.remote_candidates) == Limits().remote_candidates == 200
    assert len(script.agent.pairs) == 100
    script.sim.run_for(120)
    destinations = {packet.destination for packet in script.sim.network.sent(script.node.host)}
    assert len(destinations) <= 100
    assert len(first_sends(script.sim.network.sent(script.node.host))) <= 100
    assert script.counted("remote-candidate.ignored") == 800
    assert script.counted("pair.over-limit") == 100


def test_the_limit_of_remote_candidates_can_be_chosen():
    """8445-63."""
    script = scripted(limits=Limits(remote_candidates=3))
    script.meet(*dead(script, 10))
    assert len(script.agent.remote_candidates) == 3
    assert len(script.agent.report(script.now).ignored_candidates) == 3
    assert all("more than 3" in reason for _, reason in script.agent.report(script.now).ignored_candidates)


def test_addresses_and_types_are_the_choice_of_the_application():
    """8445-63: what is not asked for is not gathered."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.1.1"), candidate_types=frozenset({"host"}))
    script.node.gather([parse_server_url("stun:192.0.2.1")], [("10.0.1.1", 0)])
    script.settle()
    assert [candidate.address for candidate in script.agent.local_candidates] == ["10.0.1.1"]
    assert script.agent.gathering_state == "complete"
    assert script.sim.network.sent() == []


def test_ice2_is_announced():
    """8445-54: in the description and in its SDP."""
    script = scripted()
    script.gather()
    assert script.agent.local_description.has_option("ice2")
    (line,) = [each for each in str(script.agent.local_description).splitlines() if "ice-options" in each]
    assert "ice2" in line.partition(":")[2].split()
