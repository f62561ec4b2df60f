"""Many threads on the same objects: what is shared is immutable, what is not stays whole."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from fasticePy import stun
from fasticePy.stun import Attribute, ChannelData, IntegrityKey, MessageBuilder, StreamDecoder

THREADS = 8
ROUNDS = 400
KEY = IntegrityKey.short_term("VOkJxbRl1RmTxUk/WvJxBt")


def in_threads(work: Callable[[int], None]) -> None:
    """Run `work(number)` in all threads at once; the first exception fails the test."""
    barrier = threading.Barrier(THREADS)

    def start(number: int) -> None:
        barrier.wait(timeout=30)
        work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        for result in [pool.submit(start, number) for number in range(THREADS)]:
            result.result(timeout=50)


def check(number: int) -> bytes:
    builder = MessageBuilder(stun.Method.BINDING, stun.MessageClass.REQUEST, number.to_bytes(12, "big"))
    builder.add(Attribute.USERNAME, f"user{number}:peer")
    builder.add(Attribute.PRIORITY, number)
    builder.add(Attribute.XOR_MAPPED_ADDRESS, (f"2001:db8::1:{number:x}", number))
    return builder.build(KEY, fingerprint=True, sha256=True)


def test_one_key_in_many_threads() -> None:
    expected = [check(number) for number in range(THREADS * 16)]

    def work(thread: int) -> None:
        for turn in range(ROUNDS):
            number = thread * 16 + turn % 16
            data = check(number)
            assert data == expected[number]
            message = stun.parse(data)
            assert message.verify_integrity(KEY)
            assert message.verify_fingerprint()
            assert message.get(Attribute.PRIORITY) == number
            assert message.get(Attribute.XOR_MAPPED_ADDRESS) == (f"2001:db8::1:{number:x}", number)

    in_threads(work)


def test_one_message_in_many_threads() -> None:
    message = stun.parse(check(7))
    attributes = message.attributes()

    def work(_: int) -> None:
        for _ in range(ROUNDS):
            assert message.attributes() == attributes
            assert message.get(Attribute.USERNAME) == "user7:peer"
            assert message.verify_integrity(KEY)
            assert message.unknown_required((Attribute.USERNAME, Attribute.PRIORITY)) == (0x20,)

    in_threads(work)


def test_one_builder_in_many_threads() -> None:
    """Not meant to be used so, and yet every attribute is there once and the message is well-formed."""
    builder = MessageBuilder(1, 0, bytes(12))

    def work(thread: int) -> None:
        for turn in range(100):
            builder.add(0x7000 + thread, turn.to_bytes(2, "big"))
            if turn % 10 == 0:
                stun.parse(builder.build(KEY))

    in_threads(work)
    message = stun.parse(builder.build(KEY))
    assert message.verify_integrity(KEY)
    for thread in range(THREADS):
        assert message.get_all(0x7000 + thread) == [turn.to_bytes(2, "big") for turn in range(100)]


def test_one_stream_in_many_threads() -> None:
    """The pieces are whole messages, so their order is open and their number is not."""
    decoder = StreamDecoder("turn")
    messages = [ChannelData.build(0x4000 + thread, bytes(40), stream=True) for thread in range(THREADS)]
    found: list[list[bytes]] = [[] for _ in range(THREADS)]

    def work(thread: int) -> None:
        for _ in range(ROUNDS):
            found[thread] += decoder.feed(messages[thread])

    in_threads(work)
    everything = [message for part in found for message in part]
    assert sorted(everything) == sorted(message for message in messages for _ in range(ROUNDS))
    assert decoder.pending == 0
