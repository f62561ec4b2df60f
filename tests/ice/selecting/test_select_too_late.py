"""`IceAgent.select` for pairs that are over: found by the target `ice` of tests/fuzz."""

from __future__ import annotations

import pytest
from ice_harness import ice_pair

from fasticePy.errors import StateError


@pytest.mark.parametrize("end", ["close", "close_stream", "restart"])
def test_a_pair_that_is_over_cannot_be_selected(end: str) -> None:
    """It would carry data, and keep consent, on a socket that is closed or for credentials that are no more."""
    pair = ice_pair()
    pair.connect()
    agent, now = pair.left.agent, pair.sim.now
    chosen = agent.selected_pair()
    assert chosen is not None
    if end == "close":
        agent.close(now)
    elif end == "close_stream":
        agent.close_stream(0, now)
    else:
        agent.restart(now)
        pair.sim.run_for(20)
    selected = agent.selected_pair()
    with pytest.raises(StateError, match="cannot be selected"):
        agent.select(chosen, now)
    assert agent.selected_pair() is selected
    if end == "close":
        assert agent.next_timer() is None
