"""Two agents over links with loss, bursts, delay, jitter, reordering, duplicates, damage and outages, in virtual time:
they connect, stay connected, tell of silence, and come back by themselves."""

from __future__ import annotations

import pytest
from ice_harness import IcePair, ice_pair

from fasticePy.ice import Restarted
from fasticePy.sim import AgentNode, Link

LEFT, RIGHT = ("10.0.0.1", "10.0.1.1"), ("10.0.0.2",)
CONDITIONS = {
    "loss 10 %": Link(loss=0.05),
    "loss 36 %": Link(loss=0.2),
    "bursts of 5": Link(loss=0.1, burst=5.0),
    "latency 500 ms": Link(latency=0.25),
    "jitter 100 ms": Link(latency=0.02, jitter=0.05),
    "reordering": Link(latency=0.02, reorder=0.5, reorder_delay=0.08),
    "duplicates": Link(duplicate=1.0),
    "damage": Link(corrupt=0.1),
    "modem": Link(latency=0.05, rate=56_000.0, queue=4000),
    "all at once": Link(
        latency=0.05, jitter=0.03, loss=0.05, burst=2.0, reorder=0.2, duplicate=0.2, corrupt=0.02
    ),
}


def restarts(node: AgentNode) -> int:
    return sum(isinstance(event, Restarted) for event in node.events)


def assert_one_connection(pair: IcePair) -> None:
    """One in each role, one pair, no restart."""
    assert sorted(agent.role for agent in pair.agents) == ["controlled", "controlling"]
    assert pair.same_pair()
    assert [restarts(node) for node in pair.nodes] == [0, 0]


def assert_talks(pair: IcePair) -> None:
    """Data comes through both ways, within some attempts."""
    for sender, receiver in (pair.nodes, pair.nodes[::-1]):
        wanted = b"\x80" + sender.name.encode()
        for _ in range(40):
            assert sender.send(1, wanted)
            pair.sim.run_for(0.25)
            if any(received.data == wanted for received in receiver.data):
                break
        else:
            raise AssertionError(f"nothing of the {sender.name} arrives")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", CONDITIONS)
def test_they_connect_and_stay_connected(name, seed):
    """Connected within seconds, and for five minutes after."""
    pair = ice_pair(seed=seed, left=LEFT, right=RIGHT, link=CONDITIONS[name])
    pair.connect(limit=39)
    assert_one_connection(pair)
    assert_talks(pair)
    selected = [agent.selected_pair() for agent in pair.agents]
    pair.sim.run_for(300)
    assert {agent.state for agent in pair.agents} <= {"completed", "disconnected"}
    assert_one_connection(pair)
    assert [agent.selected_pair() for agent in pair.agents] == selected
    assert_talks(pair)


def test_the_conditions_do_what_they_say():
    """Each of them shows in the packet log, so that the tests above are no clean runs."""
    seen = {}
    for name, link in CONDITIONS.items():
        pair = ice_pair(seed=1, left=LEFT, right=RIGHT, link=link)
        pair.connect(limit=39)
        pair.sim.run_for(300)
        log = pair.sim.network
        seen[name] = {what: log.count(what) for what in ("lost", "corrupted", "sent", "delivered")}
    assert seen["loss 36 %"]["lost"] > seen["loss 10 %"]["lost"] > 0
    assert seen["bursts of 5"]["lost"] > 0
    assert seen["damage"]["corrupted"] > 0
    assert seen["duplicates"]["delivered"] == 4 * seen["duplicates"]["sent"]  # on both links of a way


@pytest.mark.parametrize("seed", range(3))
def test_damaged_messages_are_never_believed(seed):
    """Every second packet is damaged: what is learnt is what was said, or nothing."""
    pair = ice_pair(seed=seed, link=Link(corrupt=0.3))
    pair.connect(limit=39)
    pair.sim.run_for(60)
    for node, other in (pair.nodes, pair.nodes[::-1]):
        addresses = {candidate.transport_address for candidate in other.agent.local_candidates}
        assert {candidate.transport_address for candidate in node.agent.remote_candidates} == addresses
        drops = {name for name in node.agent.counters if name.startswith("drop.")}
        assert drops & {
            "drop.stun.malformed",
            "drop.request.fingerprint",
            "drop.response.fingerprint",
            "drop.data.unvalidated",
        }
    assert_one_connection(pair)


# -- outages


@pytest.mark.parametrize("direction", ["up", "down", "both"])
@pytest.mark.parametrize("seconds", [3.0, 10.0, 20.0, 23.0])
def test_an_outage_of_less_than_30_s_needs_no_restart(seconds, direction):
    """Consent outlives it: `disconnected` is told when nothing comes, and `completed` when packets return."""
    pair = ice_pair(left=LEFT, right=RIGHT)
    pair.connect()
    pair.sim.run_for(10)
    selected = [agent.selected_pair() for agent in pair.agents]
    before = [len(pair.states(node)) for node in pair.nodes]
    pair.left.host.outage(0.0, seconds, direction)
    pair.sim.run_for(seconds - 0.001)
    silent = [agent.state for agent in pair.agents]
    if seconds > 13:  # 7 s after the last consent check of the other side, which may be 6 s old
        deaf = {"up": ["right"], "down": ["left"], "both": ["left", "right"]}[direction]
        assert (
            [node.name for node, state in zip(pair.nodes, silent, strict=True) if state == "disconnected"]
            == [*sorted(set(deaf) | {"left", "right"})]
            if direction == "both"
            else deaf
        )
    pair.sim.run_for(7)
    assert [agent.state for agent in pair.agents] == ["completed"] * 2
    assert [agent.selected_pair() for agent in pair.agents] == selected
    for node, count in zip(pair.nodes, before, strict=True):
        assert pair.states(node)[count:] in ([], ["disconnected", "completed"])
    assert_one_connection(pair)
    assert_talks(pair)


def test_an_outage_of_more_than_30_s_ends_it():
    """RFC 7675 5.1: no packet of ours after 30 s without consent, and what comes later revives nothing."""
    pair = ice_pair(left=LEFT, right=RIGHT)
    pair.connect()
    pair.sim.run_for(10)
    pair.left.host.outage(0.0, 40.0)
    pair.sim.run_for(31)
    assert [agent.state for agent in pair.agents] == ["failed"] * 2
    assert all(pair.states(node)[-2:] == ["disconnected", "failed"] for node in pair.nodes)
    sent = len(pair.sim.network.sent())
    pair.sim.run_for(30)
    assert len(pair.sim.network.sent()) == sent
    assert [agent.state for agent in pair.agents] == ["failed"] * 2


def test_outages_that_come_and_go():
    """Ten seconds of silence every half minute, for ten minutes."""
    pair = ice_pair(left=LEFT, right=RIGHT)
    pair.connect()
    for _ in range(20):
        pair.sim.run_for(20)
        pair.right.host.outage(0.0, 10.0)
        pair.sim.run_for(10)
    pair.sim.run_for(10)
    assert [agent.state for agent in pair.agents] == ["completed"] * 2
    assert_one_connection(pair)
    assert_talks(pair)


# -- ways that differ


@pytest.mark.parametrize(("out", "back"), [(0.3, 0.01), (0.01, 0.3), (0.8, 0.0)])
def test_the_two_directions_differ(out, back):
    """A satellite one way and a telephone line the other: the round trip counts."""
    pair = ice_pair(left=LEFT, right=RIGHT)
    host = pair.left.host
    host.uplink.latency, host.downlink.latency = out, back
    pair.connect(limit=20)
    assert_one_connection(pair)
    rtt = pair.left.agent.selected_pair().rtt  # type: ignore[union-attr]
    assert rtt is None or rtt == pytest.approx(out + back + 0.01, abs=0.05)
    pair.sim.run_for(100)
    assert [agent.state for agent in pair.agents] == ["completed"] * 2
    assert_talks(pair)


@pytest.mark.parametrize("blocked", ["out", "back"])
def test_a_pair_that_works_one_way_only_is_not_chosen(blocked):
    """Of two addresses one is deaf, or dumb."""
    pair = ice_pair(left=LEFT, right=RIGHT)
    dead = "10.0.0.1"
    if blocked == "out":
        pair.sim.network.drop(lambda packet: packet.source[0] == dead)
    else:
        pair.sim.network.drop(lambda packet: packet.destination[0] == dead)
    pair.connect(limit=39)
    assert_one_connection(pair)
    assert pair.left.agent.selected_pair().local.address == "10.0.1.1"  # type: ignore[union-attr]


def test_only_one_way_works_and_both_fail_with_a_reason():
    pair = ice_pair()
    pair.sim.network.drop(lambda packet: packet.source[0] == "10.0.0.1")
    pair.start()
    pair.sim.run_until(lambda: all(agent.state == "failed" for agent in pair.agents), 120)
    heard, deaf = (agent.report(pair.sim.now).conclusion for agent in pair.agents)
    assert "of the peer arrived" in heard
    assert "never arrived" in deaf


# -- clocks


@pytest.mark.parametrize("start", [0.0, 1e-12, 5e-324, -1e-6, -0.001, -3.0, -1e5, 1e9, 1e12])
def test_the_clock_may_count_from_anywhere(start):
    """Instant zero, tiny and negative bases, huge ones: connected in the same time, and alive after a minute."""
    pair = ice_pair(start=start, left=LEFT, right=RIGHT)
    took = pair.connect(limit=5) - start
    assert took == pytest.approx(ice_pair(left=LEFT, right=RIGHT).connect(), abs=0.01)
    assert_one_connection(pair)
    pair.sim.run_for(60)
    assert [agent.state for agent in pair.agents] == ["completed"] * 2
    assert_talks(pair)
    pair.left.host.set_link(up=False)
    since = pair.sim.now
    pair.sim.run_until(lambda: all(agent.state == "failed" for agent in pair.agents), limit=40)
    assert 20 <= pair.sim.now - since <= 30.1


@pytest.mark.parametrize("seconds", [0.5, 8.0, 25.0])
@pytest.mark.parametrize("both", [False, True])
def test_a_program_that_hangs_goes_on(seconds, both):
    """A stalled loop: sockets are drained before timers run, and the connection lives."""
    pair = ice_pair(left=LEFT, right=RIGHT)
    pair.connect()
    pair.sim.run_for(3)
    for node in pair.nodes if both else [pair.left]:
        node.stall(seconds)
    pair.sim.run_for(seconds + 7)
    assert [agent.state for agent in pair.agents] == ["completed"] * 2
    assert_one_connection(pair)
    assert_talks(pair)
