"""The report: a bounded record, one sentence that says why, and no secret anywhere."""

from __future__ import annotations

import json
import pickle

import pytest
from ice_harness import HOST_PRIORITY, ice_pair, scripted
from ice_servers import error, gathering, silent

from fasticePy.ice import Candidate, IceOptions, Limits, Report, StateEntry, Timeouts
from fasticePy.ice.reporting.record import Record
from fasticePy.stun import IntegrityKey


def conclusion(script) -> str:
    return script.agent.report(script.sim.now).conclusion


# -- the sentence ------------------------------------------------------------------------------------------------------


def test_nothing_came_through_signalling():
    script = scripted()
    script.gather()
    script.sim.run_for(60)
    assert conclusion(script) == "The peer's description never came: check the signalling."


def test_no_local_candidate():
    """With the reasons of the sockets and servers that failed."""
    script = scripted(timeouts=Timeouts(patience=1.0))
    script.node.refuse_socket = lambda event: "permission denied"
    script.node.gather()
    script.settle()
    script.set_credentials()
    script.agent.add_remote_candidate(script.peer.candidate(), 0.0)
    script.sim.run_for(2)
    assert script.agent.state == "failed"
    assert conclusion(script) == (
        "There is no local candidate (10.0.0.1:0: permission denied): check interfaces, address filters and port range."
    )


def test_no_remote_candidate():
    script = scripted(timeouts=Timeouts(patience=1.0))
    script.gather()
    script.set_credentials()
    script.sim.run_for(2)
    assert script.agent.state == "failed"
    assert conclusion(script) == (
        "The peer sent no candidate and no check came: look at the signalling and at the peer's gathering."
    )


def test_only_remote_candidates_that_are_of_no_use():
    """As with a browser's mDNS names: they came, and it is told why they do not count."""
    script = scripted(timeouts=Timeouts(patience=1.0), mdns="off")
    script.gather()
    script.set_credentials()
    for name in ("6e1b7e2c-11aa-4f5e-9d2c-2f9a2c3d4e5f.local", "0e1b7e2c-11aa-4f5e-9d2c-2f9a2c3d4e5f.local"):
        script.agent.add_remote_candidate(script.peer.candidate(address=(name, 5000)), 0.0)
    script.sim.run_for(2)
    assert conclusion(script) == (
        "None of the peer's candidates can be used (host 6e1b7e2c-11aa-4f5e-9d2c-2f9a2c3d4e5f.local:5000: an mDNS "
        "name, and mDNS is off and 1 more), and no check of it came: it hides its addresses behind mDNS names, which "
        "are found only in its own local network, where multicast to UDP port 5353 passes, and not with mdns off; "
        "everywhere else a STUN or TURN server is needed."
    )


def test_nothing_fits_together():
    script = scripted(timeouts=Timeouts(patience=1.0))
    script.gather()
    script.set_credentials()
    script.agent.add_remote_candidate(script.peer.candidate(address=("2001:db8::9", 5000)), 0.0)
    script.sim.run_for(2)
    assert script.agent.state == "failed"
    assert conclusion(script).startswith("No candidates fit together (families, components)")


def test_no_answer_and_no_check_of_the_peer():
    """The usual NAT case: it says what is there on both sides, and that a relay is what is missing."""
    script = scripted()
    script.meet(end=True)
    script.sim.run_for(45)
    assert script.agent.state == "failed"
    assert conclusion(script) == (
        "1 check sent on 1 pair, none answered; the peer's checks never arrived; we have only host, the peer only "
        "host candidates: a relay is needed, add a TURN server."
    )


def test_no_answer_but_checks_of_the_peer():
    script = scripted(controlling=False)
    script.meet(end=True)
    script.peer.request()
    script.sim.run_for(45)
    assert script.agent.state == "failed"
    text = conclusion(script)
    assert "1 check of the peer arrived" in text
    assert "our checks do not reach the peer, or its answers not us" in text


def test_no_answer_even_with_a_relay():
    script = scripted()
    script.meet(script.peer.candidate(type="relay"), end=True)
    script.sim.run_for(45)
    assert "even the relay does not carry" in conclusion(script)


def test_servers_that_failed_are_named():
    run = gathering(timeouts=Timeouts(patience=6.0))
    run.server(lambda message, _: error(message, 500), "192.0.2.1")
    run.server(silent, "192.0.2.2")
    run.start("stun:192.0.2.1", "stun:192.0.2.2")
    run.agent.set_remote_credentials("peerfrag", "passwordofthescriptedpeer", 0.0)
    run.sim.run_for(1)
    other = run.sim.network.add_host("10.0.0.99")
    run.agent.add_remote_candidate(
        Candidate("1", 1, "udp", HOST_PRIORITY, other.addresses[0], 9, "host"), 1.0
    )
    run.sim.run_for(60)
    assert run.agent.state == "failed"
    text = run.agent.report(run.sim.now).conclusion
    assert text.endswith("(stun:192.0.2.1: error 500; stun:192.0.2.2: no answer to 4 requests in 5.0 s).")


def test_a_peer_that_refuses():
    script = scripted()
    script.meet(end=True)
    wrong = IntegrityKey.short_term("not the right password")
    script.peer.auto_answer = False
    for _ in range(7):
        script.peer.answer(script.peer.next_check(limit=40), code=401, key=None)
    script.peer.answer(script.peer.requests[0], key=wrong)
    script.sim.run_for(45)
    text = conclusion(script)
    assert text.startswith("The peer refuses our checks")
    assert text.endswith("look at ufrag and password in the signalling.")


def test_a_path_that_was_lost():
    script = scripted()
    script.meet(end=True)
    script.complete()
    assert conclusion(script) == "A path works."
    script.sim.run_for(10)
    assert conclusion(script).startswith("The path went silent: nothing received for 5.0 s.")
    script.sim.run_for(30)
    assert conclusion(script).startswith("A path worked for 0.1 s and was lost: consent to send on host 10.")


def test_closed():
    script = scripted()
    script.agent.close(0.0)
    assert conclusion(script) == "The agent was closed."


# -- its form ----------------------------------------------------------------------------------------------------------


def reports() -> list[tuple[str, Report]]:
    """Reports of agents of many fates."""
    pair = ice_pair(left=("10.0.0.1", "2001:db8::1"), right=("10.0.0.2", "2001:db8::2"), components=2)
    found = [("new", pair.left.agent.report(0.0))]
    pair.connect()
    found.append(("completed", pair.left.agent.report(pair.sim.now)))
    pair.right.host.set_link(up=False)
    pair.sim.run_for(60)
    found.append(("failed", pair.left.agent.report(pair.sim.now)))
    run = gathering("10.0.0.1", nat="198.51.100.1")
    run.real_server("192.0.2.1")
    run.run("stun:192.0.2.1", "stun:nowhere.example", "stun:[2001:db8::1]:99")
    found.append(("gathered", run.agent.report(run.sim.now)))
    run.agent.close(run.sim.now)
    found.append(("closed", run.agent.report(run.sim.now)))
    return found


def test_json_round_trip():
    """to_json() is one JSON object; it has all that to_dict() has, and goes through JSON unchanged."""
    for _, report in reports():
        text = report.to_json()
        data = json.loads(text)
        assert json.dumps(data) == text
        assert set(data) == set(report.to_dict())
        assert data["state"] == report.state
        assert data["conclusion"] == report.conclusion
        assert [pair["pair"] for pair in data["pairs"]] == [pair.pair for pair in report.pairs]
        assert [entry["outcome"] for entry in data["entries"]] == [entry.outcome for entry in report.entries]
        assert data["counters"] == report.counters


def test_it_is_a_snapshot():
    """What happens later does not change a report that was made."""
    script = scripted()
    script.meet()
    report = script.agent.report(0.0)
    before = report.to_json()
    script.complete()
    script.sim.run_for(60)
    assert report.to_json() == before
    assert pickle.loads(pickle.dumps(report)) == report


def test_the_text_has_everything_for_a_person():
    texts = {fate: str(report) for fate, report in reports()}
    assert "stun:nowhere.example: no such name" in texts["gathered"]
    assert "you are 198.51.100.1" in texts["gathered"]
    assert "srflx udp 198.51.100.1" in texts["gathered"]
    assert "succeeded nominated" in texts["completed"]
    assert "20.0 ms" in texts["completed"]
    assert texts["failed"].splitlines()[0].startswith("ICE failed as controlling: consent to send on")
    for text in texts.values():
        assert text.isascii()
        assert all(len(line) < 400 for line in text.splitlines())


def test_every_state_of_the_pair_is_in_the_record_with_its_time():
    script = scripted()
    script.meet(end=True)
    script.complete()
    script.sim.run_for(31)
    story = [(entry.subject, entry.outcome) for entry in script.agent.report(0.0).entries]
    wanted = [
        ("agent", "gathering"),
        ("socket", "open"),
        ("local", "found"),
        ("agent", "complete"),
        ("agent", "ufrag peerfrag"),
        ("remote", "taken"),
        ("pair", "formed"),
        ("agent", "checking"),
        ("remote", "the peer has no more"),
        ("pair", "valid, round trip 0.0 ms"),
        ("agent", "connected"),
        ("pair", "nominated"),
        ("agent", "completed"),
        ("agent", "disconnected"),
        ("consent", "in doubt"),
        ("consent", "lost"),
        ("agent", "failed"),
    ]
    positions = [story.index(entry) for entry in wanted]
    assert positions == sorted(positions)
    times = [entry.at for entry in script.agent.report(0.0).entries]
    assert times == sorted(times)


def test_the_record_is_bounded():
    """Limits.record: a session that goes on for hours with a lot to tell keeps the latest entries only."""
    script = scripted(limits=Limits(record=50))
    script.meet(end=True)
    script.complete()
    for _ in range(300):
        script.sim.run_for(7.5)  # disconnected
        script.peer.auto_answer = True
        script.sim.run_for(7.5)  # and back
        script.peer.auto_answer = False
    entries = script.agent.report(script.now).entries
    assert len(entries) == 50
    assert entries[-1].at > script.now - 20
    assert script.agent._session.record.dropped > 300


# -- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [True, False])
def test_no_password_is_ever_shown(chosen):
    """Neither ours nor the peer's: not in reports, statistics, events, reprs of anything public, or the record."""
    own = {"local_ufrag": "ourfrag", "local_pwd": "averysecretpasswordofours"} if chosen else {}
    script = scripted(**own)
    script.meet(end=True)
    script.complete()
    script.peer.request(key=IntegrityKey.short_term("x" * 30))
    script.sim.run_for(40)
    agent = script.agent
    report = agent.report(script.now)
    shown = [
        str(report),
        repr(report),
        report.to_json(),
        repr(agent),
        repr(agent.stats(script.now)),
        repr(script.node.events),
        repr(agent.local_credentials),
        repr(agent.local_description),
        repr(agent.pairs),
        repr(agent.local_candidates),
        repr(agent.remote_candidates),
        repr(agent.options),
        repr(agent._session),
        repr(IceOptions(controlling=True, **own)),
    ]
    for text in shown:
        assert agent.local_credentials.pwd not in text
        assert script.peer.credentials.pwd not in text


@pytest.mark.parametrize(("flood", "kept"), [("pair", "agent"), ("agent", "pair")])
def test_a_flood_of_one_kind_leaves_the_other(flood, kept):
    """The course of the session and the details are sure of half of the room each."""
    record = Record(20)
    for number in range(15):
        record.add(number, kept, f"{number}", "happened")
    for number in range(1000):
        record.add(100 + number, flood, f"{number}", "happened")
    entries = record.entries()
    assert len(entries) == 20
    assert [entry.name for entry in entries if entry.subject == kept] == [str(n) for n in range(5, 15)]
    assert [entry.name for entry in entries if entry.subject == flood] == [str(n) for n in range(990, 1000)]
    assert list(entries) == sorted(entries, key=lambda entry: entry.at)
    assert record.dropped == 995


def test_one_type_of_state_entry():
    """What `Agent.state_history` has and what a report has are told by the same class."""
    pair = ice_pair()
    pair.connect()
    states = pair.left.agent.report(pair.sim.now).states
    assert {type(entry) for entry in states} == {StateEntry}
    assert states[0]._fields == ("at", "state", "reason")
