"""How well a pair does, when it is checked again, and which pairs are kept warm."""

from __future__ import annotations

from itertools import count, permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ice_harness import make_pair

from fasticePy.ice import Candidate, CandidatePair
from fasticePy.ice.pair import LocalCandidate
from fasticePy.ice.selecting.pair_health import PairHealth, Strength, SwitchingLimits, next_check_at, warm

NOW = 100.0
LIMITS = SwitchingLimits()


def healthy(*, rtt=0.02, answered_at=NOW, **fields) -> PairHealth:
    pair = make_pair(state="succeeded", valid=True, rtt=rtt, consent_at=answered_at, **fields)
    return PairHealth.of(pair, answered_at)


def silent(*sent: float, **fields) -> PairHealth:
    """Checked at these times after NOW, in vain."""
    health = healthy(**fields)
    for at in sent:
        health.check_sent(NOW + at)
    return health


def middle(low: float, high: float) -> float:
    return (low + high) / 2


# -- the record ------------------------------------------------------------------------------------------------------


def test_a_record_begins_with_what_the_first_check_told():
    pair = make_pair(valid=True, rtt=0.03, consent_at=4.0)
    health = PairHealth.of(pair, 5.0, cost=7)
    assert (health.pair, health.cost, health.rtt) == (pair, 7, 0.03)
    assert (health.answered_at, health.heard_at, health.checked_at, health.unanswered) == (4.0, 4.0, 5.0, 0)


def test_round_trip_times_are_smoothed():
    health = healthy(rtt=None)
    health.answer_received(0.1, NOW)
    assert health.rtt == pytest.approx(0.1)
    health.answer_received(0.2, NOW)
    assert health.rtt == pytest.approx(0.125)
    health.answer_received(None, NOW)
    assert health.rtt == pytest.approx(0.125)


def test_an_answer_ends_a_silence():
    health = silent(0.0, 0.1, 0.2)
    assert (health.unanswered, health.silent_since) == (3, NOW)
    health.answer_received(0.25, NOW + 0.25)
    assert (health.unanswered, health.silent_since) == (0, None)
    assert health.recovered_at == health.answered_at == health.heard_at == NOW + 0.25


def test_an_answer_in_time_is_no_recovery():
    health = silent(0.0)
    health.answer_received(0.02, NOW + 0.02)
    assert health.recovered_at is None


def test_a_silence_of_any_length_takes_no_memory():
    health = silent(*(0.06 * n for n in range(1000)))
    assert health.unanswered == 1000
    assert len(health.unanswered_sent) == LIMITS.weak_checks


# -- strength --------------------------------------------------------------------------------------------------------

SEVEN = (0.0, 0.1, 0.16, 0.22, 0.28, 0.34, 0.4)


@pytest.mark.parametrize(
    ("sent", "rtt", "after", "strength"),
    [
        ((), 0.02, 10.0, Strength.STRONG),  # nothing was asked: silence says nothing
        ((0.0,), 0.02, 0.099, Strength.STRONG),
        ((0.0,), 0.02, 0.1, Strength.SUSPECT),
        ((0.0,), 0.2, 0.249, Strength.STRONG),  # 1.25 round trips
        ((0.0,), 0.2, 0.25, Strength.SUSPECT),
        ((0.0,), None, 0.499, Strength.STRONG),
        ((0.0,), None, 0.5, Strength.SUSPECT),
        (SEVEN[:6], 0.02, 1.0, Strength.SUSPECT),
        (SEVEN, 0.02, 0.499, Strength.SUSPECT),  # the seventh may still be answered
        (SEVEN, 0.02, 0.5, Strength.WEAK),
        (SEVEN, 0.2, 0.649, Strength.SUSPECT),
        (SEVEN, 0.2, 0.65, Strength.WEAK),
        ((0.0, 1.0, 2.0), 0.02, 2.99, Strength.SUSPECT),  # few checks, but long silence
        ((0.0, 1.0, 2.0), 0.02, 3.0, Strength.WEAK),
        ((0.0, 1.0), 0.02, 20.0, Strength.SUSPECT),
        (SEVEN, 0.02, 4.99, Strength.WEAK),
        (SEVEN, 0.02, 5.0, Strength.DEAD),
        ((), 0.02, 29.9, Strength.STRONG),
        ((), 0.02, 30.0, Strength.DEAD),  # consent has run out
    ],
)
def test_strength(sent, rtt, after, strength):
    assert silent(*sent, rtt=rtt).strength(NOW + after) == strength


def test_a_path_on_which_the_peer_is_heard_gets_the_full_number_of_checks():
    health = silent(0.0, 1.0, 2.0)
    health.heard_at = NOW + 2.5
    assert health.strength(NOW + 5.4) == Strength.SUSPECT
    assert health.strength(NOW + 5.5) == Strength.DEAD


@pytest.mark.parametrize(
    "change", [{"valid": False}, {"expired": True}], ids=["invalid", "consent taken back"]
)
def test_a_pair_that_may_carry_nothing_is_dead(change):
    health = healthy()
    assert health.usable(NOW)
    for name, value in change.items():
        setattr(health.pair, name, value)
    assert not health.usable(NOW)
    assert health.strength(NOW) == Strength.DEAD


def test_a_pair_without_any_answer_may_carry_nothing():
    assert not healthy(answered_at=None).usable(NOW)


# -- when to check ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "selected", "rtt", "interval"),
    [
        ((), True, 0.02, 0.8),
        ((), False, 0.02, 2.5),
        ((0.0,), True, 0.02, 0.1),  # when its answer is overdue
        ((0.0,), False, 0.02, 0.1),
        ((0.0,), True, 0.4, 0.5),
        ((0.0, 0.1), True, 0.02, 0.06),
        ((0.0, 0.6), True, 0.02, 0.06),
        ((0.0, 2.0), True, 0.02, 0.2),  # ever slower: a tenth of the silence
        ((0.0, 25.0), True, 0.02, 1.0),
        ((0.0, 0.1), False, 0.02, 0.06),
        ((0.0, 4.0), False, 0.02, 2.0),  # half of the silence
        ((0.0, 200.0), False, 0.02, 30.0),
    ],
)
def test_two_rates(sent, selected, rtt, interval):
    """8445-14: what is asked anew at the fast rate is a transaction of its own, farther apart than Ta."""
    health = silent(*sent, rtt=rtt)
    last = NOW + (sent[-1] if sent else 0.0)
    at = next_check_at(health, selected=selected, now=last, uniform=middle)
    assert at == pytest.approx(last + interval)
    assert next_check_at(health, selected=selected, now=NOW + 500, uniform=middle) == NOW + 500


def test_a_pair_that_was_never_checked_is_checked_now():
    health = healthy()
    health.checked_at = None
    assert next_check_at(health, selected=False, now=NOW, uniform=middle) == NOW


def test_backups_are_asked_at_once_when_the_selected_pair_is_in_trouble():
    selected, backup = silent(1.0), healthy()
    now = NOW + 1.1
    trouble = selected.trouble_since(now)
    assert trouble == NOW + 1.0
    assert next_check_at(backup, selected=False, now=now, uniform=middle, trouble_since=trouble) == now
    assert next_check_at(selected, selected=True, now=now, uniform=middle, trouble_since=trouble) == now
    backup.check_sent(now)
    backup.answer_received(0.02, now + 0.02)
    at = next_check_at(backup, selected=False, now=now + 0.02, uniform=middle, trouble_since=trouble)
    assert at == pytest.approx(now + 2.5)  # it has proved itself


def test_a_dead_backup_is_asked_at_once_too_and_then_ever_less_again():
    dead = silent(0.0, 0.1, 60.0)
    now = NOW + 61.1
    at = next_check_at(dead, selected=False, now=now, uniform=middle)
    assert at == pytest.approx(NOW + 90)
    assert next_check_at(dead, selected=False, now=now, uniform=middle, trouble_since=NOW + 61) == now
    for sent, interval in [(61.1, 0.06), (61.2, 0.1), (62.0, 0.5)]:
        dead.check_sent(NOW + sent)
        at = next_check_at(dead, selected=False, now=now, uniform=middle, trouble_since=NOW + 61)
        assert at == pytest.approx(NOW + sent + interval)


def test_no_trouble_before_an_answer_is_overdue():
    assert healthy().trouble_since(NOW + 9) is None
    assert silent(0.0).trouble_since(NOW + 0.09) is None


@given(
    st.lists(st.floats(0, 60), max_size=12).map(sorted),
    st.booleans(),
    st.none() | st.floats(0, 3),
    st.none() | st.floats(-5, 60),
    st.floats(0.8, 1.2),
)
def test_checks_of_a_pair_keep_their_distance(sent, selected, rtt, trouble, share):
    """8445-14: whatever happens, one pair is checked less often than Ta allows, and never rarer than the named cap."""
    health = silent(*sent, rtt=rtt)
    last = health.checked_at
    at = next_check_at(
        health,
        selected=selected,
        now=NOW,
        uniform=lambda low, high: share,
        trouble_since=None if trouble is None else NOW + trouble,
    )
    assert at >= NOW
    assert last + LIMITS.fast_interval <= at <= last + max(30.0 * 1.2, 1.25 * (rtt or 0.0))


# -- which backups ---------------------------------------------------------------------------------------------------

_sockets = count(1)


def route(
    local: str, remote: str, priority=10, *, kind="host", url=None, transport="udp", cost=0
) -> PairHealth:
    """A pair that works, between these addresses."""
    ours = LocalCandidate(
        Candidate("1", 1, transport, priority, local, 4000, kind), next(_sockets), (local, 4000), url
    )
    theirs = Candidate("2", 1, transport, priority, remote, 5000, "host")
    pair = CandidatePair(ours, theirs, (remote, 5000), priority, state="succeeded", valid=True)
    return PairHealth(pair, cost=cost, answered_at=NOW, checked_at=NOW)


def test_other_local_addresses_come_first():
    selected = route("10.0.0.1", "192.0.2.1", 99)
    same, other_remote = route("10.0.0.1", "192.0.2.77", 98), route("10.0.0.1", "198.51.100.1", 97)
    mobile, mobile_too = route("100.64.0.1", "192.0.2.1", 5), route("100.64.0.1", "198.51.100.1", 4)
    everything = [same, other_remote, mobile_too, mobile, selected]
    assert warm(everything, selected, NOW) == [mobile, other_remote, mobile_too]
    assert warm(everything, selected, NOW, 1) == [mobile]
    assert warm(everything, selected, NOW, 0) == []
    assert warm([selected], selected, NOW) == []
    assert warm(everything, None, NOW) == [selected, mobile, other_remote, mobile_too]


def test_the_best_relayed_pair_is_always_kept():
    selected = route("10.0.0.1", "192.0.2.1", 99)
    direct = [route(f"10.0.{n}.1", "192.0.2.1", 50 + n) for n in range(1, 6)]
    relays = [route("203.0.113.1", "192.0.2.1", n, kind="relay", url="turn:a") for n in (7, 6)]
    assert warm([*direct, *relays], selected, NOW) == [direct[4], direct[3], direct[2], relays[0]]
    assert warm([*direct[:2], *relays], selected, NOW) == [direct[1], direct[0], relays[0]]


def test_a_relayed_pair_in_use_needs_no_other_one_of_the_same_server_and_transport():
    first, second, tls = (
        route("203.0.113.1", "192.0.2.1", n, kind="relay", url=url)
        for n, url in [(9, "turn:a"), (8, "turn:a"), (7, "turns:a")]
    )
    assert warm([first, second, tls], first, NOW) == [tls]


def test_networks_of_either_family_and_tcp_beside_udp():
    selected = route("2001:db8::1", "2001:db8:1::1", 9)
    near, far = route("2001:db8::1", "2001:db8:1::2", 8), route("2001:db8::1", "2001:db8:1:1::2", 7)
    tcp = route("2001:db8::1", "2001:db8:1::1", 6, transport="tcp")
    assert warm([near, far, tcp], selected, NOW) == [far, tcp]


def test_those_that_live_come_before_dead_ones_and_unusable_ones_not_at_all():
    selected = route("10.0.0.1", "192.0.2.1", 9)
    dead, alive, gone = (route(f"10.0.{n}.1", "192.0.2.1", 9 - n) for n in (1, 2, 3))
    for at in SEVEN:
        dead.check_sent(NOW + at)
    gone.pair.valid = False
    assert warm([dead, alive, gone], selected, NOW + 0.6) == [dead, alive]
    assert warm([dead, alive, gone], selected, NOW + 6) == [alive, dead]


def test_the_order_of_the_pairs_does_not_matter_for_what_is_kept_warm():
    pairs = [
        route("10.0.0.1", "192.0.2.1", 5),
        route("10.0.0.1", "192.0.2.2", 5),
        route("10.0.0.2", "192.0.2.1", 5),
        route("10.0.0.2", "198.51.100.1", 5, cost=3),
        route("203.0.113.1", "192.0.2.1", 5, kind="relay"),
    ]
    expected = warm(pairs, None, NOW, 3)
    assert len(expected) == 3
    assert all(warm(order, None, NOW, 3) == expected for order in permutations(pairs))
