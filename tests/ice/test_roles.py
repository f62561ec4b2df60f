"""Roles: who controls, and how a conflict is repaired (RFC 8445 6.1.1, 7.2.5.1, 7.3.1.1)."""

from __future__ import annotations

import pytest
from ice_harness import ice_pair, requests_of, scripted

from fasticePy.ice import Description, RoleChanged, pair_priority
from fasticePy.stun import Attribute, MessageClass

# -- who begins as what ----------------------------------------------------------------------------------------------


def described(script, *, lite: bool) -> Description:
    credentials = script.peer.credentials
    return Description(
        ufrag=credentials.ufrag,
        pwd=credentials.pwd,
        candidates=(script.peer.candidate(),),
        lite=lite,
        complete=True,
    )


@pytest.mark.parametrize(
    ("controlling", "lite", "role"),
    [
        (True, False, "controlling"),
        (False, False, "controlled"),
        (True, True, "controlling"),
        (False, True, "controlling"),
    ],
)
def test_the_initiator_controls_unless_the_peer_is_lite(controlling, lite, role):
    """8445-16: full with full: as told; full with lite: the full one."""
    script = scripted(controlling=controlling)
    script.gather()
    script.agent.set_remote_description(described(script, lite=lite), script.now)
    script.settle()
    assert script.agent.role == role
    assert script.peer.next_check().controlling == (role == "controlling")


def test_a_lite_peer_that_only_answers_is_enough():
    """8445-16: a lite peer sends no check ever; the controlling agent completes all the same."""
    script = scripted(controlling=False)
    script.gather()
    script.peer.auto_answer = True
    script.agent.set_remote_description(described(script, lite=True), script.now)
    script.sim.run_until(lambda: script.agent.state == "completed", 5)
    assert [seen.use_candidate for seen in script.peer.requests] == [False, True]
    script.peer.send(b"\x80data")
    script.settle()
    assert [received.data for received in script.node.data] == [b"\x80data"]
    assert script.node.send(1, b"\x80more")
    script.settle()
    assert script.peer.data == [(b"\x80more", script.peer.agent_address)]


def test_roles_last_for_the_session():
    """8445-17: neither the same description once more nor time changes them."""
    script = scripted(controlling=False)
    script.gather()
    for _ in range(2):
        script.agent.set_remote_description(described(script, lite=False), script.now)
    script.complete()
    script.peer.auto_answer = True
    script.sim.run_for(100)
    script.agent.set_remote_description(described(script, lite=False), script.now)
    assert script.agent.role == "controlled"
    assert script.events(RoleChanged) == []
    assert {seen.controlling for seen in script.peer.requests} == {False}


# -- a check of the peer in our role ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("controlling", "difference", "refused", "role"),
    [
        # theirs is smaller, equal, larger than ours
        (True, -1, True, "controlling"),
        (True, 0, True, "controlling"),
        (True, +1, False, "controlled"),
        (False, -1, False, "controlling"),
        (False, 0, False, "controlling"),
        (False, +1, True, "controlled"),
    ],
)
def test_a_conflict_is_decided_by_the_tiebreakers(controlling, difference, refused, role):
    """8445-40: six cases; pion and librice: role conflict. 487 has MESSAGE-INTEGRITY."""
    script = scripted(controlling=controlling)
    script.gather()
    script.set_credentials()
    ours = script.agent._session.tiebreaker
    id = script.peer.request(controlling=controlling, tiebreaker=ours + difference)
    script.settle()
    answer = script.peer.answer_to(id)
    assert answer.code == (487 if refused else None)
    assert answer.message.verify_integrity(script.peer.agent_key)
    assert answer.message.verify_fingerprint()
    assert Attribute.USERNAME not in answer.message
    assert script.agent.role == role
    changed = role != ("controlling" if controlling else "controlled")
    assert [event.role for event in script.events(RoleChanged)] == ([role] if changed else [])
    # what was refused teaches nothing; else the check counts like any other, and ours has the new role
    assert len(script.agent.pairs) == (0 if refused else 1)
    if not refused:
        assert script.peer.next_check().controlling == (role == "controlling")
    assert script.agent._session.tiebreaker == ours


@pytest.mark.parametrize("controlling", [True, False])
def test_a_check_of_the_other_role_is_no_conflict(controlling):
    """8445-40: whatever the tie-breakers are; nor is one of no role."""
    script = scripted(controlling=controlling)
    script.gather()
    script.set_credentials()
    for form in ({"tiebreaker": 0}, {"tiebreaker": 2**64 - 1}, {"controlling": None}):
        id = script.peer.request(**form)
        script.settle()
        assert script.peer.answer_to(id).message_class == MessageClass.SUCCESS
    assert script.agent.role == ("controlling" if controlling else "controlled")


def test_a_conflict_is_repaired_before_the_credentials_are_known():
    """8445-15, 8445-40: an early check decides the role as well."""
    script = scripted(controlling=True)
    script.gather()
    script.peer.request(controlling=True, tiebreaker=2**64 - 1, use_candidate=True)
    script.settle()
    assert script.agent.role == "controlled"
    script.set_credentials()
    check = script.peer.next_check()
    assert not check.controlling
    script.peer.answer(check)
    script.settle()
    assert script.pair().nominated


def test_use_candidate_of_a_controlled_peer_nominates_nothing():
    """8445-26, 8445-45: it has nothing to nominate; the check is good otherwise."""
    script = scripted(controlling=True, peer_controlling=False)
    script.meet()
    id = script.peer.request(use_candidate=True)
    script.settle()
    assert script.peer.answer_to(id).message_class == MessageClass.SUCCESS
    check = script.peer.next_check()
    assert not check.use_candidate
    script.peer.answer(check)
    script.settle()
    assert not script.pair().nominated


# -- 487 to a check of ours ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("controlling", [True, False])
def test_487_switches_the_role_and_checks_again(controlling):
    """8445-31: the other role, a new tie-breaker, the pair queued and Waiting, priorities recomputed; 8445-62."""
    script = scripted(controlling=controlling, peer_addresses=("10.0.0.2", "10.0.0.3"))
    other = script.peer.open("10.0.0.3")
    script.meet(script.peer.candidate(), script.peer.candidate(other, local_preference=1))
    first = script.peer.next_check()
    script.peer.answer(first, code=487)
    script.settle()
    assert script.agent.role == ("controlled" if controlling else "controlling")
    pair = script.pair()
    assert (pair.state, pair.valid, pair.failure) == ("waiting", False, "")
    low = script.pair(other)
    ours, theirs = low.local.priority, low.remote.priority
    expected = pair_priority(theirs, ours) if controlling else pair_priority(ours, theirs)
    assert low.priority == expected
    again = script.peer.next_check()
    assert (again.socket, again.at) == (first.socket, 0.05)  # triggered: before the other pair, one Ta later
    assert again.controlling != controlling
    assert again.tiebreaker != first.tiebreaker
    script.peer.answer(again)
    script.settle()
    assert pair.valid


def test_two_487_in_flight_switch_once():
    """8445-31: the second one is about the role that was given up already."""
    script = scripted(controlling=True, peer_addresses=("10.0.0.2", "10.0.0.3"))
    other = script.peer.open("10.0.0.3")
    script.meet(script.peer.candidate(), script.peer.candidate(other))
    first, second = script.peer.next_check(), script.peer.next_check()
    script.peer.answer(first, code=487)
    script.peer.answer(second, code=487)
    script.settle()
    assert script.agent.role == "controlled"
    assert len(script.events(RoleChanged)) == 1
    again = [script.peer.next_check() for _ in range(2)]
    assert {check.socket for check in again} == {script.peer.socket, other}
    assert [check.controlling for check in again] == [False, False]


def test_a_487_of_a_role_that_was_left_and_taken_again_is_stale():
    """8445-31: between the check and its 487 the role went to and fro: the tie-breaker tells that it is old."""
    script = scripted(controlling=True, peer_addresses=("10.0.0.2", "10.0.0.3"))
    other = script.peer.open("10.0.0.3")
    script.meet(script.peer.candidate(), script.peer.candidate(other))
    first, second = script.peer.next_check(), script.peer.next_check()
    script.peer.answer(first, code=487)
    again = script.peer.next_check()
    script.peer.answer(again, code=487)
    script.settle()
    assert script.agent.role == "controlling"
    script.peer.answer(second, code=487)
    script.settle()
    assert script.agent.role == "controlling"


def test_a_487_after_the_role_was_switched_by_a_check_changes_nothing():
    """str0m ignores_stale_487_after_role_swap: our check and the peer's cross; the peer's already told us."""
    script = scripted(controlling=True)
    script.meet()
    first = script.peer.next_check()
    script.peer.request(controlling=True, tiebreaker=2**64 - 1)  # the peer wins, so we become controlled
    script.settle()
    assert script.agent.role == "controlled"
    script.peer.answer(first, code=487)
    script.settle()
    assert script.agent.role == "controlled"
    second = script.peer.next_check()
    assert not second.controlling
    script.peer.answer(second)
    script.settle()
    assert script.pair().valid
    assert len(script.events(RoleChanged)) == 1
    script.sim.run_for(1)
    assert script.peer.take_checks() == []


def test_a_late_487_does_not_disturb_a_pair_that_works():
    """str0m ignores_stale_487_after_role_swap: the answer comes when the newer check has succeeded."""
    script = scripted(controlling=True)
    script.meet()
    first = script.peer.next_check()
    script.peer.request(controlling=True, tiebreaker=2**64 - 1)
    second = script.peer.next_check()
    script.peer.answer(second)
    script.peer.answer(first, code=487)
    script.settle()
    pair = script.pair()
    assert (pair.state, pair.valid, script.agent.role) == ("succeeded", True, "controlled")
    script.sim.run_for(1)
    assert script.peer.take_checks() == []


def test_a_nomination_that_meets_a_conflict_is_given_up_with_the_role():
    """8445-31: 487 to USE-CANDIDATE: we are controlled, and the peer nominates."""
    script = scripted(controlling=True)
    script.meet()
    script.peer.answer(script.peer.next_check())
    nomination = script.peer.next_check()
    assert nomination.use_candidate
    script.peer.answer(nomination, code=487)
    again = script.peer.next_check()
    assert (again.controlling, again.use_candidate) == (False, False)
    script.peer.answer(again)
    script.peer.request(controlling=True, use_candidate=True)
    script.settle()
    assert script.pair().nominated
    assert script.agent.role == "controlled"


def test_a_controlled_agent_that_becomes_controlling_nominates():
    """8445-31: the pair was valid already, nobody has nominated it."""
    script = scripted(controlling=False)
    script.meet()
    script.peer.answer(script.peer.next_check())
    script.settle()
    assert script.agent.state == "connected"
    script.peer.request(controlling=False, tiebreaker=0)
    script.settle()
    assert script.agent.role == "controlling"
    nomination = script.peer.next_check()
    assert nomination.use_candidate
    script.peer.answer(nomination)
    script.settle()
    assert script.pair().nominated


# -- two agents ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("delay", [0.0, 0.03, 0.2])
def test_two_agents_of_one_role_end_with_two_roles(controlling, seed, delay):
    """8445-40, pion TestRoleConflict, str0m role_conflict_resolves_to_one_controlled_side."""
    pair = ice_pair(
        seed=seed,
        signal_delay=delay,
        left_options={"controlling": controlling},
        right_options={"controlling": controlling},
    )
    pair.connect()
    assert {agent.role for agent in pair.agents} == {"controlling", "controlled"}
    assert pair.same_pair()
    assert sum(len(pair.role_changes(node)) for node in pair.nodes) == 1
    assert pair.left.send(1, b"x")


@pytest.mark.parametrize("controlling", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_equal_tiebreakers_are_told_apart_in_the_end(controlling, seed):
    """Trap T9: both controlling: both answer 487 and both switch; both controlled: both switch at once. The new
    tie-breakers of 8445-31 decide."""
    pair = ice_pair(
        seed=seed, left_options={"controlling": controlling}, right_options={"controlling": controlling}
    )
    for agent in pair.agents:
        agent._session.tiebreaker = 42
    pair.connect()
    assert {agent.role for agent in pair.agents} == {"controlling", "controlled"}
    assert pair.same_pair()


def test_a_conflict_costs_little():
    """Both controlling, 20 ms round trip: three more checks than without a conflict at most."""
    usual, conflict = ice_pair(), ice_pair(right_options={"controlling": True})
    times = usual.connect(), conflict.connect()
    assert times[1] - times[0] < 0.2
    assert len(requests_of(conflict.sim)) - len(requests_of(usual.sim)) <= 3


def test_two_nominations_around_a_change_of_roles_end_on_one_pair():
    """Both sides have nominated another pair within a second, each while it was controlling: the one that controls in
    the end says its nomination again with its consent checks, and is followed."""
    pair = ice_pair(left=("10.0.0.1", "10.1.0.1"), right=("10.0.0.2", "10.1.0.2"))
    pair.connect()
    right = pair.right.agent
    other = next(
        each for each in right.pairs if each is not right.selected_pair() and each.state == "succeeded"
    )
    selector = right.streams[0].engine.selector
    selector.components[1].nominated.nominated = False
    selector.components[1].nominated = None
    selector._nominate(other, pair.sim.now)
    selector.update(1, pair.sim.now)
    assert not pair.same_pair()
    pair.sim.run_for(12)
    assert pair.same_pair()
