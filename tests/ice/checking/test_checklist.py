"""Checklists: which pairs there are, in which order and state, and which is checked next (RFC 8445 6.1.2 to 6.1.4)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ice_harness import ice_pair, make_pair, scripted

from fasticePy.ice import Candidate, CandidatePair, Limits, candidate_priority, pair_priority
from fasticePy.ice.checking.checklist import SIBLINGS_WAIT, Checklist, ChecklistSet


def checklist_of(*pairs: CandidatePair) -> Checklist:
    checklist = Checklist()
    for pair in pairs:
        checklist.insert(pair)
    return checklist


def set_of(*lists: Checklist, max_pairs: int = 100) -> ChecklistSet:
    return ChecklistSet(list(lists), max_pairs)


# -- pair priorities and their order ---------------------------------------------------------------------------------

HOST, SRFLX = 2130706431, 1694498815


@pytest.mark.parametrize(
    ("controlling", "controlled", "priority"),
    [
        (HOST, HOST, 9151314442783293438),
        (HOST, SRFLX, 7277816997797167103),
        (SRFLX, HOST, 7277816997797167102),
        (1, 1, (1 << 32) + 2),
        (2**31 - 1, 1, (1 << 32) + 2 * (2**31 - 1) + 1),
    ],
)
def test_pair_priority_by_the_formula(controlling, controlled, priority):
    """8445-19: 2^32 * MIN(G, D) + 2 * MAX(G, D) + (G > D)."""
    assert pair_priority(controlling, controlled) == priority


def test_pairs_are_sorted_by_priority_and_equal_ones_by_component():
    """8445-19: best first; 8445-23: of equal ones the lower component."""
    pairs = [make_pair(5, component=2), make_pair(7), make_pair(5, component=1), make_pair(9)]
    assert [(pair.priority, pair.component) for pair in checklist_of(*pairs).pairs] == [
        (9, 1),
        (7, 1),
        (5, 1),
        (5, 2),
    ]


def test_both_agents_sort_their_pairs_alike_and_a_role_switch_sorts_anew():
    """8445-19: the two agents have the same order; a switched role recomputes it."""
    pair = ice_pair(left=("10.0.0.1", "10.0.1.1"), right=("10.0.0.2", "10.0.1.2", "10.0.2.2"))
    pair.start()
    pair.sim.run_for(0)

    def order(node, *, mine_first):
        ways = []
        for each in node.agent.pairs:
            way = (node.address_of(each.socket), each.destination)
            ways.append(way if mine_first else way[::-1])
        return ways

    assert len(pair.left.agent.pairs) == 6
    assert order(pair.left, mine_first=True) == order(pair.right, mine_first=False)
    priorities = {each.path: each.priority for each in pair.left.agent.pairs}
    pair.left.agent.switch_role("test", pair.sim.now)
    changed = [each for each in pair.left.agent.pairs if each.priority != priorities[each.path]]
    assert changed  # those of unequal candidates: G > D became G < D
    assert all(abs(each.priority - priorities[each.path]) == 1 for each in changed)
    assert [each.priority for each in pair.left.agent.pairs] == sorted(
        (each.priority for each in pair.left.agent.pairs), reverse=True
    )


# -- which pairs are formed ------------------------------------------------------------------------------------------


def test_pairs_have_one_component_one_family_and_one_kind_of_scope():
    """8445-18: same component, same family, link-local IPv6 only with link-local."""
    script = scripted(
        agent_addresses=("10.0.0.1", "2001:db8::1", "fe80::1"),
        peer_addresses=("10.0.0.2", "2001:db8::2", "fe80::2"),
        components=2,
    )
    peer = script.peer
    sockets = [peer.open(address, port) for address in peer.host.addresses for port in (1001, 1002)]
    candidates = [
        peer.candidate(socket, component=peer.address(socket)[1] - 1000, foundation=f"f{number}")
        for number, socket in enumerate(sockets)
    ]
    script.meet(*candidates)
    pairs = {
        (pair.local.address, pair.local.component, pair.remote.address, pair.remote.component)
        for pair in script.agent.pairs
    }
    assert pairs == {
        (mine, component, theirs, component)
        for mine, theirs in zip(script.node.host.addresses, peer.host.addresses, strict=True)
        for component in (1, 2)
    }


def test_a_reflexive_candidate_is_replaced_by_its_base():
    """8445-20: host and srflx of one socket times one remote is one pair, that of the host candidate."""
    script = scripted()
    script.gather()
    engine = script.agent.streams[0].engine
    host = engine.gatherer.candidates.all[0]
    reflexive = Candidate("9", 1, "udp", candidate_priority("srflx", 65535, 1), "192.0.2.7", 777, "srflx")
    found = type(host)(reflexive, host.socket, host.base)
    engine.gatherer.candidates.all.append(found)
    engine.candidate_found(found, script.now)
    script.meet()
    (pair,) = script.agent.pairs
    assert pair.local.type == "host"
    assert pair.priority == pair_priority(host.candidate.priority, script.peer.candidate().priority)


def test_a_remote_reflexive_candidate_at_the_address_of_a_host_candidate_is_known_already():
    """8445-20, str0m identical_host_and_srflx_dont_create_new_pairs: same base, same remote address: one pair."""
    script = scripted()
    script.meet(script.peer.candidate(), script.peer.candidate(type="srflx"))
    (pair,) = script.agent.pairs
    assert pair.remote.type == "host"
    assert script.counted("remote-candidate.ignored") == 1


# -- the limit -------------------------------------------------------------------------------------------------------


def test_the_best_hundred_of_nine_hundred_pairs_are_kept():
    """8445-21: 30 x 30 candidates make 100 pairs, the best ones; 8445-63."""
    script = scripted(agent_addresses=[f"10.0.1.{number}" for number in range(1, 31)])
    script.meet(
        *(
            script.peer.candidate(
                address=(f"10.0.2.{number}", 5000), local_preference=number, foundation=f"r{number}"
            )
            for number in range(1, 31)
        )
    )
    locals_, remotes = script.agent.local_candidates, script.agent.remote_candidates
    assert len(locals_) * len(remotes) == 900
    all_priorities = sorted(
        (pair_priority(ours.priority, theirs.priority) for ours in locals_ for theirs in remotes),
        reverse=True,
    )
    assert [pair.priority for pair in script.agent.pairs] == all_priorities[:100]


def test_the_limit_can_be_chosen():
    """8445-21: configurable."""
    script = scripted(limits=Limits(pairs=3))
    script.meet(*(script.peer.candidate(address=("10.0.0.2", port)) for port in range(1, 10)))
    assert len(script.agent.pairs) == 3


def test_pairs_over_the_limit_leave_all_checklists_evenly():
    """8445-21: two lists that want 80 each get 50 each, their best."""
    first, second = Checklist(), Checklist()
    checklists = set_of(first, second)
    for checklist in (first, second):
        for priority in range(1, 81):
            checklists.add(checklist, make_pair(priority, foundation=f"f{priority}"))
    assert [pair.priority for pair in first.pairs] == list(range(80, 30, -1))
    assert [pair.priority for pair in second.pairs] == list(range(80, 30, -1))


# -- states at the start ---------------------------------------------------------------------------------------------


def row(*foundations: str, component: int = 1) -> Checklist:
    return checklist_of(
        *(
            make_pair(100 - number, foundation=name, component=component)
            for number, name in enumerate(foundations)
        )
    )


def states(checklist: Checklist) -> str:
    letters = {"frozen": "f", "waiting": "w", "in-progress": "p", "succeeded": "s", "failed": "x"}
    return " ".join(f"{pair.foundation[0]}{letters[pair.state]}" for pair in checklist.pairs)


def test_initial_states_are_those_of_table_1():
    """8445-22: the example of RFC 8445 6.1.2.6."""
    m1, m2, m3 = row("1", "2", "3"), row("1", "2", "3", "4"), row("1", "5")
    checklists = set_of(m1, m2, m3)
    assert {pair.state for pair in checklists.pairs()} == {"frozen"}
    checklists.start()
    assert states(m1) == "1w 2w 3w"
    assert states(m2) == "1f 2f 3f 4w"
    assert states(m3) == "1f 5w"
    assert [each.state for each in (m1, m2, m3)] == ["running"] * 3


def test_of_one_foundation_the_lowest_component_begins_then_the_highest_priority():
    """8445-22: within a checklist the component decides before the priority."""
    pairs = [
        make_pair(90, component=2),
        make_pair(10, component=1),
        make_pair(20, component=1),
        make_pair(95, component=2),
    ]
    checklists = set_of(checklist_of(*pairs))
    checklists.start()
    assert [pair.state for pair in pairs] == ["frozen", "frozen", "waiting", "frozen"]


def test_success_unfreezes_the_foundation_in_all_checklists():
    """8445-36: two streams; other foundations stay as they are."""
    first, second = row("1", "2"), row("1", "2", "3")
    checklists = set_of(first, second)
    checklists.start()
    pair = checklists.next_check()
    assert pair is first.pairs[0]
    pair.state = "succeeded"
    checklists.unfreeze(pair.foundation)
    assert states(first) == "1s 2w"
    assert states(second) == "1w 2f 3w"


# -- the next check --------------------------------------------------------------------------------------------------


def send(checklists: ChecklistSet) -> CandidatePair | None:
    pair = checklists.next_check()
    if pair is not None:
        pair.state = "in-progress"
    return pair


def test_checklists_take_turns_and_those_without_work_are_passed_over():
    """8445-23: each Ta the next Running checklist; nothing to do there: the next one without waiting."""
    first, second, third = row("1", "2"), row("3"), row("4", "5")
    checklists = set_of(first, second, third)
    checklists.start()
    sent = [send(checklists) for _ in range(6)]
    assert sent == [first.pairs[0], second.pairs[0], third.pairs[0], first.pairs[1], third.pairs[1], None]
    assert not checklists.has_work()


def test_a_completed_or_failed_checklist_is_not_checked():
    """8445-23: only Running ones are picked."""
    first, second, third = row("1"), row("2"), row("3")
    checklists = set_of(first, second, third)
    checklists.start()
    first.state, second.state = "completed", "failed"
    assert send(checklists) is third.pairs[0]
    assert send(checklists) is None


def test_triggered_checks_come_first_in_the_order_in_which_they_came():
    """8445-23: the queue is served before ordinary checks, first in, first out; a pair is in it once."""
    checklist = row("1", "2", "3")
    checklists = set_of(checklist)
    checklists.start()
    first, second, third = checklist.pairs
    for pair in (third, second, third):
        pair.state = "waiting"
        checklist.trigger(pair)
    assert [send(checklists) for _ in range(4)] == [third, second, first, None]


def test_a_frozen_pair_thaws_when_nobody_checks_its_foundation():
    """8445-23: without a Waiting pair in the list, a Frozen one whose foundation has none Waiting or In-Progress in
    any list becomes Waiting."""
    first, second = row("1", "2"), row("1", "2")
    checklists = set_of(first, second)
    checklists.start()
    assert send(checklists) is first.pairs[0]
    assert send(checklists) is first.pairs[1]  # second: both foundations are busy in the first list
    assert send(checklists) is None
    first.pairs[1].state = "failed"
    assert states(second) == "1f 2f"  # 8445-33: a failure alone unfreezes nothing
    assert send(checklists) is second.pairs[1]
    assert states(second) == "1f 2p"


def test_a_check_without_an_answer_holds_frozen_pairs_back_for_so_long_only():
    """8445-23 would wait 39.5 s for its end, and by then the peer's own checks, which only ours let through a firewall,
    have ended too."""
    first, second = row("1"), row("1")
    checklists = set_of(first, second)
    checklists.start()
    pair = checklists.next_check(10.0)
    assert pair is first.pairs[0]
    pair.state, pair.started_at = "in-progress", 10.0
    assert checklists.next_check(10.0 + SIBLINGS_WAIT - 0.001) is None
    assert checklists.next_thaw(10.0) == 10.0 + SIBLINGS_WAIT
    assert checklists.next_check(10.0 + SIBLINGS_WAIT) is second.pairs[0]
    second.pairs[0].state, second.pairs[0].started_at = "in-progress", 11.5
    assert checklists.next_thaw(11.5) is None  # nothing is frozen


def test_the_highest_priority_is_checked_first_of_equal_ones_the_lowest_component():
    """8445-23."""
    pairs = [
        make_pair(5, foundation="1", component=2),
        make_pair(9, foundation="2", component=2),
        make_pair(5, foundation="3", component=1),
        make_pair(7, foundation="4", component=1),
    ]
    checklists = set_of(checklist_of(*pairs))
    checklists.start()
    assert [(send(checklists).priority) for _ in range(2)] == [9, 7]
    assert [send(checklists).component for _ in range(2)] == [1, 2]


# -- against a model -------------------------------------------------------------------------------------------------


@dataclass
class ModelPair:
    name: int
    foundation: int
    component: int
    priority: int
    state: str = "frozen"


@dataclass
class ModelList:
    pairs: list[ModelPair]
    running: bool = True
    queue: deque[ModelPair] = field(default_factory=deque)


@dataclass
class Model:
    """RFC 8445 6.1.2.6 and 6.1.4.2 as they are written, without any cleverness."""

    lists: list[ModelList]
    picked: int = -1

    def all_pairs(self) -> list[ModelPair]:
        return [pair for each in self.lists for pair in each.pairs]

    def start(self) -> None:
        for foundation in {pair.foundation for pair in self.all_pairs()}:
            for each in self.lists:
                column = [pair for pair in each.pairs if pair.foundation == foundation]
                if column:
                    min(column, key=lambda pair: (pair.component, -pair.priority)).state = "waiting"
                    break

    def busy(self, foundation: int) -> bool:
        return any(
            pair.state in ("waiting", "in-progress")
            for pair in self.all_pairs()
            if pair.foundation == foundation
        )

    def ta(self) -> ModelPair | None:
        for step in range(1, len(self.lists) + 1):
            number = (self.picked + step) % len(self.lists)
            each = self.lists[number]
            pair = self.perform(each) if each.running else None
            if pair is not None:
                self.picked = number
                pair.state = "in-progress"
                return pair
        return None

    def perform(self, each: ModelList) -> ModelPair | None:
        if each.queue:
            return each.queue.popleft()
        order = sorted(each.pairs, key=lambda pair: (-pair.priority, pair.component))
        if not any(pair.state == "waiting" for pair in order):
            for pair in order:
                if pair.state == "frozen" and not self.busy(pair.foundation):
                    pair.state = "waiting"
        return next((pair for pair in order if pair.state == "waiting"), None)


class Twins:
    """The checklists and the model side by side: each step is done to both."""

    def __init__(self, rows: list[list[tuple[int, int, int]]]) -> None:
        self.twin_of: dict[CandidatePair, ModelPair] = {}
        self.lists, model_lists = [], []
        for content in rows:
            # several of equal component and priority would leave the order open
            unique = {(component, priority): foundation for foundation, component, priority in content}
            self.lists.append(Checklist())
            model_lists.append(ModelList([]))
            for (component, priority), foundation in unique.items():
                pair = make_pair(priority, component=component, foundation=f"f{foundation}")
                twin = ModelPair(len(self.twin_of), foundation, component, priority)
                self.twin_of[pair] = twin
                self.lists[-1].insert(pair)
                model_lists[-1].pairs.append(twin)
        self.checklists, self.model = ChecklistSet(self.lists, 100), Model(model_lists)
        self.checklists.start()
        self.model.start()

    def step(self, action: int, choice: int) -> None:
        running = [pair for pair, twin in self.twin_of.items() if twin.state == "in-progress"]
        if action < 2 or (action < 4 and not running):
            self.ta()
        elif action < 4:
            pair = running[choice % len(running)]
            self.set_state(pair, "succeeded" if action == 2 else "failed")
        elif action == 4:
            self.trigger(choice)
        else:
            self.complete(choice % len(self.lists))

    def ta(self) -> None:
        sent, expected = send(self.checklists), self.model.ta()
        assert (None if sent is None else self.twin_of[sent]) is expected

    def set_state(self, pair: CandidatePair, state: Literal["waiting", "succeeded", "failed"]) -> None:
        pair.state = self.twin_of[pair].state = state
        if state == "succeeded":
            self.checklists.unfreeze(pair.foundation)
            for twin in self.model.all_pairs():
                if twin.foundation == self.twin_of[pair].foundation and twin.state == "frozen":
                    twin.state = "waiting"

    def trigger(self, choice: int) -> None:
        checklist, twins = self.lists[choice % 3], self.model.lists[choice % 3]
        pair = checklist.pairs[choice // 3 % len(checklist.pairs)]
        if twins.running and pair.state != "succeeded":
            self.set_state(pair, "waiting")
            checklist.trigger(pair)
            if self.twin_of[pair] not in twins.queue:
                twins.queue.append(self.twin_of[pair])

    def complete(self, number: int) -> None:
        if not self.model.lists[number].queue:
            self.model.lists[number].running = False
            self.lists[number].state = "completed"

    def check(self) -> None:
        for pair, twin in self.twin_of.items():
            assert pair.state == twin.state
        obvious = any(
            each.running and (each.queue or any(pair.state == "waiting" for pair in each.pairs))
            for each in self.model.lists
        )
        assert self.checklists.has_work() or not obvious


PAIRS = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 2), st.integers(1, 6)), min_size=1, max_size=6)
STEPS = st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 4, 4, 0, 1, 2, 5]), st.integers(0, 100)), max_size=80)


@settings(max_examples=150, deadline=None)
@given(st.lists(PAIRS, min_size=3, max_size=3), STEPS)
def test_the_trace_of_three_checklists_is_that_of_the_model(rows, steps):
    """8445-23: whatever succeeds, fails, is triggered or ends meanwhile."""
    twins = Twins(rows)
    for action, choice in steps:
        twins.step(action, choice)
        twins.check()
