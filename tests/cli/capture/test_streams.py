"""TCP streams put together again."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packet_builders import A, B

from fasticePy.cli.capture import streams as module
from fasticePy.cli.capture.packets import Packet
from fasticePy.cli.capture.streams import Piece, Streams


def segment(sequence: int, data: bytes, **flags: bool) -> Packet:
    return Packet(A, B, data, cut=flags.pop("cut", False), sequence=sequence & 0xFFFFFFFF, **flags)


def joined(pieces: list[Piece]) -> bytes:
    return b"".join(b"|" if piece.gap else piece.data for piece in pieces)


def test_in_order_from_the_beginning_or_the_middle() -> None:
    for first, start in ((segment(99, b"", syn=True), 100), (segment(100, b""), 100)):
        streams = Streams()
        assert streams.segment(first) == []
        assert joined(streams.segment(segment(start, b"abc"))) == b"abc"
        assert joined(streams.segment(segment(start + 3, b"de"))) == b"de"


def test_data_with_the_syn() -> None:
    assert joined(Streams().segment(segment(7, b"abc", syn=True))) == b"abc"


def test_repeated_overlapping_and_early_segments() -> None:
    streams = Streams()
    streams.segment(segment(-3, b"", syn=True))  # the numbers wrap within the first segment
    assert joined(streams.segment(segment(-2, b"abcd"))) == b"abcd"
    assert joined(streams.segment(segment(-2, b"abcd"))) == b""
    assert joined(streams.segment(segment(0, b"cdef"))) == b"ef"
    assert joined(streams.segment(segment(8, b"klm"))) == b""
    assert joined(streams.segment(segment(8, b"kl"))) == b""
    assert joined(streams.segment(segment(6, b"ijk"))) == b""
    assert joined(streams.segment(segment(4, b"gh"))) == b"ghijklm"
    assert streams.given_up == 0


@given(
    st.binary(min_size=1, max_size=60), st.lists(st.integers(1, 9), min_size=1, max_size=60), st.integers(0, 2**32 - 1),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_any_order_gives_the_same_stream(
    data: bytes, sizes: list[int], start: int, shuffled: random.Random
) -> None:
    pieces, position = [], 0
    for size in sizes * len(data):
        if position >= len(data):
            break
        pieces.append((position, data[position : position + size]))
        position += size
    order = pieces + shuffled.sample(pieces, min(3, len(pieces)))
    shuffled.shuffle(order)
    streams = Streams()
    streams.segment(segment(start - 1, b"", syn=True))
    assert b"".join(joined(streams.segment(segment(start + at, part))) for at, part in order) == data
    assert streams._waiting == 0


def test_what_is_missing_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_SEGMENTS_AHEAD", 3)
    streams = Streams()
    streams.segment(segment(0, b"a"))
    for position in (2, 3, 9):
        assert streams.segment(segment(position, b"x")) == []
    assert joined(streams.segment(segment(10, b"y"))) == b"|xx"
    assert joined(streams.segment(segment(4, b"abcde"))) == b"abcdexy"
    assert streams.given_up == 1


def test_bytes_that_wait_are_limited_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BYTES_AHEAD", 10)
    streams = Streams()
    streams.segment(segment(0, b"a"))
    assert streams.segment(segment(5, b"12345678")) == []
    assert joined(streams.segment(segment(50, b"abc"))) == b"|12345678"
    assert streams._waiting == 3


def test_a_segment_that_was_not_captured_whole_leaves_a_gap() -> None:
    streams = Streams()
    assert joined(streams.segment(segment(0, b"abc", cut=True))) == b"abc|"
    assert joined(streams.segment(segment(100, b"def"))) == b"def"
    assert streams.given_up == 1


def test_a_new_connection_between_the_same_ports() -> None:
    streams = Streams()
    streams.segment(segment(1000, b"abc"))
    streams.segment(segment(2000, b"waits"))
    assert joined(streams.segment(segment(5, b"", syn=True))) == b""
    assert streams._waiting == 0
    assert joined(streams.segment(segment(6, b"new"))) == b"new"
    assert streams.segment(segment(9, b"", rst=True)) == []
    assert joined(streams.segment(segment(77, b"other"))) == b"other"


def test_connections_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 5)
    streams = Streams()
    for port in range(100):
        for sequence in (0, 10):
            streams.segment(Packet(("192.0.2.1", port), B, b"abc", cut=False, sequence=sequence))
    assert streams.forgotten == 90
    assert streams._waiting == 10 * 3


@given(
    st.lists(
        st.tuples(st.integers(0, 2**32 - 1) | st.integers(0, 30), st.binary(max_size=20), st.booleans(), st.booleans(),
                  st.booleans()),
        max_size=40,
    )
)  # fmt: skip
def test_anything_at_all(segments: list[tuple[int, bytes, bool, bool, bool]]) -> None:
    streams = Streams()
    for sequence, data, syn, rst, cut in segments:
        streams.segment(segment(sequence, data, syn=syn, rst=rst, cut=cut))
    waiting = sum(len(data) for each in streams._directions.values() for data in each.ahead.values())
    assert streams._waiting == waiting
