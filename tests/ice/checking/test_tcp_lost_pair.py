"""A TCP connection is lost, and so is the address that it left from: found by the target `ice` of tests/fuzz."""

from __future__ import annotations

from ice_harness import ice_pair

from fasticePy.ice import Candidate
from fasticePy.ice.checking.tcp_pairs import REOPEN_DELAYS


def only_tcp(candidate: Candidate) -> Candidate | None:
    return candidate if candidate.transport == "tcp" else None


def test_a_pair_that_is_gone_is_not_connected_again() -> None:
    """6544-15: who has connected connects again, unless there is nowhere to do so from; another pair takes over."""
    pair = ice_pair(
        left=("10.0.0.1", "10.0.1.1"),
        left_options={"tcp": frozenset({"active"})},
        right_options={"tcp": frozenset({"passive"})},
        local_candidate=only_tcp,
        continual=True,
    )
    pair.connect()
    agent = pair.left.agent
    lost = agent.selected_pair()
    assert lost is not None
    agent.connection_closed(lost.socket, "reset", pair.sim.now)
    assert agent.state == "disconnected"
    agent.addresses_changed([("10.0.1.1", 0)], pair.sim.now)
    pair.sim.run_for(sum(REOPEN_DELAYS) + 5)
    assert lost not in agent.pairs
    assert agent.counters["connection.reopened"] == 0
    selected = agent.selected_pair()
    assert selected is not None
    assert selected.local_candidate.base[0] == "10.0.1.1"
