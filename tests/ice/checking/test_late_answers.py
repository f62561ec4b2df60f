"""Answers that come when nobody waits for them any more: found by the target `ice` of tests/fuzz."""

from __future__ import annotations

from ice_harness import scripted


def test_a_late_answer_does_not_wake_a_stream_that_is_closed() -> None:
    """The check of the peer supersedes ours, and the answer to ours is on its way when the stream is closed."""
    script = scripted(controlling=True)
    script.meet()
    first = script.peer.next_check()
    script.peer.request()
    script.settle()
    answer, agent, socket = script.peer.build_answer(first), script.agent, script.pair().socket
    agent.close_stream(0, script.now)
    script.settle()
    assert agent.datagram_received(socket, answer, script.peer.address(), script.now) is None
    assert agent.counters["drop.response.closed"] == 1
    script.sim.run_for(60)
    assert agent.next_timer() is None


def test_a_late_answer_does_not_revive_a_pair_whose_address_is_gone() -> None:
    script = scripted(controlling=True)
    script.meet()
    pair = script.pair()
    first = script.peer.next_check()
    script.peer.request()
    script.settle()
    answer, agent, socket = script.peer.build_answer(first), script.agent, pair.socket
    agent.addresses_changed([], script.now)
    agent.datagram_received(socket, answer, script.peer.address(), script.now)
    assert agent.counters["drop.response.closed"] == 1
    assert not pair.valid
    assert agent.route() is None


def test_a_late_answer_tells_nothing_to_the_generation_before_a_restart() -> None:
    """Its checks have ended, those too that another check had superseded."""
    script = scripted(controlling=True)
    script.meet()
    pair = script.pair()
    first = script.peer.next_check()
    script.peer.request()
    script.settle()
    script.agent.restart(script.now)
    script.peer.answer(first)
    script.settle()
    assert script.counted("drop.response.late") == 1
    assert not pair.valid
    assert script.agent.route() is None
