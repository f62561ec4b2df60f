"""Consent to send (RFC 7675): when checks are sent, what renews it, what ends it, and that an end is final."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from ice_harness import Script, Seen, ice_pair, requests_of, scripted, stun_packets

from fasticePy.ice import Pacer, StateChanged, Timeouts
from fasticePy.stun import Attribute, IntegrityKey, MessageClass

PATIENT = Timeouts(disconnected=1000.0)  # silence has tests of its own in test_states.py


def connected(*, controlling: bool = True, **options: Any) -> Script:
    """An agent that has completed with a scripted peer, which answers nothing from now on."""
    script = scripted(controlling=controlling, **options)
    script.meet(end=True)
    script.complete()
    script.peer.take_checks()
    return script


def consent_checks(script: Script) -> list[Seen]:
    """The checks that were sent once; those that are sent again are connectivity checks."""
    checks = script.peer.take_checks()
    ids = [check.id for check in checks]
    return [check for check in checks if ids.count(check.id) == 1]


def answer_for(script: Script, seconds: float) -> list[Seen]:
    """The peer answers every check of the next `seconds`; gives those checks."""
    script.peer.auto_answer = True
    script.sim.run_for(seconds)
    script.peer.auto_answer = False
    return consent_checks(script)


@pytest.mark.parametrize("controlling", [True, False])
def test_without_answers_there_is_no_route_after_thirty_seconds(controlling):
    """7675-1: sending ends 30 s after the last authenticated answer, not earlier and not later."""
    script = connected(controlling=controlling, timeouts=PATIENT)
    since = script.now
    script.sim.run_for(29.999)
    assert script.node.send(1, b"still allowed")
    assert script.agent.state == "completed"
    script.sim.run_until(lambda: script.agent.state == "failed", limit=1)
    assert script.now == pytest.approx(since + 30.0)
    assert script.agent.route(1) is None
    assert not script.node.send(1, b"never sent")
    assert script.counted("consent.lost") == 1
    assert "consent" in script.agent.state_reason


def test_no_route_before_the_first_valid_pair():
    """7675-1: no application data before a pair has Succeeded, whatever the peer has sent."""
    script = scripted(controlling=False)
    script.meet()
    script.peer.request(use_candidate=True)
    script.sim.run_for(0.4)
    assert script.counted("request.answered") == 1
    assert script.agent.route(1) is None
    script.peer.answer(script.peer.take_checks()[-1])
    script.settle()
    assert script.agent.route(1) is not None


def test_media_of_the_peer_is_no_consent():
    """7675-1: data and the peer's own checks keep coming, but only answers to ours would renew consent."""
    script = connected(timeouts=PATIENT)
    for _ in range(29):
        script.peer.send(b"\x80media")
        script.peer.request()
        script.sim.run_for(1)
    assert script.agent.route(1) is not None
    script.sim.run_for(1.1)
    assert script.agent.state == "failed"
    assert len(script.node.data) == 29


def test_a_consent_check_is_an_ordinary_check_sent_once():
    """7675-2: short-term credentials, a transaction id of its own, never retransmitted."""
    script = connected(timeouts=PATIENT)
    key = script.peer.key
    script.sim.run_for(29)
    checks = consent_checks(script)
    assert len(checks) >= 4
    assert len({check.id for check in checks}) == len(checks)
    for check in checks:
        message = check.message
        assert message.verify_integrity(key)
        assert message.verify_fingerprint()
        assert (
            message.get(Attribute.USERNAME)
            == f"{script.peer.credentials.ufrag}:{script.agent.local_credentials.ufrag}"
        )
        assert message.get(Attribute.PRIORITY)
        assert check.controlling
        assert check.use_candidate  # of the nominated pair: said again, should the peer have missed it


def test_a_thousand_intervals_are_between_four_and_six_seconds_and_random():
    """7675-3: each drawn anew, uniformly from 0.8 to 1.2 times 5 s, whatever else happens."""
    script = connected(timeouts=PATIENT)
    checks = answer_for(script, 5010)
    times = [check.at for check in checks]
    intervals = [later - earlier for earlier, later in pairwise(times)]
    assert len(intervals) >= 980
    assert all(4.0 <= interval <= 6.0 for interval in intervals)
    assert len(set(intervals)) > 0.99 * len(intervals)
    assert min(intervals) < 4.05 and max(intervals) > 5.95
    assert sum(intervals) / len(intervals) == pytest.approx(5.0, abs=0.1)
    assert script.agent.state == "completed"


def test_the_interval_does_not_hang_on_answers():
    """7675-3: the timer of the checks is independent of expiry: unanswered or answered, the pace is the same."""
    script = connected(timeouts=PATIENT)
    start = script.now
    script.sim.run_for(29.9)
    silent = [check.at for check in consent_checks(script)]
    assert 4 <= len(silent) <= 7
    gaps = [later - earlier for earlier, later in pairwise([start, *silent])]
    assert all(4.0 <= gap <= 6.0 for gap in gaps)


def test_a_late_answer_to_an_earlier_check_renews():
    """7675-4: all outstanding checks are waited for; the answer to the one before the last counts."""
    script = connected(timeouts=PATIENT)
    checks = []
    while len(checks) < 2:
        checks.append(script.peer.next_check(limit=7))
    script.sim.run_for(3.0)
    script.peer.answer(checks[0])
    renewed = script.now
    script.settle()
    script.sim.run_for(29.9)
    assert script.agent.route(1) is not None
    script.sim.run_for(0.2)
    assert script.agent.state == "failed"
    assert script.now - renewed == pytest.approx(30.1)


def test_an_answer_after_the_next_check_was_sent_still_measures_the_round_trip():
    """7675-4: each check is awaited by its own round trip, which may exceed the RTO and the interval."""
    script = connected(timeouts=PATIENT)
    check = script.peer.next_check(limit=7)
    script.sim.run_for(8.0)
    script.peer.answer(check)
    script.settle()
    assert script.pair().rtt == pytest.approx(8.0)
    assert script.pair().consent_at == script.now


def test_expiry_discards_what_is_outstanding_and_is_final():
    """7675-5: answers that come after the expiry revive nothing, nor does a check of the peer on that path."""
    script = connected(timeouts=PATIENT)
    script.sim.run_for(30.1)
    assert script.agent.state == "failed"
    before = script.counted("drop.response.unknown")
    checks = consent_checks(script)
    assert checks
    for check in checks:
        script.peer.answer(check)
    script.peer.request(use_candidate=True)
    script.sim.run_for(60)
    assert script.counted("drop.response.unknown") == before + len(checks)
    assert script.agent.state == "failed"
    assert script.agent.route(1) is None
    assert consent_checks(script) == []


def test_a_pair_whose_consent_expired_is_not_used_again_while_another_one_is():
    """7675-5: the same credentials give no consent to the same 5-tuple again, also when the agent lives on because
    it had another valid pair."""
    script = scripted(controlling=False, timeouts=PATIENT)
    peer = script.peer
    second = peer.open()
    script.meet(peer.candidate(), peer.candidate(second, local_preference=1))
    peer.auto_answer = True
    script.sim.run_for(1)
    first_pair, second_pair = script.pair(), script.pair(second)
    assert first_pair.valid and second_pair.valid
    assert script.agent.selected_pair() is first_pair
    # from now on the first path is mute; the second is kept fresh by checks of the peer's making
    peer.auto_answer = lambda seen: seen.socket == second
    script.sim.run_for(25)
    second_pair.consent_at = script.now  # as if its check had been repeated
    script.sim.run_for(6)
    assert script.counted("consent.lost") == 1
    assert script.agent.selected_pair() is second_pair
    peer.take_checks()
    peer.auto_answer = True
    peer.request()  # on the first path: answered, but it triggers nothing
    script.sim.run_for(5)
    assert not first_pair.valid
    assert [check for check in peer.take_checks() if check.socket == peer.socket] == []
    peer.request(use_candidate=True)
    script.sim.run_for(5)
    assert script.agent.selected_pair() is second_pair
    assert not first_pair.nominated


def test_transaction_ids_stay_inside():
    """7675-6: nothing that the agent gives to the application has the id of an outstanding check."""
    script = connected(timeouts=PATIENT)
    check = script.peer.next_check(limit=7)
    agent = script.agent
    shown = (
        str(agent.report(script.now)),
        agent.report(script.now).to_json(),
        repr(agent.stats(script.now)),
        repr(agent.selected_pair()),
        repr(agent.pairs),
        repr(script.node.events),
    )
    for text in shown:
        assert check.id.hex() not in text
        assert repr(check.id)[2:-1] not in text


def test_an_agent_that_only_receives_keeps_its_consent():
    """7675-8: 60 s without sending anything, then sending is allowed at once, for a check was answered just before."""
    script = connected()
    script.peer.auto_answer = True
    for _ in range(60):
        script.peer.send(b"\x80media")
        script.sim.run_for(1)
    pair = script.agent.selected_pair()
    assert pair is not None and pair.consent_at is not None
    assert script.now - pair.consent_at <= 6.0
    assert script.node.send(1, b"now we talk")


def test_an_authenticated_403_revokes_at_once():
    """7675-9: Forbidden, with the peer's MESSAGE-INTEGRITY, ends sending that very moment."""
    script = connected()
    check = script.peer.next_check(limit=7)
    script.peer.answer(check, code=403)
    script.settle()
    assert script.agent.route(1) is None
    assert script.agent.state == "failed"
    assert script.events(StateChanged)[-1].at == check.at
    assert "403" in script.agent.state_reason


@pytest.mark.parametrize("key", [None, IntegrityKey.short_term("a password of somebody else")])
def test_a_403_that_is_not_the_peers_changes_nothing(key):
    """7675-9: neither a forged refusal nor an ICMP error ends consent."""
    script = connected()
    check = script.peer.next_check(limit=7)
    script.peer.answer(check, code=403, key=key)
    script.settle()
    selected = script.agent.selected_pair()
    assert selected is not None
    script.agent.socket_error(selected.socket, selected.destination, "port unreachable", script.now)
    assert script.agent.route(1) is not None
    assert script.agent.state == "completed"
    assert script.counted("drop.response.integrity") == 1
    script.peer.answer(check)  # the check is still outstanding, and its right answer counts
    script.settle()
    assert script.agent.selected_pair().consent_at == script.now  # type: ignore[union-attr]


@pytest.mark.parametrize("code", [400, 401, 420, 500])
def test_other_errors_do_not_renew_and_do_not_revoke(code):
    """7675-1: only a non-error answer renews."""
    script = connected(timeouts=PATIENT)
    since = script.now
    while script.now < since + 24:
        script.peer.answer(script.peer.next_check(limit=7), code=code)
        script.settle()
    assert script.agent.route(1) is not None
    script.sim.run_for(since + 30.01 - script.now)
    assert script.agent.state == "failed"


def test_only_authenticated_answers_from_the_right_place_renew():
    """7675-1: no key, a wrong key, no FINGERPRINT, another source address, an unknown id: none of them renews."""
    script = connected(timeouts=PATIENT)
    peer = script.peer
    other = peer.open()
    since = script.now
    pair = script.agent.selected_pair()
    assert pair is not None
    renewed = pair.consent_at
    while script.now < since + 24:
        check = peer.next_check(limit=7)
        peer.answer(check, key=None)
        peer.answer(check, key=IntegrityKey.short_term("a password of somebody else"))
        peer.answer(check, fingerprint=False)
        peer.answer(check, socket=other)
        peer.answer(check, id=bytes(12))
        script.settle()
    assert pair.consent_at == renewed
    assert script.counted("drop.response.integrity") >= 6
    assert script.counted("drop.response.fingerprint") >= 3
    assert script.counted("drop.response.source") >= 3
    assert script.counted("drop.response.unknown") >= 3
    script.sim.run_for(since + 30.01 - script.now)
    assert script.agent.state == "failed"


def test_an_answer_twice_counts_once():
    script = connected(timeouts=PATIENT)
    check = script.peer.next_check(limit=7)
    script.peer.answer(check)
    script.settle()
    received = script.pair().responses_received
    script.peer.answer(check)
    script.settle()
    assert script.pair().responses_received == received
    assert script.counted("drop.response.unknown") == 1


def test_where_consent_checks_run_there_are_no_keepalive_indications():
    """T16, 7675-9: five idle minutes on both sides without one Binding indication; the checks keep the NAT open, for
    they come more often than every Tr = 15 s. (Consent cannot be switched off, so there is no other case.)"""
    pair = ice_pair()
    pair.connect()
    pair.sim.run_for(300)
    assert pair.left.agent.state == pair.right.agent.state == "completed"
    messages = stun_packets(pair.sim)
    assert not [each for each in messages if each.message_class == MessageClass.INDICATION]
    assert len(requests_of(pair.sim, pair.left.host)) >= 50
    times = [packet.sent_at for packet in pair.sim.network.sent(pair.left.host) if packet.sent_at > 1]
    assert max(later - earlier for earlier, later in pairwise(times)) < 15


def test_both_sides_keep_consent_for_an_hour_under_loss():
    """7675-3, 7675-4: with a tenth of all packets lost, single losses never end a session."""
    pair = ice_pair(seed=7)
    pair.connect()
    for node in pair.nodes:
        node.host.set_link(loss=0.05)
    pair.sim.run_for(3600)
    assert pair.left.agent.counters["consent.lost"] == 0
    assert pair.right.agent.counters["consent.lost"] == 0
    assert pair.left.agent.route(1) is not None


@pytest.mark.parametrize("loss", [0.3, 0.35, 0.4])
@pytest.mark.parametrize("seed", range(4))
def test_consent_outlives_heavy_loss(loss, seed):
    """7675-1: half an hour with so much lost each way that consent checks alone, some six of them before the expiry,
    would end it within minutes; connectivity checks, which are permitted beside them, carry it over."""
    pair = ice_pair(seed=seed)
    pair.connect()
    for node in pair.nodes:
        node.host.set_link(loss=1 - (1 - loss) ** 0.5)  # each packet passes two links
    pair.sim.run_for(1800)
    assert [node.agent.counters["consent.lost"] for node in pair.nodes] == [0, 0]
    assert sum(node.agent.counters["consent.doubted"] for node in pair.nodes) > 0


def test_connectivity_checks_begin_after_half_of_the_expiry_and_are_paced():
    """7675-1, 7675-2: new transaction ids, each sent twice 0.5 s apart, one new check a second from 15 s on."""
    script = connected(timeouts=PATIENT)
    since = script.now
    script.sim.run_for(29.9)
    checks = script.peer.take_checks()
    ids = [check.id for check in checks]
    first: dict[bytes, float] = {}
    for check in checks:
        if ids.count(check.id) > 1:
            start = first.setdefault(check.id, check.at)
            assert check.at - start in (0.0, pytest.approx(0.5))
    starts = list(first.values())
    assert starts[0] - since == pytest.approx(15.0)
    assert [later - earlier for earlier, later in pairwise(starts)] == [pytest.approx(1.0)] * (
        len(starts) - 1
    )
    assert 14 <= len(starts) <= 15
    script.peer.answer(checks[-1])
    script.settle()
    assert script.agent.selected_pair().consent_at == script.now  # type: ignore[union-attr]
    since = script.now
    script.sim.run_until(lambda: script.counted("consent.doubted") > 15, limit=20)
    assert script.now - since == pytest.approx(15.0)


def test_connectivity_checks_of_many_agents_share_the_floor():
    """T1: agents of one process that lose their peers together start these checks 5 ms apart."""
    pair = ice_pair(timeouts=PATIENT)
    pair.connect()
    shared = Pacer()
    for node in pair.nodes:
        node.agent._session.pacer = shared
        node.agent.selected_pair().consent_at = pair.sim.now  # type: ignore[union-attr]
    since = pair.sim.now
    pair.sim.network.drop(lambda packet: True)
    pair.sim.run_for(17)
    sent = [packet for packet in pair.sim.network.sent() if packet.sent_at > since]
    ids = [packet.data[8:20] for packet in sent]
    starts = [
        packet.sent_at
        for number, packet in enumerate(sent)
        if ids.count(ids[number]) > 1 and ids.index(ids[number]) == number
    ]
    assert len(starts) >= 4
    assert all(later - earlier > 0.0049 for earlier, later in pairwise(starts))
    assert starts[1] - starts[0] < 0.006


def test_a_role_conflict_in_a_consent_check_switches_the_role_and_keeps_the_pair():
    """An authenticated 487 is the peer's word: the role changes, consent goes on (8445-32 for checks)."""
    script = connected(timeouts=PATIENT)
    check = script.peer.next_check(limit=7)
    before = check.tiebreaker
    script.peer.answer(check, code=487)
    script.settle()
    assert script.agent.role == "controlled"
    assert script.agent.route(1) is not None
    second = script.peer.next_check(limit=7)
    assert not second.controlling
    assert second.tiebreaker != before


def test_each_component_has_its_own_consent():
    """7675-1: one component that loses its path does not keep its route because the other one lives."""
    pair = ice_pair(components=2, timeouts=PATIENT)
    pair.connect()
    left = pair.left.agent
    first, second = left.selected_pair(1), left.selected_pair(2)
    assert first is not None and second is not None and first.socket != second.socket
    lost = second.destination
    pair.sim.network.drop(lambda packet: packet.destination == lost)
    pair.sim.run_until(lambda: left.route(2) is None, limit=40)
    assert left.state == "failed"


@pytest.mark.parametrize("stall", [5.0, 12.0, 20.0])
def test_a_program_that_stands_still_for_less_than_the_expiry_keeps_its_consent(stall):
    """7675-4: what waits in its sockets is read before anything is declared over."""
    pair = ice_pair()
    pair.connect()
    pair.sim.run_for(7.3)
    pair.left.stall(stall)
    pair.sim.run_for(stall + 10)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert pair.left.agent.counters["consent.lost"] == 0


def test_a_program_that_stood_still_for_too_long_says_so():
    """7675-1: answers that waited in the socket for longer than the expiry are no consent, and the reason tells who
    is to blame."""
    script = connected(timeouts=PATIENT)
    check = script.peer.next_check(limit=7)
    script.node.stall(45)
    script.peer.answer(check)
    script.sim.run_for(46)
    assert script.agent.state == "failed"
    assert script.counted("drop.response.late") == 1
    assert "stood still" in script.agent.state_reason
    assert script.agent.route(1) is None


def test_an_answer_in_the_socket_of_a_program_that_stood_still_is_read_first():
    """7675-1: 28 s without an answer, the last one of which waited 20 s in the socket: consent goes on."""
    script = connected(timeouts=PATIENT)
    script.sim.run_for(8)
    check = script.peer.take_checks()[-1]
    script.node.stall(27)
    script.peer.answer(check)
    script.sim.run_for(28)
    assert script.agent.state == "completed"
    assert script.counted("consent.lost") == 0


def test_an_idle_path_answers_before_it_is_called_silent():
    """Nothing came for 4 s, because no consent check was due: one connectivity check asks, and the state stays."""
    pair = ice_pair()
    pair.connect()
    pair.left.events.clear()
    pair.sim.run_for(600)
    assert pair.left.agent.counters["consent.doubted"] > 0
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert pair.states(pair.left) == []
    assert not [
        entry for entry in pair.left.agent.report(pair.sim.now).entries if entry.outcome == "in doubt"
    ]


def test_the_path_is_found_again_within_a_second_of_an_outage():
    pair = ice_pair()
    pair.connect()
    end = pair.sim.network.drop(lambda packet: True)
    pair.sim.run_for(12)
    assert [agent.state for agent in pair.agents] == ["disconnected", "disconnected"]
    end()
    pair.sim.run_for(1.1)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]


def test_consent_goes_on_whatever_direction_the_media_has():
    """8839-26: the machine is never told of sendonly, recvonly, inactive or b=: an hour without any data in either
    direction, and the checks that keep the path go on."""
    pair = ice_pair()
    pair.connect()
    before = pair.left.agent.counters["consent.sent"]
    pair.sim.run_for(3600)
    assert pair.left.agent.counters["consent.sent"] - before >= 3600 / 6
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
