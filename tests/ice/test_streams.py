"""Several streams under one session: credentials, candidates and checklists of their own; role, pacing and foundations
in common (RFC 8445 6.1.2, 6.1.4)."""

from __future__ import annotations

from itertools import pairwise

import pytest
from ice_harness import ice_pair, requests_of

from fasticePy.errors import StateError
from fasticePy.ice import Negotiation, StateChanged
from fasticePy.stun import Attribute


def test_streams_connect_side_by_side():
    """8839-23: each stream has a user fragment and a password of its own."""
    pair = ice_pair(streams=3)
    pair.connect()
    left, right = pair.agents
    assert len({stream.generation.local.ufrag for stream in left.streams}) == 3
    for index in range(3):
        mine, theirs = left.selected_pair(1, index), right.selected_pair(1, index)
        assert (mine.stream, theirs.stream) == (index, index)
        assert pair.left.address_of(mine.socket) == theirs.destination
        route = left.route(1, index)
        pair.left.send_from(route.socket, route.address, b"\x80stream %d" % index)
    pair.sim.run_for(1)
    assert sorted(received.data for received in pair.right.data) == [b"\x80stream %d" % i for i in range(3)]


def test_one_role_one_tiebreaker_one_pace():
    """8445-62: one tie-breaker for all streams; 8445-60: one check every Ta for all of them together."""
    pair = ice_pair(streams=3, left=("10.0.0.1", "10.0.1.1"), right_options={"controlling": True})
    pair.connect()
    assert sorted(agent.role for agent in pair.agents) == ["controlled", "controlling"]
    requests = [packet for packet in pair.sim.network.sent(pair.left.host) if packet.data[:2] == b"\x00\x01"]
    breakers = {
        message.get(Attribute.ICE_CONTROLLING) or message.get(Attribute.ICE_CONTROLLED)
        for message in requests_of(pair.sim, pair.left.host)
    }
    assert len(breakers) <= 2  # a conflict draws another one
    first = {}
    for packet in requests:
        first.setdefault(packet.data[8:20], packet.sent_at)
    moments = sorted(first.values())
    assert all(later - earlier >= 0.0499 for earlier, later in pairwise(moments))


def test_foundations_are_common_so_that_one_success_thaws_the_others():
    """8445-37: pairs of one foundation in other streams are unfrozen when one has succeeded."""
    pair = ice_pair(streams=2, signal_delay=0.1)
    pair.start()
    pair.sim.run_for(0.1)
    states = [pair.left.agent.pairs_of(stream)[0].state for stream in (0, 1)]
    assert states == ["waiting", "frozen"] or states == ["in-progress", "frozen"]
    pair.connect()
    assert {pair.left.agent.pairs_of(stream)[0].foundation for stream in (0, 1)} == {
        pair.left.agent.pairs_of(0)[0].foundation
    }


def test_a_stream_restarts_alone():
    pair = ice_pair(streams=2)
    pair.connect()
    before = [stream.generation.local for stream in pair.left.agent.streams]
    pair.left.agent.restart(pair.sim.now, stream=1)
    pair.sim.run_for(5)
    after = [stream.generation.local for stream in pair.left.agent.streams]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]


def test_a_stream_is_added_in_the_middle():
    """8839-18: an added stream has a new checklist."""
    pair = ice_pair()
    pair.connect()
    for node in pair.nodes:
        assert node.agent.add_stream(pair.sim.now) == 1
    left, right = pair.agents
    for one, other in ((left, right), (right, left)):
        mine = other.streams[1].generation.local
        one.set_remote_credentials(mine.ufrag, mine.pwd, pair.sim.now, stream=1)
    pair.sim.run_for(5)
    assert left.selected_pair(1, 1) is not None
    assert right.selected_pair(1, 1) is not None
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]


def test_a_stream_is_removed():
    """8839-18: valid list flushed, transactions ended, sockets closed; the other one does not notice."""
    pair = ice_pair(streams=2)
    pair.connect()
    pair.left.agent.close_stream(1, pair.sim.now)
    pair.sim.run_for(1)
    agent = pair.left.agent
    assert agent.route(1, 1) is None
    assert agent.route(1, 0) is not None
    assert agent.state == "completed"
    assert len(pair.left.host.sockets) == 1
    assert not [path for path in agent._session.paths.by_key.values() if path.vouchers[0].stream == 1]
    told = [
        event.state for event in pair.left.events if isinstance(event, StateChanged) and event.stream == 1
    ]
    assert told[-1] == "closed"
    with pytest.raises(StateError):
        agent.restart(pair.sim.now, stream=1)


def test_the_worst_stream_is_the_state_of_the_session():
    pair = ice_pair(streams=2)
    pair.connect()
    socket = pair.left.agent.selected_pair(1, 1).socket
    address = pair.left.address_of(socket)
    pair.sim.network.drop(lambda packet: address in (packet.source, packet.destination))
    pair.sim.run_for(12)
    assert pair.left.agent.state == "disconnected"
    assert pair.left.agent.streams[0].state == "completed"
    pair.sim.run_for(40)
    assert pair.left.agent.state == "failed"
    assert pair.left.agent.route(1, 0) is not None


def test_limits():
    with pytest.raises(ValueError, match="streams=65"):
        ice_pair(streams=65)
    with pytest.raises(ValueError, match="streams=0"):
        ice_pair(streams=0)
    agent = ice_pair(streams=64).left.agent
    with pytest.raises(ValueError, match="64"):
        agent.add_stream(0.0)
    agent.close(0.0)
    with pytest.raises(StateError):
        agent.add_stream(0.0)


def sdp(lines):
    """A session description with what ICE needs of it."""
    text = ["v=0", "o=- 1 1 IN IP4 0.0.0.0", "s=-", "t=0 0", *lines.attributes]
    for index, stream in enumerate(lines.streams):
        text += [f"m=audio {stream.port} RTP/AVP 0", f"a=mid:{index}", *stream.lines]
    return "\r\n".join(text) + "\r\n"


def test_offers_and_answers_from_facts():
    """8839-14: before nomination the same and more; 8839-15: after it only the nominated candidate, with
    `remote-candidates` of the controlling side; 8839-16: which the other side finds valid."""
    pair = ice_pair(streams=2, left=("10.0.0.1", "10.0.1.1"))
    offerer, answerer = Negotiation(), Negotiation()
    agents = pair.agents
    for node in pair.nodes:
        node.gather()
    pair.sim.run_for(0)

    def facts(agent):
        return [agent.facts(index, mid=str(index)) for index in range(2)]

    news = answerer.remote_offer(sdp(offerer.offer(facts(agents[0]))))
    for stream in news.streams:
        agents[1].set_remote_description(stream.description, pair.sim.now, stream=stream.index)
    news = offerer.remote_answer(sdp(answerer.answer(facts(agents[1]))))
    for stream in news.streams:
        agents[0].set_remote_description(stream.description, pair.sim.now, stream=stream.index)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in agents), 10)
    offer = offerer.offer(facts(agents[0]))
    for stream in offer.streams:
        assert sum(line.startswith("a=candidate:") for line in stream.lines) == 1
        assert any(line.startswith("a=remote-candidates:1 10.0.0.2 ") for line in stream.lines)
    news = answerer.remote_offer(sdp(offer))
    for stream in news.streams:
        assert stream.race.decide(agents[1].pairs_of(stream.index)).value == "answer"
