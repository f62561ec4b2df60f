from __future__ import annotations

from itertools import groupby, pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.sim import Link
from fasticePy.sim.link import damaged

PROBABILITIES = st.sampled_from([0.0, 0.1, 0.5, 1.0])


def many(link: Link, seed: int = 1, count: int = 2000, gap: float = 0.001) -> list[list[float]]:
    rng = Random(seed)
    return [link.arrivals(number * gap, rng) for number in range(count)]


def test_a_plain_link_delays_every_packet_alike():
    assert many(Link(latency=0.05), count=3, gap=1.0) == [[0.05], [1.05], [2.05]]


def test_loss_takes_about_its_share():
    lost = sum(not arrivals for arrivals in many(Link(loss=0.3)))
    assert 500 < lost < 700


def runs(losses: list[bool]) -> list[int]:
    """The lengths of the bursts of losses."""
    return [len(list(group)) for lost, group in groupby(losses) if lost]


@pytest.mark.parametrize(
    ("loss", "burst", "lost", "bursts"),
    [
        (0.1, 0, 2042, 1817),
        (0.1, 1, 2032, 2032),
        (0.1, 5, 2052, 424),
        (0.5, 5, 10040, 2031),
        (0.9, 2, 17968, 2033),
    ],
)
def test_bursts_have_their_length_and_losses_their_share(loss, burst, lost, bursts):
    """Of 20000 packets, `loss` are lost, in bursts of `burst` each; of 90 %, bursts of 9 are the shortest there are."""
    losses = [not arrivals for arrivals in many(Link(loss=loss, burst=burst), count=20000)]
    assert (sum(losses), len(runs(losses))) == (lost, bursts)
    assert abs(lost / 20000 - loss) < 0.02
    assert lost / bursts == pytest.approx(
        max(burst, loss / (1 - loss), 1 / (1 - loss) * (not burst)), rel=0.1
    )


def test_a_burst_that_never_ends_and_one_that_never_begins():
    assert many(Link(loss=1.0, burst=3), count=50) == [[]] * 50
    assert all(many(Link(loss=0.0, burst=3), count=50))


def test_what_is_not_used_draws_no_randomness():
    used, unused = Random(1), Random(1)
    Link(burst=4.0, rate=1e6, queue=10).arrivals(0.0, used, 100)
    assert not Link().damages(used)
    assert used.random() == unused.random()


def test_a_rate_puts_one_packet_after_another_on_the_wire():
    link = Link(latency=0.5, rate=8000)
    rng = Random(1)
    assert [link.arrivals(at, rng, 250) for at in (0.0, 0.0, 0.125, 10.0)] == [[0.75], [1.0], [1.25], [10.75]]


def test_a_queue_that_is_full_drops_what_comes_last():
    link = Link(latency=0.0, rate=8000, queue=500)
    rng = Random(1)
    assert [link.arrivals(0.0, rng, 250) for _ in range(4)] == [[0.25], [0.5], [], []]
    assert [link.is_full(at, 250) for at in (0.0, 0.125, 0.25, 0.5)] == [True, True, False, False]
    assert link.arrivals(0.25, rng, 250) == [0.75]
    assert link.arrivals(0.75, rng, 5000) == [5.75]  # an idle link takes a packet of any size
    assert link.arrivals(0.75, rng, 0) == []


def test_what_is_lost_on_the_wire_has_taken_its_time():
    link = Link(latency=0.0, rate=8000, loss=1.0)
    rng = Random(1)
    assert link.arrivals(0.0, rng, 1000) == []
    link.loss = 0.0
    assert link.arrivals(0.0, rng, 1000) == [2.0]


def test_an_interruption_ends_by_itself_and_may_be_prolonged():
    link, rng = Link(latency=0.0), Random(1)
    link.interrupt(2.0)
    link.interrupt(1.0)
    assert [link.arrivals(at, rng) for at in (1.0, 1.9, 2.0)] == [[], [], [2.0]]
    assert link.up
    link.interrupt(9.0)
    assert link.copy().arrivals(3.0, rng) == [3.0]


@given(st.binary(max_size=40), st.integers())
def test_damage_changes_one_byte(data, seed):
    changed = damaged(data, Random(seed))
    assert len(changed) == len(data)
    assert sum(a != b for a, b in zip(data, changed, strict=True)) == min(1, len(data))


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


@pytest.mark.parametrize(
    "field",
    [
        "latency",
        "jitter",
        "loss",
        "duplicate",
        "reorder",
        "reorder_delay",
        "burst",
        "corrupt",
        "rate",
        "queue",
    ],
)
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
        burst=st.sampled_from([0.0, 0.5, 1.0, 5.0]),
        rate=st.sampled_from([0.0, 1e5]),
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
