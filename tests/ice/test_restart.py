"""Restarts (RFC 8445 9): a new generation beside the old one, which carries data until the new one can."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from ice_harness import IcePair, ice_pair, requests_of, scripted

from fasticePy.errors import StateError
from fasticePy.ice import Candidate, CloseSocket, Description, NeedSocket, Restarted
from fasticePy.ice.stream import LINGER
from fasticePy.sim import AgentNode
from fasticePy.stun import Attribute


def restarts(node: AgentNode) -> list[Restarted]:
    return [event for event in node.events if isinstance(event, Restarted)]


class Media:
    """Sends a numbered datagram every 10 ms both ways, and knows which ones arrived."""

    def __init__(self, pair: IcePair) -> None:
        self.pair = pair
        self.sent = {id(node): 0 for node in pair.nodes}
        self.refused = 0
        self.running = True
        self._tick()

    def _tick(self) -> None:
        if not self.running:
            return
        for node in self.pair.nodes:
            number = self.sent[id(node)]
            if node.send(1, b"\x80" + number.to_bytes(4, "big")):
                self.sent[id(node)] += 1
            else:
                self.refused += 1
        self.pair.sim.call_later(0.01, self._tick)

    def stop(self) -> None:
        self.running = False
        self.pair.sim.run_for(1)

    def lost(self) -> int:
        """How many of the datagrams never came."""
        left, right = self.pair.nodes
        return sum(
            len(
                set(range(self.sent[id(sender)])) - {int.from_bytes(r.data[1:], "big") for r in receiver.data}
            )
            for sender, receiver in ((left, right), (right, left))
        )


def settled(pair: IcePair, generation: int) -> bool:
    return all(
        agent.state == "completed" and agent.streams[0].generation.number >= generation
        for agent in pair.agents
    )


@pytest.mark.parametrize("who", ["left", "right", "both"])
def test_a_restart_loses_nothing(who):
    """8445-53: new ufrag and password; data keeps flowing both ways on the old pair until the new one has been
    selected, whoever restarts."""
    pair = ice_pair()
    pair.connect()
    before = [agent.local_credentials for agent in pair.agents]
    media = Media(pair)
    for name, agent in zip(("left", "right"), pair.agents, strict=True):
        if who in (name, "both"):
            agent.restart(pair.sim.now)
    pair.sim.run_for(10)
    media.stop()
    for old, agent in zip(before, pair.agents, strict=True):
        assert agent.local_credentials.ufrag != old.ufrag
        assert agent.local_credentials.pwd != old.pwd
        assert agent.streams[0].generation.number == 1
        assert agent.state == "completed"
    assert (media.lost(), media.refused) == (0, 0)
    assert pair.same_pair()


def test_restarts_again_and_again_with_media():
    pair = ice_pair(left=("10.0.0.1", "10.0.1.1"), signal_delay=0.05)
    pair.connect()
    media = Media(pair)
    for number in range(10):
        pair.agents[number % 2].restart(pair.sim.now)
        pair.sim.run_for(0.07 * number)
    pair.sim.run_for(10)
    media.stop()
    assert (media.lost(), media.refused) == (0, 0)
    assert settled(pair, 1)
    assert pair.same_pair()


def test_the_sockets_are_the_same_and_are_closed_at_the_end():
    """The mappings at NATs, and what firewalls know, stay as they are."""
    pair = ice_pair()
    pair.connect()
    sockets = pair.left.host.sockets
    pair.left.agent.restart(pair.sim.now)
    pair.sim.run_for(10)
    assert pair.left.host.sockets == sockets
    pair.left.agent.close(pair.sim.now)
    pair.sim.run_for(0)
    assert pair.left.host.sockets == []
    assert pair.left.agent.next_timer() is None


def test_after_a_failure_the_sockets_are_fresh():
    """What failed may hang on the mapping of a NAT: another port is another chance."""
    pair = ice_pair()
    pair.connect()
    end = pair.sim.network.drop(lambda packet: True)
    pair.sim.run_for(60)
    assert [agent.state for agent in pair.agents] == ["failed", "failed"]
    old = pair.left.host.sockets
    end()
    pair.left.agent.restart(pair.sim.now)
    pair.sim.run_for(0.01)
    assert pair.left.agent.state == "checking"
    pair.sim.run_for(5)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert not set(old) & set(pair.left.host.sockets)
    assert pair.same_pair()


def test_states_of_a_restart():
    """W3C: from completed to connected and back; from disconnected to checking."""
    pair = ice_pair()
    pair.connect()
    pair.left.events.clear()
    pair.left.agent.restart(pair.sim.now)
    pair.sim.run_for(1)
    assert pair.states(pair.left) == ["connected", "completed"]
    end = pair.sim.network.drop(lambda packet: True)
    pair.sim.run_for(10)
    assert pair.left.agent.state == "disconnected"
    pair.left.agent.restart(pair.sim.now)
    assert pair.left.agent.state == "checking"
    end()
    pair.sim.run_for(5)
    assert pair.left.agent.state == "completed"


def test_old_credentials_are_answered_on_the_old_pair_until_the_peer_has_moved():
    """7675-7: while the old pair carries data, its consent checks go on, and ours are answered."""
    pair = ice_pair(signal_delay=20.0)
    pair.connect(limit=60)
    old = pair.left.agent.local_credentials.ufrag
    pair.left.agent.restart(pair.sim.now)
    begun = pair.sim.now
    pair.sim.run_for(19)  # the peer does not know of it yet
    assert pair.left.agent.state == "connected"
    checks = [
        message
        for message in requests_of(pair.sim, pair.right.host)
        if message.get(Attribute.USERNAME).startswith(old)
    ]
    assert len(checks) >= 3
    assert pair.left.agent.counters["consent.lost"] == 0
    assert pair.left.agent.counters["consent.sent"] >= 3
    pair.sim.run_for(45)
    assert settled(pair, 1)
    assert pair.sim.now - begun < 70


def test_the_old_generation_is_dropped_after_a_while():
    pair = ice_pair()
    pair.connect()
    pair.left.agent.restart(pair.sim.now)
    pair.sim.run_until(lambda: settled(pair, 1), 5)
    assert pair.left.agent.streams[0].previous is not None
    pair.sim.run_for(LINGER)
    assert pair.left.agent.streams[0].previous is None
    assert len(pair.left.agent._session.checklists.lists) == 1


def test_a_second_restart_while_the_old_generation_lingers():
    pair = ice_pair()
    pair.connect()
    for number in (1, 2):
        pair.left.agent.restart(pair.sim.now)
        pair.sim.run_until(lambda number=number: settled(pair, number), 5)
    pair.sim.run_for(LINGER)
    for agent in pair.agents:
        assert agent.streams[0].previous is None
        assert len(agent._session.checklists.lists) == 1
        assert all(len(path.vouchers) == 1 for path in agent._session.paths.by_key.values())


def test_a_restart_during_gathering_and_before_the_peer_is_known():
    pair = ice_pair()
    pair.left.socket_delay = 0.5
    pair.left.gather()
    pair.left.agent.restart(pair.sim.now)
    pair.sim.run_for(0.1)
    pair.left.agent.restart(pair.sim.now)
    pair.right.gather()
    pair.sim.run_for(0)
    pair.connect()
    assert pair.left.agent.streams[0].generation.number == 2
    needs = [event for event in pair.left.events if isinstance(event, NeedSocket)]
    closed = [event for event in pair.left.events if isinstance(event, CloseSocket)]
    assert len(needs) - len(closed) == 1
    assert len(pair.left.host.sockets) == 1


def test_a_restart_whose_answer_never_comes_leaves_the_call_as_it_is():
    """The peer is not told: everything goes on as before, and a later restart is a new attempt."""
    script = scripted()
    script.meet()
    pair = script.complete()
    script.peer.auto_answer = True
    script.agent.restart(script.now)
    script.sim.run_for(120)
    assert script.agent.selected_pair() is pair
    assert script.agent.state == "connected"
    assert script.agent.route() is not None


def test_own_credentials_for_a_restart():
    script = scripted()
    script.meet()
    script.complete()
    script.agent.restart(script.now, ufrag="mine", pwd="abcdefghijklmnopqrstuvwx")
    assert script.agent.local_description.ufrag == "mine"
    with pytest.raises(ValueError, match="pwd"):
        script.agent.restart(script.now, ufrag="mine", pwd="short")
    script.agent.close(script.now)
    with pytest.raises(StateError):
        script.agent.restart(script.now)


def test_a_description_with_other_credentials_makes_the_agent_restart():
    """8839-12: both changed; the same ones again do nothing."""
    script = scripted()
    script.meet()
    script.complete()
    same = Description(script.peer.credentials.ufrag, script.peer.credentials.pwd)
    script.agent.set_remote_description(same, script.now)
    assert not script.agent.streams[0].generation.number
    script.agent.set_remote_description(Description("otherfrag", "anotherpasswordofthepeer"), script.now)
    script.settle()
    (event,) = restarts(script.node)
    assert event.credentials == script.agent.local_credentials
    assert "peer restarted" in event.reason
    assert script.agent.route() is not None


@pytest.mark.parametrize("ufrag", [None, "wxyz"])
def test_the_end_of_candidates_of_the_old_generation_ends_the_old_one_only(ufrag):
    """8838-7: it has no ufrag, and may have crossed our restart: only with candidates of the new one does it count."""
    agent = scripted().agent
    agent.restart(0.0)
    line = "1 1 udp 2130706431 10.0.0.2 9000 typ host" + (f" ufrag {ufrag}" if ufrag else "")
    early = Candidate.parse(line)
    if ufrag:
        agent.add_remote_candidate(early, 0.0)
    agent.add_remote_candidate(None, 0.0)
    agent.set_remote_credentials("wxyz", "p" * 22, 0.0)
    late = Candidate.parse(line.replace("9000", "9001"))
    agent.add_remote_candidate(late, 0.0)
    taken = [candidate.port for candidate in agent.remote_candidates]
    assert taken == ([9000] if ufrag else [9001])


def test_candidates_of_the_old_generation_are_ignored():
    """8838-16: trickling goes on in the new generation, with candidates of its own."""
    script = scripted()
    script.meet()
    script.complete()
    script.agent.restart(script.now)
    script.agent.set_remote_credentials("otherfrag", "anotherpasswordofthepeer", script.now)
    from dataclasses import replace

    stale = replace(script.peer.candidate(), ufrag=script.peer.credentials.ufrag)
    script.agent.add_remote_candidate(stale, script.now)
    assert script.agent.remote_candidates == []
    assert "generation" in script.agent.report(script.now).ignored_candidates[-1][1]
    script.agent.add_remote_candidate(replace(stale, ufrag="otherfrag"), script.now)
    assert len(script.agent.remote_candidates) == 1


@settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(
    seed=st.integers(0, 10**6),
    delay=st.sampled_from([0.0, 0.02, 0.3]),
    steps=st.lists(st.tuples(st.integers(0, 1), st.sampled_from([0.0, 0.003, 0.04, 0.2, 1.0])), max_size=8),
)
def test_restarts_at_any_time_end_on_one_pair_and_lose_nothing(seed, delay, steps):
    pair = ice_pair(seed=seed, left=("10.0.0.1", "10.0.1.1"), signal_delay=delay)
    pair.connect()
    media = Media(pair)
    for side, pause in steps:
        pair.agents[side].restart(pair.sim.now)
        pair.sim.run_for(pause)
    pair.sim.run_for(15)
    media.stop()
    assert (media.lost(), media.refused) == (0, 0)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert pair.same_pair()
    left, right = (agent.streams[0].generation for agent in pair.agents)
    assert (left.remote, right.remote) == (right.local, left.local)
