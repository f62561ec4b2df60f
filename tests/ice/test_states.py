"""The W3C states: which, when, why, and in which order; what they become when packets return."""

from __future__ import annotations

import pytest
from ice_harness import ice_pair, scripted

from fasticePy.ice import CloseSocket, StateChanged, Timeouts
from fasticePy.stun import IntegrityKey
from fasticePy.stun.uri import parse_server_url


def history(script) -> list[tuple[str, float]]:
    return [(event.state, event.at) for event in script.events(StateChanged)]


def test_the_usual_way():
    """new, checking with the first pair, connected with the first valid one, completed with its nomination and the
    end of candidates on both sides; each with its time and a reason."""
    script = scripted()
    script.gather()
    assert (script.agent.state, script.agent.state_reason) == ("new", "created")
    script.sim.run_for(0.5)
    script.set_credentials()
    assert script.agent.state == "new"
    script.sim.run_for(0.5)
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    assert script.agent.state == "checking"
    check = script.peer.next_check()
    script.sim.run_for(0.25)
    script.peer.answer(check)
    script.settle()
    assert script.agent.state == "connected"
    script.peer.answer(script.peer.next_check())
    script.settle()
    nominated = script.now
    assert script.agent.state == "connected"  # candidates may still come
    script.sim.run_for(1.0)
    script.agent.add_remote_candidate(None, script.now)
    script.settle()
    assert script.agent.state == "completed"
    assert nominated < script.now
    assert history(script) == [
        ("checking", pytest.approx(1.0)),
        ("connected", pytest.approx(1.25)),
        ("completed", pytest.approx(nominated + 1.0)),
    ]
    assert all(event.reason for event in script.events(StateChanged))


def test_each_state_is_told_once():
    pair = ice_pair(left=("10.0.0.1", "10.0.1.1"), right=("10.0.0.2", "10.0.1.2"), components=2)
    pair.connect()
    for node in pair.nodes:
        assert pair.states(node) == ["checking", "connected", "completed"]


def test_all_components_have_to_connect():
    """Connected means that every component has a pair that carries data."""
    script = scripted(components=2)
    peer = script.peer
    second = peer.open()
    script.meet(peer.candidate(), peer.candidate(second, component=2))
    peer.auto_answer = lambda seen: seen.socket == peer.socket
    script.sim.run_for(3)
    assert script.agent.route(1) is not None
    assert script.agent.route(2) is None
    assert script.agent.state == "checking"
    peer.auto_answer = True
    script.sim.run_for(3)
    assert script.agent.state == "connected"


def test_silence_is_told_after_five_seconds_and_ends_with_a_packet():
    """disconnected 5 s after the last packet of any kind; connected again the moment something comes."""
    script = scripted()
    script.meet(end=True)
    script.complete()
    last = script.now
    script.sim.run_for(4.9)
    assert script.agent.state == "completed"
    script.sim.run_for(0.2)
    assert history(script)[-1] == ("disconnected", pytest.approx(last + 5.0))
    assert "5.0 s" in script.agent.state_reason
    assert script.agent.route(1) is not None  # consent lasts longer than that
    script.peer.send(b"\x80 I am back")
    script.settle()
    assert history(script)[-1] == ("completed", pytest.approx(script.now))
    script.sim.run_for(4.9)
    assert script.agent.state == "completed"


@pytest.mark.parametrize("sign", ["data", "check", "answer"])
def test_every_sign_of_life_counts(sign):
    """Application data, a check of the peer, an answer to a consent check: each alone keeps the state, and each alone
    brings it back."""
    script = scripted()
    script.meet(end=True)
    script.complete()
    peer = script.peer
    peer.take_checks()

    def live(seconds: float) -> None:
        for _ in range(round(seconds)):
            if sign == "data":
                peer.send(b"\x80media")
            elif sign == "check":
                peer.request()
            else:
                for check in peer.take_checks():
                    peer.answer(check)
            script.sim.run_for(1.0)

    live(14)
    assert script.agent.state == "completed"
    script.sim.run_for(8)
    assert script.agent.state == "disconnected"
    live(2)
    assert script.agent.state == "completed"


def test_a_forged_packet_is_no_sign_of_life():
    """Checks and answers with another password, and data from elsewhere, do not keep the state."""
    script = scripted()
    script.meet(end=True)
    script.complete()
    other = script.peer.open()
    wrong = IntegrityKey.short_term("not the password of anybody")
    for _ in range(8):
        script.peer.request(key=wrong)
        script.peer.send(b"\x80media", socket=other)
        for check in script.peer.take_checks():
            script.peer.answer(check, key=wrong)
        script.sim.run_for(1.0)
    assert script.agent.state == "disconnected"


def test_the_threshold_of_silence_can_be_chosen():
    script = scripted(timeouts=Timeouts(disconnected=2.0))
    script.meet(end=True)
    script.complete()
    since = script.now
    script.sim.run_for(3)
    assert history(script)[-1] == ("disconnected", pytest.approx(since + 2.0))


def test_silence_and_then_the_end_of_consent():
    """disconnected at 7 s, failed at 30 s; then nothing is sent any more, not even an answer."""
    script = scripted()
    script.meet(end=True)
    script.complete()
    since = script.now
    script.sim.run_for(40)
    assert history(script)[-2:] == [
        ("disconnected", pytest.approx(since + 5.0)),
        ("failed", pytest.approx(since + 30.0)),
    ]
    assert script.agent.next_timer() is None
    id = script.peer.request()
    script.settle()
    assert script.peer.answer_to(id) is None
    assert script.agent.next_timer() is None
    assert script.agent.state == "failed"


@pytest.mark.parametrize("outage", [8.0, 15.0, 22.0])
def test_an_outage_shorter_than_consent_is_survived(outage):
    """Both go to disconnected and come back on the same pair, without anybody's help."""
    pair = ice_pair()
    pair.connect()
    before = [agent.selected_pair() for agent in pair.agents]
    pair.left.host.set_link(up=False)
    pair.sim.run_for(outage)
    assert [agent.state for agent in pair.agents] == ["disconnected", "disconnected"]
    pair.left.host.set_link(up=True)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), limit=7)
    assert [agent.selected_pair() for agent in pair.agents] == before
    assert pair.left.send(1, b"again")
    pair.sim.run_for(1)
    assert pair.right.data[-1].data == b"again"


def test_an_outage_in_one_direction_only():
    """Left hears right but not the other way: right notices the silence; left, whose checks are not answered, loses
    its consent after 30 s although packets keep coming."""
    pair = ice_pair()
    pair.connect()
    since = pair.sim.now
    pair.sim.network.drop_between([pair.left.host], [pair.right.host])
    pair.sim.run_for(10)
    assert pair.right.agent.state == "disconnected"
    assert pair.left.agent.state == "completed"
    pair.sim.run_until(lambda: pair.left.agent.state == "failed", limit=40)
    assert pair.sim.now - since == pytest.approx(30, abs=6.1)


def test_a_failed_agent_stays_failed():
    script = scripted(timeouts=Timeouts(patience=1.0))
    script.gather()
    script.set_credentials()
    script.sim.run_for(2)
    assert script.agent.state == "failed"
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.agent.add_remote_candidate(None, script.now)
    script.peer.request(use_candidate=True)
    script.sim.run_for(60)
    assert script.agent.state == "failed"
    assert script.agent.pairs == []
    assert script.peer.requests == []
    assert [state for state, _ in history(script)] == ["failed"]


@pytest.mark.parametrize(
    "moment", ["new", "gathering", "checking", "connected", "completed", "disconnected", "failed"]
)
def test_close_at_any_moment_is_the_end(moment):
    """closed once; all sockets are given back; no timer, no transmit, no event afterwards, whatever comes in."""
    script = scripted(timeouts=Timeouts(patience=3.0))
    peer = script.peer
    if moment == "gathering":
        script.node.socket_delay = 1.0
    if moment != "new":
        script.gather()
    if moment in ("checking", "connected", "completed", "disconnected", "failed"):
        script.meet(end=True)
        script.sim.run_for(0.2)
    if moment == "connected":
        peer.answer(peer.next_check())
        script.settle()
    if moment in ("completed", "disconnected"):
        script.complete()
    if moment == "disconnected":
        script.sim.run_for(8)
    if moment == "failed":
        script.sim.run_for(45)
    agent = script.agent
    expected = {"gathering": "new"}.get(moment, moment)
    assert agent.state == expected
    sockets = list(script.node.host.sockets)
    agent.close(script.now)
    agent.close(script.now + 1)
    script.settle()
    assert agent.state == "closed"
    assert history(script)[-1] == ("closed", script.now)
    assert [event.socket for event in script.events(CloseSocket)] == sockets
    assert script.node.host.sockets == []
    count = len(script.node.events)
    # everything that may still come in
    agent.set_remote_credentials("otherfrag", "anotherpasswordofthepeer", script.now)
    agent.add_remote_candidate(peer.candidate(), script.now)
    agent.add_remote_candidate(None, script.now)
    if moment not in ("new", "gathering"):
        assert agent.datagram_received(sockets[0], peer.build_request(), peer.address(), script.now) is None
        assert agent.datagram_received(sockets[0], b"\x80data", peer.address(), script.now) is None
        agent.socket_error(sockets[0], peer.address(), "gone", script.now)
        agent.socket_error(sockets[0], None, "gone", script.now)
    agent.addresses_resolved(0, [("192.0.2.1", 3478)], script.now)
    agent.resolution_failed(0, "gone", script.now)
    agent.socket_failed(0, "gone", script.now)
    agent.handle_timer(script.now + 100)
    assert agent.next_timer() is None
    assert agent.take_transmits() == []
    assert agent.take_events() == []
    assert agent.route(1) is None
    assert len(script.node.events) == count
    assert agent.report(script.now).conclusion == "The agent was closed."


def test_close_inside_every_event():
    """CVE-2026-32942: the application closes the agent in the handler of each event there is; nothing breaks."""
    reference = ice_pair()
    reference.left.gather([parse_server_url("stun:192.0.2.1")])
    reference.connect(limit=20)
    for number in range(len(reference.left.events)):
        pair = ice_pair()
        agent = pair.left.agent
        seen = []

        def on_event(event, seen=seen, agent=agent, number=number, pair=pair):
            seen.append(event)
            if len(seen) == number + 1:
                agent.close(pair.sim.now)

        pair.left.on_event = on_event
        pair.left.gather([parse_server_url("stun:192.0.2.1")])
        pair.start()
        pair.sim.run_for(20)
        assert agent.state == "closed"
        assert agent.next_timer() is None
        assert pair.left.host.sockets == []


def test_credentials_that_are_malformed_are_refused():
    script = scripted()
    script.meet()
    agent = script.agent
    script.set_credentials()  # the same once more is fine
    with pytest.raises(ValueError, match="ufrag"):
        agent.set_remote_credentials("o", "anotherpasswordofthepeer", script.now)
    with pytest.raises(ValueError, match="pwd"):
        agent.set_remote_credentials("other", "short", script.now)


def test_one_component_of_two_has_a_path():
    """W3C: `disconnected` is for what was connected; while a component has never had a path, ICE is still checking."""
    pair = ice_pair(components=2)
    for node in pair.nodes:
        node.refuse_socket = lambda event: "no room" if event.component == 2 else None
    pair.start()
    pair.sim.run_for(2)
    assert [agent.selected_pair(1) is not None for agent in pair.agents] == [True, True]
    assert [agent.state for agent in pair.agents] == ["checking", "checking"]
    pair.left.host.set_link(up=False)
    pair.sim.run_for(10)
    assert [agent.state for agent in pair.agents] == ["checking", "checking"]


def test_a_path_that_is_lost_while_others_are_tried():
    """W3C: what was connected is disconnected, and does not begin again with checking."""
    pair = ice_pair(nomination="continuous", timeouts=Timeouts(patience=120.0))
    pair.connect("completed")
    pair.left.host.set_link(up=False)
    pair.sim.run_for(45)
    assert [agent.selected_pair() for agent in pair.agents] == [None, None]
    assert [agent.state for agent in pair.agents] == ["disconnected", "disconnected"]
    assert all(pair.states(node).count("checking") == 1 for node in pair.nodes)
    pair.sim.run_for(90)
    assert [agent.state for agent in pair.agents] == ["failed", "failed"]
