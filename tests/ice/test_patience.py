"""Patience (RFC 8863): no checklist fails before 39.5 s have passed, and after that as soon as nothing is left."""

from __future__ import annotations

import pytest
from ice_harness import Script, ice_pair, scripted

from fasticePy.ice import PairSelected, StateChanged, Timeouts
from fasticePy.stun import Attribute


def failed_at(script: Script) -> float | None:
    times = [event.at for event in script.events(StateChanged) if event.state == "failed"]
    assert len(times) <= 1
    return times[0] if times else None


def refuse(script: Script) -> None:
    """An ICMP error for the check of every pair that is in flight."""
    for pair in script.agent.pairs:
        script.agent.socket_error(pair.socket, pair.destination, "port unreachable", script.now)


@pytest.mark.parametrize("end", [False, True])
def test_without_any_candidate_it_fails_after_39_5_seconds(end):
    """8863-1: not a moment before, and no end-of-candidates is needed: the timer stands in for it (8863-4)."""
    script = scripted()
    script.gather()
    script.sim.run_for(1.25)
    script.set_credentials()  # ours are out, the peer's are here: the timer starts
    if end:
        script.agent.add_remote_candidate(None, script.now)
    script.sim.run_for(39.49)
    assert script.agent.state == "new"
    script.sim.run_for(0.02)
    assert script.agent.state == "failed"
    assert failed_at(script) == pytest.approx(1.25 + 39.5)


def test_the_timer_needs_the_credentials_of_the_peer():
    """8863-1: while the peer is silent nothing counts, for an hour if need be."""
    script = scripted()
    script.gather()
    script.agent.add_remote_candidate(script.peer.candidate(), 0.0)
    script.sim.run_for(3600)
    assert script.agent.state == "new"
    script.set_credentials()
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.agent.state == "connected"


def test_the_timer_can_be_chosen():
    """8863-1: configurable."""
    script = scripted(timeouts=Timeouts(patience=3.0))
    script.gather()
    script.set_credentials()
    script.sim.run_for(5)
    assert failed_at(script) == pytest.approx(3.0)


def test_refused_pairs_fail_exactly_when_patience_ends():
    """8863-2: every pair is refused at once; the failure comes at expiry, neither before nor after."""
    script = scripted()
    script.meet(end=True)
    script.peer.next_check()
    refuse(script)
    assert script.pair().state == "failed"
    script.sim.run_for(39.4)
    assert script.agent.state == "checking"
    script.sim.run_for(5)
    assert failed_at(script) == pytest.approx(39.5)


def test_a_check_in_flight_is_waited_for_and_its_end_is_the_end():
    """8863-2: a pair that was added late is still open when patience ends: failure comes with its own end, at once."""
    script = scripted()
    script.gather()
    script.set_credentials()
    script.sim.run_for(20)
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.sim.run_for(39.0)
    assert script.agent.state == "checking"
    script.sim.run_for(1.0)
    assert failed_at(script) == pytest.approx(20 + 39.5)


def test_a_check_of_the_peer_in_the_last_moment_saves_the_session():
    """8863-1: what patience is for: no candidate of the peer is of use, but its checks make a peer-reflexive one."""
    script = scripted(controlling=False)
    script.gather()
    script.set_credentials()
    script.agent.add_remote_candidate(None, script.now)
    script.sim.run_for(39.3)
    script.peer.request(use_candidate=True)
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.agent.state == "completed"
    script.peer.auto_answer = True
    script.sim.run_for(60)
    assert script.agent.state == "completed"


def test_end_of_candidates_at_one_second_does_not_shorten_it():
    """8863-4: it holds with trickle too."""
    script = scripted()
    script.meet()
    script.peer.next_check()
    refuse(script)
    script.sim.run_for(1.0)
    script.agent.add_remote_candidate(None, script.now)
    script.sim.run_for(37)
    assert script.agent.state == "checking"
    script.sim.run_for(5)
    assert failed_at(script) == pytest.approx(39.5)


def test_a_missing_end_of_candidates_does_not_lengthen_it():
    """8863-4: the timer is the fallback for an end that never comes."""
    script = scripted()
    script.meet(end=False)
    script.sim.run_for(45)
    assert failed_at(script) == pytest.approx(39.5)


def test_the_controlling_agent_waits_for_a_better_pair_before_it_nominates():
    """8863-3: a relayed pair is valid first; a peer-reflexive direct one that comes within the wait wins."""
    script = scripted()
    peer = script.peer
    relay = peer.open()
    script.meet(peer.candidate(relay, type="relay"))
    peer.answer(peer.next_check())
    script.settle()
    assert script.agent.state == "connected"
    script.sim.run_for(0.5)
    peer.auto_answer = True
    peer.request()  # from an address that no signalling told
    script.sim.run_for(2)
    selected = script.events(PairSelected)[-1]
    assert selected.nominated
    assert selected.pair.remote.type == "prflx"
    nominations = [seen for seen in peer.requests if seen.use_candidate]
    assert {seen.socket for seen in nominations} == {peer.socket}


def test_a_refused_nomination_before_patience_ends_is_not_the_end():
    """8863-1: the peer answers an error to the nominating check at 1 s: that pair is out, but no checklist fails
    while the timer runs, and the next best pair is nominated instead."""
    script = scripted(timeouts=Timeouts(nomination_direct=0.0))
    peer = script.peer
    second = peer.open()
    script.meet(peer.candidate(), peer.candidate(second, local_preference=1))
    first_check = peer.next_check()
    second_check = peer.next_check()
    peer.answer(second_check)
    peer.answer(first_check)
    script.settle()
    nomination = peer.next_check()
    assert nomination.use_candidate and nomination.socket == peer.socket
    peer.answer(nomination, code=500)
    script.settle()
    assert script.agent.state != "failed"
    peer.auto_answer = True
    script.sim.run_for(2)
    assert script.agent.selected_pair() is script.pair(second)
    assert script.pair(second).nominated


def test_a_refused_nomination_of_the_only_pair_fails_when_patience_ends():
    """8863-1, 8863-2: nothing else is there: the failure waits for the timer."""
    script = scripted()
    script.meet(end=True)
    peer = script.peer
    peer.answer(peer.next_check())
    script.settle()
    nomination = peer.next_check()
    assert nomination.use_candidate
    peer.answer(nomination, code=500, attributes=[(Attribute.SOFTWARE, "no")])
    script.settle()
    assert script.agent.route(1) is None
    assert script.agent.state == "disconnected"
    script.sim.run_for(60)
    assert failed_at(script) == pytest.approx(39.5)


def test_lost_consent_before_patience_ends_is_not_yet_the_end():
    """8863-1: a valid pair that is not nominated loses its consent at 30 s; the checklist may fail at 39.5 s only,
    and a check that comes between saves it."""
    script = scripted(controlling=False, timeouts=Timeouts(disconnected=100.0))
    peer = script.peer
    script.meet(end=True)
    peer.answer(peer.next_check())
    script.settle()
    assert script.agent.state == "connected"
    script.sim.run_for(31)
    assert script.counted("consent.lost") == 1
    assert script.agent.state == "disconnected"
    second = peer.open()
    peer.request(socket=second, use_candidate=True)
    peer.auto_answer = True
    script.sim.run_for(10)
    assert script.agent.state == "completed"


def test_both_sides_of_a_cut_fail_alike():
    """8863-2: nothing passes in either direction: both fail when the last check ends, 39.5 s after their start."""
    pair = ice_pair(signal_delay=0.1)
    pair.sim.network.drop(lambda packet: True)
    pair.start()
    pair.sim.run_until(lambda: all(agent.state == "failed" for agent in pair.agents), limit=60)
    assert pair.sim.now == pytest.approx(0.1 + 39.5, abs=0.1)
    for agent in pair.agents:
        assert agent.next_timer() is None
