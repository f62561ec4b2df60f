"""Trickle ICE (RFC 8838): candidates that come one by one, in any order, and the end of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from ice_harness import ice_pair, scripted
from ice_servers import gathering, honest, success

from fasticePy.ice import (
    Candidate,
    CandidateGathered,
    CandidatePair,
    Description,
    GatheringStateChanged,
    IceAgent,
    IceOptions,
    Limits,
    PairSelected,
    StateChanged,
    Timeouts,
)
from fasticePy.ice.checking.checklist import Checklist, ChecklistSet
from fasticePy.ice.pair import LocalCandidate
from fasticePy.stun import Attribute, parse
from fasticePy.stun.uri import parse_server_url

# -- descriptions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", ["left", "right", "both"])
def test_descriptions_without_candidates_are_enough_to_begin(late):
    """8838-2: both descriptions are empty, the answer comes in the middle of gathering, the rest is trickled."""
    pair = ice_pair()
    left, right = pair.agents
    for node in pair.nodes:
        node.socket_delay = 0.3 if late in (node.name, "both") else 0.0
    offer, answer = left.local_description, right.local_description
    assert offer.candidates == answer.candidates == ()
    assert offer.expects_more and answer.expects_more
    for node in pair.nodes:
        node.gather()
    left.set_remote_description(answer, 0.0)
    right.set_remote_description(offer, 0.0)
    pair.sim.run_for(0)
    assert {left.state, right.state} <= {"new", "checking"}
    for sender, receiver in ((pair.left, right), (pair.right, left)):
        for candidate in sender.agent.local_candidates:
            receiver.add_remote_candidate(candidate, pair.sim.now)
    pair.sim.signal(pair.left, pair.right, 0.05)
    pair.sim.run_until(lambda: left.state == right.state == "completed", limit=5)
    assert pair.same_pair()


def test_the_first_description_may_have_any_number_of_candidates():
    """8838-2: none, some and all, with and without the end."""
    for number in range(4):
        pair = ice_pair(left=("10.0.0.1", "10.0.0.3", "10.0.0.5"))
        for node in pair.nodes:
            node.gather()
        pair.sim.run_for(0)
        left, right = pair.agents
        offer = left.local_description.with_candidates(left.local_candidates[:number], complete=number == 3)
        right.set_remote_description(Description.parse(str(offer)), 0.0)
        left.set_remote_description(right.local_description, 0.0)
        pair.sim.run_for(0.1)
        for candidate in left.local_candidates[number:]:
            right.add_remote_candidate(candidate, pair.sim.now)
        if number < 3:
            right.add_remote_candidate(None, pair.sim.now)
        pair.sim.run_until(
            lambda pair=pair: all(agent.state == "completed" for agent in pair.agents), limit=5
        )


def test_a_peer_without_trickle_has_said_all_with_its_description():
    """8838-17: half trickle: its full generation is all there is, so end-of-candidates goes without saying; with the
    trickle option, more may come unless it says that these are all."""
    script = scripted()
    script.gather()
    peer = script.peer
    second = peer.open()
    description = Description(
        peer.credentials.ufrag, peer.credentials.pwd, (peer.candidate(),), options=("ice2",)
    )
    script.agent.set_remote_description(description, 0.0)
    script.agent.add_remote_candidate(peer.candidate(second), 0.0)
    assert [each.port for each in script.agent.remote_candidates] == [peer.address()[1]]
    assert script.agent.report(0.0).ignored_candidates[0][1] == "came after end-of-candidates"

    trickling = scripted()
    trickling.gather()
    peer = trickling.peer
    description = Description(peer.credentials.ufrag, peer.credentials.pwd, (peer.candidate(),))
    trickling.agent.set_remote_description(description, 0.0)
    trickling.agent.add_remote_candidate(peer.candidate(peer.open()), 0.0)
    assert len(trickling.agent.remote_candidates) == 2


def test_our_full_first_generation_says_that_it_is_all():
    """8838-17: gathered to the end before the description is asked for: it has everything and the end."""
    run = gathering("10.0.0.1", nat="198.51.100.1")
    run.server(honest, "192.0.2.1")
    run.run("stun:192.0.2.1")
    description = run.agent.local_description
    assert description.complete and not description.expects_more
    assert [each.type for each in description.candidates] == ["host", "srflx"]
    assert "trickle" in description.options


# -- the checklist while candidates come -------------------------------------------------------------------------------


def test_an_empty_checklist_runs():
    """8838-3: nothing is there, and nothing has failed."""
    script = scripted()
    script.gather()
    script.set_credentials()
    script.sim.run_for(30)
    assert script.agent.state == "new"
    assert script.agent.pairs == []
    script.agent.add_remote_candidate(script.peer.candidate(), script.now)
    script.peer.answer(script.peer.next_check(limit=0.1))
    script.settle()
    assert script.agent.state == "connected"


def test_the_checklist_goes_on_while_pairs_may_come():
    """8838-4, 8838-5: every pair has failed, long after patience, and the agent lives on while its gathering goes on;
    the candidate that comes then is checked and works."""
    script = scripted(timeouts=Timeouts(patience=2.0, gathering=60.0))
    script.sim.network.add_host("192.0.2.1")
    script.node.gather([parse_server_url("stun:192.0.2.1")])  # says nothing for a minute
    script.settle()
    script.introduce()
    script.meet()
    script.agent.socket_error(script.pair().socket, script.peer.address(), "unreachable", script.now)
    check = script.peer.next_check()
    script.agent.socket_error(
        script.pair().socket, check.message and script.peer.address(), "unreachable", 0.0
    )
    assert script.pair().state == "failed"
    script.sim.run_for(30)
    assert script.agent.state == "checking"
    second = script.peer.open()
    script.agent.add_remote_candidate(script.peer.candidate(second), script.now)
    script.peer.answer(script.peer.next_check(limit=0.1))
    script.settle()
    assert script.agent.state == "connected"


def test_a_late_candidate_saves_the_session():
    """8838-5: all pairs have Failed and the peer has not said that it was all: a candidate 20 s later connects."""
    script = scripted()
    script.meet()
    script.peer.next_check()
    script.agent.socket_error(script.pair().socket, script.peer.address(), "port unreachable", script.now)
    assert script.pair().state == "failed"
    script.sim.run_for(20)
    script.agent.add_remote_candidate(script.peer.candidate(script.peer.open()), script.now)
    script.peer.answer(script.peer.next_check(limit=0.1))
    script.settle()
    assert script.agent.state == "connected"


def test_nothing_fails_before_gathering_is_complete():
    """8838-5: the peer's end-of-candidates is there, all pairs have failed, patience is over; but our own gathering
    is not, so the failure waits for its end."""
    script = scripted(timeouts=Timeouts(patience=1.0, gathering=6.0))
    script.sim.network.add_host("192.0.2.1")
    script.node.gather([parse_server_url("stun:192.0.2.1")])
    script.settle()
    script.introduce()
    script.meet(end=True)
    script.peer.next_check()
    script.agent.socket_error(script.pair().socket, script.peer.address(), "port unreachable", script.now)
    script.sim.run_for(5.5)
    assert script.agent.state == "checking"
    script.sim.run_for(0.6)
    assert script.agent.state == "failed"
    assert script.events(StateChanged)[-1].at == script.events(GatheringStateChanged)[-1].at


PORTS = count(1000)


def model_set(rows: int) -> tuple[ChecklistSet, list[Checklist]]:
    lists = [Checklist() for _ in range(rows)]
    return ChecklistSet(lists, 100), lists


def model_pair(
    foundation: str, component: int, priority: int = 1000, port: int | None = None
) -> CandidatePair:
    """A pair of these; each has its own path."""
    port = next(PORTS)
    local = Candidate(foundation, component, "udp", priority, "10.0.0.1", port, "host")
    remote = Candidate("r", component, "udp", priority, "10.0.0.2", port, "host")
    return CandidatePair(
        LocalCandidate(local, port, ("10.0.0.1", port)), remote, ("10.0.0.2", port), priority
    )


def test_an_empty_checklist_is_skipped_without_waiting():
    """8838-4: whenever Ta fires and the turn is at an empty list, the next one is served in the same moment."""
    checklists, lists = model_set(3)
    pairs = [model_pair(f"f{number}", 1) for number in range(4)]
    for pair in pairs:
        checklists.add(lists[2], pair)
    checklists.start()
    served = []
    while (pair := checklists.next_check()) is not None:
        pair.state = "in-progress"
        served.append(pair)
    assert served == pairs
    assert [each.state for each in lists] == ["running"] * 3


def table_one() -> tuple[ChecklistSet, list[Checklist], dict[tuple[int, int], CandidatePair]]:
    """RFC 8838 table 1: rows are checklists s1 to s4, columns foundations f1 to f5."""
    checklists, lists = model_set(4)
    cells: dict[tuple[int, int], CandidatePair] = {}
    for row, columns in ((1, (1, 2, 3)), (2, (1, 2, 3, 4)), (3, (1,)), (4, (1,))):
        for column in columns:
            cells[row, column] = model_pair(f"f{column}", 1)
            checklists.add(lists[row - 1], cells[row, column])
    return checklists, lists, cells


def states(cells: dict[tuple[int, int], CandidatePair]) -> str:
    """The table, row by row; a dot where there is no pair."""
    letters = {"frozen": "F", "waiting": "W", "succeeded": "S"}
    rows = []
    for row in range(1, 5):
        row_cells = (cells.get((row, column)) for column in range(1, 6))
        rows.append("".join("." if pair is None else letters[pair.state] for pair in row_cells))
    return " ".join(rows)


def test_tables_1_to_6_of_rfc_8838():
    """8838-12: initial states, a success, and new pairs by rules 1 (topmost of its foundation), 2 (a Succeeded one in
    the foundation) and 3 (all others)."""
    checklists, lists, cells = table_one()
    assert states(cells) == "FFF.. FFFF. F.... F...."
    checklists.start()
    assert states(cells) == "WWW.. FFFW. F.... F...."  # table 2

    cells[1, 1].state = "succeeded"
    checklists.unfreeze(cells[1, 1].foundation)
    assert states(cells) == "SWW.. WFFW. W.... W...."  # table 3

    cells[1, 5] = model_pair("f5", 1)
    checklists.add(lists[0], cells[1, 5])
    assert states(cells) == "SWW.W WFFW. W.... W...."  # table 4, rule 1

    cells[1, 5].state = "succeeded"
    checklists.unfreeze(cells[1, 5].foundation)
    cells[2, 5] = model_pair("f5", 1)
    checklists.add(lists[1], cells[2, 5])
    assert states(cells) == "SWW.S WFFWW W.... W...."  # table 5, rule 2

    cells[3, 3] = model_pair("f3", 1)
    checklists.add(lists[2], cells[3, 3])
    assert states(cells) == "SWW.S WFFWW W.F.. W...."  # table 6, rule 3


@pytest.mark.parametrize(
    ("component", "priority", "expected"),
    [(1, 999, "frozen"), (1, 1001, "waiting"), (2, 2000, "frozen")],
    ids=["lower priority", "higher priority", "higher component"],
)
def test_topmost_is_the_lowest_component_and_then_the_highest_priority(component, priority, expected):
    """8838-12: rule 1 within one checklist."""
    checklists, lists = model_set(1)
    checklists.add(lists[0], model_pair("f1", 1, 1000))
    checklists.start()
    pair = model_pair("f1", component, priority)
    checklists.add(lists[0], pair)
    assert pair.state == expected


def test_rule_2_in_an_agent():
    """8838-12: a second candidate of the foundation that has succeeded is checked in the next slot."""
    script = scripted(nomination="regular", timeouts=Timeouts(nomination_direct=5.0))
    peer = script.peer
    first = peer.candidate(foundation="same", local_preference=65000)
    script.meet(first)
    peer.answer(peer.next_check())
    script.settle()
    second = peer.open()
    script.agent.add_remote_candidate(
        peer.candidate(second, foundation="same", local_preference=100), script.now
    )
    assert script.pair(second).state == "waiting"


# -- redundancy --------------------------------------------------------------------------------------------------------


def test_a_reflexive_local_candidate_forms_no_pair_of_its_own():
    """8838-9, 8445-20: it is replaced by its base, which has that pair already; the check in flight goes on."""
    script = scripted()
    script.sim.network.add_host("192.0.2.1")
    script.node.gather([parse_server_url("stun:192.0.2.1")])
    script.settle()
    script.introduce()
    script.meet()
    check = script.peer.next_check()
    before = script.agent.pairs
    assert before[0].state == "in-progress"
    request = next(
        packet for packet in script.sim.network.sent(script.node.host) if packet.destination[0] == "192.0.2.1"
    )
    answer = success(parse(request.data), (Attribute.XOR_MAPPED_ADDRESS, ("198.51.100.9", 9)))
    script.agent.datagram_received(before[0].socket, answer, ("192.0.2.1", 3478), script.now)
    assert [each.type for each in script.agent.local_candidates] == ["host", "srflx"]
    assert script.agent.pairs == before
    assert before[0].state == "in-progress" and before[0].requests_sent == 1
    script.peer.answer(check)
    script.settle()
    assert script.pair().valid


def test_an_equal_remote_candidate_leaves_the_check_in_flight_alone():
    """8838-9: the same address as another type and priority: one pair, In-Progress as before, no second request."""
    script = scripted()
    candidate = script.peer.candidate()
    script.meet(candidate)
    check = script.peer.next_check()
    pair = script.pair()
    script.agent.add_remote_candidate(
        replace(candidate, type="srflx", priority=candidate.priority + 5), script.now
    )
    assert script.agent.pairs == [pair]
    assert (pair.state, pair.requests_sent) == ("in-progress", 1)
    assert script.agent.report(script.now).ignored_candidates[0][1] == "known already"
    script.peer.answer(check)
    script.settle()
    assert pair.valid


def test_a_signalled_candidate_takes_the_place_of_a_peer_reflexive_one():
    """8838-11, T10: pair, check state and priority stay; type and foundation become the signalled ones."""
    script = scripted()
    script.gather()
    script.set_credentials()
    script.peer.request()
    script.settle()
    pair = script.pair()
    assert pair.remote.type == "prflx"
    check = script.peer.next_check()
    assert pair.state == "in-progress"
    priority = pair.priority
    signalled = script.peer.candidate(type="srflx", foundation="signalled")
    script.agent.add_remote_candidate(signalled, script.now)
    assert script.agent.pairs == [pair]
    assert (pair.state, pair.priority) == ("in-progress", priority)
    assert (pair.remote.type, pair.remote.foundation) == ("srflx", "signalled")
    assert script.agent.remote_candidates == [signalled]
    script.peer.answer(check)
    script.settle()
    assert pair.valid


def test_after_the_replacement_the_list_is_still_sorted():
    """8838-11: with other pairs around, also when the role changes afterwards and priorities are made anew."""
    script = scripted(controlling=False)
    peer = script.peer
    others = [peer.open() for _ in range(3)]
    script.gather()
    script.set_credentials()
    peer.request()
    script.settle()
    for number, socket in enumerate(others):
        script.agent.add_remote_candidate(peer.candidate(socket, local_preference=1000 * number), script.now)
    script.agent.add_remote_candidate(peer.candidate(type="relay"), script.now)
    assert len(script.agent.pairs) == 4
    ranks = [pair.priority for pair in script.agent.pairs]
    assert ranks == sorted(ranks, reverse=True)
    peer.request(controlling=False, tiebreaker=1)
    script.settle()
    assert script.agent.role == "controlling"
    ranks = [pair.priority for pair in script.agent.pairs]
    assert ranks == sorted(ranks, reverse=True)


# -- a full checklist --------------------------------------------------------------------------------------------------


def full(limit: int = 4) -> tuple[ChecklistSet, Checklist, list[CandidatePair]]:
    checklist = Checklist()
    checklists = ChecklistSet([checklist], limit)
    pairs = [model_pair(f"f{number}", 1, 1000 - number) for number in range(limit)]
    for pair in pairs:
        checklists.add(checklist, pair)
    return checklists, checklist, pairs


def test_a_full_checklist_gives_up_its_failed_pairs_first():
    """8838-10: even a failed pair of the highest priority goes before one that has still to be checked."""
    checklists, checklist, pairs = full()
    pairs[0].state = "failed"
    new = model_pair("new", 1, 1)
    assert checklists.add(checklist, new) is pairs[0]
    assert set(checklist.pairs) == {*pairs[1:], new}


def test_a_full_checklist_gives_up_the_lowest_for_a_higher_one():
    """8838-10: without failed pairs, one of lower priority than the new pair makes room."""
    checklists, checklist, pairs = full()
    new = model_pair("new", 1, 2000)
    assert checklists.add(checklist, new) is pairs[-1]
    assert checklist.pairs == [new, *pairs[:-1]]


def test_a_full_checklist_has_no_room_for_the_lowest():
    """8838-10: nothing is lower than the new pair: it is the one that stays out."""
    checklists, checklist, pairs = full()
    new = model_pair("new", 1, 1)
    assert checklists.add(checklist, new) is new
    assert checklist.pairs == pairs


def test_a_full_checklist_never_gives_up_what_works_or_is_in_flight():
    """8838-10, 8838-9: valid, nominated and In-Progress pairs stay, however low they rank."""
    checklists, checklist, pairs = full()
    pairs[3].valid, pairs[3].state = True, "succeeded"
    pairs[2].state = "in-progress"
    new = model_pair("new", 1, 2000)
    assert checklists.add(checklist, new) is pairs[1]


def test_the_limit_in_an_agent():
    """8838-10: limit 4: a better candidate pushes the worst out, a worse one is turned away."""
    script = scripted(limits=Limits(pairs=4))
    peer = script.peer
    sockets = [peer.open() for _ in range(6)]
    script.meet(
        *(peer.candidate(socket, local_preference=100 * (n + 1)) for n, socket in enumerate(sockets[:4]))
    )
    ports = {pair.remote.port for pair in script.agent.pairs}
    script.agent.add_remote_candidate(peer.candidate(sockets[4], local_preference=1), script.now)
    assert {pair.remote.port for pair in script.agent.pairs} == ports
    script.agent.add_remote_candidate(peer.candidate(sockets[5], local_preference=9999), script.now)
    assert len(script.agent.pairs) == 4
    assert peer.address(sockets[5])[1] in {pair.remote.port for pair in script.agent.pairs}
    assert peer.address(sockets[0])[1] not in {pair.remote.port for pair in script.agent.pairs}
    assert script.counted("pair.over-limit") == 2


# -- generations, order, end -------------------------------------------------------------------------------------------


def test_candidates_of_another_generation_are_ignored():
    """8838-7: the ufrag that comes with a candidate ties it to its generation; a stale one has no effect."""
    script = scripted()
    script.gather()
    peer = script.peer
    stale = replace(peer.candidate(), ufrag="oldfrag")
    script.agent.add_remote_candidate(stale, 0.0)  # before the credentials: held back, then refused
    script.set_credentials()
    script.agent.add_remote_candidate(stale, 0.0)
    assert script.agent.remote_candidates == []
    reasons = [reason for _, reason in script.agent.report(0.0).ignored_candidates]
    assert reasons == ["of another generation (ufrag 'oldfrag')"] * 2
    script.agent.add_remote_candidate(replace(peer.candidate(), ufrag=peer.credentials.ufrag), 0.0)
    assert len(script.agent.pairs) == 1


def test_candidates_are_told_once_and_in_order():
    """8838-7: each candidate is one event, the end is one event, after all of them, and none is told twice."""
    run = gathering("10.0.0.1", "10.0.0.2", nat="198.51.100.1", components=2)
    run.server(honest, "192.0.2.1")
    run.run("stun:192.0.2.1")
    run.sim.run_for(60)  # refreshes of the mappings tell nothing
    told = [event.candidate for event in run.events(CandidateGathered)]
    assert told == run.agent.local_candidates
    assert len(set(told)) == len(told) == 8
    ends = [event for event in run.events(GatheringStateChanged) if event.state == "complete"]
    assert len(ends) == 1
    assert run.node.events.index(ends[0]) > max(
        run.node.events.index(event) for event in run.events(CandidateGathered)
    )


def test_a_local_candidate_is_checked_only_after_it_was_told():
    """8838-8: at every moment, each socket that has sent a check belongs to a candidate that the application has."""
    script = scripted(agent_addresses=("10.0.0.1", "10.0.0.3", "10.0.0.4"))
    script.node.socket_delay = 0.2
    told = set()
    script.node.on_event = lambda event: (
        told.add(event.candidate.transport_address) if isinstance(event, CandidateGathered) else None
    )
    seen = []

    def watch(packet):
        if packet.source[0] != "10.0.0.2":
            seen.append(packet)
            assert packet.source in told
        return False

    script.sim.network.drop(watch)
    script.node.gather()
    script.settle()
    script.peer.agent_credentials = script.agent.local_credentials
    script.set_credentials()
    script.agent.add_remote_candidate(script.peer.candidate(), 0.0)
    assert script.agent.pairs == []
    script.sim.run_for(1)
    assert {packet.source for packet in seen} == told
    assert len(told) == 3


def test_end_of_candidates_comes_after_the_last_candidate_at_the_peer():
    """8838-13: both roles tell the end, once, whether gathering ended well or by its timeout."""
    pair = ice_pair()
    pair.sim.network.add_host("192.0.2.1")
    for node in pair.nodes:
        node.gather([parse_server_url("stun:192.0.2.1")])
    pair.start()
    pair.sim.run_until(lambda: all(agent.state == "completed" for agent in pair.agents), limit=10)
    assert pair.sim.now == pytest.approx(
        5.0, abs=0.1
    )  # connected long before; the end was told at the timeout
    for node in pair.nodes:
        ends = [event.at for event in node.events if isinstance(event, GatheringStateChanged)]
        assert ends == [0.0, pytest.approx(5.0, abs=0.02)]
        assert node.agent.local_description.complete


def test_nothing_is_told_after_the_end():
    """8838-14: a server that answers after gathering was over gives no candidate."""
    run = gathering("10.0.0.1", nat="198.51.100.1", timeouts=Timeouts(gathering=1.0))
    run.server(honest, "192.0.2.1", latency=0.8)
    run.start("stun:192.0.2.1")
    run.sim.run_for(10)
    assert run.complete_at == pytest.approx(1.0, abs=0.01)
    assert [kind for kind, _ in run.found] == ["host"]


@pytest.mark.parametrize("controlling", [True, False])
def test_nothing_is_told_after_the_nomination(controlling):
    """8838-14: behind a NAT a reflexive candidate comes when the pair has been nominated: it is kept to ourselves,
    with a reason, and the server's result is there all the same."""
    run = gathering("10.0.0.1", nat="198.51.100.1", controlling=controlling)
    run.server(honest, "192.0.2.1", latency=0.5)
    other = run.sim.add_agent(
        run.sim.network.add_host("192.0.2.77"),
        IceAgent(IceOptions(controlling=not controlling), rng=run.sim.rng),
    )
    run.start("stun:192.0.2.1")
    other.gather()
    run.sim.signal(run.node, other)
    run.sim.run_until(lambda: run.agent.gathering_state == "complete", limit=5)
    assert run.events(PairSelected)[-1].nominated
    assert [kind for kind, _ in run.found] == ["host"]
    entries = [entry for entry in run.agent.report(run.sim.now).entries if entry.subject == "local"]
    assert (entries[-1].outcome, entries[-1].reason) == ("left out", "the pairs have been nominated")
    assert run.outcome("stun:192.0.2.1")["ok"]


def test_what_comes_after_the_end_is_ignored_but_checks_still_teach():
    """8838-15: a signalled candidate has no effect any more; a peer-reflexive one is learnt all the same."""
    script = scripted()
    peer = script.peer
    second = peer.open()
    script.meet(end=True)
    script.agent.add_remote_candidate(peer.candidate(second), script.now)
    assert len(script.agent.pairs) == 1
    assert script.agent.report(script.now).ignored_candidates == (
        (f"host 10.0.0.2:{peer.address(second)[1]}", "came after end-of-candidates"),
    )
    peer.request(socket=second)
    script.settle()
    assert len(script.agent.pairs) == 2
    assert script.pair(second).remote.type == "prflx"


def test_the_end_twice_is_the_end_once():
    script = scripted()
    script.meet(end=True)
    script.agent.add_remote_candidate(None, script.now)
    entries = [entry for entry in script.agent.report(0.0).entries if entry.outcome == "the peer has no more"]
    assert len(entries) == 1


def test_the_end_before_the_credentials_counts():
    script = scripted()
    script.gather()
    script.agent.add_remote_candidate(script.peer.candidate(), 0.0)
    script.agent.add_remote_candidate(None, 0.0)
    script.set_credentials()
    script.agent.add_remote_candidate(script.peer.candidate(script.peer.open()), 0.0)
    assert len(script.agent.remote_candidates) == 1


def test_candidates_are_paired_in_the_order_of_their_coming():
    """8838-18: of one foundation and component, the first that came is checked first when priorities are equal."""
    script = scripted()
    peer = script.peer
    sockets = [peer.open() for _ in range(5)]
    script.gather()
    script.set_credentials()
    for socket in sockets:
        script.agent.add_remote_candidate(peer.candidate(socket, foundation=f"f{socket}", priority=1000), 0.0)
    order = [peer.next_check().socket for _ in sockets]
    assert order == sockets


def test_a_candidate_in_every_order_with_the_credentials():
    """8838-2: credentials first, last, or between two candidates: the same pairs."""
    for position in range(3):
        script = scripted()
        script.gather()
        peer = script.peer
        candidates = [peer.candidate(), peer.candidate(peer.open())]
        for number in range(3):
            if number == position:
                script.set_credentials()
            if number < 2:
                script.agent.add_remote_candidate(candidates[number], 0.0)
        assert len(script.agent.pairs) == 2
