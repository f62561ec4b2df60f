"""The sentence at the end of a report: each cause by its name, and what to change."""

from __future__ import annotations

from typing import Any

import pytest
from ice_harness import Script, ice_pair, scripted
from ice_servers import gathering, silent

from fasticePy.ice import Candidate, Timeouts
from fasticePy.ice.reporting.conclusion import Situation, conclude
from fasticePy.ice.reporting.report import Report

SHORT = Timeouts(patience=1.0)


def report(script: Script) -> Report:
    return script.agent.report(script.now)


def failed(script: Script) -> str:
    assert script.agent.state == "failed"
    return report(script).conclusion


# -- signalling --------------------------------------------------------------------------------------------------------


def test_checks_without_a_description():
    script = scripted()
    script.gather()
    script.peer.request()
    script.sim.run_for(1)
    assert report(script).conclusion == (
        "The peer's description never came, though 1 check of the peer did: it has ours; check the signalling of its "
        "answer."
    )


def test_our_own_description():
    """As when both ends read the message that one of them has sent."""
    script = scripted(timeouts=SHORT)
    script.gather()
    script.agent.set_remote_description(script.agent.local_description, script.now)
    script.sim.run_for(2)
    assert failed(script) == (
        "The peer's description is our own: the signalling hands it back to us instead of to the peer."
    )


def test_a_restart_that_is_never_answered():
    script = scripted()
    script.meet(end=True)
    script.complete()
    script.sim.run_for(40)
    assert script.agent.state == "failed"
    script.agent.restart(script.now)
    script.sim.run_for(60)
    assert report(script).conclusion.startswith(
        "The restart was never answered: the peer has to take our new"
    )


def test_candidates_that_came_too_late():
    script = scripted(timeouts=SHORT)
    script.gather()
    script.set_credentials()
    script.sim.run_for(2)
    assert script.agent.state == "failed"
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.agent.add_remote_candidate(None, script.now)
    text = failed(script)
    assert "came after ICE had failed" in text
    assert text.endswith("signal them sooner, raise Timeouts.patience, or restart ICE.")
    assert report(script).entries[-1].reason == "came after ICE had failed"


def test_checks_of_another_branch():
    """The password reached somebody whose description did not reach us."""
    script = scripted(timeouts=SHORT)
    script.meet(end=True)
    script.peer.request(username=f"{script.agent.local_credentials.ufrag}:another")
    script.sim.run_for(45)
    assert failed(script).startswith(
        "Checks came with our password, but from ufrag another instead of that of the peer's description"
    )


@pytest.mark.parametrize("wrong", [{"username": "oldufrag:peerfrag"}, {"key": "wrong"}])
def test_checks_with_another_password_or_ufrag(wrong: dict[str, Any]):
    script = scripted(timeouts=SHORT)
    script.meet(end=True)
    if "key" in wrong:
        wrong = {"key": script.peer.key}
    script.peer.request(**wrong)
    script.peer.request(**wrong)
    script.sim.run_for(45)
    assert failed(script).startswith(
        "2 checks of the peer came with another ufrag or password than ours and had to be refused"
    )


def test_roles_that_never_agree():
    script = scripted()
    script.meet(end=True)
    for _ in range(10):
        script.peer.answer(script.peer.next_check(), code=487)
    script.peer.take_checks()
    script.sim.run_for(45)
    assert failed(script).startswith("The peer answered 487 Role Conflict 10 times: both sides keep claiming")


# -- candidates --------------------------------------------------------------------------------------------------------


def test_port_range_exhausted():
    script = scripted(timeouts=SHORT)
    script.node.refuse_socket = lambda event: "no free port in 40000-40001 on 10.0.0.1 (all 2 in use)"
    script.node.gather()
    script.settle()
    script.set_credentials()
    script.sim.run_for(2)
    assert failed(script) == (
        "There is no local candidate: no free port in 40000-40001 on 10.0.0.1 (all 2 in use): widen the port range, or "
        "end what holds its ports."
    )


def test_port_range_exhausted_before_the_peer_has_said_anything():
    """No signalling helps against that."""
    script = scripted(timeouts=SHORT)
    script.node.refuse_socket = lambda event: "no free port in 40000-40001 on 10.0.0.1 (all 2 in use)"
    script.node.gather()
    script.settle()
    assert script.agent.report(1.0).conclusion.startswith(
        "There is no local candidate: no free port in 40000-40001"
    )


def test_filters_left_nothing():
    script = scripted(timeouts=SHORT)
    script.agent.gather([], [], 0.0)
    script.set_credentials()
    script.sim.run_for(2)
    assert failed(script) == (
        "There is no local candidate: interface and address filters have left no address of this host (`decisions` "
        "has the reason for each); relax them."
    )


def test_families_that_do_not_meet():
    script = scripted(timeouts=SHORT)
    script.gather()
    script.set_credentials()
    script.agent.add_remote_candidate(script.peer.candidate(address=("2001:db8::9", 5000)), 0.0)
    script.sim.run_for(2)
    assert failed(script) == (
        "No candidates fit together (families, components): we have only IPv4, the peer only IPv6: turn on the other "
        "family on one side, or add a TURN server, which has both."
    )


def test_components_that_do_not_meet():
    script = scripted(timeouts=SHORT, components=2)
    script.gather()
    script.set_credentials()
    script.agent.add_remote_candidate(script.peer.candidate(component=2), 0.0)
    script.sim.run_for(45)
    assert "1 pair, none answered" in failed(script)


def test_candidates_that_fit_by_nothing_obvious():
    """Link-local addresses meet only link-local ones: said without naming the one that differs."""
    script = scripted(timeouts=SHORT, agent_addresses=("2001:db8::1",))
    script.gather()
    script.set_credentials()
    script.agent.add_remote_candidate(script.peer.candidate(address=("fe80::9", 5000)), 0.0)
    script.sim.run_for(2)
    assert failed(script) == (
        "No candidates fit together (families, components): we have only host, the peer only host: both need one of "
        "the same address family, transport, component and scope."
    )


# -- the network -------------------------------------------------------------------------------------------------------


def test_nothing_ever_left():
    script = scripted()
    script.meet(end=True)
    script.sim.run_for(0.1)
    pair = script.pair()
    script.agent.socket_error(pair.socket, pair.destination, "network is unreachable", script.now)
    script.sim.run_for(45)
    assert failed(script) == (
        "No check could be sent, or the network sent it back, on 1 pair (network is unreachable); the peer's checks "
        "never arrived: look at routes, firewalls and the VPN of this host, and at whether the peer listens."
    )


def test_udp_blocked_and_no_tcp():
    run = gathering(timeouts=Timeouts(patience=6.0))
    run.server(silent, "192.0.2.1")
    run.start("stun:192.0.2.1")
    run.agent.set_remote_credentials("peerfrag", "passwordofthescriptedpeer", 0.0)
    run.agent.add_remote_candidate(Candidate("1", 1, "udp", 1, "192.0.2.77", 9, "host"), 0.0)
    run.sim.run_for(60)
    assert run.agent.state == "failed"
    assert (
        "nothing at all came back over UDP, which seems to be blocked here: offer TCP candidates, or add a TURN server "
        "over TCP or TLS (stun:192.0.2.1: no answer to 4 requests in 5.0 s)."
    ) in run.agent.report(run.sim.now).conclusion


def test_consent_lost_after_working():
    """How long it worked, and what was heard last."""
    script = scripted()
    script.meet(end=True)
    script.complete()
    script.peer.auto_answer = True
    script.sim.run_for(100)
    script.peer.auto_answer = False
    script.sim.run_for(40)
    text = failed(script)
    assert text.startswith("A path worked for 9")
    assert "; the last thing heard was its answer 4" in text
    assert text.endswith(" Restart ICE to look for another path.")


def test_consent_lost_though_the_peer_goes_on_sending():
    script = scripted()
    script.meet(end=True)
    script.complete()
    for _ in range(35):
        script.peer.send(b"\x80media")
        script.sim.run_for(1)
    text = failed(script)
    assert "; the peer's packets came until " in text
    assert "what we send does not arrive" in text


def test_a_program_that_stood_still():
    script = scripted()
    script.meet(end=True)
    script.complete()
    script.node.stall(45)
    script.sim.run_for(60)
    assert (
        failed(script)
        .split(" Restart")[0]
        .endswith("The event loop of this program was blocked: move long work into threads or processes.")
    )


def test_a_driver_that_counts_stalls():
    situation = Situation(
        now=60.0, state="disconnected", reason="nothing received for 5.0 s", counters={"loop.stalled": 2}
    )
    assert conclude(situation).endswith(
        "The event loop of this program was blocked (2 times): move long work into threads or processes."
    )


# -- states, streams, generations --------------------------------------------------------------------------------------


def test_states_with_their_times_and_reasons():
    """W3C's states, as they were told; the latest 64 only."""
    script = scripted()
    script.meet(end=True)
    script.complete()
    script.sim.run_for(40)
    told = report(script).states
    assert [each.state for each in told] == ["checking", "connected", "completed", "disconnected", "failed"]
    assert [each.at for each in told] == sorted(each.at for each in told)
    assert all(each.reason for each in told)
    assert report(script).streams[0].states == told
    assert "  states\n" in str(report(script))
    assert report(script).to_dict()["states"][0] == told[0]


def test_the_states_are_bounded():
    script = scripted()
    script.meet(end=True)
    script.complete()
    for _ in range(60):
        script.sim.run_for(7.5)
        script.peer.auto_answer = True
        script.sim.run_for(7.5)
        script.peer.auto_answer = False
    assert len(report(script).states) == 64
    assert report(script).states[-1].at > script.now - 16


def test_streams_and_generations():
    pair = ice_pair(streams=2)
    pair.connect()
    pair.left.agent.restart(pair.sim.now, stream=1)
    made = pair.left.agent.report(pair.sim.now)
    assert [(each.index, each.generation, each.previous) for each in made.streams] == [
        (0, 0, None),
        (1, 1, 0),
    ]
    assert all(each.selected[0] is not None for each in made.streams)
    assert {(each.stream, each.generation) for each in made.pairs} == {(0, 0), (1, 0)}
    text = str(made)
    assert "stream 1: connected, generation 1, generation 0 still there; components 1: host" in text
    assert "stream 1, generation 0: host" in text


def test_candidates_are_counted_by_type():
    pair = ice_pair(left=("10.0.0.1", "10.0.0.3"))
    pair.connect()
    assert "    host udp             2 ours     1 the peer's" in str(pair.left.agent.report(pair.sim.now))


def test_every_sentence_is_one_for_people():
    """No rule is left without words, whatever comes together."""
    for state in ("new", "checking", "failed", "disconnected", "closed", "connected", "completed"):
        text = conclude(Situation(now=0.0, state=state, reason="why"))  # type: ignore[arg-type]
        assert text.endswith(".")
