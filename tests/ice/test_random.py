"""Two agents in random multi-homed topologies (see random_topology.py): where a path exists they end on the same pair,
where none does they fail and say why, and nothing is left of them afterwards."""

from __future__ import annotations

import pytest
from random_topology import BAD_LUCK, draw, outcome, outcomes, replay

SLOW_RUNS = 10_000


@pytest.mark.parametrize("first", range(0, 160, 20))
def test_random_topologies(first):
    """8445 8.1.1: both sides end on the same pair, for each component of each stream."""
    found = [outcome(seed) for seed in range(first, first + 20)]
    assert not [each.failure for each in found if each.failure]
    assert sum(each.unlucky for each in found) <= 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_random_topologies():
    """The same for many more, on all CPUs; where packets get lost, so may a connection, but hardly ever."""
    found = outcomes(range(1000, 1000 + SLOW_RUNS))
    failures = [each.failure for each in found if each.failure]
    assert not failures, "\n".join(failures)
    assert len(found) <= BAD_LUCK * SLOW_RUNS, [replay(each.seed) for each in found]


def test_the_seeds_show_all_there_is():
    """Both outcomes, both families, every kind of wall, streams, components, conflicts, a bad network: what the fast
    suite runs has some of each."""
    drawn = [draw(seed) for seed in range(160)]
    paths = sum(topology.has_path() for topology in drawn)
    assert 80 <= paths <= 150
    sides = [side for topology in drawn for side in topology.sides]
    assert {len(side.addresses) for side in sides} == {1, 2, 3, 4}
    assert {side.wall.nat for side in sides if side.wall} == {None, "endpoint", "symmetric"}
    assert {side.wall.filtering for side in sides if side.wall} == {"none", "address", "port"}
    assert {side.nomination for side in sides} >= {"regular", "fastest"}
    assert any(len({":" in address for address in side.addresses}) == 2 for side in sides)
    assert {(each.streams, each.components) for each in drawn} >= {(1, 1), (2, 1), (3, 1), (1, 2)}
    assert any(each.left.controlling == each.right.controlling for each in drawn)
    assert any(each.link.loss and each.link.reorder and each.link.duplicate for each in drawn)
    assert any(each.skew > 0.5 for each in drawn)


def test_equal_seeds_give_equal_topologies():
    assert [draw(seed) for seed in range(50)] == [draw(seed) for seed in range(50)]
