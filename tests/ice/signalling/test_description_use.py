"""What an agent takes from descriptions, and what it says in its own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import pytest

from fasticePy.ice import IceAgent, IceOptions, Pacer
from fasticePy.ice.candidate import Candidate
from fasticePy.ice.events import NeedSocket
from fasticePy.ice.options import Timeouts
from fasticePy.ice.signalling.description import Description

PWD = "asd88fgpdd777uzjYhagZg"
Rng = Callable[[int], bytes]


def gathered(agent: IceAgent) -> IceAgent:
    """The agent with one host candidate."""
    agent.gather([("10.0.0.1", 0)], [], 0.0)
    for event in agent.take_events():
        if isinstance(event, NeedSocket):
            agent.socket_opened(event.request, 1, ("10.0.0.1", 5000), 0.0)
    return agent


def first_sends(agent: IceAgent, until: float) -> list[float]:
    """When the agent began a new transaction, in seconds."""
    times: dict[bytes, float] = {}
    while (at := agent.next_timer()) is not None and at <= until:
        agent.handle_timer(at)
        for transmit in agent.take_transmits():
            times.setdefault(transmit.data[8:20], at)
    return list(times.values())


@pytest.mark.parametrize(
    ("ours", "theirs", "milliseconds"), [(0.02, None, 50), (0.02, 100, 100), (0.1, 20, 100), (0.02, 20, 20)]
)
def test_checks_keep_the_slower_pace(rng: Rng, ours: float, theirs: int | None, milliseconds: int) -> None:
    """8839-25: 20 and absent make 50, 20 and 100 make 100, in the checks that are really sent."""
    agent = gathered(
        IceAgent(IceOptions(controlling=True, timeouts=Timeouts(pacing=ours)), rng=rng, pacer=Pacer())
    )
    candidates = tuple(
        Candidate(str(number), 1, "udp", 2130706431 - number, f"10.0.0.{number}", 7000, "host")
        for number in range(2, 6)
    )
    agent.set_remote_description(Description("abcd", PWD, candidates, pacing_ms=theirs), 0.0)
    times = first_sends(agent, 0.45)
    assert len(times) == 4
    gaps = [round((later - earlier) * 1000) for earlier, later in pairwise(times)]
    assert gaps == [milliseconds] * 3


def test_the_local_description_is_what_a_peer_needs(rng: Rng) -> None:
    """8839-9 (part), 8839-3, 8839-24: candidates, ufrag, pwd, ice2, ice-pacing; and it survives the way there."""
    agent = gathered(IceAgent(IceOptions(controlling=True), rng=rng, pacer=Pacer()))
    description = agent.local_description
    assert [candidate.transport_address for candidate in description.candidates] == [("10.0.0.1", 5000)]
    assert description.has_option("ice2") and description.has_option("trickle")
    assert "a=ice-pacing:50" in description.session_lines()
    assert len(description.ufrag) <= 32
    assert Description.parse(str(description)) == description == Description.parse(description.to_json())


def test_a_local_ufrag_too_long_to_be_sent(rng: Rng) -> None:
    """8839-24: 32 characters at most are sent."""
    options = IceOptions(controlling=True, local_ufrag="u" * 32)
    assert IceAgent(options, rng=rng, pacer=Pacer()).local_description.ufrag == "u" * 32
    with pytest.raises(ValueError, match="has 32 characters at most, this one has 33"):
        IceAgent(IceOptions(controlling=True, local_ufrag="u" * 33), rng=rng, pacer=Pacer())
