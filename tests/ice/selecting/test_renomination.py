"""Renomination: several nominations, of which the latest counts, in both forms; and `IceAgent.select`."""

from __future__ import annotations

from typing import Any

import pytest
from ice_harness import (
    IcePair,
    Script,
    Seen,
    append_attribute,
    append_fingerprint,
    ice_pair,
    requests_of,
    scripted,
)

from fasticePy.errors import StateError
from fasticePy.ice import CandidatePair, Description, IceAgent, PairSelected
from fasticePy.ice.selecting.renomination import DEPLOYED_ATTRIBUTE, Renomination, Verdict
from fasticePy.sim import AgentNode
from fasticePy.stun import Attribute, Message

BOTH = ("renomination2", "renomination")


def describe(node: AgentNode, to: AgentNode) -> None:
    """Signalling: the whole description of one agent, as text, to the other one."""
    text = str(node.agent.local_description)
    to.agent.set_remote_description(Description.parse(text), to.simulation.now)


def connected(**options: Any) -> IcePair:
    """Two agents with two paths between them, both completed."""
    pair = ice_pair(left=("10.0.0.1", "10.0.1.1"), right=("10.0.0.2",), **options)
    for node in pair.nodes:
        node.gather()
    pair.sim.run_for(0)
    describe(pair.left, pair.right)
    describe(pair.right, pair.left)
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), 5)
    pair.sim.run_for(0.5)
    return pair


def other_pair(agent: IceAgent) -> CandidatePair:
    """The valid pair that is not selected."""
    (other,) = (pair for pair in agent.pairs if pair.valid and pair is not agent.selected_pair())
    return other


def meet(script: Script, *options: str, sockets: int = 2) -> list[int]:
    """The agent gets the peer's description, with these options and a candidate per socket, the best first."""
    if script.agent.gathering_state == "new":
        script.gather()
    peer = script.peer
    opened = [peer.socket, *(peer.open() for _ in range(sockets - 1))]
    candidates = tuple(
        peer.candidate(s, local_preference=900 - i, foundation=f"f{i}") for i, s in enumerate(opened)
    )
    description = Description(
        peer.credentials.ufrag, peer.credentials.pwd, candidates, options=("ice2", *options), complete=True
    )
    script.agent.set_remote_description(description, script.now)
    return opened


def controlled(*options: str, sockets: int = 2, renomination: bool = True) -> tuple[Script, list[int]]:
    """A controlled agent all of whose pairs are valid, and the peer's sockets."""
    script = scripted(controlling=False, renomination=renomination)
    script.peer.auto_answer = True
    opened = meet(script, *options, sockets=sockets)
    script.sim.run_for(1)
    assert all(pair.valid for pair in script.agent.pairs)
    return script, opened


def nominate(script: Script, socket: int, number: int | None, *, deployed: bool = False) -> Seen:
    """The peer nominates; gives the answer, which there has to be."""
    attributes: list[tuple[int, Any]] = []
    if number is not None:
        attribute = DEPLOYED_ATTRIBUTE if deployed else Attribute.NOMINATION
        attributes.append((attribute, number.to_bytes(4, "big") if deployed else number))
    id = script.peer.request(socket=socket, use_candidate=True, attributes=attributes)
    script.settle()
    answer = script.peer.answer_to(id)
    assert answer is not None
    return answer


def numbers(messages: list[Message]) -> list[int]:
    return [message.get(Attribute.NOMINATION) for message in messages if Attribute.USE_CANDIDATE in message]


# -- the option --------------------------------------------------------------------------------------------------------


def test_the_option_is_signalled_when_asked_for():
    """renom-1, renom-5: both tags; without `renomination=True` none."""
    with_it = scripted(renomination=True).agent.local_description
    assert with_it.options == ("ice2", "trickle", *BOTH)
    assert not set(BOTH) & set(scripted().agent.local_description.options)


@pytest.mark.parametrize("sides", [(True, False), (False, True), (False, False)])
def test_one_side_alone_does_not_renominate(sides: tuple[bool, bool]):
    """renom-1: no number in any check, and one nomination."""
    pair = connected(left_options={"renomination": sides[0]}, right_options={"renomination": sides[1]})
    nominations = [m for m in requests_of(pair.sim) if Attribute.USE_CANDIDATE in m]
    assert len({m.transaction_id for m in nominations}) == 1
    for message in requests_of(pair.sim):
        assert Attribute.NOMINATION not in message and DEPLOYED_ATTRIBUTE not in message


def test_credentials_alone_say_nothing_of_options():
    """renom-1: without a description there is no renomination."""
    script = scripted(renomination=True)
    script.meet()
    script.peer.answer(script.peer.next_check())
    nomination = script.peer.next_check()
    assert nomination.use_candidate and Attribute.NOMINATION not in nomination.message


# -- the controlling side ----------------------------------------------------------------------------------------------


def test_each_nomination_has_a_higher_number():
    """renom-2, renom-1: in each check with USE-CANDIDATE and in no other one; the other side follows."""
    pair = connected(renomination=True)
    left = pair.left.agent
    first = left.selected_pair()
    for _ in range(3):
        left.select(other_pair(left), pair.sim.now)
        pair.sim.run_for(0.5)
        assert pair.same_pair()
        assert [agent.selected_pair().nominated for agent in pair.agents] == [True, True]
    assert left.selected_pair() is not first
    sent = requests_of(pair.sim, pair.left.host)
    assert numbers(sent) == [1, 2, 3, 4]
    assert all((Attribute.NOMINATION in m) == (Attribute.USE_CANDIDATE in m) for m in sent)
    assert all(Attribute.NOMINATION not in m for m in requests_of(pair.sim, pair.right.host))
    assert pair.left.agent.counters["nomination.again"] == 3


def test_a_retransmission_has_the_number_of_the_first_send():
    """renom-2: the same message, the same number; a check anew has another one."""
    script = scripted(renomination=True)
    meet(script, *BOTH, sockets=1)
    script.peer.answer(script.peer.next_check())
    first = script.peer.next_check()
    again = script.peer.next_check()
    assert first.id == again.id and numbers([first.message, again.message]) == [1, 1]
    script.peer.answer(again, code=487)
    script.sim.run_for(0.2)
    assert script.agent.role == "controlled"


def test_each_component_counts_for_itself():
    """renom-2: the first number of a component is free, and ours is 1 in each."""
    pair = connected(renomination=True, components=2)
    assert numbers(requests_of(pair.sim, pair.left.host)) == [1, 1]


def test_a_restart_begins_anew():
    """renom-2: the numbers are of one generation, on both sides."""
    pair = connected(renomination=True)
    left = pair.left.agent
    for _ in range(2):
        left.select(other_pair(left), pair.sim.now)
        pair.sim.run_for(0.5)
    left.restart(pair.sim.now)
    pair.sim.run_for(0.1)
    describe(pair.left, pair.right)
    pair.sim.run_for(0.1)
    describe(pair.right, pair.left)
    pair.sim.run_for(2)
    assert pair.same_pair()
    assert numbers(requests_of(pair.sim, pair.left.host)) == [1, 2, 3, 1]
    assert pair.right.agent.counters["nomination.ignored"] == 0


def test_the_deployed_form():
    """renom-5: a peer with the older option gets its attribute, 4 bytes, and the draft's one never."""
    script = scripted(renomination=True)
    meet(script, "renomination", sockets=1)
    script.peer.answer(script.peer.next_check())
    nomination = script.peer.next_check()
    assert nomination.message.get(DEPLOYED_ATTRIBUTE) == bytes([0, 0, 0, 1])
    assert Attribute.NOMINATION not in nomination.message


def test_a_late_answer_to_an_earlier_nomination_changes_nothing():
    """renom-2: two pairs are selected one after the other, and the answers cross."""
    script = scripted(renomination=True)
    first, second = meet(script, *BOTH)
    peer = script.peer
    nominations = []
    while not nominations or not script.pair(second).valid:
        check = peer.next_check()
        if check.use_candidate:
            nominations.append(check)
        else:
            peer.answer(check)
            script.settle()
    (initial,) = nominations
    assert initial.socket == first
    script.agent.select(script.pair(second), script.now)
    later = peer.next_check()
    assert later.socket == second and numbers([later.message]) == [2]
    peer.answer(later)
    script.settle()
    peer.answer(initial)
    script.settle()
    assert script.agent.selected_pair() is script.pair(second)
    assert script.pair(second).nominated and not script.pair(first).nominated
    assert script.pair(first).valid


def test_a_pair_may_be_selected_a_minute_later():
    """renom-4: the check that nominates shows whether it still works; data moves when it is answered."""
    pair = connected(renomination=True)
    left = pair.left.agent
    before = left.selected_pair()
    pair.sim.run_for(60)
    other = other_pair(left)
    left.select(other, pair.sim.now)
    assert left.selected_pair() is before  # there is no consent on the other one any more (RFC 7675 5.1)
    pair.sim.run_for(0.5)
    assert left.selected_pair() is other and pair.same_pair()
    pair.sim.run_for(60)
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]


def test_a_pair_that_works_no_more_is_not_selected():
    """renom-4: the nomination is not answered, so the other pair goes on; then this one is not valid any more."""
    pair = connected(renomination=True)
    left = pair.left.agent
    before, other = left.selected_pair(), other_pair(left)
    pair.sim.run_for(60)
    address = other.local.address
    pair.sim.network.drop(lambda packet: address in (packet.source[0], packet.destination[0]))
    left.select(other, pair.sim.now)
    pair.sim.run_for(60)
    assert left.selected_pair() is before and before.nominated
    assert not other.valid
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    with pytest.raises(StateError):
        left.select(other, pair.sim.now)


def test_another_pair_takes_over_when_consent_ends():
    """renom-4: the nominated path dies after a minute; one that worked then is checked, used and nominated."""
    pair = connected(renomination=True)
    pair.sim.run_for(60)
    left = pair.left.agent
    before, other = left.selected_pair(), other_pair(left)
    assert before is not None
    address = before.local.address
    pair.sim.network.drop(lambda packet: address in (packet.source[0], packet.destination[0]))
    pair.sim.run_for(45)
    assert left.selected_pair() is other and other.nominated and pair.same_pair()
    assert [agent.state for agent in pair.agents] == ["completed", "completed"]
    assert "failed" not in {*pair.states(pair.left), *pair.states(pair.right)}
    pair.left.send(1, b"on another path")
    pair.sim.run_for(1)
    assert [each.data for each in pair.right.data] == [b"on another path"]


def test_a_second_nomination_without_renomination():
    """renom-1, 8445-47: it is what an application asks for explicitly; peers follow the latest, and it is recorded."""
    script = scripted()
    first, second = meet(script)
    first_check, second_check = script.peer.next_check(), script.peer.next_check()
    script.peer.answer(first_check)
    script.peer.answer(second_check)
    script.peer.auto_answer = True
    script.sim.run_for(2)
    assert script.agent.selected_pair() is script.pair(first) and script.pair(first).nominated
    script.agent.select(script.pair(second), script.now)
    script.sim.run_for(0.1)
    assert script.agent.selected_pair() is script.pair(second) and script.pair(second).nominated
    assert [seen.socket for seen in script.peer.requests if seen.use_candidate] == [first, second]
    assert script.counted("nomination.again") == 1
    assert any("instead of another" in entry.outcome for entry in script.agent.report(script.now).entries)


def test_data_moves_at_once_where_there_is_consent():
    """renom-1: the pair was answered within 30 s, so data need not wait for the nomination."""
    pair = connected(renomination=True)
    left = pair.left.agent
    other = other_pair(left)
    left.select(other, pair.sim.now)
    assert left.selected_pair() is other and not other.nominated
    pair.left.send(1, b"already there")
    pair.sim.run_for(0.5)
    assert [each.data for each in pair.right.data] == [b"already there"]
    assert other.nominated


def test_selecting_the_nominated_pair_changes_nothing():
    """renom-2: no number is used up, no event."""
    pair = connected(renomination=True)
    left = pair.left.agent
    events = len(pair.selections(pair.left))
    left.select(left.selected_pair(), pair.sim.now)
    pair.sim.run_for(1)
    assert numbers(requests_of(pair.sim, pair.left.host)) == [1]
    assert len(pair.selections(pair.left)) == events


def test_only_valid_pairs_can_be_selected():
    """8445-57: a pair that was never answered carries nothing."""
    script = scripted()
    script.meet()
    with pytest.raises(StateError, match="cannot be selected"):
        script.agent.select(script.pair(), script.now)


# -- the controlled side -----------------------------------------------------------------------------------------------


def test_the_latest_number_wins():
    """renom-3 (controlled_renomination): a higher number is followed whatever the priority and the time; a lower or
    equal one is answered, and no more."""
    script, (best, worse) = controlled(*BOTH)
    for socket, number, selected in [
        (best, 5, best),
        (worse, 6, worse),
        (best, 6, worse),
        (best, 4, worse),
        (best, 0xFFFFFFFF, best),
        (worse, 0, best),
    ]:
        answer = nominate(script, socket, number)
        assert answer.code is None
        assert script.agent.selected_pair() is script.pair(selected), number
    assert script.counted("nomination.ignored") == 3
    assert script.pair(best).nominated and not script.pair(worse).nominated


def test_a_nomination_without_number_is_ignored():
    """renom-3: renomination was agreed on, so it is not the peer's nomination; the check is answered."""
    script, (best, worse) = controlled(*BOTH)
    nominate(script, worse, 0)
    assert nominate(script, best, None).code is None
    assert script.agent.selected_pair() is script.pair(worse)
    assert script.counted("nomination.ignored") == 1


def test_reordered_checks():
    """renom-3: of two nominations whose pairs have still to be checked, the later one wins in whatever order they come
    and are answered."""
    for order in ((0, 1), (1, 0)):
        script = scripted(controlling=False, renomination=True)
        script.gather()
        sockets = meet(script, *BOTH)
        for index in order:
            nominate(script, sockets[index], index + 1)
        script.peer.auto_answer = True
        script.sim.run_for(1)
        assert script.agent.selected_pair() is script.pair(sockets[1])
        assert script.pair(sockets[1]).nominated and not script.pair(sockets[0]).nominated


@pytest.mark.parametrize("number", [None, 7])
def test_a_check_before_the_answer(number: int | None):
    """renom-3: the offerer cannot know yet, and takes either form; a later number is followed all the same."""
    script = scripted(controlling=False, renomination=True)
    script.gather()
    script.peer.auto_answer = True
    nominate(script, script.peer.socket, number)
    first, second = meet(script, *BOTH)
    script.sim.run_for(1)
    assert script.agent.selected_pair() is script.pair(first) and script.pair(first).nominated
    nominate(script, second, 8)
    assert script.agent.selected_pair() is script.pair(second)
    nominate(script, first, None)
    assert script.agent.selected_pair() is script.pair(second)


def test_unknown_attribute_without_renomination():
    """renom-2, 8489-44: 0x0030 has to be understood, so a check that has it is refused with 420 and teaches nothing."""
    for offered, options in ((False, BOTH), (True, ()), (True, ("renomination",))):
        script, (best, _) = controlled(*options, renomination=offered)
        answer = nominate(script, best, 1)
        assert answer.code == 420
        assert answer.message.get(Attribute.UNKNOWN_ATTRIBUTES) == (Attribute.NOMINATION,)
        assert not script.pair(best).nominated


def test_the_deployed_form_is_followed():
    """renom-5: browsers and pion number from 1 in 0xC001; a check without it comes too late after one that had it."""
    script, (best, worse) = controlled("renomination")
    nominate(script, best, 1, deployed=True)
    nominate(script, worse, 2, deployed=True)
    assert script.agent.selected_pair() is script.pair(worse)
    nominate(script, best, 2, deployed=True)
    assert script.agent.selected_pair() is script.pair(worse)
    nominate(script, best, 1 << 24, deployed=True)
    assert script.agent.selected_pair() is script.pair(best)


def test_the_first_nomination_of_the_deployed_form_may_lack_a_number():
    """renom-5: pion nominates as RFC 8445 has it, and numbers what it nominates later. In the draft's form a nomination
    without a number is ignored from the first on (renom-3)."""
    script, (best, worse) = controlled("renomination")
    nominate(script, worse, None)
    assert script.agent.selected_pair() is script.pair(worse)
    assert script.pair(worse).nominated
    nominate(script, best, 1, deployed=True)
    assert script.agent.selected_pair() is script.pair(best)
    nominate(script, worse, None)
    assert script.agent.selected_pair() is script.pair(best)
    assert script.counted("nomination.ignored") == 1

    numbering = Renomination(True)
    numbering.negotiate(BOTH)
    assert numbering.judge(1, None, early=False) is Verdict.IGNORED


def test_the_deployed_attribute_means_nothing_by_itself():
    """renom-5: its number belongs to somebody else, so it is ignored unless the option was agreed on."""
    script, (best, worse) = controlled(renomination=False)
    nominate(script, best, 9, deployed=True)
    script.sim.run_for(2)
    nominate(script, worse, 1, deployed=True)
    assert script.agent.selected_pair() is script.pair(worse)


@pytest.mark.parametrize("attribute", [Attribute.NOMINATION, DEPLOYED_ATTRIBUTE])
@pytest.mark.parametrize("value", [b"", b"\x01", b"\x00\x00\x01", b"\x00\x00\x00\x00\x00\x00\x00\x01"])
def test_malformed_numbers(attribute: int, value: bytes):
    """renom-3: a number of another length is none: answered, and ignored. Nothing raises."""
    script, (best, worse) = controlled(*BOTH)
    nominate(script, worse, 0)
    whole = script.peer.build_request(use_candidate=True, fingerprint=False)
    script.peer.send(append_fingerprint(append_attribute(whole, attribute, value)), socket=best)
    id = script.peer.request(use_candidate=True, attributes=[(DEPLOYED_ATTRIBUTE, value)], socket=best)
    script.settle()
    assert script.peer.answer_to(id) is not None
    assert script.agent.selected_pair() is script.pair(worse)


def test_a_controlled_agent_moves_its_own_data_only():
    """renom-1: what is nominated is the peer's choice; a new nomination of the peer takes our data along again, one
    that is repeated does not."""
    script, (best, worse) = controlled(*BOTH)
    nominate(script, best, 1)
    script.agent.select(script.pair(worse), script.now)
    assert script.agent.selected_pair() is script.pair(worse)
    assert script.pair(best).nominated
    nominate(script, best, 1)
    nominate(script, best, 2)
    assert script.agent.selected_pair() is script.pair(worse)
    third = script.peer.open()
    nominate(script, third, 3)
    script.sim.run_for(0.2)
    assert script.agent.selected_pair() is script.pair(third)
    assert all(not seen.use_candidate for seen in script.peer.requests)


def test_the_nominated_pair_keeps_consent_while_another_one_carries_data():
    """renom-4: it is there when the other one ends, for which only data was moved."""
    script, (best, worse) = controlled(*BOTH)
    nominate(script, best, 1)
    script.agent.select(script.pair(worse), script.now)
    script.sim.run_for(60)
    script.peer.auto_answer = lambda seen: seen.socket == best
    script.sim.run_for(40)
    assert script.agent.selected_pair() is script.pair(best)
    assert script.agent.state == "completed"
    assert not script.pair(worse).valid


def test_the_end_of_the_nominated_pair_is_not_the_end_while_another_one_carries_data():
    """renom-4: data goes on where it goes."""
    script, (best, worse) = controlled(*BOTH)
    nominate(script, best, 1)
    script.agent.select(script.pair(worse), script.now)
    script.peer.auto_answer = lambda seen: seen.socket == worse
    script.sim.run_for(60)
    assert script.agent.selected_pair() is script.pair(worse)
    assert script.agent.state == "connected"
    assert not script.pair(best).valid


def test_events_of_a_renomination():
    """renom-1: one PairSelected per change, `nominated` from the start when the peer made it."""
    script, (best, worse) = controlled(*BOTH)
    before = len(script.events(PairSelected))
    nominate(script, worse, 1)
    nominate(script, best, 2)
    told = script.events(PairSelected)[before:]
    assert [(event.pair, event.nominated) for event in told] == [
        (script.pair(worse), True),
        (script.pair(best), True),
    ]


# -- with a lite agent -------------------------------------------------------------------------------------------------


def test_renomination_with_a_lite_agent():
    """renom-1, renom-3: a lite agent follows the latest number, whatever the priority."""
    pair = connected(renomination=True, right_options={"lite": True})
    left, right = pair.agents
    first = left.selected_pair()
    left.select(other_pair(left), pair.sim.now)
    pair.sim.run_for(0.2)
    assert pair.same_pair() and left.selected_pair() is not first
    left.select(first, pair.sim.now)
    pair.sim.run_for(0.2)
    assert pair.same_pair() and left.selected_pair() is first
    assert right.state == "completed"


def test_nominations_to_a_lite_agent_that_come_late():
    """renom-3: a lower number changes nothing."""
    script = scripted(controlling=False, lite=True, renomination=True)
    first, second = meet(script, *BOTH)
    nominate(script, first, 3)
    nominate(script, second, 2)
    assert script.agent.selected_pair() is script.pair(first)
    nominate(script, second, 4)
    assert script.agent.selected_pair() is script.pair(second)


# -- the numbers alone -------------------------------------------------------------------------------------------------


def test_options_count_once():
    """renom-1: a later description of the same generation changes nothing."""
    numbering = Renomination(True)
    numbering.negotiate(())
    numbering.negotiate(BOTH)
    assert not numbering.in_use and not numbering.understands_attribute
    assert numbering.judge(1, None, early=False) is Verdict.REGULAR


def test_components_are_not_compared():
    """renom-3: each has its own highest number."""
    numbering = Renomination(True)
    numbering.negotiate(BOTH)
    assert numbering.judge(1, 9, early=False) is Verdict.LATEST
    assert numbering.judge(2, 1, early=False) is Verdict.LATEST
    assert numbering.judge(1, 9, early=False) is Verdict.IGNORED
    assert numbering.outdated(1, 8) and not numbering.outdated(2, 1)
