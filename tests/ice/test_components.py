"""Two components, as of RTP and RTCP: each has its pairs, its nomination and its route (RFC 8445 5.1.1.1, 8.1)."""

from __future__ import annotations

import pytest
from ice_harness import ice_pair, scripted

from fasticePy.ice import IceAgent, IceOptions, NeedSocket
from fasticePy.machine import Address
from fasticePy.sim import Link


def two(controlling=False, *, end=True, **options):
    """An agent of two components, and a peer with a socket for each."""
    script = scripted(controlling=controlling, components=2, **options)
    first, second = script.peer.socket, script.peer.open()
    script.meet(
        script.peer.candidate(first, foundation="f"),
        script.peer.candidate(second, component=2, foundation="f"),
        end=end,
    )
    return script, first, second


def agent_address(script, component: int) -> Address:
    return next(c.transport_address for c in script.agent.local_candidates if c.component == component)


def test_each_component_has_a_host_candidate_on_each_address():
    """8445-1: 2 addresses x 2 components: 4, bound to their addresses, component ids from 1."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.1.1"), components=2)
    script.gather()
    candidates = script.agent.local_candidates
    assert sorted((candidate.component, candidate.address) for candidate in candidates) == [
        (1, "10.0.0.1"),
        (1, "10.0.1.1"),
        (2, "10.0.0.1"),
        (2, "10.0.1.1"),
    ]
    assert len({candidate.transport_address for candidate in candidates}) == 4
    wanted = script.events(NeedSocket)
    assert sorted((event.component, event.address) for event in wanted) == sorted(
        (candidate.component, (candidate.address, 0)) for candidate in candidates
    )
    for socket in script.node.host.sockets:
        bound = script.node.address_of(socket)
        (candidate,) = [each for each in candidates if each.transport_address == bound]
        assert script.agent.component_of(socket) == candidate.component


@pytest.mark.parametrize("components", [0, 257, -1])
def test_component_numbers_have_limits(components):
    """8445-1: 1 to 256."""
    with pytest.raises(ValueError, match="components"):
        IceAgent(IceOptions(controlling=True, components=components), rng=bytes)


def test_components_have_priorities_of_their_own():
    """8445-10: the second is one less."""
    script, _, _ = two()
    first, second = sorted(script.agent.local_candidates, key=lambda candidate: candidate.component)
    assert first.priority - second.priority == 1
    assert first.foundation == second.foundation


@pytest.mark.parametrize("components", [2, 3, 5])
def test_two_agents_connect_all_components(components):
    pair = ice_pair(components=components, link=Link(latency=0.01, jitter=0.005))
    pair.connect()
    for number in range(1, components + 1):
        assert pair.same_pair(number)
        assert pair.left.send(number, b"component %d" % number)
    pair.sim.run_for(0.1)
    received = {pair.right.agent.component_of(each.socket): each.data for each in pair.right.data}
    assert received == {number: b"component %d" % number for number in range(1, components + 1)}
    assert not pair.left.send(components + 1, b"no such component")


def test_the_state_is_connected_once_every_component_has_a_pair():
    """8445-22: and not before."""
    script, _, second = two()
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.agent.state == "checking"
    check = script.peer.next_check()
    assert check.socket == second
    script.peer.answer(check)
    script.settle()
    assert script.agent.state == "connected"


def test_the_state_is_completed_once_every_component_is_nominated():
    """8445-50, 8445-22: the checklist is Completed when each component has its nominated pair."""
    script, first, second = two()
    script.peer.auto_answer = True
    script.sim.run_for(0.2)
    script.peer.request(use_candidate=True, to=agent_address(script, 1))
    script.settle()
    assert script.agent.streams[0].engine.checklist.state == "running"
    assert script.agent.state == "connected"
    script.peer.request(use_candidate=True, to=agent_address(script, 2), socket=second)
    script.settle()
    assert script.agent.streams[0].engine.checklist.state == "completed"
    assert script.agent.state == "completed"
    assert script.pair(first).nominated and script.pair(second).nominated


def test_the_controlling_agent_nominates_one_pair_of_each_component():
    """8445-47: one USE-CANDIDATE pair per component, whose consent checks say so again."""
    script, first, second = two(controlling=True)
    script.peer.auto_answer = True
    script.sim.run_until(lambda: script.agent.state == "completed")
    assert {seen.socket for seen in script.peer.requests if seen.use_candidate} == {first, second}
    script.sim.run_for(10)
    paths = {(seen.source, seen.socket) for seen in script.peer.requests if seen.use_candidate}
    assert len(paths) == 2


def test_an_unreachable_component_fails_the_session():
    """8445-38: all pairs Failed or Succeeded and a component without a valid pair: the checklist is Failed, but not
    before patience ends. 8445-57: then no component carries data."""
    script, first, second = two()
    script.peer.auto_answer = lambda seen: seen.socket == first
    script.sim.run_for(1)
    assert script.pair(first).valid
    assert script.node.send(1, b"\x80data on a valid pair")  # RFC 8445 12.1: allowed while checks run
    assert not script.node.send(2, b"\x80")
    assert script.agent.state == "checking"
    script.sim.run_until(lambda: script.agent.state == "failed", 60)
    assert 39.5 <= script.now < 41
    assert script.agent.streams[0].engine.checklist.state == "failed"
    assert "component 2" in script.agent.state_reason
    assert script.pair(second).state == "failed"
    assert not script.node.send(1, b"\x80no more")


def test_a_late_candidate_saves_the_component():
    """8445-38 with 8838-5: without end-of-candidates, and before patience ends, nothing has failed."""
    script = scripted(controlling=False, components=2)
    script.meet()
    script.peer.auto_answer = True
    script.sim.run_for(20)
    assert script.agent.state == "checking"
    second = script.peer.open()
    script.agent.add_remote_candidate(script.peer.candidate(second, component=2), script.now)
    script.sim.run_for(0.1)
    assert script.agent.state == "connected"


def test_a_nominated_component_is_checked_no_more_while_the_other_goes_on():
    """8445-49: pairs of that component leave the checklist, those that come later as well."""
    script, first, _ = two(end=False)
    script.peer.auto_answer = lambda seen: seen.socket == first
    script.sim.run_for(0.2)
    script.peer.request(use_candidate=True, to=agent_address(script, 1))
    script.sim.run_for(0.2)
    assert script.pair(first).nominated
    script.peer.take_checks()
    other = script.peer.open()
    for candidate in (
        script.peer.candidate(other, priority=script.peer.candidate().priority + 256, foundation="x"),
        script.peer.candidate(other, component=2, foundation="y"),
    ):
        script.agent.add_remote_candidate(candidate, script.now)
    script.sim.run_for(3)
    destinations = {(seen.socket, seen.source) for seen in script.peer.take_checks() if seen.socket == other}
    assert destinations == {(other, agent_address(script, 2))}
    assert script.agent.state == "checking"


def test_a_check_on_one_component_says_nothing_of_the_other():
    """8445-42: the component of a peer-reflexive candidate is that of the local one that heard it."""
    script = scripted(controlling=False, components=2)
    script.gather()
    script.set_credentials()
    script.peer.request(to=agent_address(script, 2))
    script.settle()
    (remote,) = script.agent.remote_candidates
    assert remote.component == 2
    assert [pair.component for pair in script.agent.pairs] == [2]


def test_the_same_remote_address_may_serve_both_components():
    """Paths are told apart by the local socket, candidates by their component."""
    script = scripted(controlling=False, components=2)
    script.meet(script.peer.candidate(), script.peer.candidate(component=2))
    assert sorted(pair.component for pair in script.agent.pairs) == [1, 2]
    script.peer.auto_answer = True
    script.sim.run_for(0.2)
    assert script.agent.state == "connected"
    assert script.agent.route(1).socket != script.agent.route(2).socket


def test_a_component_that_is_not_in_use_is_ignored():
    """8445-18: candidates of components that we do not have."""
    script = scripted(components=1)
    script.meet(script.peer.candidate(), script.peer.candidate(component=2))
    assert len(script.agent.pairs) == 1
    assert script.counted("remote-candidate.ignored") == 1
