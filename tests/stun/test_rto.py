"""8489-9: the RTO follows RFC 6298 to the millisecond, keeps to Karn's rule, and is forgotten after ten minutes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.stun.rto import MAX_SERVERS, MAXIMUM, MINIMUM, RtoEstimator

A, B = "192.0.2.1", "2001:db8::1"


def test_an_unknown_server_gets_half_a_second():
    """8489-8, 8489-9: the RTO starts at 500 ms."""
    assert RtoEstimator().rto(A, 0.0) == 0.5
    assert RtoEstimator(2.0).rto(A, 0.0) == 2.0


def test_samples_move_it_as_rfc_6298_says():
    """8489-9: SRTT + 4 RTTVAR, 1 ms accuracy, no rounding to seconds."""
    rto = RtoEstimator()
    rto.sample(A, 0.120, 0.0)
    assert rto.rto(A, 0.0) == pytest.approx(0.360)  # 120 + 4 * 60
    rto.sample(A, 0.120, 1.0)
    assert rto.rto(A, 1.0) == pytest.approx(0.300)  # 120 + 4 * 45
    rto.sample(A, 0.2, 2.0)  # 130 + 4 * (0.75 * 45 + 0.25 * 80)
    assert rto.rto(A, 2.0) == pytest.approx(0.345)
    assert rto.rto(B, 2.0) == 0.5


def test_it_is_rounded_up_to_the_millisecond():
    rto = RtoEstimator()
    rto.sample(A, 0.1000001, 0.0)
    assert rto.rto(A, 0.0) == pytest.approx(0.301)


def test_karn_an_ambiguous_answer_teaches_nothing():
    """8489-9: no sample from a transaction that was sent more than once."""
    rto = RtoEstimator()
    rto.sample(A, None, 0.0)
    assert rto.rto(A, 0.0) == 0.5
    rto.sample(A, 0.120, 1.0)
    rto.sample(A, None, 2.0)
    rto.sample(A, -1.0, 2.0)  # a clock that went back
    assert rto.rto(A, 2.0) == pytest.approx(0.360)


def test_ten_minutes_without_transactions_forget_a_server():
    """8489-9: back to 500 ms at +10 min; a transaction, answered or not, keeps it."""
    rto = RtoEstimator()
    rto.sample(A, 0.120, 0.0)
    assert rto.rto(A, 599.0) == pytest.approx(0.360)
    assert rto.rto(A, 1198.0) == pytest.approx(0.360)
    assert rto.rto(A, 1798.0) == 0.5


def test_it_stays_between_named_bounds():
    rto = RtoEstimator()
    rto.sample(A, 0.0, 0.0)
    assert rto.rto(A, 0.0) == MINIMUM
    rto.sample(B, 1000.0, 0.0)
    assert rto.rto(B, 0.0) == MAXIMUM


def test_the_number_of_servers_is_bounded_and_the_oldest_goes_first():
    rto = RtoEstimator()
    for number in range(MAX_SERVERS):
        rto.sample(str(number), 0.120, 0.0)
    rto.rto("0", 1.0)  # used again
    rto.sample("one more", 0.120, 2.0)
    assert len(rto) == MAX_SERVERS
    assert rto.rto("0", 3.0) == pytest.approx(0.360)
    assert rto.rto("1", 3.0) == 0.5


@given(st.lists(st.none() | st.floats(-1, 100), max_size=50))
def test_any_samples_give_an_rto_within_bounds_that_is_whole_milliseconds(samples):
    rto = RtoEstimator()
    for rtt in samples:
        rto.sample(A, rtt, 0.0)
        value = rto.rto(A, 0.0)
        assert MINIMUM <= value <= MAXIMUM
        assert value * 1000 == pytest.approx(round(value * 1000), abs=1e-6)
