"""The byte stream over datagrams that `fasticepy connect` pipes through, on a simulated link in virtual time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fasticePy.cli.reliable import BUFFER_LIMIT, CHUNK, LINGER, WINDOW, ReliableStream

Fate = Callable[[bytes], list[float]]
"""The delays after which a datagram arrives: none, one or more."""


class Link:
    """Two streams and what is between them."""

    def __init__(self, fate: Fate = lambda data: [0.01]) -> None:
        self.ends = (ReliableStream(), ReliableStream())
        self.read = [b"", b""]
        self.reading = [True, True]
        self.now = 100.0
        self.sent: list[bytes] = []
        self._fate = fate
        self._queue: list[tuple[float, int, int, bytes]] = []

    def _collect(self) -> None:
        for index, end in enumerate(self.ends):
            if self.reading[index]:
                self.read[index] += end.read()
            for data in end.take_datagrams():
                self.sent.append(data)
                for delay in self._fate(data):
                    heapq.heappush(self._queue, (self.now + delay, len(self.sent), 1 - index, data))

    def _next(self) -> float | None:
        times = [end.next_timer() for end in self.ends] + [self._queue[0][0] if self._queue else None]
        return min((at for at in times if at is not None), default=None)

    def run(self, until: float = 600.0, *, stop: Callable[[], bool] = lambda: False) -> None:
        """Until both have ended, `stop` says so, nothing is pending, or so many seconds have gone by."""
        end_at = self.now + until
        self._collect()
        while not all(end.closed for end in self.ends) and not stop():
            at = self._next()
            if at is None or at > end_at:
                self.now = end_at
                return
            self.now = max(self.now, at)
            while self._queue and self._queue[0][0] <= self.now:
                _, _, index, data = heapq.heappop(self._queue)
                self.ends[index].datagram_received(data, self.now)
            for end in self.ends:
                timer = end.next_timer()
                if timer is not None and timer <= self.now:
                    end.handle_timer(self.now)
            self._collect()


def random_fate(seed: int, loss: float, double: float, jitter: float) -> Fate:
    source = random.Random(seed)

    def fate(data: bytes) -> list[float]:
        if source.random() < loss:
            return []
        copies = 2 if source.random() < double else 1
        return [0.01 + source.random() * jitter for _ in range(copies)]

    return fate


def blob(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    loss=st.sampled_from([0.0, 0.05, 0.3]),
    double=st.sampled_from([0.0, 0.3]),
    jitter=st.sampled_from([0.0, 0.1]),
    sizes=st.tuples(st.integers(0, 60000), st.integers(0, 60000)),
)
def test_both_directions_arrive_whole(
    seed: int, loss: float, double: float, jitter: float, sizes: tuple[int, int]
) -> None:
    link = Link(random_fate(seed, loss, double, jitter))
    data = [blob(size, seed + index) for index, size in enumerate(sizes)]
    for end, payload in zip(link.ends, data, strict=True):
        end.write(payload, link.now)
        end.write_eof(link.now)
    link.run()
    assert link.read == [data[1], data[0]]
    assert all(end.closed and end.at_eof and not end.reset for end in link.ends)


def test_ends_at_once_on_a_clean_link() -> None:
    link = Link()
    link.ends[0].write(b"hello", link.now)
    for end in link.ends:
        end.write_eof(link.now)
    link.run()
    assert link.now - 100.0 < LINGER / 2
    assert all(end.closed for end in link.ends)


def test_lingers_and_then_ends_when_the_goodbye_is_lost() -> None:
    link = Link(lambda data: [] if data[1] == 4 else [0.01])  # BYE frames vanish
    for end in link.ends:
        end.write_eof(link.now)
    link.run()
    assert all(end.closed for end in link.ends)
    assert link.now - 100.0 >= LINGER


def test_one_direction_may_end_long_before_the_other() -> None:
    link = Link()
    first, second = link.ends
    first.write_eof(link.now)
    link.run(until=50.0)
    assert second.at_eof
    assert not first.closed
    assert not second.closed
    second.write(b"late", link.now)
    second.write_eof(link.now)
    link.run()
    assert link.read[0] == b"late"
    assert first.closed
    assert second.closed


def test_nothing_is_sent_while_nothing_happens() -> None:
    link = Link()
    link.ends[0].write(b"x", link.now)
    link.run(until=5.0)
    sent = len(link.sent)
    link.run(until=1000.0)
    assert len(link.sent) == sent
    assert link.ends[0].next_timer() is None


def test_a_reader_that_stops_stops_the_writer_and_memory_stays_bounded() -> None:
    link = Link()
    writer, reader = link.ends
    link.reading[1] = False
    data = blob(3 * BUFFER_LIMIT)
    for start in range(0, len(data), 5000):
        writer.write(data[start : start + 5000], link.now)
    link.run(until=300.0)
    assert not writer.writable
    held = reader.read()
    assert len(held) <= BUFFER_LIMIT + WINDOW * CHUNK
    link.read[1] += held
    link.reading[1] = True
    writer.write_eof(link.now)
    reader.write_eof(link.now)
    link.run()
    assert link.read[1] == data


def test_a_lost_window_update_is_made_up_for_by_a_probe() -> None:
    deaf = False
    link = Link(lambda data: [] if deaf else [0.01])
    writer, reader = link.ends
    link.reading[1] = False
    writer.write(blob(2 * BUFFER_LIMIT), link.now)
    link.run(until=60.0)
    deaf = True
    link.reading[1] = True
    link.run(until=1.0)  # the update goes out and is lost
    deaf = False
    writer.write_eof(link.now)
    reader.write_eof(link.now)
    link.run()
    assert link.read[1] == blob(2 * BUFFER_LIMIT)


def test_a_lost_chunk_is_sent_again_without_waiting_for_the_timer() -> None:
    lost: list[bytes] = []

    def fate(data: bytes) -> list[float]:
        if data[1] == 1 and data[2:6] == bytes([0, 0, 0, 20]) and not lost:
            lost.append(data)
            return []
        return [0.01]

    link = Link(fate)
    data = blob(100 * CHUNK)
    link.ends[0].write(data, link.now)
    link.run(stop=lambda: len(link.read[1]) == len(data))
    assert lost
    assert link.read[1] == data
    assert link.now - 100.0 < 0.3


def test_in_flight_never_exceeds_the_window() -> None:
    link = Link(lambda data: [])
    link.ends[0].write(blob(1000 * CHUNK), link.now)
    link.run(until=0.1)
    assert 0 < len(link.sent) <= WINDOW


def test_abort_tells_the_other_side() -> None:
    link = Link()
    link.ends[0].write(b"x", link.now)
    link.ends[0].abort()
    link.run(until=1.0)
    assert link.ends[1].reset
    assert link.ends[1].closed


def test_writing_after_the_end_is_refused() -> None:
    stream = ReliableStream()
    stream.write_eof(0.0)
    with pytest.raises(ValueError, match="write_eof"):
        stream.write(b"x", 0.0)


def test_an_early_goodbye_is_not_believed() -> None:
    stream = ReliableStream()
    stream.write(b"x", 0.0)
    stream.write_eof(0.0)
    stream.datagram_received(bytes([0xF1, 4, 0, 0, 0, 0]), 0.0)
    assert not stream.closed
    assert stream.next_timer() is not None


@given(
    st.lists(st.binary(max_size=40) | st.binary(max_size=30).map(lambda data: b"\xf1" + data), max_size=30)
)
def test_any_datagram_is_taken_without_an_exception(datagrams: list[bytes]) -> None:
    stream = ReliableStream()
    stream.write(b"payload", 0.0)
    for number, data in enumerate(datagrams):
        stream.datagram_received(data, number * 0.1)
        stream.take_datagrams()
    stream.handle_timer(100.0)


def test_a_chunk_beyond_the_window_or_too_large_is_dropped() -> None:
    stream = ReliableStream()
    for number, data in ((WINDOW + 1, b"x"), (0, bytes(CHUNK + 1)), (2**32 - 1, b"x")):
        stream.datagram_received(bytes([0xF1, 1]) + number.to_bytes(4, "big") + data, 0.0)
    assert stream.read() == b""
