"""Nomination: when the controlling agent settles on a pair, and what the controlled one makes of it (RFC 8445 8.1)."""

from __future__ import annotations

import itertools

import pytest
from ice_harness import HOST_PRIORITY, ice_pair, make_pair, scripted

from fasticePy.ice import StateChanged, Timeouts
from fasticePy.ice.selecting.nomination import Decision, FirstValidNomination, RegularNomination, make_policy
from fasticePy.sim import Link
from fasticePy.stun import Attribute, parse

# -- the policy by itself --------------------------------------------------------------------------------------------

NOW = 10.0
POLICY = RegularNomination(Timeouts())


def valid(priority, *, since=NOW, rtt=0.02, **fields):
    return make_pair(
        priority, state="succeeded", valid=True, validated_at=since, consent_at=since, rtt=rtt, **fields
    )


def decide(*pairs, more_expected=False, now=NOW) -> Decision:
    return POLICY.decide(pairs, more_expected, now)


def test_without_a_valid_pair_there_is_nothing_to_decide():
    assert decide() == decide(make_pair(9), make_pair(3, state="in-progress", started_at=1.0)) == Decision()


@pytest.mark.parametrize("more_expected", [True, False])
def test_the_best_valid_pair_is_nominated_when_nothing_better_is_left(more_expected):
    """8445-47: one of the valid pairs, the best. For a direct one nobody waits for candidates that may come."""
    best = valid(9)
    others = [
        valid(5),
        make_pair(7),
        make_pair(8, state="in-progress", started_at=NOW),
        make_pair(11, state="failed"),
        make_pair(12, state="in-progress", started_at=NOW, retired=True),
    ]
    assert decide(*others, best, more_expected=more_expected) == Decision(nominate=best)


@pytest.mark.parametrize("state", ["frozen", "waiting"])
def test_a_better_pair_that_was_not_tried_yet_gets_its_chance(state):
    """DESIGN 5: at most 100 ms among direct pairs."""
    best, rival = valid(5), make_pair(9, state=state)
    assert decide(best, rival) == Decision(again_at=pytest.approx(NOW + 0.1))
    assert decide(best, rival, now=NOW + 0.0999) == Decision(again_at=pytest.approx(NOW + 0.1))
    assert decide(best, rival, now=NOW + 0.1) == Decision(nominate=best)


def test_a_better_pair_that_is_checked_anew_gets_its_chance():
    """Its first check may have been lost at a closed NAT; the peer's check that came triggers another one."""
    best, rival = valid(5), make_pair(9, state="waiting", started_at=NOW - 3)
    assert decide(best, rival) == Decision(again_at=pytest.approx(NOW + 0.1))


@pytest.mark.parametrize(
    ("rtt", "patience"),
    [(0.001, 0.02), (0.005, 0.02), (0.01, 0.04), (0.02, 0.08), (0.2, 0.1), (None, 0.02)],
)
def test_a_better_pair_on_its_way_gets_a_few_round_trips(rtt, patience):
    """DESIGN 5: four round trips of the valid pair, 20 ms at least, 100 ms at most."""
    best, rival = valid(5, rtt=rtt), make_pair(9, state="in-progress", started_at=NOW)
    assert decide(best, rival) == Decision(again_at=pytest.approx(NOW + patience))
    assert decide(best, rival, now=NOW + patience) == Decision(nominate=best)


def test_a_dead_pair_is_not_waited_for():
    """DESIGN 5: never until dead pairs have timed out (39.5 s)."""
    best = valid(5)
    dead = [
        make_pair(9, state="in-progress", started_at=NOW - 0.5),
        make_pair(8, state="in-progress", started_at=1.0),
    ]
    assert decide(best, *dead) == Decision(nominate=best)


def test_the_most_hopeful_of_several_decides_when_to_ask_again():
    best = valid(5, rtt=0.01)
    rivals = [
        make_pair(9, state="in-progress", started_at=NOW - 0.03),
        make_pair(8, state="in-progress", started_at=NOW),
        make_pair(7),
    ]
    assert decide(best, *rivals) == Decision(again_at=pytest.approx(NOW + 0.01))


def test_the_wait_counts_from_the_first_valid_pair():
    """A better one that becomes valid meanwhile does not prolong it."""
    first, second = valid(3, since=NOW - 0.09), valid(5)
    assert decide(first, second, make_pair(9)) == Decision(again_at=pytest.approx(NOW + 0.01))


RELAYED = {"local_type": "relay"}


@pytest.mark.parametrize("relayed", [{"local_type": "relay"}, {"remote_type": "relay"}])
def test_while_only_a_relayed_pair_is_valid_direct_ones_get_a_second(relayed):
    """DESIGN 5: about one second while both sides have direct candidates."""
    best = valid(5, **relayed)
    for rival in (make_pair(9), make_pair(9, state="in-progress", started_at=NOW - 5)):
        assert decide(best, rival) == Decision(again_at=pytest.approx(NOW + 1.0))
        assert decide(best, rival, now=NOW + 1.0) == Decision(nominate=best)


def test_a_better_relayed_pair_alone_is_not_waited_for():
    """The one relay is as good as the other."""
    best = valid(5, **RELAYED)
    assert decide(best, make_pair(9, **RELAYED)) == Decision(nominate=best)


def test_while_only_a_relayed_pair_is_valid_candidates_that_may_come_get_a_second():
    best = valid(5, **RELAYED)
    assert decide(best, more_expected=True) == Decision(again_at=pytest.approx(NOW + 1.0))
    assert decide(best, more_expected=False) == Decision(nominate=best)


def test_a_direct_pair_ends_the_wait_of_the_relayed_one():
    direct = valid(9)
    assert decide(valid(5, since=NOW - 0.5, **RELAYED), direct) == Decision(nominate=direct)


def test_the_first_valid_pair_is_the_choice_of_the_fastest_policy():
    policy = FirstValidNomination()
    best = valid(5)
    assert policy.decide([make_pair(9), best, valid(3)], True, NOW) == Decision(nominate=best)
    assert policy.decide([make_pair(9)], True, NOW) == Decision()


def test_policies_have_names():
    assert isinstance(make_policy("regular", Timeouts()), RegularNomination)
    assert isinstance(make_policy("fastest", Timeouts()), FirstValidNomination)
    with pytest.raises(ValueError, match="'aggressive'"):
        make_policy("aggressive", Timeouts())


# -- the controlling agent -------------------------------------------------------------------------------------------


def controlling(count=1, **options):
    """A controlling agent; its peer has `count` sockets, the first one of the highest priority."""
    script = scripted(**options)
    sockets = [script.peer.socket, *(script.peer.open() for _ in range(count - 1))]
    script.meet(
        *(
            script.peer.candidate(socket, local_preference=65535 - number, foundation=f"f{number}")
            for number, socket in enumerate(sockets)
        ),
        end=True,
    )
    return script, sockets


def test_the_only_pair_is_nominated_at_once():
    """8445-47, 8445-37: the check of the valid pair is repeated with USE-CANDIDATE; its success nominates."""
    script, _ = controlling()
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.agent.state == "connected"
    nomination = script.peer.next_check()
    assert (nomination.use_candidate, nomination.at) == (True, 0.05)
    assert not script.pair().nominated
    script.peer.answer(nomination)
    script.settle()
    assert script.pair().nominated
    assert script.agent.state == "completed"


def test_a_better_pair_that_answers_soon_is_the_one():
    """Multi-homed peer: the second path answers first, the best one 60 ms later."""
    script, (best, second) = controlling(2)
    first_check = script.peer.next_check()
    assert first_check.socket == best
    check = script.peer.next_check()
    script.sim.run_for(0.02)
    script.peer.answer(check)
    script.settle()
    assert script.agent.selected_pair(1) is script.pair(second)
    script.sim.run_for(0.0)
    script.peer.answer(first_check)
    script.settle()
    assert script.agent.selected_pair(1) is script.pair(best)
    nomination = script.peer.next_check()
    assert (nomination.socket, nomination.use_candidate) == (best, True)


def test_dead_better_pairs_hold_the_nomination_back_for_100_ms_at_most():
    """DESIGN 5: three better pairs never answer."""
    script, sockets = controlling(4)
    script.peer.auto_answer = lambda seen: seen.socket == sockets[3]
    script.sim.run_until(lambda: script.agent.state == "connected")
    valid_at = script.now
    script.sim.run_until(lambda: script.agent.state == "completed")
    assert script.now - valid_at <= 0.1 + 0.05
    assert script.pair(sockets[3]).nominated


def test_a_direct_pair_gets_a_second_while_only_the_relay_works():
    """DESIGN 5: the direct one is dead."""
    script = scripted()
    other = script.peer.open()
    script.meet(
        script.peer.candidate(),
        script.peer.candidate(other, type="relay", foundation="relay"),
        end=True,
    )
    script.peer.auto_answer = lambda seen: seen.socket == other
    script.sim.run_until(lambda: script.agent.state == "connected")
    valid_at = script.now
    assert script.node.send(1, b"\x80already")  # data does not wait for the nomination
    script.sim.run_until(lambda: script.agent.state == "completed")
    assert script.now - valid_at == pytest.approx(1.0, abs=0.06)
    assert script.pair(other).nominated


def test_a_direct_pair_that_opens_within_the_second_is_preferred_to_the_relay():
    """A hole that needs a retransmission to open, at 500 ms."""
    script = scripted()
    other = script.peer.open()
    script.meet(
        script.peer.candidate(),
        script.peer.candidate(other, type="relay", foundation="relay"),
        end=True,
    )
    script.peer.auto_answer = lambda seen: seen.socket == other or seen.at > 0.4
    script.sim.run_until(lambda: script.agent.state == "completed")
    assert script.pair().nominated
    assert script.now < 0.7


def test_one_pair_of_a_component_is_nominated_and_no_second_one():
    """8445-47: neither when a better pair appears after the nomination."""
    script, (socket,) = controlling()
    script.peer.auto_answer = True
    script.sim.run_until(lambda: script.agent.state == "completed")
    better = script.peer.open()
    id = script.peer.request(socket=better, priority=HOST_PRIORITY)
    script.sim.run_for(20)
    assert script.peer.answer_to(id) is not None
    assert {seen.socket for seen in script.peer.requests if seen.use_candidate} == {socket}
    assert script.agent.selected_pair(1) is script.pair(socket)


def test_candidates_that_come_after_the_nomination_change_nothing():
    """8445-47, 8445-49: trickled ones are not checked any more."""
    script = scripted()
    script.meet()
    script.peer.auto_answer = True
    script.sim.run_until(lambda: script.pair().nominated)
    later = script.peer.open()
    script.agent.add_remote_candidate(script.peer.candidate(later, foundation="later"), script.now)
    script.agent.add_remote_candidate(None, script.now)
    script.sim.run_for(10)
    assert all(seen.socket != later for seen in script.peer.requests)
    assert script.agent.state == "completed"


def test_other_pairs_leave_the_checklist_when_one_is_nominated():
    """8445-49: no checks of them, no retransmissions, an empty queue; what was on its way still counts."""
    script, sockets = controlling(4)
    first, second = script.peer.next_check(), script.peer.next_check()
    script.peer.request(socket=sockets[3])  # queued
    script.peer.answer(first)
    script.settle()
    script.peer.auto_answer = lambda seen: seen.use_candidate
    script.sim.run_until(lambda: script.pair().nominated)
    assert not script.agent.streams[0].engine.checklist.triggered
    assert script.agent.streams[0].engine.checklist.state == "completed"
    script.peer.take_checks()
    script.sim.run_for(2)
    assert script.peer.take_checks() == []
    assert [pair.nominated for pair in script.agent.pairs] == [True, False, False, False]
    script.peer.answer(second)
    script.settle()
    assert script.pair(second.socket).valid
    assert script.agent.selected_pair(1) is script.pair()


def test_an_error_to_the_nomination_fails_the_session_when_patience_ends():
    """8445-37: the pair is no longer valid, it and the checklist are Failed; the latter not before patience ends
    (RFC 8863)."""
    script, _ = controlling()
    script.peer.answer(script.peer.next_check())
    nomination = script.peer.next_check()
    assert nomination.use_candidate
    script.peer.answer(nomination, code=400)
    script.settle()
    pair = script.pair()
    assert (pair.state, pair.valid, pair.nominated) == ("failed", False, False)
    assert script.agent.state == "disconnected"
    assert script.agent.route(1) is None
    script.sim.run_until(lambda: script.agent.state == "failed", 60)
    assert script.agent.streams[0].engine.checklist.state == "failed"
    assert script.now == pytest.approx(39.5)


def test_after_an_error_to_the_nomination_another_pair_takes_its_place():
    """8445-37: nothing was nominated successfully, so 8445-47 allows it."""
    script, (best, second) = controlling(2)
    for check in [script.peer.next_check() for _ in range(2)]:
        script.peer.answer(check)
    nomination = script.peer.next_check()
    assert (nomination.use_candidate, nomination.socket) == (True, best)
    script.peer.answer(nomination, code=500)
    script.settle()
    assert script.agent.selected_pair(1) is script.pair(second)
    nomination = script.peer.next_check()
    assert (nomination.use_candidate, nomination.socket) == (True, second)
    script.peer.answer(nomination)
    script.settle()
    assert script.agent.state == "completed"
    assert not script.pair(best).valid


def test_an_error_to_the_nomination_after_patience_fails_at_once():
    """8445-37: there is nothing left that could take its place."""
    script, _ = controlling()
    first = script.peer.next_check()
    script.sim.run_for(39)
    script.peer.take_checks()
    script.peer.answer(first)
    nomination = script.peer.next_check()
    assert nomination.use_candidate
    script.sim.run_for(1)
    script.peer.answer(nomination, code=500)
    script.settle()
    assert script.agent.state == "failed"


def test_silence_to_the_nomination_fails_the_session():
    """8445-37: answers are lost from the nomination on; consent (30 s) is the first to notice."""
    script, _ = controlling()
    script.peer.answer(script.peer.next_check())
    assert script.peer.next_check().use_candidate
    script.sim.run_until(lambda: script.agent.state == "failed", 60)
    pair = script.pair()
    assert (pair.state, pair.valid, pair.nominated) == ("failed", False, False)
    assert script.agent.route(1) is None


def test_a_nomination_in_vain_does_not_end_a_session_that_works():
    """8445-37: the nominated path dies before the answer, a better one came to life meanwhile and carries data: it is
    nominated when the other has failed."""
    script, (best, second) = controlling(2)
    script.peer.auto_answer = lambda seen: not seen.use_candidate and (seen.socket == second or seen.at > 1)
    script.sim.run_until(lambda: any(seen.use_candidate for seen in script.peer.requests))
    assert script.pair(second).nominating
    script.sim.run_for(1)
    script.peer.request(socket=best)
    script.sim.run_for(0.2)
    assert script.agent.selected_pair(1) is script.pair(best)
    script.peer.auto_answer = lambda seen: seen.socket == best
    script.sim.run_until(lambda: script.agent.state == "completed", 60)
    assert script.pair(best).nominated
    assert "failed" not in [event.state for event in script.events(StateChanged)]


def test_a_lost_nomination_is_repeated():
    """8445-47: the transaction goes on with the same bytes."""
    script, _ = controlling()
    script.peer.answer(script.peer.next_check())
    lost = script.peer.next_check()
    again = script.peer.next_check()
    assert (again.id, again.use_candidate) == (lost.id, True)
    assert again.at - lost.at == pytest.approx(0.5)
    script.peer.answer(again)
    script.settle()
    assert script.agent.state == "completed"


def test_a_late_answer_to_an_older_check_does_not_end_the_nomination():
    """8445-44, 8445-47: two checks were on their way when the first answer came; the second answer says nothing of
    the nomination, which is repeated until it is answered."""
    script, _ = controlling()
    first = script.peer.next_check()
    script.peer.request()
    second = script.peer.next_check()
    script.peer.answer(first)
    lost = script.peer.next_check()
    assert lost.use_candidate
    script.peer.answer(second)
    again = script.peer.next_check()
    assert (again.id, again.at) == (lost.id, pytest.approx(lost.at + 0.5))
    assert not script.pair().nominated
    script.peer.answer(again)
    script.settle()
    assert script.pair().nominated


def test_a_check_of_the_peer_during_the_nomination_does_not_spoil_it():
    """8445-43, 8445-44: the pair is In-Progress again, so the running check is replaced; it still nominates."""
    script, _ = controlling()
    script.peer.answer(script.peer.next_check())
    nomination = script.peer.next_check()
    script.peer.request()
    again = script.peer.next_check()
    assert again.use_candidate
    script.peer.answer(nomination)
    script.settle()
    assert script.pair().nominated
    script.peer.answer(again)
    script.sim.run_for(1)
    assert script.peer.take_checks() == []
    assert script.agent.state == "completed"


# -- the controlled agent --------------------------------------------------------------------------------------------


def controlled(count=1):
    """A controlled agent that knows `count` candidates of its peer, the first one of the highest priority."""
    script = scripted(controlling=False)
    sockets = [script.peer.socket, *(script.peer.open() for _ in range(count - 1))]
    script.meet(
        *(
            script.peer.candidate(socket, local_preference=65535 - number, foundation=f"f{number}")
            for number, socket in enumerate(sockets)
        ),
        end=True,
    )
    return script, sockets


@pytest.mark.parametrize("order", list(itertools.permutations(["nominate", "answer", "check"])))
def test_a_nomination_counts_in_any_order(order):
    """8445-45: USE-CANDIDATE on a Succeeded pair nominates at once, otherwise the success of the triggered check."""
    script, _ = controlled()
    first = script.peer.next_check()
    for event in order:
        if event == "nominate":
            script.peer.request(use_candidate=True)
        elif event == "check":
            script.peer.request()
        else:
            script.peer.answer(first)
        script.settle()
    assert script.pair().nominated
    assert script.agent.state == "completed"
    script.sim.run_for(1)
    assert script.peer.take_checks() == []


def test_a_nomination_of_an_untested_pair_waits_for_its_triggered_check():
    """8445-45."""
    script, _ = controlled()
    first = script.peer.next_check()
    script.peer.request(use_candidate=True)
    script.settle()
    assert not script.pair().nominated
    second = script.peer.next_check()
    assert second.id != first.id
    assert not script.pair().nominated
    script.peer.answer(second)
    script.settle()
    assert script.pair().nominated


def test_a_nomination_whose_triggered_check_fails_nominates_nothing():
    """8445-45: the pair is Failed; the session once patience ends (RFC 8863), for another pair may still work."""
    script, (best, second) = controlled(2)
    script.peer.next_check()
    script.peer.request(use_candidate=True)
    script.settle()
    triggered = script.peer.next_check()
    assert triggered.socket == best
    script.peer.answer(triggered, code=500)
    script.settle()
    pair = script.pair(best)
    assert (pair.state, pair.valid, pair.nominated) == ("failed", False, False)
    assert script.agent.state == "checking"
    script.sim.run_until(lambda: script.agent.state == "failed", 60)
    assert script.pair(second).state == "failed"


def test_a_refused_nomination_nominates_nothing():
    """8445-45: not accepted: an error, here 420."""
    script, _ = controlled()
    script.peer.answer(script.peer.next_check())
    id = script.peer.request(use_candidate=True, attributes=[(0x7FFF, b"")])
    script.settle()
    assert script.peer.answer_to(id).code == 420
    assert not script.pair().nominated


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_of_several_nominations_the_best_pair_is_used(order):
    """8445-48: an RFC 5245 peer nominates every pair that it checks; librice, pion TestAcceptAggressiveNomination."""
    script, sockets = controlled(3)
    script.peer.auto_answer = True
    for number in order:
        script.peer.request(socket=sockets[number], use_candidate=True)
        script.sim.run_for(0.06)
    script.sim.run_for(0.5)
    assert script.agent.selected_pair(1) is script.pair(sockets[0])
    assert [pair.nominated for pair in script.agent.pairs] == [True, False, False]
    assert script.agent.route(1).address == script.peer.address(sockets[0])
    assert script.agent.state == "completed"


def test_a_better_pair_that_was_nominated_too_is_checked_to_its_end():
    """8445-48: USE-CANDIDATE came on both, and the answer to our check of the better one was lost: that one is
    repeated, for the peer uses it."""
    script, (best, second) = controlled(2)
    script.peer.auto_answer = lambda seen: seen.socket == second or seen.at > 0.4
    for socket in (best, second):
        script.peer.request(socket=socket, use_candidate=True)
    script.sim.run_for(0.2)
    assert script.agent.selected_pair(1) is script.pair(second)
    script.sim.run_for(0.6)
    assert script.agent.selected_pair(1) is script.pair(best)
    assert [pair.nominated for pair in script.agent.pairs] == [True, False]
    script.sim.run_for(2)
    assert script.agent.state == "completed"


def test_a_better_nomination_is_followed_after_completion():
    """8445-48: the aggressive peer's better pair came through late."""
    script, sockets = controlled(2)
    script.peer.auto_answer = lambda seen: seen.socket == sockets[1] or seen.at > 0.5
    script.peer.request(socket=sockets[1], use_candidate=True)
    script.sim.run_until(lambda: script.agent.state == "completed")
    assert script.agent.selected_pair(1) is script.pair(sockets[1])
    script.sim.run_for(0.6)
    script.peer.request(socket=sockets[0], use_candidate=True)
    script.sim.run_for(0.1)
    assert script.agent.selected_pair(1) is script.pair(sockets[0])
    assert script.agent.state == "completed"


def test_a_worse_nomination_is_followed_once_the_first_luck_has_settled():
    """DESIGN 5: browsers move the nomination in a call; within the first second it is the order of luck."""
    script, sockets = controlled(2)
    script.peer.auto_answer = True
    script.peer.request(use_candidate=True)
    script.sim.run_for(0.3)
    script.peer.request(socket=sockets[1], use_candidate=True)
    script.sim.run_for(0.3)
    assert script.agent.selected_pair(1) is script.pair(sockets[0])
    script.sim.run_for(5)
    script.peer.request(socket=sockets[1], use_candidate=True)
    script.sim.run_for(0.3)
    assert script.agent.selected_pair(1) is script.pair(sockets[1])
    assert script.pair(sockets[0]).valid
    assert [pair.nominated for pair in script.agent.pairs].count(True) == 1


def test_a_controlled_agent_never_nominates():
    """8445-26: however long it takes."""
    script, _ = controlled(2)
    script.peer.auto_answer = True
    script.sim.run_for(60)
    assert not any(seen.use_candidate for seen in script.peer.requests)
    assert script.agent.state == "connected"
    assert not any(pair.nominated for pair in script.agent.pairs)


# -- data before and after ------------------------------------------------------------------------------------------


def test_data_travels_on_a_valid_pair_before_the_nomination():
    """8445-57, pion TestWriteUseValidPair: on the best valid one, then on the selected one only."""
    script, sockets = controlled(2)
    checks = [script.peer.next_check() for _ in range(2)]
    assert not script.node.send(1, b"\x80too early")
    script.peer.answer(checks[1])
    script.settle()
    assert script.node.send(1, b"\x80one")
    script.peer.answer(checks[0])
    script.settle()
    assert script.node.send(1, b"\x80two")
    script.peer.request(socket=sockets[1], use_candidate=True)
    script.settle()
    assert script.node.send(1, b"\x80three")
    script.settle()
    sent = [
        (packet.data, packet.destination)
        for packet in script.sim.network.sent(script.node.host)
        if packet.data[:1] == b"\x80"
    ]
    assert sent == [
        (b"\x80one", script.peer.address(sockets[1])),
        (b"\x80two", script.peer.address(sockets[0])),
        (b"\x80three", script.peer.address(sockets[1])),
    ]


def test_data_is_taken_on_pairs_that_were_not_selected():
    """8445-59: on each path that an authenticated check has validated, on no other."""
    script, sockets = controlled(3)
    script.peer.auto_answer = True
    script.peer.request(socket=sockets[0], use_candidate=True)
    script.peer.request(socket=sockets[1])
    script.sim.run_for(2)
    assert script.agent.selected_pair(1) is script.pair(sockets[0])
    stranger = script.peer.open()
    for name, socket in (("selected", sockets[0]), ("other", sockets[1]), ("stranger", stranger)):
        script.peer.send(b"\x80" + name.encode(), socket=socket)
    script.settle()
    assert [received.data for received in script.node.data] == [b"\x80selected", b"\x80other"]
    assert script.counted("drop.data.unvalidated") == 1


# -- two agents ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_multi_homed_agents_end_on_the_same_pair(seed):
    """DESIGN 5: 3 x 3 addresses, with jitter; both sides end on one pair, the best one that works."""
    pair = ice_pair(
        seed=seed,
        link=Link(latency=0.005, jitter=0.004),
        left=[f"10.0.{number}.1" for number in range(3)],
        right=[f"10.0.{number}.2" for number in range(3)],
    )
    pair.connect()
    assert pair.same_pair()
    for agent in pair.agents:
        assert agent.selected_pair(1) is agent.pairs[0]


@pytest.mark.parametrize("seed", range(8))
def test_multi_homed_agents_end_on_the_same_pair_when_some_paths_are_dead(seed):
    """Only networks of the same number reach each other, and the best ones not at all."""
    pair = ice_pair(
        seed=seed,
        left=[f"10.0.{number}.1" for number in range(4)],
        right=[f"10.0.{number}.2" for number in range(4)],
    )

    def unreachable(packet):
        network = packet.source[0].split(".")[2]
        return network != packet.destination[0].split(".")[2] or network == "0"

    pair.sim.network.drop(unreachable)
    assert pair.connect() < 2
    assert pair.same_pair()


@pytest.mark.parametrize("loss", [0.1, 0.3])
@pytest.mark.parametrize("seed", range(6))
def test_loss_delays_but_does_not_split(seed, loss):
    """Both end on the same pair, whatever is lost."""
    pair = ice_pair(
        seed=seed,
        link=Link(latency=0.02, jitter=0.01, loss=loss),
        left=("10.0.0.1", "10.0.1.1"),
        right=("10.0.0.2", "10.0.1.2"),
    )
    pair.connect(limit=40)
    assert pair.same_pair()


def test_one_pair_carries_use_candidate_in_the_whole_session():
    """8445-47: capture of two multi-homed agents."""
    pair = ice_pair(left=("10.0.0.1", "10.0.1.1"), right=("10.0.0.2", "10.0.1.2"))
    pair.connect()
    pair.sim.run_for(30)
    ways = {
        (packet.source, packet.destination)
        for packet in pair.sim.network.sent()
        if packet.data[:2] == b"\x00\x01" and Attribute.USE_CANDIDATE in parse(packet.data)
    }
    selected = pair.left.agent.selected_pair(1)
    assert ways == {(pair.left.address_of(selected.socket), selected.destination)}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_candidates_may_come_in_any_order(order):
    """Remote candidates in any order, before or after the credentials: the best pair is the choice."""
    script = scripted(peer_addresses=("10.0.0.2", "10.0.0.3", "10.0.0.4"))
    sockets = [script.peer.socket, script.peer.open("10.0.0.3"), script.peer.open("10.0.0.4")]
    script.gather()
    script.peer.auto_answer = True
    for place, number in enumerate(order):
        candidate = script.peer.candidate(sockets[number], local_preference=65535 - number)
        script.agent.add_remote_candidate(candidate, script.now)
        if place == 1:
            script.set_credentials()
    script.agent.add_remote_candidate(None, script.now)
    script.sim.run_until(lambda: script.agent.state == "completed")
    assert script.agent.selected_pair(1) is script.pair(sockets[0])
