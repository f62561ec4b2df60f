"""Client transactions, driven by hand."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fasticePy.machine import Outbox
from fasticePy.stun.transaction import RM, Transaction, Transactions

SERVER = ("192.0.2.1", 3478)
SCHEDULE = [0.0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5]


class Driver:
    """One table of transactions with the time in a test's hands."""

    def __init__(self) -> None:
        self.outbox = Outbox()
        self.table = Transactions(self.outbox)
        self.ended: list[tuple[bytes, float]] = []

    def make(self, id: bytes = b"t" * 12, **options: float) -> Transaction:
        return Transaction(
            id=id,
            socket=1,
            address=SERVER,
            data=b"request " + id,
            on_response=lambda *arguments: None,
            on_timeout=lambda transaction, now: self.ended.append((transaction.id, now)),
            **options,
        )

    def start(self, now: float = 0.0, **options: float) -> Transaction:
        transaction = self.make(**options)
        self.table.start(transaction, now)
        return transaction

    def sends(self, end: float = 1e9, late: float = 0.0) -> list[float]:
        """Let timers run, each `late` seconds after it is due, and give the moments of the sends after the first."""
        moments: list[float] = []
        before = len(self.outbox.transmits)
        while (at := self.outbox.timers.next()) is not None and at <= end:
            self.outbox.timers.run(at + late)
            moments += [at + late] * (len(self.outbox.transmits) - before)
            before = len(self.outbox.transmits)
        return moments


@pytest.mark.parametrize("start", [0.0, 1e-9, 123456.789, 1e9])
def test_sends_double_their_distance_and_then_it_fails(start):
    """8489-8: sends at 0/500/1500/3500/7500/15500/31500 ms, failure at 39500 ms, at any reading of the clock."""
    driver = Driver()
    driver.start(start)
    moments = [start, *driver.sends(end=start + 1000)]
    assert moments == pytest.approx([start + at for at in SCHEDULE], abs=1e-6)
    assert driver.ended == [(b"t" * 12, pytest.approx(start + 39.5, abs=1e-6))]
    assert len(driver.table) == 0
    assert driver.outbox.timers.next() is None


def test_every_send_is_the_same_bytes_to_the_same_place():
    """8489-4: a retransmission is the same bytes with the same id."""
    driver = Driver()
    driver.start()
    driver.sends()
    assert len(driver.outbox.transmits) == 7
    assert len({(each.socket, each.address, each.data) for each in driver.outbox.transmits}) == 1


def test_rc_rm_and_rto_are_the_owners_choice():
    """8489-8: Rc and Rm are configurable."""
    driver = Driver()
    driver.start(rto=1.0, max_sends=3, final_wait=4.0)
    assert driver.sends() == [1.0, 3.0]
    assert driver.ended == [(b"t" * 12, 7.0)]


def test_one_send_and_a_wait_is_what_a_stream_gets():
    # the whole of it is tested with StunAgent
    driver = Driver()
    driver.start(max_sends=1, final_wait=39.5)
    assert driver.sends() == []
    assert driver.ended == [(b"t" * 12, 39.5)]


def test_the_round_trip_is_known_only_when_it_was_sent_once():
    """8489-9: Karn's algorithm."""
    driver = Driver()
    first = driver.start(1.0)
    assert driver.table.find(first.id) is first
    assert driver.table.finish(first, 1.25) == 0.25
    assert driver.table.find(first.id) is None
    second = driver.start(2.0)
    driver.sends(end=2.5)
    assert driver.table.finish(second, 2.75) is None
    assert driver.sends() == []
    assert driver.ended == []


def test_a_cancelled_one_sends_no_more_waits_its_time_and_does_not_fail():
    """8445-44: no retransmission, no failure on silence, a late answer still counts."""
    driver = Driver()
    transaction = driver.start()
    driver.sends(end=1.6)
    driver.table.cancel(transaction, 1.6)
    driver.table.cancel(transaction, 1.7)
    assert transaction.cancelled
    assert driver.sends(end=39.4) == []
    assert driver.table.find(transaction.id) is transaction  # an answer still counts
    driver.sends()
    assert driver.table.find(transaction.id) is None
    assert driver.ended == []


def test_cancelling_what_has_ended_does_nothing():
    driver = Driver()
    transaction = driver.start()
    driver.table.finish(transaction, 0.1)
    driver.table.cancel(transaction, 0.2)
    assert not transaction.cancelled
    assert driver.outbox.timers.next() is None


def test_cancelling_after_its_time_forgets_it_at_once():
    driver = Driver()
    transaction = driver.start(max_sends=1, final_wait=1.0)
    driver.table.cancel(transaction, 5.0)  # the timer that would have ended it has not run yet
    assert driver.outbox.timers.next() == 5.0
    driver.sends()
    assert driver.ended == []
    assert len(driver.table) == 0


def test_forgetting_and_clearing_leave_nothing():
    driver = Driver()
    first, _second, _third = (driver.start(id=bytes([n]) * 12) for n in range(3))
    driver.table.forget(first)
    driver.table.forget(first)
    assert len(driver.table) == 2
    driver.table.clear()
    assert len(driver.table) == 0
    assert driver.outbox.timers.next() is None


def test_an_id_that_comes_twice_ends_each_of_its_owners_once():
    driver = Driver()
    old, new = driver.start(0.0), driver.start(0.1)
    driver.table.forget(old)
    assert driver.table.find(b"t" * 12) is new
    driver.sends()
    assert driver.ended == [(b"t" * 12, 39.6)]


def test_late_timers_do_not_add_up():
    """8489-8: each timer 200 ms late moves every send by 200 ms, not by the sum of all before it."""
    driver = Driver()
    driver.start()
    assert driver.sends(late=0.2) == pytest.approx([at + 0.2 for at in SCHEDULE[1:]])
    assert driver.ended == [(b"t" * 12, pytest.approx(39.7))]


def test_a_stall_is_followed_by_no_burst_and_its_missed_sends_get_their_chance():
    driver = Driver()
    driver.start()
    driver.outbox.timers.run(20.0)
    assert len(driver.outbox.transmits) == 2
    assert driver.sends() == [20.5, 21.0, 21.5, 22.0, 31.5]
    assert driver.ended == [(b"t" * 12, 39.5)]


def test_a_stall_over_its_whole_life_does_not_end_it_at_once():
    driver = Driver()
    driver.start()
    driver.outbox.timers.run(100.0)
    assert driver.ended == []
    assert driver.sends() == [100.5, 101.0, 101.5, 102.0, 102.5]
    assert driver.ended == [(b"t" * 12, 103.0)]


@given(
    steps=st.lists(st.floats(0, 30), max_size=40),
    rto=st.floats(0.01, 5),
    max_sends=st.integers(1, 9),
    rm=st.floats(0, RM),
)
def test_whenever_timers_run_it_ends_once_after_its_sends(steps, rto, max_sends, rm):
    driver = Driver()
    driver.start(rto=rto, max_sends=max_sends, final_wait=rm * rto)
    now, sent = 0.0, [0.0]
    for step in [*steps, *[1e5] * max_sends]:
        now += step
        before = len(driver.outbox.transmits)
        driver.outbox.timers.run(now)
        sent += [now] * (len(driver.outbox.transmits) - before)
    assert len(sent) == max_sends
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert all(gap >= rto * (1 - 1e-6) for gap in gaps)
    assert len(driver.ended) == 1
    lifetime = rto * (2 ** (max_sends - 1) - 1) + rm * rto
    assert driver.ended[0][1] >= lifetime * (1 - 1e-6)
    assert len(driver.table) == 0
