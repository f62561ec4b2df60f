"""Each message of a connection lost, one at a time and two at a time: it connects all the same, on one pair."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from ice_harness import IcePair, ice_pair

from fasticePy.sim import Link
from fasticePy.stun.uri import parse_server_url

SERVER = "192.0.2.1"
LATENCIES = [0.0, 0.03, 0.15]
"""One way, in seconds."""
SETUPS: dict[str, dict[str, Any]] = {
    "usual": {},
    "both controlling": {"right_options": {"controlling": True}},
    "both controlled": {"left_options": {"controlling": False}},
    "fastest": {"nomination": "fastest"},
    "continuous": {"nomination": "continuous"},
    "two components": {"components": 2},
    "two streams": {"streams": 2},
    "late signalling": {"signal_delay": 0.12},
    "server": {},
}


def connection(setup: str, latency: float, lost: tuple[int, ...] = ()) -> tuple[IcePair, int]:
    """A connection in which the packets of these numbers (from 0) never arrive, once it is complete; and how many were
    sent by then."""
    pair = ice_pair(
        left=("10.0.0.1", "10.0.1.1"), right=("10.0.0.2",), link=Link(latency=latency / 2), **SETUPS[setup]
    )
    seen = 0

    def drop(packet: object) -> bool:
        nonlocal seen
        seen += 1
        return seen - 1 in lost

    end = pair.sim.network.drop(drop)
    if setup == "server":
        pair.sim.add_stun_server(pair.sim.network.add_host(SERVER))
        for node in pair.nodes:
            node.gather([parse_server_url(f"stun:{SERVER}")])
    pair.connect(limit=39)
    end()
    return pair, seen


def assert_good(pair: IcePair, setup: str) -> None:
    """One in each role, the same pair at both ends for everything, and data both ways."""
    assert {agent.role for agent in pair.agents} == {"controlling", "controlled"}
    for stream in range(SETUPS[setup].get("streams", 1)):
        for component in range(1, 1 + SETUPS[setup].get("components", 1)):
            left, right = (agent.selected_pair(component, stream) for agent in pair.agents)
            assert left is not None and right is not None
            assert left.valid and right.valid
            assert pair.left.address_of(left.socket) == right.destination
            assert pair.right.address_of(right.socket) == left.destination
    for sender, receiver in (pair.nodes, pair.nodes[::-1]):
        assert sender.send(1, b"\x80data")
        pair.sim.run_for(0.5)
        assert receiver.data[-1].data == b"\x80data"


@pytest.mark.parametrize(
    ("setup", "latency"),
    [(setup, 0.03) for setup in SETUPS] + [("usual", 0.0), ("usual", 0.15), ("both controlled", 0.15)],
)
def test_any_message_may_be_lost(setup, latency):
    """One at a time, for all of them as many as a clean run has: a few retransmissions later all is well."""
    clean, count = connection(setup, latency)
    took = clean.sim.now
    assert count >= 8
    for number in range(count):
        pair, _ = connection(setup, latency, (number,))
        assert pair.sim.now < took + 2.5, f"packet {number} of {count}"
        pair.sim.run_for(6.0 if setup == "continuous" else 0.0)
        assert_good(pair, setup)


@pytest.mark.parametrize(
    ("setup", "latency"), [*(("usual", latency) for latency in LATENCIES), ("both controlled", 0.03)]
)
def test_any_two_messages_may_be_lost(setup, latency):
    """Two of the first ones, in all combinations."""
    _, count = connection(setup, latency)
    for numbers in combinations(range(min(count, 10)), 2):
        pair, _ = connection(setup, latency, numbers)
        assert pair.sim.now < 6.0, f"packets {numbers}"
        assert_good(pair, setup)


@pytest.mark.parametrize("latency", LATENCIES)
def test_the_first_messages_may_all_be_lost(latency):
    """The first n of them, for every n of the clean run."""
    _, count = connection("usual", latency)
    for number in range(count):
        pair, _ = connection("usual", latency, tuple(range(number)))
        assert_good(pair, "usual")
