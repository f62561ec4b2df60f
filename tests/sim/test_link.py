from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.sim import Link

PROBABILITIES = st.sampled_from([0.0, 0.1, 0.5, 1.0])


def many(link: Link, seed: int = 1, count: int = 2000, gap: float = 0.001) -> list[list[float]]:
    rng = Random(seed)
    return [link.arrivals(number * gap, rng) for number in range(count)]


def test_a_plain_link_delays_every_packet_alike():
    assert many(Link(latency=0.05), count=3, gap=1.0) == [[0.05], [1.05], [2.05]]


def test_loss_takes_about_its_share():
    lost = sum(not arrivals for arrivals in many(Link(loss=0.3)))
    assert 500 < lost < 700


def test_duplicates_come_at_about_their_rate():
    doubled = sum(len(arrivals) == 2 for arrivals in many(Link(duplicate=0.2)))
    assert 330 < doubled < 470


def test_jitter_varies_the_delay_and_keeps_the_order():
    arrivals = [at for each in many(Link(latency=0.01, jitter=0.05)) for at in each]
    assert arrivals == sorted(arrivals)
    delays = [at - number * 0.001 for number, at in enumerate(arrivals)]
    assert min(delays) >= 0.01 - 1e-9
    assert max(delays) <= 0.06 + 1e-9
    assert max(delays) - min(delays) > 0.01


def test_reordering_lets_later_packets_overtake():
    arrivals = [at for each in many(Link(reorder=0.1, reorder_delay=0.005)) for at in each]
    overtaken = sum(later < earlier for earlier, later in pairwise(arrivals))
    assert 100 < overtaken < 300


def test_an_outage_lets_nothing_pass():
    assert many(Link(up=False), count=3) == [[], [], []]


@pytest.mark.parametrize("field", ["latency", "jitter", "loss", "duplicate", "reorder", "reorder_delay"])
def test_a_copy_has_the_same_conditions_and_a_queue_of_its_own(field):
    link = Link(latency=0.1)
    setattr(link, field, 0.5)
    copy = link.copy()
    assert copy == link
    link.arrivals(100.0, Random(1))
    assert all(at < 2 for at in copy.arrivals(0.0, Random(1)))


@given(
    st.builds(
        Link,
        latency=st.floats(0, 1),
        jitter=st.floats(0, 1),
        loss=PROBABILITIES,
        duplicate=PROBABILITIES,
        reorder=PROBABILITIES,
        reorder_delay=st.floats(0, 1),
    ),
    st.integers(),
)
def test_arrivals_are_never_early_and_the_same_for_the_same_seed(link, seed):
    again = link.copy()
    first, second = many(link, seed, 20), many(again, seed, 20)
    assert first == second
    for number, arrivals in enumerate(first):
        assert len(arrivals) <= 2
        assert all(at >= number * 0.001 + link.latency for at in arrivals)
