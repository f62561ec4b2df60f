"""fasticePy.machine: timers, the outbox and the surface that every root machine has."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from fasticePy.machine import Event, Outbox, RootMachine, Timer, TimerHeap, Transmit


def test_timers_run_in_order_of_time_and_then_of_making():
    heap, ran = TimerHeap(), []
    for name, at in (("late", 2.0), ("first", 1.0), ("second", 1.0), ("later", 3.0)):
        heap.schedule(at, lambda now, name=name: ran.append((name, now)))
    assert heap.next() == 1.0
    heap.run(0.999)
    assert ran == []
    heap.run(2.5)
    assert ran == [("first", 2.5), ("second", 2.5), ("late", 2.5)]
    assert heap.next() == 3.0
    assert len(heap) == 1


def test_a_timer_that_is_postponed():
    """It runs once, at the later moment; an earlier one changes nothing, and nothing changes what has ended."""
    heap, ran = TimerHeap(), []
    timer = heap.schedule(1.0, ran.append)
    other = heap.schedule(2.0, lambda now: None)
    heap.postpone(timer, 3.0)
    heap.postpone(timer, 2.5)
    assert heap.next() == 2.0
    heap.run(2.9)
    assert (ran, heap.next(), len(heap)) == ([], 3.0, 1)
    heap.run(3.0)
    assert (ran, heap.next()) == ([3.0], None)
    cancelled = heap.schedule(4.0, ran.append)
    heap.cancel(cancelled)
    for done in (timer, other, cancelled):
        heap.postpone(done, 9.0)
    assert (heap.next(), len(heap)) == (None, 0)
    heap.run(10.0)
    assert ran == [3.0]


def test_nothing_pending_is_none():
    heap = TimerHeap()
    assert heap.next() is None
    heap.cancel(heap.schedule(1.0, lambda now: None))
    assert heap.next() is None
    heap.run(5.0)


def test_cancel_is_harmless_at_any_time():
    heap, ran = TimerHeap(), []
    heap.cancel(None)
    timer = heap.schedule(1.0, ran.append)
    assert timer.active
    heap.run(1.0)
    assert not timer.active
    heap.cancel(timer)
    heap.cancel(timer)
    assert ran == [1.0]


def test_a_run_ends_although_its_callbacks_make_timers_that_are_due():
    heap, ran = TimerHeap(), []

    def again(now: float) -> None:
        ran.append(now)
        heap.schedule(now - 1.0, again)
        heap.schedule(now, again)

    heap.schedule(1.0, again)
    heap.run(1.0)
    assert ran == [1.0]
    assert heap.next() == 0.0  # the driver is told to come again
    heap.run(1.0)
    assert len(ran) == 3


def test_a_callback_may_cancel_a_timer_of_the_same_run():
    heap, ran = TimerHeap(), []
    second: list[Timer] = []
    heap.schedule(1.0, lambda now: heap.cancel(second[0]))
    second.append(heap.schedule(1.0, ran.append))
    heap.run(1.0)
    assert ran == []
    assert heap.next() is None


def test_clear_during_a_run_also_takes_timers_that_the_run_has_put_off():
    heap, ran = TimerHeap(), []
    heap.schedule(1.0, lambda now: heap.schedule(0.5, ran.append))  # due at once: put off to the next run
    heap.schedule(2.0, lambda now: heap.clear())
    heap.run(2.0)
    heap.run(9.0)
    assert ran == []
    assert heap.next() is None
    assert len(heap) == 0


def test_a_callback_that_raises_loses_no_other_timer():
    heap, ran = TimerHeap(), []

    def fail(now: float) -> None:
        heap.schedule(0.5, ran.append)
        raise RuntimeError("a bug")

    heap.schedule(1.0, lambda now: heap.schedule(0.0, ran.append))
    heap.schedule(1.5, fail)
    heap.schedule(2.0, ran.append)
    try:
        heap.run(2.0)
    except RuntimeError:
        heap.run(2.5)
    assert ran == [2.5, 2.5, 2.5]


def test_cancelled_timers_take_no_room_for_long():
    heap = TimerHeap()
    keep = heap.schedule(1e6, lambda now: None)
    for number in range(10_000):
        heap.cancel(heap.schedule(float(number), lambda now: None))
    assert len(heap._heap) < 50
    assert keep.active
    assert heap.next() == 1e6


class TimerModel(RuleBasedStateMachine):
    """A heap against a list: whatever is scheduled, cancelled, rescheduled by callbacks, cleared and run."""

    @initialize()
    def start(self):
        self.heap = TimerHeap()
        self.now = 0.0
        self.made = 0
        self.model: dict[int, float] = {}  # number of the timer -> when; numbers grow with making
        self.timers: dict[int, Timer] = {}
        self.ran: list[int] = []

    def schedule_one(self, at: float, again: float | None) -> None:
        self.made += 1
        number = self.made

        def callback(now: float) -> None:
            assert now == self.now
            self.ran.append(number)
            if again is not None:
                self.schedule_one(now + again, None)

        self.model[number] = at
        self.timers[number] = self.heap.schedule(at, callback)

    moments = st.integers(-3, 12).map(lambda n: n / 4)

    @rule(delay=moments, again=st.none() | moments)
    def schedule(self, delay, again):
        self.schedule_one(self.now + delay, again)

    @precondition(lambda self: self.made)
    @rule(data=st.data())
    def cancel(self, data):
        number = data.draw(st.integers(1, self.made))
        self.heap.cancel(self.timers[number])
        self.model.pop(number, None)

    @rule(step=st.integers(0, 8).map(lambda n: n / 4))
    def run(self, step):
        self.now += step
        known = self.made
        due = sorted((at, number) for number, at in self.model.items() if at <= self.now)
        self.ran.clear()
        self.heap.run(self.now)
        assert self.ran == [number for _, number in due]
        for _, number in due:
            assert number <= known
            del self.model[number]

    @rule()
    def clear(self):
        self.heap.clear()
        self.model.clear()

    @invariant()
    def agrees(self):
        assert self.heap.next() == min(self.model.values(), default=None)
        assert len(self.heap) == len(self.model)
        assert all(timer.active == (number in self.model) for number, timer in self.timers.items())


TestTimerModel = TimerModel.TestCase
TestTimerModel.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_outputs_are_taken_once():
    machine = RootMachine()
    machine._outbox.send(1, ("192.0.2.1", 3478), b"hello")
    machine._outbox.emit(Event(at=1.0))
    machine._outbox.count("some reason")
    assert machine.take_transmits() == [Transmit(1, ("192.0.2.1", 3478), b"hello")]
    assert machine.take_transmits() == []
    assert machine.take_events() == [Event(at=1.0)]
    assert machine.take_events() == []
    assert machine.counters == {"some reason": 1}


def test_what_was_taken_is_not_changed_by_what_comes_later():
    outbox = Outbox()
    machine = RootMachine()
    machine._outbox = outbox
    nothing = machine.take_transmits(), machine.take_events()
    outbox.send(1, ("192.0.2.1", 1), b"a")
    taken = machine.take_transmits()
    outbox.send(1, ("192.0.2.1", 1), b"b")
    outbox.emit(Event(at=1.0))
    assert nothing == ([], [])
    assert [transmit.data for transmit in taken] == [b"a"]


@given(st.lists(st.floats(0, 100), max_size=20), st.floats(0, 100))
def test_a_root_machine_runs_the_timers_of_its_outbox(moments, now):
    machine, ran = RootMachine(), []
    for at in moments:
        machine._outbox.timers.schedule(at, lambda _now, at=at: ran.append(at))
    assert machine.next_timer() == min(moments, default=None)
    machine.handle_timer(now)
    assert ran == sorted(at for at in moments if at <= now)
